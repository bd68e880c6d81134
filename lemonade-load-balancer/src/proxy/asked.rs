//! What a request said of itself, as it came, for whoever reads about it afterwards. Of its target only the path is kept, since
//! queries hold secrets.
//!
//! It is kept as a line of the access log tells it in JSON ([`super::access_log`]), so that writing the line takes two copies
//! rather than a dozen; whoever wants one of the texts by itself gets it from between the names and quotes.

use super::access_log::text::{escaped, is_plain};
use super::headers::{MAX_REQUEST_ID, RequestId};
use super::tracing::Part;
use crate::http1::Version;
use crate::http1::fields::{Known, is_token};
use crate::http1::request::RequestHead;
use crate::traces::context::TraceParent;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;

/// Texts that are kept.
const TEXTS: usize = 7;

/// One of them.
#[derive(Clone, Copy, Debug)]
enum Text {
    RequestId,
    Client,
    Method,
    Host,
    Path,
    Protocol,
    UserAgent,
}

impl Text {
    /// Bytes that are kept of it, so that no client decides how long a line gets.
    fn most(self) -> usize {
        match self {
            Text::RequestId => MAX_REQUEST_ID,
            Text::Client | Text::Method | Text::Protocol => 64,
            Text::Host => 256,
            Text::Path => 8 << 10,
            Text::UserAgent => 1 << 10,
        }
    }

    /// Ours, or checked when it was read: a token (RFC 9110 5.6.2), an authority (RFC 3986 3.2).
    fn is_plain_anyway(self) -> bool {
        matches!(
            self,
            Text::Client | Text::Method | Text::Host | Text::Protocol
        )
    }
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asker<'a> {
    pub(super) address: SocketAddr,
    pub(super) name: &'a ClientName,
}

/// A client as the access log names it.
#[derive(Debug, Default)]
pub(super) struct ClientName {
    text: Box<[u8]>,
    truncated: bool,
}

impl ClientName {
    /// Its address and port, or the network that it is in.
    pub(super) fn of(client: SocketAddr, truncated: bool) -> Self {
        let mut text = Vec::with_capacity(22);
        // A vector takes as much as comes.
        let _ = match truncated {
            true => write!(text, "{}", network(client.ip())),
            false => write!(text, "{client}"),
        };
        ClientName {
            text: text.into(),
            truncated,
        }
    }
}

/// What a request said of itself.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) client: SocketAddr,
    /// Of the client's name.
    truncated: bool,
    /// `None` where it could not be read.
    pub(super) version: Option<Version>,
    /// Of a well-formed `traceparent`, or of a trace that is told of.
    pub(super) trace_id: Option<[u8; 32]>,
    /// All texts but the user agent, as JSON; then that, and the line's end; then, if one of them had to be escaped, all as they
    /// came.
    line: Vec<u8>,
    /// Where the user agent's part begins and ends.
    tail: Range<usize>,
    /// Where each text is by itself.
    places: [Range<u32>; TEXTS],
}

impl Asked {
    pub(super) fn nothing() -> Self {
        Asked {
            client: (Ipv4Addr::UNSPECIFIED, 0).into(),
            truncated: false,
            version: None,
            trace_id: None,
            line: Vec::new(),
            tail: 0..0,
            places: Default::default(),
        }
    }

    pub(super) fn read(
        &mut self,
        head: &RequestHead<'_>,
        id: &RequestId,
        asker: Asker<'_>,
        part: Option<&Part>,
    ) {
        self.trace_id = match part {
            Some(part) => part.logged_id(),
            None => head.only(Known::Traceparent).and_then(trace_id),
        };
        let host = head.authority.unwrap_or_default();
        let user_agent = head.field(Known::UserAgent).unwrap_or_default();
        let path = path(head.target);
        let texts = [id.as_bytes(), head.method, host, path, user_agent];
        self.keep(asker, Some(head.version), texts);
    }

