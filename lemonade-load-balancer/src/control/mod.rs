//! The only writer: one task, one queue of commands, one published snapshot.
//!
//! Services that learn something (a health verdict, a connect failure, what a source of backends names) send it here through
//! a [`Handle`]; what a person wants (a reload, a change by hand) comes through the [`Operator`]. The task decides, updates
//! the live state and publishes. Nobody else changes who may be picked, so there is nothing to lock and every change has one
//! place where it is logged.

mod engine;
mod events;
mod handover;
mod membership;
mod operator;
mod picks;
mod task;

pub use engine::Decisions;
pub use events::{Event, Events, What};
pub use handover::Handover;
pub use membership::{Order, OrderError, Preference, find};
pub use operator::{Errand, Keep, Operator, OperatorError, ReloadFailure};
pub(crate) use picks::{Drafts, Picks};
pub(crate) use task::Task;

pub use crate::backend::Verdict;
use crate::backend::{Backend, BackendId};
use crate::config::{BackendConfig, Config, Overlay, Plan, Source};
use crate::guard::Guard;
use crate::listen::{ListenError, Listeners, Role};
use crate::log_file::LogFile;
use crate::seal::MadeKey;
use crate::snapshot::{self, Carried, Members, Parts, Published, Snapshot};
use crate::stats::{RequestStats, names};
use crate::strategy::Cursor;
use dashmap::DashMap;
use engine::Steering;
use membership::Membership;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

/// Commands that may wait. The task never blocks, so a full queue means thousands of failures in one instant.
const QUEUE: usize = 4096;

/// What the control task can be told.
#[derive(Debug)]
pub(crate) enum Command {
    /// A health check changed its mind about a backend.
    Verdict {
        backend: BackendId,
        verdict: Verdict,
    },
    /// Requests met with something at a backend.
    Met { backend: Arc<Backend>, what: Met },
    /// Run by this configuration from now on.
    Reload {
        config: Box<Config>,
        kept: Overlay,
        done: oneshot::Sender<Result<Plan, Refused>>,
    },
    /// A configuration could not be read.
    ReloadFailed { error: String },
    /// Say what a reload would do.
    Plan {
        config: Box<Config>,
        done: oneshot::Sender<Plan>,
    },
    /// Say what the kept changes would be after an order.
    Draft {
        order: Order,
        done: oneshot::Sender<Result<Overlay, OrderError>>,
    },
    /// Carry out an order by hand.
    Obey {
        order: Order,
        kept: Kept,
        done: oneshot::Sender<Result<Plan, OrderError>>,
    },
    /// A source names these backends now.
    Found {
        source: Source,
        backends: Vec<BackendConfig>,
        left_out: Vec<String>,
    },
    /// A source cannot be asked.
    Away { source: Source, error: String },
    /// A source outside said this.
    External { name: String, value: f64 },
    /// The access log's file was renamed: open it anew.
    ReopenLog {
        done: oneshot::Sender<io::Result<()>>,
    },
    /// Give everything that another process needs to take over.
    HandOver {
        done: oneshot::Sender<io::Result<Estate>>,
    },
    /// Let go of the listening sockets.
    StopListening {
        taken_over: bool,
        done: oneshot::Sender<()>,
    },
}

/// Where a change by hand was written down before it is carried out.
#[derive(Debug)]
pub(crate) enum Kept {
    /// Nowhere: it ends with the process.
    Nowhere,
    /// In the database that the backend comes from.
    InDatabase,
    /// Beside the configuration: all kept changes as they are there now.
    InOverlay(Overlay),
}

/// What requests can meet with at a backend that concerns others.
#[derive(Debug)]
pub(crate) enum Met {
    /// No connection could be made.
    NoConnection(String),
    /// So many failures in a row.
    Failures(u32),
    /// A trial was answered.
    TrialPassed,
    /// A trial failed, and why.
    TrialFailed { unreachable: bool, error: String },
    /// An answer, although nobody could reach it as far as was known.
    Answer,
}

