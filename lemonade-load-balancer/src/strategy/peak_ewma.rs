//! The better of two drawn at random, by the worst recent time to first byte x (requests in flight + 1) / weight: Finagle's and
//! Linkerd's default.
//!
//! The estimate ([`crate::backend::Peak`]) jumps to any longer time, so a backend that became slow is left after one answer,
//! and comes down with its age, so nobody is left for good. Unlike theirs, this rule takes no notice of small differences. A failure counts as a long time: a backend that fails at once
//! would otherwise look like the fastest of all (linkerd2-proxy issue 4537).

use super::explain::chances_of_pairs;
use super::{Choice, Explanation, PickContext, Pool, Strategy, Term};
use std::time::Duration;

/// Estimates nearer to each other than this factor are noise, and requests in flight decide: the longest of some hundred
/// exponential times is half as long again as often as not. Without it, one of six equal backends got 43 % of its
/// share over 6 s.
const ALIKE: f32 = 2.0;

/// What each request in flight counts as, in seconds, at a backend about which nothing is known: one request at a time, until
/// there is an answer. While it has none it costs nothing, so that there will be one.
const UNKNOWN: f32 = 1e6;

/// Cost: O(1), two backends' cache lines and an exponential each.
#[derive(Debug)]
pub struct PeakEwma;

impl Strategy for PeakEwma {
    fn pick(&self, pool: &Pool, context: &mut PickContext<'_>) -> usize {
        let first = context.rng.usize(..pool.len());
        if pool.len() == 1 {
            return first;
        }
        // Any but the first, each with equal chance.
        let second = (first + 1 + context.rng.usize(..pool.len() - 1)) % pool.len();
        match is_better(pool, second, first, context.now) {
            true => second,
            false => first,
        }
    }

    fn terms(&self, pool: &Pool, context: &PickContext<'_>) -> Vec<Vec<Term>> {
        let terms = |place: usize| {
            let load = &pool.backends()[place].load;
            vec![
                Term::new(
                    "peak_seconds",
                    load.peak.seconds(context.now).unwrap_or(0.0),
                ),
                Term::new("in_flight", load.in_flight()),
                Term::new("weight", pool.weights()[place]),
                Term::new(
                    "score_seconds",
                    cost(pool, place, load.peak.seconds(context.now)),
                ),
            ]
        };
        (0..pool.len()).map(terms).collect()
    }

    fn explain(&self, pool: &Pool, context: &PickContext<'_>) -> Explanation {
        let is_better = |place, other| is_better(pool, place, other, context.now);
        Explanation {
            rule: "of two drawn at random, the lower peak x (in flight + 1) / weight; peaks within a factor of 2 are equal",
            terms: self.terms(pool, context),
            choice: Choice::Chances(chances_of_pairs(pool.len(), &is_better)),
        }
    }
}

/// The next request would cost less at `one` than at `other`.
fn is_better(pool: &Pool, one: usize, other: usize, now: Duration) -> bool {
    let load = |index: usize| &pool.backends()[index].load;
    let (mut of_one, mut of_other) = (load(one).peak.seconds(now), load(other).peak.seconds(now));
    if let (Some(first), Some(second)) = (of_one, of_other)
        && first < second * ALIKE
        && second < first * ALIKE
    {
        (of_one, of_other) = (Some(1.0), Some(1.0));
    }
    cost(pool, one, of_one) < cost(pool, other, of_other)
}

/// What the next request would cost at a backend whose longest time was `peak` lately.
fn cost(pool: &Pool, index: usize, peak: Option<f32>) -> f32 {
    let in_flight = pool.backends()[index].load.in_flight() as f32;
    let seconds = match peak {
        Some(peak) => peak * (in_flight + 1.0),
        None => UNKNOWN * in_flight,
    };
    seconds / pool.weights()[index] as f32
}

#[cfg(test)]
mod tests {
    use super::super::tests::{pool, shares};
    use super::*;
    use std::collections::BinaryHeap;

    /// What a backend does with a request: how long it takes, in milliseconds, and whether it fails.
    type Behaviour = fn(index: usize, rng: &mut fastrand::Rng) -> (f64, bool);

    fn exponential(mean: f64, rng: &mut fastrand::Rng) -> f64 {
        -mean * (1.0 - rng.f64()).ln()
    }

