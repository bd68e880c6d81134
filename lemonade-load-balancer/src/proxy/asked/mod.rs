//! What a request said of itself, as it came, for whoever reads about it afterwards. Of its target only the path is kept, since
//! queries hold secrets.
//!
//! It is kept as a line of the access log tells it in JSON ([`super::access_log`]), so that writing the line takes a few copies
//! rather than a dozen; whoever wants one of the texts by itself gets it from between the names and quotes.

mod texts;

use super::access_log::client::ClientName;
use super::access_log::text::{is_plain, is_plain_without};
use super::headers::{MAX_REQUEST_ID, RequestId};
use super::tracing::Tracing;
use crate::http1::Version;
use crate::http1::fields::{Known, is_token};
use crate::http1::request::RequestHead;
use crate::traces::context::TraceParent;
use std::net::{Ipv4Addr, SocketAddr};
use texts::Texts;

/// Bytes that are kept of each text: no client decides how long a line gets.
const MOST_METHOD: usize = 64;
const MOST_HOST: usize = 256;
const MOST_PATH: usize = 8 << 10;
const MOST_USER_AGENT: usize = 1 << 10;

/// What a request said of itself, and who sent it.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) client: SocketAddr,
    /// Only the client's network is named.
    truncated: bool,
    /// `None` where it could not be read.
    pub(super) version: Option<Version>,
    /// Of a well-formed `traceparent`, or of a trace that is told of.
    pub(super) trace_id: Option<[u8; 32]>,
    texts: Texts<5>,
    /// Where the client's name begins and ends, and where the user agent's part begins, which ends the line.
    name: (usize, usize),
    end: usize,
}

/// Its texts.
const REQUEST_ID: usize = 0;
const METHOD: usize = 1;
const HOST: usize = 2;
const PATH: usize = 3;
const USER_AGENT: usize = 4;

/// Who asks: the peer of a connection.
pub(super) struct Asker<'a> {
    pub(super) address: SocketAddr,
    /// Only the network is to be named.
    pub(super) truncated: bool,
    /// As it was named before on the connection.
    pub(super) name: &'a mut Option<ClientName>,
}

impl<'a> Asker<'a> {
    fn name(self) -> &'a ClientName {
        let (address, truncated) = (self.address, self.truncated);
        self.name
            .get_or_insert_with(|| ClientName::of(address, truncated))
    }
}

/// As they came. Method and host have been checked: a token (RFC 9110 5.6.2), an authority (RFC 3986 3.2).
#[derive(Default)]
struct Said<'s> {
    id: &'s [u8],
    method: &'s [u8],
    host: &'s [u8],
    target: &'s [u8],
    user_agent: &'s [u8],
}

impl Asked {
    pub(super) fn nothing() -> Self {
        Asked {
            client: (Ipv4Addr::UNSPECIFIED, 0).into(),
            truncated: false,
            version: None,
            trace_id: None,
            texts: Texts::none(),
            name: (0, 0),
            end: 0,
        }
    }

    pub(super) fn read(
        &mut self,
        head: &RequestHead<'_>,
        id: &RequestId,
        asker: Asker<'_>,
        tracing: &Tracing,
    ) {
        self.version = Some(head.version);
        self.trace_id = match tracing {
            Tracing::Part(part) => Some(part.trace_id()),
            Tracing::Unrecorded(_) => None,
            Tracing::Off => head.only(Known::Traceparent).and_then(trace_id),
        };
        let said = Said {
            id: id.as_bytes(),
            method: head.method,
            host: head.authority.unwrap_or_default(),
            target: head.target,
            user_agent: head.field(Known::UserAgent).unwrap_or_default(),
        };
        self.say(&said, asker.name());
    }

    /// What can be told of a request that was refused: as much of its first line as is in order.
    pub(super) fn read_unread(&mut self, bytes: &[u8], asker: Asker<'_>) {
        let end = memchr::memchr2(b'\r', b'\n', bytes).unwrap_or(bytes.len());
        let mut words = bytes[..end].split(|byte| *byte == b' ');
        let is_method = |word: &&[u8]| word.len() <= MOST_METHOD && is_token(word);
        // A word that ends with what came may go on.
        let method = words
            .next()
            .filter(|word| word.len() < end)
            .filter(is_method);
        // Of a whole URI the beginning may hold a password.
        let is_path = |word: &&[u8]| method.is_some() && word.starts_with(b"/");
        let target = words.next().filter(is_path).unwrap_or_default();
        self.version = match words.next() {
            Some(b"HTTP/1.1") => Some(Version::Http11),
            Some(b"HTTP/1.0") => Some(Version::Http10),
            _ => None,
        };
        self.trace_id = None;
        let said = Said {
            method: method.unwrap_or_default(),
            target,
            ..Said::default()
        };
        self.say(&said, asker.name());
    }

