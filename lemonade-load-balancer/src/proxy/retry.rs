//! Which failed attempt another may heal, and where that one goes.
//!
//! The rules (RFC 9110 9.2.2): a connection that failed before anything was sent may always be tried elsewhere; once bytes
//! were sent, only a request that may be repeated is, and only while its body can be. What adds load must fit the budget.

use super::forward::{Failure, Request};
use super::relay::Relay;
use super::shard::{Shard, View};
use super::upstream::{ConnectError, Upstream};
use crate::config::{MAX_RETRIES, Retries};
use crate::snapshot::Panic;
use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How many times its usual response time a backend on trial is given.
const TRIAL_FACTOR: u32 = 20;
/// The least that it is given.
const TRIAL_PATIENCE: Duration = Duration::from_secs(1);

/// The attempts of one request.
#[derive(Debug)]
pub(super) struct Attempts {
    retries_left: u32,
    /// Indices in the view, in the order in which they were tried.
    tried: [u32; MAX_RETRIES as usize + 1],
    count: usize,
    /// The next attempt goes to the same backend, on a new connection.
    again: bool,
    reused: bool,
    last: Option<Failure>,
    pub(super) queued: Duration,
    pub(super) connect: Duration,
    pub(super) first_byte: Duration,
    /// Body bytes of the answer.
    pub(super) bytes_out: u64,
}

/// What matters of a request to where it goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asking {
    pub(super) started: Instant,
    /// If it fails, another backend can serve it.
    pub(super) repeatable: bool,
    /// It has waited for its turn, so it need not stand behind those who wait.
    pub(super) in_turn: bool,
}

/// Where an attempt may go.
pub(super) enum Claim<'s> {
    Slot(Slot<'s>),
    /// Every backend that is left has as many requests as it may.
    Full,
    /// No backend is left.
    Nobody,
}

/// One request in flight at one backend. Rides with the attempt until its last byte left, so that a panic or an abort cannot
/// leak it.
pub(super) struct Slot<'s> {
    pub(super) upstream: Rc<Upstream>,
    shard: &'s Shard,
    /// It is to show whether the backend is well again, and has not yet.
    on_trial: Cell<bool>,
}

impl Slot<'_> {
    /// How long the backend may take to begin its answer. One on trial gets less: it is known to be unwell, and somebody waits.
    /// If nothing can take its request over, it gets what every other does.
    pub(super) fn patience(&self, usual: Duration, repeatable: bool) -> Duration {
        if !self.on_trial.get() || !repeatable {
            return usual;
        }
        let latency = &self.upstream.backend.load.latency;
        let known = Duration::try_from_secs_f32(latency.last_seconds()).unwrap_or_default();
        usual.min(TRIAL_PATIENCE.max(known * TRIAL_FACTOR))
    }

    /// Whether this is a trial whose outcome nobody has reported: then the caller does.
    pub(super) fn take_trial(&self) -> bool {
        self.on_trial.replace(false)
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let backend = &self.upstream.backend;
        if self.on_trial.get() {
            backend.trial.give_back();
        }
        backend.load.leave();
        self.shard.queue().freed();
    }
}

impl Attempts {
    pub(super) fn new(retries: u32) -> Self {
        Attempts {
            retries_left: retries.min(MAX_RETRIES),
            tried: [0; MAX_RETRIES as usize + 1],
            count: 0,
            again: false,
            reused: false,
            last: None,
            queued: Duration::ZERO,
            connect: Duration::ZERO,
            first_byte: Duration::ZERO,
            bytes_out: 0,
        }
    }

    /// The backends tried, as indices in the view.
    pub(super) fn tried(&self) -> &[u32] {
        &self.tried[..self.count]
    }

