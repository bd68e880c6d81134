//! The less busy of two drawn at random (Mitzenmacher 1996).
//!
//! Nearly as good as looking at all, for the price of two: with many backends, or counts that are a little old, it is the
//! safer choice, because it never sends everyone to the same minimum.

use super::explain::chances_of_pairs;
use super::{Choice, Explanation, PickContext, Pool, Strategy, Term};

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
        match is_less_busy(pool, second, first) {
            true => second,
            false => first,
        }
    }

    fn terms(&self, pool: &Pool, _context: &PickContext<'_>) -> Vec<Vec<Term>> {
        let terms = |place: usize| {
            let (in_flight, weight) = (
                pool.backends()[place].load.in_flight(),
                pool.weights()[place],
            );
            vec![
                Term::new("in_flight", in_flight),
                Term::new("weight", weight),
                Term::new("score", (f64::from(in_flight) + 1.0) / f64::from(weight)),
            ]
        };
        (0..pool.len()).map(terms).collect()
    }

    fn explain(&self, pool: &Pool, context: &PickContext<'_>) -> Explanation {
        Explanation {
            rule: "of two drawn at random, the lower (in flight + 1) / weight",
            terms: self.terms(pool, context),
            choice: Choice::Chances(chances_of_pairs(pool.len(), &|place, other| {
                is_less_busy(pool, place, other)
            })),
        }
    }
}

/// One more request there is less, for its weight, than one more at the other.
fn is_less_busy(pool: &Pool, place: usize, other: usize) -> bool {
    let load = |index: usize| u64::from(pool.backends()[index].load.in_flight()) + 1;
    let weight = |index: usize| u64::from(pool.weights()[index]);
    load(place) * weight(other) < load(other) * weight(place)
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
