//! Amounts of memory: `64KiB`.
//!
//! Raw types hold them for limits on buffers, headers and bodies. Promise: whole bytes, at most `u64::MAX`.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use thiserror::Error;

use crate::words::shorten;

/// A number of bytes. Prints in the largest binary unit that divides it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

impl ByteSize {
    /// So many bytes.
    pub const fn bytes(bytes: u64) -> ByteSize {
        ByteSize(bytes)
    }

    /// In bytes.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// In bytes; on a machine that cannot address so many, as many as it can.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
        let fits = |&&(_, shift): &&(&str, u32)| self.0 > 0 && self.0.trailing_zeros() >= shift;
        match units.iter().find(fits) {
            Some((unit, shift)) => write!(f, "{}{unit}", self.0 >> shift),
            None => write!(f, "{}B", self.0),
        }
    }
}

/// Why a text is no size. Each says what would be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ByteSizeError {
    /// Not a whole number with a unit.
    #[error("expected a size such as `64KiB` or `1MiB`, found `{0}`")]
    Malformed(String),
    /// A word after the number that is no unit.
    #[error("unknown unit in `{0}`: expected one of B, KiB, MiB, GiB, or k, M, G")]
    UnknownUnit(String),
    /// More than fits.
    #[error("the size `{0}` is too large")]
    TooLarge(String),
}

impl FromStr for ByteSize {
    type Err = ByteSizeError;

    /// A whole number of bytes, or of a unit in either case. `k`, `M`, `G` are the binary units, as in nginx; `KB`,
    /// `MB`, `GB` are the decimal ones.
    fn from_str(text: &str) -> Result<ByteSize, ByteSizeError> {
        let trimmed = text.trim();
        let end = trimmed
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(trimmed.len());
        let (number, unit) = trimmed.split_at(end);
        if number.is_empty() || unit.contains(['.', ',', '_']) {
            return Err(ByteSizeError::Malformed(shorten(text)));
        }
        let unit = size_of_unit(unit.trim_start())
            .ok_or_else(|| ByteSizeError::UnknownUnit(shorten(text)))?;
        let bytes = number
            .parse()
            .ok()
            .and_then(|number: u64| number.checked_mul(unit));
        bytes
            .map(ByteSize)
            .ok_or_else(|| ByteSizeError::TooLarge(shorten(text)))
    }
}

fn size_of_unit(unit: &str) -> Option<u64> {
    Some(match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        _ => return None,
    })
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ByteSizeVisitor)
    }
}

struct ByteSizeVisitor;

impl Visitor<'_> for ByteSizeVisitor {
    type Value = ByteSize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a size such as `64KiB` or `1MiB`")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<ByteSize, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<ByteSize, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<ByteSize, E> {
        Ok(ByteSize(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_parse() {
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("512 B", 512),
            ("64KiB", 65_536),
            ("16k", 16_384),
            ("1 mib", 1_048_576),
            ("2G", 2_147_483_648),
            ("1MB", 1_000_000),
        ] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
    }

    #[test]
    fn sizes_print_in_the_largest_unit_that_divides_them() {
        for (bytes, text) in [
            (0, "0B"),
            (1000, "1000B"),
            (1536, "1536B"),
            (65_536, "64KiB"),
            (1 << 30, "1GiB"),
        ] {
            assert_eq!(ByteSize(bytes).to_string(), text);
            assert_eq!(text.parse(), Ok(ByteSize(bytes)));
        }
    }

    #[test]
    fn faults_say_what_is_expected() {
        for (text, message) in [
            (
                "much",
                "expected a size such as `64KiB` or `1MiB`, found `much`",
            ),
            (
                "-1",
                "expected a size such as `64KiB` or `1MiB`, found `-1`",
            ),
            (
                "1.5MiB",
                "expected a size such as `64KiB` or `1MiB`, found `1.5MiB`",
            ),
            (
                "1KiBs",
                "unknown unit in `1KiBs`: expected one of B, KiB, MiB, GiB, or k, M, G",
            ),
            ("99999999999G", "the size `99999999999G` is too large"),
        ] {
            assert_eq!(text.parse::<ByteSize>().unwrap_err().to_string(), message);
        }
    }
}