    /// A place for the next attempt: where the strategy says, then at a backend that was not tried yet.
    pub(super) fn claim<'s>(&mut self, shard: &'s Shard, view: &View, asking: Asking) -> Claim<'s> {
        if self.again {
            let same = self
                .tried()
                .last()
                .and_then(|index| enter(shard, view, *index as usize));
            return same.map_or(Claim::Full, Claim::Slot);
        }
        if self.count == self.tried.len() {
            return Claim::Nobody;
        }
        match self.tried().last() {
            None => self.claim_first(shard, view, asking),
            Some(last) => self.claim_next(shard, view, *last as usize + 1),
        }
    }

    fn claim_first<'s>(&mut self, shard: &'s Shard, view: &View, asking: Asking) -> Claim<'s> {
        if !view.snapshot.trials.is_empty()
            && let Some((index, slot)) = try_one(shard, view, asking)
        {
            return self.note(index, slot);
        }
        let size = view.snapshot.pool.len();
        if size == 0 {
            return Claim::Nobody;
        }
        if !asking.in_turn && shard.queue().waiting() > 0 {
            return Claim::Full;
        }
        let index = shard.pick(view, asking.started);
        if let Some(slot) = enter(shard, view, index) {
            return self.note(index, slot);
        }
        // It has all that it may have. The strategy may have another idea; else the next along with room.
        let other = shard.pick(view, asking.started);
        let places = std::iter::once(other).chain(from(index + 1, size));
        self.first_with_room(shard, view, places)
    }

    /// The next one along that was not tried, without asking the strategy again: a second turn of the rotation would send every
    /// other request to a backend that fails first.
    fn claim_next<'s>(&mut self, shard: &'s Shard, view: &View, start: usize) -> Claim<'s> {
        let size = view.snapshot.pool.len();
        let tried = self.tried;
        let tried = &tried[..self.count];
        let untried = |index: &usize| !tried.contains(&(*index as u32));
        let mut left = from(start, size).filter(untried).peekable();
        if left.peek().is_none() {
            return Claim::Nobody;
        }
        if view.snapshot.panic.is_some() {
            let backends = view.snapshot.pool.backends();
            let usable = |index: &usize| backends[*index].state.get().is_usable();
            let usable = from(start, size).filter(untried).filter(usable);
            if let claim @ Claim::Slot(_) = self.first_with_room(shard, view, usable) {
                return claim;
            }
        }
        self.first_with_room(shard, view, left)
    }

    /// A place at a backend that was not tried yet, while another attempt goes on.
    pub(super) fn claim_other<'s>(&mut self, shard: &'s Shard, view: &View) -> Claim<'s> {
        let last = self.tried().last().map_or(0, |index| *index as usize);
        self.claim_next(shard, view, last + 1)
    }

    fn first_with_room<'s>(
        &mut self,
        shard: &'s Shard,
        view: &View,
        mut places: impl Iterator<Item = usize>,
    ) -> Claim<'s> {
        let entered = places.find_map(|index| Some((index, enter(shard, view, index)?)));
        match entered {
            Some((index, slot)) => self.note(index, slot),
            None => Claim::Full,
        }
    }

    fn note<'s>(&mut self, index: usize, slot: Slot<'s>) -> Claim<'s> {
        self.tried[self.count] = index as u32;
        self.count += 1;
        Claim::Slot(slot)
    }

    pub(super) fn is_first(&self) -> bool {
        self.count == 1 && !self.again
    }

    /// Nothing was tried yet.
    pub(super) fn is_fresh(&self) -> bool {
        self.count == 0
    }

    pub(super) fn wants_new_connection(&self) -> bool {
        self.again
    }

    pub(super) fn connected(&mut self, took: Duration) {
        self.connect += took;
    }

    pub(super) fn sending(&mut self, reused: bool) {
        self.reused = reused;
    }

    /// The connection was an old one: that it failed says nothing about its backend.
    pub(super) fn was_stale(&self, failure: &Failure) -> bool {
        self.reused && matches!(failure, Failure::Unanswered)
    }

    pub(super) fn answered(&mut self, took: Duration) {
        self.first_byte = took;
    }

    pub(super) fn delivered(&mut self, bytes: u64) {
        self.bytes_out = bytes;
    }

    /// Whether another attempt may heal `failure`; if so, it is paid for. A stale connection costs no retry: the same backend
    /// gets a new one.
    pub(super) fn may_retry(
        &mut self,
        failure: &Failure,
        request: &Request,
        relay: &Relay,
        shard: &Shard,
        retries: &Retries,
    ) -> bool {
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
        if !healable || self.retries_left == 0 || !(free || shard.may_spend(retries)) {
            return false;
        }
        self.retries_left -= 1;
        true
    }

    /// A backend is left that was not tried.
    pub(super) fn has_others(&self, view: &View) -> bool {
        let size = view.snapshot.pool.len();
        let in_pool = |index: &&u32| (**index as usize) < size;
        self.tried().iter().filter(in_pool).count() < size && self.count < self.tried.len()
    }

    pub(super) fn failed(&mut self, failure: Failure) {
        self.last = Some(failure);
    }

    /// What the client is told when no attempt is left; `None` when there was no backend to try, or none that can be reached.
    pub(super) fn last_failure(&mut self, view: &View) -> Option<Failure> {
        let none_reachable = view.snapshot.panic == Some(Panic::NoneReachable);
        self.last
            .take()
            .filter(|failure| !(none_reachable && matches!(failure, Failure::Connect(_))))
    }
}

/// All places of a pool of `size`, from `start` on and round.
fn from(start: usize, size: usize) -> impl Iterator<Item = usize> {
    let start = if start < size { start } else { 0 };
    (start..size).chain(0..start)
}

/// Counts the request in at a backend, if that has room.
fn enter<'s>(shard: &'s Shard, view: &View, index: usize) -> Option<Slot<'s>> {
    let upstream = &view.upstreams[index];
    upstream.backend.load.try_enter().then(|| Slot {
        upstream: upstream.clone(),
        shard,
        on_trial: Cell::new(false),
    })
}

/// A backend on trial that takes this request.
fn try_one<'s>(shard: &'s Shard, view: &View, asking: Asking) -> Option<(usize, Slot<'s>)> {
    let on_trial = view.snapshot.pool.len()..view.upstreams.len();
    on_trial.into_iter().find_map(|index| {
        if !view.upstreams[index].backend.trial.take(asking.repeatable) {
            return None;
        }
        let Some(slot) = enter(shard, view, index) else {
            view.upstreams[index].backend.trial.give_back();
            return None;
        };
        slot.on_trial.set(true);
        Some((index, slot))
    })
}
