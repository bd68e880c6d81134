//! Any backend, with a chance in proportion to its weight.

use super::{Choice, Explanation, PickContext, Pool, Strategy, Term};

/// Draws a point on the line of all weights laid end to end. Cost: O(log n), no atomic.
#[derive(Debug)]
pub struct Weighted {
    /// Where each backend's stretch of the line ends.
    ends: Box<[u64]>,
}

impl Weighted {
    /// For a pool with these weights, each at least 1.
    pub fn new(weights: &[u32]) -> Self {
        let ends = weights.iter().scan(0, |end, weight| {
            *end += u64::from(*weight);
            Some(*end)
        });
        Weighted {
            ends: ends.collect(),
        }
    }

    fn weights(&self) -> impl Iterator<Item = f64> {
        let starts = std::iter::once(&0).chain(&self.ends);
        starts
            .zip(&self.ends)
            .map(|(start, end)| (end - start) as f64)
    }
}

impl Strategy for Weighted {
    fn pick(&self, _pool: &Pool, context: &mut PickContext<'_>) -> usize {
        let total = self.ends.last().copied().unwrap_or(1);
        let point = context.rng.u64(..total);
        self.ends.partition_point(|end| *end <= point)
    }

    fn terms(&self, _pool: &Pool, _context: &PickContext<'_>) -> Vec<Vec<Term>> {
        let weight = |weight: f64| vec![Term::new("weight", weight)];
        self.weights().map(weight).collect()
    }

    fn explain(&self, pool: &Pool, context: &PickContext<'_>) -> Explanation {
        let total: f64 = self.weights().sum();
        Explanation {
            rule: "any, with a chance in proportion to its weight",
            terms: self.terms(pool, context),
            choice: Choice::Chances(self.weights().map(|weight| weight / total).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{pool, shares};
    use super::*;

    #[test]
    fn shares_follow_the_weights() {
        let pool = pool(&[1, 3, 6]);
        let shares = shares(&Weighted::new(pool.weights()), &pool, 100_000, 0, 7);
        for (share, expected) in shares.iter().zip([10_000, 30_000, 60_000]) {
            // Five standard deviations of a binomial with 100,000 draws are at most 790.
            assert!(share.abs_diff(expected) < 800, "{shares:?}");
        }
    }
}
