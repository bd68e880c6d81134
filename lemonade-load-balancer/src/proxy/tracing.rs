//! Which requests are traced, what their backends are told of it, and what is told of them in the end.
//!
//! Sampling is parent-based: a caller that sent a valid `traceparent` has decided; else chance does. A backend gets a
//! `traceparent` of ours either way, so that it does not decide anew. It is the last line of the head, and each attempt of a
//! traced request writes its own span into it: what the backend did belongs to that attempt.

use super::access_log::Finish;
use super::headers;
use super::journal::{Attempt, Journal};
use super::relay::Relay;
use super::shard::Shard;
use super::view::View;
use crate::config::TracingConfig;
use crate::http1::Version;
use crate::http1::fields::Known;
use crate::http1::request::RequestHead;
use crate::traces::context::{self, TraceParent, is_tracestate, span_id, trace_id};
use crate::traces::{Trace, TracedAttempt};
use std::time::Duration;

/// From the beginning of the span in a head that ends in a `traceparent` to the head's end: the span, `-01`, two line ends.
const SPAN_FROM_END: usize = 16 + 3 + 4;
/// Digits of a span.
const SPAN: usize = 16;

/// A request's part in a trace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Part {
    /// The caller's, if it sent one that can be read.
    caller: Option<TraceParent>,
    /// Ours.
    own: TraceParent,
}

impl Part {
    /// Whether it is ours to tell of.
    pub(super) fn is_sampled(&self) -> bool {
        self.own.sampled
    }

    /// As the log has it: an id that somebody can look up, here or at the caller's. None of a trace that was not wanted here.
    pub(super) fn logged_id(&self) -> Option<[u8; 32]> {
        let is_known = self.own.sampled || self.caller.is_some();
        is_known.then(|| context::digits(self.own.trace_id))
    }

    /// What backends are told. A caller that cannot be understood has no say, and its `tracestate` no meaning.
    pub(super) fn told(&self) -> headers::Trace {
        headers::Trace {
            parent: self.own.write(),
            keeps_state: self.caller.is_some(),
        }
    }

    fn new(head: &RequestHead<'_>, tracing: &TracingConfig, rng: &mut fastrand::Rng) -> Self {
        // Of two callers, neither is believed.
        let caller = head.only(Known::Traceparent).and_then(TraceParent::parse);
        let own = match caller {
            Some(caller) => TraceParent {
                span: span_id(rng),
                ..caller
            },
            None => TraceParent {
                trace_id: trace_id(rng),
                span: span_id(rng),
                sampled: rng.f64() < tracing.sample,
                random: true,
            },
        };
        Part { caller, own }
    }
}

/// What a journal holds of a traced request beyond what a log wants to know.
#[derive(Debug)]
pub(super) struct Traced {
    part: Part,
    tracestate: Option<Box<str>>,
    /// Where in the head that backends get the span is.
    place: usize,
}

impl Traced {
    pub(super) fn new(part: Part, head: &RequestHead<'_>, outbound: &[u8]) -> Self {
        let states: Vec<&[u8]> = head.all(Known::Tracestate).collect();
        // RFC 9110 5.3: a list over several lines is one list.
        let state = states.join(&b',');
        let kept = part.caller.is_some() && is_tracestate(&state);
        Traced {
            part,
            tracestate: kept.then(|| text(&state)),
            place: outbound.len().saturating_sub(SPAN_FROM_END),
        }
    }

    /// Has the backend that gets `relay`'s head take `span` for its parent.
    pub(super) fn address(&self, relay: &mut Relay, span: u64) {
        let value = TraceParent {
            span,
            ..self.part.own
        }
        .write();
        let digits = &value[36..36 + SPAN];
        relay.overwrite_head(self.place, digits);
    }
}

impl Shard {
    /// The request's part in a trace, where tracing is on.
    pub(super) fn part(&self, head: &RequestHead<'_>, view: &View) -> Option<Part> {
        let tracing = view.snapshot.config.tracing.as_ref()?;
        Some(Part::new(head, tracing, &mut self.rng.borrow_mut()))
    }

    /// Hands over what is told of a traced request.
    pub(super) fn trace(&self, journal: &mut Journal, view: &View, finish: &Finish) {
        let Some(traced) = journal.traced.take() else {
            return;
        };
        let started = journal.started();
        let (asked, noted) = journal.read(finish.total, None);
        let queued = finish.queue;
        self.shared.traces.send(Box::new(Trace {
            trace_id: traced.part.own.trace_id,
            parent: traced.part.caller.map(|caller| caller.span),
            tracestate: traced.tracestate,
            span: traced.part.own.span,
            started,
            took: finish.total,
            method: text(asked.method()),
            scheme: "http",
            host: text(asked.host()),
            path: text(asked.path()),
            request_id: text(asked.request_id()),
            client: asked.client.ip(),
            user_agent: Some(asked.user_agent())
                .filter(|it| !it.is_empty())
                .map(text),
            version: match asked.version {
                Some(Version::Http10) => "1.0",
                _ => "1.1",
            },
            status: finish.status,
            flag: finish.flag,
            strategy: view.snapshot.picks_by.as_str(),
            bytes_in: finish.bytes_in,
            bytes_out: finish.bytes_out,
            queued: (!queued.is_zero()).then_some((Duration::ZERO, queued)),
            attempts: noted
                .iter()
                .map(|attempt| told(attempt, finish.total))
                .collect(),
        }));
    }
}

fn told(attempt: &Attempt, total: Duration) -> TracedAttempt {
    let (began, picked) = match attempt.picked {
        Some((at, took)) => (at, Some(took)),
        None => (attempt.began, None),
    };
    let connecting = began + picked.unwrap_or_default();
    let in_vain = attempt
        .error
        .is_some_and(|error| error.starts_with("connect"));
    let connected = attempt.connected.or(attempt.ended.filter(|_| in_vain));
    TracedAttempt {
        span: attempt.span,
        backend: attempt.upstream.name().clone(),
        peer: attempt.upstream.endpoint,
        began,
        picked,
        connect: connected.map(|at| (connecting, at.saturating_sub(connecting))),
        first_byte: attempt.first_byte,
        ended: attempt.ended.unwrap_or(total),
        status: attempt.status,
        error: attempt.error,
        hedge: attempt.hedge,
        reused: attempt.reused,
    }
}

fn text(bytes: &[u8]) -> Box<str> {
    String::from_utf8_lossy(bytes).into()
}
