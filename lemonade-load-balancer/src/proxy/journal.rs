//! What is remembered of a request for whoever reads about it afterwards: a line of the access log, a trace.
//!
//! Only a request that somebody may read about has a journal; every other one pays for looking whether it has. Notes on its
//! attempts are made by whoever knows ([`super::forward`], [`super::hedge`]) at the moments that they name, and read when it has
//! ended. Journals are used again, so that a request which has one allocates nothing for it. One that is dropped with its request,
//! because a drain is over or something panicked, is kept to be read all the same.

use super::asked::Asked;
use super::forward::Failure;
use super::headers::RequestId;
use super::relay::Relay;
use super::tracing::{Traced, Tracing};
use super::upstream::Upstream;
use crate::http1::request::RequestHead;
use smallvec::SmallVec;
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

/// Journals that a shard keeps for later, and the text that each of them may hold room for.
const KEPT: usize = 256;
const KEPT_TEXT: usize = 4 << 10;

/// One request's journal.
#[derive(Debug)]
pub(super) struct Journal {
    asked: Asked,
    /// Where it goes when it is dropped before it was given back.
    home: Weak<Journals>,
    /// It has been begun, and not been given back yet.
    lent: bool,
    /// It is in the access log's sample.
    pub(super) sampled: bool,
    /// When the request began: its attempts' times count from here.
    started: Instant,
    /// In the order in which they began. They are noted where others only look at them; never borrowed across a call.
    attempts: RefCell<Attempts>,
    /// A trace becomes of it.
    pub(super) traced: Option<Box<Traced>>,
    /// What its request had waited for when it was dropped.
    pub(super) waited: Cell<Waited>,
}

/// What a request waited for but its backends' answers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Waited {
    pub(super) queue: Duration,
    /// Of all attempts.
    pub(super) connect: Duration,
}

/// A journal whose request was dropped, and when.
#[derive(Debug)]
pub(super) struct LeftBehind {
    pub(super) journal: Journal,
    pub(super) at: Instant,
}

/// Most requests have one.
type Attempts = SmallVec<[Attempt; 1]>;

/// The journals of one shard that no request has.
#[derive(Debug, Default)]
pub(super) struct Journals {
    #[expect(clippy::vec_box, reason = "they are lent in their boxes")]
    blank: RefCell<Vec<Box<Journal>>>,
    /// Those of requests that were dropped.
    left_behind: RefCell<Vec<LeftBehind>>,
}

impl Journals {
    /// Begins a journal for this request.
    pub(super) fn begin(
        self: &Rc<Self>,
        head: &RequestHead<'_>,
        id: &RequestId,
        client: SocketAddr,
        started: Instant,
        tracing: &Tracing,
    ) -> Box<Journal> {
        let mut journal = self.blank(started);
        journal.asked.read(head, id, client, tracing);
        journal
    }

    /// Begins one for a request that is refused with what came of it.
    pub(super) fn begin_unread(
        self: &Rc<Self>,
        bytes: &[u8],
        client: SocketAddr,
        now: Instant,
    ) -> Box<Journal> {
        let mut journal = self.blank(now);
        journal.asked.read_unread(bytes, client);
        journal
    }

    fn blank(self: &Rc<Self>, started: Instant) -> Box<Journal> {
        let mut journal = self.blank.borrow_mut().pop().unwrap_or_else(|| {
            Box::new(Journal {
                asked: Asked::nothing(),
                home: Rc::downgrade(self),
                lent: true,
                sampled: false,
                started,
                attempts: RefCell::default(),
                traced: None,
                waited: Cell::default(),
            })
        });
        journal.started = started;
        journal.lent = true;
        journal
    }

    /// Takes a journal back that has been read.
    pub(super) fn give_back(&self, mut journal: Box<Journal>) {
        // Attempts hold backends' connection pools alive.
        journal.attempts.get_mut().clear();
        journal.lent = false;
        journal.traced = None;
        let mut kept = self.blank.borrow_mut();
        if kept.len() < KEPT && journal.asked.weight() <= KEPT_TEXT {
            kept.push(journal);
        }
    }

    /// The journals of requests that were dropped since this was asked last.
    pub(super) fn left_behind(&self) -> Vec<LeftBehind> {
        self.left_behind.take()
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        let lent = std::mem::replace(&mut self.lent, false);
        let home = self.home.upgrade().filter(|_| lent);
        if let Some(home) = home {
            let journal = Journal {
                asked: std::mem::replace(&mut self.asked, Asked::nothing()),
                home: Weak::new(),
                lent: false,
                sampled: self.sampled,
                started: self.started,
                attempts: RefCell::new(self.attempts.take()),
                traced: self.traced.take(),
                waited: self.waited.clone(),
            };
            let at = Instant::now();
            home.left_behind
                .borrow_mut()
                .push(LeftBehind { journal, at });
        }
    }
}

