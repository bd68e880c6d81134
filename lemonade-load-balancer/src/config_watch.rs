//! Watches the configuration file and has it applied when it changes.
//!
//! The *folder* is watched, not the file: editors replace a file by renaming another over it, and Kubernetes swaps a
//! symbolic link, both of which a watch on the file itself would lose. Events that come together are one reload. A file that
//! cannot be used changes nothing, and is complained of once.

use crate::config::{self, Overrides};
use crate::control;
use lemonade_config::Environment;
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

/// Where the configuration comes from, now and at each reload.
#[derive(Clone, Debug)]
pub struct Source {
    /// The file.
    pub path: PathBuf,
    /// The environment that the process was started with.
    pub environment: Environment,
    /// The command line's flags.
    pub overrides: Overrides,
}

/// Why the file cannot be watched.
#[derive(Debug, thiserror::Error)]
#[error("cannot watch {path} for changes")]
pub struct WatchError {
    path: PathBuf,
    #[source]
    cause: notify::Error,
}

/// A watch that has begun: changes from here on are seen.
#[derive(Debug)]
pub(crate) struct Watch {
    source: Source,
    changes: mpsc::Receiver<()>,
    /// Reports through `changes` for as long as it lives.
    watcher: RecommendedWatcher,
    watched: HashSet<PathBuf>,
}

impl Watch {
    pub(crate) fn begin(source: Source) -> Result<Self, WatchError> {
        // One waiting event is enough: it says that something changed.
        let (sender, changes) = mpsc::channel(1);
        let fail = |cause| WatchError {
            path: source.path.clone(),
            cause,
        };
        let mut watcher =
            notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
                // Reading the file is an event too; acting on it would never end.
                if event.is_ok_and(|event| !event.kind.is_access()) {
                    let _ = sender.try_send(());
                }
            })
            .map_err(fail)?;
        let watched: HashSet<PathBuf> = folders(&source.path).into_iter().collect();
        for folder in &watched {
            watcher
                .watch(folder, RecursiveMode::NonRecursive)
                .map_err(fail)?;
        }
        Ok(Watch {
            source,
            changes,
            watcher,
            watched,
        })
    }

    /// Applies every change, until the control task is gone. `settle`: how long events are gathered.
    pub(crate) async fn run(mut self, control: control::Handle, settle: Duration) {
        let mut complained_of = String::new();
        while self.changes.recv().await.is_some() {
            let until = Instant::now() + settle;
            while let Ok(Some(())) = timeout_at(until, self.changes.recv()).await {}
            self.follow_links();
            match self.apply(&control).await {
                Ok(()) => complained_of.clear(),
                Err(complaint) if complaint == complained_of => {}
                Err(complaint) => {
                    tracing::error!("the changed configuration is not applied: {complaint}");
                    complained_of = complaint;
                }
            }
        }
    }

    /// A link that was changed points to another folder now; what happens there is to be seen too.
    fn follow_links(&mut self) {
        for folder in folders(&self.source.path) {
            let watching = self.watched.contains(&folder)
                || self
                    .watcher
                    .watch(&folder, RecursiveMode::NonRecursive)
                    .is_ok();
            if watching {
                self.watched.insert(folder);
            }
        }
    }

    /// Loads and applies the file. The error is for people.
    async fn apply(&self, control: &control::Handle) -> Result<(), String> {
        let source = self.source.clone();
        // Names are resolved on the way, which blocks.
        let loaded = tokio::task::spawn_blocking(move || {
            config::load(Some(&source.path), &source.environment, &source.overrides)
        })
        .await
        .map_err(|error| error.to_string())?;
        let config = match loaded {
            Ok(loaded) => loaded.config,
            Err(faults) => {
                control.reload_failed();
                return Err(faults.to_string());
            }
        };
        match control.reload(config).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(refused)) => Err(refused.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// The folder of the file, and that of what it points to.
fn folders(path: &Path) -> Vec<PathBuf> {
    let folder = |path: &Path| match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let mut folders = vec![folder(path)];
    if let Ok(target) = path.canonicalize() {
        let target = folder(&target);
        if folders[0].canonicalize().ok().as_ref() != Some(&target) {
            folders.push(target);
        }
    }
    folders
}
