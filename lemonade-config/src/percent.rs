//! Shares of a whole: `50%`.
//!
//! Raw types hold them for rates, thresholds and budgets. Promise: always between none and all.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use thiserror::Error;

use crate::words::shorten;

/// Between 0% and 100%. Prints as it is written.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Percent(f64);

impl Percent {
    /// For defaults in code; more than all is all.
    pub const fn whole(percent: u8) -> Percent {
        match percent {
            0..100 => Percent(percent as f64 / 100.0),
            _ => Percent(1.0),
        }
    }

    /// From 0 to 1.
    pub fn fraction(self) -> f64 {
        self.0
    }

    fn of(percent: f64) -> Option<Percent> {
        (0.0..=100.0)
            .contains(&percent)
            .then_some(Percent(percent / 100.0))
    }

    /// Between 0 and 1 people mean a fraction as often as a percentage: guessing would be wrong by a factor of 100.
    fn bare(number: f64) -> Result<Percent, PercentError> {
        if number > 0.0 && number < 1.0 {
            return Err(PercentError::Ambiguous {
                percent: number,
                fraction: round(number * 100.0),
            });
        }
        Percent::of(number).ok_or_else(|| PercentError::Range(number.to_string()))
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", round(self.0 * 100.0))
    }
}

/// Takes off what binary fractions add: 0.07 * 100 is 7.000000000000001.
fn round(percent: f64) -> f64 {
    (percent * 1e9).round() / 1e9
}

/// Why a text is no percentage. Each says what would be.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum PercentError {
    /// Not a number with `%`.
    #[error("expected a percentage such as `50%`, found `{0}`")]
    Malformed(String),
    /// Less than none or more than all.
    #[error("expected a percentage from 0% to 100%, found `{0}`")]
    Range(String),
    /// A bare number that could be either.
    #[error("{percent} could be {percent}% or {fraction}%: write the one you mean with its `%`")]
    Ambiguous {
        /// Read as a percentage.
        percent: f64,
        /// Read as a fraction.
        fraction: f64,
    },
}

impl FromStr for Percent {
    type Err = PercentError;

    /// A number with `%`, or a bare one as percent; a bare one between 0 and 1 is refused as ambiguous.
    fn from_str(text: &str) -> Result<Percent, PercentError> {
        let malformed = || PercentError::Malformed(shorten(text));
        let (number, bare) = match text.trim().strip_suffix('%') {
            Some(number) => (number.trim_end(), false),
            None => (text.trim(), true),
        };
        if number.contains(|c: char| c.is_alphabetic()) {
            return Err(malformed());
        }
        let percent: f64 = number.parse().map_err(|_| malformed())?;
        if bare {
            return Percent::bare(percent);
        }
        Percent::of(percent).ok_or_else(|| PercentError::Range(shorten(text)))
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PercentVisitor)
    }
}

struct PercentVisitor;

impl Visitor<'_> for PercentVisitor {
    type Value = Percent;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a percentage such as `50%`")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Percent, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Percent, E> {
        self.visit_f64(number as f64)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Percent, E> {
        self.visit_f64(number as f64)
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Percent, E> {
        Percent::bare(number).map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_are_fractions_inside() {
        for (text, fraction) in [
            ("50%", 0.5),
            ("20 %", 0.2),
            ("0.5%", 0.005),
            ("100", 1.0),
            ("0", 0.0),
            ("1", 0.01),
        ] {
            assert_eq!(
                text.parse::<Percent>().map(Percent::fraction),
                Ok(fraction),
                "{text}"
            );
        }
    }

    #[test]
    fn whole_percentages_equal_written_ones() {
        for percent in [0, 7, 50, 100] {
            assert_eq!(format!("{percent}%").parse(), Ok(Percent::whole(percent)));
        }
        assert_eq!(Percent::whole(255).fraction(), 1.0);
    }

    #[test]
    fn percentages_print_as_written() {
        for text in ["50%", "7%", "0.5%", "33.3%", "100%"] {
            assert_eq!(text.parse::<Percent>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn faults_say_what_is_expected() {
        for (text, message) in [
            ("half", "expected a percentage such as `50%`, found `half`"),
            ("nan%", "expected a percentage such as `50%`, found `nan%`"),
            ("%", "expected a percentage such as `50%`, found `%`"),
            (
                "150%",
                "expected a percentage from 0% to 100%, found `150%`",
            ),
            ("-1", "expected a percentage from 0% to 100%, found `-1`"),
            (
                "0.2",
                "0.2 could be 0.2% or 20%: write the one you mean with its `%`",
            ),
        ] {
            assert_eq!(text.parse::<Percent>().unwrap_err().to_string(), message);
        }
    }
}