/// Why a configuration that can be read cannot be run by this process. Nothing was changed.
#[derive(Debug, Error)]
pub enum Refused {
    /// A part that only a restart can change.
    #[error("{}", .0.join("; "))]
    Fixed(Vec<String>),
    /// A new address cannot be listened on; the old one is kept.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The new access log cannot be opened; the old one is kept.
    #[error("cannot open the access log {path}: {cause}")]
    AccessLog {
        /// Its path.
        path: String,
        /// Why.
        cause: io::Error,
    },
}

/// All that another process needs to take over.
#[derive(Debug)]
pub struct Estate {
    /// What was learned.
    pub handover: Handover,
    /// Listening sockets, once more, with what each is for.
    pub sockets: Vec<(Role, OwnedFd)>,
    /// Whoever bound the sockets keeps them beyond both processes.
    pub held: bool,
}

/// The live state of every backend, those that still drain included.
pub(crate) type Registry = DashMap<BackendId, Arc<Backend>>;

/// The control task has ended: the process is going down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the balancer is shutting down")]
pub struct ShuttingDown;

/// Where commands are sent. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle(mpsc::Sender<Command>);

impl Handle {
    /// Reports a health check's change of mind.
    pub async fn verdict(&self, backend: BackendId, verdict: Verdict) {
        let _ = self.0.send(Command::Verdict { backend, verdict }).await;
    }

    /// Reports what requests met with. Never waits: if the queue is full nothing is reported (`false`), and the next time is
    /// soon.
    pub(crate) fn met(&self, backend: &Arc<Backend>, what: Met) -> bool {
        let backend = backend.clone();
        self.0.try_send(Command::Met { backend, what }).is_ok()
    }

    /// Reports what a source of backends names now, and which of its entries were left out.
    pub(crate) async fn found(
        &self,
        source: Source,
        backends: Vec<BackendConfig>,
        left_out: Vec<String>,
    ) {
        let found = Command::Found {
            source,
            backends,
            left_out,
        };
        let _ = self.0.send(found).await;
    }

    /// Reports that a source cannot be asked.
    pub(crate) async fn away(&self, source: Source, error: String) {
        let _ = self.0.send(Command::Away { source, error }).await;
    }

    /// Reports what a source outside says.
    pub(crate) async fn external(&self, name: String, value: f64) {
        let _ = self.0.send(Command::External { name, value }).await;
    }

    /// Reports a configuration that came to nothing before it reached the task.
    pub(crate) async fn reload_failed(&self, error: String) {
        let _ = self.0.send(Command::ReloadFailed { error }).await;
    }

    /// Changes to `config` as one step: either all of it holds, or nothing changed.
    pub(crate) async fn reload(
        &self,
        config: Config,
        kept: Overlay,
    ) -> Result<Result<Plan, Refused>, ShuttingDown> {
        let config = Box::new(config);
        self.ask(|done| Command::Reload { config, kept, done })
            .await
    }

    pub(crate) async fn plan(&self, config: Config) -> Result<Plan, ShuttingDown> {
        let config = Box::new(config);
        self.ask(|done| Command::Plan { config, done }).await
    }

    pub(crate) async fn draft(
        &self,
        order: Order,
    ) -> Result<Result<Overlay, OrderError>, ShuttingDown> {
        self.ask(|done| Command::Draft { order, done }).await
    }

    pub(crate) async fn obey(
        &self,
        order: Order,
        kept: Kept,
    ) -> Result<Result<Plan, OrderError>, ShuttingDown> {
        self.ask(|done| Command::Obey { order, kept, done }).await
    }

    /// Opens the access log anew, after its file was renamed.
    pub async fn reopen_log(&self) -> Result<io::Result<()>, ShuttingDown> {
        self.ask(|done| Command::ReopenLog { done }).await
    }

    /// What another process needs to take over: what was learned, and every listening socket once more.
    pub async fn hand_over(&self) -> Result<io::Result<Estate>, ShuttingDown> {
        self.ask(|done| Command::HandOver { done }).await
    }

