//! The chunked coding (RFC 9112 section 7): a strict decoder that finds the end without copying.
//!
//! Chunk data and its framing pass on as they came once every byte of the framing was checked; the last chunk and the
//! trailer section are taken out, so that the relay can filter trailers and write the end itself.

use super::HeadLimits;
use super::fields::{self, Field, Known};
use thiserror::Error;

/// A chunk extension longer than this is an attack, not metadata: nothing in the field uses them.
const MAX_EXTENSION: usize = 256;
/// Bound on a whole trailer section.
const MAX_TRAILERS: usize = 8 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub(crate) struct BadChunk(&'static str);

/// What the decoder waits for. Lines of framing are taken whole or not at all, so no state lies within one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size,
    Data {
        left: u64,
    },
    /// The CRLF after a chunk's data.
    DataEnd,
    Trailers,
    Done,
}

/// How far one call of [`Decoder::decode`] came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decoded {
    /// Bytes of the input that are dealt with; a line of framing that is not all there yet stays.
    pub(crate) consumed: usize,
    /// Bytes at the input's front to pass on.
    pub(crate) forward: usize,
}

/// Which bytes are passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// Data with its chunk framing, for a recipient that reads the chunked coding.
    Framing,
    /// Data alone, moved together in place, for one that reads until the connection closes.
    Data,
}

#[derive(Debug)]
pub(crate) struct Decoder {
    state: State,
    /// The trailer section so far, its final empty line included.
    trailers: Vec<u8>,
}

impl Decoder {
    pub(crate) fn new() -> Self {
        Self {
            state: State::Size,
            trailers: Vec::new(),
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Decodes as much of `input` as there is. Chunk extensions are dropped (RFC 9112 7.1.1 lets everyone ignore them), and
    /// with [`Keep::Framing`] the last chunk's own line is held back for [`Self::write_end`].
    pub(crate) fn decode(&mut self, input: &mut [u8], keep: Keep) -> Result<Decoded, BadChunk> {
        let mut pass = InPlace {
            bytes: input,
            forward: 0,
        };
        let mut at = 0;
        while at < pass.bytes.len() && self.state != State::Done {
            let rest = &pass.bytes[at..];
            match self.state {
                State::Size => {
                    let Some(line) = size_line(rest)? else { break };
                    if line.size == 0 {
                        self.state = State::Trailers;
                    } else {
                        self.state = State::Data { left: line.size };
                        if keep == Keep::Framing {
                            pass.keep(at..at + line.digits);
                            pass.keep(at + line.length - 2..at + line.length);
                        }
                    }
                    at += line.length;
                }
                State::Data { left } => {
                    let run = left.min(rest.len() as u64) as usize;
                    let left = left - run as u64;
                    self.state = if left == 0 {
                        State::DataEnd
                    } else {
                        State::Data { left }
                    };
                    pass.keep(at..at + run);
                    at += run;
                }
                State::DataEnd => {
                    match rest {
                        [b'\r', b'\n', ..] => {}
                        [b'\r'] => break,
                        _ => return Err(BadChunk("a chunk that does not end in CRLF")),
                    }
                    if keep == Keep::Framing {
                        pass.keep(at..at + 2);
                    }
                    self.state = State::Size;
                    at += 2;
                }
                State::Trailers => at += self.take_trailers(rest)?,
                State::Done => {}
            }
        }
        Ok(Decoded {
            consumed: at,
            forward: pass.forward,
        })
    }

    /// Collects the trailer section; returns how many bytes of `input` belong to it.
    fn take_trailers(&mut self, input: &[u8]) -> Result<usize, BadChunk> {
        for (index, byte) in input.iter().enumerate() {
            self.trailers.push(*byte);
            if self.trailers == b"\r\n" || self.trailers.ends_with(b"\r\n\r\n") {
                self.state = State::Done;
                self.fields(&mut Vec::new())?;
                return Ok(index + 1);
            }
            if self.trailers.len() > MAX_TRAILERS {
                return Err(BadChunk("a trailer section that is too large"));
            }
        }
        Ok(input.len())
    }

    /// The trailer section's fields, which are checked like a head's.
    fn fields(&self, fields: &mut Vec<Field>) -> Result<(), BadChunk> {
        let limits = HeadLimits {
            bytes: MAX_TRAILERS,
            fields: 64,
            target: 0,
        };
        fields::parse(&self.trailers, 0, &limits, fields)
            .map_err(|_| BadChunk("a malformed trailer section"))
    }

    /// Writes the end of the message: the last chunk, the trailers that may pass, the empty line.
    pub(crate) fn write_end(
        &self,
        out: &mut Vec<u8>,
        scratch: &mut Vec<Field>,
    ) -> Result<(), BadChunk> {
        out.extend_from_slice(b"0\r\n");
        if self.trailers.len() > 2 {
            self.fields(scratch)?;
            let may_pass = |field: &&Field| {
                field.known == Known::Other && !belongs_in_heads(field.name(&self.trailers))
            };
            for field in scratch.iter().filter(may_pass) {
                out.extend_from_slice(&self.trailers[field.line()]);
            }
        }
        out.extend_from_slice(b"\r\n");
        Ok(())
    }
}

/// Fields that no trailer section may hold, besides those that a proxy acts on: authentication, conditions and controls of a
/// request, control data of an answer, and how the content is to be read (RFC 9110 6.5.1, RFC 7230 4.1.2). A recipient that
/// adds trailers to the head would take them for fields that everyone on the way has checked.
fn belongs_in_heads(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 28] = [
        b"age",
        b"authorization",
        b"cache-control",
        b"content-encoding",
        b"content-location",
        b"content-range",
        b"content-type",
        b"cookie",
        b"date",
        b"expires",
        b"if-match",
        b"if-modified-since",
        b"if-none-match",
        b"if-range",
        b"if-unmodified-since",
        b"location",
        b"pragma",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"range",
        b"retry-after",
        b"set-cookie",
        b"strict-transport-security",
        b"trailer",
        b"vary",
        b"warning",
        b"www-authenticate",
        b"x-http-method-override",
    ];
    NAMES.iter().any(|other| name.eq_ignore_ascii_case(other))
}

/// Moves the parts to keep to the front; a part that already lies there costs nothing.
struct InPlace<'i> {
    bytes: &'i mut [u8],
    forward: usize,
}

