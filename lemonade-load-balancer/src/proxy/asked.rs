//! What a request said of itself, as it came, for whoever reads about it afterwards.

use super::headers::RequestId;
use super::tracing::Tracing;
use crate::access_log::{Text, Texts};
use crate::http1::Version;
use crate::http1::fields::{Known, is_token};
use crate::http1::request::RequestHead;
use crate::traces::context::TraceParent;
use std::net::{Ipv4Addr, SocketAddr};

/// Longest word that is taken for a method where a request could not be read.
const MOST_METHOD: usize = 64;

/// What a request said of itself, and who sent it.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) client: SocketAddr,
    /// `None` where it could not be read.
    pub(super) version: Option<Version>,
    /// The trace's id is that of a well-formed `traceparent`, or of a trace that is told of.
    pub(super) texts: Texts,
}

impl Asked {
    pub(super) fn nothing() -> Self {
        Asked {
            client: (Ipv4Addr::UNSPECIFIED, 0).into(),
            version: None,
            texts: Texts::default(),
        }
    }

    pub(super) fn read(
        &mut self,
        head: &RequestHead<'_>,
        id: &RequestId,
        client: SocketAddr,
        tracing: &Tracing,
    ) {
        (self.client, self.version) = (client, Some(head.version));
        let trace_id = match tracing {
            Tracing::Part(part) => Some(part.trace_id()),
            Tracing::Unrecorded(_) => None,
            Tracing::Off => head.only(Known::Traceparent).and_then(trace_id),
        };
        self.texts.say([
            trace_id.as_ref().map_or(b"", |id| id),
            id.as_bytes(),
            head.method,
            head.authority.unwrap_or_default(),
            path(head.target),
            head.field(Known::UserAgent).unwrap_or_default(),
        ]);
    }

    /// What can be told of a request that was refused: as much of its first line as is in order.
    pub(super) fn read_unread(&mut self, bytes: &[u8], client: SocketAddr) {
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
        self.client = client;
        let method = method.unwrap_or_default();
        self.texts.say([b"", b"", method, b"", path(target), b""]);
    }

    pub(super) fn text(&self, text: Text) -> &[u8] {
        self.texts.text(text)
    }

    /// About how much memory it holds beside itself.
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
    use super::*;
    use crate::access_log::escape::is_plain;
    use crate::http1::request::is_authority;

    #[test]
    fn what_a_line_does_not_look_at_is_plain() {
        for byte in 0..=u8::MAX {
            let hosts = [vec![b'a', byte, b'a'], vec![b'[', byte, b']']];
            let checked = hosts.iter().any(|host| is_authority(host)) || is_token(&[byte]);
            assert!(!checked || is_plain(&[byte]), "{byte}");
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
            asked.read_unread(bytes, (Ipv4Addr::LOCALHOST, 4711).into());
            assert_eq!(asked.text(Text::Method), method.as_bytes(), "{bytes:?}");
            assert_eq!(asked.text(Text::Path), path.as_bytes(), "{bytes:?}");
            assert_eq!(asked.version, version, "{bytes:?}");
        }
    }
}
