//! What a person may ask of a running balancer, in steps that fail as a whole: reload, check, change by hand.
//!
//! Called by the admin API, the file watch and signals. One thing at a time: a reload that read an older file must not be
//! applied after one that read the newer.

use super::{Handle, Kept, Order, OrderError, Refused, ShuttingDown};
use crate::backend::BackendId;
use crate::config::{Fingerprint, Inputs, Loaded, Overlay, Plan, Source};
use crate::snapshot::Published;
use lemonade_config::{Document, Faults};
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use thiserror::Error;
use tokio::sync::{Mutex, OwnedMutexGuard};

/// Writes changes by hand to where a source reads its backends from, so that they outlive the process.
pub trait Keep: fmt::Debug + Send + Sync {
    /// Writes `order`. The error is a sentence.
    fn keep<'k>(
        &'k self,
        order: &'k Order,
    ) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + 'k>>;
}

/// Why a reload changed nothing.
#[derive(Debug, Error)]
pub enum ReloadFailure {
    /// The configuration cannot be read.
    #[error(transparent)]
    Faults(#[from] Faults),
    /// It cannot be run by this process.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// There is nobody left to run it.
    #[error(transparent)]
    ShuttingDown(#[from] ShuttingDown),
}

/// Why an order was not carried out. Nothing was changed.
#[derive(Debug, Error)]
pub enum OperatorError {
    /// It cannot be.
    #[error(transparent)]
    Order(#[from] OrderError),
    /// The change cannot be kept.
    #[error("the change cannot be kept: {0}")]
    Keep(String),
    /// There is nobody left to carry it out.
    #[error(transparent)]
    ShuttingDown(#[from] ShuttingDown),
}

/// What the process is asked to do as a whole; whoever owns the [`App`](crate::app::App) does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errand {
    /// Go away, as on TERM.
    Stop,
    /// Hand over to a new process, as on USR2.
    Upgrade,
}

/// Carries out what a person asks. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Operator {
    handle: Handle,
    published: Published,
    inputs: Arc<Inputs>,
    database: Arc<dyn Keep>,
    /// Held over awaits on purpose: whoever comes second waits until the first is through.
    turn: Arc<Mutex<Turn>>,
}

/// Nothing is changed while this lives.
#[derive(Debug)]
pub struct Pause(#[expect(dead_code, reason = "it is there to be dropped")] OwnedMutexGuard<Turn>);

/// What whoever has the turn knows.
#[derive(Debug, Default)]
struct Turn {
    /// The files as they were when they were last read.
    read: Fingerprint,
}

impl Operator {
    /// `database`: keeps changes to backends that came from there. `read`: the files as they were when they were read.
    pub(crate) fn new(
        handle: Handle,
        published: Published,
        inputs: Inputs,
        database: Arc<dyn Keep>,
        read: Fingerprint,
    ) -> Self {
        Operator {
            handle,
            published,
            inputs: Arc::new(inputs),
            database,
            turn: Arc::new(Mutex::new(Turn { read })),
        }
    }

    /// The configuration file, if there is one.
    pub fn file(&self) -> Option<&PathBuf> {
        self.inputs.path.as_ref()
    }

    /// Reads the configuration again and applies it, if a file was changed since it was last read.
    pub(crate) async fn reload_if_changed(&self) -> Option<Result<Plan, ReloadFailure>> {
        let mut turn = self.turn.lock().await;
        if turn.read == self.inputs.fingerprint() {
            return None;
        }
        Some(self.read(&mut turn).await)
    }

    /// Reads the configuration again and applies it. Goes on to its end even if the caller does not wait.
    pub async fn reload(&self) -> Result<Plan, ReloadFailure> {
        let this = self.clone();
        let task = async move { this.read(&mut *this.turn.lock().await).await };
        tokio::spawn(task).await.map_err(|_| ShuttingDown)?
    }

    /// Has every reload and order wait for as long as the guard lives: what they would change is being handed over.
    pub async fn pause(&self) -> Pause {
        Pause(self.turn.clone().lock_owned().await)
    }

    async fn read(&self, turn: &mut Turn) -> Result<Plan, ReloadFailure> {
        // Before reading: what is written meanwhile is a change.
        turn.read = self.inputs.fingerprint();
        let inputs = self.inputs.clone();
        let read = tokio::task::spawn_blocking(move || Ok((inputs.load()?, inputs.overlay()?)));
        let read: Result<(Loaded, _), Faults> = read.await.map_err(|_| ShuttingDown)?;
        match read {
            Ok((loaded, kept)) => {
                for warning in &loaded.warnings {
                    tracing::warn!("{warning}");
                }
                Ok(self.handle.reload(loaded.config, kept).await??)
            }
            Err(faults) => {
                self.handle.reload_failed(faults.to_string()).await;
                Err(faults.into())
            }
        }
    }

    /// What a reload would do if the file were `document`, or with the file as it is.
    pub async fn check(&self, document: Option<Document>) -> Result<Plan, ReloadFailure> {
        let inputs = self.inputs.clone();
        let read = tokio::task::spawn_blocking(move || match document {
            Some(document) => inputs.check(&document),
            None => inputs.load(),
        });
        let loaded = read.await.map_err(|_| ShuttingDown)??;
        Ok(self.handle.plan(loaded.config).await?)
    }

    /// The backend of this name or address.
    pub fn find(&self, which: &str) -> Result<BackendId, OrderError> {
        super::find(&self.published.load(), which)
    }

    /// Carries out `order`. `keep`: it is to outlive the process. Goes on to its end even if the caller does not wait.
    pub async fn order(&self, order: Order, keep: bool) -> Result<Plan, OperatorError> {
        let this = self.clone();
        let task = async move { this.carry_out(order, keep).await };
        tokio::spawn(task).await.map_err(|_| ShuttingDown)?
    }

    async fn carry_out(&self, order: Order, keep: bool) -> Result<Plan, OperatorError> {
        let _turn = self.turn.lock().await;
        if !keep {
            return Ok(self.handle.obey(order, Kept::Nowhere).await??);
        }
        if self.is_disabled_in_database(&order) {
            self.database
                .keep(&order)
                .await
                .map_err(OperatorError::Keep)?;
            // The database will name it.
            return Ok(Plan::default());
        }
        // Made in any case: it says whether the order can be carried out at all.
        let draft = self.handle.draft(order.clone()).await??;
        if self.belongs_to_database(&order) {
            self.database
                .keep(&order)
                .await
                .map_err(OperatorError::Keep)?;
            return Ok(self.handle.obey(order, Kept::InDatabase).await??);
        }
        let Some(path) = self.inputs.overlay_path() else {
            let nowhere =
                "there is no configuration file to keep it beside (start with `--config FILE`)";
            return Err(OperatorError::Keep(nowhere.to_owned()));
        };
        let kept = draft.clone();
        let saved = tokio::task::spawn_blocking(move || {
            // What somebody wrote there by hand and we cannot read is not to be lost.
            Overlay::load(&path).map_err(|faults| faults.to_string())?;
            let saved = kept.save(&path);
            saved.map_err(|error: io::Error| format!("{}: {error}", path.display()))
        });
        saved
            .await
            .map_err(|_| ShuttingDown)?
            .map_err(OperatorError::Keep)?;
        Ok(self.handle.obey(order, Kept::InOverlay(draft)).await??)
    }

    /// A row that is not enabled is no backend, but one may be made of it.
    fn is_disabled_in_database(&self, order: &Order) -> bool {
        let snapshot = self.published.load();
        match order {
            Order::Enable(id) => {
                snapshot.config.discovery.sql.is_some() && snapshot.member(id).is_none()
            }
            _ => false,
        }
    }

    /// A backend that the database names is changed there; one that nobody names is added there, if there is a database.
    fn belongs_to_database(&self, order: &Order) -> bool {
        let snapshot = self.published.load();
        if snapshot.config.discovery.sql.is_none() {
            return false;
        }
        match order {
            Order::Strategy(_) => false,
            Order::Add { .. } => true,
            Order::Remove(id) | Order::Drain(id) | Order::Enable(id) | Order::Weight(id, _) => {
                snapshot
                    .member(id)
                    // One that was added there a moment ago may not have been named yet.
                    .is_some_and(|member| matches!(member.config.source, Source::Sql | Source::Api))
            }
        }
    }
}
