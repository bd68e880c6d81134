//! One request on one backend connection: the request goes up while the answer is awaited, then the answer comes down.
//!
//! Both directions are polled in the client connection's own task: no second task, no channel, so no wake-up between the two
//! connections. That is where most of the time goes that a proxy built from a client and a server library spends.

use super::buffer::Output;
use super::downstream::Client;
use super::forward::{Failure, Request};
use super::headers::{self, Recipient};
use super::pace::{self, Moved, Pace};
use super::relay::{Relay, RelayError};
use super::server_timing::{Spent, Timing};
use super::shard::Shard;
use super::upstream::Connection;
use crate::config::Config;
use crate::http1::framing::Framing;
use crate::http1::response::ResponseHead;
use crate::http1::{HeadLimits, HeadScan, Version};
use crate::listen::KEEP_ALIVE;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::io::AsyncWrite;

/// Interim answers that one request may get; a backend that sends more is misbehaving.
const MAX_INTERIM: usize = 32;

/// An exchange under way.
pub(super) struct Exchange<'e> {
    pub(super) client: &'e mut Client,
    pub(super) connection: &'e mut Connection,
    /// The request on its way up.
    pub(super) relay: &'e mut Relay,
    pub(super) request: &'e Request,
    config: &'e Config,
    /// When the attempt began on its connection.
    sent: Instant,
    /// How long the backend may take to begin its answer.
    patience: Duration,
    /// What is set with an answer that is no failure.
    pub(super) cookie: Option<Box<[u8]>>,
    /// What is known of its time, if the client is to be told.
    pub(super) timing: Option<Timing>,
    /// Where the request is.
    pub(super) upload: Upload,
    upload_pace: Pace,
}

/// How far the request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Upload {
    Going,
    Done,
    /// The backend stopped reading; it may still answer.
    Refused,
}

/// The head of the final answer, written for the client, and what follows it.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) relay: Relay,
    /// The backend will take another request on this connection.
    pub(super) reusable: bool,
    pub(super) keep_alive_timeout: Option<u32>,
    /// The client will get another answer on its connection.
    pub(super) keep_alive: bool,
    /// The length of its body if all of that has arrived already.
    pub(super) whole: Option<usize>,
    /// It says when to come back: the backend is busy, not broken.
    pub(super) retry_after: bool,
    pub(super) first_byte: Instant,
    /// How long that took since the attempt began on its connection.
    pub(super) took: Duration,
}

impl Answer {
    /// It says that the backend failed. One that says when to come back is busy, not broken.
    pub(super) fn is_fault(&self) -> bool {
        is_fault(self.status) && !self.retry_after
    }
}

/// Whether a status says that the backend failed. That it does not know a method or a version is the request's fault.
pub(super) fn is_fault(status: u16) -> bool {
    status >= 500 && !matches!(status, 501 | 505)
}

/// One head from the backend.
enum Head {
    Interim { status: u16, out: Output },
    Final(Box<Answer>),
}

/// What the backend answered.
pub(super) enum Answered {
    Final(Box<Answer>),
    /// 101: both connections now belong to another protocol.
    Switched {
        took: Duration,
    },
}

impl<'e> Exchange<'e> {
    pub(super) fn new(
        client: &'e mut Client,
        connection: &'e mut Connection,
        relay: &'e mut Relay,
        request: &'e Request,
        config: &'e Config,
        sent: Instant,
        patience: Duration,
    ) -> Self {
        Exchange {
            client,
            connection,
            relay,
            request,
            config,
            sent,
            patience,
            cookie: None,
            timing: None,
            upload: Upload::Going,
            upload_pace: Pace::default(),
        }
    }

    /// Sends the request and waits for the answer's head, passing interim answers on as they come.
    pub(super) async fn answer(&mut self, shard: &Shard) -> Result<Answered, Failure> {
        for _ in 0..MAX_INTERIM {
            let length = self.head().await?;
            let first_byte = Instant::now();
            match self.read_head(length, first_byte, shard)? {
                Head::Final(answer) => return Ok(Answered::Final(answer)),
                Head::Interim { status, out } => {
                    // RFC 9110 15.2: an HTTP/1.0 client gets no 1xx.
                    if self.request.version == Version::Http11 {
                        write_all(self.client, &out)
                            .await
                            .map_err(|_| Failure::ClientGone)?;
                    }
                    if status == 101 {
                        let took = first_byte.saturating_duration_since(self.sent);
                        return Ok(Answered::Switched { took });
                    }
                }
            }
        }
        Err(Failure::BadAnswer)
    }

