//! The all-knowing bound: join the shortest expected delay.
//!
//! It knows every backend's speed, workers, queue and condition, the end of every pause, and what all replicas do; only the cost
//! of a single request it does not know before that is done. No strategy can know as much, so what it reaches is what there is to
//! reach: not the least that any rule could, but hard to beat where requests look alike before they are done.

use crate::world::{Backend, Chooser, Stage};
use std::time::Duration;

#[derive(Debug, Default)]
pub(crate) struct Ideal;

impl Chooser for Ideal {
    fn alive(&mut self, _: Duration, _: &[usize]) {}

    fn pick(&mut self, _: usize, now: Duration, stage: &Stage, backends: &[Backend]) -> usize {
        let mut best = (0, Prospect::NONE);
        for (index, backend) in backends.iter().enumerate() {
            let prospect = Prospect::of(backend, stage, index, now);
            if prospect.is_better_than(&best.1) {
                best = (index, prospect);
            }
        }
        best.0
    }

    fn done(&mut self, _: usize, _: usize, _: Duration, _: Duration, _: bool) {}
}

/// What a request may expect of a backend.
struct Prospect {
    /// 0: an answer. 1: an answer after a pause. 2: none.
    trouble: u8,
    /// Seconds.
    delay: f64,
    last_pick: u64,
}

impl Prospect {
    const NONE: Prospect = Prospect {
        trouble: u8::MAX,
        delay: f64::INFINITY,
        last_pick: u64::MAX,
    };

    fn of(backend: &Backend, stage: &Stage, index: usize, now: Duration) -> Self {
        let condition = &backend.condition;
        let failing = condition.fail.is_some() || condition.crashed || condition.hanging;
        let pause = condition
            .paused_until
            .map(|until| until.saturating_sub(now));
        let workers = stage.workers[index];
        let ahead = (backend.in_system() + 1).saturating_sub(workers);
        let rounds = ahead as f64 / workers as f64 + 1.0;
        let work = rounds * stage.work.mean(index) * condition.slowdown(now);
        Prospect {
            trouble: match (failing, pause) {
                (true, _) => 2,
                (false, Some(_)) => 1,
                (false, None) => 0,
            },
            delay: work + pause.unwrap_or_default().as_secs_f64(),
            last_pick: backend.last_pick,
        }
    }

    /// Of equals, the least recently used.
    fn is_better_than(&self, other: &Prospect) -> bool {
        match self.trouble.cmp(&other.trouble) {
            std::cmp::Ordering::Equal if self.delay == other.delay => {
                self.last_pick < other.last_pick
            }
            std::cmp::Ordering::Equal => self.delay < other.delay,
            order => order.is_lt(),
        }
    }
}
