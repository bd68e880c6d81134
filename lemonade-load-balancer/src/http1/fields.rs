//! Header fields: one pass that checks every byte, remembers where each field lies, and recognises the few a proxy acts on.

use super::{HeadError, HeadLimits};

/// The fields that a proxy reads, rebuilds or removes. Everything else is [`Known::Other`] and passes as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    Other,
    Accept,
    Connection,
    ContentLength,
    Cookie,
    Expect,
    Forwarded,
    Host,
    KeepAlive,
    /// The name of another of these but for an underscore in place of a hyphen.
    LookAlike,
    MaxForwards,
    ProxyConnection,
    RequestId,
    RetryAfter,
    Te,
    Traceparent,
    Tracestate,
    TransferEncoding,
    Upgrade,
    UserAgent,
    Via,
    XForwardedFor,
    XForwardedHost,
    XForwardedPort,
    XForwardedProto,
    XRealIp,
}

impl Known {
    /// What a name of this shape is.
    fn of_shape(name: &[u8], shape: Shape) -> Self {
        match shape {
            Shape::Underscored => Known::of_underscored(name),
            _ => Known::of(name),
        }
    }

    /// CGI, and all that took its variables over (WSGI, PHP, Rack), tells no underscore from a hyphen: there, a client's
    /// `X_Forwarded_For` would be ours.
    #[cold]
    fn of_underscored(name: &[u8]) -> Self {
        let hyphened: Vec<u8> = name
            .iter()
            .map(|byte| match byte {
                b'_' => b'-',
                byte => *byte,
            })
            .collect();
        match Known::of(&hyphened) {
            Known::Other => Known::Other,
            _ => Known::LookAlike,
        }
    }

    /// Lengths separate nearly all names, so an ordinary field costs one jump and no comparison.
    fn of(name: &[u8]) -> Self {
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        match name.len() {
            2 if is(b"te") => Known::Te,
            3 if is(b"via") => Known::Via,
            4 if is(b"host") => Known::Host,
            6 if is(b"accept") => Known::Accept,
            6 if is(b"cookie") => Known::Cookie,
            6 if is(b"expect") => Known::Expect,
            7 if is(b"upgrade") => Known::Upgrade,
            9 if is(b"x-real-ip") => Known::XRealIp,
            9 if is(b"forwarded") => Known::Forwarded,
            10 if is(b"connection") => Known::Connection,
            10 if is(b"user-agent") => Known::UserAgent,
            10 if is(b"keep-alive") => Known::KeepAlive,
            11 if is(b"retry-after") => Known::RetryAfter,
            11 if is(b"traceparent") => Known::Traceparent,
            10 if is(b"tracestate") => Known::Tracestate,
            12 if is(b"max-forwards") => Known::MaxForwards,
            12 if is(b"x-request-id") => Known::RequestId,
            14 if is(b"content-length") => Known::ContentLength,
            15 if is(b"x-forwarded-for") => Known::XForwardedFor,
            16 if is(b"x-forwarded-host") => Known::XForwardedHost,
            16 if is(b"x-forwarded-port") => Known::XForwardedPort,
            16 if is(b"proxy-connection") => Known::ProxyConnection,
            17 if is(b"x-forwarded-proto") => Known::XForwardedProto,
            17 if is(b"transfer-encoding") => Known::TransferEncoding,
            _ => Known::Other,
        }
    }
}

/// One field line, as offsets into the head, so that it may outlive a borrow of the bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    pub(crate) known: Known,
    /// First byte of the line.
    start: u32,
    name_end: u32,
    value_start: u32,
    value_end: u32,
    /// One past the line's CRLF.
    end: u32,
}

