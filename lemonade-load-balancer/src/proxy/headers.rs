//! Which header fields pass, which are rebuilt and which stop here (RFC 9110 7.6, `docs/configuration.md`).
//!
//! A head is copied in runs: fields that pass lie next to each other in the input, so most heads are one or two `memcpy`s
//! between the start line and our own fields, which were written once per connection.

use super::server_timing::Spent;
use crate::affinity::Peer;
use crate::config::Headers;
use crate::http1::Version;
use crate::http1::cookies;
use crate::http1::fields::{Field, Known, is_named};
use crate::http1::framing::Framing;
use crate::http1::request::RequestHead;
use crate::http1::response::ResponseHead;
use crate::traces::context;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};

/// What every answer and every forwarded message says about its path.
const VIA: &[u8] = b"Via: 1.1 lemonade\r\n";
/// A client's own request id is kept up to this length; longer ones are replaced.
pub(super) const MAX_REQUEST_ID: usize = 128;

/// A request's id: the client's if it sent a usable one, else made here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RequestId {
    Made([u8; 20]),
    Kept(Box<[u8]>),
}

impl RequestId {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        match self {
            RequestId::Made(id) => id,
            RequestId::Kept(id) => id,
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }
}

/// Makes request ids: 8 hex digits drawn once a shard, and a 48-bit count. Unique in a process, and with overwhelming
/// probability among processes; no randomness or clock per request.
#[derive(Debug)]
pub(crate) struct RequestIds {
    prefix: [u8; 8],
    next: u64,
}

const HEX: &[u8; 16] = b"0123456789abcdef";

impl RequestIds {
    pub(crate) fn new(rng: &mut fastrand::Rng) -> Self {
        let mut prefix = [0; 8];
        for digit in &mut prefix {
            *digit = HEX[rng.usize(..16)];
        }
        RequestIds { prefix, next: 0 }
    }

    pub(crate) fn make(&mut self) -> RequestId {
        self.next += 1;
        let mut id = [0; 20];
        id[..8].copy_from_slice(&self.prefix);
        for (place, digit) in id[8..].iter_mut().rev().enumerate() {
            *digit = HEX[(self.next >> (4 * place)) as usize & 15];
        }
        RequestId::Made(id)
    }

    /// The client's own id if it is short and plain, else a new one.
    pub(crate) fn of(&mut self, head: &RequestHead<'_>) -> RequestId {
        let usable = |id: &&[u8]| {
            !id.is_empty() && id.len() <= MAX_REQUEST_ID && id.iter().all(u8::is_ascii_graphic)
        };
        match head.field(Known::RequestId).filter(usable) {
            Some(id) => RequestId::Kept(id.into()),
            None => self.make(),
        }
    }
}

/// The two ends of a client's connection, and what of it is said to backends.
#[derive(Debug)]
pub(crate) struct Forwarding {
    pub(super) peer: Peer,
    port: u16,
    /// The fields that are the same for every request of the connection, ready to copy.
    fixed: Box<[u8]>,
}

impl Forwarding {
    pub(crate) fn new(peer: SocketAddr, local: SocketAddr, headers: &Headers) -> Self {
        let peer = Peer::new(peer.ip(), headers);
        let port = local.port();
        let text = peer.address.to_string();
        let mut fixed = Vec::with_capacity(192);
        line(&mut fixed, b"X-Forwarded-For: ", text.as_bytes());
        line(&mut fixed, b"X-Forwarded-Proto: ", b"http");
        line(
            &mut fixed,
            b"X-Forwarded-Port: ",
            itoa::Buffer::new().format(port).as_bytes(),
        );
        line(&mut fixed, b"X-Real-IP: ", text.as_bytes());
        fixed.extend_from_slice(VIA);
        Forwarding {
            peer,
            port,
            fixed: fixed.into(),
        }
    }
}

/// What a backend is told of the trace that its request belongs to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trace<'t> {
    /// Its `traceparent`.
    pub(crate) line: &'t context::Line,
    /// The client's `tracestate` still means something.
    pub(crate) keeps_state: bool,
}

