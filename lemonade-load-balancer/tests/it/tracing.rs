//! What backends are told of the trace that a request belongs to.

use crate::balancer::{Balancer, balancer_with};
use lemonade_load_balancer::config::{Hedge, OtlpConfig, OtlpUrl, TracingConfig};
use lemonade_test::{Connection, Message, Origin, until};
use serde_json::Value;
use std::time::Duration;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

/// Traces are dropped: nobody listens there.
fn tracing(sample: f64) -> Option<TracingConfig> {
    let nowhere = OtlpUrl::parse("http://127.0.0.1:1").unwrap();
    let otlp = OtlpConfig::at(nowhere);
    Some(TracingConfig { otlp, sample })
}

fn traced(origins: &[&Origin], sample: f64) -> Balancer {
    balancer_with(origins, |config| config.tracing = tracing(sample))
}

fn asking(lines: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: t\r\n{lines}\r\n")
}

/// Trace id, span and flags.
fn told(request: &Message) -> (String, String, String) {
    assert_eq!(request.all("traceparent").count(), 1, "{request:?}");
    let value = request.field("traceparent").unwrap();
    let parts: Vec<&str> = value.split('-').collect();
    assert_eq!(parts.len(), 4, "{value}");
    assert_eq!(parts[0], "00");
    assert_eq!(
        (parts[1].len(), parts[2].len(), parts[3].len()),
        (32, 16, 2)
    );
    let [trace, span, flags] = [parts[1], parts[2], parts[3]].map(str::to_owned);
    (trace, span, flags)
}

#[tokio::test]
async fn without_tracing_the_callers_word_passes_as_it_came() {
    let origin = Origin::named("a").await;
    let balancer = balancer_with(&[&origin], |config| config.tracing = None);
    let lines = format!("Traceparent: 00-{TRACE}-{SPAN}-01\r\nTracestate: a=b\r\n");
    balancer.client().await.ask(asking(&lines)).await;
    let request = origin.request(1).await;
    assert_eq!(
        told(&request),
        (TRACE.to_owned(), SPAN.to_owned(), "01".to_owned())
    );
    assert_eq!(request.field("tracestate"), Some("a=b"));
}

#[tokio::test]
async fn trace_of_a_caller_goes_on_with_a_span_of_ours() {
    let origin = Origin::named("a").await;
    let balancer = traced(&[&origin], 0.0);
    for flags in ["01", "00"] {
        let lines = format!("Traceparent: 00-{TRACE}-{SPAN}-{flags}\r\nTracestate: a=b\r\n");
        balancer.client().await.ask(asking(&lines)).await;
    }
    let (first, second) = (origin.request(1).await, origin.request(2).await);
    let (trace, span, flags) = told(&first);
    assert_eq!((trace.as_str(), flags.as_str()), (TRACE, "01"));
    assert_ne!(span, SPAN, "the backend's parent is the balancer's span");
    assert_eq!(first.field("tracestate"), Some("a=b"));
    let (trace, _, flags) = told(&second);
    assert_eq!(
        (trace.as_str(), flags.as_str()),
        (TRACE, "00"),
        "the caller decides"
    );
}

#[tokio::test]
async fn caller_that_cannot_be_understood_has_no_say() {
    let origin = Origin::named("a").await;
    let balancer = traced(&[&origin], 0.0);
    let bad = [
        format!("00-{TRACE}-0000000000000000-01"),
        format!("00-{}-{SPAN}-01", "0".repeat(32)),
        format!("ff-{TRACE}-{SPAN}-01"),
        format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
        "nonsense".to_owned(),
    ];
    // Two callers are one too many.
    let two = format!("00-{TRACE}-{SPAN}-01\r\ntraceparent: 00-{TRACE}-{SPAN}-01");
    let mut client = balancer.client().await;
    for (at, value) in bad.iter().chain([&two]).enumerate() {
        let lines = format!("traceparent: {value}\r\ntracestate: a=b\r\n");
        client.ask(asking(&lines)).await;
        let request = origin.request(at + 1).await;
        let (trace, _, flags) = told(&request);
        assert_ne!(trace, TRACE, "{value}");
        assert_eq!(flags, "02", "{value}: random, and not sampled");
        assert!(!request.has("tracestate"), "{value}");
    }
}

