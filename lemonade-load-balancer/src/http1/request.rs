//! A request head: checked in full before one byte of it goes anywhere.

use super::fields::{self, ConnectionOptions, Field, Known};
use super::framing::{Declared, Framing};
use super::{HeadError, HeadLimits, Version};

/// A request head that passed every check, borrowed from the connection's buffer.
#[derive(Debug)]
pub(crate) struct RequestHead<'h> {
    /// All its bytes, final empty line included; the fields' offsets count from here.
    pub(crate) bytes: &'h [u8],
    pub(crate) method: &'h [u8],
    /// In origin-form or `*`; an absolute-form target was split into this and `authority`.
    pub(crate) target: &'h [u8],
    pub(crate) version: Version,
    /// The `Host` field, or the absolute-form target's authority, which replaces it (RFC 9112 3.2.2).
    pub(crate) authority: Option<&'h [u8]>,
    /// The authority came in the target, so the `Host` field must be rewritten.
    pub(crate) absolute_form: bool,
    pub(crate) fields: &'h [Field],
    /// A bit for each [`Known`] that is among them: most that are looked for are not.
    present: u32,
    pub(crate) connection: ConnectionOptions,
    pub(crate) framing: Framing,
    /// `Expect: 100-continue`.
    pub(crate) expects_continue: bool,
    /// How often it may still be passed on, where its method makes that binding (TRACE and OPTIONS, RFC 9110 7.6.2).
    pub(crate) max_forwards: Option<u32>,
    /// It was passed on before.
    pub(crate) has_via: bool,
    /// The protocol asked for, where `Connection: upgrade` comes with an `Upgrade` field.
    pub(crate) upgrade: Option<&'h [u8]>,
}

impl<'h> RequestHead<'h> {
    /// Parses a complete head (what [`super::HeadScan`] measured). `scratch` is only storage, reused between requests.
    pub(crate) fn parse(
        bytes: &'h [u8],
        limits: &HeadLimits,
        scratch: &'h mut Vec<Field>,
    ) -> Result<Self, HeadError> {
        let line = fields::line_at(bytes, 0)?;
        let (method, target, version) = request_line(line, limits)?;
        fields::parse(bytes, line.len() + 2, limits, scratch)?;
        let mut head = RequestHead {
            bytes,
            method,
            target,
            version,
            authority: None,
            absolute_form: false,
            fields: scratch,
            present: 0,
            connection: ConnectionOptions::default(),
            framing: Framing::Empty,
            expects_continue: false,
            max_forwards: None,
            has_via: false,
            upgrade: None,
        };
        head.read_fields()?;
        head.split_target()?;
        Ok(head)
    }

    fn read_fields(&mut self) -> Result<(), HeadError> {
        let mut declared = Declared::default();
        let mut upgrade = None;
        for field in self.fields {
            self.present |= bit(field.known);
            match field.known {
                Known::Other => {}
                Known::Host if self.authority.is_some() => {
                    return Err(HeadError::Malformed("more than one Host"));
                }
                Known::Host => self.authority = Some(field.value(self.bytes)),
                Known::Connection => self.connection.add(field.value(self.bytes))?,
                Known::ContentLength | Known::TransferEncoding => {
                    declared.add(self.bytes, field)?
                }
                Known::Expect => {
                    self.expects_continue |= field
                        .value(self.bytes)
                        .eq_ignore_ascii_case(b"100-continue")
                }
                Known::MaxForwards => self.read_max_forwards(field)?,
                Known::Upgrade => upgrade = Some(field.value(self.bytes)),
                Known::Via => self.has_via = true,
                _ => {}
            }
        }
        declared.check(self.version)?;
        self.framing = declared.of_request();
        // An h2c upgrade would hand the client an unchecked connection to the backend ("h2c smuggling"): not passed on.
        self.upgrade = upgrade.filter(|protocol| {
            self.connection.upgrade
                && self.version == Version::Http11
                && fields::list(protocol).next().is_some()
                && !fields::list(protocol).any(is_h2c)
        });
        match self.authority {
            Some(host) if !is_authority(host) => {
                Err(HeadError::Malformed("a Host that is no authority"))
            }
            None if self.version == Version::Http11 => Err(HeadError::Malformed("no Host")),
            _ => Ok(()),
        }
    }

