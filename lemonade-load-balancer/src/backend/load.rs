//! How busy a backend is, exactly, across all shards.

use super::{Backend, Latency};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// What strategies read of a backend. A pair of cache lines of its own (adjacent lines are fetched together), so that one
/// backend's traffic does not slow the reading of its neighbours.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Load {
    in_flight: AtomicU32,
    /// How long it takes to begin an answer.
    pub latency: Latency,
}

impl Load {
    /// Requests sent to the backend whose answer has not ended.
    // Relaxed here and below: the count is a hint for picking; nothing is published through it.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    /// For tests and simulations that set the stage.
    pub fn set_in_flight(&self, count: u32) {
        self.in_flight.store(count, Relaxed);
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
        self.0.load.in_flight.fetch_sub(1, Relaxed);
    }
}