impl Field {
    pub(crate) fn name<'h>(&self, head: &'h [u8]) -> &'h [u8] {
        &head[self.start as usize..self.name_end as usize]
    }

    /// Without the optional white space around it.
    pub(crate) fn value<'h>(&self, head: &'h [u8]) -> &'h [u8] {
        &head[self.value_start as usize..self.value_end as usize]
    }

    /// The whole line with its CRLF, as offsets.
    pub(crate) fn line(&self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// Reads every field line of `head` from `start` (past the start line) to its empty line into `fields`.
///
/// Strict where RFC 9112 section 5 allows doubt: a name is a token with no space before the colon, a value has no control
/// byte but a tab, and a folded line is refused.
pub(crate) fn parse(
    head: &[u8],
    start: usize,
    limits: &HeadLimits,
    fields: &mut Vec<Field>,
) -> Result<(), HeadError> {
    fields.clear();
    let mut at = start;
    loop {
        let line = line_at(head, at)?;
        if line.is_empty() {
            return Ok(());
        }
        if fields.len() == limits.fields {
            return Err(HeadError::TooLarge);
        }
        fields.push(field(line, at)?);
        at += line.len() + 2;
    }
}

/// The line that begins at `at`, without its CRLF.
pub(super) fn line_at(head: &[u8], at: usize) -> Result<&[u8], HeadError> {
    let rest = head.get(at..).unwrap_or_default();
    match memchr::memchr(b'\n', rest) {
        Some(end) if end > 0 && rest[end - 1] == b'\r' => Ok(&rest[..end - 1]),
        _ => Err(HeadError::Malformed("a line ends in a bare LF")),
    }
}

fn field(line: &[u8], start: usize) -> Result<Field, HeadError> {
    if matches!(line[0], b' ' | b'\t') {
        return Err(HeadError::Malformed(
            "a header field is folded over two lines",
        ));
    }
    let colon =
        memchr::memchr(b':', line).ok_or(HeadError::Malformed("a header line has no colon"))?;
    let (name, rest) = (&line[..colon], &line[colon + 1..]);
    let shape = shape(name);
    if shape == Shape::None {
        return Err(HeadError::Malformed(
            "a header name holds a byte that no name may hold",
        ));
    }
    if !is_field_value(rest) {
        return Err(HeadError::Malformed("a header value holds a control byte"));
    }
    let value = rest.trim_ascii();
    let leading = rest.len() - rest.trim_ascii_start().len();
    let value_start = start + colon + 1 + leading;
    // A head is at most 64 KiB (`HeadLimits::bytes`), so every offset fits.
    let at = |offset: usize| offset as u32;
    Ok(Field {
        known: Known::of_shape(name, shape),
        start: at(start),
        name_end: at(start + colon),
        value_start: at(value_start),
        value_end: at(value_start + value.len()),
        end: at(start + line.len() + 2),
    })
}

/// RFC 9110 5.6.2.
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    shape(bytes) != Shape::None
}

/// What a name looks like, found with the same look at each byte that says whether it is one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// No token.
    None,
    Token,
    /// A token with an underscore.
    Underscored,
}

fn shape(name: &[u8]) -> Shape {
    match name.iter().fold(0, |all, byte| all | TOKEN[*byte as usize]) {
        PLAIN => Shape::Token,
        UNDERSCORE | MIXED => Shape::Underscored,
        // Empty, or with a byte that no token holds.
        _ => Shape::None,
    }
}

const PLAIN: u8 = 1;
const UNDERSCORE: u8 = 2;
const MIXED: u8 = PLAIN | UNDERSCORE;
const NO_TOKEN: u8 = 4;

/// What each byte makes of the name that it is in.
const TOKEN: [u8; 256] = {
    let mut table = [NO_TOKEN; 256];
    let mut byte = 0;
    while byte < 256 {
        let c = byte as u8;
        let is_plain = c.is_ascii_alphanumeric()
            || matches!(
                c,
                b'!' | b'#'
                    | b'$'
                    | b'%'
                    | b'&'
                    | b'\''
                    | b'*'
                    | b'+'
                    | b'-'
                    | b'.'
                    | b'^'
                    | b'`'
                    | b'|'
                    | b'~'
            );
        if is_plain {
            table[byte] = PLAIN;
        } else if c == b'_' {
            table[byte] = UNDERSCORE;
        }
        byte += 1;
    }
    table
};

/// RFC 9110 5.5: visible bytes, space, tab and the obsolete high half. A fold over all bytes rather than an early return,
/// because that is what the compiler turns into SIMD.
pub(crate) fn is_field_value(bytes: &[u8]) -> bool {
    !bytes.iter().fold(false, |bad, &byte| {
        bad | ((byte < 0x20) & (byte != b'\t')) | (byte == 0x7f)
    })
}

/// The members of a comma-separated list, empty ones left out (RFC 9110 5.6.1).
pub(crate) fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|byte| *byte == b',')
        .map(|member| member.trim_ascii())
        .filter(|member| !member.is_empty())
}

