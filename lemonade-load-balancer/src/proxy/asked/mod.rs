//! What a request said of itself, as it came, for whoever reads about it afterwards. Of its target only the path is kept, since
//! queries hold secrets.
//!
//! It is kept as a line of the access log tells it in JSON ([`super::access_log`]), so that writing the line takes a few copies
//! rather than a dozen; whoever wants one of the texts by itself gets it from between the names and quotes. What a connection's
//! requests have in common is kept once, with the connection: most of them differ in their path alone.

mod texts;
mod usual;

pub(super) use usual::{Asker, Usual};

use super::access_log::text::{is_plain, is_plain_without};
use super::headers::{MAX_REQUEST_ID, RequestId};
use super::tracing::Tracing;
use crate::http1::Version;
use crate::http1::fields::{Known, is_token};
use crate::http1::request::RequestHead;
use crate::traces::context::TraceParent;
use std::net::SocketAddr;
use std::rc::Rc;
use texts::{Texts, up_to};
use usual::{MOST_METHOD, NOTHING};

/// Bytes that are kept of a path.
const MOST_PATH: usize = 8 << 10;

/// What a request said of itself.
#[derive(Debug)]
pub(super) struct Asked {
    usual: Option<Rc<Usual>>,
    /// `None` where it could not be read.
    pub(super) version: Option<Version>,
    /// Of a well-formed `traceparent`, or of a trace that is told of.
    pub(super) trace_id: Option<[u8; 32]>,
    /// What is its own.
    texts: Texts<2>,
    /// Where the path's part begins, and the protocol's.
    path: usize,
}

/// Its texts.
const REQUEST_ID: usize = 0;
const PATH: usize = 1;

impl Asked {
    pub(super) fn nothing() -> Self {
        Asked {
            usual: None,
            version: None,
            trace_id: None,
            texts: Texts::none(),
            path: 0,
        }
    }

    pub(super) fn read(
        &mut self,
        head: &RequestHead<'_>,
        id: &RequestId,
        asker: Asker<'_>,
        tracing: &Tracing,
    ) {
        self.trace_id = match tracing {
            Tracing::Part(part) => Some(part.trace_id()),
            Tracing::Unrecorded(_) => None,
            Tracing::Off => head.only(Known::Traceparent).and_then(trace_id),
        };
        let host = head.authority.unwrap_or_default();
        let user_agent = head.field(Known::UserAgent).unwrap_or_default();
        self.usual = Some(asker.says(head.method, host, user_agent));
        let plain = matches!(id, RequestId::Made(_)) || is_plain(id.as_bytes());
        self.say(id.as_bytes(), plain, head.target, Some(head.version));
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
        let version = match words.next() {
            Some(b"HTTP/1.1") => Some(Version::Http11),
            Some(b"HTTP/1.0") => Some(Version::Http10),
            _ => None,
        };
        self.trace_id = None;
        self.usual = Some(asker.says(method.unwrap_or_default(), b"", b""));
        self.say(b"", true, target, version);
    }

    fn say(&mut self, id: &[u8], plain: bool, target: &[u8], version: Option<Version>) {
        self.version = version;
        let texts = &mut self.texts;
        texts.clear();
        let id = up_to(MAX_REQUEST_ID, id);
        texts.say(REQUEST_ID, b"\",\"request_id\":\"", id, plain);
        self.path = texts.json.len();
        // Most have no query, and their path is looked at once.
        let whole = is_plain_without(b'?', target);
        let path = up_to(MOST_PATH, if whole { target } else { path(target) });
        let plain = whole || is_plain(path);
        texts.say(PATH, b"\",\"path\":\"", path, plain);
        texts.json.extend_from_slice(match version {
            Some(Version::Http11) => b"\",\"protocol\":\"HTTP/1.1\"",
            Some(Version::Http10) => b"\",\"protocol\":\"HTTP/1.0\"",
            None => b"\"",
        });
    }

    /// Lets go of what it shares with its connection. What it said is gone with that.
    pub(super) fn forget_usual(&mut self) {
        self.usual = None;
    }

    /// Has the client named as it is to be now, if that was otherwise when the request began.
    pub(super) fn name_client(&mut self, truncated: bool) {
        if let Some(usual) = &mut self.usual
            && usual.truncated != truncated
        {
            *usual = Rc::new(usual.renamed(truncated));
        }
    }

    /// The fields of a JSON line that say what was asked, as they go on behind a text: first of all with the quote that ends it.
    pub(super) fn json(&self) -> [&[u8]; 3] {
        let (id, path) = self.texts.json.split_at(self.path);
        [id, self.usual().json().0, path]
    }

    /// Those that stand at the line's end, being long; and that end.
    pub(super) fn json_end(&self) -> &[u8] {
        self.usual().json().1
    }

    fn usual(&self) -> &Usual {
        self.usual.as_deref().unwrap_or(&NOTHING)
    }

    pub(super) fn client(&self) -> SocketAddr {
        self.usual().client
    }

    /// As the log names it: address and port, or the network that it is in.
    pub(super) fn client_name(&self) -> &[u8] {
        self.usual().client_name()
    }

    pub(super) fn method(&self) -> &[u8] {
        self.usual().method()
    }

    pub(super) fn host(&self) -> &[u8] {
        self.usual().host()
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
        self.usual().user_agent()
    }

    /// Empty where there was no request to give one to.
    pub(super) fn request_id(&self) -> &[u8] {
        self.texts.text(REQUEST_ID)
    }

    /// About how much memory it holds by itself.
    pub(super) fn weight(&self) -> usize {
        self.texts.weight()
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

#[cfg(test)]
mod tests {
    use super::usual::tests::asker;
    use super::*;
    use crate::http1::request::is_authority;
    use proptest::prelude::*;
    use serde_json::json;

    /// As it is kept of a client that said something else before.
    fn asked([id, method, host, path, user_agent]: [&[u8]; 5]) -> Asked {
        let mut kept = None;
        let mut asked = Asked::nothing();
        asked.read_unread(b"OPTIONS /before?x HTTP/1.1\r\n", asker(&mut kept));
        asked.forget_usual();
        asked.usual = Some(asker(&mut kept).says(method, host, user_agent));
        asked.say(id, is_plain(id), path, Some(Version::Http10));
        asked
    }

    fn json(asked: &Asked) -> serde_json::Value {
        let line = [b"{\"\":\"", &*asked.json().concat(), asked.json_end()].concat();
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
            prop_assert_eq!([asked.client_name(), asked.method()], [&b"192.0.2.7:4711"[..], b"GET"]);
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
            asked.read_unread(bytes, asker(&mut None));
            assert_eq!(asked.method(), method.as_bytes(), "{bytes:?}");
            assert_eq!(asked.path(), path.as_bytes(), "{bytes:?}");
            assert_eq!(asked.version, version, "{bytes:?}");
        }
    }
}
