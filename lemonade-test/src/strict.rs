//! A second reading of HTTP/1 messages, to hold the balancer's own against.
//!
//! Written from the grammar of RFC 9112 and RFC 9110 alone, one function a rule, in their order; it looks at bytes as often
//! as it likes and copies all it finds. It shares nothing with the parser that it judges, so that a mistake has to be made
//! twice to pass. What a recipient may either refuse or repair is [`Stop::Bad`] here.
//!
//! Wider than the grammar in three places, where narrowness would refuse what is sent every day and read in one way only: a
//! target may hold any visible byte but `#`, the text of a chunk extension is not looked into, and the space before an empty
//! reason may be missing.

/// Why there is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// More bytes might make it one.
    Partial,
    /// No bytes will; the rule that is broken.
    Bad(&'static str),
}

/// Header or trailer lines: names as written, values without the space around them.
pub type Fields = Vec<(String, Vec<u8>)>;

/// How a body's end is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    None,
    /// `Content-Length`.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// The connection's end.
    UntilClose,
}

/// A whole request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its method.
    pub method: String,
    /// Its target as written.
    pub target: Vec<u8>,
    /// The `x` of `HTTP/1.x`.
    pub minor: u8,
    /// Its header section.
    pub fields: Fields,
    /// Its content, without framing.
    pub body: Vec<u8>,
    /// Its trailer section.
    pub trailers: Fields,
    /// How its content ends.
    pub framing: Framing,
}

/// A whole answer, interim or final.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// The `x` of `HTTP/1.x`.
    pub minor: u8,
    /// Its header section.
    pub fields: Fields,
    /// Its content, without framing.
    pub body: Vec<u8>,
    /// Its trailer section.
    pub trailers: Fields,
    /// How its content ends.
    pub framing: Framing,
}

/// What an answer answers, as far as its framing depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// HEAD, so no answer has content.
    Head,
    /// Any other method but CONNECT.
    Other,
}

/// Reads one request at the front of `bytes`; also how many bytes it is.
///
/// # Errors
///
/// If there is none, or not yet.
pub fn request(bytes: &[u8]) -> Result<(Request, usize), Stop> {
    let mut cursor = Cursor { bytes, at: 0 };
    // RFC 9112 2.2: a server "SHOULD ignore at least one empty line (CRLF) received prior to the request-line".
    while cursor.rest().starts_with(b"\r\n") {
        cursor.at += 2;
    }
    let (method, target, minor) = request_line(cursor.line()?)?;
    let fields = cursor.fields()?;
    check_host(&fields, minor)?;
    check_target(&method, &target)?;
    let framing = match declared(&fields, minor)? {
        Declared::Chunked => Framing::Chunked,
        Declared::Length(0) | Declared::Nothing => Framing::None,
        Declared::Length(length) => Framing::Length(length),
    };
    let (body, trailers) = cursor.body(framing, false)?;
    let request = Request {
        method,
        target,
        minor,
        fields,
        body,
        trailers,
        framing,
    };
    Ok((request, cursor.at))
}

/// Reads one answer, interim or final, at the front of `bytes`; also how many bytes it is. `ended`: no more will come.
///
/// # Errors
///
/// If there is none, or not yet. One whose content ends with its connection is whole only when that has `ended`.
pub fn answer(bytes: &[u8], asked: Asked, ended: bool) -> Result<(Answer, usize), Stop> {
    let mut cursor = Cursor { bytes, at: 0 };
    let (minor, status) = status_line(cursor.line()?)?;
    let fields = cursor.fields()?;
    let declared = declared(&fields, minor)?;
    // RFC 9112 6.3, in its order.
    let framing = match declared {
        _ if asked == Asked::Head || status < 200 || status == 204 || status == 304 => {
            Framing::None
        }
        Declared::Chunked => Framing::Chunked,
        Declared::Length(0) => Framing::None,
        Declared::Length(length) => Framing::Length(length),
        Declared::Nothing => Framing::UntilClose,
    };
    let (body, trailers) = cursor.body(framing, ended)?;
    let answer = Answer {
        status,
        minor,
        fields,
        body,
        trailers,
        framing,
    };
    Ok((answer, cursor.at))
}

impl Request {
    /// The target's path and query, or `*`; and its authority where it has one (RFC 9112 3.2).
    pub fn target_parts(&self) -> (Vec<u8>, Option<Vec<u8>>) {
        let Some(rest) = after_http(&self.target) else {
            return (self.target.clone(), None);
        };
        let (authority, path) = split_authority(rest);
        let path = match path {
            // RFC 9112 3.2.4.
            b"" if self.method == "OPTIONS" => b"*".to_vec(),
            b"" => b"/".to_vec(),
            [b'?', ..] => [b"/", path].concat(),
            path => path.to_vec(),
        };
        (path, Some(authority.to_vec()))
    }

