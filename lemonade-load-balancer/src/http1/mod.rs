//! HTTP/1 messages as bytes: what a head may look like and where a body ends.
//!
//! Called by the proxy for both edges. It holds no socket and reads no clock, so that every rule here can be tested
//! (and fuzzed) on plain byte strings. Promise: what passes is strict RFC 9112, in one reading only; anything that two
//! parsers could read differently is refused, so a backend never sees a message in another shape than the one we checked.

pub(crate) mod chunked;
pub(crate) mod cookies;
pub(crate) mod fields;
pub(crate) mod framing;
pub(crate) mod request;
pub(crate) mod response;

use thiserror::Error;

/// `HTTP/1.0` or `HTTP/1.1`; nothing else is spoken on an HTTP/1 connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    Http10,
    Http11,
}

/// Why a head was refused. The text goes to the client, so it names the rule and never echoes input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum HeadError {
    #[error("{0}")]
    Malformed(&'static str),
    #[error("request target too long")]
    TargetTooLong,
    #[error("header section too large")]
    TooLarge,
    #[error("only HTTP/1.0 and HTTP/1.1 are spoken here")]
    Version,
    #[error("{0}")]
    NotImplemented(&'static str),
}

/// Bounds on a head; one that exceeds them is refused before it is parsed further.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeadLimits {
    /// All bytes of the head, start line and final empty line included.
    pub(crate) bytes: usize,
    /// Header fields.
    pub(crate) fields: usize,
    /// Bytes of the request target.
    pub(crate) target: usize,
}

/// Finds where a head ends while its bytes arrive, looking at each byte once.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct HeadScan {
    /// Where the line that is being received began.
    line: usize,
    /// Bytes already looked at.
    seen: usize,
}

impl HeadScan {
    /// Nothing was looked at yet.
    pub(crate) fn is_fresh(&self) -> bool {
        self.seen == 0
    }

    /// The head's length once its empty line has arrived. A line that ends in a bare LF is refused here: RFC 9112 2.2
    /// lets a recipient accept it, but a backend that does not would see another message than ours.
    pub(crate) fn advance(&mut self, bytes: &[u8]) -> Result<Option<usize>, HeadError> {
        while let Some(offset) = memchr::memchr(b'\n', &bytes[self.seen..]) {
            let newline = self.seen + offset;
            let length = newline - self.line;
            if length == 0 || bytes[newline - 1] != b'\r' {
                return Err(HeadError::Malformed("a line ends in a bare LF"));
            }
            self.seen = newline + 1;
            if length == 1 && self.line > 0 {
                return Ok(Some(self.seen));
            }
            if length == 1 {
                return Err(HeadError::Malformed(
                    "an empty line where the start line belongs",
                ));
            }
            self.line = self.seen;
        }
        self.seen = bytes.len();
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn head_ends_at_its_empty_line_however_it_is_cut() {
        let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nbody";
        let mut scan = HeadScan::default();
        for end in 0..27 {
            assert_eq!(scan.advance(&head[..end]), Ok(None), "at {end}");
        }
        assert_eq!(scan.advance(head), Ok(Some(27)));
    }

    #[test]
    fn bare_line_feed_is_refused_at_once() {
        for head in [
            &b"GET / HTTP/1.1\n"[..],
            b"GET / HTTP/1.1\r\nHost: a\n",
            b"\n",
            b"A: b\r\n\n",
        ] {
            assert!(HeadScan::default().advance(head).is_err(), "{head:?}");
        }
    }
}
