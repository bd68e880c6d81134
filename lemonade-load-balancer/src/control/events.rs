//! What happened, for whoever watches: one line an edge, the last few kept for those who come late.
//!
//! Written by the control task, read by the admin API. A reader that falls behind by [`KEPT`] events misses some, and can
//! tell so by the numbers.

use crate::backend::State;
use crate::config::{Plan, Source};
use crate::decision::Decision;
use crate::timestamp::rfc3339;
use serde::Serialize;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;
use tokio::sync::broadcast;

/// Events that are kept.
const KEPT: usize = 256;

/// Something that happened.
#[derive(Clone, Debug, Serialize)]
pub struct Event {
    /// Rises by one with every event of this process.
    pub id: u64,
    /// When, RFC 3339.
    pub time: String,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum What {
    /// A backend moved from one state to another.
    StateChanged {
        /// Its name.
        backend: String,
        /// The state before.
        from: State,
        /// The state now.
        to: State,
        /// What brought it about.
        cause: String,
    },
    /// The balancer began or ceased to use backends that are not usable, because too few are.
    Panic {
        /// `few_usable` or `none_trusted`; absent when it is over.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<&'static str>,
        /// Backends that are usable.
        usable: usize,
        /// Backends that there are.
        all: usize,
    },
    /// A changed configuration is in force.
    Reloaded {
        /// The snapshot that it is in.
        generation: u64,
        /// What it changed.
        plan: Box<Plan>,
    },
    /// A changed configuration cannot be used: the old one stays in force.
    ReloadRefused {
        /// Why: every fault.
        error: String,
    },
    /// An operator changed something by hand.
    ChangedByHand {
        /// What: `weight of w1: 5`.
        change: String,
        /// Whether it outlives the process.
        kept: bool,
    },
    /// A source names other backends than before.
    Discovered {
        /// The source.
        source: Source,
        /// What changed.
        plan: Box<Plan>,
        /// Entries that were left out, and why.
        left_out: Vec<String>,
    },
    /// A source cannot be asked: its last backends stay in use.
    SourceAway {
        /// The source.
        source: Source,
        /// Why.
        error: String,
    },
    /// A source can be asked again.
    SourceBack {
        /// The source.
        source: Source,
    },
    /// The engine switched the strategy, or would have.
    Decision {
        /// All that explains it.
        decision: Box<Decision>,
    },
    /// What came of a switch is known.
    DecisionSettled {
        /// The same, with its effect.
        decision: Box<Decision>,
    },
    /// The last request on a removed backend has ended.
    Drained {
        /// Its address.
        backend: String,
        /// Requests that were cut off because they took longer than `runtime.drain_timeout`.
        cut: u32,
    },
}

/// What is kept for those who come late.
#[derive(Debug, Default)]
struct Kept {
    last: VecDeque<Arc<Event>>,
    /// The last reload may be longer ago than all of those.
    reload: Option<Arc<Event>>,
}

/// Where events are written and read. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Events {
    kept: Arc<Mutex<Kept>>,
    sender: broadcast::Sender<Arc<Event>>,
}

impl Events {
    pub(super) fn new() -> Self {
        Events {
            kept: Arc::default(),
            sender: broadcast::Sender::new(KEPT),
        }
    }

    pub(super) fn record(&self, what: What) {
        let mut kept = self.kept();
        let event = Arc::new(Event {
            id: kept.last.back().map_or(1, |last| last.id + 1),
            time: rfc3339(SystemTime::now()),
            what,
        });
        if let What::Reloaded { .. } | What::ReloadRefused { .. } = event.what {
            kept.reload = Some(event.clone());
        }
        if kept.last.len() == KEPT {
            kept.last.pop_front();
        }
        kept.last.push_back(event.clone());
        // Under the lock, so that who follows misses nothing. Nobody may be listening.
        let _ = self.sender.send(event);
    }

    /// The kept events with a number above `after`, and a receiver of those that follow them.
    pub fn follow(&self, after: u64) -> (Vec<Arc<Event>>, broadcast::Receiver<Arc<Event>>) {
        let kept = self.kept();
        let past = kept.last.iter().filter(|event| event.id > after);
        (past.cloned().collect(), self.sender.subscribe())
    }

    /// The last reload, applied or refused.
    pub fn last_reload(&self) -> Option<Arc<Event>> {
        self.kept().reload.clone()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Nothing panics while it is held; if something did, the events are still events.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> What {
        What::ReloadRefused {
            error: text.to_owned(),
        }
    }

    #[tokio::test]
    async fn follower_gets_what_was_kept_and_what_comes() {
        let events = Events::new();
        for number in 0..KEPT + 10 {
            events.record(refused(&number.to_string()));
        }
        let (past, mut next) = events.follow(0);
        assert_eq!((past.len(), past[0].id), (KEPT, 11));
        let (late, _) = events.follow(KEPT as u64 + 9);
        assert_eq!(late.len(), 1);
        events.record(refused("next"));
        assert_eq!(next.recv().await.unwrap().id, KEPT as u64 + 11);
    }

    #[test]
    fn event_is_flat_json() {
        let events = Events::new();
        events.record(refused("x"));
        let json = serde_json::to_value(&*events.follow(0).0[0]).unwrap();
        assert_eq!(json["type"], "reload_refused");
        assert_eq!(
            (json["id"].clone(), json["error"].clone()),
            (1.into(), "x".into())
        );
    }
}