impl InPlace<'_> {
    fn keep(&mut self, part: std::ops::Range<usize>) {
        let length = part.len();
        if part.start != self.forward {
            self.bytes.copy_within(part, self.forward);
        }
        self.forward += length;
    }
}

/// `chunk-size [ chunk-ext ] CRLF`, measured.
struct SizeLine {
    size: u64,
    digits: usize,
    length: usize,
}

/// The size line at the front of `bytes`; `None` while it is incomplete and may still become one.
fn size_line(bytes: &[u8]) -> Result<Option<SizeLine>, BadChunk> {
    let digits = bytes
        .iter()
        .take_while(|byte| byte.is_ascii_hexdigit())
        .count();
    // 15 digits are 2^60 bytes; no more, so that the sum cannot overflow.
    if digits > 15 {
        return Err(BadChunk("a chunk size with too many digits"));
    }
    let after = &bytes[digits..];
    if digits == 0 && !after.is_empty() {
        return Err(BadChunk("a chunk without a size"));
    }
    let extension = match after {
        [] | [b'\r'] => return Ok(None),
        [b'\r', ..] => 0,
        [b';', ..] => match after.iter().position(|byte| !is_extension_byte(*byte)) {
            Some(end) if end <= MAX_EXTENSION => end,
            None if after.len() <= MAX_EXTENSION => return Ok(None),
            _ => return Err(BadChunk("a chunk extension that is too long")),
        },
        _ => return Err(BadChunk("a chunk size that is no number")),
    };
    match &after[extension..] {
        [b'\r', b'\n', ..] => {}
        [b'\r'] => return Ok(None),
        _ => return Err(BadChunk("a chunk size line that does not end in CRLF")),
    }
    let size = bytes[..digits]
        .iter()
        .fold(0, |sum, digit| sum * 16 + u64::from(hex(*digit)));
    Ok(Some(SizeLine {
        size,
        digits,
        length: digits + extension + 2,
    }))
}

