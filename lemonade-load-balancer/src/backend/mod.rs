//! Who a backend is, what it is doing right now, and the states it may be in.
//!
//! A [`Backend`] is the *live* half of a backend: it outlives reloads, so that nothing learned about it is lost. What the
//! configuration says of it (weight, name) lives in the snapshot. Read by strategies on every pick, written by the proxy
//! through guards and by the control task.

mod cause;
mod delay;
mod latency;
mod load;
mod peak;
mod standing;
mod state;
mod trial;

pub use cause::{Cause, CauseCell};
pub use delay::{Delay, Known, Shown, Usual, usual};
pub use latency::Latency;
pub use load::{InFlight, Load, UNLIMITED};
pub use peak::Peak;
pub use standing::{Move, Standing, Terms, Verdict};
pub use state::{State, StateCell};
pub use trial::{Taken, TrialSlot};

use crate::stats::ShardStats;
use lemonade_config::Address;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// All of a backend's weight counts.
pub const FULL_SHARE: u32 = 100;

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
    /// How much of its weight counts now, in percent: less in a slow start, or while it is degraded.
    share: AtomicU32,
    /// Requests have shown that it is of no use.
    distrusted: AtomicBool,
    /// Why it is in its state.
    pub cause: CauseCell,
    /// When its ejection ends, in nanoseconds since the process began; 0 if it is not ejected, or on trial.
    ejected_until: AtomicU64,
    /// Whether it takes a single request to show that it is well again.
    pub trial: TrialSlot,
    /// How often it was ejected.
    pub ejections: AtomicU64,
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
            share: AtomicU32::new(FULL_SHARE),
            distrusted: AtomicBool::new(false),
            cause: CauseCell::default(),
            ejected_until: AtomicU64::new(0),
            trial: TrialSlot::default(),
            ejections: AtomicU64::new(0),
            stats: (0..shards).map(|_| ShardStats::default()).collect(),
        })
    }

    /// How much of its weight counts now: 1 to 100 percent.
    pub fn share(&self) -> u32 {
        // Relaxed, here and below: read when a snapshot is built, by the task that wrote it.
        self.share.load(Relaxed)
    }

    /// For the control task. Holds from the next snapshot on.
    pub(crate) fn set_share(&self, percent: u32) {
        self.share.store(percent.clamp(1, FULL_SHARE), Relaxed);
    }

    /// Requests have shown that it is of no use, or nobody can connect to it: it is used only when nobody else is left.
    pub fn is_distrusted(&self) -> bool {
        self.distrusted.load(Relaxed)
    }

    /// For the control task. Holds from the next snapshot on.
    pub(crate) fn set_distrusted(&self, distrusted: bool) {
        self.distrusted.store(distrusted, Relaxed);
    }

    /// When its ejection ends, since the process began; `None` if it is not ejected, or on trial.
    pub fn ejected_until(&self) -> Option<Duration> {
        let until = self.ejected_until.load(Relaxed);
        (until != 0).then(|| Duration::from_nanos(until))
    }

    /// For the control task. Nothing goes by it: it is for people.
    pub(crate) fn set_ejected_until(&self, until: Option<Duration>) {
        let until = until.map_or(0, |until| until.as_nanos() as u64);
        self.ejected_until.store(until, Relaxed);
    }

    /// Sums one of the shards' counters.
    pub fn sum(&self, of: impl Fn(&ShardStats) -> &AtomicU64) -> u64 {
        self.stats.iter().map(|shard| of(shard).load(Relaxed)).sum()
    }

    /// Counts a request that was sent here as in flight until the guard drops, however the request ends.
    pub fn begin(self: &Arc<Self>) -> InFlight {
        InFlight::enter(self.clone())
    }
}