    /// What can be told of a request that was refused: as much of its first line as is in order.
    pub(super) fn read_unread(&mut self, bytes: &[u8], asker: Asker<'_>) {
        let end = memchr::memchr2(b'\r', b'\n', bytes).unwrap_or(bytes.len());
        let mut words = bytes[..end].split(|byte| *byte == b' ');
        let is_method = |word: &&[u8]| word.len() <= Text::Method.most() && is_token(word);
        // A word that ends with what came may go on.
        let method = words
            .next()
            .filter(|word| word.len() < end)
            .filter(is_method);
        // Of a whole URI the beginning may hold a password.
        let is_path = |word: &&[u8]| method.is_some() && word.starts_with(b"/");
        let target = words.next().filter(is_path).unwrap_or_default();
        self.trace_id = None;
        let version = match words.next() {
            Some(b"HTTP/1.1") => Some(Version::Http11),
            Some(b"HTTP/1.0") => Some(Version::Http10),
            _ => None,
        };
        let method = method.unwrap_or_default();
        self.keep(asker, version, [b"", method, b"", path(target), b""]);
    }

    /// Has the client named as it is to be now, if that was otherwise when the request began.
    pub(super) fn name_client(&mut self, truncated: bool) {
        if self.truncated != truncated || self.client_name().is_empty() {
            self.name_client_anew(truncated);
        }
    }

    #[cold]
    fn name_client_anew(&mut self, truncated: bool) {
        let texts = [
            self.request_id(),
            self.method(),
            self.host(),
            self.path(),
            self.user_agent(),
        ]
        .map(<[u8]>::to_vec);
        let asker = Asker {
            address: self.client,
            name: &ClientName::of(self.client, truncated),
        };
        self.keep(asker, self.version, texts.each_ref().map(Vec::as_slice));
    }

    /// `texts`: id, method, host, path, user agent.
    fn keep(&mut self, asker: Asker<'_>, version: Option<Version>, texts: [&[u8]; 5]) {
        let [id, method, host, path, user_agent] = texts;
        self.client = asker.address;
        self.truncated = asker.name.truncated;
        self.version = version;
        let protocol: &[u8] = match version {
            None => b"",
            Some(Version::Http10) => b"HTTP/1.0",
            Some(Version::Http11) => b"HTTP/1.1",
        };
        self.line.clear();
        let id_escaped = self.say(Text::RequestId, b"\",\"request_id\":\"", id);
        self.say(Text::Client, b"\",\"client\":\"", &asker.name.text);
        self.say(Text::Method, b"\",\"method\":\"", method);
        self.say(Text::Host, b"\",\"host\":\"", host);
        let path_escaped = self.say(Text::Path, b"\",\"path\":\"", path);
        self.say(Text::Protocol, b"\",\"protocol\":\"", protocol);
        self.line.push(b'"');
        let begin = self.line.len();
        let agent_escaped = self.say(Text::UserAgent, b",\"user_agent\":\"", user_agent);
        self.line.extend_from_slice(match user_agent {
            b"" => b"}\n",
            _ => b"\"}\n",
        });
        self.tail = begin..self.line.len();
        if id_escaped || path_escaped || agent_escaped {
            self.keep_raw(Text::RequestId, id);
            self.keep_raw(Text::Path, path);
            self.keep_raw(Text::UserAgent, user_agent);
        }
    }

    /// Writes one of the texts behind its name, if it says anything. Returns whether something in it had to be escaped.
    fn say<const N: usize>(&mut self, text: Text, name: &[u8; N], said: &[u8]) -> bool {
        let said = &said[..said.len().min(text.most())];
        if said.is_empty() {
            self.places[text as usize] = 0..0;
            return false;
        }
        self.line.extend_from_slice(name);
        let begin = self.line.len();
        debug_assert!(!text.is_plain_anyway() || is_plain(said), "{text:?}");
        let plain = text.is_plain_anyway() || is_plain(said);
        match plain {
            true => self.line.extend_from_slice(said),
            false => escaped(said, &mut self.line),
        }
        self.places[text as usize] = begin as u32..self.line.len() as u32;
        !plain
    }

