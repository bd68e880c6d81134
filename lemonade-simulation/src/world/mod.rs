//! The simulated world: requests come, backends work, things go wrong, and somebody picks.
//!
//! A discrete-event simulation. [`play`] lets the time jump from event to event: a change of a backend's condition, a health check, an end
//! of work, an end of a client's patience, an arrival; in this order where several fall on one instant, and of one kind in the
//! order in which they were scheduled. Randomness is drawn once per request, before anybody picks, so every strategy meets the same
//! requests. Promise: the same stage, requests and picks give the same run.

mod arrivals;
mod backend;
mod checks;
mod events;
mod jobs;
mod work;

pub(crate) use arrivals::Drawn;
pub(crate) use backend::Backend;
pub(crate) use work::LONGEST;
pub(crate) use work::{Recorded, Work};

use crate::report::{Outcome, Recorder};
use crate::scenario::{Change, Condition, Failing, Health};
use checks::Checks;
use events::{Event, Events};
use jobs::{Job, Jobs, Place, Ticket};
use std::collections::VecDeque;
use std::time::Duration;

/// How long it takes to be refused.
const REFUSAL: Duration = Duration::from_millis(1);

/// How often a run says how far it is, in requests.
const TELLS_EVERY: u64 = 8192;

/// What there is besides requests.
#[derive(Debug)]
pub(crate) struct Stage {
    /// How many requests each backend works on at once.
    pub(crate) workers: Vec<usize>,
    /// What a request asks of each backend.
    pub(crate) work: Work,
    /// In the order of time.
    pub(crate) changes: Vec<Change>,
    pub(crate) health: Option<Health>,
    /// A client's patience.
    pub(crate) timeout: Duration,
}

/// One request as it comes, with every chance it will take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    pub(crate) at: Duration,
    /// Whom its client asks.
    pub(crate) replica: usize,
    /// How much of it there is to do, in the terms of [`Work`].
    pub(crate) size: f64,
    /// From 0 to 1: it fails at a failing backend if that fails a larger share.
    pub(crate) luck: f64,
    /// It ends in an error whoever serves it.
    pub(crate) doomed: bool,
}

/// Who picks, and may look at the backends themselves. Only the ideal does.
pub(crate) trait Chooser {
    fn alive(&mut self, now: Duration, backends: &[usize]);
    fn pick(&mut self, replica: usize, now: Duration, stage: &Stage, backends: &[Backend])
    -> usize;
    fn done(&mut self, replica: usize, backend: usize, now: Duration, latency: Duration, ok: bool);
}

/// Plays all requests to their end, and counts them.
pub(crate) fn play<C: Chooser>(
    stage: &Stage,
    requests: impl Iterator<Item = Request>,
    chooser: &mut C,
    recorder: &mut Recorder,
    told: &mut dyn FnMut(Duration),
) {
    let mut world = World {
        stage,
        chooser,
        recorder,
        now: Duration::ZERO,
        backends: stage
            .workers
            .iter()
            .map(|count| Backend::new(*count))
            .collect(),
        jobs: Jobs::default(),
        events: Events::default(),
        patience: VecDeque::new(),
        changes: 0,
        checks: stage
            .health
            .map(|health| Checks::new(health, stage.workers.len())),
    };
    let everyone: Vec<usize> = (0..stage.workers.len()).collect();
    world.chooser.alive(Duration::ZERO, &everyone);
    let mut count: u64 = 0;
    for request in requests {
        world.advance(request.at);
        world.arrive(&request);
        count += 1;
        if count.is_multiple_of(TELLS_EVERY) {
            told(request.at);
        }
    }
    world.wait_for_the_last();
}

struct World<'s, C> {
    stage: &'s Stage,
    chooser: &'s mut C,
    recorder: &'s mut Recorder,
    now: Duration,
    backends: Vec<Backend>,
    jobs: Jobs,
    events: Events,
    /// When each client's patience ends. All have the same, so the order of arrival is that of the ends.
    patience: VecDeque<(Duration, Ticket)>,
    /// How many of the stage's changes have happened.
    changes: usize,
    checks: Option<Checks>,
}

/// Whose turn is next; of one time the first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    Change,
    Check,
    Event,
    Patience,
}

