//! What a client says with every request of a connection.

use super::texts::{Texts, up_to};
use crate::proxy::access_log::text::{is_plain, is_same};
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;

/// Bytes that are kept of each text.
pub(super) const MOST_METHOD: usize = 64;
const MOST_HOST: usize = 256;
const MOST_USER_AGENT: usize = 1 << 10;
/// Bytes of the texts' names and of all that is around them.
const NAMES: usize = 48;
/// Memory that a connection may hold between requests.
const KEPT: usize = 1 << 10;

/// What the requests of a connection have in common, until one of them says otherwise.
#[derive(Debug)]
pub(in crate::proxy) struct Usual {
    pub(super) client: SocketAddr,
    /// Only the client's network is named.
    pub(super) truncated: bool,
    texts: Texts<4>,
    /// Where the user agent's part begins, which ends the line.
    end: usize,
}

/// Its texts.
const CLIENT: usize = 0;
const METHOD: usize = 1;
const HOST: usize = 2;
const USER_AGENT: usize = 3;

/// Of a request that nobody sent.
pub(super) static NOTHING: Usual = Usual {
    client: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
    truncated: false,
    texts: Texts::none(),
    end: 0,
};

impl Usual {
    fn of(client: SocketAddr, truncated: bool) -> Self {
        let mut name = Vec::with_capacity(22);
        // A vector takes as much as comes.
        let _ = match truncated {
            true => write!(name, "{}", network(client.ip())),
            false => write!(name, "{client}"),
        };
        let mut texts = Texts::none();
        texts.say(CLIENT, b"\",\"client\":\"", &name, true);
        Usual {
            client,
            truncated,
            texts,
            end: 0,
        }
    }

    /// Has it say this from now on. Method and host have been checked: a token (RFC 9110 5.6.2), an authority (RFC 3986 3.2).
    fn say(&mut self, method: &[u8], host: &[u8], user_agent: &[u8]) {
        let texts = &mut self.texts;
        texts.cut_behind(CLIENT);
        let method = up_to(MOST_METHOD, method);
        let host = up_to(MOST_HOST, host);
        let user_agent = up_to(MOST_USER_AGENT, user_agent);
        // It may be kept for long: no more than it takes, but for what has to be escaped.
        texts.reserve(NAMES + method.len() + host.len() + user_agent.len());
        texts.say(METHOD, b"\",\"method\":\"", method, true);
        texts.say(HOST, b"\",\"host\":\"", host, true);
        self.end = texts.json.len();
        let plain = is_plain(user_agent);
        texts.say(USER_AGENT, b",\"user_agent\":\"", user_agent, plain);
        texts.json.extend_from_slice(match user_agent {
            b"" => b"}\n",
            _ => b"\"}\n",
        });
    }

    fn says(&self, method: &[u8], host: &[u8], user_agent: &[u8]) -> bool {
        is_same(self.user_agent(), user_agent)
            && is_same(self.host(), host)
            && is_same(self.method(), method)
    }

    /// As a line tells it behind the request's id, and at its end.
    pub(super) fn json(&self) -> (&[u8], &[u8]) {
        self.texts.json.split_at(self.end)
    }

    pub(super) fn client_name(&self) -> &[u8] {
        self.texts.text(CLIENT)
    }

    pub(super) fn method(&self) -> &[u8] {
        self.texts.text(METHOD)
    }

    pub(super) fn host(&self) -> &[u8] {
        self.texts.text(HOST)
    }

    pub(super) fn user_agent(&self) -> &[u8] {
        self.texts.text(USER_AGENT)
    }

    /// The same with the client named so.
    pub(super) fn renamed(&self, truncated: bool) -> Self {
        let mut renamed = Usual::of(self.client, truncated);
        renamed.say(self.method(), self.host(), self.user_agent());
        renamed
    }
}

/// Who asks, and what he said the last time.
#[derive(Debug)]
pub(in crate::proxy) struct Asker<'a> {
    pub(in crate::proxy) address: SocketAddr,
    /// Only his network is to be named.
    pub(in crate::proxy) truncated: bool,
    /// Of his connection; `None` before the first request that somebody may read about.
    pub(in crate::proxy) usual: &'a mut Option<Rc<Usual>>,
}

impl Asker<'_> {
    pub(super) fn says(self, method: &[u8], host: &[u8], user_agent: &[u8]) -> Rc<Usual> {
        match self.usual {
            Some(usual) if usual.says(method, host, user_agent) => usual.clone(),
            _ => self.says_otherwise(method, host, user_agent),
        }
    }

    #[inline(never)]
    fn says_otherwise(self, method: &[u8], host: &[u8], user_agent: &[u8]) -> Rc<Usual> {
        let mut usual = (self.usual.take())
            .and_then(Rc::into_inner)
            .unwrap_or_else(|| Usual::of(self.address, self.truncated));
        usual.say(method, host, user_agent);
        let is_short = usual.texts.weight() <= KEPT;
        let usual = Rc::new(usual);
        *self.usual = is_short.then(|| usual.clone());
        usual
    }
}

/// The network that a client is in, of the size that is usual where no person is to be recognised: /24, /48 of IPv6.
fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits() & (!0 << 8)).into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (!0 << 80)).into(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::net::SocketAddrV4;

    const SOMEBODY: SocketAddr =
        SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 7), 4711));

    pub(in super::super) fn asker(usual: &mut Option<Rc<Usual>>) -> Asker<'_> {
        Asker {
            address: SOMEBODY,
            truncated: false,
            usual,
        }
    }

    #[test]
    fn what_a_connection_said_is_kept_while_it_says_the_same() {
        let mut kept = None;
        let first = asker(&mut kept).says(b"GET", b"shop", b"me");
        let same = asker(&mut kept).says(b"GET", b"shop", b"me");
        assert!(Rc::ptr_eq(&first, &same));
        // Of the first somebody reads yet.
        let other = asker(&mut kept).says(b"GET", b"shop", b"you");
        assert_eq!(
            [first.user_agent(), other.user_agent()],
            [&b"me"[..], b"you"]
        );
        drop((first, same, other));
        let posted = asker(&mut kept).says(b"POST", b"shop", b"you");
        assert_eq!(
            [posted.client_name(), posted.method()],
            [&b"192.0.2.7:4711"[..], b"POST"]
        );
    }

    #[test]
    fn only_long_texts_are_not_kept_between_requests() {
        let mut kept = None;
        asker(&mut kept).says(b"GET", b"www.example.com", &[b'x'; 800]);
        assert!(kept.is_some());
        let long = asker(&mut kept).says(b"GET", b"shop", &[b'x'; 2000]);
        assert_eq!(long.user_agent().len(), MOST_USER_AGENT);
        assert!(kept.is_none());
    }

    #[test]
    fn truncated_client_is_a_network() {
        for (client, expected) in [
            ("192.0.2.77", "192.0.2.0"),
            ("::ffff:192.0.2.77", "192.0.2.0"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1::"),
        ] {
            let client: IpAddr = client.parse().unwrap();
            assert_eq!(network(client).to_string(), expected);
        }
    }
}
