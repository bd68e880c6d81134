//! Each backend in turn. Blind to load and weight; for backends that are alike and requests that cost the same.

use super::{Choice, Cursor, Explanation, PickContext, Pool, Strategy, Term};
use std::sync::Arc;

/// One cursor for all shards: the rotation is exact, as a person with `curl` expects. Cost: O(1), one atomic increment.
#[derive(Debug)]
pub struct RoundRobin {
    cursor: Arc<Cursor>,
}

impl RoundRobin {
    /// A rotation that goes on where `cursor` is.
    pub fn new(cursor: Arc<Cursor>) -> Self {
        RoundRobin { cursor }
    }
}

impl Strategy for RoundRobin {
    fn pick(&self, pool: &Pool, _context: &mut PickContext<'_>) -> usize {
        self.cursor.advance() % pool.len()
    }

    fn terms(&self, pool: &Pool, _context: &PickContext<'_>) -> Vec<Vec<Term>> {
        let (size, next) = (pool.len(), self.cursor.place() % pool.len());
        let turns = |place: usize| Term::new("turns_until", ((place + size - next) % size) as f64);
        (0..size).map(|place| vec![turns(place)]).collect()
    }

    fn explain(&self, pool: &Pool, context: &PickContext<'_>) -> Explanation {
        Explanation {
            rule: "each in turn",
            terms: self.terms(pool, context),
            choice: Choice::This(self.cursor.place() % pool.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{pool, shares};
    use super::*;

    #[test]
    fn rotation_is_exact() {
        let pool = pool(&[1, 1, 1]);
        let strategy = RoundRobin::new(Arc::default());
        assert_eq!(shares(&strategy, &pool, 3000, 5, 1), [1000, 1000, 1000]);
    }
}