    /// One that is no number is refused rather than ignored: passed on as it is, the next proxy might read it otherwise, and
    /// without it the request could go round for ever. Other methods may ignore the field, so it is not even looked at there.
    fn read_max_forwards(&mut self, field: &Field) -> Result<(), HeadError> {
        if !matches!(self.method, b"TRACE" | b"OPTIONS") {
            return Ok(());
        }
        if self.max_forwards.is_some() {
            return Err(HeadError::Malformed("more than one Max-Forwards"));
        }
        let value = field.value(self.bytes);
        if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
            return Err(HeadError::Malformed("a Max-Forwards that is no number"));
        }
        // RFC 9110 7.6.2: a larger number becomes the largest that we know.
        let forwards = value.iter().fold(0u32, |sum, digit| {
            sum.saturating_mul(10)
                .saturating_add(u32::from(digit - b'0'))
        });
        self.max_forwards = Some(forwards);
        Ok(())
    }

    fn split_target(&mut self) -> Result<(), HeadError> {
        if self.method == b"CONNECT" {
            return Err(HeadError::NotImplemented(
                "CONNECT is not supported: this is a reverse proxy",
            ));
        }
        if self.target[0] == b'/' || (self.target == b"*" && self.method == b"OPTIONS") {
            return Ok(());
        }
        let rest = strip_http_scheme(self.target).ok_or(HeadError::Malformed(
            "a request target that is neither a path nor an http URI",
        ))?;
        let end = rest
            .iter()
            .position(|byte| matches!(byte, b'/' | b'?'))
            .unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if !is_authority(authority) {
            return Err(HeadError::Malformed(
                "a request target whose authority is none",
            ));
        }
        if path.first() == Some(&b'?') {
            return Err(HeadError::Malformed(
                "a request target with a query and no path",
            ));
        }
        self.target = match path {
            // RFC 9112 3.2.4.
            b"" if self.method == b"OPTIONS" => b"*",
            b"" => b"/",
            path => path,
        };
        self.authority = Some(authority);
        self.absolute_form = true;
        Ok(())
    }

    /// The fields of this kind.
    pub(crate) fn all(&self, known: Known) -> impl DoubleEndedIterator<Item = &'h [u8]> {
        let fields = match self.present & bit(known) {
            0 => &[],
            _ => self.fields,
        };
        let fields = fields.iter().filter(move |field| field.known == known);
        fields.map(|field| field.value(self.bytes))
    }

    /// The first of them.
    pub(crate) fn field(&self, known: Known) -> Option<&'h [u8]> {
        self.all(known).next()
    }

    /// The field of this kind, if there is one and no more.
    pub(crate) fn only(&self, known: Known) -> Option<&'h [u8]> {
        let mut fields = self.all(known);
        let only = fields.next()?;
        fields.next().is_none().then_some(only)
    }

    /// RFC 9110 9.2.2.
    pub(crate) fn is_idempotent(&self) -> bool {
        matches!(
            self.method,
            b"GET" | b"HEAD" | b"PUT" | b"DELETE" | b"OPTIONS" | b"TRACE"
        )
    }

    /// Whether the client expects to send another request on its connection (RFC 9112 9.3).
    pub(crate) fn keeps_alive(&self) -> bool {
        match self.version {
            Version::Http11 => !self.connection.close,
            Version::Http10 => self.connection.keep_alive && !self.connection.close,
        }
    }
}

fn bit(known: Known) -> u32 {
    const { assert!((Known::XRealIp as u32) < u32::BITS, "the last one") }
    1 << known as u32
}

fn request_line<'h>(
    line: &'h [u8],
    limits: &HeadLimits,
) -> Result<(&'h [u8], &'h [u8], Version), HeadError> {
    let malformed = HeadError::Malformed("a request line that is not `METHOD target HTTP/1.1`");
    let space = memchr::memchr(b' ', line).ok_or(malformed)?;
    let last = memchr::memrchr(b' ', line).ok_or(malformed)?;
    if last <= space + 1 {
        return Err(malformed);
    }
    let (method, target, version) = (&line[..space], &line[space + 1..last], &line[last + 1..]);
    if !fields::is_token(method) {
        return Err(HeadError::Malformed("a method that is no token"));
    }
    if target.len() > limits.target {
        return Err(HeadError::TargetTooLong);
    }
    // Space and controls end or split a line for some parser; a fragment never belongs in a target (RFC 9112 3.2).
    if target.iter().fold(false, |bad, &byte| {
        bad | (byte <= 0x20) | (byte == 0x7f) | (byte == b'#')
    }) {
        return Err(HeadError::Malformed(
            "a request target with a space, a control byte or a fragment",
        ));
    }
    Ok((method, target, self::version(version)?))
}

pub(super) fn version(bytes: &[u8]) -> Result<Version, HeadError> {
    match bytes {
        b"HTTP/1.1" => Ok(Version::Http11),
        b"HTTP/1.0" => Ok(Version::Http10),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Err(HeadError::Version)
        }
        _ => Err(HeadError::Malformed("a protocol version that is none")),
    }
}

fn is_h2c(protocol: &[u8]) -> bool {
    protocol.eq_ignore_ascii_case(b"h2c")
}

fn strip_http_scheme(target: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = target.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"http://").then_some(rest)
}

