//! What the shards count: plain memory that only its shard writes, summed when somebody asks.

pub mod histogram;
pub mod names;
mod requests;
pub mod times;

pub(crate) use requests::RequestStats;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use times::Times;

/// Upper bounds of the latency histogram's buckets, in microseconds; one more bucket holds what is longer.
pub const BUCKETS: [u64; 14] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000,
];

/// The first digit of a status, the bounded label of request counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusClass(u8);

impl StatusClass {
    /// Every class a response may have, in order.
    pub const LABELS: [&'static str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

    /// The class of a status between 100 and 599.
    pub fn of(status: u16) -> Self {
        StatusClass((status / 100).clamp(1, 5) as u8 - 1)
    }
}

/// How one attempt at a backend ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An answer with this status.
    Answered(u16),
    /// No connection could be made.
    ConnectFailed,
    /// A connection, but no usable answer.
    Failed,
}

/// Counters and a latency histogram. Each shard writes its own with plain loads and stores (no locked instruction); the
/// scrape sums over the shards. Aligned so that no two shards write one cache line.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct ShardStats {
    /// Attempts that were begun.
    pub begun: AtomicU64,
    /// Attempts that failed by the backend's fault: no connection, no usable answer, a status that says so.
    pub faults: AtomicU64,
    /// Answers by status class.
    pub responses: [AtomicU64; 5],
    /// Attempts for which no connection could be made.
    pub connect_failures: AtomicU64,
    /// Attempts on a connection that brought no usable answer.
    pub failures: AtomicU64,
    /// Attempts that were made because an earlier one on another backend, or on a stale connection, failed.
    pub retries: AtomicU64,
    /// Connections opened.
    pub connections: AtomicU64,
    /// Answers by time to first byte.
    pub latency: Times,
}

impl ShardStats {
    /// Counts one attempt. Cost: two or four plain stores.
    pub fn record(&self, outcome: Outcome, first_byte: Duration) {
        match outcome {
            Outcome::ConnectFailed => add(&self.connect_failures, 1),
            Outcome::Failed => add(&self.failures, 1),
            Outcome::Answered(status) => {
                add(&self.responses[usize::from(StatusClass::of(status).0)], 1);
                self.latency.record(first_byte);
            }
        }
    }

    /// Attempts that were answered.
    pub fn answers(&self) -> u64 {
        self.responses.iter().map(|count| count.load(Relaxed)).sum()
    }

    /// Attempts that ended in any way but by the client's leaving.
    pub fn ended(&self) -> u64 {
        let failures = self.failures.load(Relaxed) + self.connect_failures.load(Relaxed);
        self.answers() + failures
    }

    /// Adds one to a counter of this shard.
    pub fn count(counter: &AtomicU64) {
        add(counter, 1);
    }
}

/// The single writer's addition: a load and a store compile to plain moves, where `fetch_add` would lock the bus.
fn add(counter: &AtomicU64, count: u64) {
    counter.store(counter.load(Relaxed) + count, Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_a_class() {
        for (status, label) in [
            (100, "1xx"),
            (204, "2xx"),
            (301, "3xx"),
            (499, "4xx"),
            (599, "5xx"),
        ] {
            assert_eq!(
                StatusClass::LABELS[usize::from(StatusClass::of(status).0)],
                label
            );
        }
    }
}
