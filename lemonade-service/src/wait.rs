//! How long something of the worker's may take: the one duration type of its settings and faults.
//!
//! Promise: at most [`MAX_WAIT`], so that no setting makes a worker look dead for a day by a slip of a unit.

use std::str::FromStr;
use std::time::Duration;

use lemonade_config::{DurationError, RawDuration, format_duration};
use serde::Deserialize;
use thiserror::Error;

/// The bound of every delay, jitter and pause.
pub const MAX_WAIT: Duration = Duration::from_secs(60 * 60);

/// A duration of at most [`MAX_WAIT`]; a bare number counts milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Deserialize)]
#[serde(try_from = "RawDuration")]
pub(crate) struct Wait(pub(crate) Duration);

/// Why a text is no [`Wait`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum WaitError {
    #[error(transparent)]
    Duration(#[from] DurationError),
    #[error("expected at most {}, found {}", format_duration(MAX_WAIT), format_duration(*.0))]
    TooLong(Duration),
}

impl TryFrom<RawDuration> for Wait {
    type Error = WaitError;

    fn try_from(raw: RawDuration) -> Result<Wait, WaitError> {
        let duration = raw.or_millis();
        if duration > MAX_WAIT {
            return Err(WaitError::TooLong(duration));
        }
        Ok(Wait(duration))
    }
}

impl FromStr for Wait {
    type Err = WaitError;

    fn from_str(text: &str) -> Result<Wait, WaitError> {
        Wait::try_from(text.parse::<RawDuration>()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_numbers_are_milliseconds() {
        assert_eq!("20".parse(), Ok(Wait(Duration::from_millis(20))));
        assert_eq!("20ms".parse(), Ok(Wait(Duration::from_millis(20))));
        assert_eq!("1h".parse(), Ok(Wait(MAX_WAIT)));
    }

    #[test]
    fn longer_than_the_bound_is_refused() {
        let error = "61m".parse::<Wait>().unwrap_err();
        assert_eq!(error.to_string(), "expected at most 1h, found 1h1m");
    }
}
