//! The least expected time: average time to first byte x (requests in flight + 1) / weight.
//!
//! The bare rule, "the backend with the lowest average", must not ship: it has no term for what is already on its way, so
//! everyone goes to one backend until its next answers tell, and it starves the others for ever (Traefik issue 12306: five
//! equal servers got 383, 5, 368, 368 and 376 of 1500 requests). Three guards against that:
//! - the in-flight term ("least time", as in nginx Plus and Traefik);
//! - backends within half as much again of the pool's mean count as equal, and equals take turns;
//! - a backend with few answers is drawn towards that mean, and one with no fresh answer counts as it: neither first nor last.
//!
//! Errors never feed the average ([`crate::backend::Latency`]), so one that fails fast does not look fast.

use super::explain::lowest_from;
use super::{Choice, Cursor, Explanation, PickContext, Pool, Strategy, Term};
use std::sync::Arc;

/// Averages nearer to the mean than this factor are noise. With an average over about 60 exponential samples the standard
/// deviation is an eighth of the mean, so equals stay within it by four deviations.
const ALIKE: f32 = 1.5;

/// Samples of the pool's mean that each backend's own are weighed against: one unlucky first answer must not starve it.
const DOUBT: f32 = 16.0;

/// Cost: O(n), two passes over the pool.
#[derive(Debug)]
pub struct FastestResponseTime {
    cursor: Arc<Cursor>,
}

impl FastestResponseTime {
    /// Ties go on where `cursor` is.
    pub fn new(cursor: Arc<Cursor>) -> Self {
        FastestResponseTime { cursor }
    }
}

impl Strategy for FastestResponseTime {
    fn pick(&self, pool: &Pool, context: &mut PickContext<'_>) -> usize {
        let mean = mean_latency(pool, context);
        let expected = |index: usize| {
            let in_flight = pool.backends()[index].load.in_flight();
            latency(pool, index, mean, context) * (in_flight + 1) as f32
                / pool.weights()[index] as f32
        };
        let start = self.cursor.advance() % pool.len();
        let mut best = start;
        let mut least = expected(start);
        for index in (start + 1..pool.len()).chain(0..start) {
            let candidate = expected(index);
            if candidate < least {
                (best, least) = (index, candidate);
            }
        }
        best
    }

    fn terms(&self, pool: &Pool, context: &PickContext<'_>) -> Vec<Vec<Term>> {
        let mean = mean_latency(pool, context);
        let terms = |place: usize| {
            let (in_flight, weight) = (
                pool.backends()[place].load.in_flight(),
                pool.weights()[place],
            );
            let latency = latency(pool, place, mean, context);
            let score = latency * (in_flight + 1) as f32 / weight as f32;
            vec![
                Term::new("latency_seconds", latency),
                Term::new("in_flight", in_flight),
                Term::new("weight", weight),
                Term::new("score", score),
            ]
        };
        (0..pool.len()).map(terms).collect()
    }

    fn explain(&self, pool: &Pool, context: &PickContext<'_>) -> Explanation {
        let terms = self.terms(pool, context);
        let scores: Vec<f64> = terms.iter().map(|terms| terms[3].value).collect();
        Explanation {
            rule: "the lowest latency x (in flight + 1) / weight; latencies near the mean count as the mean; ties take turns",
            choice: Choice::This(lowest_from(&scores, self.cursor.place() % pool.len())),
            terms,
        }
    }
}

/// What one request takes there, as far as that differs from what is usual.
fn latency(pool: &Pool, index: usize, mean: f32, context: &PickContext<'_>) -> f32 {
    let latency = &pool.backends()[index].load.latency;
    settle(latency.shrunk(context.now, mean, DOUBT), mean)
}

/// The mean over the backends that have a fresh average; 1 when none has, so that only load and weight speak.
fn mean_latency(pool: &Pool, context: &PickContext<'_>) -> f32 {
    let (mut sum, mut count) = (0.0, 0u32);
    for backend in pool.backends() {
        if let Some(seconds) = backend.load.latency.seconds(context.now) {
            sum += seconds;
            count += 1;
        }
    }
    if count == 0 || sum == 0.0 {
        1.0
    } else {
        sum / count as f32
    }
}

fn settle(own: f32, mean: f32) -> f32 {
    if own * ALIKE > mean && own < mean * ALIKE {
        mean
    } else {
        own
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{pool, shares};
    use super::*;
    use std::time::Duration;

    fn with_latencies(millis: &[u64]) -> Pool {
        let pool = pool(&vec![1; millis.len()]);
        for (backend, millis) in pool.backends().iter().zip(millis) {
            for _ in 0..100 {
                backend
                    .load
                    .latency
                    .record(Duration::from_millis(*millis), Duration::ZERO);
            }
        }
        pool
    }

    fn strategy() -> FastestResponseTime {
        FastestResponseTime::new(Arc::default())
    }

    #[test]
    fn faster_backend_gets_more_and_the_slower_is_not_forgotten() {
        let pool = with_latencies(&[10, 100]);
        let shares = shares(&strategy(), &pool, 1000, 10, 1);
        assert!(shares[0] > 800 && shares[1] > 20, "{shares:?}");
    }

    #[test]
    fn in_flight_requests_count_against_a_fast_backend() {
        let pool = with_latencies(&[10, 30]);
        pool.backends()[0].load.set_in_flight(5);
        assert_eq!(shares(&strategy(), &pool, 1, 0, 1), [0, 1]);
    }

    #[test]
    fn unmeasured_backend_is_neither_flooded_nor_starved() {
        let pool = pool(&[1, 1, 1]);
        for backend in &pool.backends()[..2] {
            backend
                .load
                .latency
                .record(Duration::from_millis(10), Duration::ZERO);
        }
        let shares = shares(&strategy(), &pool, 300, 2, 1);
        assert!(
            shares.iter().all(|share| (80..=120).contains(share)),
            "{shares:?}"
        );
    }
}
