//! What benches and fuzz targets reach of the private parts: bytes in, bytes out. No promise is made of it.

use crate::config::Headers;
use crate::http1::chunked::{Decoder, Keep};
use crate::http1::request::RequestHead;
use crate::http1::response::ResponseHead;
use crate::http1::{HeadLimits, HeadScan, Version};
use crate::proxy::headers::{Forwarding, Own, Recipient, RequestId, RequestIds};
use crate::proxy::headers::{write_request, write_response};
use crate::traces::context::TraceParent;

const LIMITS: HeadLimits = HeadLimits {
    bytes: 64 << 10,
    fields: 100,
    target: 8 << 10,
};

/// Everything that is done to a head between the sockets, with what a shard keeps between requests.
#[derive(Debug)]
pub struct Rewriter {
    forwarding: Forwarding,
    headers: Headers,
    ids: RequestIds,
    fields: Vec<crate::http1::fields::Field>,
}

impl Default for Rewriter {
    fn default() -> Self {
        let headers = Headers::default();
        let (peer, local) = (([192, 0, 2, 7], 4000), ([198, 51, 100, 1], 80));
        Rewriter {
            forwarding: Forwarding::new(peer.into(), local.into(), &headers),
            headers,
            ids: RequestIds::new(&mut fastrand::Rng::with_seed(1)),
            fields: Vec::new(),
        }
    }
}

impl Rewriter {
    /// Finds, checks and rewrites the request head at the front of `bytes`; its length if there is a good one.
    pub fn request(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Option<usize> {
        let length = HeadScan::default().advance(bytes).ok()??;
        let head = RequestHead::parse(&bytes[..length], &LIMITS, &mut self.fields).ok()?;
        let id = self.ids.of(&head);
        let host = || "fallback:80".to_owned();
        let own = Own {
            id: &id,
            cookie: None,
            trace: None,
        };
        write_request(&head, &self.forwarding, &self.headers, &own, host, out);
        Some(length)
    }

    /// The same for an answer's head.
    pub fn response(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Option<usize> {
        let length = HeadScan::default().advance(bytes).ok()??;
        let head = ResponseHead::parse(&bytes[..length], false, &LIMITS, &mut self.fields).ok()?;
        let recipient = Recipient {
            version: Version::Http11,
            keep_alive: true,
            id: &RequestId::Made(*b"0123456789abcdef0123"),
            cookie: None,
            spent: None,
        };
        write_response(&head, &recipient, out);
        Some(length)
    }
}

/// Decodes a chunked body that arrives `step` bytes a time; its data if it is good and complete.
pub fn dechunk(wire: &[u8], step: usize) -> Option<Vec<u8>> {
    let mut decoder = Decoder::new();
    let (mut waiting, mut data) = (Vec::new(), Vec::new());
    for piece in wire.chunks(step.max(1)) {
        waiting.extend_from_slice(piece);
        let decoded = decoder.decode(&mut waiting, Keep::Data).ok()?;
        data.extend_from_slice(&waiting[..decoded.forward]);
        waiting.drain(..decoded.consumed);
        if decoder.is_done() {
            decoder.write_end(&mut Vec::new(), &mut Vec::new()).ok()?;
            return Some(data);
        }
    }
    None
}

/// What a recipient gets of a chunked body that arrives `step` bytes a time, its own framing included; `None` if the body is
/// malformed or incomplete.
pub fn rechunk(wire: &[u8], step: usize) -> Option<Vec<u8>> {
    let mut decoder = Decoder::new();
    let (mut waiting, mut passed) = (Vec::new(), Vec::new());
    for piece in wire.chunks(step.max(1)) {
        waiting.extend_from_slice(piece);
        let decoded = decoder.decode(&mut waiting, Keep::Framing).ok()?;
        passed.extend_from_slice(&waiting[..decoded.forward]);
        waiting.drain(..decoded.consumed);
        if decoder.is_done() {
            decoder.write_end(&mut passed, &mut Vec::new()).ok()?;
            return Some(passed);
        }
    }
    None
}

/// The length of the head at the front of `bytes`, which arrive `step` at a time; `None` if there is no whole one.
pub fn head_length(bytes: &[u8], step: usize) -> Option<usize> {
    let step = step.max(1);
    let mut scan = HeadScan::default();
    for end in (0..bytes.len()).step_by(step) {
        let arrived = &bytes[..(end + step).min(bytes.len())];
        if let Some(length) = scan.advance(arrived).ok()? {
            return Some(length);
        }
    }
    None
}

/// A `traceparent` as it is read, written again as a line of a head; `None` if it is malformed.
pub fn traceparent(value: &[u8]) -> Option<[u8; 70]> {
    TraceParent::parse(value).map(|parent| parent.line())
}
