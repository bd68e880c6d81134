//! Maglev hashing: a table that backends fill in turn, each by an order of its own (Eisenbud et al., "Maglev: A Fast and
//! Reliable Software Network Load Balancer", NSDI 2016, section 3.4).
//!
//! As even as a table can be: with more than 100 places a backend, shares differ by less than 1 %. When a backend goes, its keys
//! are spread over all others, and a few others move as well. Compare [`super::ConsistentHash`], where none does, and shares
//! are off by some per cent.

use super::bound::Bound;
use super::key::{draw, identity};
use super::{Choice, Explanation, PickContext, Pool, Strategy, Term};

/// Places of the table, a prime, while that is enough (the paper's size).
const PLACES: u64 = 65_537;
/// Places a backend, at least.
const PLACES_EACH: u64 = 100;
/// Nobody's place.
const FREE: u32 = u32::MAX;

/// Cost: O(1) a pick, one look-up, with a bound O(n) at most; once per change of the pool the table is filled, which takes 5 to
/// 9 ms for up to 1,000 backends.
#[derive(Debug)]
pub struct Maglev {
    table: Box<[u32]>,
    bound: Bound,
    /// Each backend's share of all keys.
    shares: Box<[f64]>,
}

impl Maglev {
    /// For this pool. `bounded_load`: how far above its fair share a backend may go.
    pub fn new(pool: &Pool, bounded_load: Option<f64>) -> Self {
        let table = filled(pool);
        Maglev {
            shares: shares(&table, pool.len()),
            table,
            bound: Bound::new(bounded_load, pool),
        }
    }

    fn of_key(&self, pool: &Pool, key: u64) -> usize {
        let place = (key % self.table.len() as u64) as usize;
        let owner = |place: usize| self.table[place] as usize;
        let others = (place + 1..self.table.len()).chain(0..place);
        self.bound.settle(pool, owner(place), others.map(owner))
    }
}

impl Strategy for Maglev {
    fn pick(&self, pool: &Pool, context: &mut PickContext<'_>) -> usize {
        let key = context.key.unwrap_or_else(|| context.rng.u64(..));
        self.of_key(pool, key)
    }

    fn terms(&self, pool: &Pool, _context: &PickContext<'_>) -> Vec<Vec<Term>> {
        self.bound.terms(pool, &self.shares)
    }

    fn explain(&self, pool: &Pool, context: &PickContext<'_>) -> Explanation {
        Explanation {
            rule: "the backend in the key's place of the table, or in the next place whose backend is within its bound",
            terms: self.terms(pool, context),
            choice: match context.key {
                Some(key) => Choice::This(self.of_key(pool, key)),
                // Any key.
                None => Choice::Chances(self.shares.to_vec()),
            },
        }
    }
}

/// Each backend's share of the table, of `size` backends.
fn shares(table: &[u32], size: usize) -> Box<[f64]> {
    let mut shares = vec![0.0; size];
    // Of an empty pool there is a table without owners, and nobody asks it.
    for owner in table.iter().filter(|owner| **owner != FREE) {
        shares[*owner as usize] += 1.0 / table.len() as f64;
    }
    shares.into()
}

/// A backend while the table is filled.
struct Filler {
    seed: u64,
    owner: u32,
    weight: u64,
    /// The next place that it would take: it visits all of them, `skip` apart.
    next: u64,
    skip: u64,
    /// Turns times its weight that it waits for before it takes another.
    due: u64,
}

fn filled(pool: &Pool) -> Box<[u32]> {
    let places = size(pool.len());
    let members = pool.backends().iter().zip(pool.weights()).enumerate();
    let mut fillers: Vec<Filler> = members
        .map(|(owner, (backend, weight))| {
            let seed = identity(backend);
            Filler {
                seed,
                owner: owner as u32,
                weight: u64::from(*weight),
                next: draw(seed, 0) % places,
                skip: draw(seed, 1) % (places - 1) + 1,
                due: 0,
            }
        })
        .collect();
    // Who comes first matters, and must not depend on who wrote the configuration.
    fillers.sort_unstable_by_key(|filler| filler.seed);
    let heaviest = fillers.iter().map(|filler| filler.weight).max();
    let mut table = vec![FREE; places as usize].into_boxed_slice();
    let mut left = if fillers.is_empty() { 0 } else { places };
    let mut turn = 0;
    while left > 0 {
        turn += 1;
        for filler in &mut fillers {
            // The heaviest takes a place every turn, one of half its weight every other.
            if turn * filler.weight <= filler.due {
                continue;
            }
            filler.due += heaviest.unwrap_or(1);
            filler.take(&mut table);
            left -= 1;
            if left == 0 {
                break;
            }
        }
    }
    table
}

