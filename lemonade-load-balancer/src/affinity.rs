//! What a request is recognised by: the key of strategies that send equal keys to the same backend, the client's address, its
//! cookies. Computed only where somebody wants it: the proxy for requests, and whoever explains what one would get.

use crate::config::{Headers, Key};
use crate::http1::cookies;
use crate::http1::fields::Known;
use crate::http1::request::RequestHead;
use crate::strategy::key;
use std::net::{IpAddr, SocketAddr};

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    pub(crate) address: IpAddr,
    /// It may say for whom it asks.
    pub(crate) trusted: bool,
}

impl Peer {
    pub(crate) fn new(address: IpAddr, headers: &Headers) -> Self {
        // A v4 client on a v6 listener is a v4 client.
        let address = address.to_canonical();
        Peer {
            address,
            trusted: headers.trusts(address),
        }
    }
}

/// What one request is recognised by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recognised<'h> {
    /// By what the configuration names.
    Said(&'h [u8]),
    /// By its client's address: so it is to be, or it lacks what it should be recognised by.
    Client(IpAddr),
}

impl<'h> Recognised<'h> {
    pub(crate) fn of(head: &RequestHead<'h>, by: &Key, peer: Peer, headers: &Headers) -> Self {
        let said = match by {
            Key::Client => None,
            Key::Path => head.target.split(|byte| *byte == b'?').next(),
            Key::Header(name) => field(head, name),
            Key::Cookie(name) => cookies(head, name).next(),
        };
        match said.filter(|said| !said.is_empty()) {
            Some(said) => Recognised::Said(said),
            None => Recognised::Client(client(head, peer, headers)),
        }
    }

    /// What strategies know it by.
    pub(crate) fn key(self) -> u64 {
        match self {
            Recognised::Said(said) => key(said),
            Recognised::Client(address) => key_of_address(address),
        }
    }
}

fn field<'h>(head: &RequestHead<'h>, name: &str) -> Option<&'h [u8]> {
    let is_it = |field: &[u8]| field.eq_ignore_ascii_case(name.as_bytes());
    let mut fields = head.fields.iter();
    let field = fields.find(|field| is_it(field.name(head.bytes)))?;
    Some(field.value(head.bytes))
}

/// The values of the head's cookies of this name.
pub(crate) fn cookies<'h>(head: &RequestHead<'h>, name: &str) -> impl Iterator<Item = &'h [u8]> {
    let fields = head.all(Known::Cookie);
    fields.flat_map(move |field| cookies::all(field, name))
}

fn key_of_address(address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(address) => key(&address.octets()),
        IpAddr::V6(address) => key(&address.octets()),
    }
}

/// Who asks: the peer, or the last address in its `X-Forwarded-For` that no trusted proxy has, or its `X-Real-IP`. What stands
/// before that address is whatever the client wrote.
fn client(head: &RequestHead<'_>, peer: Peer, headers: &Headers) -> IpAddr {
    if !peer.trusted {
        return peer.address;
    }
    let mut client = None;
    let lists = head.all(Known::XForwardedFor).rev();
    for hop in lists.flat_map(|list| list.rsplit(|byte| *byte == b',')) {
        match address(hop) {
            Some(hop) if headers.trusts(hop) => client = Some(hop),
            hop => return hop.or(client).unwrap_or(peer.address),
        }
    }
    client
        .or_else(|| address(head.field(Known::XRealIp)?))
        .unwrap_or(peer.address)
}

/// An address, with a port or without.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let plain = text.parse().ok();
    let address = plain.or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()))?;
    Some(address.to_canonical())
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

    fn with<T>(
        lines: &str,
        peer: &str,
        of: impl FnOnce(&RequestHead<'_>, Peer, &Headers) -> T,
    ) -> T {
        let headers = Headers {
            trusted_proxies: vec![Network::new("10.0.0.0".parse().unwrap(), 8).unwrap()],
            ..Headers::default()
        };
        let text = format!("GET /a/b?c=d HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
        let mut scratch = Vec::new();
        let head = RequestHead::parse(text.as_bytes(), &LIMITS, &mut scratch).unwrap();
        let peer = Peer::new(peer.parse().unwrap(), &headers);
        of(&head, peer, &headers)
    }

    #[test]
    fn client_is_the_last_that_no_trusted_proxy_has() {
        for (peer, lines, expected) in [
            ("192.0.2.7", "X-Forwarded-For: 1.1.1.1\r\n", "192.0.2.7"),
            ("10.0.0.1", "", "10.0.0.1"),
            ("10.0.0.1", "X-Forwarded-For: 1.1.1.1\r\n", "1.1.1.1"),
            (
                "10.0.0.1",
                "X-Forwarded-For: 6.6.6.6, 1.1.1.1, 10.0.0.2\r\n",
                "1.1.1.1",
            ),
            (
                "10.0.0.1",
                "X-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 10.0.0.2\r\n",
                "1.1.1.1",
            ),
            (
                "10.0.0.1",
                "X-Forwarded-For: 10.0.0.3, 10.0.0.2\r\n",
                "10.0.0.3",
            ),
            (
                "10.0.0.1",
                "X-Forwarded-For: 6.6.6.6, unknown, 10.0.0.2\r\n",
                "10.0.0.2",
            ),
            (
                "10.0.0.1",
                "X-Forwarded-For: [2001:db8::1]:80\r\n",
                "2001:db8::1",
            ),
            ("10.0.0.1", "X-Real-IP: 1.1.1.1\r\n", "1.1.1.1"),
            ("10.0.0.1", "X-Real-IP: nobody\r\n", "10.0.0.1"),
            ("::ffff:192.0.2.7", "", "192.0.2.7"),
        ] {
            assert_eq!(with(lines, peer, client).to_string(), expected, "{lines}");
        }
    }

    #[test]
    fn key_is_of_what_it_is_to_be_of_or_else_of_the_client() {
        let of = |by: &Key, lines: &str| {
            with(lines, "192.0.2.7", |head, peer, headers| {
                Recognised::of(head, by, peer, headers).key()
            })
        };
        let address = key(&[192, 0, 2, 7]);
        assert_eq!(of(&Key::Client, ""), address);
        assert_eq!(of(&Key::Path, ""), key(b"/a/b"));
        let header = Key::Header("X-User".to_owned());
        assert_eq!(of(&header, "x-user: ann\r\n"), key(b"ann"));
        assert_eq!(of(&header, ""), address);
        assert_eq!(of(&header, "X-User: \r\n"), address);
        let cookie = Key::Cookie("s".to_owned());
        assert_eq!(
            of(&cookie, "Cookie: t=1\r\nCookie: r=2; s=3\r\n"),
            key(b"3")
        );
        assert_eq!(of(&cookie, "Cookie: ss=1\r\n"), address);
    }
}