    /// Lets go of the listening sockets; what is queued on them is accepted still.
    pub(crate) async fn stop_listening(&self, taken_over: bool) -> Result<(), ShuttingDown> {
        self.ask(|done| Command::StopListening { taken_over, done })
            .await
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, ShuttingDown> {
        let (done, answer) = oneshot::channel();
        self.0.send(command(done)).await.map_err(|_| ShuttingDown)?;
        answer.await.map_err(|_| ShuttingDown)
    }
}

/// Describes the metrics of reloads and decisions; until one fails, the last one was applied.
fn describe() {
    metrics::describe_counter!(names::RELOADS, "Configuration reloads, by result");
    metrics::describe_gauge!(
        names::LAST_RELOAD,
        "1 if the last configuration reload was applied"
    );
    metrics::gauge!(names::LAST_RELOAD).set(1.0);
    for result in ["applied", "refused"] {
        metrics::counter!(names::RELOADS, "result" => result).increment(0);
    }
    engine::describe();
}

/// What the task owns from its beginning.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) config: Config,
    /// Changes by hand that were kept.
    pub(crate) kept: Overlay,
    /// What the process before this one had learned.
    pub(crate) handover: Option<Handover>,
    pub(crate) listeners: Listeners,
    pub(crate) log: LogFile,
    /// What each shard counts of requests.
    pub(crate) stats: Arc<[Arc<RequestStats>]>,
    /// When time began, for latencies.
    pub(crate) epoch: Instant,
}

/// What there is of it then.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) task: Task,
    pub(crate) handle: Handle,
    pub(crate) published: Published,
    pub(crate) events: Events,
    pub(crate) decisions: Decisions,
    pub(crate) drafts: Drafts,
    pub(crate) picks: Picks,
}

/// The task, where to command it, where to read what it publishes, and where to follow what happens.
pub(crate) fn new(setup: Setup) -> Started {
    describe();
    let (sender, commands) = mpsc::channel(QUEUE);
    let config = Arc::new(setup.config);
    let registry = Registry::new();
    let mut membership = Membership::new(&config, setup.kept);
    let mut cursor = Arc::default();
    let mut sticky_key = None;
    let mut override_left = None;
    let upgraded = setup.handover.is_some();
    if let Some(handover) = setup.handover {
        let now = setup.epoch.elapsed();
        for learned in &handover.learned {
            if let Some(backend) = learned.recall(config.runtime.shards, now) {
                registry.insert(backend.id.clone(), backend);
            }
        }
        let found = handover.found.iter().filter_map(|found| found.recall());
        membership.take_over(&config, handover.overlay, found.collect());
        cursor = Arc::new(Cursor::at(handover.cursor));
        sticky_key = handover.sticky_key;
        override_left = handover
            .strategy_for
            .and_then(|left| Duration::try_from_secs_f64(left).ok());
    }
    let listening = setup.listeners.listening();
    let holding = membership.holding(&config, listening.proxy);
    let mut guard = Guard::default();
    let now = setup.epoch.elapsed();
    let members = task::members(&registry, &mut guard, &config, holding, now);
    registry.retain(|id, _| members.iter().any(|member| member.live.id == *id));
    guard.limit(&members, &config, now);
    let strategy_name = membership.strategy(&config);
    let mut steering = Steering::new(strategy_name, &config, setup.stats);
    if upgraded {
        steering.begin_anew(now);
    }
    if override_left.is_some() {
        let (name, ttl) = (Some(strategy_name), override_left);
        steering.by_hand(&Preference { name, ttl }, now);
    }
    let decisions = steering.decisions();
    let parts = Parts {
        members: Members::new(members),
        steered: steering.adopt(strategy_name, &config, now),
        strategy_name,
        listening,
        sources: membership.statuses().into(),
        lapsed: Arc::default(),
        trials: Box::default(),
        carried: Carried {
            key: Some(sticky_key.unwrap_or_else(MadeKey::new)),
            built: None,
        },
        config,
    };
    let (publisher, published) = snapshot::channel(Snapshot::new(1, parts, &cursor));
    let events = Events::new();
    let (drafts, sampled) = picks::channel();
    let picks = sampled.picks();
    let task = Task::new(task::Owned {
        registry,
        guard,
        membership,
        publisher,
        steering,
        sampled,
        events: events.clone(),
        listeners: Some(setup.listeners),
        log: setup.log,
        cursor,
        epoch: setup.epoch,
        commands,
    });
    Started {
        task,
        handle: Handle(sender),
        published,
        events,
        decisions,
        drafts,
        picks,
    }
}
