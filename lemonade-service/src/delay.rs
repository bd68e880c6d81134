//! How long `/work` takes: a distribution that each request draws from.
//!
//! Parsed from settings, chaos documents and scenarios; drawn from by the worker, which brings the random numbers.
//! Promise: no draw is longer than [`MAX_WAIT`], however heavy the tail.

use std::f64::consts::TAU;
use std::str::FromStr;
use std::time::Duration;

use fastrand::Rng;
use lemonade_config::format_duration;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Value, json};
use thiserror::Error;

use crate::wait::{MAX_WAIT, Wait, WaitError};

/// A distribution of delays.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(try_from = "RawDelay")]
pub enum Delay {
    /// Always the same.
    Constant(Duration),
    /// Anything in between is as likely.
    Uniform {
        /// The shortest.
        min: Duration,
        /// The longest; not below `min`.
        max: Duration,
    },
    /// Without memory, as the gaps between independent arrivals.
    Exponential {
        /// The average.
        mean: Duration,
    },
    /// A product of many small factors: what services under light load look like.
    LogNormal {
        /// Half are shorter.
        median: Duration,
        /// How wide, 0 to 5: at 1, one in forty takes seven times the median.
        sigma: f64,
    },
    /// A power law: few, very long ones.
    Pareto {
        /// The shortest.
        min: Duration,
        /// 0.1 to 100; the tail is the heavier the smaller it is, and below 1 there is no average.
        shape: f64,
    },
}

impl Delay {
    /// What one request waits, with up to `jitter` more or less, as likely each.
    pub(crate) fn draw(&self, jitter: Duration, rng: &mut Rng) -> Duration {
        let seconds = self.draw_seconds(rng) + jitter.as_secs_f64() * (2.0 * rng.f64() - 1.0);
        // Written so that what is not a number ends as none.
        let bounded = seconds.max(0.0).min(MAX_WAIT.as_secs_f64());
        match (self, jitter.is_zero()) {
            // A delay that the user named exactly is waited exactly, not as the nearest float.
            (Delay::Constant(delay), true) => *delay,
            _ => Duration::from_secs_f64(bounded),
        }
    }

    fn draw_seconds(&self, rng: &mut Rng) -> f64 {
        match *self {
            Delay::Constant(delay) => delay.as_secs_f64(),
            Delay::Uniform { min, max } => {
                min.as_secs_f64() + (max - min).as_secs_f64() * rng.f64()
            }
            Delay::Exponential { mean } => mean.as_secs_f64() * -positive(rng).ln(),
            Delay::LogNormal { median, sigma } => {
                // Box and Muller, 1958: two even draws make a normal one.
                let normal = (-2.0 * positive(rng).ln()).sqrt() * (TAU * rng.f64()).cos();
                median.as_secs_f64() * (sigma * normal).exp()
            }
            Delay::Pareto { min, shape } => min.as_secs_f64() * positive(rng).powf(-1.0 / shape),
        }
    }
}

/// From above 0 up to 1, so that its logarithm is finite.
fn positive(rng: &mut Rng) -> f64 {
    1.0 - rng.f64()
}

/// As users write it: `20ms`, or a table of the distribution's name.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RawDelay {
    Constant(Wait),
    Uniform {
        min: Wait,
        max: Wait,
    },
    Exponential {
        mean: Wait,
    },
    #[serde(alias = "log_normal")]
    Lognormal {
        median: Wait,
        sigma: f64,
    },
    Pareto {
        min: Wait,
        shape: f64,
    },
}

#[derive(Debug, Error)]
enum DelayError {
    #[error("expected `min` to be at most `max`")]
    Order,
    #[error("expected a `sigma` from 0 to 5, found {0}")]
    Sigma(f64),
    #[error("expected a `shape` from 0.1 to 100, found {0}")]
    Shape(f64),
}

impl TryFrom<RawDelay> for Delay {
    type Error = DelayError;

    fn try_from(raw: RawDelay) -> Result<Delay, DelayError> {
        Ok(match raw {
            RawDelay::Constant(Wait(delay)) => Delay::Constant(delay),
            RawDelay::Uniform { min, max } if min > max => return Err(DelayError::Order),
            RawDelay::Uniform {
                min: Wait(min),
                max: Wait(max),
            } => Delay::Uniform { min, max },
            RawDelay::Exponential { mean: Wait(mean) } => Delay::Exponential { mean },
            RawDelay::Lognormal {
                median: Wait(median),
                sigma,
            } => match sigma {
                0.0..=5.0 => Delay::LogNormal { median, sigma },
                _ => return Err(DelayError::Sigma(sigma)),
            },
            RawDelay::Pareto {
                min: Wait(min),
                shape,
            } => match shape {
                0.1..=100.0 => Delay::Pareto { min, shape },
                _ => return Err(DelayError::Shape(shape)),
            },
        })
    }
}

