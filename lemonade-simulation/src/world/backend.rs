//! One backend: workers, a queue in order of arrival, and its condition.

use super::jobs::Ticket;
use crate::scenario::Condition;
use std::collections::VecDeque;
use std::time::Duration;

#[derive(Debug)]
pub(crate) struct Backend {
    /// What is wrong with it.
    pub(crate) condition: Condition,
    /// The number of the last request that it was picked for; 0 before the first.
    pub(crate) last_pick: u64,
    pub(super) busy: usize,
    pub(super) queue: VecDeque<Ticket>,
    workers: usize,
    paused_since: Option<Duration>,
    /// The length of all pauses that are over.
    paused_before: Duration,
}

impl Backend {
    pub(super) fn new(workers: usize) -> Self {
        Backend {
            condition: Condition::default(),
            last_pick: 0,
            busy: 0,
            queue: VecDeque::new(),
            workers,
            paused_since: None,
            paused_before: Duration::ZERO,
        }
    }

    /// Requests that it works on or that queue, those that nobody waits for any longer included.
    pub(crate) fn in_system(&self) -> usize {
        self.busy + self.queue.len()
    }

    /// The next of the queue, if a worker is free for it; that is then busy.
    pub(super) fn take(&mut self) -> Option<Ticket> {
        if self.busy == self.workers || self.paused_since.is_some() {
            return None;
        }
        let next = self.queue.pop_front()?;
        self.busy += 1;
        Some(next)
    }

    /// How long it has been paused in all, until now.
    pub(super) fn paused(&self, now: Duration) -> Duration {
        let present = self.paused_since.map(|since| now - since);
        self.paused_before + present.unwrap_or_default()
    }

    pub(super) fn turn_into(&mut self, condition: Condition, now: Duration) {
        match (self.paused_since, condition.paused_until) {
            (None, Some(_)) => self.paused_since = Some(now),
            (Some(_), None) => {
                self.paused_before = self.paused(now);
                self.paused_since = None;
            }
            _ => {}
        }
        self.condition = condition;
    }

    /// Whatever it had to do, it has nothing to do now.
    pub(super) fn forget(&mut self) {
        self.busy = 0;
        self.queue.clear();
    }
}