impl Filler {
    /// Takes the next place in its order that is free. There is one.
    fn take(&mut self, table: &mut [u32]) {
        let places = table.len() as u64;
        while table[self.next as usize] != FREE {
            self.next += self.skip;
            if self.next >= places {
                self.next -= places;
            }
        }
        table[self.next as usize] = self.owner;
    }
}

/// A prime, so that every `skip` leads to every place.
fn size(backends: usize) -> u64 {
    let least = backends as u64 * PLACES_EACH;
    if least < PLACES {
        return PLACES;
    }
    let is_prime = |number: &u64| {
        (2..)
            .take_while(|it| it * it <= *number)
            .all(|it| !number.is_multiple_of(it))
    };
    // There is one below twice any number (Chebyshev 1852).
    (least + 1..2 * least).find(is_prime).unwrap_or(PLACES)
}

#[cfg(test)]
mod tests {
    use super::super::bound::tests::bound_holds;
    use super::super::hashed::{agree, moved, of_addresses};
    use super::super::tests::pool;
    use super::*;
    use proptest::prelude::{ProptestConfig, any, prop, prop_assert, proptest};

    fn unbounded(pool: &Pool) -> Maglev {
        Maglev::new(pool, None)
    }

    fn places_of(pool: &Pool) -> Vec<f64> {
        let table = filled(pool);
        let count = |owner: usize| table.iter().filter(|place| **place == owner as u32).count();
        (0..pool.len())
            .map(|owner| count(owner) as f64 / table.len() as f64)
            .collect()
    }

    #[test]
    fn table_is_large_enough_and_prime() {
        assert_eq!((size(1), size(655), size(656)), (65_537, 65_537, 65_609));
        assert_eq!(size(1000), 100_003);
    }

    #[test]
    fn equal_backends_have_equal_shares_within_one_per_cent() {
        for size in [1, 2, 7, 100, 650, 1000] {
            for share in places_of(&pool(&vec![1; size])) {
                let fair = 1.0 / size as f64;
                assert!((share / fair - 1.0).abs() <= 0.01, "{share} of {size}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn removing_a_backend_moves_its_keys_and_few_others(size in 3usize..100, gone in any::<prop::sample::Index>()) {
            let (moved, its_own) = moved(&unbounded, &vec![1; size], gone.index(size));
            let (moved, its_own) = (moved as f64, its_own as f64);
            prop_assert!(moved >= its_own);
            prop_assert!(moved <= its_own + 0.05 * 5000.0, "{moved} for {its_own} of {size}");
        }

        #[test]
        fn weights_are_met(weights in prop::collection::vec(1u32..100, 1..20)) {
            let total: u32 = weights.iter().sum();
            for (share, weight) in places_of(&pool(&weights)).into_iter().zip(&weights) {
                let fair = f64::from(*weight) / f64::from(total);
                prop_assert!((share / fair - 1.0).abs() < 0.05, "{weights:?}: {share} not {fair}");
            }
        }

        #[test]
        fn balancers_with_another_order_agree(size in 1usize..40, seed in any::<u64>()) {
            let mut ports: Vec<u16> = (0..size as u16).collect();
            fastrand::Rng::with_seed(seed).shuffle(&mut ports);
            let (ours, theirs) = (of_addresses(0..size as u16), of_addresses(ports));
            prop_assert!(agree(&unbounded(&ours), &ours, &unbounded(&theirs), &theirs));
        }

        #[test]
        fn bound_is_never_exceeded(
            weights in prop::collection::vec(1u32..6, 1..20),
            factor in 1.01f64..3.0,
            seed in any::<u64>(),
        ) {
            let pool = pool(&weights);
            let strategy = Maglev::new(&pool, Some(factor));
            bound_holds(&strategy, &pool, factor, (2000, 50, seed));
        }
    }
}
