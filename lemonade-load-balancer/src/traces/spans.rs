//! A trace as spans, by OpenTelemetry's semantic conventions for HTTP (stable since 1.23). Pure.
//!
//! ```text
//! GET           SERVER    the request
//! ├─ queue      INTERNAL  while it waited for a backend with room
//! ├─ pick       INTERNAL  the strategy's choice, before each attempt
//! └─ GET        CLIENT    an attempt; event `first_byte`
//!    └─ connect CLIENT    if a connection was opened for it
//! ```

use super::{Trace, TracedAttempt, context};
use crate::otlp::{Attributes, Clock, FIXED, SMALL, fixed, nest, open, opened, small};
use fastrand::Rng;
use opentelemetry_proto::tonic::trace::v1::{span::SpanKind, status::StatusCode};
use std::time::Duration;

/// The methods that the conventions know; any other is `_OTHER`.
const METHODS: [&str; 10] = [
    "CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE",
];
/// Of a span's flags (`SpanFlags` of the protocol): the trace is sampled.
const SAMPLED: u32 = 0x001;
/// It is known whether the parent is in another process,
const KNOWN_PARENT: u32 = 0x100;
/// and it is.
const REMOTE_PARENT: u32 = 0x200;

/// The spans of many traces, encoded as a `ScopeSpans`.
#[derive(Debug, Default)]
pub(crate) struct Spans {
    encoded: Vec<u8>,
    /// Those of the span that is put next.
    attributes: Attributes,
    /// Only storage.
    span: Vec<u8>,
}

impl Spans {
    /// Forgets those that there are. `scope_spans`: how the encoded message begins.
    pub(crate) fn begin(&mut self, scope_spans: &[u8]) {
        self.encoded.clear();
        self.encoded.extend_from_slice(scope_spans);
    }

    pub(crate) fn encoded(&self) -> &[u8] {
        &self.encoded
    }

    /// Adds a trace's, the request's first. What has no id of its own yet gets a random one.
    pub(crate) fn add(&mut self, trace: &Trace, clock: &Clock, rng: &mut Rng) {
        let mut writer = Writer {
            trace,
            started: clock.nanos(trace.started),
            spans: self,
        };
        writer.server();
        let request = Some(trace.span);
        if let Some((began, took)) = trace.queued {
            let queue = writer.span(context::span_id(rng), request, began, began + took);
            writer.put(queue, "queue", SpanKind::Internal);
        }
        for (place, attempt) in trace.attempts.iter().enumerate() {
            if let Some(picked) = attempt.picked {
                let end = attempt.began + picked;
                let pick = writer.span(context::span_id(rng), request, attempt.began, end);
                writer.put(pick, "pick", SpanKind::Internal);
            }
            writer.attempt(attempt, place);
            if let Some((began, took)) = attempt.connect {
                let id = context::span_id(rng);
                writer.connect(attempt, id, began, began + took);
            }
        }
    }
}

/// A span but for its name, its kind and its attributes. Times are nanoseconds since 1970.
#[derive(Clone, Copy)]
struct Span {
    id: u64,
    parent: Option<u64>,
    /// It is in another process.
    has_remote_parent: bool,
    began: u64,
    ended: u64,
    first_byte: Option<u64>,
    failed: bool,
}

impl Span {
    /// Adds its fields, by their numbers in the protocol. The protocol's own type has a string or a list for most of them: making
    /// those took longer than all else.
    fn encode(&self, trace: &Trace, name: &str, kind: SpanKind, encoded: &mut Vec<u8>) {
        /// Of field 16, four bytes wide.
        const FLAGS: [u8; 2] = [0x85, 0x01];
        const EVENT: &[u8] = b"first_byte";
        nest(1, &trace.trace_id.to_be_bytes(), encoded);
        nest(2, &self.id.to_be_bytes(), encoded);
        if let Some(state) = &trace.tracestate {
            nest(3, state.as_bytes(), encoded);
        }
        if let Some(parent) = self.parent {
            nest(4, &parent.to_be_bytes(), encoded);
        }
        nest(5, name.as_bytes(), encoded);
        small(6, kind as u8, encoded);
        fixed(7, self.began, encoded);
        fixed(8, self.ended, encoded);
        if let Some(at) = self.first_byte {
            open(11, FIXED + opened(EVENT.len()), encoded);
            fixed(1, at, encoded);
            nest(2, EVENT, encoded);
        }
        if self.failed {
            open(15, SMALL, encoded);
            small(3, StatusCode::Error as u8, encoded);
        }
        let remote = u32::from(self.has_remote_parent) * REMOTE_PARENT;
        encoded.extend_from_slice(&FLAGS);
        encoded.extend_from_slice(&(SAMPLED | KNOWN_PARENT | remote).to_le_bytes());
    }
}

