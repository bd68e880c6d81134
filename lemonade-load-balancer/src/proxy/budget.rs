//! How much may be sent again: a share of what was sent at all, so that retries cannot turn an overload into a collapse.
//!
//! As in Finagle's `RetryBudget`: every request deposits a fraction of a retry, every retry withdraws one, and what is not used
//! is forgotten over about ten seconds. Each shard keeps its own account, plain memory; the floor below it is shared, and only
//! looked at when an account is empty.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// What is left of an account after each second: about ten seconds' deposits are in it.
const KEPT_PER_SECOND: f32 = 0.9;
/// How many seconds' worth of the floor may be saved up.
const SAVED: u64 = 10;
const SECOND: u64 = 1_000_000_000;

/// One shard's account.
#[derive(Debug, Default)]
pub(super) struct Budget(Cell<f32>);

impl Budget {
    /// A request was sent for the first time; `share` of those may be sent again.
    pub(super) fn deposit(&self, share: f64) {
        self.0.set(self.0.get() + share as f32);
    }

    /// Takes one out, if there is one.
    pub(super) fn withdraw(&self) -> bool {
        let left = self.0.get() - 1.0;
        if left >= 0.0 {
            self.0.set(left);
        }
        left >= 0.0
    }

    /// Called once a second. One that was saved up is not forgotten, or a service with little traffic would never have any.
    pub(super) fn age(&self) {
        let balance = self.0.get();
        self.0
            .set((balance * KEPT_PER_SECOND).max(balance.min(1.0)));
    }
}

/// So many a second are always allowed, by all shards together (a generic cell rate algorithm: one number that says until
/// when the allowance is used up).
#[derive(Debug, Default)]
pub(crate) struct Floor(AtomicU64);

impl Floor {
    /// Takes one out at `now`, if `per_second` allows.
    pub(super) fn withdraw(&self, per_second: u32, now: Duration) -> bool {
        if per_second == 0 {
            return false;
        }
        let now = now.as_nanos() as u64;
        let each = SECOND / u64::from(per_second);
        // Time begins at zero, with everything saved up.
        let horizon = now + SAVED * SECOND;
        let used_up = |until: u64| {
            let next = until.max(now) + each;
            (next <= horizon).then_some(next)
        };
        // Relaxed: a rate, which nothing else depends on.
        self.0.fetch_update(Relaxed, Relaxed, used_up).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn share_of_the_requests_may_be_sent_again() {
        let budget = Budget::default();
        for _ in 0..100 {
            budget.deposit(0.2);
        }
        let retries = (0..100).filter(|_| budget.withdraw()).count();
        assert!((19..=20).contains(&retries), "{retries}");
    }

    #[test]
    fn what_is_not_used_is_forgotten() {
        let budget = Budget::default();
        (0..1000).for_each(|_| budget.deposit(0.2));
        (0..60).for_each(|_| budget.age());
        assert!(budget.withdraw(), "all but one");
        assert!(!budget.withdraw());
    }

    proptest! {
        #[test]
        fn floor_allows_its_rate_and_what_was_saved(
            per_second in 1u32..500,
            waits in prop::collection::vec(0u64..200, 1..400),
        ) {
            let floor = Floor::default();
            let (mut allowed, mut now) = (0u64, Duration::ZERO);
            for wait in waits {
                now += Duration::from_millis(wait);
                allowed += u64::from(floor.withdraw(per_second, now));
                let most = u64::from(per_second) * SAVED + now.as_millis() as u64 * u64::from(per_second) / 1000;
                prop_assert!(allowed <= most + 1, "{allowed} of {most}");
            }
            prop_assert!(floor.withdraw(per_second, now + Duration::from_secs(1)));
            prop_assert!(!floor.withdraw(0, now + Duration::from_secs(100)));
        }
    }
}
