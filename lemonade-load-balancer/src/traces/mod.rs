//! What is told of a sampled request, on its way from the shard that served it to whoever exports it.
//!
//! The proxy fills a [`Trace`] while it serves and hands it over at the end with [`Traces::send`], which never waits and wakes
//! nobody but where a batch waits: the exporter looks by itself. What finds no room is dropped and counted. [`context`] reads and
//! writes what callers and backends are told.

pub(crate) mod context;
mod queue;
pub(crate) mod spans;

pub(crate) use queue::{BATCH, Receiver, Traces, channel};

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// One sampled request, whole. Holds no query and no header but the user agent: what may be a credential never gets here.
#[derive(Clone, Debug)]
pub(crate) struct Trace {
    /// The caller's, or made for this request. Never 0.
    pub(crate) trace_id: u128,
    /// The caller's span, if it sent one.
    pub(crate) parent: Option<u64>,
    /// The caller's, as it came.
    pub(crate) tracestate: Option<Box<str>>,
    /// Of the request as a whole; parent of all that happened for it. Never 0.
    pub(crate) span: u64,
    pub(crate) started: Instant,
    /// To the last byte of the answer.
    pub(crate) took: Duration,
    /// As the client wrote it.
    pub(crate) method: Box<str>,
    /// `http`, or `https`.
    pub(crate) scheme: &'static str,
    /// As the client wrote it, with a port or without; empty if it wrote none.
    pub(crate) host: Box<str>,
    /// Without the query.
    pub(crate) path: Box<str>,
    pub(crate) request_id: Box<str>,
    pub(crate) client: IpAddr,
    pub(crate) user_agent: Option<Box<str>>,
    /// Of the client's HTTP: `1.0`, `1.1` or `2`.
    pub(crate) version: &'static str,
    /// What the client got; 499 if it left.
    pub(crate) status: u16,
    /// The access log's, if something went wrong.
    pub(crate) flag: Option<&'static str>,
    pub(crate) strategy: &'static str,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    /// How long after `started` it began to wait for a backend with room, and for how long.
    pub(crate) queued: Option<(Duration, Duration)>,
    pub(crate) attempts: Vec<TracedAttempt>,
}

/// One attempt at a backend. Times are since the request's `started`.
#[derive(Clone, Debug)]
pub(crate) struct TracedAttempt {
    /// What the backend is told as its parent. Never 0.
    pub(crate) span: u64,
    /// Its name.
    pub(crate) backend: Arc<str>,
    pub(crate) peer: SocketAddr,
    /// The pick included.
    pub(crate) began: Duration,
    /// How long the pick took, from `began` on.
    pub(crate) picked: Option<Duration>,
    /// When connecting began and how long it took; `None` if the connection was there already.
    pub(crate) connect: Option<(Duration, Duration)>,
    /// When the answer's first byte came.
    pub(crate) first_byte: Option<Duration>,
    pub(crate) ended: Duration,
    /// The answer's, if there was one.
    pub(crate) status: Option<u16>,
    /// Why there was none that could be used, in a word of a bounded set.
    pub(crate) error: Option<&'static str>,
    /// It is the second copy of a slow request.
    pub(crate) hedge: bool,
    /// It went over a connection that had carried a request before.
    pub(crate) reused: bool,
}

impl Trace {
    /// About how many bytes it holds.
    fn weight(&self) -> usize {
        let texts = [
            &self.method,
            &self.host,
            &self.path,
            &self.request_id,
            self.tracestate.as_ref().unwrap_or(&self.method),
            self.user_agent.as_ref().unwrap_or(&self.method),
        ];
        let texts: usize = texts.iter().map(|text| text.len()).sum();
        let attempts = self.attempts.capacity() * size_of::<TracedAttempt>();
        size_of::<Trace>() + texts + attempts
    }
}

#[cfg(test)]
pub(crate) fn example() -> Trace {
    Trace {
        trace_id: 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736,
        parent: Some(0x00f0_67aa_0ba9_02b7),
        tracestate: Some("a=b".into()),
        span: 7,
        started: Instant::now(),
        took: Duration::from_millis(20),
        method: "GET".into(),
        scheme: "http",
        host: "shop.example:8080".into(),
        path: "/work".into(),
        request_id: "me".into(),
        client: IpAddr::from([192, 0, 2, 7]),
        user_agent: Some("curl/8".into()),
        version: "1.1",
        status: 200,
        flag: None,
        strategy: "round_robin",
        bytes_in: 3,
        bytes_out: 5,
        queued: Some((Duration::from_millis(1), Duration::from_millis(2))),
        attempts: vec![TracedAttempt {
            span: 8,
            backend: "w1".into(),
            peer: ([127, 0, 0, 1], 50510).into(),
            began: Duration::from_millis(3),
            picked: Some(Duration::from_micros(1)),
            connect: Some((Duration::from_millis(4), Duration::from_millis(1))),
            first_byte: Some(Duration::from_millis(9)),
            ended: Duration::from_millis(19),
            status: Some(200),
            error: None,
            hedge: false,
            reused: false,
        }],
    }
}