    /// Whether another request may follow it on its connection (RFC 9112 9.3).
    pub fn keeps_alive(&self) -> bool {
        keeps_alive(&self.fields, self.minor)
    }
}

impl Answer {
    /// Whether another answer may follow it on its connection (RFC 9112 9.3).
    pub fn keeps_alive(&self) -> bool {
        self.framing != Framing::UntilClose && keeps_alive(&self.fields, self.minor)
    }
}

fn keeps_alive(fields: &Fields, minor: u8) -> bool {
    let options = options(fields);
    let has = |name: &str| options.iter().any(|option| option == name);
    !has("close") && (minor == 1 || has("keep-alive"))
}

/// The options of the `Connection` fields, in lower case.
pub fn options(fields: &Fields) -> Vec<String> {
    let all: Vec<u8> = values(fields, "connection").join(&b","[..]);
    String::from_utf8_lossy(&all)
        .split(',')
        .map(|option| option.trim().to_ascii_lowercase())
        .filter(|option| !option.is_empty())
        .collect()
}

/// The values of every field of this name, in any case.
pub fn values<'f>(fields: &'f Fields, name: &str) -> Vec<&'f [u8]> {
    fields
        .iter()
        .filter(|(other, _)| other.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.as_slice())
        .collect()
}

struct Cursor<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl<'b> Cursor<'b> {
    fn rest(&self) -> &'b [u8] {
        &self.bytes[self.at..]
    }

    /// The next line, without its CRLF. A CR or LF in any other place is no line end and no text.
    fn line(&mut self) -> Result<&'b [u8], Stop> {
        let rest = self.rest();
        let end = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
        let end = end.ok_or(Stop::Partial)?;
        match &rest[end..] {
            [b'\r', b'\n', ..] => {
                self.at += end + 2;
                Ok(&rest[..end])
            }
            [b'\r'] => Err(Stop::Partial),
            _ => Err(Stop::Bad("a CR or LF that is no line end")),
        }
    }

    /// `*( field-line CRLF ) CRLF`
    fn fields(&mut self) -> Result<Fields, Stop> {
        let mut fields = Fields::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(fields);
            }
            fields.push(field_line(line)?);
        }
    }

    fn exactly(&mut self, length: u64) -> Result<&'b [u8], Stop> {
        let rest = self.rest();
        let length = usize::try_from(length).map_err(|_| Stop::Partial)?;
        let part = rest.get(..length).ok_or(Stop::Partial)?;
        self.at += length;
        Ok(part)
    }

    fn body(&mut self, framing: Framing, ended: bool) -> Result<(Vec<u8>, Fields), Stop> {
        match framing {
            Framing::None => Ok((Vec::new(), Fields::new())),
            Framing::Length(length) => Ok((self.exactly(length)?.to_vec(), Fields::new())),
            Framing::Chunked => self.chunked_body(),
            Framing::UntilClose if !ended => Err(Stop::Partial),
            Framing::UntilClose => {
                let body = self.rest().to_vec();
                self.at = self.bytes.len();
                Ok((body, Fields::new()))
            }
        }
    }

    /// RFC 9112 7.1: `*chunk last-chunk trailer-section CRLF`
    fn chunked_body(&mut self) -> Result<(Vec<u8>, Fields), Stop> {
        let mut body = Vec::new();
        loop {
            let size = chunk_size(self.line()?)?;
            if size == 0 {
                return Ok((body, self.fields()?));
            }
            body.extend_from_slice(self.exactly(size)?);
            match self.rest() {
                [b'\r', b'\n', ..] => self.at += 2,
                [] | [b'\r'] => return Err(Stop::Partial),
                _ => return Err(Stop::Bad("chunk-data that no CRLF follows")),
            }
        }
    }
}

/// `1*HEXDIG [ chunk-ext ]`
fn chunk_size(line: &[u8]) -> Result<u64, Stop> {
    let (digits, extension) = match line.iter().position(|byte| *byte == b';') {
        Some(at) => line.split_at(at),
        None => (line, &[][..]),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(Stop::Bad("a chunk-size that is no number"));
    }
    if !extension.iter().all(|byte| is_text(*byte)) {
        return Err(Stop::Bad("a control byte in a chunk-ext"));
    }
    let digits = String::from_utf8_lossy(digits);
    u64::from_str_radix(&digits, 16).map_err(|_| Stop::Bad("a chunk-size beyond all bounds"))
}