/// What is ours in the head that a backend gets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Own<'o> {
    pub(crate) id: &'o RequestId,
    /// The name of a cookie that is ours: the backend does not get it.
    pub(crate) cookie: Option<&'o str>,
    /// Instead of what the client said; its line is the last.
    pub(crate) trace: Option<Trace<'o>>,
}

/// Writes `head` as the backend gets it.
pub(crate) fn write_request(
    head: &RequestHead<'_>,
    forwarding: &Forwarding,
    headers: &Headers,
    own: &Own<'_>,
    fallback_host: impl FnOnce() -> String,
    out: &mut Vec<u8>,
) {
    out.reserve(head.bytes.len() + 512);
    out.extend_from_slice(head.method);
    out.push(b' ');
    out.extend_from_slice(head.target);
    out.extend_from_slice(b" HTTP/1.1\r\n");

    let rewrites_host = headers.host.is_some() || head.absolute_form;
    copy_fields(
        head.bytes,
        head.fields,
        head.connection.names_fields,
        out,
        |known| match known {
            Known::Connection
            | Known::KeepAlive
            | Known::LookAlike
            | Known::ProxyConnection
            | Known::Te
            | Known::Upgrade => false,
            Known::Host => !rewrites_host,
            Known::Cookie => own.cookie.is_none(),
            Known::XForwardedFor
            | Known::XForwardedHost
            | Known::XForwardedPort
            | Known::XForwardedProto => false,
            Known::XRealIp => false,
            Known::Forwarded => forwarding.peer.trusted,
            Known::RequestId => false,
            Known::Traceparent => own.trace.is_none(),
            Known::Tracestate => own.trace.is_none_or(|trace| trace.keeps_state),
            Known::MaxForwards => head.max_forwards.is_none(),
            // RFC 9110 10.1.1: an HTTP/1.0 client's is ignored, and would not be by a backend that gets HTTP/1.1.
            Known::Expect => head.version == Version::Http11,
            _ => true,
        },
    );

    let host = match (&headers.host, head.authority) {
        (Some(host), _) => Some(host.as_bytes()),
        (None, authority) => authority,
    };
    match host {
        Some(host) if rewrites_host => line(out, b"Host: ", host),
        Some(_) => {}
        // HTTP/1.0 knows no Host; HTTP/1.1, which we speak to backends, requires it.
        None => line(out, b"Host: ", fallback_host().as_bytes()),
    }
    if let Some(name) = own.cookie {
        write_cookies(head, name, out);
    }
    write_forwarding(head, forwarding, headers, out);
    line(out, b"X-Request-Id: ", own.id.as_bytes());
    if let Some(forwards) = head.max_forwards {
        let left = forwards.saturating_sub(1);
        line(
            out,
            b"Max-Forwards: ",
            itoa::Buffer::new().format(left).as_bytes(),
        );
    }
    if let Some(protocol) = head.upgrade {
        out.extend_from_slice(b"Connection: upgrade\r\n");
        line(out, b"Upgrade: ", protocol);
    }
    if let Some(trace) = &own.trace {
        out.extend_from_slice(trace.line);
    }
    out.extend_from_slice(b"\r\n");
}

/// The cookies of other names, as they came.
fn write_cookies(head: &RequestHead<'_>, own: &str, out: &mut Vec<u8>) {
    let is_cookie = |field: &&Field| field.known == Known::Cookie;
    for field in head.fields.iter().filter(is_cookie) {
        let value = field.value(head.bytes);
        if head.connection.names_fields && is_named(head.bytes, head.fields, field) {
            continue;
        }
        if cookies::find(value, own).is_none() {
            out.extend_from_slice(&head.bytes[field.line()]);
            continue;
        }
        let begin = out.len();
        out.extend_from_slice(field.name(head.bytes));
        out.extend_from_slice(b": ");
        let name_end = out.len();
        cookies::write_others(value, own, out);
        match out.len() == name_end {
            true => out.truncate(begin),
            false => out.extend_from_slice(b"\r\n"),
        }
    }
}