/// Adds the spans of one trace.
struct Writer<'w> {
    trace: &'w Trace,
    /// Nanoseconds since 1970.
    started: u64,
    spans: &'w mut Spans,
}

impl<'w> Writer<'w> {
    /// Times are since the request's start.
    fn span(&self, id: u64, parent: Option<u64>, began: Duration, ended: Duration) -> Span {
        Span {
            id,
            parent,
            has_remote_parent: false,
            began: self.at(began),
            // A reader may refuse an end before the beginning.
            ended: self.at(ended.max(began)),
            first_byte: None,
            failed: false,
        }
    }

    fn at(&self, since: Duration) -> u64 {
        self.started + since.as_nanos() as u64
    }

    /// Adds a span with the attributes that were said of it.
    fn put(&mut self, span: Span, name: &str, kind: SpanKind) {
        const SPANS: u8 = 2;
        let spans = &mut *self.spans;
        spans.span.clear();
        span.encode(self.trace, name, kind, &mut spans.span);
        spans.span.append(&mut spans.attributes.encoded);
        nest(SPANS, &spans.span, &mut spans.encoded);
    }

    fn server(&mut self) {
        let trace = self.trace;
        let mut span = Span {
            has_remote_parent: trace.parent.is_some(),
            ..self.span(trace.span, trace.parent, Duration::ZERO, trace.took)
        };
        self.method();
        let said = &mut self.spans.attributes;
        said.text("url.path", &trace.path);
        said.text("url.scheme", trace.scheme);
        said.address("client.address", trace.client);
        said.number("http.response.status_code", trace.status.into());
        said.text("network.protocol.version", trace.version);
        said.number("http.request.body.size", trace.bytes_in);
        said.number("http.response.body.size", trace.bytes_out);
        said.text("lemonade.strategy", trace.strategy);
        said.text("lemonade.request_id", &trace.request_id);
        server_address(&trace.host, said);
        if let Some(agent) = &trace.user_agent {
            said.text("user_agent.original", agent);
        }
        if let Some(flag) = trace.flag {
            said.text("lemonade.flag", flag);
        }
        // A client's fault is none of the server's.
        if trace.status >= 500 {
            match trace.flag {
                Some(flag) => self.failed(&mut span, flag),
                None => self.failed(&mut span, &trace.status.to_string()),
            }
        }
        self.put(span, self.name(), SpanKind::Server);
    }

    fn attempt(&mut self, attempt: &TracedAttempt, place: usize) {
        let trace = self.trace;
        let began = attempt.began + attempt.picked.unwrap_or_default();
        let mut span = self.span(attempt.span, Some(trace.span), began, attempt.ended);
        span.first_byte = attempt.first_byte.map(|at| self.at(at));
        self.method();
        self.peer(attempt);
        let url = format!("http://{}{}", attempt.peer, trace.path);
        let said = &mut self.spans.attributes;
        said.text("url.full", &url);
        if let Some(status) = attempt.status {
            said.number("http.response.status_code", status.into());
        }
        if place > 0 {
            said.number("http.request.resend_count", place as u64);
        }
        if attempt.hedge {
            said.truth("lemonade.hedge");
        }
        if attempt.reused {
            said.truth("lemonade.reused");
        }
        match (attempt.error, attempt.status) {
            (Some(error), _) => self.failed(&mut span, error),
            (None, Some(status)) if status >= 400 => self.failed(&mut span, &status.to_string()),
            _ => {}
        }
        self.put(span, self.name(), SpanKind::Client);
    }

