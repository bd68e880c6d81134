//! One client connection: read a head, hand the request on, and again, until someone has had enough.
//!
//! A connection that waits holds no buffer but what it has of a message: its cost is its socket and this task's state, about
//! 3 KB.

use super::accept::OpenConnection;
use super::buffer::{Buffer, Output};
use super::deadline::Deadline;
use super::exchange::write_all;
use super::forward::{self, Next, Request};
use super::headers::{self, Forwarding};
use super::hops;
use super::reply::{self, Reason, Style};
use super::shard::Shard;
use super::sticky::Shown;
use crate::affinity::Recognised;
use crate::config::Config;
use crate::http1::fields::Known;
use crate::http1::request::RequestHead;
use crate::http1::{HeadError, HeadLimits, HeadScan};
use socket2::SockRef;
use std::future::poll_fn;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// How long a connection that is idle when a drain begins may still ask: its next request may be on its way, and closing
/// before it would lose it. What it asks is answered with `Connection: close`.
const GRACE: Duration = Duration::from_secs(1);
/// How long a connection that is to be closed may go on sending.
const LINGER: Duration = Duration::from_secs(2);

/// A client's connection.
pub(super) struct Client {
    pub(super) stream: TcpStream,
    /// Received and not yet dealt with: a body's beginning, a pipelined request.
    pub(super) buffer: Buffer,
    pub(super) deadline: Deadline,
    /// A request was read and its answer has not ended: if the connection goes now, it must not look complete.
    pub(super) owes_answer: bool,
    peer: SocketAddr,
    /// Where it found us.
    local: SocketAddr,
    said: Option<Said>,
}

/// What is said of a client, made for the configuration that it was last used with.
struct Said {
    config: Arc<Config>,
    /// To backends.
    forwarding: Forwarding,
}

impl Said {
    fn of(peer: SocketAddr, local: SocketAddr, config: &Arc<Config>) -> Self {
        Said {
            config: config.clone(),
            forwarding: Forwarding::new(peer, local, &config.headers),
        }
    }
}

impl Client {
    pub(super) fn new(
        stream: TcpStream,
        peer: SocketAddr,
        local: SocketAddr,
        shard: &Shard,
    ) -> Self {
        Client {
            stream,
            buffer: Buffer::default(),
            deadline: shard.timers.deadline(),
            owes_answer: false,
            peer,
            local,
            said: None,
        }
    }

    /// Holds what is written next back until the connection is closed, so that the close leaves in the same segment: one
    /// packet less for us, the kernel and the client to handle (tcp(7), `TCP_CORK`).
    pub(super) fn end_with_next_write(&self) {
        // Without it, the same leaves in two.
        let _ = SockRef::from(&self.stream).set_tcp_cork(true);
    }
}

impl Drop for Client {
    /// Resets a connection that is dropped in the middle of an answer, as at the end of a drain.
    fn drop(&mut self) {
        if self.owes_answer {
            // If it fails the connection is gone already.
            let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
        }
    }
}

/// What came of waiting for a head.
enum Arrival {
    /// A complete head of so many bytes at the buffer's front.
    Head(usize),
    Refused(Reason),
    /// The client left, idled too long, or is asked to by a drain.
    Gone,
}

/// Serves one connection to its end.
pub(super) async fn serve(mut client: Client, shard: Rc<Shard>, _open: OpenConnection) {
    let mut first = true;
    loop {
        let next = match arrival(&mut client, &shard, first).await {
            Arrival::Head(length) => match read_request(&mut client, length, &shard) {
                Ok((request, None)) => forward::forward(&mut client, request, &shard).await,
                Ok((request, Some(last))) => hops::give(&mut client, request, last, &shard).await,
                Err(error) => refuse(&mut client, Reason::BadHead(error), &shard).await,
            },
            Arrival::Refused(reason) => refuse(&mut client, reason, &shard).await,
            Arrival::Gone => return,
        };
        first = false;
        match next {
            Next::KeepAlive => client.buffer.release(),
            Next::Close if client.buffer.is_empty() => return,
            Next::Close | Next::Linger => return linger(&mut client, LINGER).await,
            // The drop resets it.
            Next::Abort => {
                client.owes_answer = true;
                return;
            }
        }
    }
}