    fn say(&mut self, said: &Said<'_>, client: &ClientName) {
        (self.client, self.truncated) = (client.client, client.truncated);
        let texts = &mut self.texts;
        texts.clear();
        let id = up_to(MAX_REQUEST_ID, said.id);
        texts.say(REQUEST_ID, b"\",\"request_id\":\"", id, is_plain(id));
        texts.json.extend_from_slice(b"\",\"client\":\"");
        let begin = texts.json.len();
        texts.json.extend_from_slice(client.text());
        self.name = (begin, texts.json.len());
        let method = up_to(MOST_METHOD, said.method);
        texts.say(METHOD, b"\",\"method\":\"", method, true);
        let host = up_to(MOST_HOST, said.host);
        texts.say(HOST, b"\",\"host\":\"", host, true);
        // Most have no query, and their path is looked at once.
        let whole = is_plain_without(b'?', said.target);
        let path = match whole {
            true => said.target,
            false => path(said.target),
        };
        let path = up_to(MOST_PATH, path);
        texts.say(PATH, b"\",\"path\":\"", path, whole || is_plain(path));
        texts.json.extend_from_slice(match self.version {
            Some(Version::Http11) => b"\",\"protocol\":\"HTTP/1.1\"",
            Some(Version::Http10) => b"\",\"protocol\":\"HTTP/1.0\"",
            None => b"\"",
        });
        self.end = texts.json.len();
        let user_agent = up_to(MOST_USER_AGENT, said.user_agent);
        let plain = is_plain(user_agent);
        texts.say(USER_AGENT, b",\"user_agent\":\"", user_agent, plain);
        texts.json.extend_from_slice(match user_agent {
            b"" => b"}\n",
            _ => b"\"}\n",
        });
    }

    /// All that a JSON line tells of it.
    pub(super) fn json_text(&self) -> &[u8] {
        &self.texts.json
    }

    /// Writes the fields of a JSON line that say what was asked, as they go on behind a text: first of all with the quote that ends
    /// it.
    pub(super) fn json(&self, truncated: bool, out: &mut Vec<u8>) {
        let json = &self.texts.json[..self.end];
        if truncated == self.truncated {
            return out.extend_from_slice(json);
        }
        let (begin, end) = self.name;
        out.extend_from_slice(&json[..begin]);
        out.extend_from_slice(ClientName::of(self.client, truncated).text());
        out.extend_from_slice(&json[end..]);
    }

    /// Those that stand at the line's end, being long; and that end.
    pub(super) fn json_end(&self) -> &[u8] {
        &self.texts.json[self.end..]
    }

    pub(super) fn method(&self) -> &[u8] {
        self.texts.text(METHOD)
    }

    pub(super) fn host(&self) -> &[u8] {
        self.texts.text(HOST)
    }

    pub(super) fn path(&self) -> &[u8] {
        self.texts.text(PATH)
    }

    /// As a line tells it.
    pub(super) fn protocol(&self) -> &'static str {
        match self.version {
            None => "",
            Some(Version::Http10) => "HTTP/1.0",
            Some(Version::Http11) => "HTTP/1.1",
        }
    }

    pub(super) fn user_agent(&self) -> &[u8] {
        self.texts.text(USER_AGENT)
    }

    /// Empty where there was no request to give one to.
    pub(super) fn request_id(&self) -> &[u8] {
        self.texts.text(REQUEST_ID)
    }

    /// About how much memory it holds beside itself.
    pub(super) fn weight(&self) -> usize {
        self.texts.weight()
    }
}

fn up_to(most: usize, text: &[u8]) -> &[u8] {
    &text[..text.len().min(most)]
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digits::tests::written;
    use crate::http1::request::is_authority;
    use proptest::prelude::*;
    use serde_json::json;
    use std::net::IpAddr;

    const SOMEBODY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)), 4711);

    fn somebody(name: &mut Option<ClientName>) -> Asker<'_> {
        Asker {
            address: SOMEBODY,
            truncated: false,
            name,
        }
    }

    /// As it is kept where something else was before.
    fn asked([id, method, host, target, user_agent]: [&[u8]; 5]) -> Asked {
        let mut asked = Asked::nothing();
        asked.read_unread(b"OPTIONS /before?x HTTP/1.0\r\n", somebody(&mut None));
        let said = Said {
            id,
            method,
            host,
            target,
            user_agent,
        };
        asked.say(&said, somebody(&mut None).name());
        asked
    }

    fn json(asked: &Asked) -> serde_json::Value {
        json_naming(asked, false)
    }

    fn json_naming(asked: &Asked, truncated: bool) -> serde_json::Value {
        let line = written(|line| {
            line.extend_from_slice(b"{\"\":\"");
            asked.json(truncated, line);
            line.extend_from_slice(asked.json_end());
        });
        assert!(line.ends_with("}\n"));
        serde_json::from_str(&line).unwrap()
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
        let asked = asked([b"1\"2", b"GET", b"shop", b"/a", b"me"]);
        assert_eq!(json(&asked)["client"], "192.0.2.7:4711");
        let truncated = json_naming(&asked, true);
        assert_eq!(truncated["client"], "192.0.2.0");
        assert_eq!(
            [&truncated["request_id"], &truncated["method"]],
            ["1\"2", "GET"]
        );
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
            let [id, target, user_agent] = &texts;
            let host = host.as_bytes();
            let asked = asked([id, b"GET", host, target, user_agent]);
            let path = path(target);
            prop_assert_eq!(
                [asked.request_id(), asked.host(), asked.path(), asked.user_agent()],
                [&id[..], host, path, user_agent]
            );
            prop_assert_eq!(asked.method(), b"GET");
            let json = json(&asked);
            for (name, text) in ["request_id", "path", "user_agent"].iter().zip([&id[..], path, user_agent]) {
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
            asked.read_unread(bytes, somebody(&mut None));
            assert_eq!(asked.method(), method.as_bytes(), "{bytes:?}");
            assert_eq!(asked.path(), path.as_bytes(), "{bytes:?}");
            assert_eq!(asked.version, version, "{bytes:?}");
        }
    }
}
