//! How fast a worker works: what turns one cost into different delays at unequal workers.
//!
//! Set by flag, file and chaos; the worker applies it to each delay, those that requests ask for included, so that a client may say
//! what its request costs without knowing where it goes.

use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::wait::MAX_WAIT;

/// 1 takes a delay as it is, 2 half of it, 0.1 ten times it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "f64")]
pub struct Speed(f64);

impl Speed {
    /// A delay as it is.
    pub(crate) const USUAL: Speed = Speed(1.0);

    /// How long something takes at this speed; no longer than [`MAX_WAIT`].
    pub(crate) fn applied(self, delay: Duration) -> Duration {
        // What was named exactly is waited exactly, not as the nearest float.
        if self == Speed::USUAL {
            return delay;
        }
        let seconds = delay.as_secs_f64() / self.0;
        Duration::from_secs_f64(seconds.min(MAX_WAIT.as_secs_f64()))
    }
}

/// Not from 0.001 to 1000.
#[derive(Debug, Clone, PartialEq, Error)]
#[error("expected a speed from 0.001 to 1000, where 1 is the usual one, found {0}")]
pub struct SpeedError(String);

impl TryFrom<f64> for Speed {
    type Error = SpeedError;

    fn try_from(speed: f64) -> Result<Speed, SpeedError> {
        match (0.001..=1000.0).contains(&speed) {
            true => Ok(Speed(speed)),
            false => Err(SpeedError(speed.to_string())),
        }
    }
}

impl FromStr for Speed {
    type Err = SpeedError;

    fn from_str(text: &str) -> Result<Speed, SpeedError> {
        let shown: String = text.chars().take(60).collect();
        let number: f64 = text.trim().parse().map_err(|_| SpeedError(shown))?;
        Speed::try_from(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twice_as_fast_takes_half_as_long() {
        let ms = Duration::from_millis;
        for (speed, expected) in [("1", 10), ("2", 5), ("0.1", 100), ("0.001", 10_000)] {
            assert_eq!(
                speed.parse::<Speed>().unwrap().applied(ms(10)),
                ms(expected)
            );
        }
        let slowest = Speed::try_from(0.001).unwrap();
        assert_eq!(slowest.applied(MAX_WAIT), MAX_WAIT);
    }

    #[test]
    fn speeds_that_are_none_are_refused() {
        for text in ["0", "-1", "1001", "NaN", "inf", "fast", ""] {
            assert!(text.parse::<Speed>().is_err(), "{text}");
        }
    }
}
