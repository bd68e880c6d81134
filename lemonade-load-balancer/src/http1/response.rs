//! A response head: backends are held to the same strictness as clients.

use super::fields::{self, ConnectionOptions, Field, Known};
use super::framing::{Declared, Framing};
use super::{HeadError, HeadLimits, Version};

/// A response head that passed every check, borrowed from the upstream connection's buffer.
#[derive(Debug)]
pub(crate) struct ResponseHead<'h> {
    pub(crate) bytes: &'h [u8],
    pub(crate) version: Version,
    pub(crate) status: u16,
    /// ` 200 OK`: what follows the version, so that the start line is written without formatting a number.
    pub(crate) status_and_reason: &'h [u8],
    pub(crate) fields: &'h [Field],
    pub(crate) connection: ConnectionOptions,
    pub(crate) framing: Framing,
}

impl<'h> ResponseHead<'h> {
    /// Parses a complete head. `to_head`: the request was HEAD, so no body follows.
    pub(crate) fn parse(
        bytes: &'h [u8],
        to_head: bool,
        limits: &HeadLimits,
        scratch: &'h mut Vec<Field>,
    ) -> Result<Self, HeadError> {
        let line = fields::line_at(bytes, 0)?;
        let (version, status) = status_line(line)?;
        fields::parse(bytes, line.len() + 2, limits, scratch)?;
        let mut connection = ConnectionOptions::default();
        let mut declared = Declared::default();
        for field in scratch.iter() {
            match field.known {
                Known::Connection => connection.add(field.value(bytes))?,
                Known::ContentLength | Known::TransferEncoding => declared.add(bytes, field)?,
                _ => {}
            }
        }
        declared.check(version)?;
        Ok(ResponseHead {
            bytes,
            version,
            status,
            status_and_reason: &line[8..],
            framing: declared.of_response(status, to_head),
            fields: scratch,
            connection,
        })
    }

    /// The backend is busy, not broken: it says when to come back.
    pub(crate) fn says_busy(&self) -> bool {
        matches!(self.status, 429 | 503) && self.has(Known::RetryAfter)
    }

    /// Whether such a field is there.
    pub(crate) fn has(&self, known: Known) -> bool {
        self.fields.iter().any(|field| field.known == known)
    }

    /// Whether the backend will answer another request on this connection once this one is over.
    pub(crate) fn keeps_alive(&self) -> bool {
        let wants = match self.version {
            Version::Http11 => !self.connection.close,
            Version::Http10 => self.connection.keep_alive && !self.connection.close,
        };
        wants && self.framing != Framing::UntilClose && self.status != 101
    }

    /// Names the protocol of an answer 101, as it must (RFC 9110 7.8).
    pub(crate) fn names_protocol(&self) -> bool {
        self.fields.iter().any(|field| {
            field.known == Known::Upgrade && fields::list(field.value(self.bytes)).next().is_some()
        })
    }

    /// Seconds that a backend promises to keep the connection open (`Keep-Alive: timeout=5`).
    pub(crate) fn keep_alive_timeout(&self) -> Option<u32> {
        let value = self
            .fields
            .iter()
            .find(|field| field.known == Known::KeepAlive)?
            .value(self.bytes);
        let seconds =
            fields::list(value).find_map(|parameter| parameter.strip_prefix(b"timeout="))?;
        std::str::from_utf8(seconds).ok()?.parse().ok()
    }
}

fn status_line(line: &[u8]) -> Result<(Version, u16), HeadError> {
    let malformed = HeadError::Malformed("a status line that is none");
    let (version, rest) = line.split_at_checked(8).ok_or(malformed)?;
    let version = super::request::version(version)?;
    let (code, reason) = rest.split_at_checked(4).ok_or(malformed)?;
    let well_formed = code[0] == b' '
        && code[1..].iter().all(u8::is_ascii_digit)
        && (reason.is_empty() || reason[0] == b' ')
        && fields::is_field_value(reason);
    if !well_formed {
        return Err(malformed);
    }
    let status = code[1..]
        .iter()
        .fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    if !(100..=599).contains(&status) {
        return Err(HeadError::Malformed("a status outside 100 to 599"));
    }
    Ok((version, status))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits {
        bytes: 32 << 10,
        fields: 100,
        target: 64,
    };

    fn check<T>(head: &str, look: impl FnOnce(Result<ResponseHead<'_>, HeadError>) -> T) -> T {
        look(ResponseHead::parse(
            head.as_bytes(),
            false,
            &LIMITS,
            &mut Vec::new(),
        ))
    }

    #[test]
    fn ordinary_response_is_read() {
        check(
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nKeep-Alive: timeout=5, max=9\r\n\r\n",
            |head| {
                let head = head.unwrap();
                assert_eq!(
                    (head.status, head.status_and_reason),
                    (200, &b" 200 OK"[..])
                );
                assert_eq!(head.framing, Framing::Length(2));
                assert_eq!(head.keep_alive_timeout(), Some(5));
                assert!(head.keeps_alive());
            },
        );
    }

    #[test]
    fn empty_reason_is_allowed_and_garbage_is_not() {
        check("HTTP/1.1 204\r\n\r\n", |head| {
            assert_eq!(head.unwrap().status, 204)
        });
        for head in [
            "HTTP/1.1 20 OK\r\n\r\n",
            "HTTP/1.1 099 X\r\n\r\n",
            "HTTP/1.1 600 X\r\n\r\n",
            "HTTP/1.1 2000\r\n\r\n",
            "HTTP/1.1200 OK\r\n\r\n",
            "ICY 200 OK\r\n\r\n",
            "HTTP/1.1 200 O\rK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        ] {
            check(head, |parsed| assert!(parsed.is_err(), "{head:?}"));
        }
    }

    #[test]
    fn close_delimited_and_http_1_0_connections_are_not_reused() {
        check("HTTP/1.1 200 OK\r\n\r\n", |head| {
            assert!(!head.unwrap().keeps_alive())
        });
        check("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n", |head| {
            assert!(!head.unwrap().keeps_alive())
        });
        check(
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\n",
            |head| {
                assert!(!head.unwrap().keeps_alive());
            },
        );
    }
}