#[tokio::test]
async fn chance_decides_where_no_caller_does() {
    for (sample, flags) in [(0.0, "02"), (1.0, "03")] {
        let origin = Origin::named("a").await;
        let balancer = traced(&[&origin], sample);
        let mut client = balancer.client().await;
        let mut traces = Vec::new();
        for count in 1..=20 {
            client.get("/").await;
            let (trace, _, told) = told(&origin.request(count).await);
            assert_eq!(told, flags);
            traces.push(trace);
        }
        traces.sort();
        traces.dedup();
        assert_eq!(traces.len(), 20, "each request is a trace of its own");
    }
}

#[tokio::test]
async fn each_attempt_is_its_backends_parent() {
    // Both answer 503 once, so that the request meets both.
    let busy = "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n";
    let (a, b) = (Origin::answering(busy).await, Origin::answering(busy).await);
    let balancer = balancer_with(&[&a, &b], |config| {
        config.tracing = tracing(1.0);
        config.outlier = None;
    });
    let body = "PUT / HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\n\r\nbody";
    assert_eq!(balancer.client().await.ask(body).await.status(), 503);
    let (first, second) = (a.request(1).await, b.request(1).await);
    let (one, two) = (told(&first), told(&second));
    assert_eq!(one.0, two.0, "one trace");
    assert_ne!(one.1, two.1, "two spans");
    assert_eq!((&*first.body, &*second.body), (&b"body"[..], &b"body"[..]));
}

#[tokio::test]
async fn both_copies_of_a_hedged_request_have_a_span() {
    let slow = Origin::start(async |mut connection: Connection| {
        while connection.request().await.is_ok() {
            connection.gone().await;
        }
    })
    .await;
    let fast = Origin::named("fast").await;
    let balancer = balancer_with(&[&slow, &fast], |config| {
        config.tracing = tracing(1.0);
        config.hedge = Some(Hedge {
            after: Duration::from_millis(30),
            budget: 1.0,
        });
    });
    let mut client = balancer.client().await;
    for _ in 0..2 {
        assert_eq!(client.get("/").await.text(), "fast");
    }
    let copies: Vec<_> = fast.requests().iter().map(told).collect();
    let original = told(&slow.request(1).await);
    let copy = copies.iter().find(|copy| copy.0 == original.0).unwrap();
    assert_ne!(copy.1, original.1);
}

#[tokio::test]
async fn logged_trace_is_the_one_that_backends_see() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let origin = Origin::named("a").await;
    let logging = |sample| {
        balancer_with(&[&origin], |config| {
            config.tracing = tracing(sample);
            config.access_log.sample = 1.0;
            config.access_log.file = Some(path.clone());
        })
    };
    // One that is not recorded, one that its caller has an id for, and one that is recorded.
    let silent = logging(0.0);
    silent.get("/unrecorded").await;
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
    let traced = format!("GET /called HTTP/1.1\r\nHost: t\r\ntraceparent: {parent}\r\n\r\n");
    silent.ask(&traced).await;
    drop(silent);
    let recording = logging(1.0);
    recording.get("/recorded").await;
    let (trace, _, _) = told(&origin.request(3).await);
    let lines = || std::fs::read_to_string(&path).unwrap_or_default();
    until("the lines are written", || lines().lines().count() == 3).await;
    let lines = lines();
    let logged = |path: &str| -> Value {
        let lines = lines.lines().map(serde_json::from_str::<Value>);
        let mut lines = lines.map(Result::unwrap);
        let line = lines.find(|line| line["path"] == path).unwrap();
        line["trace_id"].clone()
    };
    assert_eq!(logged("/unrecorded"), Value::Null);
    assert_eq!(logged("/called"), parent[3..35]);
    assert_eq!(logged("/recorded"), trace.as_str());
}
