//! The immutable view that every request reads: who may be picked, by which strategy, under which settings.
//!
//! Published by the control task, read by everyone else. A reader's cost is one atomic load while nothing changes (a shard
//! keeps an `arc_swap::Cache`). Live state is *shared* between snapshots, never copied: publishing loses nothing learned.

mod eligible;
mod stickiness;

pub use eligible::Panic;
pub(crate) use stickiness::{MOST_COOKIES, Stickiness};

use crate::backend::{Backend, BackendId};
use crate::config::{BackendConfig, Config, Key, Source};
use crate::decision::BackendSample;
use crate::listen::Listening;
use crate::seal::MadeKey;
use crate::strategy::{self, Built, Cursor, Pool, Strategy};
use arc_swap::ArcSwap;
use eligible::{Candidate, choose};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// One configured backend with its live state.
#[derive(Clone, Debug)]
pub struct Member {
    /// What the configuration says of it.
    pub config: BackendConfig,
    /// What it is doing.
    pub live: Arc<Backend>,
}

/// How a source of backends is doing.
#[derive(Clone, Debug, PartialEq, serde::Serialize, utoipa::ToSchema)]
pub struct SourceStatus {
    /// Which one.
    #[schema(value_type = String)]
    pub source: Source,
    /// Where it is, without secrets.
    pub at: String,
    /// Backends that it names now, or named when it last could be asked.
    pub backends: usize,
    /// Why it cannot be asked now, or has not been asked yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub away: Option<String>,
    /// Entries that were left out, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
}

/// The members, and where each of them is. Shared by every snapshot until a member comes, goes or is changed: most snapshots
/// differ in states alone, and a long stream holds on to the one that it began with.
#[derive(Clone, Debug)]
pub(crate) struct Members {
    list: Arc<[Member]>,
    places: Arc<HashMap<BackendId, usize>>,
}

impl Members {
    pub(crate) fn new(list: Arc<[Member]>) -> Self {
        let places = list.iter().enumerate();
        let places = places.map(|(place, member)| (member.live.id.clone(), place));
        Members {
            places: Arc::new(places.collect()),
            list,
        }
    }
}

impl Members {
    pub(crate) fn list(&self) -> &[Member] {
        &self.list
    }
}

/// Who picks, and what that rests on. Times are since the process began.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Steered {
    pub(crate) by: strategy::Name,
    pub(crate) switched: Option<Duration>,
    pub(crate) until: Option<Duration>,
}

impl Steered {
    /// Who was asked for picks.
    pub(crate) fn plainly(by: strategy::Name) -> Self {
        Steered {
            by,
            switched: None,
            until: None,
        }
    }
}

/// What a snapshot is made of.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    pub(crate) config: Arc<Config>,
    pub(crate) members: Members,
    pub(crate) strategy_name: strategy::Name,
    pub(crate) steered: Steered,
    pub(crate) listening: Listening,
    pub(crate) sources: Arc<[SourceStatus]>,
    pub(crate) lapsed: Arc<[Arc<Backend>]>,
    pub(crate) trials: Box<[Arc<Backend>]>,
    pub(crate) carried: Carried,
}

/// What goes from each snapshot to the next.
#[derive(Clone, Debug, Default)]
pub(crate) struct Carried {
    /// What sticky cookies are sealed with unless the configuration says so; without either there are none.
    pub(crate) key: Option<MadeKey>,
    /// The strategy that picked last.
    pub(crate) built: Option<Arc<Built>>,
}

/// One published view.
#[derive(Debug)]
pub struct Snapshot {
    /// Rises by one with every publication.
    pub generation: u64,
    /// What everything runs by.
    pub config: Arc<Config>,
    /// Every backend that a source names, in the order of the sources.
    pub members: Arc<[Member]>,
    /// Where the process listens.
    pub listening: Listening,
    /// The sources of backends besides the file.
    pub sources: Arc<[SourceStatus]>,
    /// Removed backends whose requests in flight have had their time.
    pub lapsed: Arc<[Arc<Backend>]>,
    /// Those that may be picked.
    pub pool: Pool,
    /// Some of them are not usable, and why they are picked all the same.
    pub panic: Option<Panic>,
    /// Ejected backends that may take a single request each.
    pub trials: Box<[Arc<Backend>]>,
    /// Picks from `pool`.
    pub strategy: Arc<dyn Strategy>,
    /// What was asked for; it may differ from the configuration's, when it was changed by hand.
    pub strategy_name: strategy::Name,
    /// What sticky cookies say, if there are any.
    pub(crate) stickiness: Option<Stickiness>,
    carried: Carried,
    /// Whose algorithm that is; another than was asked for only under `adaptive`.
    pub picks_by: strategy::Name,
    /// When the engine last switched, or somebody by hand; since the process began.
    pub switched: Option<Duration>,
    /// Until when what was set by hand holds, if that has an end; since the process began.
    pub override_until: Option<Duration>,
    /// Where each backend is in `members`.
    places: Arc<HashMap<BackendId, usize>>,
}

