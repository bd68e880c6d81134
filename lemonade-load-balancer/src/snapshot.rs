//! The immutable view that every request reads: who may be picked, by which strategy, under which settings.
//!
//! Published by the control task, read by everyone else. A reader's cost is one atomic load while nothing changes (a shard
//! keeps an `arc_swap::Cache`). Live state is *shared* between snapshots, never copied: publishing loses nothing learned.

use crate::backend::{Backend, State};
use crate::config::{BackendConfig, Config};
use crate::strategy::{self, Cursor, Pool, Strategy};
use arc_swap::ArcSwap;
use std::sync::Arc;
use tokio::sync::watch;

/// One configured backend with its live state.
#[derive(Clone, Debug)]
pub struct Member {
    /// What the configuration says of it.
    pub config: BackendConfig,
    /// What it is doing.
    pub live: Arc<Backend>,
}

/// One published view.
#[derive(Debug)]
pub struct Snapshot {
    /// Rises by one with every publication.
    pub generation: u64,
    /// What everything runs by.
    pub config: Arc<Config>,
    /// Every configured backend, in the file's order.
    pub members: Box<[Member]>,
    /// Those that may be picked.
    pub pool: Pool,
    /// Picks from `pool`.
    pub strategy: Arc<dyn Strategy>,
    /// Its name; it may differ from the configuration's, when it was changed by hand.
    pub strategy_name: strategy::Name,
}

impl Snapshot {
    /// The view of `members` as their states are now. If none is healthy, those about which nothing is known yet are picked:
    /// at the start that serves a request which would otherwise be refused.
    pub(crate) fn new(
        generation: u64,
        config: Arc<Config>,
        members: Box<[Member]>,
        strategy_name: strategy::Name,
        cursor: &Arc<Cursor>,
    ) -> Self {
        let mut pool = eligible(&members, State::Healthy);
        if pool.is_empty() {
            pool = eligible(&members, State::Starting);
        }
        let strategy = strategy::build(strategy_name, &pool, cursor);
        Snapshot {
            generation,
            config,
            members,
            pool,
            strategy,
            strategy_name,
        }
    }

    /// The configured name of a backend; its address if it is no longer configured.
    pub fn name_of(&self, backend: &Backend) -> String {
        let member = self
            .members
            .iter()
            .find(|member| member.live.id == backend.id);
        member.map_or_else(
            || backend.id.to_string(),
            |member| member.config.name.clone(),
        )
    }
}

fn eligible(members: &[Member], state: State) -> Pool {
    let eligible = members
        .iter()
        .filter(|member| member.live.state.get() == state);
    Pool::new(eligible.map(|member| (member.live.clone(), member.config.weight)))
}

/// Where snapshots are read. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Published {
    current: Arc<ArcSwap<Snapshot>>,
    changed: watch::Receiver<u64>,
}

/// Where the control task publishes them; there is one, and it is not `Clone`.
#[derive(Debug)]
pub(crate) struct Publisher {
    current: Arc<ArcSwap<Snapshot>>,
    changed: watch::Sender<u64>,
}

/// Both ends, with the first snapshot in place.
pub(crate) fn channel(first: Snapshot) -> (Publisher, Published) {
    let (sender, receiver) = watch::channel(first.generation);
    let current = Arc::new(ArcSwap::from_pointee(first));
    (
        Publisher {
            current: current.clone(),
            changed: sender,
        },
        Published {
            current,
            changed: receiver,
        },
    )
}

impl Publisher {
    pub(crate) fn publish(&self, snapshot: Snapshot) {
        let generation = snapshot.generation;
        self.current.store(Arc::new(snapshot));
        // Nobody may be listening while the process ends.
        let _ = self.changed.send(generation);
    }

    pub(crate) fn load(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }
}

impl Published {
    /// The present view.
    pub fn load(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// A reader that checks for a new view with one atomic load.
    pub(crate) fn cache(&self) -> arc_swap::Cache<Arc<ArcSwap<Snapshot>>, Arc<Snapshot>> {
        arc_swap::Cache::new(self.current.clone())
    }

    /// Waits for a view that this reader has not seen; `false` when there will be none any more.
    pub async fn changed(&mut self) -> bool {
        self.changed.changed().await.is_ok()
    }
}
