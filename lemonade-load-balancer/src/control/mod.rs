//! The only writer: one task, one queue of commands, one published snapshot.
//!
//! Services that learn something (a health verdict, a connect failure, a new file, an order by hand) send it here; the task
//! decides, updates the live state and publishes. Nobody else changes who may be picked, so there is nothing to lock and
//! every change has one place where it is logged.

mod task;

pub(crate) use task::Task;

use crate::backend::{Backend, BackendId};
use crate::config::{Config, Diff, Refused};
use crate::snapshot::{self, Published, Snapshot};
use crate::stats::names;
use crate::strategy;
use dashmap::DashMap;
use std::sync::Arc;
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
    /// A request could not connect to a backend.
    ConnectFailed {
        backend: Arc<Backend>,
        error: String,
    },
    /// Run by this configuration from now on.
    Reload {
        config: Box<Config>,
        done: oneshot::Sender<Result<Diff, Refused>>,
    },
    /// Pick by this strategy from now on, until the next one is set or the file names another.
    SetStrategy {
        name: strategy::Name,
        done: oneshot::Sender<()>,
    },
}

/// What health checks think of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It answered as often as `rise` asks.
    Up,
    /// It failed as often as `fall` asks.
    Down,
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
    pub(crate) async fn verdict(&self, backend: BackendId, verdict: Verdict) {
        let _ = self.0.send(Command::Verdict { backend, verdict }).await;
    }

    /// Reports that a request could not connect. Never waits: if the queue is full, the next failure reports again.
    pub(crate) fn connect_failed(&self, backend: &Arc<Backend>, error: &dyn std::error::Error) {
        if !backend.state.get().may_be_picked() {
            return;
        }
        let cause = error
            .source()
            .map(|cause| format!(": {cause}"))
            .unwrap_or_default();
        let error = format!("{error}{cause}");
        let _ = self.0.try_send(Command::ConnectFailed {
            backend: backend.clone(),
            error,
        });
    }

    /// Counts a reload that came to nothing before it reached the task.
    pub(crate) fn reload_failed(&self) {
        count_reload(false);
    }

    /// Changes to `config` as one step: either all of it holds, or nothing changed.
    pub async fn reload(&self, config: Config) -> Result<Result<Diff, Refused>, ShuttingDown> {
        let (done, answer) = oneshot::channel();
        let config = Box::new(config);
        self.0
            .send(Command::Reload { config, done })
            .await
            .map_err(|_| ShuttingDown)?;
        answer.await.map_err(|_| ShuttingDown)
    }

    /// Changes the strategy; requests already on their way keep the one they began with.
    pub async fn set_strategy(&self, name: strategy::Name) -> Result<(), ShuttingDown> {
        let (done, answer) = oneshot::channel();
        self.0
            .send(Command::SetStrategy { name, done })
            .await
            .map_err(|_| ShuttingDown)?;
        answer.await.map_err(|_| ShuttingDown)
    }
}

/// Describes the metrics of reloads; until one fails, the last one was applied.
fn describe() {
    metrics::describe_counter!(names::RELOADS, "Configuration reloads, by result");
    metrics::describe_gauge!(
        names::LAST_RELOAD,
        "1 if the last configuration reload was applied"
    );
    metrics::gauge!(names::LAST_RELOAD).set(1.0);
}

fn count_reload(applied: bool) {
    let result = if applied { "applied" } else { "refused" };
    metrics::counter!(names::RELOADS, "result" => result).increment(1);
    metrics::gauge!(names::LAST_RELOAD).set(if applied { 1.0 } else { 0.0 });
}

/// The task, where to command it, and where to read what it publishes.
pub(crate) fn new(config: Config) -> (Task, Handle, Published) {
    describe();
    let (sender, commands) = mpsc::channel(QUEUE);
    let config = Arc::new(config);
    let cursor = Arc::default();
    let registry = Registry::new();
    let members = task::members(&registry, &config);
    let first = Snapshot::new(1, config.clone(), members, config.strategy, &cursor);
    let (publisher, published) = snapshot::channel(first);
    (
        Task::new(registry, publisher, commands, cursor),
        Handle(sender),
        published,
    )
}
