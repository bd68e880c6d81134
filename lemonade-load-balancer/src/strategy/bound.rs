//! Bounded load: how far above its fair share of the requests in flight a backend may go before its keys move on (Mirrokni, Thorup
//! & Zadimoghaddam, "Consistent Hashing with Bounded Loads", SODA 2018).
//!
//! With a bound c, a backend holds at most ceil(c x its share of all requests in flight, the new one included). A popular key
//! would otherwise take its backend down, and then the next one.

use super::{Pool, Term};

/// The bound of a pool, or none.
#[derive(Debug)]
pub(super) struct Bound {
    factor: Option<f64>,
    /// The sum of the pool's weights.
    total_weight: f64,
}

impl Bound {
    pub(super) fn new(factor: Option<f64>, pool: &Pool) -> Self {
        let weights = pool.weights().iter().copied();
        Bound {
            factor,
            total_weight: weights.map(f64::from).sum(),
        }
    }

    /// `home`, or the first of `others` that may take another request; `home` if none may, as when other shards took the room
    /// meanwhile. Cost: a backend that is idle is taken at once; else requests in flight are summed until it is known that it may
    /// take one more, O(n) at most.
    pub(super) fn settle(
        &self,
        pool: &Pool,
        home: usize,
        others: impl Iterator<Item = usize>,
    ) -> usize {
        let Some(factor) = self.factor else {
            return home;
        };
        let per_weight = factor / self.total_weight;
        // in flight + 1 <= ceil(x) is in flight < x, with x = all x share: without the division, a limit to `all`.
        let all_needed = |index: usize| {
            let in_flight = f64::from(pool.backends()[index].load.in_flight());
            in_flight / (per_weight * f64::from(pool.weights()[index]))
        };
        let needed = all_needed(home);
        // The request that is being placed.
        let mut all = 1.0;
        if needed < all {
            return home;
        }
        for backend in pool.backends() {
            all += f64::from(backend.load.in_flight());
            if needed < all {
                return home;
            }
        }
        let mut others = others;
        others
            .find(|index| all_needed(*index) < all)
            .unwrap_or(home)
    }
}

impl Bound {
    /// What there is to say of each backend: its share of the keys, and how near it is to the bound.
    pub(super) fn terms(&self, pool: &Pool, shares: &[f64]) -> Vec<Vec<Term>> {
        let in_flight = |place: usize| pool.backends()[place].load.in_flight();
        let all: f64 = (0..pool.len()).map(in_flight).map(f64::from).sum();
        let terms = |place: usize| {
            let mut terms = vec![
                Term::new("share_of_keys", shares[place]),
                Term::new("in_flight", in_flight(place)),
            ];
            if let Some(factor) = self.factor {
                let fair = (all + 1.0) * f64::from(pool.weights()[place]) / self.total_weight;
                terms.push(Term::new("most_in_flight", (factor * fair).ceil()));
            }
            terms
        };
        (0..pool.len()).map(terms).collect()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::{PickContext, Pool, Strategy};

    /// Places `count` requests for `keys` keys, of which the first is in every other request, some of which end; panics if a
    /// backend is ever above its bound.
    pub(in super::super) fn bound_holds(
        strategy: &dyn Strategy,
        pool: &Pool,
        factor: f64,
        (count, keys, seed): (usize, u64, u64),
    ) {
        let mut rng = fastrand::Rng::with_seed(seed);
        let total_weight: u32 = pool.weights().iter().sum();
        let mut held = Vec::new();
        for _ in 0..count {
            let key = if rng.bool() { 0 } else { rng.u64(..keys) };
            let key = crate::strategy::key(&key.to_le_bytes());
            let mut context = PickContext {
                now: std::time::Duration::ZERO,
                rng: &mut rng,
                key: Some(key),
            };
            let picked = strategy.pick(pool, &mut context);
            held.push(pool.backends()[picked].begin());
            let share = f64::from(pool.weights()[picked]) / f64::from(total_weight);
            let all = held.len();
            let most = (factor * all as f64 * share + 1e-9).ceil() as u32;
            let has = pool.backends()[picked].load.in_flight();
            assert!(has <= most, "{picked} has {has}, of {all} at most {most}");
            if rng.u8(..4) == 0 {
                drop(held.swap_remove(rng.usize(..held.len())));
            }
        }
    }
}
