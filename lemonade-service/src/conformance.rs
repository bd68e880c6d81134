//! What every framework must do alike, as one suite: [`conformance!`](crate::conformance!) makes a test of each behaviour
//! here for one adapter.
//!
//! Used by the adapters' integration tests alone. A worker runs on a thread of its own, on port 0; the client is a plain
//! socket, so that what is asserted is bytes.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::pin::Pin;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::{Framework, Worker, WorkerConfig, WorkerOptions};

/// How long anything may take here; reached only by a failure.
const PATIENCE: Duration = Duration::from_secs(20);

type Pinned<T> = Pin<Box<dyn Future<Output = T>>>;

/// An adapter's `run`, boxed.
pub type Run = fn(TcpListener, Worker, Pinned<()>) -> Pinned<io::Result<()>>;

/// The adapter under test.
#[derive(Clone, Copy, Debug)]
pub struct Subject {
    /// Which framework it is.
    pub framework: Framework,
    /// How it runs.
    pub run: Run,
}

/// Makes one test of each behaviour: `conformance!(Framework::Axum, lemonade_worker_axum::run);`
#[macro_export]
macro_rules! conformance {
    ($framework:expr, $run:path) => {
        $crate::conformance!(@tests $framework, $run;
            health_is_answered
            work_takes_its_delay_and_says_who_did_it
            paths_are_the_same_under_v1
            bodies_are_counted
            answer_to_head_has_no_body
            unknown_path_is_404_and_wrong_method_405
            query_overrides_delay_status_and_size
            bad_overrides_are_refused_by_name
            error_rate_of_all_fails_every_request
            speed_divides_every_delay
            errors_take_as_long_as_they_are_told
            capacity_queues_what_exceeds_it
            chaos_is_shown_changed_and_reset
            bad_chaos_changes_nothing
            hung_work_leaves_health_alone
            pause_holds_everything_but_chaos
            close_sends_not_a_byte
            connection_is_kept_for_the_next_request
            drain_answers_what_is_in_flight
        );
    };
    (@tests $framework:expr, $run:path; $($behaviour:ident)*) => {
        $(
            #[test]
            fn $behaviour() {
                let subject = $crate::conformance::Subject {
                    framework: $framework,
                    run: |listener, worker, shutdown| Box::pin($run(listener, worker, shutdown)),
                };
                $crate::conformance::$behaviour(subject);
            }
        )*
    };
}

/// A worker that runs until this is dropped.
struct Running {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Running {
    fn start(subject: Subject) -> Running {
        Running::with(subject, WorkerOptions::default())
    }

    fn with(subject: Subject, options: WorkerOptions) -> Running {
        let options = WorkerOptions {
            framework: Some(subject.framework.to_string()),
            name: Some("w".to_owned()),
            delay: Some(options.delay.clone().unwrap_or_else(|| "1ms".to_owned())),
            ..options
        };
        let config = WorkerConfig::resolve(options, &Default::default()).expect("good options");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()?;
            let shutdown = Box::pin(async { drop(stopped.await) });
            runtime.block_on((subject.run)(listener, Worker::new(config), shutdown))
        });
        let running = Running {
            address,
            stop: Some(stop),
            thread: Some(thread),
        };
        running.wait_until_it_answers();
        running
    }

    /// Rocket lets the listener go and binds anew: what connects before is reset.
    fn wait_until_it_answers(&self) {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if let Ok(mut stream) = TcpStream::connect(self.address) {
                let mut byte = [0];
                let asked = stream
                    .write_all(b"GET /health HTTP/1.1\r\nHost: w\r\nConnection: close\r\n\r\n");
                if asked.and_then(|()| stream.read_exact(&mut byte)).is_ok() {
                    return;
                }
            }
        }
        panic!("the worker does not answer");
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("somebody listens");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a timeout can be set");
        stream
    }

    /// One request on a connection of its own.
    fn ask(&self, request: &str) -> Reply {
        let mut stream = self.connect();
        send(&mut stream, request);
        Reply::read(&mut stream, request.starts_with("HEAD"))
    }

    fn get(&self, path: &str) -> Reply {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: w\r\n\r\n"))
    }

    fn chaos(&self, document: &Value) -> Reply {
        let body = document.to_string();
        let length = body.len();
        self.ask(&format!(
            "PUT /v1/chaos HTTP/1.1\r\nHost: w\r\nContent-Length: {length}\r\n\r\n{body}"
        ))
    }

    /// Asks it to stop; returns how it ended.
    fn stop(mut self) -> io::Result<()> {
        drop(self.stop.take());
        let thread = self.thread.take().expect("stopped once");
        thread.join().expect("the worker does not panic")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stop.take());
    }
}