/// Tells a client that there is no room for it, without reading its request.
pub(super) async fn turn_away(
    mut client: Client,
    shard: Rc<Shard>,
    _open: OpenConnection,
    reason: Reason,
) {
    if refuse(&mut client, reason, &shard).await == Next::Linger {
        let wait = match shard.is_crowded() {
            true => Duration::ZERO,
            false => LINGER,
        };
        linger(&mut client, wait).await;
    }
}

/// Waits for a request's head.
async fn arrival(client: &mut Client, shard: &Shard, first: bool) -> Arrival {
    // Copies: a connection that idles must not keep an old view alive.
    let (timeouts, limits) = shard.view().limits();
    let mut scan = HeadScan::default();
    // A pipelined request has begun already; a new connection is expected to speak.
    let mut begun = first || !client.buffer.is_empty();
    client.deadline.set(if begun {
        timeouts.request_header
    } else {
        timeouts.idle
    });
    let mut graced = false;
    poll_fn(|context| {
        loop {
            match look_for_head(client, &mut scan, &limits) {
                Ok(Some(length)) => return Poll::Ready(Arrival::Head(length)),
                Ok(None) => {}
                Err(error) => return Poll::Ready(Arrival::Refused(Reason::BadHead(error))),
            }
            match poll_more(client, context) {
                Poll::Ready(true) if !begun => {
                    begun = true;
                    client.deadline.set(timeouts.request_header);
                }
                Poll::Ready(true) => {}
                Poll::Ready(false) => return Poll::Ready(Arrival::Gone),
                Poll::Pending if shard.is_draining() && !graced && client.buffer.is_empty() => {
                    graced = true;
                    client.deadline.set(GRACE);
                }
                Poll::Pending if !begun && shard.wants_room() && is_silent(&client.stream) => {
                    shard.made_room();
                    return Poll::Ready(Arrival::Gone);
                }
                Poll::Pending => {
                    // Whoever sends a head in parts shall not hold more memory than he has filled.
                    client.buffer.shrink();
                    ready!(client.deadline.poll(context));
                    return match !client.buffer.is_empty() || is_silent(&client.stream) {
                        true => Poll::Ready(too_late(client)),
                        // He spoke at the last moment, and his bytes wake this task.
                        false => Poll::Pending,
                    };
                }
            }
        }
    })
    .await
}

/// More bytes came (`true`) or never will. Takes memory only once there is something to put into it.
fn poll_more(client: &mut Client, context: &mut Context<'_>) -> Poll<bool> {
    if ready!(client.stream.poll_read_ready(context)).is_err() {
        return Poll::Ready(false);
    }
    let filled = ready!(client.buffer.poll_fill(context, &mut client.stream));
    Poll::Ready(matches!(filled, Ok(count) if count > 0))
}

/// Asks the system itself: a request may have come since the runtime last looked, and a connection that is closed on top of it
/// leaves its client in doubt.
fn is_silent(stream: &TcpStream) -> bool {
    let mut byte = [MaybeUninit::uninit()];
    !matches!(SockRef::from(stream).peek(&mut byte), Ok(count) if count > 0)
}

fn look_for_head(
    client: &mut Client,
    scan: &mut HeadScan,
    limits: &HeadLimits,
) -> Result<Option<usize>, HeadError> {
    if scan.is_fresh() {
        // RFC 9112 2.2: empty lines before the request line are ignored.
        while client.buffer.filled().starts_with(b"\r\n") {
            client.buffer.consume(2);
        }
        if client.buffer.filled() == b"\r" {
            return Ok(None);
        }
    }
    let length = scan.advance(client.buffer.filled())?;
    if length.unwrap_or(client.buffer.len()) <= limits.bytes {
        return Ok(length);
    }
    let first_line = memchr::memchr(b'\n', client.buffer.filled()).unwrap_or(client.buffer.len());
    match first_line > limits.target {
        true => Err(HeadError::TargetTooLong),
        false => Err(HeadError::TooLarge),
    }
}