/// `method SP request-target SP HTTP-version`
fn request_line(line: &[u8]) -> Result<(String, Vec<u8>, u8), Stop> {
    let parts: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let [method, target, version] = parts[..] else {
        return Err(Stop::Bad("a request-line of other than three words"));
    };
    if !is_token(method) {
        return Err(Stop::Bad("a method that is no token"));
    }
    Ok((
        String::from_utf8_lossy(method).into_owned(),
        target.to_vec(),
        http_version(version)?,
    ))
}

/// `HTTP-version SP status-code SP [ reason-phrase ]`
fn status_line(line: &[u8]) -> Result<(u8, u16), Stop> {
    let mut parts = line.splitn(3, |byte| *byte == b' ');
    let minor = http_version(parts.next().unwrap_or_default())?;
    let code = parts.next().unwrap_or_default();
    let reason = parts.next().unwrap_or_default();
    if code.len() != 3 || !code.iter().all(u8::is_ascii_digit) {
        return Err(Stop::Bad("a status-code that is not three digits"));
    }
    if !reason.iter().all(|byte| is_text(*byte)) {
        return Err(Stop::Bad("a control byte in a reason-phrase"));
    }
    match String::from_utf8_lossy(code).parse() {
        Ok(status @ 100..=599) => Ok((minor, status)),
        _ => Err(Stop::Bad("a status-code outside 100 to 599")),
    }
}

fn http_version(bytes: &[u8]) -> Result<u8, Stop> {
    match bytes {
        b"HTTP/1.1" => Ok(1),
        b"HTTP/1.0" => Ok(0),
        _ => Err(Stop::Bad("an HTTP-version that is not 1.0 or 1.1")),
    }
}

/// `field-name ":" OWS field-value OWS`
fn field_line(line: &[u8]) -> Result<(String, Vec<u8>), Stop> {
    let colon = line.iter().position(|byte| *byte == b':');
    let (name, rest) = line.split_at(colon.ok_or(Stop::Bad("a field-line without a colon"))?);
    if !is_token(name) {
        return Err(Stop::Bad("a field-name that is no token"));
    }
    let value = &rest[1..];
    if !value.iter().all(|byte| is_text(*byte)) {
        return Err(Stop::Bad("a control byte in a field-value"));
    }
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = value.iter().position(|byte| !is_space(byte));
    let end = value.iter().rposition(|byte| !is_space(byte));
    let value = match (start, end) {
        (Some(start), Some(end)) => &value[start..=end],
        _ => &[],
    };
    Ok((String::from_utf8_lossy(name).into_owned(), value.to_vec()))
}

/// RFC 9110 5.6.2.
fn is_token(bytes: &[u8]) -> bool {
    let is_tchar = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !bytes.is_empty() && bytes.iter().all(is_tchar)
}

/// `VCHAR / obs-text / SP / HTAB`
fn is_text(byte: u8) -> bool {
    is_visible(byte) || byte == b' ' || byte == b'\t'
}

/// `VCHAR / obs-text`
fn is_visible(byte: u8) -> bool {
    (0x21..=0x7e).contains(&byte) || byte >= 0x80
}

/// RFC 9112 3.2: the four forms.
fn check_target(method: &str, target: &[u8]) -> Result<(), Stop> {
    if target
        .iter()
        .any(|byte| !is_visible(*byte) || *byte == b'#')
    {
        return Err(Stop::Bad("a byte that no request-target may hold"));
    }
    let is_good = match (method, target) {
        ("CONNECT", authority) => is_authority(authority),
        ("OPTIONS", b"*") => true,
        (_, [b'/', ..]) => true,
        (_, target) => after_http(target).is_some_and(|rest| is_authority(split_authority(rest).0)),
    };
    match is_good {
        true => Ok(()),
        false => Err(Stop::Bad("a request-target of no form")),
    }
}

fn after_http(target: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = target.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"http://").then_some(rest)
}

/// The authority, and what follows it (RFC 3986 3.2).
fn split_authority(rest: &[u8]) -> (&[u8], &[u8]) {
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?'));
    rest.split_at(end.unwrap_or(rest.len()))
}

/// RFC 9112 3.2: one `Host`, which HTTP/1.0 may leave out.
fn check_host(fields: &Fields, minor: u8) -> Result<(), Stop> {
    match values(fields, "host")[..] {
        [] if minor == 0 => Ok(()),
        [] => Err(Stop::Bad("no Host")),
        [host] if is_authority(host) => Ok(()),
        [_] => Err(Stop::Bad("a Host that is no authority")),
        _ => Err(Stop::Bad("more than one Host")),
    }
}

