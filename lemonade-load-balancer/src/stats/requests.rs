//! What one shard has counted of requests and connections as a whole.

use super::add;
use super::histogram::Histogram;
use super::times::Times;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// Counters with a single writer, their shard. Aligned so that no two shards write one cache line.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct RequestStats {
    /// By status class.
    pub(crate) responses: [AtomicU64; 5],
    /// From a request's head to the last byte of its answer.
    pub(crate) duration: Times,
    /// Answers by time to first byte, in slots fine enough for percentiles.
    pub(crate) first_byte: Histogram,
    /// By status class: 4xx and 5xx only occur.
    pub(crate) refused: [AtomicU64; 5],
    /// Requests that no backend had room for.
    pub(crate) shed: AtomicU64,
    /// Requests that were sent twice.
    pub(crate) hedges: AtomicU64,
    /// Those of them that the second copy answered.
    pub(crate) hedges_won: AtomicU64,
    /// Retries that the budget did not allow.
    pub(crate) retries_refused: AtomicU64,
    /// Sticky cookies that were not ours, or too old.
    pub(crate) sticky_ignored: AtomicU64,
    /// Clients that another backend answered than the one that their sticky cookie names.
    pub(crate) sticky_moved: AtomicU64,
    /// Sampled picks that were not kept, because too many were.
    pub(crate) drafts_dropped: AtomicU64,
    pub(crate) connections: AtomicU64,
    pub(crate) turned_away: AtomicU64,
    /// Turned away because their client has too many.
    pub(crate) over_client_limit: AtomicU64,
    /// Tasks that ended in a panic: most often a connection's.
    pub(crate) panics: AtomicU64,
}

impl RequestStats {
    /// Counts one request that was read.
    pub(crate) fn record(&self, status: u16, total: Duration) {
        add(&self.responses[class(status)], 1);
        self.duration.record(total);
    }

    /// Counts one that was not.
    pub(crate) fn record_refused(&self, status: u16) {
        add(&self.refused[class(status)], 1);
    }
}

fn class(status: u16) -> usize {
    usize::from(status / 100).clamp(1, 5) - 1
}