fn is_extension_byte(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~' | 0x80..)
}

/// The value of a byte that is known to be a hex digit.
fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Feeds `wire` as it would arrive, `step` bytes a time; returns what passes on and how much was consumed.
    fn run(wire: &[u8], step: usize, keep: Keep) -> Result<(Vec<u8>, usize, Decoder), BadChunk> {
        let mut decoder = Decoder::new();
        let (mut passed, mut consumed) = (Vec::new(), 0);
        let mut waiting = Vec::new();
        for piece in wire.chunks(step.max(1)) {
            waiting.extend_from_slice(piece);
            let decoded = decoder.decode(&mut waiting, keep)?;
            passed.extend_from_slice(&waiting[..decoded.forward]);
            waiting.drain(..decoded.consumed);
            consumed += decoded.consumed;
            if decoder.is_done() {
                break;
            }
        }
        Ok((passed, consumed, decoder))
    }

    fn end(decoder: &Decoder) -> String {
        let mut out = Vec::new();
        decoder.write_end(&mut out, &mut Vec::new()).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn data_passes_and_trailers_are_filtered() {
        let wire = b"5\r\nhello\r\n1;a=b\r\n!\r\n0\r\nX-Sum: 1\r\nContent-Length: 3\r\n\r\nNEXT";
        for step in 1..wire.len() {
            let (data, consumed, decoder) = run(wire, step, Keep::Data).unwrap();
            assert_eq!(data, b"hello!");
            assert_eq!(&wire[consumed..], b"NEXT");
            assert_eq!(end(&decoder), "0\r\nX-Sum: 1\r\n\r\n");
        }
    }

    #[test]
    fn bad_framing_is_refused() {
        for wire in [
            &b"\r\n"[..],
            b"g\r\n",
            b"-1\r\n",
            b"0x5\r\n",
            b" 5\r\n",
            b"5 \r\nhello\r\n",
            b"5\nhello\r\n",
            b"5\r\nhelloX\r\n",
            b"5\r\nhello\n",
            b"5\r\r\n",
            b"1000000000000000\r\n",
            b"5;a\nb\r\n",
            b"5;\0\r\n",
            b"5;\r\r\n",
        ] {
            assert!(
                run(wire, 1, Keep::Data).is_err(),
                "{:?}",
                String::from_utf8_lossy(wire)
            );
        }
        let flood = [b"5;".as_slice(), &[b'x'; 300]].concat();
        assert!(run(&flood, 64, Keep::Data).is_err());
        let trailers = [b"0\r\nX: ".as_slice(), &[b'x'; 9000]].concat();
        assert!(run(&trailers, 64, Keep::Data).is_err());
    }

    proptest! {
        #[test]
        fn any_cut_of_any_message_gives_the_same_bytes(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..64), 0..8),
            step in 1usize..80,
        ) {
            let mut wire = Vec::new();
            for chunk in &chunks {
                wire.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                wire.extend_from_slice(chunk);
                wire.extend_from_slice(b"\r\n");
            }
            let framed = wire.clone();
            wire.extend_from_slice(b"0\r\n\r\n");
            let (data, consumed, decoder) = run(&wire, step, Keep::Data).unwrap();
            prop_assert_eq!(data, chunks.concat());
            prop_assert_eq!(consumed, wire.len());
            prop_assert_eq!(end(&decoder), "0\r\n\r\n");
            // With its framing, all but the last chunk passes verbatim.
            let (passed, ..) = run(&wire, step, Keep::Framing).unwrap();
            prop_assert_eq!(passed, framed);
        }

        #[test]
        fn arbitrary_bytes_never_panic(wire in prop::collection::vec(any::<u8>(), 0..256), step in 1usize..32) {
            let _ = run(&wire, step, Keep::Framing);
        }
    }
}
