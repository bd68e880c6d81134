//! Any backend, with equal chance. Needs no shared memory at all, and spreads the worst: at high load its queues are much
//! longer than round robin's.

use super::{PickContext, Pool, Strategy};

/// Cost: O(1), no atomic.
#[derive(Debug)]
pub struct Random;

impl Strategy for Random {
    fn pick(&self, pool: &Pool, context: &mut PickContext<'_>) -> usize {
        context.rng.usize(..pool.len())
    }
}