    #[cold]
    fn keep_raw(&mut self, text: Text, said: &[u8]) {
        let begin = self.line.len();
        let said = &said[..said.len().min(text.most())];
        self.line.extend_from_slice(said);
        self.places[text as usize] = begin as u32..self.line.len() as u32;
    }

    /// The fields of a JSON line that say what was asked, as they go on behind a text: first of all with the quote that ends it.
    pub(super) fn json(&self) -> &[u8] {
        &self.line[..self.tail.start]
    }

    /// Those that stand at the line's end, being long; and that end.
    pub(super) fn json_end(&self) -> &[u8] {
        &self.line[self.tail.clone()]
    }

    fn text(&self, text: Text) -> &[u8] {
        let place = &self.places[text as usize];
        &self.line[place.start as usize..place.end as usize]
    }

    /// As [`ClientName`] has it.
    pub(super) fn client_name(&self) -> &[u8] {
        self.text(Text::Client)
    }

    pub(super) fn method(&self) -> &[u8] {
        self.text(Text::Method)
    }

    pub(super) fn host(&self) -> &[u8] {
        self.text(Text::Host)
    }

    pub(super) fn path(&self) -> &[u8] {
        self.text(Text::Path)
    }

    /// `HTTP/1.1`, as a line tells it.
    pub(super) fn protocol(&self) -> &[u8] {
        self.text(Text::Protocol)
    }

    pub(super) fn user_agent(&self) -> &[u8] {
        self.text(Text::UserAgent)
    }

    /// Empty where there was no request to give one to.
    pub(super) fn request_id(&self) -> &[u8] {
        self.text(Text::RequestId)
    }

    /// About how much memory it holds.
    pub(super) fn weight(&self) -> usize {
        self.line.capacity()
    }
}

/// A target without its query.
fn path(target: &[u8]) -> &[u8] {
    let end = memchr::memchr(b'?', target).unwrap_or(target.len());
    &target[..end]
}

/// The trace id of a W3C `traceparent`: `00-<32 hex>-<16 hex>-<2 hex>`.
fn trace_id(traceparent: &[u8]) -> Option<[u8; 32]> {
    TraceParent::parse(traceparent)?;
    traceparent[3..35].try_into().ok()
}

