//! Who a backend is, what it is doing right now, and the states it may be in.
//!
//! A [`Backend`] is the *live* half of a backend: it outlives reloads, so that nothing learned about it is lost. What the
//! configuration says of it (weight, name) lives in the snapshot. Read by strategies on every pick, written by the proxy
//! through guards and by the control task.

mod latency;
mod load;
mod state;

pub use latency::Latency;
pub use load::{InFlight, Load};
pub use state::{State, StateCell};

use crate::stats::ShardStats;
use lemonade_config::Address;
use std::fmt;
use std::sync::Arc;

/// A backend's identity: its address. Two entries with one address would be one server counted twice, so a configuration
/// that has them is refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BackendId(Arc<Address>);

impl BackendId {
    /// The identity of the backend at `address`.
    pub fn new(address: Address) -> Self {
        BackendId(Arc::new(address))
    }

    /// Where it is reached.
    pub fn address(&self) -> &Address {
        &self.0
    }
}

impl fmt::Display for BackendId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The live state of one backend, shared by all shards and by every snapshot that holds it.
#[derive(Debug)]
pub struct Backend {
    /// Who it is.
    pub id: BackendId,
    /// What it is doing right now; the line of memory that every pick reads.
    pub load: Load,
    /// Whether it may be picked, as last decided by the control task.
    pub state: StateCell,
    /// What each shard has counted; shard `n` writes only `stats[n]`.
    pub stats: Box<[ShardStats]>,
}

impl Backend {
    /// A backend about which nothing is known yet.
    pub fn new(id: BackendId, shards: usize) -> Arc<Self> {
        Arc::new(Backend {
            id,
            load: Load::default(),
            state: StateCell::new(State::Starting),
            stats: (0..shards).map(|_| ShardStats::default()).collect(),
        })
    }

    /// Counts a request that was sent here as in flight until the guard drops, however the request ends.
    pub fn begin(self: &Arc<Self>) -> InFlight {
        InFlight::enter(self.clone())
    }
}
