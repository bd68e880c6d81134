//! How busy a backend is, exactly, across all shards.

use super::{Backend, Delay, Latency, Peak};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

/// No limit on the requests in flight.
pub const UNLIMITED: u32 = u32::MAX;

/// What strategies read of a backend, and what every request writes. A pair of cache lines of its own (adjacent lines are
/// fetched together), so that one backend's traffic does not slow the reading of its neighbours. In the order given: what picks
/// read is in the first line.
#[derive(Debug)]
#[repr(C, align(128))]
pub struct Load {
    in_flight: AtomicU32,
    /// Requests that may be in flight at once.
    limit: AtomicU32,
    /// What it costs to be the next request here.
    pub delay: Delay,
    /// How long it takes to begin an answer.
    pub latency: Latency,
    /// How long it took at the worst, lately.
    pub peak: Peak,
    failures_in_a_row: AtomicU32,
}

impl Default for Load {
    fn default() -> Self {
        Load {
            in_flight: AtomicU32::new(0),
            limit: AtomicU32::new(UNLIMITED),
            failures_in_a_row: AtomicU32::new(0),
            latency: Latency::default(),
            peak: Peak::default(),
            delay: Delay::default(),
        }
    }
}

// Relaxed, but for who comes and goes: counts are hints for picking; nothing is published through them.
impl Load {
    /// Requests sent to the backend whose answer has not ended.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    /// For tests and simulations that set the stage.
    pub fn set_in_flight(&self, count: u32) {
        self.in_flight.store(count, Relaxed);
    }

    /// Requests that may be in flight at once; [`UNLIMITED`] if nobody said.
    pub fn limit(&self) -> u32 {
        self.limit.load(Relaxed)
    }

    /// For the control task, and tests.
    pub fn set_limit(&self, limit: u32) {
        self.limit.store(limit, Relaxed);
    }

    /// Another request would exceed the limit.
    pub fn is_full(&self) -> bool {
        self.in_flight() >= self.limit()
    }

    /// Counts a request in if the limit allows, and says how many were there before it; [`Self::leave`] counts it out. Never exceeds
    /// the limit, not even for a moment.
    // SeqCst, here and in `leave`: who found no room waits for whoever leaves, and one of them must see the other.
    pub fn try_enter(&self) -> Option<u32> {
        let limit = self.limit();
        if limit == UNLIMITED {
            return Some(self.in_flight.fetch_add(1, SeqCst));
        }
        let more = |count| (count < limit).then_some(count + 1);
        self.in_flight.fetch_update(SeqCst, SeqCst, more).ok()
    }

    /// Counts a request out.
    pub fn leave(&self) {
        self.in_flight.fetch_sub(1, SeqCst);
    }

    /// Notes a success: failures are no longer in a row. A shared line is written only if there were any.
    pub fn succeeded(&self) {
        if self.failures_in_a_row.load(Relaxed) != 0 {
            self.failures_in_a_row.store(0, Relaxed);
        }
    }

    /// Forgets what it was like: it was away, and is well again.
    pub(crate) fn forget(&self) {
        self.succeeded();
        self.delay.forget();
        self.peak.forget();
    }

    /// Notes a failure; how many there are in a row now.
    pub fn failed(&self) -> u32 {
        self.failures_in_a_row.fetch_add(1, Relaxed) + 1
    }
}

/// One request in flight. Rides with the request until its last byte left, so that a panic or an abort cannot leak it.
#[derive(Debug)]
#[must_use = "the request counts as in flight only while this lives"]
pub struct InFlight(Arc<Backend>);

impl InFlight {
    pub(super) fn enter(backend: Arc<Backend>) -> Self {
        backend.load.in_flight.fetch_add(1, Relaxed);
        InFlight(backend)
    }

    /// The backend that is busy with it.
    pub fn backend(&self) -> &Arc<Backend> {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.load.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limit_holds_and_is_given_back() {
        let load = Load::default();
        load.set_limit(2);
        assert_eq!((load.try_enter(), load.try_enter()), (Some(0), Some(1)));
        assert_eq!(load.try_enter(), None);
        assert_eq!(load.in_flight(), 2);
        load.leave();
        assert!(load.try_enter().is_some());
    }

    #[test]
    fn one_pair_of_cache_lines_holds_it() {
        assert_eq!(size_of::<Load>(), 128);
    }

    #[test]
    fn success_ends_a_row_of_failures() {
        let load = Load::default();
        assert_eq!((load.failed(), load.failed()), (1, 2));
        load.succeeded();
        assert_eq!(load.failed(), 1);
    }
}
