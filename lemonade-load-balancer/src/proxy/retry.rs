//! Which failed attempt another may heal.
//!
//! The rules (RFC 9110 9.2.2): a connection that failed before anything was sent may always be tried elsewhere; once bytes
//! were sent, only a request that may be repeated is, and only while its body can be. What adds load must fit the budget.

use super::claim::{Asking, Claim, Tried};
use super::forward::{Course, Failure};
use super::journal::{Journal, Waited};
use super::relay::Relay;
use super::shard::Shard;
use super::upstream::{ConnectError, Upstream};
use super::view::View;
use crate::config::MAX_RETRIES;
use crate::snapshot::Panic;
use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// The attempts of one request.
#[derive(Debug)]
pub(super) struct Attempts {
    retries_left: u32,
    pub(super) tried: Tried,
    /// The next attempt goes to the same backend, on a new connection.
    again: bool,
    reused: bool,
    last: Option<Failure>,
    /// When it began it was known that no backend is of use.
    hopeless: bool,
    /// Who answered, if anyone did.
    pub(super) answered_by: Option<Rc<Upstream>>,
    pub(super) queued: Duration,
    /// It waits in the queue, and since when.
    pub(super) queuing: Option<Instant>,
    /// All attempts'.
    pub(super) connect: Duration,
    /// The present attempt's.
    pub(super) connecting: Duration,
    /// What passed before the present attempt, but for the queue.
    pub(super) lost: Duration,
    pub(super) first_byte: Duration,
    /// Body bytes of the answer.
    pub(super) bytes_out: u64,
    /// Bytes that a tunnel took from the client.
    pub(super) tunnelled_in: u64,
    /// Where they are noted, if somebody may read about them.
    journal: Option<Box<Journal>>,
    /// The status of an answer that is not noted yet.
    unnoted: Cell<Option<u16>>,
}

impl Attempts {
    pub(super) fn new(retries: u32, journal: Option<Box<Journal>>) -> Self {
        Attempts {
            retries_left: retries.min(MAX_RETRIES),
            tried: Tried::default(),
            again: false,
            reused: false,
            last: None,
            hopeless: false,
            answered_by: None,
            queued: Duration::ZERO,
            queuing: None,
            connect: Duration::ZERO,
            connecting: Duration::ZERO,
            lost: Duration::ZERO,
            first_byte: Duration::ZERO,
            bytes_out: 0,
            tunnelled_in: 0,
            journal,
            unnoted: Cell::default(),
        }
    }

    /// Makes a note, if anybody wants one.
    pub(super) fn note(&self, note: impl FnOnce(&Journal)) {
        if let Some(journal) = &self.journal {
            self.note_answer(journal);
            note(journal);
        }
    }

    fn note_answer(&self, journal: &Journal) {
        if let (Some(status), Some(by)) = (self.unnoted.take(), &self.answered_by) {
            journal.answered(by, status, self.first_byte);
        }
    }

    /// All that was noted, if anybody wants to read it.
    pub(super) fn noted(&mut self) -> Option<Box<Journal>> {
        let journal = self.journal.take()?;
        self.note_answer(&journal);
        Some(journal)
    }