/// `uri-host [ ":" port ]` (RFC 3986 3.2, without user information, which HTTP forbids).
pub(crate) fn is_authority(bytes: &[u8]) -> bool {
    let (host, port) = match bytes {
        [b'[', ..] => match memchr::memchr(b']', bytes) {
            Some(end) => (&bytes[..=end], &bytes[end + 1..]),
            None => return false,
        },
        _ => bytes.split_at(memchr::memchr(b':', bytes).unwrap_or(bytes.len())),
    };
    let port_is_good = match port {
        [] => true,
        [b':', digits @ ..] => digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    port_is_good && is_host(host)
}

fn is_host(host: &[u8]) -> bool {
    match host {
        [b'[', address @ .., b']'] => {
            !address.is_empty()
                && address
                    .iter()
                    .all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'))
        }
        [] => false,
        name => is_plain_name(name) || is_percent_encoded(name),
    }
}

/// A name whose every `%` begins two hex digits; one that does not would be decoded in more than one way.
fn is_percent_encoded(name: &[u8]) -> bool {
    let mut parts = name.split(|byte| *byte == b'%');
    parts.next().is_some_and(is_plain_name)
        && parts.all(|part| match part {
            [high, low, rest @ ..] => {
                high.is_ascii_hexdigit() && low.is_ascii_hexdigit() && is_plain_name(rest)
            }
            _ => false,
        })
}

/// `*( unreserved / sub-delims )` without the comma, which would join two names.
fn is_plain_name(name: &[u8]) -> bool {
    name.iter().all(|byte| {
        byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'-' | b'.'
                    | b'_'
                    | b'~'
                    | b'!'
                    | b'$'
                    | b'&'
                    | b'\''
                    | b'('
                    | b')'
                    | b'*'
                    | b'+'
                    | b';'
                    | b'='
            )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits {
        bytes: 32 << 10,
        fields: 100,
        target: 64,
    };

    fn check<T>(head: &str, look: impl FnOnce(Result<RequestHead<'_>, HeadError>) -> T) -> T {
        look(RequestHead::parse(
            head.as_bytes(),
            &LIMITS,
            &mut Vec::new(),
        ))
    }

    fn refused(head: &str) -> HeadError {
        check(head, |parsed| {
            parsed.err().unwrap_or_else(|| panic!("accepted {head:?}"))
        })
    }

    #[test]
    fn ordinary_request_is_read() {
        check(
            "GET /work?x=1 HTTP/1.1\r\nHost: a:80\r\nConnection: close\r\n\r\n",
            |head| {
                let head = head.unwrap();
                assert_eq!((head.method, head.target), (&b"GET"[..], &b"/work?x=1"[..]));
                assert_eq!(head.authority, Some(&b"a:80"[..]));
                assert!(!head.keeps_alive());
            },
        );
    }

    #[test]
    fn absolute_form_splits_into_authority_and_path() {
        check("GET http://b:81/x HTTP/1.1\r\nHost: a\r\n\r\n", |head| {
            let head = head.unwrap();
            assert_eq!(
                (head.target, head.authority),
                (&b"/x"[..], Some(&b"b:81"[..]))
            );
        });
        check("GET HTTP://b HTTP/1.1\r\nHost: b\r\n\r\n", |head| {
            assert_eq!(head.unwrap().target, b"/")
        });
    }

    #[test]
    fn malformed_requests_are_refused() {
        for head in [
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost:\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a:b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a%\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a%2\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: %zzb\r\n\r\n",
            "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / x HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /\tx HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /#f HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /\r\nHost: a\r\n\r\n",
            "GET x HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET * HTTP/1.1\r\nHost: a\r\n\r\n",
            "G=T / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
            "GET / http/1.1\r\nHost: a\r\n\r\n",
            "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        ] {
            assert!(matches!(refused(head), HeadError::Malformed(_)), "{head:?}");
        }
        assert_eq!(
            refused("GET / HTTP/2.0\r\nHost: a\r\n\r\n"),
            HeadError::Version
        );
        assert!(matches!(
            refused("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n"),
            HeadError::NotImplemented(_)
        ));
        let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(64));
        assert_eq!(refused(&long), HeadError::TargetTooLong);
    }

    #[test]
    fn http_1_0_needs_no_host_and_closes_unless_asked() {
        check("GET / HTTP/1.0\r\n\r\n", |head| {
            assert!(!head.unwrap().keeps_alive())
        });
        check("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", |head| {
            assert!(head.unwrap().keeps_alive())
        });
    }

    #[test]
    fn upgrade_needs_both_fields_and_is_never_h2c() {
        let upgrade = |fields: &str| {
            let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n");
            check(&head, |head| head.unwrap().upgrade.map(<[u8]>::to_vec))
        };
        assert_eq!(
            upgrade("Connection: Upgrade\r\nUpgrade: websocket"),
            Some(b"websocket".to_vec())
        );
        assert_eq!(upgrade("Upgrade: websocket"), None);
        assert_eq!(
            upgrade("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c"),
            None
        );
    }
}