fn write_forwarding(
    head: &RequestHead<'_>,
    forwarding: &Forwarding,
    headers: &Headers,
    out: &mut Vec<u8>,
) {
    let host = head.authority.unwrap_or_default();
    if forwarding.peer.trusted {
        write_trusted(head, forwarding, host, out);
    } else {
        out.extend_from_slice(&forwarding.fixed);
        if !host.is_empty() {
            line(out, b"X-Forwarded-Host: ", host);
        }
    }
    if headers.forwarded {
        write_forwarded(forwarding.peer.address, host, out);
    }
}

/// What a trusted peer said, with the peer itself added.
fn write_trusted(head: &RequestHead<'_>, forwarding: &Forwarding, host: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"X-Forwarded-For: ");
    for list in head.all(Known::XForwardedFor) {
        out.extend_from_slice(list);
        out.extend_from_slice(b", ");
    }
    // Writing to a `Vec` cannot fail, here and below.
    let _ = write!(out, "{}\r\n", forwarding.peer.address);
    line(
        out,
        b"X-Forwarded-Proto: ",
        head.field(Known::XForwardedProto).unwrap_or(b"http"),
    );
    if let Some(host) = head
        .field(Known::XForwardedHost)
        .or(Some(host))
        .filter(|host| !host.is_empty())
    {
        line(out, b"X-Forwarded-Host: ", host);
    }
    match head.field(Known::XForwardedPort) {
        Some(port) => line(out, b"X-Forwarded-Port: ", port),
        None => drop(write!(out, "X-Forwarded-Port: {}\r\n", forwarding.port)),
    }
    match head.field(Known::XRealIp) {
        Some(address) => line(out, b"X-Real-IP: ", address),
        None => drop(write!(out, "X-Real-IP: {}\r\n", forwarding.peer.address)),
    }
    out.extend_from_slice(VIA);
}

/// RFC 7239. An IPv6 address is quoted and in brackets (section 6).
fn write_forwarded(peer: IpAddr, host: &[u8], out: &mut Vec<u8>) {
    let _ = match peer {
        IpAddr::V4(peer) => write!(out, "Forwarded: for={peer};proto=http"),
        IpAddr::V6(peer) => write!(out, "Forwarded: for=\"[{peer}]\";proto=http"),
    };
    if !host.is_empty() {
        out.extend_from_slice(b";host=\"");
        out.extend_from_slice(host);
        out.push(b'"');
    }
    out.extend_from_slice(b"\r\n");
}

/// What the client's side of the connection needs of an answer's head.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recipient<'r> {
    pub(crate) version: Version,
    /// Another request may follow on the client's connection.
    pub(crate) keep_alive: bool,
    pub(crate) id: &'r RequestId,
    /// A cookie of ours for it: what follows `Set-Cookie: `.
    pub(crate) cookie: Option<&'r [u8]>,
    /// What it is told that the time was spent on.
    pub(crate) spent: Option<Spent>,
}

/// Writes an answer's head as the client gets it.
pub(crate) fn write_response(
    head: &ResponseHead<'_>,
    recipient: &Recipient<'_>,
    out: &mut Vec<u8>,
) {
    out.reserve(head.bytes.len() + 256);
    write_status_line(head, out);
    let chunks = recipient.version == Version::Http11;
    let (mut has_id, mut offers_upgrade) = (false, false);
    copy_fields(
        head.bytes,
        head.fields,
        head.connection.names_fields,
        out,
        |known| match known {
            Known::Connection | Known::KeepAlive | Known::ProxyConnection => false,
            // RFC 9110 15.5.22: an answer 426 says with it what it wants.
            Known::Upgrade => {
                offers_upgrade = head.status == 426;
                offers_upgrade
            }
            Known::TransferEncoding => chunks && head.status != 204,
            // RFC 9110 8.6: a 204 has none.
            Known::ContentLength => head.status != 204,
            Known::RequestId => {
                has_id = true;
                true
            }
            _ => true,
        },
    );
    if head.framing == Framing::UntilClose && chunks {
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    }
    if !has_id {
        line(out, b"X-Request-Id: ", recipient.id.as_bytes());
    }
    if let Some(cookie) = recipient.cookie {
        line(out, b"Set-Cookie: ", cookie);
    }
    if let Some(spent) = &recipient.spent {
        spent.write(out);
    }
    if offers_upgrade {
        out.extend_from_slice(b"Connection: upgrade\r\n");
    }
    out.extend_from_slice(VIA);
    out.extend_from_slice(match (recipient.keep_alive, recipient.version) {
        (true, Version::Http11) => b"\r\n".as_slice(),
        (true, Version::Http10) => b"Connection: keep-alive\r\n\r\n",
        (false, _) => b"Connection: close\r\n\r\n",
    });
}