/// The network that a client is in, of the size that is usual where no person is to be recognised: /24, /48 of IPv6.
fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits() & (!0 << 8)).into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (!0 << 80)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::request::is_authority;
    use proptest::prelude::*;
    use serde_json::json;
    use std::net::SocketAddrV4;

    const CLIENT: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 7), 4711));

    fn asked(texts: [&[u8]; 5]) -> Asked {
        let mut asked = Asked::nothing();
        let asker = Asker {
            address: CLIENT,
            name: &ClientName::of(CLIENT, false),
        };
        // What it held before is gone.
        asked.read_unread(b"OPTIONS /before?x HTTP/1.1\r\n", asker);
        asked.keep(asker, Some(Version::Http10), texts);
        asked
    }

    fn json(asked: &Asked) -> serde_json::Value {
        let line = [b"{\"\":\"", asked.json(), asked.json_end()].concat();
        assert!(line.ends_with(b"}\n"));
        serde_json::from_slice(&line).unwrap()
    }

    #[test]
    fn no_client_decides_how_long_a_line_gets() {
        let long = [b'x'; 10_000];
        let asked = asked([&long, b"GET", &long, &long, &long]);
        let kept = [
            asked.request_id().len(),
            asked.host().len(),
            asked.path().len(),
            asked.user_agent().len(),
        ];
        assert_eq!(kept, [128, 256, 8192, 1024]);
        assert_eq!(json(&asked)["host"].as_str().unwrap().len(), 256);
    }

    #[test]
    fn nothing_is_said_of_what_is_not_there() {
        let asked = asked([b"", b"GET", b"", b"/", b""]);
        let expected = json!({
            "": "", "client": "192.0.2.7:4711", "method": "GET", "path": "/", "protocol": "HTTP/1.0"
        });
        assert_eq!(json(&asked), expected);
        assert!(asked.host().is_empty() && asked.user_agent().is_empty());
    }

    #[test]
    fn client_is_named_as_the_log_wants_it_in_the_end() {
        let texts = [b"1\"2".as_slice(), b"GET", b"shop", b"/a", b"me"];
        let mut asked = asked(texts);
        let before = json(&asked);
        asked.name_client(false);
        assert_eq!(json(&asked), before);
        asked.name_client(true);
        assert_eq!(asked.client_name(), b"192.0.2.0");
        assert_eq!(json(&asked)["client"], "192.0.2.0");
        assert_eq!(
            [
                asked.request_id(),
                asked.method(),
                asked.host(),
                asked.path(),
                asked.user_agent()
            ],
            texts
        );
        asked.name_client(false);
        assert_eq!(json(&asked), before);
    }

    #[test]
    fn client_that_was_not_named_is_named_when_it_is_asked_for() {
        let mut asked = Asked::nothing();
        let asker = Asker {
            address: CLIENT,
            name: &ClientName::default(),
        };
        asked.read_unread(b"GET / HTTP/1.1\r\n", asker);
        assert!(asked.client_name().is_empty());
        asked.name_client(false);
        assert_eq!(json(&asked)["client"], "192.0.2.7:4711");
    }

    fn said() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof!["[ -~]{0,40}".prop_map(String::into_bytes), any::<Vec<u8>>()]
    }

    #[test]
    fn what_is_not_looked_at_is_plain() {
        for byte in 0..=u8::MAX {
            let hosts = [vec![b'a', byte, b'a'], vec![b'[', byte, b']']];
            let checked = hosts.iter().any(|host| is_authority(host)) || is_token(&[byte]);
            assert!(!checked || is_plain(&[byte]), "{byte}");
        }
    }

    proptest! {
        #[test]
        fn texts_are_kept_as_they_came_and_as_json(texts in [said(), said(), said()], host in "[a-z.:-]{0,40}") {
            let [id, path, user_agent] = &texts;
            let host = host.as_bytes();
            let asked = asked([id, b"GET", host, path, user_agent]);
            prop_assert_eq!(
                [asked.request_id(), asked.host(), asked.path(), asked.user_agent()],
                [&id[..], host, path, user_agent]
            );
            prop_assert_eq!([asked.client_name(), asked.method()], [&b"192.0.2.7:4711"[..], b"GET"]);
            let json = json(&asked);
            for (name, text) in ["request_id", "path", "user_agent"].iter().zip(&texts) {
                let expected = (!text.is_empty()).then(|| String::from_utf8_lossy(text));
                prop_assert_eq!(json[name].as_str(), expected.as_deref());
            }
        }
    }

    #[test]
    fn trace_id_is_read_from_a_well_formed_traceparent_only() {
        let good = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(trace_id(good), Some(*b"4bf92f3577b34da6a3ce929d0e0e4736"));
        assert_eq!(trace_id(b"00-4bf9-00f067aa0ba902b7-01"), None);
        assert_eq!(trace_id(b"\xff"), None);
    }

    #[test]
    fn of_what_could_not_be_read_only_what_is_in_order_is_told() {
        for (bytes, method, path, version) in [
            (
                &b"GET /a?b HTTP/1.1\r\nHost x"[..],
                "GET",
                "/a",
                Some(Version::Http11),
            ),
            (b"GET /a?b HTTP/2", "GET", "/a", None),
            (
                b"GET http://u:p@h/ HTTP/1.1\r\n",
                "GET",
                "",
                Some(Version::Http11),
            ),
            (b"G\x16\x03 / HTTP/1.1\r\n", "", "", Some(Version::Http11)),
            (b"GE", "", "", None),
            (b"", "", "", None),
        ] {
            let mut asked = Asked::nothing();
            let asker = Asker {
                address: CLIENT,
                name: &ClientName::default(),
            };
            asked.read_unread(bytes, asker);
            assert_eq!(asked.method(), method.as_bytes(), "{bytes:?}");
            assert_eq!(asked.path(), path.as_bytes(), "{bytes:?}");
            assert_eq!(asked.version, version, "{bytes:?}");
        }
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