fn send(stream: &mut TcpStream, request: &str) {
    stream
        .write_all(request.as_bytes())
        .expect("the request is sent");
}

/// One response, read to its end by its own framing.
#[derive(Debug)]
struct Reply {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Reply {
    fn read(stream: &mut TcpStream, to_head: bool) -> Reply {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream
                .read_exact(&mut byte)
                .unwrap_or_else(|error| panic!("{error} after {head:?}"));
            head.push(byte[0]);
        }
        let head = String::from_utf8(head)
            .expect("a head is text")
            .to_ascii_lowercase();
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .expect("a status");
        let mut reply = Reply {
            status,
            head,
            body: Vec::new(),
        };
        let length = reply
            .field("content-length")
            .map_or(0, |length| length.parse().expect("a length"));
        if !to_head {
            reply.body = vec![0; length];
            stream
                .read_exact(&mut reply.body)
                .expect("the body is complete");
        }
        reply
    }

    fn field(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

#[doc(hidden)]
pub fn health_is_answered(subject: Subject) {
    let reply = Running::start(subject).get("/health");
    assert_eq!(reply.status, 200);
    assert_eq!(reply.field("content-type"), Some("application/json"));
    let content = reply.json();
    assert_eq!(content["status"], "healthy");
    assert_eq!(content["framework"], subject.framework.name());
}

#[doc(hidden)]
pub fn work_takes_its_delay_and_says_who_did_it(subject: Subject) {
    let options = WorkerOptions {
        delay: Some("30".to_owned()),
        ..WorkerOptions::default()
    };
    let worker = Running::with(subject, options);
    let began = Instant::now();
    let reply = worker.get("/work");
    assert!(began.elapsed() >= Duration::from_millis(30));
    let content = reply.json();
    assert_eq!((reply.status, &content["worker"]), (200, &json!("w")));
    assert_eq!(content["framework"], subject.framework.name());
    assert!(content["took_ms"].as_f64().expect("a number") >= 30.0);
}

#[doc(hidden)]
pub fn paths_are_the_same_under_v1(subject: Subject) {
    let worker = Running::start(subject);
    for path in ["/v1/health", "/v1/work", "/v1/chaos"] {
        assert_eq!(worker.get(path).status, 200, "{path}");
    }
}

#[doc(hidden)]
pub fn bodies_are_counted(subject: Subject) {
    let worker = Running::start(subject);
    let head = "POST /work HTTP/1.1\r\nHost: w\r\n";
    let reply = worker.ask(&format!("{head}Content-Length: 5\r\n\r\nhello"));
    assert_eq!(
        (reply.status, &reply.json()["received_bytes"]),
        (200, &json!(5))
    );
    let chunks = "5\r\nhello\r\n3\r\nyou\r\n0\r\n\r\n";
    let reply = worker.ask(&format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunks}"));
    assert_eq!(
        (reply.status, &reply.json()["received_bytes"]),
        (200, &json!(8))
    );
}

#[doc(hidden)]
pub fn answer_to_head_has_no_body(subject: Subject) {
    let worker = Running::start(subject);
    let mut stream = worker.connect();
    send(
        &mut stream,
        "HEAD /health HTTP/1.1\r\nHost: w\r\n\r\nGET /health HTTP/1.1\r\nHost: w\r\n\r\n",
    );
    assert_eq!(Reply::read(&mut stream, true).status, 200);
    // Had a body followed the first, this would not be a response.
    assert_eq!(Reply::read(&mut stream, false).json()["status"], "healthy");
}

#[doc(hidden)]
pub fn unknown_path_is_404_and_wrong_method_405(subject: Subject) {
    let worker = Running::start(subject);
    assert_eq!(worker.get("/nowhere").status, 404);
    let reply = worker.ask("DELETE /work HTTP/1.1\r\nHost: w\r\n\r\n");
    assert_eq!(reply.status, 405);
    let allow = reply.field("allow").expect("what is allowed");
    assert!(allow.contains("get") && allow.contains("post"), "{allow}");
}

#[doc(hidden)]
pub fn query_overrides_delay_status_and_size(subject: Subject) {
    let worker = Running::start(subject);
    let began = Instant::now();
    assert_eq!(worker.get("/work?delay=40ms").status, 200);
    assert!(began.elapsed() >= Duration::from_millis(40));
    assert_eq!(worker.get("/work?status=503").status, 503);
    let reply = worker.get("/work?size=200KiB");
    assert!(reply.body.len() >= 200 << 10);
    assert_eq!(reply.json()["worker"], "w");
}

#[doc(hidden)]
pub fn bad_overrides_are_refused_by_name(subject: Subject) {
    let worker = Running::start(subject);
    for (query, name) in [
        ("delay=soon", "delay"),
        ("status=99", "status"),
        ("size=-1", "size"),
    ] {
        let reply = worker.get(&format!("/work?{query}"));
        assert_eq!(reply.status, 400, "{query}");
        assert!(
            reply.json()["detail"].to_string().contains(name),
            "{reply:?}"
        );
    }
}

#[doc(hidden)]
pub fn error_rate_of_all_fails_every_request(subject: Subject) {
    let options = WorkerOptions {
        error_rate: Some("100%".to_owned()),
        ..WorkerOptions::default()
    };
    let worker = Running::with(subject, options);
    for _ in 0..5 {
        assert_eq!(worker.get("/work").status, 500);
    }
    assert_eq!(worker.get("/health").status, 200);
}

#[doc(hidden)]
pub fn speed_divides_every_delay(subject: Subject) {
    let options = WorkerOptions {
        delay: Some("4s".to_owned()),
        speed: Some("100".to_owned()),
        ..WorkerOptions::default()
    };
    let worker = Running::with(subject, options);
    let took = |path: &str| {
        let reply = worker.get(path);
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.json()["took_ms"].as_f64().expect("a number")
    };
    assert!((40.0..4_000.0).contains(&took("/work")));
    assert!((50.0..5_000.0).contains(&took("/work?delay=5s")));
    worker.chaos(&json!({ "speed": 0.1 }));
    assert!(took("/work?delay=5ms") >= 50.0);
}

#[doc(hidden)]
pub fn errors_take_as_long_as_they_are_told(subject: Subject) {
    let worker = Running::start(subject);
    worker.chaos(&json!({ "error_rate": "100%", "error_after": "40ms" }));
    let began = Instant::now();
    assert_eq!(worker.get("/work").status, 500);
    assert!(began.elapsed() >= Duration::from_millis(40));
}

#[doc(hidden)]
pub fn capacity_queues_what_exceeds_it(subject: Subject) {
    let options = WorkerOptions {
        capacity: Some("1".to_owned()),
        delay: Some("40ms".to_owned()),
        ..WorkerOptions::default()
    };
    let worker = Running::with(subject, options);
    let began = Instant::now();
    let mut streams: Vec<_> = (0..3).map(|_| worker.connect()).collect();
    for stream in &mut streams {
        send(stream, "GET /work HTTP/1.1\r\nHost: w\r\n\r\n");
    }
    for stream in &mut streams {
        assert_eq!(Reply::read(stream, false).status, 200);
    }
    assert!(
        began.elapsed() >= Duration::from_millis(120),
        "one after the other"
    );
}

#[doc(hidden)]
pub fn chaos_is_shown_changed_and_reset(subject: Subject) {
    let worker = Running::start(subject);
    let start = worker.get("/chaos").json();
    let changed = worker.chaos(&json!({ "error_rate": "100%", "error_status": 502 }));
    assert_eq!(changed.status, 200, "{changed:?}");
    assert_eq!(
        changed.json()["delay"],
        start["delay"],
        "what is not mentioned stays"
    );
    assert_eq!(worker.get("/work").status, 502);
    assert_eq!(worker.chaos(&json!({ "reset": true })).json(), start);
    assert_eq!(worker.get("/work").status, 200);
    worker.chaos(&json!({ "refuse_health": true }));
    assert_eq!(worker.get("/health").status, 503);
    assert_eq!(
        worker
            .ask("DELETE /chaos HTTP/1.1\r\nHost: w\r\n\r\n")
            .json(),
        start
    );
}

#[doc(hidden)]
pub fn bad_chaos_changes_nothing(subject: Subject) {
    let worker = Running::start(subject);
    let start = worker.get("/chaos").json();
    for (document, name) in [
        (json!({ "error_rat": "1%" }), "error_rat"),
        (json!({ "error_rate": "200%", "hang": true }), "error_rate"),
        (json!({ "delay": "soon" }), "delay"),
    ] {
        let reply = worker.chaos(&document);
        assert_eq!(reply.status, 400, "{document}");
        assert!(
            String::from_utf8_lossy(&reply.body).contains(name),
            "{reply:?}"
        );
    }
    assert_eq!(worker.get("/chaos").json(), start);
}

#[doc(hidden)]
pub fn hung_work_leaves_health_alone(subject: Subject) {
    let worker = Running::start(subject);
    worker.chaos(&json!({ "hang": true }));
    let mut hung = worker.connect();
    send(&mut hung, "GET /work HTTP/1.1\r\nHost: w\r\n\r\n");
    assert_eq!(worker.get("/health").status, 200);
    hung.set_nonblocking(true).expect("a socket option");
    let read = hung.read(&mut [0]).map_err(|error| error.kind());
    assert_eq!(read, Err(io::ErrorKind::WouldBlock), "nothing came");
}

#[doc(hidden)]
pub fn pause_holds_everything_but_chaos(subject: Subject) {
    let worker = Running::start(subject);
    let began = Instant::now();
    worker.chaos(&json!({ "pause": "150ms" }));
    assert_eq!(worker.get("/chaos").status, 200);
    assert_eq!(worker.get("/health").status, 200);
    assert!(began.elapsed() >= Duration::from_millis(150));
}

#[doc(hidden)]
pub fn close_sends_not_a_byte(subject: Subject) {
    let worker = Running::start(subject);
    worker.chaos(&json!({ "close": true }));
    let mut stream = worker.connect();
    send(&mut stream, "GET /work HTTP/1.1\r\nHost: w\r\n\r\n");
    let mut received = Vec::new();
    // A close or a reset.
    let _ = stream.read_to_end(&mut received);
    assert_eq!(String::from_utf8_lossy(&received), "");
    assert_eq!(worker.chaos(&json!({ "close": false })).status, 200);
    assert_eq!(worker.get("/work").status, 200);
}

#[doc(hidden)]
pub fn connection_is_kept_for_the_next_request(subject: Subject) {
    let worker = Running::start(subject);
    let mut stream = worker.connect();
    for _ in 0..3 {
        send(&mut stream, "GET /health HTTP/1.1\r\nHost: w\r\n\r\n");
        assert_eq!(Reply::read(&mut stream, false).status, 200);
    }
}

#[doc(hidden)]
pub fn drain_answers_what_is_in_flight(subject: Subject) {
    let options = WorkerOptions {
        delay: Some("300ms".to_owned()),
        ..WorkerOptions::default()
    };
    let worker = Running::with(subject, options);
    let mut idle = worker.connect();
    send(&mut idle, "GET /health HTTP/1.1\r\nHost: w\r\n\r\n");
    assert_eq!(Reply::read(&mut idle, false).status, 200);
    let mut busy = worker.connect();
    send(&mut busy, "GET /work HTTP/1.1\r\nHost: w\r\n\r\n");
    // A request sent later and answered: the one before has been read.
    assert_eq!(worker.get("/health").status, 200);
    let address = worker.address;
    let stopping = std::thread::spawn(|| worker.stop());
    assert_eq!(Reply::read(&mut busy, false).status, 200);
    stopping.join().expect("no panic").expect("a clean end");
    assert!(
        TcpStream::connect(address).is_err(),
        "nobody listens any more"
    );
}
