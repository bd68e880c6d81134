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
use crate::access_log::Text;
use crate::http1::Version;
use crate::http1::fields::Known;
use crate::http1::request::RequestHead;
use crate::traces::context::{self, TraceParent, is_tracestate, span_digits, span_id, trace_id};
use crate::traces::{Trace, TracedAttempt};
use std::cell::{Cell, RefCell};
use std::time::Duration;

/// From the beginning of the span in a head that ends in a `traceparent` to the head's end: the span, `-01`, two line ends.
const SPAN_FROM_END: usize = 16 + 3 + 4;

/// What tracing makes of a request.
#[derive(Debug)]
pub(super) enum Tracing {
    /// It is off.
    Off,
    /// Nobody records it; backends are told this.
    Unrecorded(context::Line),
    Part(Part),
}

/// A request's part in a trace that somebody knows of.
#[derive(Debug)]
pub(super) struct Part {
    /// The caller's, if it sent one that can be read.
    caller: Option<TraceParent>,
    /// Ours.
    own: TraceParent,
    /// What backends are told.
    line: context::Line,
}

impl Tracing {
    /// What backends are told. A caller that cannot be understood has no say, and its `tracestate` no meaning.
    pub(super) fn told(&self) -> Option<headers::Trace<'_>> {
        let (line, keeps_state) = match self {
            Tracing::Off => return None,
            Tracing::Unrecorded(line) => (line, false),
            Tracing::Part(part) => (&part.line, part.caller.is_some()),
        };
        Some(headers::Trace { line, keeps_state })
    }

    pub(super) fn part(&self) -> Option<&Part> {
        match self {
            Tracing::Part(part) => Some(part),
            Tracing::Off | Tracing::Unrecorded(_) => None,
        }
    }
}

impl Part {
    /// Whether it is ours to tell of.
    pub(super) fn is_sampled(&self) -> bool {
        self.own.sampled
    }

    /// As the log has it: somebody can look it up, here or at the caller's.
    pub(super) fn trace_id(&self) -> [u8; 32] {
        context::digits(self.own.trace_id)
    }

    fn new(caller: Option<TraceParent>, own: TraceParent) -> Self {
        let line = own.line();
        Part { caller, own, line }
    }
}

/// What a journal holds of a traced request beyond what a log wants to know.
#[derive(Debug)]
pub(super) struct Traced {
    trace_id: u128,
    /// The caller's span.
    parent: Option<u64>,
    /// Ours.
    span: u64,
    tracestate: Option<Box<str>>,
    /// Where in the head that backends get the span is.
    place: usize,
    /// When the last pick began, and how long it took.
    picked: Cell<Option<(Duration, Duration)>>,
    /// Of each attempt, in the order in which they began.
    attempts: RefCell<Vec<Mark>>,
}

/// What a trace tells of an attempt beyond what a log wants to know.
#[derive(Debug)]
struct Mark {
    /// What its backend is told as its parent.
    span: u64,
    /// When it was picked, and how long that took.
    picked: Option<(Duration, Duration)>,
}

impl Traced {
    pub(super) fn new(part: &Part, head: &RequestHead<'_>, outbound: &[u8]) -> Self {
        let states: Vec<&[u8]> = head.all(Known::Tracestate).collect();
        // RFC 9110 5.3: a list over several lines is one list.
        let state = states.join(&b',');
        let kept = part.caller.is_some() && is_tracestate(&state);
        Traced {
            trace_id: part.own.trace_id,
            parent: part.caller.map(|caller| caller.span),
            span: part.own.span,
            tracestate: kept.then(|| text(&state)),
            place: outbound.len().saturating_sub(SPAN_FROM_END),
            picked: Cell::default(),
            attempts: RefCell::default(),
        }
    }

    /// A backend was picked for the attempt that begins next.
    pub(super) fn picked(&self, at: Duration, took: Duration) {
        self.picked.set(Some((at, took)));
    }

    /// An attempt begins.
    pub(super) fn began(&self) {
        self.attempts.borrow_mut().push(Mark {
            span: span_id(&mut fastrand::Rng::new()),
            picked: self.picked.take(),
        });
    }

    /// Has the backend that gets `relay`'s head take the latest attempt for its parent.
    pub(super) fn address(&self, relay: &mut Relay) {
        if let Some(latest) = self.attempts.borrow().last() {
            relay.overwrite_head(self.place, &span_digits(latest.span));
        }
    }
}

impl Shard {
    pub(super) fn tracing(&self, head: &RequestHead<'_>, view: &View) -> Tracing {
        let Some(tracing) = &view.snapshot.config.tracing else {
            return Tracing::Off;
        };
        let rng = &mut *self.rng.borrow_mut();
        // Of two callers, neither is believed.
        let caller = head.only(Known::Traceparent).and_then(TraceParent::parse);
        let own = match caller {
            Some(caller) => TraceParent {
                span: span_id(rng),
                ..caller
            },
            None if rng.f64() < tracing.sample => TraceParent {
                trace_id: trace_id(rng),
                span: span_id(rng),
                sampled: true,
                random: true,
            },
            None => return Tracing::Unrecorded(self.unrecorded.line(rng)),
        };
        Tracing::Part(Part::new(caller, own))
    }

    /// Hands over what is told of a traced request.
    pub(super) fn trace(&self, journal: &mut Journal, finish: &Finish, strategy: &'static str) {
        let Some(traced) = journal.traced.take() else {
            return;
        };
        let started = journal.started();
        let (asked, noted) = journal.read(finish.total, None);
        let queued = finish.queue;
        self.shared.traces.send(Box::new(Trace {
            trace_id: traced.trace_id,
            parent: traced.parent,
            tracestate: traced.tracestate,
            span: traced.span,
            started,
            took: finish.total,
            method: text(asked.text(Text::Method)),
            scheme: "http",
            host: text(asked.text(Text::Host)),
            path: text(asked.text(Text::Path)),
            request_id: text(asked.text(Text::RequestId)),
            client: asked.client.ip(),
            user_agent: Some(asked.text(Text::UserAgent))
                .filter(|it| !it.is_empty())
                .map(text),
            version: match asked.version {
                Some(Version::Http10) => "1.0",
                _ => "1.1",
            },
            status: finish.status,
            flag: finish.flag,
            strategy,
            bytes_in: finish.bytes_in,
            bytes_out: finish.bytes_out,
            queued: (!queued.is_zero()).then_some((Duration::ZERO, queued)),
            attempts: noted
                .iter()
                .zip(traced.attempts.into_inner())
                .map(|(attempt, mark)| told(attempt, &mark, finish.total))
                .collect(),
        }));
    }
}

fn told(attempt: &Attempt, mark: &Mark, total: Duration) -> TracedAttempt {
    let (began, picked) = match mark.picked {
        Some((at, took)) => (at, Some(took)),
        None => (attempt.began, None),
    };
    let connecting = began + picked.unwrap_or_default();
    let in_vain = attempt
        .error
        .is_some_and(|error| error.starts_with("connect"));
    let connected = attempt.connected.or(attempt.ended.filter(|_| in_vain));
    TracedAttempt {
        span: mark.span,
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
    match str::from_utf8(bytes) {
        // Faster by far than looking for what is none.
        Ok(text) => text.into(),
        Err(_) => String::from_utf8_lossy(bytes).into(),
    }
}