/// A client that never began is let go in silence; one that began is told.
fn too_late(client: &Client) -> Arrival {
    match client.buffer.is_empty() {
        true => Arrival::Gone,
        false => Arrival::Refused(Reason::RequestTimeout),
    }
}

/// Checks the head at the buffer's front and writes it as a backend will get it; with the answer, if it goes no further.
fn read_request(
    client: &mut Client,
    length: usize,
    shard: &Shard,
) -> Result<(Request, Option<hops::Answer>), HeadError> {
    let started = Instant::now();
    let view = shard.view();
    let config = &view.snapshot.config;
    let mut scratch = shard.scratch();
    let said = match &mut client.said {
        Some(said) if Arc::ptr_eq(&said.config, config) => said,
        stale => stale.insert(Said::of(client.peer, client.local, config)),
    };
    let forwarding = &said.forwarding;
    let bytes = &client.buffer.filled()[..length];
    let head = RequestHead::parse(bytes, &HeadLimits::from(&config.limits), &mut scratch)?;

    let id = shard.request_id(&head);
    let key = view.snapshot.key();
    let key = key.map(|by| Recognised::of(&head, by, forwarding.peer, &config.headers).key());
    let shown = Shown::of(&head, forwarding, &view, shard);
    let tracing = shard.tracing(&head, &view);
    let own = headers::Own {
        id: &id,
        cookie: config.sticky.as_ref().map(|sticky| sticky.cookie.as_str()),
        trace: tracing.told(),
    };
    let mut outbound = Output::new();
    headers::write_request(
        &head,
        forwarding,
        &config.headers,
        &own,
        || client.local.to_string(),
        &mut outbound,
    );
    let last = if head.has_via || head.max_forwards.is_some() {
        hops::last(&head, &id, shard.is_draining())
    } else {
        None
    };
    let journal = shard.journal(&head, &id, client.peer, started, &tracing, &outbound);
    let request = Request {
        outbound,
        framing: head.framing,
        version: head.version,
        keep_alive: head.keeps_alive(),
        to_head: head.method == b"HEAD",
        idempotent: head.is_idempotent(),
        upgrade: head.upgrade.is_some(),
        id,
        wants_json: wants_json(&head),
        started,
        key,
        shown,
        journal,
    };
    client.buffer.consume(length);
    Ok((request, last))
}

/// The client would rather read JSON.
pub(super) fn wants_json(head: &RequestHead<'_>) -> bool {
    head.field(Known::Accept).is_some_and(names_json)
}

/// Whether a range of an `Accept` begins with `application/json` or `application/*`. Every request is asked, and few answers
/// are our own: so the list is not taken apart, only what is around its slashes is looked at.
fn names_json(accept: &[u8]) -> bool {
    memchr::memchr_iter(b'/', accept).any(|slash| {
        let (kind, rest) = accept.split_at(slash);
        let is_json = rest.starts_with(b"/json") || rest.starts_with(b"/*");
        let before = kind.strip_suffix(b"application").filter(|_| is_json);
        before.is_some_and(|before| matches!(before.trim_ascii_end().last(), None | Some(b',')))
    })
}

async fn refuse(client: &mut Client, reason: Reason, shard: &Shard) -> Next {
    let mut out = Output::new();
    let style = Style {
        // RFC 9110 9.3.2: nor has the answer to a HEAD that cannot be read a body.
        head_only: client.buffer.filled().starts_with(b"HEAD "),
        ..Style::UNREAD
    };
    reply::write(reason, style, &mut out);
    shard.refused(reason, client.peer, client.buffer.filled());
    client.deadline.set(LINGER);
    match write_all(client, &out).await {
        Ok(()) => Next::Linger,
        Err(_) => Next::Abort,
    }
}

