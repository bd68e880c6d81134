//! Watches the configuration file and has it applied when it changes.
//!
//! The *folder* is watched, not the file: editors replace a file by renaming another over it, and Kubernetes swaps a
//! symbolic link, both of which a watch on the file itself would lose. Events that come together are one reload. A file that
//! cannot be used changes nothing, and is complained of once.

use crate::control::{Operator, ReloadFailure};
use crate::snapshot::Published;
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

/// How often the file is looked at although nothing was told.
const LOOK: Duration = Duration::from_secs(2);

/// How long a file may be missing or empty before that counts as its new content.
const ABSENCE: Duration = Duration::from_millis(400);

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
    path: PathBuf,
    changes: mpsc::Receiver<()>,
    /// Reports through `changes` for as long as it lives.
    watcher: RecommendedWatcher,
    watched: HashSet<PathBuf>,
}

impl Watch {
    pub(crate) fn begin(path: PathBuf) -> Result<Self, WatchError> {
        // One waiting event is enough: it says that something changed.
        let (sender, changes) = mpsc::channel(1);
        let fail = |cause| WatchError {
            path: path.clone(),
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
        let watched: HashSet<PathBuf> = folders(&path).into_iter().collect();
        for folder in &watched {
            watcher
                .watch(folder, RecursiveMode::NonRecursive)
                .map_err(fail)?;
        }
        Ok(Watch {
            path,
            changes,
            watcher,
            watched,
        })
    }

    /// Applies every change, until the control task is gone.
    pub(crate) async fn run(mut self, operator: Operator, published: Published) {
        let mut complained_of = String::new();
        loop {
            match timeout(LOOK, self.changes.recv()).await {
                Ok(Some(())) => {
                    let interval = published.load().config.runtime.config_watch_interval;
                    self.settle(interval).await;
                }
                Ok(None) => return,
                // Some changes are told to nobody: those of a network's file system, or of a folder that was replaced.
                Err(_) => {}
            }
            // Some editors truncate before they write, or move the file away before they put the new one in its place.
            if !self.has_content() {
                self.settle(ABSENCE).await;
            }
            self.follow_links();
            let Some(reloaded) = operator.reload_if_changed().await else {
                // Something else in the folder, a log perhaps; or somebody was faster.
                continue;
            };
            match reloaded {
                Ok(_) => complained_of.clear(),
                Err(ReloadFailure::ShuttingDown(_)) => return,
                Err(failure) => {
                    let complaint = failure.to_string();
                    if complaint != complained_of {
                        tracing::error!("the changed configuration is not applied: {complaint}");
                        complained_of = complaint;
                    }
                }
            }
        }
    }

    /// Gathers events for so long; not one by one, since something else in the folder may change thousands of times a second.
    async fn settle(&mut self, settle: Duration) {
        sleep(settle).await;
        while self.changes.try_recv().is_ok() {}
    }

    fn has_content(&self) -> bool {
        std::fs::metadata(&self.path).is_ok_and(|file| file.len() > 0)
    }

    /// A link that was changed points to another folder now; what happens there is to be seen too, and no more what happens
    /// where it pointed before.
    fn follow_links(&mut self) {
        let present: HashSet<PathBuf> = folders(&self.path).into_iter().collect();
        for gone in self.watched.difference(&present) {
            // The folder may be gone itself.
            let _ = self.watcher.unwatch(gone);
        }
        self.watched.retain(|folder| present.contains(folder));
        for folder in present {
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
