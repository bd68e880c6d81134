//! The sample of real picks: from the shards, who never wait, to whoever asks.

use crate::explain::{Pick, Sketch};
use crate::timestamp::rfc3339;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc;

/// Picks that are kept.
const KEPT: usize = 256;
/// Picks that may wait for the control task, which comes for them four times a second. So no more than 256 a second are drafted,
/// however many are sampled: a draft takes a shard 0.1 ms where there are 1,000 backends.
const WAITING: usize = 64;

/// The last ones. Written by the control task, read by the admin API. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Picks(Arc<Mutex<VecDeque<Pick>>>);

impl Picks {
    /// The last so many, newest first.
    pub(crate) fn newest(&self, limit: usize) -> Vec<Pick> {
        self.kept().iter().rev().take(limit).cloned().collect()
    }

    fn kept(&self) -> MutexGuard<'_, VecDeque<Pick>> {
        // Nothing panics while it is held; if something did, the picks are still picks.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where shards hand in what they drafted. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Drafts(mpsc::Sender<Sketch>);

impl Drafts {
    /// Room for one, taken before it is drafted; `None` if as many wait as may. Never waits, and wakes nobody: nothing is waiting
    /// for drafts.
    pub(crate) fn room(&self) -> Option<mpsc::Permit<'_, Sketch>> {
        self.0.try_reserve().ok()
    }
}

/// The other end.
#[derive(Debug)]
pub(super) struct Sampled {
    drafts: mpsc::Receiver<Sketch>,
    picks: Picks,
}

pub(super) fn channel() -> (Drafts, Sampled) {
    let (sender, drafts) = mpsc::channel(WAITING);
    let picks = Picks::default();
    (Drafts(sender), Sampled { drafts, picks })
}

impl Sampled {
    pub(super) fn picks(&self) -> Picks {
        self.picks.clone()
    }

    /// Takes in what was handed in.
    pub(super) fn collect(&mut self, now: Duration) {
        while let Ok(sketch) = self.drafts.try_recv() {
            let age = now.saturating_sub(sketch.at);
            let wall = SystemTime::now();
            let at = wall.checked_sub(age).unwrap_or(wall);
            let pick = sketch.told(rfc3339(at));
            let mut kept = self.picks.kept();
            if kept.len() == KEPT {
                kept.pop_front();
            }
            kept.push_back(pick);
        }
    }
}
