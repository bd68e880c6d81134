//! Whatever a client or a backend sends, the other side gets what a second, strict reading sees in it, or nothing.

use crate::balancer::{Balancer, balancer_at};
use lemonade_test::judge::{Asking, Judge, Sending};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio::runtime::Runtime;

/// A balancer between the judge's two ends.
struct Bench {
    runtime: Runtime,
    judge: Judge,
    balancer: Balancer,
}

impl Bench {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let judge = runtime.block_on(Judge::start());
        let balancer = balancer_at(&[judge.origin()], |config| {
            config.runtime.shards = 1;
            config.retries.attempts = 0;
        });
        Bench {
            runtime,
            judge,
            balancer,
        }
    }

    /// Whether a good request was refused.
    fn requests(&self, bytes: &[u8], sending: Sending) -> bool {
        let proxy = self.balancer.app.listen();
        self.runtime
            .block_on(self.judge.judge_requests(proxy, bytes, sending))
    }

    /// Whether a good answer was refused.
    fn answer(&self, bytes: &[u8], asking: Asking) -> bool {
        let proxy = self.balancer.app.listen();
        self.runtime
            .block_on(self.judge.judge_answer(proxy, bytes, asking))
    }
}

/// Bytes that a failure shows readably.
#[derive(Clone)]
struct Wire(Vec<u8>);

impl std::fmt::Debug for Wire {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "b\"{}\"", self.0.escape_ascii())
    }
}

fn run<S: Strategy>(cases: u32, strategy: &S, judged: impl Fn(S::Value)) {
    let mut runner = TestRunner::new(Config {
        cases,
        // A case that hangs costs all of a test's patience.
        max_shrink_time: 20_000,
        failure_persistence: None,
        ..Config::default()
    });
    let ran = runner.run(strategy, |case| {
        judged(case);
        Ok(())
    });
    if let Err(error) = ran {
        panic!("{error}");
    }
}

/// One of these, as bytes.
fn one_of(parts: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::sample::select(parts).prop_map(str::to_owned)
}

/// What request smugglers have used, and their neighbours.
const SPICE: &[&str] = &[
    "\r\n",
    "\r",
    "\n",
    "\r\n\r\n",
    " ",
    "\t",
    ":",
    ";",
    ",",
    "\0",
    "0",
    "1",
    "5",
    "a",
    "F",
    "\x0b",
    "\u{e9}",
    "\"",
    "#",
    "%",
    "%zz",
    "HTTP/1.1",
    "HTTP/1.0",
    "GET ",
    "HEAD ",
    "Host: a\r\n",
    "Host: b\r\n",
    "Content-Length: 5\r\n",
    "Content-Length: 0\r\n",
    "Content-Length: 38\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: identity\r\n",
    "transfer-encoding:\tchunked \r\n",
    "Connection: close\r\n",
    "Connection: keep-alive, x-a\r\n",
    "Connection: content-length\r\n",
    "Expect: 100-continue\r\n",
    "Upgrade: websocket\r\nConnection: upgrade\r\n",
    "X-A: b\r\n",
    " folded\r\n",
    "0\r\n\r\n",
    "5\r\nhello\r\n",
    "GET /evil HTTP/1.1\r\nHost: a\r\n\r\n",
    "Max-Forwards: 0\r\n",
    "Max-Forwards: 2\r\n",
    "Via: 1.1 lemonade\r\n",
];

const FIELDS: &[&str] = &[
    "X-A: b\r\n",
    "x-a:\tc \r\n",
    "Accept: */*\r\n",
    "X-Empty:\r\n",
    "Connection: close\r\n",
    "Connection: keep-alive\r\n",
    "Connection: x-a, te\r\n",
    "TE: trailers\r\n",
    "Trailer: x-t\r\n",
    "Keep-Alive: timeout=5\r\n",
    "Via: 1.1 lemonade, 1.0 b\r\n",
    "X-Forwarded-For: 1.2.3.4\r\n",
    "X-Request-Id: one\r\n",
    "Max-Forwards: 1\r\n",
    "Max-Forwards: 0\r\n",
    "Upgrade: websocket\r\nConnection: upgrade\r\n",
    "Expect: 100-continue\r\n",
    "Cookie: a=1\r\n",
    "Set-Cookie: a=1\r\n",
    "X_Forwarded_For: 6.6.6.6\r\n",
    "Content_Length: 1\r\n",
    "X_Own: 1\r\n",
];

fn fields() -> impl Strategy<Value = String> {
    prop::collection::vec(one_of(FIELDS), 0..5).prop_map(|mut lines| {
        // Two of these are refused.
        let mut bounded = false;
        lines.retain(|line| {
            !line.starts_with("Max-Forwards") || !std::mem::replace(&mut bounded, true)
        });
        lines.concat()
    })
}