/// The short form: a duration, or bare milliseconds.
impl FromStr for Delay {
    type Err = DelayTextError;

    fn from_str(text: &str) -> Result<Delay, DelayTextError> {
        let Wait(delay) = text.parse().map_err(DelayTextError)?;
        Ok(Delay::Constant(delay))
    }
}

/// Why a text is no constant delay.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(transparent)]
pub struct DelayTextError(WaitError);

/// In the form that parses to the same.
impl Serialize for Delay {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = |duration: &Duration| format_duration(*duration);
        let value = match self {
            Delay::Constant(delay) => Value::String(text(delay)),
            Delay::Uniform { min, max } => {
                json!({ "uniform": { "min": text(min), "max": text(max) } })
            }
            Delay::Exponential { mean } => json!({ "exponential": { "mean": text(mean) } }),
            Delay::LogNormal { median, sigma } => {
                json!({ "lognormal": { "median": text(median), "sigma": sigma } })
            }
            Delay::Pareto { min, shape } => {
                json!({ "pareto": { "min": text(min), "shape": shape } })
            }
        };
        value.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn average(delay: Delay, jitter: Duration) -> f64 {
        let mut rng = Rng::with_seed(7);
        let draws = 20_000;
        let sum: f64 = (0..draws)
            .map(|_| delay.draw(jitter, &mut rng).as_secs_f64())
            .sum();
        sum / f64::from(draws)
    }

    #[test]
    fn averages_are_those_of_the_distributions() {
        // Log-normal: median * exp(sigma² / 2); Pareto: min * shape / (shape - 1).
        for (delay, expected) in [
            (Delay::Constant(20 * MS), 0.020),
            (
                Delay::Uniform {
                    min: 10 * MS,
                    max: 30 * MS,
                },
                0.020,
            ),
            (Delay::Exponential { mean: 20 * MS }, 0.020),
            (
                Delay::LogNormal {
                    median: 20 * MS,
                    sigma: 0.5,
                },
                0.020 * 0.125f64.exp(),
            ),
            (
                Delay::Pareto {
                    min: 10 * MS,
                    shape: 4.0,
                },
                0.010 * 4.0 / 3.0,
            ),
        ] {
            let average = average(delay, Duration::ZERO);
            assert!(
                (average / expected - 1.0).abs() < 0.05,
                "{delay:?}: {average}"
            );
        }
    }

    #[test]
    fn jitter_goes_both_ways_and_keeps_the_average() {
        let delay = Delay::Constant(20 * MS);
        let mut rng = Rng::with_seed(7);
        let draws: Vec<_> = (0..1000).map(|_| delay.draw(5 * MS, &mut rng)).collect();
        assert!(draws.iter().all(|draw| (15 * MS..=25 * MS).contains(draw)));
        assert!(draws.iter().any(|draw| *draw < 16 * MS));
        assert!(draws.iter().any(|draw| *draw > 24 * MS));
        assert!((average(delay, 5 * MS) / 0.020 - 1.0).abs() < 0.02);
    }

    fn any_delay() -> impl Strategy<Value = Delay> {
        let wait = || (0..=MAX_WAIT.as_nanos() as u64).prop_map(Duration::from_nanos);
        prop_oneof![
            wait().prop_map(Delay::Constant),
            (wait(), wait()).prop_map(|(a, b)| Delay::Uniform {
                min: a.min(b),
                max: a.max(b)
            }),
            wait().prop_map(|mean| Delay::Exponential { mean }),
            (wait(), 0.0..=5.0).prop_map(|(median, sigma)| Delay::LogNormal { median, sigma }),
            (wait(), 0.1..=100.0).prop_map(|(min, shape)| Delay::Pareto { min, shape }),
        ]
    }

    proptest! {
        #[test]
        fn draws_stay_within_the_bound(delay in any_delay(), jitter in 0..=3600u64, seed: u64) {
            let mut rng = Rng::with_seed(seed);
            let draw = delay.draw(Duration::from_secs(jitter), &mut rng);
            prop_assert!(draw <= MAX_WAIT);
        }

        #[test]
        fn uniform_draws_lie_between_its_ends(a in 0..5000u32, b in 0..5000u32, seed: u64) {
            let (min, max) = (MS * a.min(b), MS * a.max(b));
            let draw = Delay::Uniform { min, max }.draw(Duration::ZERO, &mut Rng::with_seed(seed));
            // A float of seconds is a nanosecond off at most.
            let slack = Duration::from_nanos(1);
            prop_assert!(draw + slack >= min && draw <= max + slack, "{:?}", draw);
        }
    }
}
