//! The less busy of two drawn at random (Mitzenmacher 1996).
//!
//! Nearly as good as looking at all, for the price of two: with many backends, or counts that are a little old, it is the
//! safer choice, because it never sends everyone to the same minimum.

use super::{PickContext, Pool, Strategy};

/// Cost: O(1), two backends' cache lines.
#[derive(Debug)]
pub struct PowerOfTwo;

impl Strategy for PowerOfTwo {
    fn pick(&self, pool: &Pool, context: &mut PickContext<'_>) -> usize {
        let first = context.rng.usize(..pool.len());
        if pool.len() == 1 {
            return first;
        }
        // Any but the first, each with equal chance.
        let second = (first + 1 + context.rng.usize(..pool.len() - 1)) % pool.len();
        let load = |index: usize| u64::from(pool.backends()[index].load.in_flight()) + 1;
        let weight = |index: usize| u64::from(pool.weights()[index]);
        match load(second) * weight(first) < load(first) * weight(second) {
            true => second,
            false => first,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::pool;
    use super::*;

    #[test]
    fn busiest_backend_is_never_picked() {
        let pool = pool(&[1, 1, 1]);
        pool.backends()[1].load.set_in_flight(9);
        let mut rng = fastrand::Rng::with_seed(3);
        for _ in 0..1000 {
            let mut context = PickContext {
                now: std::time::Duration::ZERO,
                rng: &mut rng,
                key: None,
            };
            assert_ne!(PowerOfTwo.pick(&pool, &mut context), 1);
        }
    }
}