/// Writes a 1xx answer: an interim one (100, 103) or the switch of protocols (101), which alone carries connection fields.
/// `cookie`: one of ours that goes with the switch.
pub(crate) fn write_interim(head: &ResponseHead<'_>, cookie: Option<&[u8]>, out: &mut Vec<u8>) {
    write_status_line(head, out);
    copy_fields(
        head.bytes,
        head.fields,
        head.connection.names_fields,
        out,
        |known| match known {
            Known::Connection
            | Known::KeepAlive
            | Known::ProxyConnection
            | Known::TransferEncoding => false,
            Known::ContentLength => false,
            Known::Upgrade => head.status == 101,
            _ => true,
        },
    );
    if head.status == 101 {
        out.extend_from_slice(b"Connection: upgrade\r\n");
        if let Some(cookie) = cookie {
            line(out, b"Set-Cookie: ", cookie);
        }
    }
    out.extend_from_slice(VIA);
    out.extend_from_slice(b"\r\n");
}

fn write_status_line(head: &ResponseHead<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"HTTP/1.1");
    out.extend_from_slice(head.status_and_reason);
    if head.status_and_reason.len() == 4 {
        // RFC 9112 4: the space before the reason stays when the reason is empty.
        out.push(b' ');
    }
    out.extend_from_slice(b"\r\n");
}

/// Copies the fields that `keep` lets pass, neighbours together.
fn copy_fields(
    bytes: &[u8],
    fields: &[Field],
    names_fields: bool,
    out: &mut Vec<u8>,
    mut keep: impl FnMut(Known) -> bool,
) {
    let mut run = 0..0;
    for field in fields {
        let passes = keep(field.known) && !(names_fields && is_named(bytes, fields, field));
        let line = field.line();
        if !passes {
            out.extend_from_slice(&bytes[std::mem::replace(&mut run, 0..0)]);
        } else if run.is_empty() {
            run = line;
        } else {
            run.end = line.end;
        }
    }
    out.extend_from_slice(&bytes[run]);
}

