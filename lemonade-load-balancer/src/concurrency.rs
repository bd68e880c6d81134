//! How many requests a backend takes before it gets slower: an adaptive limit. Pure: measurements and the time are arguments.
//!
//! The rule is the gradient of Netflix's concurrency-limits (2018) with the baseline of Envoy's adaptive concurrency filter:
//! while answers begin about as fast as they do without a queue the limit grows by its square root, when they begin later it shrinks
//! in proportion; until that happens for the first time it grows by half each time, as TCP does from a slow start. How fast they are without a queue is found out from time to time, by letting only half as many in for a moment.
//! (An average over the long run, as Netflix has it, follows the queue that it should show: under steady saturation the limit
//! then grows for ever.)

use std::time::Duration;

/// Where a backend begins about which nothing is known: few, so that the first measurement shows no queue.
const FIRST: f64 = 8.0;
/// A backend that gets less can no longer be measured.
const LEAST: f64 = 4.0;
/// Response times within this factor of the baseline are noise, not a queue.
const TOLERANCE: f64 = 1.5;
/// How much of each step is taken.
const SMOOTHING: f64 = 0.2;
/// How much a limit grows that has never done harm.
const FAST_GROWTH: f64 = 1.5;
/// Fewer answers are no measurement.
const ENOUGH: u64 = 10;
/// How often the baseline is found out anew.
const EVERY: Duration = Duration::from_secs(30);
/// How long that takes.
const PROBE: Duration = Duration::from_secs(1);

/// The limit of one backend.
#[derive(Clone, Debug)]
pub struct Gradient {
    limit: f64,
    /// Seconds until an answer begins where nothing queues; `None` before the first measurement.
    baseline: Option<f64>,
    /// Answers and the sum of their seconds since the last measurement.
    answers: u64,
    seconds: f64,
    /// More was once too much.
    tested: bool,
    phase: Phase,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Until the next probe.
    Steady { since: Duration },
    /// Half as many are let in; `fastest` is the best measurement so far.
    Probing {
        since: Duration,
        fastest: Option<f64>,
    },
}

/// What was measured of a backend since the last time.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// Answers that began.
    pub answers: u64,
    /// How long they took to, together.
    pub sum: Duration,
    /// Requests that are there now.
    pub in_flight: u32,
}

impl Default for Gradient {
    fn default() -> Self {
        Gradient {
            limit: FIRST,
            baseline: None,
            answers: 0,
            seconds: 0.0,
            tested: false,
            phase: Phase::Steady {
                since: Duration::ZERO,
            },
        }
    }
}

impl Gradient {
    /// Takes in what was measured until `now`. Returns the limit, `most` at most.
    pub fn measure(&mut self, measured: Measured, most: u32, now: Duration) -> u32 {
        self.answers += measured.answers;
        self.seconds += measured.sum.as_secs_f64();
        if self.answers >= ENOUGH {
            let short = (self.seconds / self.answers as f64).max(1e-6);
            (self.answers, self.seconds) = (0, 0.0);
            self.step(short, f64::from(measured.in_flight));
        }
        self.turn(now);
        self.limit = self.limit.clamp(LEAST, f64::from(most).max(LEAST));
        match self.phase {
            Phase::Steady { .. } => self.limit as u32,
            Phase::Probing { .. } => (self.limit / 2.0).max(LEAST) as u32,
        }
    }

    fn step(&mut self, short: f64, in_flight: f64) {
        if let Phase::Probing { fastest, .. } = &mut self.phase {
            let best = fastest.get_or_insert(short);
            *best = best.min(short);
            return;
        }
        let baseline = self.baseline.get_or_insert(short);
        *baseline = baseline.min(short);
        let gradient = (TOLERANCE * *baseline / short).clamp(0.5, 1.0);
        self.tested |= gradient < 1.0;
        let unused = in_flight < self.limit / 2.0;
        if gradient == 1.0 && unused {
            return;
        }
        if !self.tested {
            self.limit *= FAST_GROWTH;
            return;
        }
        let wanted = self.limit * gradient + self.limit.sqrt();
        self.limit += (wanted - self.limit) * SMOOTHING;
    }

    fn turn(&mut self, now: Duration) {
        match self.phase {
            Phase::Steady { since } if now.saturating_sub(since) >= EVERY => {
                self.phase = Phase::Probing {
                    since: now,
                    fastest: None,
                };
            }
            Phase::Probing { since, fastest } if now.saturating_sub(since) >= PROBE => {
                self.baseline = fastest.or(self.baseline);
                self.phase = Phase::Steady { since: now };
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: u32 = 1000;
    const TICK: Duration = Duration::from_millis(250);

    /// A backend with so many workers that each take 10 ms, offered all that the limit lets through.
    struct Saturated {
        gradient: Gradient,
        now: Duration,
    }

    impl Saturated {
        fn limit_after(&mut self, workers: f64, ticks: usize) -> u32 {
            let mut limit = FIRST as u32;
            for _ in 0..ticks {
                self.now += TICK;
                let slowdown = (f64::from(limit) / workers).max(1.0);
                let measured = Measured {
                    answers: 50,
                    sum: Duration::from_secs_f64(0.010 * slowdown * 50.0),
                    in_flight: limit,
                };
                limit = self.gradient.measure(measured, MOST, self.now);
            }
            self.gradient.limit as u32
        }
    }

    fn saturated() -> Saturated {
        Saturated {
            gradient: Gradient::default(),
            now: Duration::ZERO,
        }
    }

    #[test]
    fn limit_finds_what_a_backend_can_take_and_stays_there() {
        let mut backend = saturated();
        for _ in 0..10 {
            let limit = backend.limit_after(64.0, 400);
            assert!((64..=140).contains(&limit), "{limit}");
        }
    }

    #[test]
    fn limit_of_a_large_backend_is_found_within_seconds() {
        let limit = saturated().limit_after(800.0, 20);
        assert!(limit >= 200, "{limit}");
    }

    #[test]
    fn limit_follows_a_backend_that_shrinks() {
        let mut backend = saturated();
        backend.limit_after(64.0, 400);
        let limit = backend.limit_after(16.0, 400);
        assert!((16..=40).contains(&limit), "{limit}");
    }

    #[test]
    fn limit_does_not_grow_while_it_is_not_used() {
        let mut gradient = Gradient::default();
        let measured = Measured {
            answers: 50,
            sum: Duration::from_millis(500),
            in_flight: 1,
        };
        let limits = (0..100).map(|_| gradient.measure(measured, MOST, Duration::ZERO));
        assert_eq!(limits.last(), Some(FIRST as u32));
    }

    #[test]
    fn limit_stays_within_its_bounds() {
        let mut gradient = Gradient::default();
        for step in 0..200u64 {
            let measured = Measured {
                answers: 50,
                sum: Duration::from_millis(50 * (1 + step * step)),
                in_flight: 1000,
            };
            let limit = gradient.measure(measured, 30, TICK * step as u32);
            assert!((LEAST as u32..=30).contains(&limit));
        }
    }
}