    fn connect(&mut self, attempt: &TracedAttempt, id: u64, began: Duration, ended: Duration) {
        let mut span = self.span(id, Some(attempt.span), began, ended);
        let unanswered = attempt.first_byte.is_none() && attempt.status.is_none();
        self.peer(attempt);
        if let Some(error) = attempt.error
            && unanswered
            && error.starts_with("connect")
        {
            self.failed(&mut span, error);
        }
        self.put(span, "connect", SpanKind::Client);
    }

    /// Of a bounded set: a client chooses its method.
    fn name(&self) -> &'w str {
        let method = &*self.trace.method;
        if METHODS.contains(&method) {
            method
        } else {
            "HTTP"
        }
    }

    fn method(&mut self) {
        let method = &*self.trace.method;
        let said = &mut self.spans.attributes;
        if METHODS.contains(&method) {
            said.text("http.request.method", method);
        } else {
            said.text("http.request.method", "_OTHER");
            said.text("http.request.method_original", method);
        }
    }

    /// `why`: a word of a bounded set.
    fn failed(&mut self, span: &mut Span, why: &str) {
        self.spans.attributes.text("error.type", why);
        span.failed = true;
    }

    fn peer(&mut self, attempt: &TracedAttempt) {
        let said = &mut self.spans.attributes;
        said.address("server.address", attempt.peer.ip());
        said.number("server.port", attempt.peer.port().into());
        said.text("lemonade.backend", &attempt.backend);
    }
}

