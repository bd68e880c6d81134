//! What one `/work` request asks for in its query: `?delay=50ms&status=503&size=64KiB`.
//!
//! Promise: a known name with a bad value is an error that says what would be right; other names are ignored, for
//! clients add their own.

use std::borrow::Cow;
use std::time::Duration;

use http::StatusCode;
use lemonade_config::{ByteSize, ByteSizeError};
use thiserror::Error;

use crate::wait::{Wait, WaitError};

/// The bound of `size`.
pub(crate) const MAX_SIZE: ByteSize = ByteSize::bytes(64 << 20);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Overrides {
    /// Instead of the worker's, and without jitter.
    pub(crate) delay: Option<Duration>,
    /// Instead of 200, and of the error that chance might bring.
    pub(crate) status: Option<StatusCode>,
    /// The answer's body is padded to so many bytes.
    pub(crate) size: u64,
}

#[derive(Debug, PartialEq, Eq, Error)]
pub(crate) enum OverrideError {
    #[error("delay: {0}")]
    Delay(WaitError),
    #[error("status: expected a number from 200 to 599, found `{0}`")]
    Status(String),
    #[error("size: {0}")]
    Size(ByteSizeError),
    #[error("size: expected at most {MAX_SIZE}, found {0}")]
    TooLarge(ByteSize),
}

impl Overrides {
    /// Of two with one name the later holds.
    pub(crate) fn parse(query: &str) -> Result<Overrides, OverrideError> {
        let mut overrides = Overrides::default();
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decoded(value);
            match name {
                "delay" => {
                    let Wait(delay) = value.parse().map_err(OverrideError::Delay)?;
                    overrides.delay = Some(delay);
                }
                "status" => overrides.status = Some(status(&value)?),
                "size" => overrides.size = size(&value)?,
                _ => {}
            }
        }
        Ok(overrides)
    }
}

/// 1xx are not final, so no client would see the answer end.
fn status(text: &str) -> Result<StatusCode, OverrideError> {
    let code = text.parse().ok().filter(|code| (200..600).contains(code));
    let status = code.and_then(|code| StatusCode::from_u16(code).ok());
    status.ok_or_else(|| OverrideError::Status(text.chars().take(60).collect()))
}

fn size(text: &str) -> Result<u64, OverrideError> {
    let size: ByteSize = text.parse().map_err(OverrideError::Size)?;
    if size > MAX_SIZE {
        return Err(OverrideError::TooLarge(size));
    }
    Ok(size.as_u64())
}

/// Undoes `%` and `+`; what is not UTF-8 then shows as such in the error.
fn decoded(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = after
            .get(..2)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = hex.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (first, byte) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
                continue;
            }
            (b'+', _) => bytes.push(b' '),
            _ => bytes.push(first),
        }
        rest = after;
    }
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn overrides_parse_among_other_names() {
        let parsed = Overrides::parse("x=1&delay=50&status=503&size=64KiB&&flag").unwrap();
        let expected = Overrides {
            delay: Some(Duration::from_millis(50)),
            status: Some(StatusCode::SERVICE_UNAVAILABLE),
            size: 64 * 1024,
        };
        assert_eq!(parsed, expected);
        assert_eq!(Overrides::parse(""), Ok(Overrides::default()));
    }

    #[test]
    fn escapes_are_undone() {
        let delay = |query: &str| Overrides::parse(query).unwrap().delay;
        assert_eq!(delay("delay=5%30ms"), Some(Duration::from_millis(50)));
        assert_eq!(delay("delay=50+ms"), Some(Duration::from_millis(50)));
        assert_eq!(delay("delay=50%C2%B5s"), Some(Duration::from_micros(50)));
    }

    #[test]
    fn bad_values_say_what_is_expected() {
        for (query, message) in [
            (
                "delay=soon",
                "delay: expected a duration such as `5s`, `250ms` or `1m30s`, found `soon`",
            ),
            ("delay=2h", "delay: expected at most 1h, found 2h"),
            (
                "status=100",
                "status: expected a number from 200 to 599, found `100`",
            ),
            (
                "status",
                "status: expected a number from 200 to 599, found ``",
            ),
            (
                "size=much",
                "size: expected a size such as `64KiB` or `1MiB`, found `much`",
            ),
            ("size=65MiB", "size: expected at most 64MiB, found 65MiB"),
        ] {
            assert_eq!(Overrides::parse(query).unwrap_err().to_string(), message);
        }
    }

    proptest! {
        #[test]
        fn any_query_is_parsed_or_refused(query in "((delay|status|size|x)=[%+0-9a-zµ]{0,8}&?){0,4}") {
            let _ = Overrides::parse(&query);
        }
    }
}