    /// Reads the head of `length` bytes at the front of the connection's buffer, and writes it as the client gets it.
    fn read_head(
        &mut self,
        length: usize,
        first_byte: Instant,
        shard: &Shard,
    ) -> Result<Head, Failure> {
        let mut scratch = shard.scratch();
        let bytes = &self.connection.buffer.filled()[..length];
        let limits = HeadLimits::from(&self.config.limits);
        let head = ResponseHead::parse(bytes, self.request.to_head, &limits, &mut scratch)
            .map_err(|_| Failure::BadAnswer)?;
        let read = match head.status {
            101 if !self.may_switch(&head) => return Err(Failure::BadAnswer),
            100..200 => {
                let mut out = Output::new();
                headers::write_interim(&head, self.cookie.as_deref(), &mut out);
                Head::Interim {
                    status: head.status,
                    out,
                }
            }
            _ => Head::Final(Box::new(self.begin_answer(
                &head,
                first_byte,
                shard.is_draining(),
            ))),
        };
        self.connection.buffer.consume(length);
        Ok(read)
    }

    /// An answer 101 must have been asked for, say to what, and come after all of the request: what is left of its body would
    /// be read as the other protocol.
    fn may_switch(&self, head: &ResponseHead<'_>) -> bool {
        self.request.upgrade && head.names_protocol() && self.upload == Upload::Done
    }

    /// From here on the request is not sent again, so a body kept for that leaves the client's buffer; and only silence is too long.
    pub(super) fn begin_answering(&mut self) {
        self.client.deadline.cap(None);
        if let (true, Framing::Length(length)) = (self.relay.let_go(), self.request.framing) {
            self.client.buffer.consume(length as usize);
        }
    }

    fn begin_answer(&self, head: &ResponseHead<'_>, first_byte: Instant, draining: bool) -> Answer {
        let chunks = self.request.version == Version::Http11;
        // Without chunks, the end of a body of unknown length can only be told by closing.
        let delimited = chunks || !matches!(head.framing, Framing::UntilClose | Framing::Chunked);
        let keep_alive =
            self.request.keep_alive && delimited && self.upload == Upload::Done && !draining;
        let took = first_byte.saturating_duration_since(self.sent);
        let mut out = Output::new();
        let recipient = Recipient {
            version: self.request.version,
            keep_alive,
            id: &self.request.id,
            // Nobody is to be kept where it failed.
            cookie: self.cookie.as_deref().filter(|_| head.status < 500),
            spent: self.timing.map(|before| Spent {
                before,
                backend: took,
            }),
        };
        headers::write_response(head, &recipient, &mut out);
        Answer {
            status: head.status,
            relay: Relay::response(out, head.framing, chunks),
            reusable: head.keeps_alive(),
            keep_alive_timeout: head.keep_alive_timeout(),
            keep_alive,
            whole: match head.framing {
                Framing::Empty => Some(0),
                Framing::Length(length) => {
                    let arrived = self.connection.buffer.len() - head.bytes.len();
                    (length <= arrived as u64).then_some(length as usize)
                }
                Framing::Chunked | Framing::UntilClose => None,
            },
            retry_after: head.says_busy(),
            first_byte,
            took,
        }
    }

