//! What checking and rewriting a head costs, both ways.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use lemonade_load_balancer::internals::Rewriter;
use std::hint::black_box;
use std::time::Duration;

const SMALL: &str = "GET /work HTTP/1.1\r\nHost: 127.0.0.1:50501\r\n\r\n";

const BROWSER: &str = "GET /some/page?with=a&query=string HTTP/1.1\r\nHost: www.example.org\r\nConnection: keep-alive\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8\r\n\
    Accept-Language: en-GB,en;q=0.9,de;q=0.8\r\nAccept-Encoding: gzip, deflate, br, zstd\r\nCache-Control: max-age=0\r\n\
    Referer: https://www.example.org/some/other/page\r\n\
    Cookie: session=0123456789abcdef0123456789abcdef; theme=dark; consent=yes; _ga=GA1.2.1234567890.1234567890\r\n\
    Sec-Fetch-Dest: document\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Site: same-origin\r\nSec-Fetch-User: ?1\r\n\
    Upgrade-Insecure-Requests: 1\r\n\r\n";

const ANSWER: &str = "HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Sat, 21 Nov 2026 07:51:35 GMT\r\n\
    Content-Type: application/json\r\nContent-Length: 128\r\nConnection: keep-alive\r\n\r\n";

fn rewriting(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("rewrite");
    for (name, head, is_request) in [
        ("small request", SMALL, true),
        ("browser request", BROWSER, true),
        ("answer", ANSWER, false),
    ] {
        let mut rewriter = Rewriter::default();
        let mut out = Vec::with_capacity(4096);
        group.throughput(Throughput::Bytes(head.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                out.clear();
                let head = black_box(head.as_bytes());
                let length = match is_request {
                    true => rewriter.request(head, &mut out),
                    false => rewriter.response(head, &mut out),
                };
                black_box(length.expect("a good head"))
            });
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2));
    targets = rewriting
}
criterion_main!(benches);
