//! Each backend in turn, as often as its weight says, spread evenly: nginx's "smooth" weighted round robin.
//!
//! With weights 5, 1, 1 the order is `a a b a c a a`, not `a a a a a b c`. The rule (nginx commit 52327e0627f4, 2012): add
//! to each backend its weight, pick the largest sum, subtract the total from it. It repeats after as many picks as the
//! weights sum up to, so the whole cycle is unrolled once per change of weights and a pick is a table look-up.

use super::{Choice, Cursor, Explanation, PickContext, Pool, Strategy, Term};
use std::sync::Arc;

/// Longest cycle that is unrolled, in picks times backends: what building the table costs. About a millisecond.
const MAX_WORK: u64 = 4_000_000;

/// Cost: O(1) a pick with one atomic increment; O(cycle x n) once per change of weights, bounded by `MAX_WORK`.
#[derive(Debug)]
pub struct WeightedRoundRobin {
    cursor: Arc<Cursor>,
    order: Order,
}

#[derive(Debug)]
enum Order {
    /// The unrolled smooth cycle.
    Cycle(Box<[u32]>),
    /// Weights too large to unroll: backends laid end to end on a line, walked in strides near its golden section. A stride
    /// prime to the length visits every point once a cycle, so shares are exact here too, and evenly spread (Weyl 1916).
    Stride { ends: Box<[u64]>, stride: u64 },
}

impl WeightedRoundRobin {
    /// For a pool with these weights, each at least 1; goes on where `cursor` is.
    pub fn new(weights: &[u32], cursor: Arc<Cursor>) -> Self {
        let divisor = weights.iter().copied().fold(0, gcd).max(1);
        let weights: Vec<u64> = weights
            .iter()
            .map(|weight| u64::from(weight / divisor))
            .collect();
        let total: u64 = weights.iter().sum();
        let order = match total.saturating_mul(weights.len() as u64) <= MAX_WORK {
            true => Order::Cycle(smooth_cycle(&weights, total)),
            false => stride_order(&weights, total),
        };
        WeightedRoundRobin { cursor, order }
    }
}

impl Strategy for WeightedRoundRobin {
    fn pick(&self, _pool: &Pool, _context: &mut PickContext<'_>) -> usize {
        self.order.at(self.cursor.advance())
    }

    fn terms(&self, pool: &Pool, _context: &PickContext<'_>) -> Vec<Vec<Term>> {
        let weight = |weight: &u32| vec![Term::new("weight", *weight)];
        pool.weights().iter().map(weight).collect()
    }

    fn explain(&self, pool: &Pool, context: &PickContext<'_>) -> Explanation {
        Explanation {
            rule: "each in turn, as often as its weight says",
            terms: self.terms(pool, context),
            choice: Choice::This(self.order.at(self.cursor.place())),
        }
    }
}

impl Order {
    /// Whose turn it is.
    fn at(&self, turn: usize) -> usize {
        match self {
            Order::Cycle(cycle) => cycle[turn % cycle.len()] as usize,
            Order::Stride { ends, stride } => {
                let total = ends.last().copied().unwrap_or(1);
                let point = (u128::from(*stride) * turn as u128 % u128::from(total)) as u64;
                ends.partition_point(|end| *end <= point)
            }
        }
    }
}

fn smooth_cycle(weights: &[u64], total: u64) -> Box<[u32]> {
    let total = total as i64;
    let mut current = vec![0i64; weights.len()];
    (0..total)
        .map(|_| {
            let mut best = 0;
            for (index, weight) in weights.iter().enumerate() {
                current[index] += *weight as i64;
                if current[index] > current[best] {
                    best = index;
                }
            }
            current[best] -= total;
            best as u32
        })
        .collect()
}

fn stride_order(weights: &[u64], total: u64) -> Order {
    let ends = weights.iter().scan(0, |end, weight| {
        *end += *weight;
        Some(*end)
    });
    let golden = (total as f64 * 0.618_033_988_749_895) as u64;
    let stride = (golden.max(1)..)
        .find(|stride| gcd64(*stride, total) == 1)
        .unwrap_or(1);
    Order::Stride {
        ends: ends.collect(),
        stride,
    }
}

fn gcd(a: u32, b: u32) -> u32 {
    gcd64(u64::from(a), u64::from(b)) as u32
}

fn gcd64(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd64(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{pool, shares};
    use super::*;
    use proptest::prelude::{prop, prop_assert_eq, proptest};

    fn order(weights: &[u32], count: usize) -> String {
        let pool = pool(weights);
        let strategy = WeightedRoundRobin::new(weights, Arc::default());
        let mut rng = fastrand::Rng::with_seed(1);
        let mut context = PickContext {
            now: std::time::Duration::ZERO,
            rng: &mut rng,
            key: None,
        };
        (0..count)
            .map(|_| char::from(b'a' + strategy.pick(&pool, &mut context) as u8))
            .collect()
    }

    #[test]
    fn order_is_smooth() {
        assert_eq!(order(&[5, 1, 1], 14), "aabacaaaabacaa");
        assert_eq!(order(&[10, 2, 2], 7), "aabacaa");
        assert_eq!(order(&[1, 1, 1], 6), "abcabc");
    }

    #[test]
    fn huge_weights_are_spread_too() {
        let picked = order(&[3_000_000, 1_000_003, 999_983], 100);
        assert!(!picked.contains("aaaaa"), "{picked}");
    }

    proptest! {
        /// Weights are met within 1 % over a cycle; unrolled or not, they are met exactly.
        #[test]
        fn weights_are_met_exactly_over_a_cycle(weights in prop::collection::vec(1u32..3000, 1..10)) {
            let divisor = weights.iter().copied().fold(0, gcd);
            let expected: Vec<_> = weights.iter().map(|weight| (weight / divisor) as usize).collect();
            let pool = pool(&weights);
            let cycle = expected.iter().sum();
            let smooth = WeightedRoundRobin::new(&weights, Arc::default());
            prop_assert_eq!(&shares(&smooth, &pool, cycle, 0, 1), &expected);
            let small: Vec<_> = expected.iter().map(|weight| *weight as u64).collect();
            let strided = WeightedRoundRobin {
                cursor: Arc::default(),
                order: stride_order(&small, cycle as u64),
            };
            prop_assert_eq!(&shares(&strided, &pool, cycle, 0, 1), &expected);
        }
    }
}
