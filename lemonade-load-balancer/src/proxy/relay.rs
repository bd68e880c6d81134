//! Moves one message from one connection to the other: its head, then its body, with backpressure.
//!
//! A [`Relay`] is a hand-polled state machine rather than an `async fn` because a request needs two at once (body up, answer
//! down) over the same two connections, in one task, without a channel or a split stream between them.

use super::buffer::{Buffer, Output};
use crate::http1::chunked::{BadChunk, Decoder, Keep};
use crate::http1::fields::Field;
use crate::http1::framing::Framing;
use std::io::{self, IoSlice, Write};
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};

/// A body piece up to this size is copied behind the head, so that both leave in one flat write: cheaper than `writev`.
const FLAT: usize = 8 << 10;

/// Why a message could not be moved to its end.
#[derive(Debug, Error)]
pub(crate) enum RelayError {
    #[error("reading the body")]
    Source(#[source] io::Error),
    #[error("the sender closed its connection in the middle of the body")]
    Truncated,
    #[error("the body's chunked coding is malformed")]
    Malformed(#[from] BadChunk),
    #[error("writing to the recipient")]
    Sink(#[source] io::Error),
}

/// Where the body ends at its source.
#[derive(Debug)]
enum Source {
    Length(u64),
    Chunked(Box<Decoder>),
    UntilClose,
    Done,
}

/// How the recipient learns where the body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    /// As at the source.
    AsIs,
    /// Chunks of our own, for a body that ends with its connection.
    Chunks,
    /// Bare data; the connection's close is the end.
    Bare,
}

/// One message on its way. Poll it until it is ready; dropping it leaves both connections in the middle of a message.
#[derive(Debug)]
pub(crate) struct Relay {
    source: Source,
    coding: Coding,
    /// The head, later each chunk's size line when we chunk ourselves.
    before: Output,
    before_sent: usize,
    /// The part of the source's buffer that is being sent, counted from its front.
    piece: Range<usize>,
    /// Bytes of the source's buffer to drop once the piece is sent.
    consume: usize,
    after: Vec<u8>,
    after_sent: usize,
    /// The piece stays in the source's buffer, for the message to be sent again elsewhere.
    retain: bool,
    /// Bytes taken from the source, and bytes that the recipient took, of anything: what an idle timeout goes by.
    received: u64,
    sent: u64,
    /// The source's buffer may hold bytes that were not looked at; an incomplete line of chunked framing was.
    fresh: bool,
    /// Body bytes taken from the source.
    bytes: u64,
}

impl Relay {
    /// A message whose head is `head`, to a recipient that reads the source's own framing.
    pub(crate) fn new(head: Output, framing: Framing) -> Self {
        Self::with(head, framing, Coding::AsIs)
    }

    /// A response for a client; `chunks`: the client reads the chunked coding (HTTP/1.1).
    pub(crate) fn response(head: Output, framing: Framing, chunks: bool) -> Self {
        let coding = match framing {
            Framing::UntilClose if chunks => Coding::Chunks,
            Framing::Chunked if !chunks => Coding::Bare,
            _ => Coding::AsIs,
        };
        Self::with(head, framing, coding)
    }

    fn with(head: Output, framing: Framing, coding: Coding) -> Self {
        let source = match framing {
            Framing::Empty => Source::Done,
            Framing::Length(length) => Source::Length(length),
            Framing::Chunked => Source::Chunked(Box::new(Decoder::new())),
            Framing::UntilClose => Source::UntilClose,
        };
        Relay {
            source,
            coding,
            before: head,
            before_sent: 0,
            piece: 0..0,
            consume: 0,
            after: Vec::new(),
            after_sent: 0,
            retain: false,
            received: 0,
            sent: 0,
            fresh: true,
            bytes: 0,
        }
    }

    /// Keeps the body in the source's buffer, where it must lie in full, so that [`Self::rewind`] can start over.
    pub(crate) fn retaining(mut self) -> Self {
        self.retain = true;
        self
    }

    /// Starts a retained message over, for another recipient. One that is not retained was not begun either, or it would
    /// not be sent again.
    pub(crate) fn rewind_if_retained(&mut self, framing: Framing) {
        if self.retain {
            let head = std::mem::replace(&mut self.before, Output::none());
            *self = Relay::new(head, framing).retaining();
        }
    }

    /// Writes over a part of the head, of which nothing has left.
    pub(crate) fn overwrite_head(&mut self, place: usize, bytes: &[u8]) {
        debug_assert_eq!(self.before_sent, 0, "the head is on its way");
        if let Some(part) = self.before.get_mut(place..place + bytes.len()) {
            part.copy_from_slice(bytes);
        }
    }

    /// The same retained message from its start, to be sent elsewhere too.
    pub(crate) fn copy(&self, framing: Framing) -> Self {
        let mut head = Output::new();
        head.extend_from_slice(&self.before);
        Relay::new(head, framing).retaining()
    }

    /// The same while the message is still on its way: what has yet to leave the source's buffer leaves it as it is sent, and only
    /// a body that was sent whole is the caller's to drop (`true`).
    pub(crate) fn let_go(&mut self) -> bool {
        let sent = !self.is_blocked();
        self.release() && sent
    }

    /// Ends the retention: `true` if there was one, and the body may now leave the source's buffer.
    pub(crate) fn release(&mut self) -> bool {
        let retained = std::mem::take(&mut self.retain);
        if self.is_done() && !self.is_blocked() {
            self.rest();
        }
        retained
    }

    /// Holds no memory until there is something to send.
    fn rest(&mut self) {
        if !self.retain {
            self.before = Output::none();
            self.before_sent = 0;
        }
    }

    /// The message can be sent again from its start.
    pub(crate) fn is_retained(&self) -> bool {
        self.retain
    }

    /// Not a byte has left.
    pub(crate) fn is_untouched(&self) -> bool {
        self.sent == 0
    }

    /// Bytes wait for the recipient to take them; otherwise it is the source that is waited for.
    pub(crate) fn is_blocked(&self) -> bool {
        self.before_sent < self.before.len()
            || !self.piece.is_empty()
            || self.after_sent < self.after.len()
    }

    /// Bytes that came from the source so far, of anything.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// Bytes that the recipient took so far, of anything.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// Body bytes taken from the source so far, framing included.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Moves what can be moved now.
    pub(crate) fn poll<S, D>(
        &mut self,
        context: &mut Context<'_>,
        source: &mut S,
        buffer: &mut Buffer,
        sink: &mut D,
    ) -> Poll<Result<(), RelayError>>
    where
        S: AsyncRead + Unpin,
        D: AsyncWrite + Unpin,
    {
        loop {
            if self.fresh && self.may_stage() && !buffer.is_empty() {
                self.stage(buffer)?;
            }
            ready!(self.poll_send(context, buffer, sink)).map_err(RelayError::Sink)?;
            if self.is_done() {
                return Poll::Ready(Ok(()));
            }
            if self.fresh && !buffer.is_empty() {
                continue;
            }
            let Poll::Ready(filled) = buffer.poll_fill(context, source) else {
                self.rest();
                return Poll::Pending;
            };
            let filled = filled.map_err(RelayError::Source)?;
            self.fresh = true;
            self.received += filled as u64;
            if filled == 0 {
                self.end_of_source()?;
            }
        }
    }

    fn is_done(&self) -> bool {
        matches!(self.source, Source::Done)
    }

    /// What is staged must leave before more is; only an unsent head waits for the first piece, to leave with it.
    fn may_stage(&self) -> bool {
        !self.is_done() && self.piece.is_empty() && self.after.is_empty() && self.before_sent == 0
    }

    /// Decides how much of the buffer is the next piece.
    fn stage(&mut self, buffer: &mut Buffer) -> Result<(), RelayError> {
        self.fresh = false;
        let available = buffer.len();
        match &mut self.source {
            Source::Length(left) => {
                let part = (*left).min(available as u64);
                *left -= part;
                if *left == 0 {
                    self.source = Source::Done;
                }
                self.take(part as usize, part as usize);
            }
            Source::UntilClose => {
                self.take(available, available);
                if self.coding == Coding::Chunks {
                    if self.before.capacity() == 0 {
                        self.before = Output::new();
                    }
                    // Writing to a `Vec` cannot fail.
                    let _ = write!(self.before, "{available:x}\r\n");
                    self.after.extend_from_slice(b"\r\n");
                }
            }
            Source::Chunked(decoder) => {
                let keep = if self.coding == Coding::Bare {
                    Keep::Data
                } else {
                    Keep::Framing
                };
                let decoded = decoder.decode(buffer.filled_mut(), keep)?;
                if decoder.is_done() {
                    if keep == Keep::Framing {
                        decoder.write_end(&mut self.after, &mut Vec::<Field>::new())?;
                    }
                    self.source = Source::Done;
                }
                self.take(decoded.forward, decoded.consumed);
            }
            Source::Done => {}
        }
        self.flatten(buffer);
        Ok(())
    }

    fn take(&mut self, forward: usize, consume: usize) {
        self.piece = 0..forward;
        self.consume = consume;
        self.bytes += consume as u64;
    }

    /// A small piece behind an unsent head joins it.
    fn flatten(&mut self, buffer: &mut Buffer) {
        if self.retain || self.before.is_empty() || self.piece.len() > FLAT {
            return;
        }
        self.before
            .extend_from_slice(buffer.part(self.piece.clone()));
        self.before.extend_from_slice(&self.after);
        self.after.clear();
        buffer.consume(self.consume);
        (self.piece, self.consume) = (0..0, 0);
    }

    /// Sends all that is staged: before, piece, after.
    fn poll_send<D: AsyncWrite + Unpin>(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut Buffer,
        sink: &mut D,
    ) -> Poll<io::Result<()>> {
        loop {
            let before = &self.before[self.before_sent..];
            let piece = buffer.part(self.piece.clone());
            let after = &self.after[self.after_sent..];
            let sink = Pin::new(&mut *sink);
            let sent = match (before.is_empty(), piece.is_empty(), after.is_empty()) {
                (true, true, true) => break,
                (false, true, true) => ready!(sink.poll_write(context, before))?,
                (true, false, true) => ready!(sink.poll_write(context, piece))?,
                (true, true, false) => ready!(sink.poll_write(context, after))?,
                _ => {
                    let slices = [
                        IoSlice::new(before),
                        IoSlice::new(piece),
                        IoSlice::new(after),
                    ];
                    ready!(sink.poll_write_vectored(context, &slices))?
                }
            };
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += sent as u64;
            self.took(sent);
        }
        self.finish_piece(buffer);
        Poll::Ready(Ok(()))
    }

    fn took(&mut self, mut count: usize) {
        let part = count.min(self.before.len() - self.before_sent);
        self.before_sent += part;
        count -= part;
        let part = count.min(self.piece.len());
        self.piece.start += part;
        self.after_sent += count - part;
    }

    fn finish_piece(&mut self, buffer: &mut Buffer) {
        if self.retain {
            return;
        }
        self.before.clear();
        self.after.clear();
        (self.before_sent, self.after_sent, self.piece) = (0, 0, 0..0);
        let topped_up = self.consume > 0 && buffer.is_topped_up();
        buffer.consume(std::mem::take(&mut self.consume));
        if topped_up && !self.is_done() {
            buffer.enlarge();
        }
    }

    /// The source closed its connection: the end of a body that ends so, the loss of any other.
    fn end_of_source(&mut self) -> Result<(), RelayError> {
        if !matches!(self.source, Source::UntilClose) {
            return Err(RelayError::Truncated);
        }
        self.source = Source::Done;
        if self.coding == Coding::Chunks {
            self.after.extend_from_slice(b"0\r\n\r\n");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::future::poll_fn;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// Sends `wire` in pieces of `step` through a relay over pipes of `room` bytes; what arrives, and how it ended.
    fn relay(
        mut relay: Relay,
        wire: &[u8],
        step: usize,
        room: usize,
    ) -> (Vec<u8>, Result<(), RelayError>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(async {
            let (mut sender, mut source) = tokio::io::duplex(room);
            let (mut sink, mut recipient) = tokio::io::duplex(room);
            let send = async move {
                for piece in wire.chunks(step) {
                    // The relay may be done before all is sent.
                    if sender.write_all(piece).await.is_err() {
                        break;
                    }
                }
            };
            let pass = async move {
                let mut buffer = Buffer::default();
                let result =
                    poll_fn(|context| relay.poll(context, &mut source, &mut buffer, &mut sink))
                        .await;
                drop((source, sink));
                result
            };
            let receive = async move {
                let mut got = Vec::new();
                recipient.read_to_end(&mut got).await.unwrap();
                got
            };
            let ((), result, got) = tokio::join!(send, pass, receive);
            (got, result)
        })
    }

    fn head() -> Output {
        let mut head = Output::new();
        head.extend_from_slice(b"HEAD ");
        head
    }

    /// The data of a chunked body.
    fn dechunked(wire: &[u8]) -> Vec<u8> {
        let mut wire = wire.to_vec();
        let mut decoder = Decoder::new();
        let decoded = decoder.decode(&mut wire, Keep::Data).unwrap();
        assert!(decoder.is_done());
        wire.truncate(decoded.forward);
        wire
    }

    #[test]
    fn truncated_bodies_are_never_a_clean_end() {
        for (framing, wire) in [
            (Framing::Length(5), &b"1234"[..]),
            (Framing::Chunked, b"5\r\n123"),
            (Framing::Chunked, b"5\r\n12345\r\n0\r\n"),
        ] {
            let (_, result) = relay(Relay::new(head(), framing), wire, 2, 64);
            assert!(
                matches!(result, Err(RelayError::Truncated)),
                "{framing:?}: {result:?}"
            );
        }
    }

    #[test]
    fn body_that_is_let_go_half_sent_arrives_whole_and_once() {
        let body: Vec<u8> = (0..20_000u32).map(|place| place as u8).collect();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(async {
            let (mut client, mut source) = tokio::io::duplex(64 << 10);
            client.write_all(&body).await.unwrap();
            client.write_all(b"GET /next").await.unwrap();
            let (mut sink, mut backend) = tokio::io::duplex(1000);
            let mut buffer = Buffer::default();
            poll_fn(|context| buffer.poll_fill(context, &mut source))
                .await
                .unwrap();
            let mut relay = Relay::new(head(), Framing::Length(20_000)).retaining();
            let first = poll_fn(|context| {
                Poll::Ready(relay.poll(context, &mut source, &mut buffer, &mut sink))
            });
            assert!(first.await.is_pending());
            assert!(!relay.let_go(), "the rest has yet to be sent");
            let pass = async {
                let passed =
                    poll_fn(|context| relay.poll(context, &mut source, &mut buffer, &mut sink));
                passed.await.unwrap();
                drop(sink);
            };
            let mut got = Vec::new();
            let receive = backend.read_to_end(&mut got);
            let ((), received) = tokio::join!(pass, receive);
            received.unwrap();
            assert!(got[5..] == body[..], "every byte, once");
            assert_eq!(buffer.filled(), b"GET /next");
        });
    }

    #[test]
    fn bytes_after_the_body_stay_behind() {
        let (got, result) = relay(Relay::new(head(), Framing::Length(4)), b"1234NEXT", 8, 64);
        assert!(result.is_ok());
        assert_eq!(got, b"HEAD 1234");
    }

    proptest! {
        #[test]
        fn every_coding_delivers_the_body_whole(
            body in prop::collection::vec(any::<u8>(), 1..40_000),
            step in 1usize..20_000,
            room in 64usize..8_192,
        ) {
            let (got, result) = relay(Relay::new(head(), Framing::Length(body.len() as u64)), &body, step, room);
            prop_assert!(result.is_ok());
            prop_assert_eq!(&got[5..], &body[..]);

            let (got, result) = relay(Relay::response(head(), Framing::UntilClose, true), &body, step, room);
            prop_assert!(result.is_ok());
            prop_assert_eq!(&dechunked(&got[5..]), &body);

            let mut wire = Vec::new();
            for chunk in body.chunks(777) {
                wire.extend_from_slice(format!("{:X};x=y\r\n", chunk.len()).as_bytes());
                wire.extend_from_slice(chunk);
                wire.extend_from_slice(b"\r\n");
            }
            wire.extend_from_slice(b"0\r\nX-T: 1\r\n\r\n");
            let (got, result) = relay(Relay::new(head(), Framing::Chunked), &wire, step, room);
            prop_assert!(result.is_ok());
            prop_assert_eq!(&dechunked(&got[5..]), &body);
            prop_assert!(got.ends_with(b"0\r\nX-T: 1\r\n\r\n"));

            let (got, result) = relay(Relay::response(head(), Framing::Chunked, false), &wire, step, room);
            prop_assert!(result.is_ok());
            prop_assert_eq!(&got[5..], &body[..]);
        }
    }
}
