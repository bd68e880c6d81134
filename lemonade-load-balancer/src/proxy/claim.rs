//! Where an attempt goes: the strategy's choice, an ejected backend's trial, or the next one along that was not tried.

use super::shard::Shard;
use super::sticky::Shown;
use super::upstream::Upstream;
use super::view::View;
use crate::backend::{Backend, State, Taken};
use crate::config::MAX_RETRIES;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How many times its usual response time a backend on trial is given.
const TRIAL_FACTOR: u32 = 20;
/// The least that it is given.
const TRIAL_PATIENCE: Duration = Duration::from_secs(1);
/// Backends that one request may be sent to. Refused connections cost no retry, but somebody waits.
const MOST: usize = MAX_RETRIES as usize + 1;

/// What matters of a request to where it goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asking {
    pub(super) started: Instant,
    /// What it is recognised by, where the strategy goes by that.
    pub(super) key: Option<u64>,
    /// What it says about where its client was.
    pub(super) shown: Shown,
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
    /// Requests that were there before it.
    pub(super) ahead: u32,
    /// Something came for it, or its failure was noted.
    heard: Cell<bool>,
    /// It is to show whether the backend is well again, and has not yet.
    trial: Cell<Option<Taken>>,
    /// The backend is none of the pool: every one of those could not be reached.
    pub(super) last_resort: bool,
}

impl<'s> Slot<'s> {
    /// Counts the request in, if the backend has room.
    fn enter(shard: &'s Shard, upstream: &Rc<Upstream>) -> Option<Self> {
        let ahead = upstream.backend.load.try_enter()?;
        Some(Slot {
            upstream: upstream.clone(),
            ahead,
            heard: Cell::new(false),
            shard,
            trial: Cell::new(None),
            last_resort: false,
        })
    }

    /// How long the backend may take to begin its answer. One on trial gets less: it is known to be unwell, and somebody waits.
    /// If nothing can take its request over, it gets what every other does.
    pub(super) fn patience(&self, usual: Duration, repeatable: bool) -> Duration {
        if !self.is_on_trial() || !repeatable {
            return usual;
        }
        let latency = &self.upstream.backend.load.latency;
        let known = Duration::try_from_secs_f32(latency.last_seconds()).unwrap_or_default();
        usual.min(TRIAL_PATIENCE.max(known * TRIAL_FACTOR))
    }

    /// Notes that the request is on its way.
    pub(super) fn sent(&self, at: Instant) {
        let now = self.shard.since_epoch(at);
        self.upstream.backend.load.delay.sent(self.ahead, now);
    }

    /// Notes that something came for the request, if only that it failed.
    pub(super) fn heard(&self) {
        self.heard.set(true);
    }

    /// Who is waited for, in the terms of the shard's deadlines.
    pub(super) fn tag(&self) -> usize {
        Arc::as_ptr(&self.upstream.backend).addr()
    }

    pub(super) fn is_on_trial(&self) -> bool {
        self.trial.get().is_some()
    }

    /// A trial whose outcome nobody has reported: the caller does.
    pub(super) fn take_trial(&self) -> Option<Taken> {
        self.trial.take()
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let backend = &self.upstream.backend;
        if let Some(taken) = self.trial.get() {
            backend.trial.give_back(taken);
        }
        // Its client left: nobody waits for that answer any more.
        if !self.heard.get() {
            backend
                .load
                .delay
                .heard(self.shard.since_epoch(Instant::now()));
        }
        backend.load.leave();
        self.shard.queue().freed();
    }
}

/// The backends that a request was sent to, in their order. Most requests know one: no memory is taken for more.
#[derive(Debug, Default)]
pub(super) struct Tried {
    first: Option<Rc<Upstream>>,
    others: Vec<Rc<Upstream>>,
}

impl Tried {
    pub(super) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.others.len()
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &Rc<Upstream>> {
        self.first.iter().chain(&self.others)
    }

    /// Where in their order the one is that answered; the last one if none did.
    pub(super) fn place_of_answer(&self, answered: Option<&Rc<Upstream>>) -> Option<usize> {
        let is_it = |upstream: &Rc<Upstream>| answered.is_some_and(|by| Rc::ptr_eq(by, upstream));
        let last = self.len().checked_sub(1);
        self.iter().position(is_it).or(last)
    }

    fn has(&self, backend: &Backend) -> bool {
        self.iter()
            .any(|upstream| std::ptr::eq(&*upstream.backend, backend))
    }

    /// A backend of the view's pool is left that has room.
    pub(super) fn leaves_others(&self, view: &View) -> bool {
        let mut pool = view.snapshot.pool.backends().iter();
        self.len() < MOST && pool.any(|backend| !self.has(backend) && !backend.load.is_full())
    }

