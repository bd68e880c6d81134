//! What is remembered of a request for whoever reads about it afterwards: a line of the access log, a trace.
//!
//! Only a request that somebody may read about has a journal; every other one pays for looking whether it has. Notes on its
//! attempts are made by whoever knows ([`super::forward`], [`super::hedge`]) at the moments that they name, and read when it has
//! ended. Journals are used again, so that a request which has one allocates nothing for it.

use super::forward::Failure;
use super::relay::Relay;
use super::tracing::{Part, Traced};
use super::upstream::Upstream;
use crate::http1::Version;
use crate::http1::fields::Known;
use crate::http1::request::RequestHead;
use crate::traces::context::span_id;
use std::cell::{Cell, RefCell};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Bytes that are remembered of each text, so that no client decides how long a line gets.
const MAX_METHOD: usize = 64;
const MAX_HOST: usize = 256;
const MAX_PATH: usize = 8 << 10;
const MAX_USER_AGENT: usize = 1 << 10;
/// Journals that a shard keeps for later, and the text that each of them may hold room for.
const KEPT: usize = 256;
const KEPT_TEXT: usize = 4 << 10;

/// One request's journal.
#[derive(Debug)]
pub(super) struct Journal {
    asked: Asked,
    /// When the request began: its attempts' times count from here.
    started: Instant,
    /// In the order in which they began. They are noted where others only look at them; never borrowed across a call.
    attempts: RefCell<Vec<Attempt>>,
    /// A line of the log may become of it.
    pub(super) logged: bool,
    /// A trace becomes of it.
    pub(super) traced: Option<Traced>,
    /// When the last pick began, and how long it took; of traced requests only.
    picked: Cell<Option<(Duration, Duration)>>,
}

/// What a request said of itself, as it came: nothing is escaped. Of its target only the path, since queries hold secrets.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) client: SocketAddr,
    pub(super) version: Version,
    /// Of a well-formed `traceparent`.
    pub(super) trace_id: Option<[u8; 32]>,
    /// Method, host, path and user agent, one behind the other.
    text: Vec<u8>,
    /// Where each of them ends.
    ends: [usize; 4],
}

impl Asked {
    fn nothing() -> Self {
        Asked {
            client: (Ipv4Addr::UNSPECIFIED, 0).into(),
            version: Version::Http11,
            trace_id: None,
            text: Vec::new(),
            ends: [0; 4],
        }
    }

    fn read(&mut self, head: &RequestHead<'_>, client: SocketAddr) {
        self.client = client;
        self.version = head.version;
        self.trace_id = head.field(Known::Traceparent).and_then(trace_id);
        let host = head.authority.unwrap_or_default();
        let user_agent = head.field(Known::UserAgent).unwrap_or_default();
        self.write([head.method, host, path(head.target), user_agent]);
    }

    fn write(&mut self, texts: [&[u8]; 4]) {
        const MOST: [usize; 4] = [MAX_METHOD, MAX_HOST, MAX_PATH, MAX_USER_AGENT];
        self.text.clear();
        for (place, text) in texts.into_iter().enumerate() {
            let length = text.len().min(MOST[place]);
            self.text.extend_from_slice(&text[..length]);
            self.ends[place] = self.text.len();
        }
    }

    pub(super) fn method(&self) -> &[u8] {
        &self.text[..self.ends[0]]
    }

    pub(super) fn host(&self) -> &[u8] {
        &self.text[self.ends[0]..self.ends[1]]
    }

    pub(super) fn path(&self) -> &[u8] {
        &self.text[self.ends[1]..self.ends[2]]
    }

    pub(super) fn user_agent(&self) -> &[u8] {
        &self.text[self.ends[2]..self.ends[3]]
    }
}

/// A target without its query.
fn path(target: &[u8]) -> &[u8] {
    let end = memchr::memchr(b'?', target).unwrap_or(target.len());
    &target[..end]
}

/// The trace id of a W3C `traceparent`: `00-<32 hex>-<16 hex>-<2 hex>`.
fn trace_id(traceparent: &[u8]) -> Option<[u8; 32]> {
    let mut parts = traceparent.split(|byte| *byte == b'-');
    let id: [u8; 32] = parts.nth(1)?.try_into().ok()?;
    id.iter().all(u8::is_ascii_hexdigit).then_some(id)
}