    /// Sends what can be sent of the request until the answer's next head is complete; returns its length.
    async fn head(&mut self) -> Result<usize, Failure> {
        let mut scan = HeadScan::default();
        let wait = match self.upload {
            Upload::Going => self.config.timeouts.idle,
            _ => self.patience,
        };
        self.client.deadline.set(wait);
        let most = self.config.limits.header_bytes;
        poll_fn(|context| {
            self.poll_upload(context)?;
            if let Poll::Ready(length) = poll_head(self.connection, most, context, &mut scan)? {
                return Poll::Ready(Ok(length));
            }
            if self.upload != Upload::Going {
                poll_client_gone(self.client, context)?;
            }
            match self.client.deadline.poll(context) {
                // A backend that stops reading is as late as one that does not answer.
                Poll::Ready(()) if self.client.deadline.is_capped() => {
                    Poll::Ready(Err(Failure::TotalTimeout))
                }
                Poll::Ready(()) if self.upload == Upload::Going && !self.relay.is_blocked() => {
                    Poll::Ready(Err(Failure::RequestTimeout))
                }
                Poll::Ready(()) => Poll::Ready(Err(Failure::AnswerTimeout)),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    /// Moves the request on. An error of the client's side ends the exchange; one of the backend's side does not, because a
    /// backend that refuses a body has usually said why.
    fn poll_upload(&mut self, context: &mut Context<'_>) -> Result<(), Failure> {
        if self.upload != Upload::Going {
            return Ok(());
        }
        let (client, connection) = (&mut *self.client, &mut *self.connection);
        match self.relay.poll(
            context,
            &mut client.stream,
            &mut client.buffer,
            &mut connection.stream,
        ) {
            Poll::Ready(Ok(())) => {
                self.upload = Upload::Done;
                if !self.relay.is_retained() {
                    client.deadline.cap(Some(self.config.timeouts.total));
                }
                client.deadline.set(self.patience);
            }
            Poll::Ready(Err(RelayError::Sink(_))) => self.upload = Upload::Refused,
            Poll::Ready(Err(RelayError::Malformed(_))) => return Err(Failure::BadBody),
            Poll::Ready(Err(RelayError::Source(_) | RelayError::Truncated)) => {
                return Err(Failure::ClientGone);
            }
            Poll::Pending => {
                let moved = Moved {
                    client: self.relay.received(),
                    backend: self.relay.sent(),
                };
                let waits_for_client = !self.relay.is_blocked();
                let least = pace::least(&self.config.limits, &self.config.timeouts);
                if self.upload_pace.earns_time(moved, waits_for_client, least) {
                    client.deadline.set(self.config.timeouts.idle);
                }
            }
        }
        Ok(())
    }

    /// Throws an answer's body of so many bytes away, all of which have arrived. The request must be sent whole, or the
    /// connection is in the middle of it: then `false`.
    pub(super) fn discard(&mut self, length: usize) -> bool {
        self.connection.buffer.consume(length);
        self.upload == Upload::Done
    }

    /// Relays the answer to its end, and what is left of the request beside it.
    pub(super) async fn relay_answer(&mut self, answer: &mut Answer) -> Result<(), Failure> {
        if answer.whole.is_some() && !answer.keep_alive {
            self.client.end_with_next_write();
        }
        let answer = &mut answer.relay;
        let mut waiting = false;
        let mut pace = Pace::default();
        poll_fn(|context| {
            self.poll_upload(context)?;
            let (client, connection) = (&mut *self.client, &mut *self.connection);
            match answer.poll(
                context,
                &mut connection.stream,
                &mut connection.buffer,
                &mut client.stream,
            ) {
                Poll::Ready(Ok(())) => return Poll::Ready(Ok(())),
                Poll::Ready(Err(RelayError::Sink(_))) => {
                    return Poll::Ready(Err(Failure::ClientGone));
                }
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Failure::Broken)),
                Poll::Pending => {}
            }
            if self.upload != Upload::Going {
                poll_client_gone(self.client, context)?;
            }
            let moved = Moved {
                client: answer.sent(),
                backend: answer.received(),
            };
            let waits_for_client = answer.is_blocked();
            let least = pace::least(&self.config.limits, &self.config.timeouts);
            if pace.earns_time(moved, waits_for_client, least)
                || !std::mem::replace(&mut waiting, true)
            {
                self.client.deadline.set(self.config.timeouts.idle);
            }
            let late = match waits_for_client {
                true => Failure::SlowClient,
                false => Failure::Cut,
            };
            self.client.deadline.poll(context).map(|()| Err(late))
        })
        .await
    }

    /// Moves bytes both ways until both sides have ended, or nothing moved for too long. Returns how many came from the client and
    /// from the backend.
    pub(super) async fn tunnel(&mut self) -> (u64, u64) {
        let mut up = Relay::new(Output::none(), Framing::UntilClose);
        let mut down = Relay::new(Output::none(), Framing::UntilClose);
        let (mut up_open, mut down_open) = (true, true);
        // A pooled connection is soon used again or closed; a tunnel may rest for an hour. Without it, that is how long a dead
        // backend keeps its client.
        let _ = socket2::SockRef::from(&self.connection.stream).set_tcp_keepalive(&KEEP_ALIVE);
        let timeout = self.config.timeouts.tunnel;
        self.client.deadline.set(timeout);
        let mut moved = 0;
        let (client, connection) = (&mut *self.client, &mut *self.connection);
        let ended: Result<(), RelayError> = poll_fn(|context| {
            if up_open {
                let moved = up.poll(
                    context,
                    &mut client.stream,
                    &mut client.buffer,
                    &mut connection.stream,
                );
                up_open = !half_closed(moved, context, &mut connection.stream)?;
            }
            if down_open {
                let moved = down.poll(
                    context,
                    &mut connection.stream,
                    &mut connection.buffer,
                    &mut client.stream,
                );
                down_open = !half_closed(moved, context, &mut client.stream)?;
            }
            if !up_open && !down_open {
                return Poll::Ready(Ok(()));
            }
            let moved_before = std::mem::replace(&mut moved, up.sent() + down.sent());
            if moved > moved_before {
                client.deadline.set(timeout);
            }
            client.deadline.poll(context).map(|()| Ok(()))
        })
        .await;
        // A reset of either side ends the tunnel as surely as a close.
        drop(ended);
        (up.bytes(), down.bytes())
    }
}

/// Reads until a whole head, of `most` bytes at most, is at the front of the connection's buffer; its length.
pub(super) fn poll_head(
    connection: &mut Connection,
    most: usize,
    context: &mut Context<'_>,
    scan: &mut HeadScan,
) -> Poll<Result<usize, Failure>> {
    let buffer = &mut connection.buffer;
    loop {
        let length = scan
            .advance(buffer.filled())
            .map_err(|_| Failure::BadAnswer)?;
        if length.unwrap_or(buffer.len()) > most {
            return Poll::Ready(Err(Failure::BadAnswer));
        }
        if let Some(length) = length {
            return Poll::Ready(Ok(length));
        }
        // Another protocol may never send the line end that would tell.
        if buffer.len() >= 5 && !buffer.filled().starts_with(b"HTTP/") {
            return Poll::Ready(Err(Failure::BadAnswer));
        }
        match ready!(buffer.poll_fill(context, &mut connection.stream)) {
            Ok(0) | Err(_) if buffer.is_empty() => {
                return Poll::Ready(Err(Failure::Unanswered));
            }
            Ok(0) | Err(_) => return Poll::Ready(Err(Failure::BadAnswer)),
            Ok(_) => {}
        }
    }
}

/// Reads ahead from a client that waits: its next request, or the news that it left. A client that shuts down its sending side
/// counts as gone, as in nginx, Go and Envoy: most who do that have closed.
pub(super) fn poll_client_gone(
    client: &mut Client,
    context: &mut Context<'_>,
) -> Result<(), Failure> {
    while !client.buffer.is_full() {
        match client.buffer.poll_fill(context, &mut client.stream) {
            Poll::Pending => break,
            Poll::Ready(Ok(0) | Err(_)) => return Err(Failure::ClientGone),
            Poll::Ready(Ok(_)) => {}
        }
    }
    Ok(())
}

/// Passes the end of one direction on to its recipient; whether it has come.
fn half_closed(
    moved: Poll<Result<(), RelayError>>,
    context: &mut Context<'_>,
    recipient: &mut (impl AsyncWrite + Unpin),
) -> Result<bool, RelayError> {
    match moved {
        Poll::Pending => Ok(false),
        Poll::Ready(Err(error)) => Err(error),
        Poll::Ready(Ok(())) => {
            // A TCP shutdown never waits.
            let _ = Pin::new(recipient).poll_shutdown(context);
            Ok(true)
        }
    }
}

/// Writes all of `bytes` to the client, within its idle timeout.
pub(super) async fn write_all(client: &mut Client, bytes: &[u8]) -> io::Result<()> {
    let mut left = bytes;
    poll_fn(|context| {
        while !left.is_empty() {
            match Pin::new(&mut client.stream).poll_write(context, left)? {
                Poll::Ready(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(count) => left = &left[count..],
                Poll::Pending => {
                    return client
                        .deadline
                        .poll(context)
                        .map(|()| Err(io::ErrorKind::TimedOut.into()));
                }
            }
        }
        Poll::Ready(Ok(()))
    })
    .await
}