impl Snapshot {
    /// The view of `members` as their states are now.
    pub(crate) fn new(generation: u64, parts: Parts, cursor: &Arc<Cursor>) -> Self {
        let members = parts.members;
        let candidates: Vec<Candidate> = members.list.iter().map(candidate).collect();
        let choice = choose(&candidates, parts.config.panic_threshold);
        let chosen = choice.places.iter().map(|place| &members.list[*place]);
        let pool = Pool::new(chosen.map(|member| (member.live.clone(), member.config.weight)));
        let (name, options) = (parts.steered.by, parts.config.affinity.options);
        let built = parts.carried.built;
        let built = built
            .filter(|built| built.serves(name, &pool, &options))
            .unwrap_or_else(|| Arc::new(Built::new(name, &pool, cursor, options)));
        let key = parts.carried.key;
        let sticky = parts.config.sticky.as_ref();
        let stickiness = sticky.and_then(|it| Stickiness::new(it, key.as_ref(), &pool));
        Snapshot {
            generation,
            places: members.places,
            config: parts.config,
            members: members.list,
            listening: parts.listening,
            sources: parts.sources,
            lapsed: parts.lapsed,
            trials: parts.trials,
            panic: choice.panic,
            stickiness,
            pool,
            strategy: built.strategy.clone(),
            strategy_name: parts.strategy_name,
            picks_by: name,
            switched: parts.steered.switched,
            override_until: parts.steered.until,
            carried: Carried {
                key,
                built: Some(built),
            },
        }
    }

    /// What the next snapshot is made of, for as far as nothing changes.
    pub(crate) fn parts(&self) -> Parts {
        Parts {
            config: self.config.clone(),
            members: Members {
                list: self.members.clone(),
                places: self.places.clone(),
            },
            strategy_name: self.strategy_name,
            steered: Steered {
                by: self.picks_by,
                switched: self.switched,
                until: self.override_until,
            },
            listening: self.listening,
            sources: self.sources.clone(),
            lapsed: self.lapsed.clone(),
            trials: self.trials.clone(),
            carried: self.carried(),
        }
    }

    /// What the next snapshot is handed on.
    pub(crate) fn carried(&self) -> Carried {
        self.carried.clone()
    }

    /// What the strategy recognises requests by, if it does.
    pub(crate) fn key(&self) -> Option<&Key> {
        let wanted = self.picks_by.wants_key();
        wanted.then_some(&self.config.affinity.key)
    }

    /// What each member's counters say now, for the engine.
    pub(crate) fn samples(&self, now: Duration) -> Vec<BackendSample> {
        let pool = self.pool.backends().iter();
        let pool: HashSet<*const Backend> = pool.map(Arc::as_ptr).collect();
        let sample = |member: &Member| {
            let eligible = pool.contains(&Arc::as_ptr(&member.live));
            BackendSample::of(&member.live, member.config.weight, eligible, now)
        };
        self.members.iter().map(sample).collect()
    }

    /// How many backends are usable.
    pub fn usable(&self) -> usize {
        let states = self.members.iter().map(|member| member.live.state.get());
        states.filter(|state| state.is_usable()).count()
    }

    /// The backend of this identity, if a source names it.
    pub fn member(&self, id: &BackendId) -> Option<&Member> {
        self.place_of(id).map(|place| &self.members[place])
    }

    /// Where in `members` the backend of this identity is.
    pub(crate) fn place_of(&self, id: &BackendId) -> Option<usize> {
        self.places.get(id).copied()
    }

    /// The name of a backend; its address if no source names it any more.
    pub fn name_of(&self, backend: &Backend) -> String {
        self.member(&backend.id).map_or_else(
            || backend.id.to_string(),
            |member| member.config.name.clone(),
        )
    }
}

fn candidate(member: &Member) -> Candidate {
    Candidate {
        state: member.live.state.get(),
        tier: member.config.tier,
        distrusted: member.live.is_distrusted(),
    }
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
    /// Views that readers may still hold. Whoever lets go of the last hold frees it, which takes a while if there are many
    /// backends; that shall not be a reader, who has requests to serve.
    past: Vec<Arc<Snapshot>>,
}

/// Both ends, with the first snapshot in place.
pub(crate) fn channel(first: Snapshot) -> (Publisher, Published) {
    let (sender, receiver) = watch::channel(first.generation);
    let current = Arc::new(ArcSwap::from_pointee(first));
    (
        Publisher {
            current: current.clone(),
            changed: sender,
            past: Vec::new(),
        },
        Published {
            current,
            changed: receiver,
        },
    )
}

impl Publisher {
    pub(crate) fn publish(&mut self, snapshot: Snapshot) {
        let generation = snapshot.generation;
        self.past.push(self.current.swap(Arc::new(snapshot)));
        // Nobody may be listening while the process ends.
        let _ = self.changed.send(generation);
    }

    /// Frees the views that nobody reads any more.
    pub(crate) fn free_past(&mut self) {
        self.past.retain(|snapshot| Arc::strong_count(snapshot) > 1);
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