/// `uri-host [ ":" port ]`, the host not empty (RFC 9110 4.2.1), without user information (4.2.4).
fn is_authority(bytes: &[u8]) -> bool {
    let host_end = match bytes {
        [b'[', ..] => bytes.iter().position(|byte| *byte == b']').map(|at| at + 1),
        _ => bytes.iter().position(|byte| *byte == b':'),
    };
    let (host, port) = bytes.split_at(host_end.unwrap_or(bytes.len()));
    let port_is_good = match port {
        [] => true,
        [b':', digits @ ..] => digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    let host_is_good = match host {
        [] => false,
        [b'[', address @ .., b']'] => {
            let is_part = |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.');
            !address.is_empty() && address.iter().all(is_part)
        }
        name => is_reg_name(name),
    };
    host_is_good && port_is_good
}

/// `*( unreserved / pct-encoded / sub-delims )`
fn is_reg_name(name: &[u8]) -> bool {
    match name {
        [] => true,
        [b'%', a, b, rest @ ..] => {
            a.is_ascii_hexdigit() && b.is_ascii_hexdigit() && is_reg_name(rest)
        }
        [byte, rest @ ..] => {
            (byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(byte)) && is_reg_name(rest)
        }
    }
}

enum Declared {
    Nothing,
    Length(u64),
    Chunked,
}

/// What the framing fields say, if they say one thing only.
fn declared(fields: &Fields, minor: u8) -> Result<Declared, Stop> {
    let lengths = values(fields, "content-length");
    let codings = values(fields, "transfer-encoding");
    match (&lengths[..], &codings[..]) {
        ([], []) => Ok(Declared::Nothing),
        ([length], []) => content_length(length).map(Declared::Length),
        ([], [_]) if minor == 0 => Err(Stop::Bad("Transfer-Encoding in HTTP/1.0")),
        ([], [coding]) if coding.eq_ignore_ascii_case(b"chunked") => Ok(Declared::Chunked),
        ([], _) => Err(Stop::Bad("a Transfer-Encoding other than one `chunked`")),
        (_, []) => Err(Stop::Bad("more than one Content-Length")),
        _ => Err(Stop::Bad("Content-Length beside Transfer-Encoding")),
    }
}

/// `1*DIGIT`
fn content_length(value: &[u8]) -> Result<u64, Stop> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(Stop::Bad("a Content-Length that is no number"));
    }
    let digits = String::from_utf8_lossy(value);
    digits
        .parse()
        .map_err(|_| Stop::Bad("a Content-Length beyond all bounds"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_is_read_to_its_end() {
        let wire = b"\r\nPOST http://a:81?q HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: Chunked\r\n\r\n3;x\r\nabc\r\n00\r\nT:\t1 \r\n\r\nNEXT";
        let (request, length) = request(wire).expect("a request");
        assert_eq!(&wire[length..], b"NEXT");
        assert_eq!(
            (request.method.as_str(), &request.body[..]),
            ("POST", &b"abc"[..])
        );
        assert_eq!(request.trailers, [("T".to_owned(), b"1".to_vec())]);
        let parts = (b"/?q".to_vec(), Some(b"a:81".to_vec()));
        assert_eq!(request.target_parts(), parts);
        for end in 0..length {
            assert_eq!(
                super::request(&wire[..end]).err(),
                Some(Stop::Partial),
                "{end}"
            );
        }
    }

    #[test]
    fn doubtful_requests_are_bad() {
        for head in [
            "GET / HTTP/1.1\nHost: a\n\n",
            "GET / HTTP/1.1\r\nHost: a\r\rX: y\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a%zz\r\n\r\n",
            "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\nx",
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
            "GET * HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        ] {
            assert!(
                matches!(request(head.as_bytes()), Err(Stop::Bad(_))),
                "{head:?}"
            );
        }
    }

    #[test]
    fn answer_ends_where_its_framing_says() {
        let whole = |wire: &str, asked, ended| {
            answer(wire.as_bytes(), asked, ended).map(|(answer, length)| (answer.body, length))
        };
        let open = "HTTP/1.1 200 OK\r\n\r\nabc";
        assert_eq!(whole(open, Asked::Other, false), Err(Stop::Partial));
        assert_eq!(whole(open, Asked::Other, true), Ok((b"abc".to_vec(), 22)));
        assert_eq!(whole(open, Asked::Head, false), Ok((Vec::new(), 19)));
        let empty = "HTTP/1.1 204\r\nContent-Length: 3\r\n\r\nabc";
        assert_eq!(whole(empty, Asked::Other, false), Ok((Vec::new(), 35)));
        assert!(matches!(
            whole("HTTP/1.1 600 X\r\n\r\n", Asked::Head, true),
            Err(Stop::Bad(_))
        ));
    }
}