    /// A place for the first attempt.
    pub(super) fn claim_first<'s>(
        &mut self,
        shard: &'s Shard,
        view: &View,
        asking: Asking,
    ) -> Claim<'s> {
        let must_wait = !asking.in_turn && shard.queue().waiting() > 0;
        if let Some(place) = asking.shown.place(view)
            && !must_wait
            && let Some(slot) = Slot::enter(shard, &view.upstreams[place])
        {
            return self.note(slot);
        }
        if !view.snapshot.trials.is_empty()
            && let Some(slot) = try_one(shard, view, asking)
        {
            return self.note(slot);
        }
        let size = view.snapshot.pool.len();
        if size == 0 {
            return Claim::Nobody;
        }
        if must_wait {
            return Claim::Full;
        }
        let place = shard.pick(view, asking.started, asking.key);
        if let Some(slot) = Slot::enter(shard, &view.upstreams[place]) {
            return self.note(slot);
        }
        // It has all that it may have. The strategy may have another idea; else the next along with room.
        let other = shard.pick(view, asking.started, asking.key);
        let places = std::iter::once(other).chain(from(place + 1, size));
        self.enter_first(shard, places.map(|place| &view.upstreams[place]))
    }

    /// A place at the backend that was tried last.
    pub(super) fn claim_same<'s>(&self, shard: &'s Shard) -> Claim<'s> {
        let last = self.iter().next_back();
        last.and_then(|upstream| Slot::enter(shard, upstream))
            .map_or(Claim::Full, Claim::Slot)
    }

    /// The next one along that was not tried, usable ones first. The strategy is not asked again: a second turn of the rotation
    /// would send every other request to a backend that fails first.
    pub(super) fn claim_next<'s>(
        &mut self,
        shard: &'s Shard,
        view: &View,
        now: Instant,
        key: Option<u64>,
    ) -> Claim<'s> {
        if !self.leaves_others(view) {
            return Claim::Nobody;
        }
        let size = view.snapshot.pool.len();
        let last = self.iter().next_back().map(|last| &last.backend);
        let is_last = |upstream: &Rc<Upstream>| {
            last.is_some_and(|last| std::ptr::eq(&**last, &*upstream.backend))
        };
        let place = view.upstreams[..size].iter().position(is_last);
        let start = place.map_or_else(|| shard.pick(view, now, key), |place| place + 1);
        let untried: Vec<&Rc<Upstream>> = from(start, size)
            .map(|place| &view.upstreams[place])
            .filter(|upstream| !self.has(&upstream.backend))
            .collect();
        let usable = |upstream: &&Rc<Upstream>| upstream.backend.state.get().is_usable();
        let (first, then): (Vec<_>, Vec<_>) = untried.into_iter().partition(usable);
        self.enter_first(shard, first.into_iter().chain(then))
    }

    /// A place at any backend that was not tried, of the pool or not: nobody of the pool could be reached, and one that is not in
    /// it may just have come back.
    pub(super) fn claim_anywhere<'s>(&mut self, shard: &'s Shard) -> Claim<'s> {
        if self.len() >= MOST {
            return Claim::Nobody;
        }
        let left = |upstream: &&Rc<Upstream>| {
            upstream.backend.state.get() != State::Draining && !self.has(&upstream.backend)
        };
        let members = shard.upstreams.borrow();
        let left: Vec<&Rc<Upstream>> = members.iter().filter(left).collect();
        match self.enter_first(shard, left.into_iter()) {
            Claim::Slot(mut slot) => {
                slot.last_resort = true;
                Claim::Slot(slot)
            }
            _ => Claim::Nobody,
        }
    }

    fn enter_first<'s, 'u>(
        &mut self,
        shard: &'s Shard,
        mut upstreams: impl Iterator<Item = &'u Rc<Upstream>>,
    ) -> Claim<'s> {
        match upstreams.find_map(|upstream| Slot::enter(shard, upstream)) {
            Some(slot) => self.note(slot),
            None => Claim::Full,
        }
    }

    fn note<'s>(&mut self, slot: Slot<'s>) -> Claim<'s> {
        let upstream = slot.upstream.clone();
        match self.first {
            None => self.first = Some(upstream),
            Some(_) => self.others.push(upstream),
        }
        Claim::Slot(slot)
    }
}

/// All places of a pool of `size`, from `start` on and round.
fn from(start: usize, size: usize) -> impl Iterator<Item = usize> {
    let start = if start < size { start } else { 0 };
    (start..size).chain(0..start)
}

/// A backend on trial that takes this request.
fn try_one<'s>(shard: &'s Shard, view: &View, asking: Asking) -> Option<Slot<'s>> {
    let on_trial = &view.upstreams[view.snapshot.pool.len()..];
    on_trial.iter().find_map(|upstream| {
        let taken = upstream.backend.trial.take(asking.repeatable)?;
        let Some(slot) = Slot::enter(shard, upstream) else {
            upstream.backend.trial.give_back(taken);
            return None;
        };
        slot.trial.set(Some(taken));
        Some(slot)
    })
}
