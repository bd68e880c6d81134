//! What will happen, in the order of time; what was scheduled first happens first at one time.

use super::jobs::Ticket;
use crate::report::Outcome;
use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::time::Duration;

#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    /// A worker is done with a request, unless a pause held it up or the backend forgot it.
    WorkDone(Ticket),
    /// A request that was not worked on is answered.
    Answer(Ticket, Outcome),
}

#[derive(Debug, Default)]
pub(super) struct Events {
    heap: BinaryHeap<Entry>,
    count: u64,
}

#[derive(Debug)]
struct Entry {
    at: Duration,
    number: u64,
    event: Event,
}

impl Events {
    pub(super) fn push(&mut self, at: Duration, event: Event) {
        let number = self.count;
        self.count += 1;
        self.heap.push(Entry { at, number, event });
    }

    pub(super) fn next_at(&self) -> Option<Duration> {
        self.heap.peek().map(|entry| entry.at)
    }

    pub(super) fn pop(&mut self) -> Option<Event> {
        self.heap.pop().map(|entry| entry.event)
    }
}

/// The earliest is the greatest, as the heap wants it.
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}