    /// A place for the next attempt.
    pub(super) fn claim<'s>(&mut self, shard: &'s Shard, view: &View, asking: Asking) -> Claim<'s> {
        let Some(journal) = self.journal.take() else {
            return self.look_for_place(shard, view, asking);
        };
        let claim = journal.picking(|| self.look_for_place(shard, view, asking));
        self.journal = Some(journal);
        claim
    }

    fn look_for_place<'s>(&mut self, shard: &'s Shard, view: &View, asking: Asking) -> Claim<'s> {
        if self.again
            && let claim @ Claim::Slot(_) = self.tried.claim_same(shard)
        {
            return claim;
        }
        self.again = false;
        if self.is_fresh() {
            self.hopeless = view.snapshot.panic == Some(Panic::NoneTrusted);
            return self.tried.claim_first(shard, view, asking);
        }
        match self
            .tried
            .claim_next(shard, view, asking.started, asking.key)
        {
            // Nothing was sent, so asking further costs no backend anything.
            Claim::Nobody if matches!(self.last, Some(Failure::Connect(_))) => {
                self.tried.claim_anywhere(shard)
            }
            claim => claim,
        }
    }

    pub(super) fn is_first(&self) -> bool {
        self.tried.len() == 1 && !self.again
    }

    /// Nothing was tried yet.
    pub(super) fn is_fresh(&self) -> bool {
        self.tried.len() == 0
    }

    pub(super) fn wants_new_connection(&self) -> bool {
        self.again
    }

    pub(super) fn connected(&mut self, took: Duration) {
        self.connect += took;
        self.connecting = took;
    }

    /// Begins an attempt that is not the beginning of its request: now, which it returns.
    pub(super) fn begin_anew(&mut self, started: Instant) -> Instant {
        let now = Instant::now();
        let before = now.saturating_duration_since(started);
        if !self.is_first() {
            self.lost = before.saturating_sub(self.queued);
        }
        self.connecting = Duration::ZERO;
        now
    }

    /// A copy that is sent so much later is the one that counts.
    pub(super) fn lose(&mut self, more: Duration) {
        if !more.is_zero() {
            self.lost += more + std::mem::take(&mut self.connecting);
        }
    }

    pub(super) fn sending(&mut self, reused: bool) {
        self.reused = reused;
    }

    /// The connection was an old one: that it failed says nothing about its backend.
    pub(super) fn was_stale(&self, failure: &Failure) -> bool {
        self.reused && matches!(failure, Failure::Unanswered)
    }

    /// An answer came so long after the attempt had begun on its connection. It is noted with what is noted next: by now the journal is
    /// no longer where the processor has it at hand, and most often the end is next.
    pub(super) fn answered(&mut self, by: Rc<Upstream>, status: u16, took: Duration) {
        self.answered_by = Some(by);
        self.first_byte = took;
        self.unnoted.set(Some(status));
    }

    /// Who answered, or was tried last.
    pub(super) fn served_by(&self) -> Option<&Rc<Upstream>> {
        let place = self.tried.place_of_answer(self.answered_by.as_ref())?;
        self.tried.iter().nth(place)
    }

    pub(super) fn delivered(&mut self, bytes: u64) {
        self.bytes_out = bytes;
    }

    pub(super) fn tunnelled(&mut self, up: u64, down: u64) {
        self.tunnelled_in = up;
        self.bytes_out = down;
    }

    /// Whether another attempt may heal `failure`; if so, it is paid for. A stale connection costs no retry: the same backend
    /// gets a new one. Neither does a failed trial that another backend can make good: it was our idea to send it there.
    pub(super) fn may_retry(
        &mut self,
        failure: &Failure,
        failed_trial: bool,
        course: &Course<'_>,
        relay: &Relay,
    ) -> bool {
        let Course { request, shard, .. } = *course;
        let retries = &course.view.snapshot.config.retries;
        let repeatable = relay.is_untouched()
            || ((request.idempotent || retries.non_idempotent) && relay.is_retained());
        let stale = self.was_stale(failure) && repeatable;
        self.again = stale && !self.again;
        if self.again {
            return true;
        }
        let (healable, free) = match failure {
            Failure::Connect(ConnectError::Local(_)) => (false, true),
            Failure::Connect(_) => (retries.on.connect_failure, true),
            Failure::Unanswered | Failure::BadAnswer => {
                (repeatable && (retries.on.reset || stale), false)
            }
            Failure::AnswerTimeout => (repeatable && retries.on.timeout, false),
            Failure::Refused(status) => (repeatable && retries.on.statuses.contains(status), false),
            _ => (false, true),
        };
        let ours = failed_trial && repeatable && !matches!(failure, Failure::Connect(_));
        if ours && failure.is_of_backend() {
            return true;
        }
        // A refusal takes no time and costs nobody anything: it uses no attempt up.
        let counted = !matches!(failure, Failure::Connect(ConnectError::Refused(_)));
        let used_up = retries.attempts == 0 || (counted && self.retries_left == 0);
        if !healable || used_up || !(free || shard.may_spend(retries)) {
            return false;
        }
        self.retries_left -= u32::from(counted);
        true
    }

    pub(super) fn failed(&mut self, failure: Failure) {
        self.last = Some(failure);
    }

    /// What the client is told when no attempt is left; `None` when there was no backend to try, or none of use.
    pub(super) fn last_failure(&mut self) -> Option<Failure> {
        let hopeless = self.hopeless;
        self.last
            .take()
            .filter(|failure| !(hopeless && matches!(failure, Failure::Connect(_))))
    }
}

impl Drop for Attempts {
    /// A request that is dropped is told of too.
    fn drop(&mut self) {
        if let Some(journal) = &self.journal {
            self.note_answer(journal);
            journal.waited.set(Waited {
                queue: self.queuing.map_or(self.queued, |since| since.elapsed()),
                connect: self.connect,
            });
        }
    }
}