/// A host as it was asked for, its port apart.
fn server_address(host: &str, said: &mut Attributes) {
    if host.is_empty() {
        return;
    }
    let split = host.rsplit_once(':').and_then(|(name, port)| {
        let port: u16 = port.parse().ok()?;
        Some((name, port))
    });
    let (name, port) = match split {
        Some((name, port)) => (name, Some(port)),
        None => (host, None),
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    said.text("server.address", name);
    if let Some(port) = port {
        said.number("server.port", port.into());
    }
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use super::*;
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    use opentelemetry_proto::tonic::trace::v1::{ScopeSpans, Span};
    use prost::Message;
    use std::time::{SystemTime, UNIX_EPOCH};

    fn spans(trace: &Trace) -> Vec<Span> {
        let clock = Clock {
            wall: UNIX_EPOCH + Duration::from_secs(1000),
            steady: trace.started + Duration::from_secs(1),
        };
        let mut spans = Spans::default();
        spans.add(trace, &clock, &mut Rng::with_seed(1));
        ScopeSpans::decode(spans.encoded()).unwrap().spans
    }

    /// Begins 999 s after 1970.
    fn micros(nanos: u64) -> u64 {
        nanos / 1000 - 999_000_000
    }

    fn said(span: &Span, name: &str) -> Option<String> {
        let found = span.attributes.iter().find(|pair| pair.key == name)?;
        match found.value.clone()?.value? {
            Value::StringValue(text) => Some(text),
            Value::IntValue(number) => Some(number.to_string()),
            Value::BoolValue(truth) => Some(truth.to_string()),
            other => panic!("{other:?}"),
        }
    }

    fn is_error(span: &Span) -> bool {
        span.status.as_ref().is_some_and(|status| status.code == 2)
    }

    #[test]
    fn request_becomes_spans_below_its_own() {
        let trace = example();
        let spans = spans(&trace);
        let tree: Vec<_> = spans
            .iter()
            .map(|span| {
                let times = [span.start_time_unix_nano, span.end_time_unix_nano].map(micros);
                (span.name.as_str(), span.kind, times)
            })
            .collect();
        assert_eq!(
            tree,
            [
                ("GET", 2, [0, 20_000]),
                ("queue", 1, [1_000, 3_000]),
                ("pick", 1, [3_000, 3_001]),
                ("GET", 3, [3_001, 19_000]),
                ("connect", 3, [4_000, 5_000]),
            ]
        );
        let [server, queue, pick, attempt, connect] = &spans[..] else {
            panic!("{spans:?}");
        };
        assert_eq!(server.parent_span_id, trace.parent.unwrap().to_be_bytes());
        assert_eq!((server.flags, queue.flags), (0x301, 0x101));
        for child in [queue, pick, attempt] {
            assert_eq!(child.parent_span_id, server.span_id);
        }
        assert_eq!(connect.parent_span_id, attempt.span_id);
        assert_eq!(attempt.span_id, 8u64.to_be_bytes());
        for span in &spans {
            assert_eq!(span.trace_id, trace.trace_id.to_be_bytes());
            assert_eq!(span.trace_state, "a=b");
            assert!(!is_error(span));
        }
        assert_eq!(micros(attempt.events[0].time_unix_nano), 9_000);
    }

    #[test]
    fn attributes_are_those_of_the_conventions() {
        let spans = spans(&example());
        for (name, value) in [
            ("http.request.method", "GET"),
            ("url.path", "/work"),
            ("url.scheme", "http"),
            ("server.address", "shop.example"),
            ("server.port", "8080"),
            ("client.address", "192.0.2.7"),
            ("http.response.status_code", "200"),
            ("user_agent.original", "curl/8"),
            ("network.protocol.version", "1.1"),
            ("lemonade.strategy", "round_robin"),
            ("lemonade.request_id", "me"),
        ] {
            assert_eq!(said(&spans[0], name).as_deref(), Some(value), "{name}");
        }
        for (name, value) in [
            ("http.request.method", "GET"),
            ("server.address", "127.0.0.1"),
            ("server.port", "50510"),
            ("url.full", "http://127.0.0.1:50510/work"),
            ("http.response.status_code", "200"),
            ("lemonade.backend", "w1"),
        ] {
            assert_eq!(said(&spans[3], name).as_deref(), Some(value), "{name}");
        }
        assert_eq!(said(&spans[3], "http.request.resend_count"), None);
    }

    #[test]
    fn failures_are_errors_where_the_conventions_say_so() {
        let mut trace = example();
        trace.status = 404;
        let mut failed = trace.attempts[0].clone();
        failed.error = Some("connect_failed");
        (failed.status, failed.first_byte) = (None, None);
        trace.attempts[0].status = Some(404);
        trace.attempts.insert(0, failed);
        let client_fault = spans(&trace);
        assert!(!is_error(&client_fault[0]));
        let attempts: Vec<_> = client_fault
            .iter()
            .filter(|span| span.kind == 3)
            .map(|span| (is_error(span), said(span, "error.type")))
            .collect();
        let why = |why: &str| Some(why.to_owned());
        assert_eq!(
            attempts,
            [
                (true, why("connect_failed")),
                (true, why("connect_failed")),
                (true, why("404")),
                (false, None)
            ]
        );
        let second = &client_fault[6];
        assert_eq!(said(second, "http.request.resend_count"), why("1"));
        for (status, flag, error) in [
            (503, Some("overflow"), Some("overflow")),
            (500, None, Some("500")),
            (499, Some("client_gone"), None),
        ] {
            (trace.status, trace.flag) = (status, flag);
            let server = &spans(&trace)[0];
            assert_eq!(said(server, "error.type").as_deref(), error);
            assert_eq!(is_error(server), error.is_some());
            assert_eq!(said(server, "lemonade.flag").as_deref(), flag);
        }
    }

    #[test]
    fn names_are_bounded_and_roots_have_no_parent() {
        let mut trace = example();
        trace.method = "MKCOL".into();
        trace.parent = None;
        trace.host = "[::1]:80".into();
        let spans = spans(&trace);
        assert_eq!(
            (spans[0].name.as_str(), spans[3].name.as_str()),
            ("HTTP", "HTTP")
        );
        assert_eq!(said(&spans[0], "http.request.method").unwrap(), "_OTHER");
        assert_eq!(
            said(&spans[0], "http.request.method_original").unwrap(),
            "MKCOL"
        );
        assert_eq!(said(&spans[0], "server.address").unwrap(), "::1");
        assert!(spans[0].parent_span_id.is_empty());
        assert_eq!(spans[0].flags, 0x101);
    }

    #[test]
    fn time_on_the_wall_is_told_before_and_after_it_was_read() {
        let clock = Clock {
            wall: SystemTime::UNIX_EPOCH + Duration::from_secs(10),
            steady: std::time::Instant::now() + Duration::from_secs(100),
        };
        let second = Duration::from_secs(1);
        assert_eq!(clock.nanos(clock.steady + second), 11_000_000_000);
        assert_eq!(clock.nanos(clock.steady - second), 9_000_000_000);
    }
}