impl<C: Chooser> World<'_, C> {
    /// Everything that happens before or at a time.
    fn advance(&mut self, until: Duration) {
        while let Some((at, turn)) = self.next_turn()
            && at <= until
        {
            self.turn(at, turn);
        }
        self.now = until;
    }

    fn wait_for_the_last(&mut self) {
        while self.jobs.any_waiting()
            && let Some((at, turn)) = self.next_turn()
        {
            self.turn(at, turn);
        }
    }

    fn next_turn(&mut self) -> Option<(Duration, Turn)> {
        while let Some((_, ticket)) = self.patience.front()
            && !self.jobs.waits(*ticket)
        {
            self.patience.pop_front();
        }
        let change = self.stage.changes.get(self.changes);
        let turns = [
            change.map(|change| (change.at, Turn::Change)),
            self.checks
                .as_ref()
                .map(|checks| (checks.next_at(), Turn::Check)),
            self.events.next_at().map(|at| (at, Turn::Event)),
            self.patience.front().map(|(at, _)| (*at, Turn::Patience)),
        ];
        turns.into_iter().flatten().min()
    }

    fn turn(&mut self, at: Duration, turn: Turn) {
        self.now = at;
        match turn {
            Turn::Change => {
                let change = &self.stage.changes[self.changes];
                self.changes += 1;
                self.change(change.backend, change.condition.clone());
            }
            Turn::Check => self.check(),
            Turn::Event => match self.events.pop() {
                Some(Event::WorkDone(ticket)) => self.work_done(ticket),
                Some(Event::Answer(ticket, outcome)) => self.answer(ticket, outcome),
                None => {}
            },
            Turn::Patience => {
                if let Some((_, ticket)) = self.patience.pop_front() {
                    self.answer(ticket, Outcome::TimedOut);
                }
            }
        }
    }

    fn arrive(&mut self, request: &Request) {
        let (now, replica) = (self.now, request.replica);
        let backend = self.chooser.pick(replica, now, self.stage, &self.backends);
        self.backends[backend].last_pick = self.jobs.begun() + 1;
        let ticket = self.jobs.begin(Job {
            came: now,
            replica,
            backend,
            work: self.stage.work.of(request.size, backend),
            pauses_seen: Duration::ZERO,
            doomed: request.doomed,
            waiting: true,
            place: Place::Nowhere,
        });
        self.patience.push_back((now + self.stage.timeout, ticket));
        let condition = &self.backends[backend].condition;
        match condition.fail {
            _ if condition.crashed => {
                let refused = Event::Answer(ticket, Outcome::Refused);
                self.events.push(now + REFUSAL, refused);
            }
            _ if condition.hanging => self.jobs[ticket].place = Place::Swallowed,
            Some(Failing { rate, after }) if request.luck < rate => {
                let failed = Event::Answer(ticket, Outcome::Failed);
                self.events.push(now + after, failed);
            }
            _ => self.accept(backend, ticket),
        }
    }

    fn accept(&mut self, backend: usize, ticket: Ticket) {
        self.jobs[ticket].place = Place::Queued;
        self.backends[backend].queue.push_back(ticket);
        self.begin_work(backend);
    }

    /// Gives free workers what is queued.
    fn begin_work(&mut self, backend: usize) {
        let now = self.now;
        while let Some(ticket) = self.backends[backend].take() {
            let slowdown = self.backends[backend].condition.slowdown(now);
            let job = &mut self.jobs[ticket];
            job.place = Place::Working;
            job.pauses_seen = self.backends[backend].paused(now);
            let takes = Duration::from_secs_f64((job.work * slowdown).min(work::LONGEST));
            self.events.push(now + takes, Event::WorkDone(ticket));
        }
    }

    fn work_done(&mut self, ticket: Ticket) {
        let now = self.now;
        let Some(job) = self.jobs.find(ticket) else {
            return;
        };
        if job.place != Place::Working {
            return;
        }
        let backend = &mut self.backends[job.backend];
        let missed = backend.paused(now) - job.pauses_seen;
        if !missed.is_zero() {
            // It lay still meanwhile: so much is left to do, from the end of the pause on.
            let resumed = backend.condition.paused_until.unwrap_or(now).max(now);
            job.pauses_seen += missed + (resumed - now);
            self.events.push(resumed + missed, Event::WorkDone(ticket));
            return;
        }
        backend.busy -= 1;
        let (backend, doomed) = (job.backend, job.doomed);
        self.leave(ticket);
        let outcome = match doomed {
            true => Outcome::Failed,
            false => Outcome::Answered,
        };
        self.answer(ticket, outcome);
        self.begin_work(backend);
    }

    /// The client has its answer, or gives up. Nothing if it had one before.
    fn answer(&mut self, ticket: Ticket, outcome: Outcome) {
        let Some(job) = self.jobs.stop_waiting(ticket) else {
            return;
        };
        let latency = self.now - job.came;
        let ok = outcome == Outcome::Answered;
        self.recorder
            .record(job.came, Some(job.backend), outcome, latency);
        self.chooser
            .done(job.replica, job.backend, self.now, latency, ok);
    }

    fn leave(&mut self, ticket: Ticket) {
        self.jobs.move_to(ticket, Place::Nowhere);
    }

    fn change(&mut self, index: usize, condition: Condition) {
        let backend = &mut self.backends[index];
        let (crashes, hangs) = (
            condition.crashed && !backend.condition.crashed,
            condition.hanging && !backend.condition.hanging,
        );
        backend.turn_into(condition, self.now);
        if crashes {
            self.drop_all(index);
        } else if hangs {
            self.swallow_all(index);
        }
        self.begin_work(index);
    }

    /// What is in flight fails.
    fn drop_all(&mut self, backend: usize) {
        for ticket in self.jobs.at(backend) {
            self.leave(ticket);
            self.answer(ticket, Outcome::Broken);
        }
        self.backends[backend].forget();
    }

    /// What is in flight is never answered.
    fn swallow_all(&mut self, backend: usize) {
        for ticket in self.jobs.at(backend) {
            self.jobs.move_to(ticket, Place::Swallowed);
        }
        self.backends[backend].forget();
    }

    fn check(&mut self) {
        let Some(checks) = &mut self.checks else {
            return;
        };
        let backends = &self.backends;
        let passes = |index: usize| {
            let condition = &backends[index].condition;
            !condition.crashed && !condition.hanging
        };
        if let Some(alive) = checks.probe(passes) {
            self.chooser.alive(self.now, &alive);
        }
    }
}

#[cfg(test)]
mod tests;
