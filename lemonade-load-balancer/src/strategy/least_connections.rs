//! The backend with the fewest requests in flight for its weight (join the shortest queue).
//!
//! With exact counts, which the shards share, this is near the optimum for backends that are alike.

use super::explain::lowest_from;
use super::{Choice, Cursor, Explanation, PickContext, Pool, Strategy, Term};
use std::sync::Arc;

/// Scans the whole pool from a place that rotates, so that ties go round instead of all to the first (a balancer that gives
/// them to the first sends all light load there). Cost: O(n).
#[derive(Debug)]
pub struct LeastConnections {
    cursor: Arc<Cursor>,
}

impl LeastConnections {
    /// Ties go on where `cursor` is.
    pub fn new(cursor: Arc<Cursor>) -> Self {
        LeastConnections { cursor }
    }
}

impl Strategy for LeastConnections {
    fn pick(&self, pool: &Pool, _context: &mut PickContext<'_>) -> usize {
        let start = self.cursor.advance() % pool.len();
        let mut best = start;
        let mut best_load = load(pool, start);
        for index in (start + 1..pool.len()).chain(0..start) {
            let candidate = load(pool, index);
            // candidate / its weight < best / its weight, without a division.
            if candidate * u64::from(pool.weights()[best])
                < best_load * u64::from(pool.weights()[index])
            {
                (best, best_load) = (index, candidate);
            }
        }
        best
    }

    fn terms(&self, pool: &Pool, _context: &PickContext<'_>) -> Vec<Vec<Term>> {
        let terms = |place: usize| {
            let (load, weight) = (load(pool, place) as f64, pool.weights()[place]);
            vec![
                Term::new("in_flight", load - 1.0),
                Term::new("weight", weight),
                Term::new("score", load / f64::from(weight)),
            ]
        };
        (0..pool.len()).map(terms).collect()
    }

    fn explain(&self, pool: &Pool, context: &PickContext<'_>) -> Explanation {
        let terms = self.terms(pool, context);
        let scores: Vec<f64> = terms.iter().map(|terms| terms[2].value).collect();
        Explanation {
            rule: "the lowest (in flight + 1) / weight; ties take turns",
            choice: Choice::This(lowest_from(&scores, self.cursor.place() % pool.len())),
            terms,
        }
    }
}

/// Requests it would have with the next one: with weights, an idle small backend must not always beat an idle large one.
fn load(pool: &Pool, index: usize) -> u64 {
    u64::from(pool.backends()[index].load.in_flight()) + 1
}

#[cfg(test)]
mod tests {
    use super::super::tests::{pool, shares};
    use super::*;

    fn pick(pool: &Pool) -> usize {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut context = PickContext {
            now: std::time::Duration::ZERO,
            rng: &mut rng,
            key: None,
        };
        LeastConnections::new(Arc::default()).pick(pool, &mut context)
    }

    #[test]
    fn least_busy_backend_is_picked() {
        let pool = pool(&[1, 1, 1]);
        for (backend, count) in pool.backends().iter().zip([3, 1, 2]) {
            backend.load.set_in_flight(count);
        }
        assert_eq!(pick(&pool), 1);
    }

    #[test]
    fn weight_counts_as_capacity() {
        let pool = pool(&[1, 4]);
        pool.backends()[0].load.set_in_flight(1);
        pool.backends()[1].load.set_in_flight(6);
        assert_eq!(pick(&pool), 1, "7 of 4 is less than 2 of 1");
    }

    #[test]
    fn ties_rotate() {
        let pool = pool(&[1, 1, 1, 1]);
        assert_eq!(
            shares(&LeastConnections::new(Arc::default()), &pool, 400, 0, 1),
            [100; 4]
        );
    }
}