/// The journals of one shard that are not in use.
#[derive(Debug, Default)]
#[expect(clippy::vec_box, reason = "they are lent in their boxes")]
pub(super) struct Journals(RefCell<Vec<Box<Journal>>>);

impl Journals {
    /// Begins a journal for this request.
    pub(super) fn begin(
        &self,
        head: &RequestHead<'_>,
        client: SocketAddr,
        started: Instant,
        part: Option<Part>,
    ) -> Box<Journal> {
        let mut journal = self.blank(started);
        journal.asked.read(head, client);
        if let Some(part) = part {
            journal.asked.trace_id = Some(part.trace_id());
        }
        journal
    }

    fn blank(&self, started: Instant) -> Box<Journal> {
        let mut journal = self.0.borrow_mut().pop().unwrap_or_else(|| {
            Box::new(Journal {
                asked: Asked::nothing(),
                started,
                attempts: RefCell::default(),
                logged: false,
                traced: None,
                picked: Cell::default(),
            })
        });
        journal.started = started;
        journal
    }

    /// Takes a journal back that has been read.
    pub(super) fn give_back(&self, mut journal: Box<Journal>) {
        // Attempts hold backends' connection pools alive.
        journal.attempts.get_mut().clear();
        (journal.traced, journal.picked) = (None, Cell::default());
        let mut kept = self.0.borrow_mut();
        if kept.len() < KEPT && journal.asked.text.capacity() <= KEPT_TEXT {
            kept.push(journal);
        }
    }
}

/// One attempt at one backend. Times count from the beginning of the request.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    pub(super) upstream: Rc<Upstream>,
    pub(super) began: Duration,
    /// When it was picked, and how long that took; of traced requests only.
    pub(super) picked: Option<(Duration, Duration)>,
    /// What its backend is told as its parent; 0 unless the request is traced.
    pub(super) span: u64,
    /// When its new connection was there; `None` for a kept one, and where none came.
    pub(super) connected: Option<Duration>,
    /// It went over a connection that was there already.
    pub(super) reused: bool,
    /// It is the second copy of a request that took long.
    pub(super) hedge: bool,
    /// When the head of its answer was there, be it an interim one where another copy was waited for too.
    pub(super) first_byte: Option<Duration>,
    /// `None` while it is under way.
    pub(super) ended: Option<Duration>,
    pub(super) status: Option<u16>,
    /// Why it brought no answer, or not all of it.
    pub(super) error: Option<&'static str>,
}

/// The error of a copy that another was faster than.
const OVERTAKEN: &str = "overtaken";

impl Journal {
    fn since(&self, at: Instant) -> Duration {
        at.saturating_duration_since(self.started)
    }

    /// The latest attempt at this backend. Only a stale connection makes a request come back to one, and then at once.
    fn note(&self, upstream: &Rc<Upstream>, note: impl FnOnce(&mut Attempt)) {
        let mut attempts = self.attempts.borrow_mut();
        let mut latest = attempts.iter_mut().rev();
        if let Some(attempt) = latest.find(|attempt| Rc::ptr_eq(&attempt.upstream, upstream)) {
            note(attempt);
        }
    }

    pub(super) fn began(&self, upstream: &Rc<Upstream>, at: Instant, hedge: bool) {
        self.attempts.borrow_mut().push(Attempt {
            upstream: upstream.clone(),
            began: self.since(at),
            picked: self.picked.take(),
            span: match self.traced {
                Some(_) => span_id(&mut fastrand::Rng::new()),
                None => 0,
            },
            connected: None,
            reused: false,
            hedge,
            first_byte: None,
            ended: None,
            status: None,
            error: None,
        });
    }

    /// Calls `pick`, and remembers how long it took if somebody wants to know.
    pub(super) fn picking<T>(&self, pick: impl FnOnce() -> T) -> T {
        if self.traced.is_none() {
            return pick();
        }
        let began = Instant::now();
        let picked = pick();
        self.picked.set(Some((self.since(began), began.elapsed())));
        picked
    }

