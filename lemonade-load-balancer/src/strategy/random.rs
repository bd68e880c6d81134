//! Any backend, with equal chance. Needs no shared memory at all, and spreads the worst: at high load its queues are much
//! longer than round robin's.

use super::{Choice, Explanation, PickContext, Pool, Strategy, Term};

/// Cost: O(1), no atomic.
#[derive(Debug)]
pub struct Random;

impl Strategy for Random {
    fn pick(&self, pool: &Pool, context: &mut PickContext<'_>) -> usize {
        context.rng.usize(..pool.len())
    }

    fn terms(&self, pool: &Pool, _context: &PickContext<'_>) -> Vec<Vec<Term>> {
        vec![Vec::new(); pool.len()]
    }

    fn explain(&self, pool: &Pool, context: &PickContext<'_>) -> Explanation {
        let size = pool.len();
        Explanation {
            rule: "any, with equal chance",
            terms: self.terms(pool, context),
            choice: Choice::Chances(vec![1.0 / size as f64; size]),
        }
    }
}
