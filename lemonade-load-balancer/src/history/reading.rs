//! What the counters say at one moment, and what was counted between two.

use crate::backend::{Backend, BackendId};
use crate::snapshot::Member;
use crate::stats::times::Counted;
use crate::stats::{RequestStats, ShardStats};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Sums over the shards of what concerns requests as a whole.
#[derive(Clone, Debug, Default)]
pub(super) struct Requests {
    pub(super) classes: [u64; 5],
    pub(super) refused: u64,
    pub(super) shed: u64,
    pub(super) hedges: u64,
    pub(super) duration: Counted,
}

impl Requests {
    pub(super) fn read(shards: &[Arc<RequestStats>]) -> Self {
        let sum = |of: &dyn Fn(&RequestStats) -> &AtomicU64| -> u64 {
            shards.iter().map(|shard| of(shard).load(Relaxed)).sum()
        };
        Requests {
            classes: std::array::from_fn(|class| sum(&|shard| &shard.responses[class])),
            refused: (0..5)
                .map(|class| sum(&|shard| &shard.refused[class]))
                .sum(),
            shed: sum(&|shard| &shard.shed),
            hedges: sum(&|shard| &shard.hedges),
            duration: Counted::sum(shards.iter().map(|shard| &shard.duration)),
        }
    }

    pub(super) fn since(&self, before: &Requests) -> Requests {
        Requests {
            classes: std::array::from_fn(|class| {
                self.classes[class].saturating_sub(before.classes[class])
            }),
            refused: self.refused.saturating_sub(before.refused),
            shed: self.shed.saturating_sub(before.shed),
            hedges: self.hedges.saturating_sub(before.hedges),
            duration: self.duration.since(&before.duration),
        }
    }
}

/// Sums over the shards of what one backend did.
#[derive(Clone, Debug, Default)]
pub(super) struct Work {
    pub(super) answers: u64,
    pub(super) errors: u64,
    pub(super) faults: u64,
    pub(super) retries: u64,
    pub(super) first_byte: Counted,
}

impl Work {
    fn read(backend: &Backend) -> Self {
        Work {
            answers: backend.stats.iter().map(ShardStats::answers).sum(),
            errors: backend.sum(|shard| &shard.responses[4]),
            faults: backend.sum(|shard| &shard.faults),
            retries: backend.sum(|shard| &shard.retries),
            first_byte: Counted::sum(backend.stats.iter().map(|shard| &shard.latency)),
        }
    }

    fn since(&self, before: &Work) -> Work {
        Work {
            answers: self.answers.saturating_sub(before.answers),
            errors: self.errors.saturating_sub(before.errors),
            faults: self.faults.saturating_sub(before.faults),
            retries: self.retries.saturating_sub(before.retries),
            first_byte: self.first_byte.since(&before.first_byte),
        }
    }
}

/// What every backend had done when it was last looked at.
#[derive(Debug, Default)]
pub(super) struct Works(HashMap<BackendId, Work>);

impl Works {
    /// What each has done since the last time, in the order of `members`. Of one that is new nothing is told: what it counted
    /// before it was met may be older.
    pub(super) fn advance(&mut self, members: &[Member]) -> Vec<Work> {
        let mut before = std::mem::take(&mut self.0);
        let mut done = Vec::with_capacity(members.len());
        for member in members {
            let now = Work::read(&member.live);
            let then = before.remove(&member.live.id);
            done.push(then.map_or_else(Work::default, |then| now.since(&then)));
            self.0.insert(member.live.id.clone(), now);
        }
        done
    }
}