    /// Has the backend that gets `relay` know the latest attempt for its parent, if the request is traced.
    pub(super) fn address(&self, relay: &mut Relay) {
        if let (Some(traced), Some(attempt)) = (&self.traced, self.attempts.borrow().last()) {
            traced.address(relay, attempt.span);
        }
    }

    pub(super) fn connected(&self, upstream: &Rc<Upstream>, at: Instant) {
        self.note(upstream, |attempt| {
            attempt.connected = Some(self.since(at));
        });
    }

    pub(super) fn reused(&self, upstream: &Rc<Upstream>) {
        self.note(upstream, |attempt| attempt.reused = true);
    }

    pub(super) fn answered(&self, upstream: &Rc<Upstream>, status: u16, at: Instant) {
        self.note(upstream, |attempt| {
            attempt.first_byte = Some(self.since(at));
            attempt.status = Some(status);
        });
    }

    /// The attempt is over, and nothing of it reached the client; or not all that should have.
    pub(super) fn failed(&self, upstream: &Rc<Upstream>, failure: &Failure) {
        let now = self.since(Instant::now());
        self.note(upstream, |attempt| attempt.end(now, failure.error()));
    }

    /// A copy was not worth waiting for, and another goes on.
    pub(super) fn refused(&self, upstream: &Rc<Upstream>, status: u16) {
        self.answered(upstream, status, Instant::now());
        self.note(upstream, |attempt| attempt.ended = attempt.first_byte);
    }

    /// Only the attempt at `upstream` goes on: whoever else is under way was overtaken.
    pub(super) fn overtook(&self, upstream: &Rc<Upstream>) {
        self.end_but(upstream, Some(OVERTAKEN));
    }

    /// All copies came to nothing at once.
    pub(super) fn failed_with(&self, upstream: &Rc<Upstream>, failure: &Failure) {
        self.end_but(upstream, failure.error());
    }

    fn end_but(&self, upstream: &Rc<Upstream>, error: Option<&'static str>) {
        let now = self.since(Instant::now());
        let mut attempts = self.attempts.borrow_mut();
        let others = attempts.iter_mut();
        for other in others.filter(|attempt| !Rc::ptr_eq(&attempt.upstream, upstream)) {
            other.end(now, error);
        }
    }

    /// All of it, once the request has ended; an attempt that is still under way ended with it.
    pub(super) fn read(&mut self, total: Duration) -> (&Asked, &[Attempt]) {
        let attempts = self.attempts.get_mut();
        for attempt in attempts.iter_mut() {
            attempt.end(total, None);
        }
        (&self.asked, attempts)
    }
}

impl Attempt {
    /// Nothing happens to an attempt that has ended.
    fn end(&mut self, at: Duration, error: Option<&'static str>) {
        if self.ended.is_none() {
            self.ended = Some(at);
            self.error = error;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trace_id_is_read_from_a_well_formed_traceparent_only() {
        let good = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(trace_id(good), Some(*b"4bf92f3577b34da6a3ce929d0e0e4736"));
        assert_eq!(trace_id(b"00-4bf9-00f067aa0ba902b7-01"), None);
        assert_eq!(trace_id(b"\xff"), None);
    }

    #[test]
    fn journal_is_as_new_when_it_is_used_again() {
        let journals = Journals::default();
        let mut journal = journals.blank(Instant::now());
        let long = [b'x'; 2 * MAX_HOST];
        journal.asked.write([b"GET", &long, b"/a", b"me"]);
        assert_eq!(journal.asked.host().len(), MAX_HOST);
        assert_eq!(journal.asked.path(), b"/a");
        journals.give_back(journal);
        let mut journal = journals.blank(Instant::now());
        journal.asked.write([b"PUT", b"h", b"/", b""]);
        assert_eq!(
            [
                journal.asked.method(),
                journal.asked.host(),
                journal.asked.path()
            ],
            [&b"PUT"[..], b"h", b"/"]
        );
        assert!(journal.asked.user_agent().is_empty());
        assert!(journals.0.borrow().is_empty(), "it was the same one");
    }
}