/// Options that the `Connection` fields of one head may hold besides those that everyone knows. Each is compared with every
/// field, so without a bound a head could cost a million comparisons; nothing that means well names even ten.
const MAX_OPTIONS: u8 = 64;

/// What the `Connection` fields of one head say.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ConnectionOptions {
    pub(crate) close: bool,
    pub(crate) keep_alive: bool,
    pub(crate) upgrade: bool,
    /// Names other fields that must not pass on; [`is_named`] then tells which.
    pub(crate) names_fields: bool,
    options: u8,
}

impl ConnectionOptions {
    pub(crate) fn add(&mut self, value: &[u8]) -> Result<(), HeadError> {
        // What nearly every client sends, without splitting it.
        if value.eq_ignore_ascii_case(b"keep-alive") {
            self.keep_alive = true;
            return Ok(());
        }
        for option in list(value) {
            match option.len() {
                5 if option.eq_ignore_ascii_case(b"close") => self.close = true,
                10 if option.eq_ignore_ascii_case(b"keep-alive") => self.keep_alive = true,
                7 if option.eq_ignore_ascii_case(b"upgrade") => self.upgrade = true,
                _ if self.options == MAX_OPTIONS => return Err(HeadError::TooLarge),
                _ => {
                    self.names_fields = true;
                    self.options += 1;
                }
            }
        }
        Ok(())
    }
}

/// Whether a `Connection` field of this head names `name`, which makes it hop-by-hop (RFC 9110 7.6.1). Framing and routing
/// fields, and the id that both sides know the request by, cannot be named away: that would let a client change how its message is read behind us.
pub(crate) fn is_named(head: &[u8], fields: &[Field], field: &Field) -> bool {
    if matches!(
        field.known,
        Known::Host | Known::ContentLength | Known::TransferEncoding | Known::RequestId
    ) {
        return false;
    }
    let name = field.name(head);
    fields
        .iter()
        .filter(|other| other.known == Known::Connection)
        .any(|other| list(other.value(head)).any(|option| option.eq_ignore_ascii_case(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits {
        bytes: 32 << 10,
        fields: 3,
        target: 8 << 10,
    };

    fn parsed(section: &[u8]) -> Result<Vec<Field>, HeadError> {
        let mut fields = Vec::new();
        parse(section, 0, &LIMITS, &mut fields).map(|()| fields)
    }

    #[test]
    fn field_knows_its_name_value_and_line() {
        let head = b"Host:  a.b \r\nX-Y:\r\n\r\n";
        let fields = parsed(head).unwrap();
        assert_eq!(fields[0].known, Known::Host);
        assert_eq!(fields[0].name(head), b"Host");
        assert_eq!(fields[0].value(head), b"a.b");
        assert_eq!(&head[fields[0].line()], b"Host:  a.b \r\n");
        assert_eq!(fields[1].value(head), b"");
    }

    #[test]
    fn doubtful_fields_are_refused() {
        for section in [
            &b"Host : a\r\n\r\n"[..],
            b" Host: a\r\n\r\n",
            b"A: b\r\n c\r\n\r\n",
            b"A: b\rc\r\n\r\n",
            b"A: b\0\r\n\r\n",
            b"A: b\x7f\r\n\r\n",
            b"A\x80: b\r\n\r\n",
            b": b\r\n\r\n",
            b"no colon\r\n\r\n",
            b"A: b\r\n",
        ] {
            assert!(
                parsed(section).is_err(),
                "{:?}",
                String::from_utf8_lossy(section)
            );
        }
        assert_eq!(
            parsed(b"a:1\r\nb:2\r\nc:3\r\nd:4\r\n\r\n").unwrap_err(),
            HeadError::TooLarge
        );
    }

    #[test]
    fn connection_names_hop_by_hop_fields_but_never_framing() {
        let head = b"Connection: close, X-Secret, Host\r\nx-secret: 1\r\nHost: a\r\n\r\n";
        let fields = parsed(head).unwrap();
        assert!(is_named(head, &fields, &fields[1]));
        assert!(!is_named(head, &fields, &fields[2]));
        let mut options = ConnectionOptions::default();
        options.add(fields[0].value(head)).unwrap();
        assert!(options.close && options.names_fields && !options.upgrade);
    }
}
