//! Where a message body ends (RFC 9112 section 6), decided once from the head and never guessed.

use super::fields::{Field, Known};
use super::{HeadError, Version};

/// How the length of a body is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// No body follows the head.
    Empty,
    /// Exactly so many bytes; never zero.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// A response that ends when its connection does.
    UntilClose,
}

/// What the framing fields of a head say, before the method and status are considered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Declared {
    pub(crate) length: Option<u64>,
    pub(crate) chunked: bool,
}

impl Declared {
    /// Adds one `Content-Length` or `Transfer-Encoding` field. A repeated length is refused even when it agrees: nothing
    /// that means well sends two, and RFC 9110 8.6 lets a recipient reject it.
    pub(crate) fn add(&mut self, head: &[u8], field: &Field) -> Result<(), HeadError> {
        match field.known {
            Known::ContentLength if self.length.is_some() => {
                return Err(HeadError::Malformed("more than one Content-Length"));
            }
            Known::ContentLength => self.length = Some(length(field.value(head))?),
            Known::TransferEncoding if self.chunked => {
                return Err(HeadError::Malformed("more than one Transfer-Encoding"));
            }
            Known::TransferEncoding if field.value(head).eq_ignore_ascii_case(b"chunked") => {
                self.chunked = true
            }
            Known::TransferEncoding => {
                return Err(HeadError::Malformed(
                    "a Transfer-Encoding other than exactly one `chunked`",
                ));
            }
            _ => {}
        }
        Ok(())
    }

    /// Refuses what two parsers may read as two lengths.
    pub(crate) fn check(&self, version: Version) -> Result<(), HeadError> {
        if self.chunked && self.length.is_some() {
            return Err(HeadError::Malformed(
                "both Content-Length and Transfer-Encoding",
            ));
        }
        // RFC 9112 6.1: "MUST treat the message as if the framing is faulty".
        if self.chunked && version == Version::Http10 {
            return Err(HeadError::Malformed(
                "Transfer-Encoding in an HTTP/1.0 message",
            ));
        }
        Ok(())
    }

    pub(crate) fn of_request(&self) -> Framing {
        match self.length {
            _ if self.chunked => Framing::Chunked,
            None | Some(0) => Framing::Empty,
            Some(length) => Framing::Length(length),
        }
    }

    /// RFC 9112 6.3: a response to HEAD, and any 1xx, 204 or 304, has no body whatever its fields say.
    pub(crate) fn of_response(&self, status: u16, to_head: bool) -> Framing {
        match self.length {
            _ if to_head || status < 200 || status == 204 || status == 304 => Framing::Empty,
            _ if self.chunked => Framing::Chunked,
            None => Framing::UntilClose,
            Some(0) => Framing::Empty,
            Some(length) => Framing::Length(length),
        }
    }
}

/// `1*DIGIT` and nothing else: no sign, no list, no more digits than a `u64` surely holds.
fn length(value: &[u8]) -> Result<u64, HeadError> {
    if value.is_empty() || value.len() > 19 || !value.iter().all(u8::is_ascii_digit) {
        return Err(HeadError::Malformed(
            "a Content-Length that is not one plain number",
        ));
    }
    Ok(value
        .iter()
        .fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::super::{HeadLimits, fields};
    use super::*;

    fn declared(section: &str) -> Result<Declared, HeadError> {
        let head = format!("{section}\r\n\r\n");
        let limits = HeadLimits {
            bytes: 1024,
            fields: 16,
            target: 64,
        };
        let mut found = Vec::new();
        fields::parse(head.as_bytes(), 0, &limits, &mut found)?;
        let mut declared = Declared::default();
        for field in &found {
            declared.add(head.as_bytes(), field)?;
        }
        declared.check(Version::Http11).map(|()| declared)
    }

    #[test]
    fn plain_framing_is_understood() {
        assert_eq!(declared("A: b").unwrap().of_request(), Framing::Empty);
        assert_eq!(
            declared("Content-Length: 0").unwrap().of_request(),
            Framing::Empty
        );
        assert_eq!(
            declared("content-length: 17").unwrap().of_request(),
            Framing::Length(17)
        );
        assert_eq!(
            declared("Transfer-Encoding: Chunked").unwrap().of_request(),
            Framing::Chunked
        );
    }

    #[test]
    fn ambiguous_framing_is_refused() {
        for section in [
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            "Content-Length: 5\r\nContent-Length: 6",
            "Content-Length: 5\r\nContent-Length: 5",
            "Content-Length: 5, 5",
            "Content-Length: +5",
            "Content-Length: 0x5",
            "Content-Length:",
            "Content-Length: 99999999999999999999",
            "Transfer-Encoding: gzip, chunked",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked, chunked",
            "Transfer-Encoding: xchunked",
            "Transfer-Encoding: \"chunked\"",
            "Transfer-Encoding:",
        ] {
            assert!(declared(section).is_err(), "{section}");
        }
    }

    #[test]
    fn bodiless_responses_have_no_body_whatever_they_declare() {
        let declared = declared("Content-Length: 5").unwrap();
        for (status, to_head) in [(204, false), (304, false), (100, false), (200, true)] {
            assert_eq!(declared.of_response(status, to_head), Framing::Empty);
        }
        assert_eq!(declared.of_response(200, false), Framing::Length(5));
        assert_eq!(
            Declared::default().of_response(200, false),
            Framing::UntilClose
        );
    }
}