/// Closes our side, then reads what the client still sends for a while: closing over unread bytes makes the kernel reset
/// the connection, and the client would lose the answer that it has not read yet (RFC 9112 9.6).
async fn linger(client: &mut Client, wait: Duration) {
    if client.stream.shutdown().await.is_err() {
        return;
    }
    client.deadline.set(wait);
    poll_fn(|context| {
        loop {
            client.buffer.clear();
            match client.buffer.poll_fill(context, &mut client.stream) {
                Poll::Ready(Ok(count)) if count > 0 => {}
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return client.deadline.poll(context),
            }
        }
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::shard::tests::idle;
    use lemonade_test::Origin;
    use std::io::Write;
    use std::pin::{Pin, pin};
    use std::task::Waker;
    use tokio::net::TcpListener;
    use tokio::time::timeout;

    #[test]
    fn json_is_found_among_what_a_client_accepts() {
        for (accept, wanted) in [
            ("application/json", true),
            ("text/html, application/json;q=0.9", true),
            ("text/html,application/*", true),
            ("text/html ,\tapplication/json", true),
            ("application/xml, application/json", true),
            ("", false),
            ("*/*", false),
            ("text/html,application/xhtml+xml,*/*;q=0.8", false),
            ("x-application/json", false),
            ("text/html;x=application/json", false),
            ("application/", false),
        ] {
            assert_eq!(names_json(accept.as_bytes()), wanted, "{accept}");
        }
    }

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: t\r\n\r\n";

    /// Both ends of a connection. What the client writes is not seen by the runtime before that turns.
    async fn connected(shard: &Shard) -> (std::net::TcpStream, Client) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let local = listener.local_addr().unwrap();
        let ours = std::net::TcpStream::connect(local).unwrap();
        let (stream, peer) = listener.accept().await.unwrap();
        (ours, Client::new(stream, peer, local, shard))
    }

    fn now<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[tokio::test(start_paused = true)]
    async fn idle_client_that_speaks_at_the_last_moment_is_heard() {
        const IDLE: Duration = Duration::from_secs(1);
        let origin = Origin::named("a").await;
        let (shard, _around) = idle(&origin, |config| config.timeouts.idle = IDLE);
        for speaks in [true, false] {
            let (mut ours, mut client) = connected(&shard).await;
            let mut arrival = pin!(arrival(&mut client, &shard, false));
            assert!(now(arrival.as_mut()).is_pending());
            let _ = timeout(2 * IDLE, shard.timers.run()).await;
            if !speaks {
                assert!(matches!(now(arrival), Poll::Ready(Arrival::Gone)));
                continue;
            }
            ours.write_all(REQUEST).unwrap();
            assert!(now(arrival.as_mut()).is_pending());
            assert!(matches!(arrival.await, Arrival::Head(length) if length == REQUEST.len()));
        }
    }

    #[tokio::test]
    async fn client_that_has_just_spoken_makes_no_room() {
        let origin = Origin::named("a").await;
        let (shard, _around) = idle(&origin, |_| {});
        let (mut ours, mut client) = connected(&shard).await;
        let mut speaker = pin!(arrival(&mut client, &shard, false));
        assert!(now(speaker.as_mut()).is_pending());
        shard.wanted.set(1);
        ours.write_all(REQUEST).unwrap();
        assert!(now(speaker.as_mut()).is_pending());
        let (_ours, mut client) = connected(&shard).await;
        let silent = pin!(arrival(&mut client, &shard, false));
        assert!(matches!(now(silent), Poll::Ready(Arrival::Gone)));
        assert_eq!(shard.wanted.get(), 0);
        assert!(matches!(speaker.await, Arrival::Head(_)));
    }
}