/// One attempt at one backend. Times count from the beginning of the request.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    pub(super) upstream: Rc<Upstream>,
    pub(super) began: Duration,
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
    pub(super) fn since(&self, at: Instant) -> Duration {
        // As most attempts begin. Subtracting costs more than the rest of a note.
        if at == self.started {
            return Duration::ZERO;
        }
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

    /// `reused`: over a connection that is there already.
    pub(super) fn began(&self, upstream: &Rc<Upstream>, at: Instant, reused: bool, hedge: bool) {
        if let Some(traced) = &self.traced {
            traced.began();
        }
        self.attempts.borrow_mut().push(Attempt {
            upstream: upstream.clone(),
            began: self.since(at),
            connected: None,
            reused,
            hedge,
            first_byte: None,
            ended: None,
            status: None,
            error: None,
        });
    }

    /// Calls `pick`, and remembers how long it took if somebody wants to know.
    pub(super) fn picking<T>(&self, pick: impl FnOnce() -> T) -> T {
        let Some(traced) = &self.traced else {
            return pick();
        };
        let began = Instant::now();
        let picked = pick();
        traced.picked(self.since(began), began.elapsed());
        picked
    }

    /// Has the backend that gets `relay` know the latest attempt for its parent, if the request is traced.
    pub(super) fn address(&self, relay: &mut Relay) {
        if let Some(traced) = &self.traced {
            traced.address(relay);
        }
    }

    pub(super) fn connected(&self, upstream: &Rc<Upstream>, at: Instant) {
        self.note(upstream, |attempt| {
            attempt.connected = Some(self.since(at));
        });
    }

    /// An answer came so long after the attempt had begun on its connection.
    pub(super) fn answered(&self, upstream: &Rc<Upstream>, status: u16, took: Duration) {
        self.note(upstream, |attempt| {
            attempt.first_byte = Some(attempt.sent() + took);
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
        let now = self.since(Instant::now());
        self.note(upstream, |attempt| {
            (attempt.first_byte, attempt.ended) = (Some(now), Some(now));
            attempt.status = Some(status);
        });
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

    pub(super) fn attempts_made(&self) -> usize {
        self.attempts.borrow().len()
    }

    pub(super) fn started(&self) -> Instant {
        self.started
    }

    /// Which attempt is under way, the original where there are two.
    pub(super) fn present(&self) -> Option<Attempt> {
        let attempts = self.attempts.borrow();
        let mut open = attempts.iter().filter(|attempt| attempt.ended.is_none());
        open.next().cloned()
    }

    /// The attempt that began last.
    pub(super) fn latest(&self) -> Option<Attempt> {
        self.attempts.borrow().last().cloned()
    }

    /// All of it, once the request has ended; an attempt that is still under way ended with it, for this reason.
    pub(super) fn read(
        &mut self,
        total: Duration,
        error: Option<&'static str>,
    ) -> (&Asked, &[Attempt]) {
        let attempts = self.attempts.get_mut();
        for attempt in attempts.iter_mut() {
            attempt.end(total, error);
        }
        (&self.asked, attempts)
    }
}

impl Attempt {
    /// When it could be sent.
    pub(super) fn sent(&self) -> Duration {
        self.connected.unwrap_or(self.began)
    }

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
    use crate::access_log::Text;
    use std::net::Ipv4Addr;

    fn begun(journals: &Rc<Journals>, request: &[u8]) -> Box<Journal> {
        let client = (Ipv4Addr::LOCALHOST, 1).into();
        journals.begin_unread(request, client, Instant::now())
    }

    #[test]
    fn journal_is_used_again() {
        let journals = Rc::new(Journals::default());
        let journal = begun(&journals, b"GET /a HTTP/1.1\r\n");
        assert_eq!(journal.asked.text(Text::Path), b"/a");
        journals.give_back(journal);
        let journal = begun(&journals, b"PUT ");
        assert_eq!(journal.asked.text(Text::Method), b"PUT");
        assert!(journal.asked.text(Text::Path).is_empty());
        assert!(journals.blank.borrow().is_empty(), "it was the same one");
    }

    #[test]
    fn journal_that_is_dropped_is_left_behind_once() {
        let journals = Rc::new(Journals::default());
        let read = begun(&journals, b"");
        drop(begun(&journals, b"GET /7 HTTP/1.1\r\n"));
        journals.give_back(read);
        let left = journals.left_behind();
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].journal.asked.text(Text::Path), b"/7");
        drop(left);
        assert!(journals.left_behind().is_empty());
    }
}