/// Framing fields, and a body that fits them.
fn framed() -> impl Strategy<Value = (String, Vec<u8>)> {
    let content = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        Just(b"GET /evil HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()),
        Just(b"0\r\n\r\n".to_vec()),
    ];
    let chunked = (
        prop::collection::vec((content.clone(), one_of(&["", ";a=b", ";x"])), 0..4),
        one_of(&["", "X-T: 1\r\n", "Content-Length: 4\r\n", "Cookie: x\r\n"]),
    )
        .prop_map(|(chunks, trailers)| {
            let mut body = Vec::new();
            for (data, extension) in chunks.iter().filter(|(data, _)| !data.is_empty()) {
                body.extend_from_slice(format!("{:x}{extension}\r\n", data.len()).as_bytes());
                body.extend_from_slice(data);
                body.extend_from_slice(b"\r\n");
            }
            body.extend_from_slice(format!("0\r\n{trailers}\r\n").as_bytes());
            ("Transfer-Encoding: chunked\r\n".to_owned(), body)
        });
    prop_oneof![
        2 => Just((String::new(), Vec::new())),
        2 => content.prop_map(|body| (format!("Content-Length: {}\r\n", body.len()), body)),
        2 => chunked,
    ]
}

fn request() -> impl Strategy<Value = Vec<u8>> {
    let method = one_of(&["GET", "HEAD", "POST", "OPTIONS", "TRACE", "PUT", "M-SEARCH"]);
    let target = one_of(&[
        "/",
        "/a?b",
        "*",
        "http://b/c",
        "http://b:81",
        "HTTP://b/",
        "//",
        "/%00",
        "/é",
        "/..;/",
    ]);
    let version = one_of(&["1.1", "1.1", "1.1", "1.0"]);
    (method, target, version, fields(), framed()).prop_map(
        |(method, target, version, fields, (framing, body))| {
            let head =
                format!("{method} {target} HTTP/{version}\r\nHost: a\r\n{fields}{framing}\r\n");
            [head.into_bytes(), body].concat()
        },
    )
}

fn answer() -> impl Strategy<Value = Vec<u8>> {
    let status = one_of(&[
        "200 OK",
        "200 OK",
        "204 No Content",
        "304 ",
        "426 Upgrade",
        "101 Switching",
        "100 Continue",
        "103 Hints",
        "500",
    ]);
    let version = one_of(&["1.1", "1.1", "1.1", "1.0"]);
    (status, version, fields(), framed()).prop_map(|(status, version, fields, (framing, body))| {
        let head = format!("HTTP/{version} {status}\r\n{fields}{framing}\r\n");
        [head.into_bytes(), body].concat()
    })
}

/// Cuts, doubles and spices `bytes` at a few places.
fn mutated(messages: impl Strategy<Value = Vec<Vec<u8>>>) -> impl Strategy<Value = Wire> {
    let change = (
        any::<prop::sample::Index>(),
        0..12usize,
        one_of(SPICE),
        0..6u8,
    );
    (messages, prop::collection::vec(change, 0..4)).prop_map(|(messages, changes)| {
        let mut bytes = messages.concat();
        for (at, length, spice, kind) in changes {
            let at = match kind {
                0..4 => at.index(bytes.len() + 1),
                _ => line_start(&bytes, at),
            };
            let end = (at + length).min(bytes.len());
            match kind {
                0 | 4.. => drop(bytes.splice(at..at, spice.into_bytes())),
                1 => drop(bytes.splice(at..end, spice.into_bytes())),
                2 => drop(bytes.drain(at..end)),
                _ => {
                    let part = bytes[at..end].to_vec();
                    drop(bytes.splice(at..at, part));
                }
            }
        }
        Wire(bytes)
    })
}

/// Somewhere that a line begins: a whole line of spice does most harm there.
fn line_start(bytes: &[u8], which: prop::sample::Index) -> usize {
    let ends = bytes
        .windows(2)
        .enumerate()
        .filter(|(_, pair)| pair == b"\r\n");
    let starts: Vec<usize> = ends.map(|(at, _)| at + 2).collect();
    match starts.is_empty() {
        true => 0,
        false => starts[which.index(starts.len())],
    }
}

fn sending() -> impl Strategy<Value = Sending> {
    (prop_oneof![Just(usize::MAX), 1..60usize], any::<bool>())
        .prop_map(|(step, closing)| Sending { step, closing })
}

#[test]
fn backend_gets_the_requests_that_the_client_sent_and_no_others() {
    let bench = Bench::new();
    let case = (mutated(prop::collection::vec(request(), 1..4)), sending());
    run(1500, &case, |(bytes, sending)| {
        bench.requests(&bytes.0, sending);
    });
}

#[test]
fn client_gets_the_answer_that_the_backend_sent_and_no_other() {
    let bench = Bench::new();
    let case = (
        mutated(prop::collection::vec(answer(), 1..4)),
        prop::sample::select(&Asking::ALL[..]),
    );
    run(1500, &case, |(bytes, asking)| {
        bench.answer(&bytes.0, asking);
    });
}

#[test]
fn good_messages_are_refused_neither_way() {
    let bench = Bench::new();
    let requests = prop::collection::vec(request(), 1..4).prop_map(|all| Wire(all.concat()));
    run(500, &(requests, sending()), |(bytes, sending)| {
        assert!(
            !bench.requests(&bytes.0, sending),
            "a good request is refused"
        );
    });
    let answers = prop::collection::vec(answer(), 1..4).prop_map(|all| Wire(all.concat()));
    let case = (answers, prop::sample::select(&Asking::ALL[..]));
    run(500, &case, |(bytes, asking)| {
        assert!(!bench.answer(&bytes.0, asking), "a good answer is refused");
    });
}
