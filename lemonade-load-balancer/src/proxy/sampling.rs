//! Which picks are drafted for whoever wants to see real ones: every so many-th of a shard's.
//!
//! Of all others it costs one counter that only the shard knows.

use super::shard::Shard;
use super::view::View;
use crate::explain::Sketch;
use crate::stats::ShardStats;
use crate::strategy::PickContext;
use std::cell::Cell;
use std::num::NonZeroU32;

/// How many picks are left until one is drafted.
#[derive(Debug)]
pub(super) struct Sampling(Cell<u32>);

impl Default for Sampling {
    fn default() -> Self {
        Sampling(Cell::new(u32::MAX))
    }
}

impl Sampling {
    /// Goes by this from now on: whoever wants more of them does not wait for the turn that was due before.
    pub(super) fn adopt(&self, every: Option<NonZeroU32>) {
        self.0.set(self.0.get().min(left(every)));
    }

    /// Counts a pick; whether it is one to be drafted.
    pub(super) fn is_due(&self) -> bool {
        let left = self.0.get();
        self.0.set(left.saturating_sub(1));
        left == 0
    }
}

/// Picks before the one that is drafted.
fn left(every: Option<NonZeroU32>) -> u32 {
    every.map_or(u32::MAX, |every| every.get() - 1)
}

impl Shard {
    /// The strategy's choice, and a draft of it if there is room.
    #[cold]
    pub(super) fn pick_and_draft(&self, view: &View, context: &mut PickContext<'_>) -> usize {
        let snapshot = &view.snapshot;
        let every = snapshot.config.engine.trace_sample;
        self.sampling.0.set(left(every));
        let (strategy, pool) = (&snapshot.strategy, &snapshot.pool);
        let room = every.and_then(|_| self.shared.drafts.room());
        let Some(room) = room else {
            if every.is_some() {
                ShardStats::count(&self.stats.drafts_dropped);
            }
            return strategy.pick(pool, context);
        };
        let terms = strategy.terms(pool, context);
        let picked = strategy.pick(pool, context);
        room.send(Sketch::new(snapshot.clone(), context.now, terms, picked));
        picked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_so_many_is_due_and_a_new_rate_holds_at_once() {
        let sampling = Sampling::default();
        assert!(!(0..5000).any(|_| sampling.is_due()), "off");
        sampling.adopt(NonZeroU32::new(3));
        let due = |sampling: &Sampling| {
            let due = sampling.is_due();
            if due {
                sampling.0.set(left(NonZeroU32::new(3)));
            }
            due
        };
        let picks: Vec<bool> = (0..6).map(|_| due(&sampling)).collect();
        assert_eq!(picks, [false, false, true, false, false, true]);
        sampling.adopt(NonZeroU32::new(1));
        assert!(sampling.is_due());
    }
}
