//! The probe that sends a request: a status as expected, and a text in the body if one is.

use super::probe::ProbeError;
use crate::config::{HttpProbe, Method};
use crate::http1::chunked::{Decoder, Keep};
use crate::http1::framing::Framing;
use crate::http1::response::ResponseHead;
use crate::http1::{HeadError, HeadLimits, HeadScan};
use std::fmt::Write;
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const LIMITS: HeadLimits = HeadLimits {
    bytes: 16 << 10,
    fields: 100,
    target: 0,
};

/// Asks on a fresh connection, which is closed afterwards. The caller bounds the time.
pub(super) async fn ask(
    probe: &HttpProbe,
    mut stream: TcpStream,
    host: &str,
) -> Result<(), ProbeError> {
    stream.write_all(request(probe, host).as_bytes()).await?;
    let mut received = Vec::with_capacity(1024);
    let (status, framing) = head(probe, &mut stream, &mut received).await?;
    if !probe.expect.contain(status) {
        return Err(ProbeError::Status {
            found: status,
            expected: probe.expect.clone(),
        });
    }
    match &probe.body {
        Some(text) => find(text, &mut stream, received, framing).await,
        None => Ok(()),
    }
}

fn request(probe: &HttpProbe, host: &str) -> String {
    let mut request = format!("{} {} HTTP/1.1\r\n", probe.method.as_str(), probe.path);
    let own = [
        ("Host", host),
        ("User-Agent", super::USER_AGENT),
        ("Accept", "*/*"),
        ("Connection", "close"),
    ];
    let configured = |name: &str| {
        let mut names = probe.headers.iter().map(|(name, _)| name);
        names.any(|other| other.eq_ignore_ascii_case(name))
    };
    let own = own.into_iter().filter(|(name, _)| !configured(name));
    let configured = probe.headers.iter();
    let configured = configured.map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in own.chain(configured) {
        // Writing to a String does not fail.
        let _ = write!(request, "{name}: {value}\r\n");
    }
    request.push_str("\r\n");
    request
}

/// Reads to the end of the final answer's head; what came of its body stays in `received`.
async fn head(
    probe: &HttpProbe,
    stream: &mut TcpStream,
    received: &mut Vec<u8>,
) -> Result<(u16, Framing), ProbeError> {
    let to_head = probe.method == Method::Head;
    let mut scan = HeadScan::default();
    loop {
        if let Some(length) = scan.advance(received)? {
            let mut fields = Vec::new();
            let head = ResponseHead::parse(&received[..length], to_head, &LIMITS, &mut fields)?;
            let (status, framing) = (head.status, head.framing);
            received.drain(..length);
            if status >= 200 {
                return Ok((status, framing));
            }
            scan = HeadScan::default();
            continue;
        }
        if received.len() > LIMITS.bytes {
            return Err(HeadError::TooLarge.into());
        }
        if stream.read_buf(received).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
    }
}

/// Reads the body until `text` was in it. `received` is what came of it with the head.
async fn find(
    text: &str,
    stream: &mut TcpStream,
    mut received: Vec<u8>,
    framing: Framing,
) -> Result<(), ProbeError> {
    let lacks = || ProbeError::Lacks(text.to_owned());
    let mut body = Body::new(framing);
    loop {
        body.take(&mut received)?;
        if body.holds(text) {
            return Ok(());
        }
        if body.is_over() {
            return Err(lacks());
        }
        if stream.read_buf(&mut received).await? == 0 {
            return Err(match framing {
                Framing::UntilClose => lacks(),
                _ => io::Error::from(io::ErrorKind::UnexpectedEof).into(),
            });
        }
    }
}

/// The beginning of a body, without its framing.
struct Body {
    data: Vec<u8>,
    /// Bytes that may still come; of a chunked body its end tells.
    left: u64,
    chunks: Option<Decoder>,
}

impl Body {
    fn new(framing: Framing) -> Self {
        Body {
            data: Vec::new(),
            left: match framing {
                Framing::Empty => 0,
                Framing::Length(length) => length,
                Framing::Chunked | Framing::UntilClose => u64::MAX,
            },
            chunks: (framing == Framing::Chunked).then(Decoder::new),
        }
    }

    /// Takes what has come; a line of chunk framing that is not all there yet is left.
    fn take(&mut self, received: &mut Vec<u8>) -> Result<(), ProbeError> {
        let (consumed, forward) = match &mut self.chunks {
            Some(chunks) => {
                let decoded = chunks.decode(received, Keep::Data)?;
                (decoded.consumed, decoded.forward)
            }
            None => (received.len(), received.len()),
        };
        let kept = forward.min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let room = HttpProbe::BODY_BYTES - self.data.len();
        self.data.extend_from_slice(&received[..kept.min(room)]);
        self.left -= kept as u64;
        received.drain(..consumed);
        Ok(())
    }

    fn holds(&self, text: &str) -> bool {
        memchr::memmem::find(&self.data, text.as_bytes()).is_some()
    }

    /// Nothing more will come, or nothing that is looked at.
    fn is_over(&self) -> bool {
        let ended = self.chunks.as_ref().is_some_and(Decoder::is_done);
        ended || self.left == 0 || self.data.len() == HttpProbe::BODY_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn configured_headers_take_the_place_of_the_probes_own() {
        let mut probe = HttpProbe::default();
        let plain = "GET /health HTTP/1.1\r\nHost: b:1\r\nUser-Agent: lemonade-health-check\r\nAccept: */*\r\nConnection: close\r\n\r\n";
        assert_eq!(request(&probe, "b:1"), plain);
        probe.headers = vec![
            ("X-Probe".to_owned(), "1".to_owned()),
            ("host".to_owned(), "api".to_owned()),
        ];
        let request = request(&probe, "b:1");
        assert!(
            request.ends_with("\r\nX-Probe: 1\r\nhost: api\r\n\r\n"),
            "{request}"
        );
        assert!(!request.contains("Host: b:1"), "{request}");
    }

    proptest! {
        #[test]
        fn body_is_the_same_however_it_arrives(cuts in prop::collection::vec(0usize..60, 0..6), chunked in any::<bool>()) {
            let (framing, wire) = match chunked {
                true => (Framing::Chunked, &b"6\r\nall is\r\n5;x=y\r\n well\r\n0\r\nA: b\r\n\r\nmore"[..]),
                false => (Framing::Length(11), &b"all is wellmore"[..]),
            };
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(wire.len())).collect();
            cuts.extend([0, wire.len()]);
            cuts.sort_unstable();
            let mut body = Body::new(framing);
            let mut received = Vec::new();
            for piece in cuts.windows(2) {
                received.extend_from_slice(&wire[piece[0]..piece[1]]);
                body.take(&mut received).unwrap();
            }
            prop_assert!(body.is_over());
            prop_assert_eq!(&body.data[..], b"all is well");
        }
    }
}