    /// So many requests arrive a millisecond apart on average; how many each backend got.
    fn driven(pool: &Pool, count: usize, seed: u64, behaviour: Behaviour) -> Vec<usize> {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut shares = vec![0; pool.len()];
        // The next to end is the largest.
        let mut flying = BinaryHeap::new();
        let mut micros = 0.0;
        let (mut tokens, mut guards) = (0, std::collections::HashMap::new());
        for _ in 0..count {
            micros += exponential(1000.0, &mut rng);
            while let Some(&(std::cmp::Reverse(end), token)) = flying.peek() {
                if end > micros as u64 {
                    break;
                }
                flying.pop();
                if let Some(flight) = guards.remove(&token) {
                    Flight::end(flight, end);
                }
            }
            let now = Duration::from_micros(micros as u64);
            let picked = PeakEwma.pick(
                pool,
                &mut PickContext {
                    now,
                    rng: &mut rng,
                    key: None,
                },
            );
            shares[picked] += 1;
            let (took, failed) = behaviour(picked, &mut rng);
            tokens += 1;
            guards.insert(
                tokens,
                Flight {
                    guard: pool.backends()[picked].begin(),
                    took: Duration::from_secs_f64(took / 1000.0),
                    failed,
                },
            );
            flying.push((std::cmp::Reverse((micros + took * 1000.0) as u64), tokens));
        }
        shares
    }

    struct Flight {
        guard: crate::backend::InFlight,
        took: Duration,
        failed: bool,
    }

    impl Flight {
        fn end(self, micros: u64) {
            let peak = &self.guard.backend().load.peak;
            let now = Duration::from_micros(micros);
            match self.failed {
                true => peak.record_failure(self.took, now),
                false => peak.record(self.took, now),
            }
        }
    }

    #[test]
    fn unmeasured_backend_gets_one_request_at_a_time_and_is_not_forgotten() {
        let pool = pool(&[1, 1, 1]);
        for backend in &pool.backends()[1..] {
            backend
                .load
                .peak
                .record(Duration::from_millis(10), Duration::ZERO);
        }
        // Nobody answers: however many there are, the unmeasured one gets a single request.
        let mut rng = fastrand::Rng::with_seed(1);
        let mut held = Vec::new();
        for _ in 0..500 {
            let now = Duration::ZERO;
            let picked = PeakEwma.pick(
                &pool,
                &mut PickContext {
                    now,
                    rng: &mut rng,
                    key: None,
                },
            );
            held.push(pool.backends()[picked].begin());
        }
        assert_eq!(pool.backends()[0].load.in_flight(), 1);
    }

    #[test]
    fn new_pool_is_not_sent_to_one_backend() {
        let pool = pool(&[1; 8]);
        let shares = shares(&PeakEwma, &pool, 800, 800, 3);
        assert!(
            shares.iter().all(|share| (80..=120).contains(share)),
            "{shares:?}"
        );
    }

    #[test]
    fn equal_backends_share_alike_whatever_the_noise() {
        for seed in 0..5 {
            let pool = pool(&[1; 8]);
            let shares = driven(&pool, 60_000, seed, |_, rng| (exponential(5.0, rng), false));
            assert!(
                shares.iter().all(|share| (6000..=9000).contains(share)),
                "{shares:?}"
            );
        }
    }

    #[test]
    fn errors_that_all_have_starve_nobody() {
        let pool = pool(&[1; 8]);
        let shares = driven(&pool, 200_000, 1, |_, rng| {
            (exponential(5.0, rng), rng.f64() < 0.01)
        });
        assert!(shares.iter().all(|share| *share >= 12_500), "{shares:?}");
    }

    #[test]
    fn slow_backend_is_left_and_tried_again() {
        let pool = pool(&[1; 4]);
        let slow = driven(&pool, 60_000, 1, |index, rng| {
            (
                exponential(if index == 0 { 100.0 } else { 2.0 }, rng),
                false,
            )
        });
        assert!(slow[0] >= 3 && slow[0] < 3000, "{slow:?}");
    }

    #[test]
    fn backend_that_fails_at_once_attracts_nobody() {
        let pool = pool(&[1; 8]);
        // A minute of 1,000 requests a second; alone, its share would be 7,500.
        let shares = driven(&pool, 60_000, 1, |index, rng| match index {
            0 => (0.1, true),
            _ => (exponential(5.0, rng), false),
        });
        assert!(shares[0] <= 12, "{shares:?}");
        assert!(shares[0] >= 1, "it is tried again: {shares:?}");
    }

    #[test]
    fn weight_counts_as_capacity() {
        let pool = pool(&[1, 3]);
        let shares = driven(&pool, 40_000, 1, |_, rng| (exponential(5.0, rng), false));
        assert!(shares[1] > shares[0] * 2, "{shares:?}");
    }
}
