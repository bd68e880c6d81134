//! Durations as people write them: `5s`, `250ms`, `1m30s`.
//!
//! Raw types hold a [`RawDuration`]; flags parse with [`parse_duration`]; whoever shows one uses [`format_duration`].
//! Promise: printing gives what parses to the same duration, to the nanosecond.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use thiserror::Error;

use crate::words::shorten;

/// Ten years: beyond any use, and far below where adding one to an `Instant` could overflow.
pub const MAX_DURATION: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];

/// A duration with its unit, or a bare number that the reader of the file gives one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RawDuration(Raw);

#[derive(Debug, Clone, Copy, PartialEq)]
enum Raw {
    Exact(Duration),
    /// Finite and not negative; no more than [`MAX_DURATION`] in milliseconds.
    Bare(f64),
}

impl RawDuration {
    /// A bare number counts milliseconds.
    pub fn or_millis(self) -> Duration {
        self.or(0.001)
    }

    /// A bare number counts seconds; more than [`MAX_DURATION`] of them are as many as that.
    pub fn or_seconds(self) -> Duration {
        self.or(1.0)
    }

    fn or(self, unit: f64) -> Duration {
        match self.0 {
            Raw::Exact(duration) => duration,
            Raw::Bare(number) => Duration::try_from_secs_f64(number * unit)
                .unwrap_or(MAX_DURATION)
                .min(MAX_DURATION),
        }
    }

    fn bare(number: f64, text: &str) -> Result<RawDuration, DurationError> {
        if number < 0.0 {
            return Err(DurationError::Negative(shorten(text)));
        }
        if number <= MAX_DURATION.as_millis() as f64 {
            return Ok(RawDuration(Raw::Bare(number)));
        }
        // What is not a number compares false, too.
        Err(DurationError::TooLong(shorten(text)))
    }
}

impl From<Duration> for RawDuration {
    fn from(duration: Duration) -> RawDuration {
        RawDuration(Raw::Exact(duration))
    }
}

/// Why a text is no duration. Each says what would be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DurationError {
    /// Not numbers with units.
    #[error("expected a duration such as `5s`, `250ms` or `1m30s`, found `{0}`")]
    Malformed(String),
    /// A number without a unit, where none is implied.
    #[error("expected a unit after `{0}`: one of ns, us, ms, s, m, h, d")]
    MissingUnit(String),
    /// A word after the number that is no unit.
    #[error("unknown unit in `{0}`: expected one of ns, us, ms, s, m, h, d")]
    UnknownUnit(String),
    /// Time does not run backwards.
    #[error("expected a duration of 0 or more, found `{0}`")]
    Negative(String),
    /// Beyond [`MAX_DURATION`].
    #[error("expected a duration of at most ten years, found `{0}`")]
    TooLong(String),
}

/// One or more numbers with units, added up: `1m30s`, `1.5s`. Of bare numbers only `0` is a duration by itself.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let text = text.trim();
    if text.starts_with('-') {
        return Err(DurationError::Negative(shorten(text)));
    }
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let malformed = || DurationError::Malformed(shorten(text));
    let mut nanos: u128 = 0;
    let mut rest = text;
    while !rest.is_empty() || nanos == 0 && text.is_empty() {
        let (number, after) = split_before(rest, |c| !c.is_ascii_digit() && c != '.');
        let (unit, after) = split_before(after.trim_start(), |c| !c.is_alphabetic());
        if number.is_empty() {
            return Err(malformed());
        }
        if unit.is_empty() {
            return Err(DurationError::MissingUnit(shorten(text)));
        }
        let known = UNITS.iter().find(|&&(name, _)| name == unit);
        let &(_, size) = known.ok_or_else(|| DurationError::UnknownUnit(shorten(text)))?;
        let part = scaled(number, size).ok_or_else(malformed)?;
        nanos = nanos.saturating_add(part);
        rest = after.trim_start();
    }
    if nanos > MAX_DURATION.as_nanos() {
        return Err(DurationError::TooLong(shorten(text)));
    }
    Ok(Duration::from_nanos(
        u64::try_from(nanos).unwrap_or(u64::MAX),
    ))
}

fn split_before(text: &str, end: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(end).unwrap_or(text.len()))
}

/// A decimal times a whole number, in whole numbers: a float would print `0.1s` as 100.000001ms somewhere. Digits
/// below a nanosecond are dropped; None when it is no decimal.
fn scaled(number: &str, unit: u64) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if whole.is_empty() || fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let whole = whole.bytes().fold(0u128, |sum, digit| {
        sum.saturating_mul(10)
            .saturating_add(u128::from(digit - b'0'))
    });
    let fraction = fraction.bytes().take(18);
    let (above, below) = fraction.fold((0u128, 1u128), |(above, below), digit| {
        (above * 10 + u128::from(digit - b'0'), below * 10)
    });
    let unit = u128::from(unit);
    Some(
        whole
            .saturating_mul(unit)
            .saturating_add(above * unit / below),
    )
}

