//! A line for each request, whatever became of it; [`targets`] is where lines go.

mod targets;

use crate::balancer::{Balancer, GET, Nobody, balancer_at, balancer_with};
use lemonade_load_balancer::config::{AccessLogFormat, Always, Config, Hedge, Statuses};
use lemonade_test::{Connection, Gate, Origin, PATIENCE, until};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// A log in a folder of its own.
struct Log {
    _folder: TempDir,
    path: PathBuf,
}

impl Log {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        Log {
            _folder: folder,
            path,
        }
    }

    /// Has every request logged here.
    fn of_all(&self, config: &mut Config) {
        config.access_log.sample = 1.0;
        config.access_log.file = Some(self.path.clone());
    }

    /// The lines, once there are so many.
    async fn lines(&self, count: usize) -> Vec<Value> {
        let text = text_with(&self.path, count).await;
        let lines = text.lines().map(serde_json::from_str);
        lines.collect::<Result<_, _>>().unwrap()
    }

    /// The only line.
    async fn line(&self) -> Value {
        self.lines(1).await.remove(0)
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

async fn text_with(path: &Path, lines: usize) -> String {
    until(format!("{lines} lines are written"), || {
        read(path).lines().count() >= lines
    })
    .await;
    let text = read(path);
    assert_eq!(text.lines().count(), lines, "{text}");
    text
}

fn seconds(line: &Value, key: &str) -> f64 {
    let found = line[key].as_f64();
    found.unwrap_or_else(|| panic!("no {key} in {line}"))
}

/// None is as long as nothing.
fn seconds_if_any(line: &Value, key: &str) -> f64 {
    line[key].as_f64().unwrap_or(0.0)
}

/// Of each attempt what is told, if it is.
fn attempts(line: &Value) -> &[Value] {
    line["attempts"].as_array().map_or(&[], Vec::as_slice)
}

/// The times of a line and of its attempts fit into each other.
fn assert_times_fit(line: &Value) {
    let total = seconds(line, "total_seconds");
    let parts: f64 = ["queue_seconds", "connect_seconds", "first_byte_seconds"]
        .map(|part| seconds_if_any(line, part))
        .iter()
        .sum();
    // Each of the three is rounded down, and so is the whole.
    assert!(parts <= total + 3e-6, "{line}");
    for attempt in attempts(line) {
        let took = seconds(attempt, "total_seconds");
        // The first one began with its request.
        let ended = seconds_if_any(attempt, "began_seconds") + took;
        assert!(ended <= total + 3e-6, "{line}");
        let parts =
            ["connect_seconds", "first_byte_seconds"].map(|part| seconds_if_any(attempt, part));
        assert!(parts.iter().sum::<f64>() <= took + 3e-6, "{line}");
    }
}

/// Answers `/404` 404, `/500` 500, anything else 200 with a body of five bytes.
async fn by_path() -> Origin {
    Origin::start(async |mut connection: Connection| {
        while let Ok(request) = connection.request().await {
            let status = match request.target().split('?').next().unwrap() {
                "/404" => "404 No",
                "/500" => "500 Oh",
                _ => "200 OK",
            };
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 5\r\n\r\nhello");
            connection.send(answer).await;
        }
    })
    .await
}

#[tokio::test]
async fn line_tells_everything_of_a_request_but_its_secrets() {
    let origin = by_path().await;
    let log = Log::new();
    let balancer = balancer_with(&[&origin], |config| {
        config.backends[0].name = "w\"1".to_owned();
        log.of_all(config);
    });
    let mut client = balancer.client().await;
    client
        .ask("POST http://shop/work?password=hunter2 HTTP/1.1\r\nHost: shop\r\nX-Request-Id: me\r\nUser-Agent: it \"quoted\"\r\nAuthorization: Basic aHVudGVyMg==\r\nCookie: s=hunter2\r\ntraceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\nContent-Length: 4\r\n\r\nbody")
        .await;
    client
        .ask("GET /500 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        .await;
    let lines = log.lines(2).await;
    assert!(!read(&log.path).contains("hunter2") && !read(&log.path).contains("aHVudGVyMg"));
    let first = &lines[0];
    for (key, value) in [
        ("request_id", json!("me")),
        ("trace_id", json!("4bf92f3577b34da6a3ce929d0e0e4736")),
        ("client", json!(client.address().to_string())),
        ("method", json!("POST")),
        ("host", json!("shop")),
        ("path", json!("/work")),
        ("protocol", json!("HTTP/1.1")),
        ("status", json!(200)),
        ("flag", Value::Null),
        ("strategy", json!("round_robin")),
        ("backend", json!("w\"1")),
        ("attempts", Value::Null),
        ("queue_seconds", Value::Null),
        ("bytes_in", json!(4)),
        ("bytes_out", json!(5)),
        ("user_agent", json!("it \"quoted\"")),
    ] {
        assert_eq!(first[key], value, "{key}");
    }
    assert!(first["time"].as_str().unwrap().ends_with('Z'), "{first}");
    assert!(seconds(first, "connect_seconds") > 0.0, "{first}");
    assert!(seconds(first, "first_byte_seconds") > 0.0, "{first}");

    let second = &lines[1];
    assert_eq!(
        (&second["status"], &second["protocol"]),
        (&json!(500), &json!("HTTP/1.0"))
    );
    assert_eq!(
        (&second["user_agent"], &second["trace_id"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(second["request_id"].as_str().unwrap().len(), 20);
    assert_eq!(second["connect_seconds"], Value::Null, "it was kept");
    lines.iter().for_each(assert_times_fit);
}

#[tokio::test]
async fn text_line_tells_what_people_look_for() {
    let origin = by_path().await;
    let log = Log::new();
    let balancer = balancer_with(&[&origin], |config| {
        log.of_all(config);
        config.backends[0].name = "w".to_owned();
        config.access_log.format = AccessLogFormat::Text;
        config.access_log.truncate_clients = true;
    });
    balancer
        .ask("GET /404?q HTTP/1.1\r\nHost: h\r\nX-Request-Id: me\r\nUser-Agent: \u{9b}31m\r\n\r\n")
        .await;
    let text = text_with(&log.path, 1).await;
    let (_, rest) = text.split_once(' ').unwrap();
    assert!(
        rest.starts_with("127.0.0.0 \"GET h/404 HTTP/1.1\" 404 \"w\" 0.0"),
        "{text}"
    );
    assert!(rest.contains("s 5 me connect="), "{text}");
    assert!(
        rest.ends_with(" strategy=\"round_robin\" user_agent=\"\\u009b31m\"\n"),
        "{text}"
    );
}

#[tokio::test]
async fn each_attempt_of_a_retried_request_is_told() {
    let nobody = Nobody::new();
    let busy = Origin::answering("HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n").await;
    let mute = Origin::start(async |mut connection: Connection| {
        let _ = connection.request().await;
    })
    .await;
    let good = Origin::named("good").await;
    let log = Log::new();
    // Who cannot be reached is none of the pool any more, so those after him are not in the order of this list.
    let addresses = [
        busy.address(),
        mute.address(),
        nobody.address(),
        good.address(),
    ];
    let balancer = balancer_at(&addresses, |config| {
        log.of_all(config);
        config.retries.attempts = 3;
        config.retries.budget = 1.0;
        for (backend, name) in config
            .backends
            .iter_mut()
            .zip(["busy", "mute", "nobody", "good"])
        {
            backend.name = name.to_owned();
        }
    });
    assert_eq!(balancer.get("/").await.text(), "good");
    let line = log.line().await;
    assert_eq!(
        (&line["status"], &line["backend"]),
        (&json!(200), &json!("good"))
    );
    let told = |key: &str| -> Vec<Value> {
        let told = attempts(&line).iter();
        told.map(|attempt| attempt[key].clone()).collect()
    };
    assert_eq!(told("backend"), ["busy", "mute", "nobody", "good"]);
    assert_eq!(
        told("error"),
        [
            Value::Null,
            json!("unanswered"),
            json!("connect_failed"),
            Value::Null
        ]
    );
    assert_eq!(
        told("status"),
        [json!(503), Value::Null, Value::Null, json!(200)]
    );
    assert_times_fit(&line);
}

#[tokio::test]
async fn second_copy_that_won_is_told_beside_the_first() {
    let gate = Gate::shut();
    let (late, quick) = (
        Origin::behind(&gate, "late").await,
        Origin::named("quick").await,
    );
    let log = Log::new();
    let balancer = balancer_with(&[&late, &quick], |config| {
        log.of_all(config);
        config.hedge = Some(Hedge {
            after: Duration::from_millis(30),
            budget: 1.0,
        });
    });
    assert_eq!(balancer.get("/").await.text(), "quick");
    let line = log.line().await;
    assert_eq!(line["backend"], quick.address().to_string());
    let [first, second] = [0, 1].map(|place| &line["attempts"][place]);
    assert_eq!(
        (&first["error"], &first["hedge"]),
        (&json!("overtaken"), &Value::Null)
    );
    assert_eq!(
        (&second["status"], &second["hedge"]),
        (&json!(200), &json!(true))
    );
    assert!(seconds(second, "began_seconds") >= 0.03, "{line}");
    gate.open();
}

/// The origin gets one request at a time; the others wait for so long.
fn one_at_a_time(origin: &Origin, log: &Log, patience: Duration) -> Balancer {
    balancer_with(&[origin], |config| {
        log.of_all(config);
        config.backends[0].max_in_flight = Some(1);
        config.timeouts.queue = patience;
    })
}

#[tokio::test]
async fn time_in_the_queue_is_told_and_is_not_the_backends() {
    let gate = Gate::shut();
    let origin = Origin::behind(&gate, "late").await;
    let log = Log::new();
    let balancer = one_at_a_time(&origin, &log, PATIENCE);
    let (mut first, mut second) = (balancer.client().await, balancer.client().await);
    first.send(GET).await;
    origin.request(1).await;
    second.send(GET).await;
    until("one waits", || balancer.app.queued() == 1).await;
    gate.open();
    first.answer().await;
    second.answer().await;
    let lines = log.lines(2).await;
    let queued = lines
        .iter()
        .filter(|line| line["queue_seconds"] != Value::Null);
    assert_eq!(queued.count(), 1);
    lines.iter().for_each(assert_times_fit);
}

#[tokio::test]
async fn time_that_was_waited_in_vain_is_told() {
    let gate = Gate::shut();
    let origin = Origin::behind(&gate, "late").await;
    let log = Log::new();
    let balancer = one_at_a_time(&origin, &log, Duration::from_millis(100));
    let (mut first, mut second) = (balancer.client().await, balancer.client().await);
    first.send(GET).await;
    origin.request(1).await;
    assert_eq!(second.ask(GET).await.status(), 503);
    let line = log.line().await;
    assert_eq!(line["flag"], "overflow");
    assert!(seconds(&line, "queue_seconds") >= 0.1, "{line}");
    assert_times_fit(&line);
    gate.open();
    first.answer().await;
}

#[tokio::test]
async fn refused_requests_are_told_with_what_is_known_of_them() {
    let origin = by_path().await;
    let log = Log::new();
    let balancer = balancer_with(&[&origin], |config| {
        log.of_all(config);
        config.timeouts.request_header = Duration::from_millis(100);
        config.limits.header_bytes = 1024;
        config.limits.uri_bytes = 512;
    });
    let long = "x".repeat(2000);
    for (request, status, method, path) in [
        ("BAD\r\n\r\n".to_owned(), 400, Value::Null, Value::Null),
        (
            "GET /a?b HTTP/1.1\r\n\r\n".to_owned(),
            400,
            json!("GET"),
            json!("/a"),
        ),
        (
            "GET http://u:secret@h/ HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(),
            400,
            json!("GET"),
            Value::Null,
        ),
        (
            format!("PUT /b HTTP/1.1\r\nHost: h\r\nX: {long}\r\n\r\n"),
            431,
            json!("PUT"),
            json!("/b"),
        ),
        (
            format!("GET /c?{long} HTTP/1.1\r\nHost: h\r\n\r\n"),
            414,
            json!("GET"),
            json!("/c"),
        ),
        (
            "GET /d HTTP/1.1\r\nHos".to_owned(),
            408,
            json!("GET"),
            json!("/d"),
        ),
    ] {
        let answer = balancer.ask(&request).await;
        assert_eq!(answer.status(), status, "{request}");
        until("it is told", || read(&log.path).ends_with('\n')).await;
        let line = log.line().await;
        assert_eq!(
            (&line["status"], &line["method"], &line["path"]),
            (&json!(status), &method, &path)
        );
        let flag = if status == 408 {
            "timeout"
        } else {
            "bad_request"
        };
        assert_eq!(
            (&line["flag"], &line["request_id"]),
            (&json!(flag), &Value::Null)
        );
        assert!(!line.to_string().contains("secret"), "{line}");
        // The balancer goes on appending to the file, wherever it ends.
        OpenOptions::new()
            .write(true)
            .open(&log.path)
            .unwrap()
            .set_len(0)
            .unwrap();
    }
}

#[tokio::test]
async fn connection_that_is_turned_away_is_told() {
    let origin = by_path().await;
    let log = Log::new();
    let balancer = balancer_with(&[&origin], |config| {
        log.of_all(config);
        config.limits.max_connections = 1;
    });
    let mut first = balancer.client().await;
    first.get("/").await;
    assert_eq!(balancer.client().await.answer().await.status(), 503);
    let lines = log.lines(2).await;
    let refused = lines.iter().find(|line| line["status"] == 503).unwrap();
    assert_eq!(
        (&refused["flag"], &refused["attempts"]),
        (&json!("overflow"), &Value::Null)
    );
    assert_eq!(refused["protocol"], Value::Null);
}

#[tokio::test]
async fn answer_that_was_cut_short_is_told() {
    let origin = Origin::start(async |mut connection: Connection| {
        if connection.request().await.is_ok() {
            connection
                .send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789")
                .await;
        }
    })
    .await;
    let log = Log::new();
    let balancer = balancer_with(&[&origin], |config| log.of_all(config));
    let mut client = balancer.client().await;
    assert!(client.try_answer_to(GET).await.is_err());
    let line = log.line().await;
    assert_eq!(
        (&line["status"], &line["flag"]),
        (&json!(200), &json!("answer_cut"))
    );
    let attempt = &line["attempts"][0];
    assert_eq!(
        (&attempt["status"], &attempt["error"]),
        (&json!(200), &json!("answer_cut"))
    );
    assert_eq!(line["bytes_out"], 10);
}

#[tokio::test]
async fn client_that_left_is_told_as_499() {
    let gate = Gate::shut();
    let origin = Origin::behind(&gate, "late").await;
    let log = Log::new();
    let balancer = balancer_with(&[&origin], |config| log.of_all(config));
    let mut client = balancer.client().await;
    client.send(GET).await;
    origin.request(1).await;
    drop(client);
    let line = log.line().await;
    assert_eq!(
        (&line["status"], &line["flag"]),
        (&json!(499), &json!("client_gone"))
    );
    assert_eq!(line["attempts"][0]["error"], "client_gone");
    gate.open();
}

#[tokio::test]
async fn request_that_no_backend_could_serve_is_told() {
    let nobody = Nobody::new();
    let log = Log::new();
    let balancer = balancer_at(&[nobody.address()], |config| log.of_all(config));
    balancer.get("/").await;
    let line = log.line().await;
    assert_eq!(
        (&line["status"], &line["flag"]),
        (&json!(502), &json!("connect_failed"))
    );
    assert_eq!(line["attempts"][0]["error"], "connect_failed");
}

#[tokio::test]
async fn tunnel_is_told_when_it_ends() {
    let origin = Origin::start(async |mut connection: Connection| {
        if connection.request().await.is_ok() {
            let switched = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nhello";
            connection.send(switched).await;
            let _ = connection.exactly(3).await;
        }
    })
    .await;
    let log = Log::new();
    let balancer = balancer_with(&[&origin], |config| log.of_all(config));
    let mut client = balancer.client().await;
    client
        .send("GET /chat HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
        .await;
    assert_eq!(client.head().await.status(), 101);
    assert_eq!(client.exactly(5).await, b"hello");
    assert_eq!(read(&log.path), "");
    client.send("bye").await;
    client.finish().await;
    client.closed().await;
    let line = log.line().await;
    assert_eq!(
        (&line["status"], &line["attempts"]),
        (&json!(101), &Value::Null)
    );
    assert_eq!(
        (&line["bytes_in"], &line["bytes_out"]),
        (&json!(3), &json!(5))
    );
    assert_times_fit(&line);
}

fn always(always: Always, log: &Log) -> impl FnOnce(&mut Config) {
    let path = log.path.clone();
    move |config| {
        config.access_log.always = always;
        // Shards hand their lines over each for itself.
        config.runtime.shards = 1;
        config.access_log.file = Some(path);
    }
}

#[tokio::test]
async fn what_is_always_logged_is_logged_without_a_sample() {
    let origin = by_path().await;
    let log = Log::new();
    let statuses = Always {
        statuses: Some(Statuses::new(vec![500..=599, 400..=400])),
        ..Always::default()
    };
    let balancer = balancer_with(&[&origin], always(statuses, &log));
    for path in ["/", "/404", "/500", "/"] {
        balancer.get(path).await;
    }
    balancer.ask("BAD\r\n\r\n").await;
    let lines = log.lines(2).await;
    assert_eq!(
        (&lines[0]["status"], &lines[1]["status"]),
        (&json!(500), &json!(400))
    );
}

#[tokio::test]
async fn slow_requests_are_those_that_took_longer() {
    let origin = by_path().await;
    for (bound, slow) in [(Duration::ZERO, true), (Duration::from_secs(3600), false)] {
        let log = Log::new();
        let filter = Always {
            slower_than: Some(bound),
            statuses: Some(Statuses::new(vec![404..=404])),
            ..Always::default()
        };
        let balancer = balancer_with(&[&origin], always(filter, &log));
        let mut client = balancer.client().await;
        client.get("/").await;
        client.get("/404").await;
        let lines = log.lines(if slow { 2 } else { 1 }).await;
        assert_eq!(lines.last().unwrap()["status"], 404);
    }
}

#[tokio::test]
async fn retried_requests_are_logged_whatever_came_of_them() {
    let (nobody, good) = (Nobody::new(), Origin::named("good").await);
    let log = Log::new();
    let retried = Always {
        retried: true,
        ..Always::default()
    };
    let balancer = balancer_at(&[nobody.address(), good.address()], always(retried, &log));
    // The second is picked when it is the only one left.
    for _ in 0..4 {
        assert_eq!(balancer.get("/").await.text(), "good");
    }
    let failures = balancer
        .metric(&format!(
            "lemonade_backend_retries_total{{backend=\"{}\"}}",
            nobody.address()
        ))
        .await;
    assert!(failures >= 1.0);
    for line in log.lines(failures as usize).await {
        assert_eq!(attempts(&line).len(), 2);
    }
}

#[tokio::test]
async fn controls_in_a_clients_words_are_harmless_and_networks_hide_clients() {
    let origin = by_path().await;
    let log = Log::new();
    let balancer = balancer_with(&[&origin], |config| {
        log.of_all(config);
        config.access_log.truncate_clients = true;
    });
    balancer
        .ask("GET /\"\\ HTTP/1.1\r\nHost: h\r\nUser-Agent: a\tb\u{9b}c\r\n\r\n")
        .await;
    let line = log.line().await;
    assert_eq!(line["client"], "127.0.0.0");
    assert_eq!(line["user_agent"], "a\tb\u{9b}c");
    assert!(read(&log.path).contains(r#""user_agent":"a\u0009b\u009bc""#));
}

/// The names in the first column of the table under a heading of `docs/access-log.md`.
fn documented(heading: &str) -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/access-log.md");
    let text = std::fs::read_to_string(path).unwrap();
    let section = text.split(&format!("\n## {heading}\n")).nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(|row| row.strip_prefix("| `"));
    rows.map(|row| row.split('`').next().unwrap().to_owned())
        .collect()
}

fn keys(value: &Value) -> impl Iterator<Item = String> {
    value.as_object().unwrap().keys().cloned()
}

/// Lines that have every field there is between them.
#[tokio::test]
async fn every_field_is_documented_and_occurs() {
    let gate = Gate::shut();
    let (nobody, late, quick) = (
        Nobody::new(),
        Origin::behind(&gate, "late").await,
        Origin::named("quick").await,
    );
    let log = Log::new();
    let addresses = [nobody.address(), late.address(), quick.address()];
    let balancer = balancer_at(&addresses, |config| {
        log.of_all(config);
        config.outlier = None;
        config.hedge = Some(Hedge {
            after: Duration::from_millis(30),
            budget: 1.0,
        });
    });
    let traced = "GET / HTTP/1.1\r\nHost: h\r\nUser-Agent: me\r\ntraceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n\r\n";
    let mut client = balancer.client().await;
    for _ in 0..3 {
        client.ask(traced).await;
    }
    // Nobody answers this one in time.
    let mut gone = balancer.client().await;
    gone.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\na")
        .await;
    until("it is somewhere", || {
        (0..3).map(|place| balancer.in_flight(place)).sum::<u32>() > 0
    })
    .await;
    drop(gone);
    let busy = balancer_with(&[&late], |config| {
        log.of_all(config);
        config.backends[0].max_in_flight = Some(1);
        config.timeouts.queue = Duration::from_millis(20);
    });
    let mut first = busy.client().await;
    first.send(GET).await;
    until("its place is taken", || busy.in_flight(0) == 1).await;
    assert_eq!(busy.get("/").await.status(), 503, "after a while");
    let lines = log.lines(5).await;
    let fields: BTreeSet<String> = lines.iter().flat_map(keys).collect();
    assert_eq!(fields, documented("Fields"));
    let attempts = lines.iter().flat_map(attempts);
    let fields: BTreeSet<String> = attempts.flat_map(keys).collect();
    assert_eq!(fields, documented("Attempts"));
    gate.open();
}
