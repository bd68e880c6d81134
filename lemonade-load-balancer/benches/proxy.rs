//! A request through the balancer over loopback, and the same straight to the origin: the difference is what the balancer
//! adds to a request that waits for nobody.

use criterion::{Criterion, criterion_group, criterion_main};
use lemonade_config::Environment;
use lemonade_load_balancer::app::{App, Start};
use lemonade_load_balancer::config::{Overrides, load};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

const REQUEST: &[u8] = b"GET /work HTTP/1.1\r\nHost: a\r\n\r\n";

fn answer() -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Length: 128\r\n\r\n{}",
        "x".repeat(128)
    )
    .into_bytes()
}

/// Answers whatever comes, on a thread a connection.
fn origin() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || serve(stream));
        }
    });
    address
}

fn serve(mut stream: TcpStream) {
    let (mut buffer, answer) = ([0; 4096], answer());
    while matches!(stream.read(&mut buffer), Ok(count) if count > 0) {
        if stream.write_all(&answer).is_err() {
            return;
        }
    }
}

fn ask(stream: &mut TcpStream, buffer: &mut [u8]) {
    stream.write_all(REQUEST).expect("the request is sent");
    let mut seen = 0;
    while !buffer[..seen].ends_with(&[b'x'; 128]) {
        seen += stream.read(&mut buffer[seen..]).expect("an answer");
    }
}

fn round_trip(criterion: &mut Criterion) {
    let origin = origin();
    let overrides = Overrides {
        listen: Some("127.0.0.1:0".to_owned()),
        admin: Some("off".to_owned()),
        backends: vec![origin.to_string()],
        ..Overrides::default()
    };
    let mut config = load(None, &Environment::default(), &overrides)
        .expect("a configuration")
        .config;
    config.runtime.shards = 1;
    let start = Start {
        config,
        ..Start::default()
    };
    let app = App::start(start).expect("the balancer starts");
    let mut group = criterion.benchmark_group("round trip");
    for (name, address) in [("direct", origin), ("balanced", app.listen())] {
        let mut stream = TcpStream::connect(address).expect("somebody listens");
        stream.set_nodelay(true).expect("a socket option");
        let mut buffer = vec![0; 4096];
        group.bench_function(name, |bencher| {
            bencher.iter(|| ask(&mut stream, &mut buffer))
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(3));
    targets = round_trip
}
criterion_main!(benches);