/// The shortest form: `250ms`, `1.5s`, `1m30s`, `36h`; zero is `0s`.
pub fn format_duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let (minutes, rest) = (duration.as_secs() / 60, nanos % 60_000_000_000);
    let mut text = String::new();
    if minutes >= 60 {
        text.push_str(&format!("{}h", minutes / 60));
    }
    if !minutes.is_multiple_of(60) {
        text.push_str(&format!("{}m", minutes % 60));
    }
    let (unit, size): (&str, u128) = match rest {
        0 if minutes > 0 => return text,
        0 => ("s", 1),
        1..1_000 => ("ns", 1),
        1_000..1_000_000 => ("us", 1_000),
        1_000_000..1_000_000_000 => ("ms", 1_000_000),
        _ => ("s", 1_000_000_000),
    };
    let digits = size.ilog10() as usize;
    let decimal = format!("{}.{:0digits$}", rest / size, rest % size);
    let decimal = decimal.trim_end_matches('0').trim_end_matches('.');
    let decimal = if decimal.is_empty() { "0" } else { decimal };
    text + decimal + unit
}

impl FromStr for RawDuration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<RawDuration, DurationError> {
        let text = text.trim();
        let decimal = text.strip_prefix('-').unwrap_or(text);
        if decimal.starts_with(|c: char| c.is_ascii_digit())
            && let Ok(number) = text.parse()
        {
            return RawDuration::bare(number, text);
        }
        parse_duration(text).map(RawDuration::from)
    }
}

impl<'de> Deserialize<'de> for RawDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawDurationVisitor)
    }
}

struct RawDurationVisitor;

impl Visitor<'_> for RawDurationVisitor {
    type Value = RawDuration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration such as `5s`, `250ms` or `1m30s`")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<RawDuration, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<RawDuration, E> {
        self.visit_f64(number as f64)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<RawDuration, E> {
        self.visit_f64(number as f64)
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<RawDuration, E> {
        RawDuration::bare(number, &number.to_string()).map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_with_units_parse() {
        for (text, nanos) in [
            ("0", 0),
            ("0s", 0),
            ("5s", 5_000_000_000),
            ("250ms", 250_000_000),
            ("100us", 100_000),
            ("100µs", 100_000),
            ("7ns", 7),
            ("1m30s", 90_000_000_000),
            ("1h 30m", 5_400_000_000_000),
            ("1.5s", 1_500_000_000),
            ("0.1 s", 100_000_000),
            ("1d", 86_400_000_000_000),
        ] {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_nanos(nanos)),
                "{text}"
            );
        }
    }

    #[test]
    fn faults_say_what_is_expected() {
        for (text, message) in [
            (
                "",
                "expected a duration such as `5s`, `250ms` or `1m30s`, found ``",
            ),
            (
                "soon",
                "expected a duration such as `5s`, `250ms` or `1m30s`, found `soon`",
            ),
            (
                "1.s",
                "expected a duration such as `5s`, `250ms` or `1m30s`, found `1.s`",
            ),
            (
                "1.2.3s",
                "expected a duration such as `5s`, `250ms` or `1m30s`, found `1.2.3s`",
            ),
            (
                "5",
                "expected a unit after `5`: one of ns, us, ms, s, m, h, d",
            ),
            (
                "5 sec",
                "unknown unit in `5 sec`: expected one of ns, us, ms, s, m, h, d",
            ),
            ("-5s", "expected a duration of 0 or more, found `-5s`"),
            (
                "4000d",
                "expected a duration of at most ten years, found `4000d`",
            ),
        ] {
            assert_eq!(parse_duration(text).unwrap_err().to_string(), message);
        }
        let endless = "9".repeat(500) + "d";
        assert!(matches!(
            parse_duration(&endless),
            Err(DurationError::TooLong(_))
        ));
    }

    #[test]
    fn bare_numbers_take_the_readers_unit() {
        let raw: RawDuration = "1500".parse().unwrap();
        assert_eq!(raw.or_millis(), Duration::from_millis(1500));
        assert_eq!(raw.or_seconds(), Duration::from_secs(1500));
        let exact: RawDuration = "5s".parse().unwrap();
        assert_eq!(exact.or_millis(), exact.or_seconds());
        assert_eq!(
            "0.5".parse::<RawDuration>().unwrap().or_seconds(),
            Duration::from_millis(500)
        );
    }

    #[test]
    fn bare_numbers_stay_within_bounds() {
        for text in ["-1", "1e300", "999999999999"] {
            assert!(text.parse::<RawDuration>().is_err(), "{text}");
        }
        let long: RawDuration = "315360000000".parse().unwrap();
        assert_eq!(long.or_millis(), MAX_DURATION);
        assert_eq!(long.or_seconds(), MAX_DURATION);
    }

    #[test]
    fn formats_are_short() {
        for (nanos, text) in [
            (0, "0s"),
            (7, "7ns"),
            (1_500, "1.5us"),
            (250_000_000, "250ms"),
            (1_500_000_000, "1.5s"),
            (10_000_000_000, "10s"),
            (90_000_000_000, "1m30s"),
            (3_600_000_000_000, "1h"),
            (3_600_250_000_000, "1h250ms"),
            (129_600_000_000_000, "36h"),
        ] {
            assert_eq!(format_duration(Duration::from_nanos(nanos)), text);
        }
    }

    proptest! {
        #[test]
        fn formats_parse_to_the_same(nanos in 0..=MAX_DURATION.as_nanos() as u64) {
            let duration = Duration::from_nanos(nanos);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }

        #[test]
        fn any_text_is_parsed_or_refused(text in "[0-9.]{0,30}[a-zµ -]{0,3}[0-9.é]{0,3}s?") {
            let _ = parse_duration(&text);
            let _ = text.parse::<RawDuration>().map(RawDuration::or_seconds);
        }
    }
}