fn line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Network;
    use crate::http1::HeadLimits;

    const LIMITS: HeadLimits = HeadLimits {
        bytes: 32 << 10,
        fields: 100,
        target: 8 << 10,
    };

    fn forwarded_with(request: &str, headers: &Headers) -> String {
        let mut scratch = Vec::new();
        let head = RequestHead::parse(request.as_bytes(), &LIMITS, &mut scratch).unwrap();
        let forwarding = Forwarding::new(
            "192.0.2.7:4000".parse().unwrap(),
            "198.51.100.1:80".parse().unwrap(),
            headers,
        );
        let id = RequestIds {
            prefix: *b"abcdef01",
            next: 0,
        }
        .of(&head);
        let mut out = Vec::new();
        write_request(
            &head,
            &forwarding,
            headers,
            &Own {
                id: &id,
                cookie: None,
                trace: None,
            },
            || "10.0.0.1:8080".to_owned(),
            &mut out,
        );
        String::from_utf8(out).unwrap()
    }

    fn forwarded(request: &str) -> String {
        forwarded_with(request, &Headers::default())
    }

    fn answered(response: &str, version: Version, keep_alive: bool) -> String {
        let mut scratch = Vec::new();
        let head = ResponseHead::parse(response.as_bytes(), false, &LIMITS, &mut scratch).unwrap();
        let id = RequestId::Kept(b"id".as_slice().into());
        let mut out = Vec::new();
        write_response(
            &head,
            &Recipient {
                version,
                keep_alive,
                id: &id,
                cookie: None,
                spent: None,
            },
            &mut out,
        );
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn request_keeps_its_fields_and_gains_ours() {
        assert_eq!(
            forwarded(
                "GET /work HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\nAccept: */*\r\n\r\n"
            ),
            "GET /work HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\
             X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Port: 80\r\nX-Real-IP: 192.0.2.7\r\n\
             Via: 1.1 lemonade\r\nX-Forwarded-Host: a\r\nX-Request-Id: abcdef01000000000001\r\n\r\n"
        );
    }

    #[test]
    fn hop_by_hop_fields_never_pass() {
        let out = forwarded(
            "GET / HTTP/1.1\r\nX-Secret: 1\r\nHost: a\r\nConnection: close, x-secret\r\nKeep-Alive: 1\r\nTE: trailers\r\n\
             Proxy-Connection: x\r\nUpgrade: websocket\r\nOk: 1\r\n\r\n",
        )
        .to_lowercase();
        for gone in ["x-secret", "connection", "keep-alive", "te:", "upgrade"] {
            assert!(!out.contains(gone), "{gone} in {out}");
        }
        assert!(out.contains("ok: 1"));
    }

    #[test]
    fn untrusted_client_cannot_say_who_it_is() {
        let request = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.1.1.1\r\nX-Real-IP: 1.1.1.1\r\n\
                       X-Forwarded-Proto: https\r\nForwarded: for=1.1.1.1\r\n\r\n";
        assert!(!forwarded(request).contains("1.1.1.1"));
        let trusting = Headers {
            trusted_proxies: vec![Network::new("192.0.2.0".parse().unwrap(), 24).unwrap()],
            forwarded: true,
            ..Headers::default()
        };
        let out = forwarded_with(request, &trusting);
        assert!(
            out.contains("X-Forwarded-For: 1.1.1.1, 192.0.2.7\r\n"),
            "{out}"
        );
        assert!(out.contains("X-Forwarded-Proto: https\r\n"), "{out}");
        assert!(
            out.contains("Forwarded: for=192.0.2.7;proto=http;host=\"a\"\r\n"),
            "{out}"
        );
    }

    #[test]
    fn absolute_form_replaces_the_host() {
        let out = forwarded("GET http://b/x HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(out.starts_with("GET /x HTTP/1.1\r\nHost: b\r\n"), "{out}");
        assert_eq!(out.matches("Host: a").count(), 0, "{out}");
    }

    #[test]
    fn http_1_0_request_gets_a_host() {
        assert!(forwarded("GET / HTTP/1.0\r\n\r\n").contains("\r\nHost: 10.0.0.1:8080\r\n"));
    }

    #[test]
    fn request_id_is_kept_when_it_is_plain() {
        let with = |id: &str| {
            forwarded(&format!(
                "GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: {id}\r\n\r\n"
            ))
        };
        assert_eq!(with("mine").matches("X-Request-Id: mine\r\n").count(), 1);
        assert!(with("a b").contains("X-Request-Id: abcdef01000000000001\r\n"));
        assert_eq!(with(&"x".repeat(129)).matches("X-Request-Id").count(), 1);
    }

    #[test]
    fn answer_loses_its_connection_fields_and_says_how_it_ends() {
        let response = "HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nContent-Length: 2\r\n\r\n";
        assert_eq!(
            answered(response, Version::Http11, true),
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Request-Id: id\r\nVia: 1.1 lemonade\r\n\r\n"
        );
        assert!(
            answered(response, Version::Http10, true).ends_with("Connection: keep-alive\r\n\r\n")
        );
        assert!(answered(response, Version::Http11, false).ends_with("Connection: close\r\n\r\n"));
        assert!(
            answered("HTTP/1.1 204\r\n\r\n", Version::Http11, true)
                .starts_with("HTTP/1.1 204 \r\n")
        );
    }

    #[test]
    fn answer_that_ends_with_its_connection_becomes_chunked() {
        let chunked = "Transfer-Encoding: chunked\r\n";
        assert!(answered("HTTP/1.1 200 OK\r\n\r\n", Version::Http11, true).contains(chunked));
        assert!(!answered("HTTP/1.1 200 OK\r\n\r\n", Version::Http10, false).contains(chunked));
        let response = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(
            answered(response, Version::Http11, true)
                .matches(chunked)
                .count(),
            1
        );
        assert!(!answered(response, Version::Http10, false).contains(chunked));
    }
}
