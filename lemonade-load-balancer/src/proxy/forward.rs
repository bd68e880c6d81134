//! One request: pick → send → retry → reply. The file to read first.
//!
//! [`super::downstream`] has read and checked the request and rewritten its head; here it meets a backend. What can go wrong
//! is a [`Failure`]; [`super::retry`] says which of them another backend may heal, [`super::reply`] what the client is told
//! of the others.

use super::access_log;
use super::buffer::Output;
use super::downstream::Client;
use super::exchange::{self, Answer, Answered, Exchange, Upload};
use super::headers::RequestId;
use super::relay::Relay;
use super::reply::{self, Reason};
use super::retry::Attempts;
use super::shard::{Shard, View};
use super::upstream::{ConnectError, Upstream};
use crate::http1::Version;
use crate::http1::framing::Framing;
use crate::stats::ShardStats;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A request that was read and checked; its body is still in the client's buffer and socket.
pub(super) struct Request {
    /// Its head as the backend gets it.
    pub(super) outbound: Output,
    pub(super) framing: Framing,
    pub(super) version: Version,
    /// The client expects to send another request on its connection.
    pub(super) keep_alive: bool,
    pub(super) to_head: bool,
    /// Sending it twice does what sending it once does (RFC 9110 9.2.2).
    pub(super) idempotent: bool,
    /// It asks for another protocol.
    pub(super) upgrade: bool,
    pub(super) id: RequestId,
    /// The client would rather read JSON.
    pub(super) wants_json: bool,
    pub(super) started: Instant,
    /// What the access log wants to know of it, if it is to be logged.
    pub(super) log: Option<Box<access_log::Entry>>,
}

/// Why an attempt brought no answer, or not all of it.
#[derive(Debug)]
pub(super) enum Failure {
    /// No connection, so nothing was sent.
    Connect(ConnectError),
    /// The backend closed or reset the connection before any byte of an answer.
    Unanswered,
    /// What it sent is no HTTP answer.
    BadAnswer,
    /// It took too long to begin its answer.
    AnswerTimeout,
    /// The client left.
    ClientGone,
    /// The client's body is malformed.
    BadBody,
    /// The client's body stopped coming, or came too slowly.
    RequestTimeout,
    /// The client took too little of the answer for too long.
    SlowClient,
    /// The answer broke off after its head had been passed on: nothing can be said any more.
    Cut,
}

impl Failure {
    /// The access log's word for an answer that ended so.
    fn flag(&self) -> &'static str {
        match self {
            Failure::ClientGone => "client_gone",
            Failure::SlowClient => "slow_client",
            _ => "answer_cut",
        }
    }
}

/// What becomes of the client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// It may bring another request.
    KeepAlive,
    Close,
    /// It is closed after reading what the client still sends, since closing over unread bytes would destroy our answer.
    Linger,
    /// It is cut off, so that a broken answer cannot look complete.
    Abort,
}

/// How one request ended.
pub(super) struct Ended {
    pub(super) status: u16,
    pub(super) next: Next,
    /// Why, where the status does not say it all.
    pub(super) flag: Option<&'static str>,
}

/// How long a client may take to read a reply that ends its request.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Serves one request.
pub(super) async fn forward(client: &mut Client, mut request: Request, shard: &Shard) -> Next {
    client.owes_answer = true;
    let view = shard.view();
    let timeouts = view.snapshot.config.timeouts;
    client.deadline.cap(Some(timeouts.total));

    let mut relay = Relay::new(
        std::mem::replace(&mut request.outbound, Output::none()),
        request.framing,
    );
    // A body that has arrived whole stays in the client's buffer until the answer begins, so that it can be sent again.
    let whole = match request.framing {
        Framing::Empty => Some(0),
        Framing::Length(length) if length <= client.buffer.len() as u64 => Some(length as usize),
        _ => None,
    };
    if whole.is_some() {
        relay = relay.retaining();
    }

    let mut attempts = Attempts::new(view.snapshot.config.retries);
    let ended = loop {
        let Some(index) = attempts.pick(shard, &view, request.started) else {
            break Err(attempts.last_failure());
        };
        let upstream = &view.upstreams[index];
        match attempt(
            client,
            upstream,
            &mut relay,
            &request,
            shard,
            &view,
            &mut attempts,
        )
        .await
        {
            Ok(ended) => break Ok(ended),
            Err(failure) => {
                shard.blame(upstream, &failure, &attempts);
                if !attempts.may_retry(failure, request.idempotent, &relay) {
                    break Err(attempts.last_failure());
                }
                ShardStats::count(&upstream.stats().retries);
                relay.rewind_if_retained(request.framing);
            }
        }
    };
    client.deadline.cap(None);
    client.deadline.tag(0);
    if let (Some(length), true) = (whole, relay.release()) {
        client.buffer.consume(length);
    }
    let ended = match ended {
        Ok(ended) => ended,
        Err(failure) => {
            fail(
                client,
                failure,
                &request,
                whole.is_some() && !shard.is_draining(),
            )
            .await
        }
    };
    client.owes_answer = ended.next == Next::Abort;
    shard.finished(request, &view, &attempts, &ended, relay.bytes());
    ended.next
}

/// One attempt at one backend. An error is returned only while the client has been told nothing, so that it may be retried.
async fn attempt(
    client: &mut Client,
    upstream: &Upstream,
    relay: &mut Relay,
    request: &Request,
    shard: &Shard,
    view: &View,
    attempts: &mut Attempts,
) -> Result<Ended, Failure> {
    let config = &view.snapshot.config;
    // Rides along until the last byte has left.
    let _in_flight = upstream.backend.begin();
    client.deadline.tag(Arc::as_ptr(&upstream.backend).addr());
    let began = if attempts.is_first() {
        request.started
    } else {
        Instant::now()
    };
    let idle = if attempts.wants_new_connection() {
        None
    } else {
        upstream.take_idle(began)
    };
    let (mut connection, sent) = match idle {
        Some(connection) => (connection, began),
        None => {
            let connection = shard
                .connect(upstream, config.timeouts.connect)
                .await
                .map_err(Failure::Connect)?;
            let opened = Instant::now();
            attempts.connected(opened - began);
            (connection, opened)
        }
    };
    attempts.sending(connection.reused);
    let mut exchange = Exchange::new(client, &mut connection, relay, request, config);
    let answered = exchange.answer(shard).await?;
    // From here on only silence is too long.
    exchange.client.deadline.cap(None);
    exchange.let_request_go();
    match answered {
        Answered::Final(answer) => {
            let Answer {
                status,
                relay: mut down,
                reusable,
                keep_alive_timeout,
                keep_alive,
                whole,
                first_byte,
            } = *answer;
            if whole && !keep_alive {
                exchange.client.end_with_next_write();
            }
            let took = first_byte.saturating_duration_since(sent);
            attempts.answered(took);
            shard.record(upstream, status, took, first_byte);
            let relayed = exchange.relay_answer(&mut down).await;
            let uploaded = exchange.upload == Upload::Done;
            attempts.delivered(down.bytes());
            if let Err(failure) = relayed {
                if matches!(failure, Failure::Cut) && down.is_untouched() {
                    // The client has been told nothing yet.
                    return Err(Failure::BadAnswer);
                }
                return Ok(Ended {
                    status,
                    next: Next::Abort,
                    flag: Some(failure.flag()),
                });
            }
            if reusable && uploaded {
                upstream.put_back(
                    connection,
                    Instant::now(),
                    config.timeouts.upstream_idle,
                    keep_alive_timeout,
                );
            }
            let next = match (keep_alive, uploaded) {
                (true, _) => Next::KeepAlive,
                (false, true) => Next::Close,
                (false, false) => Next::Linger,
            };
            Ok(Ended {
                status,
                next,
                flag: None,
            })
        }
        Answered::Switched { first_byte } => {
            shard.record(
                upstream,
                101,
                first_byte.saturating_duration_since(sent),
                first_byte,
            );
            exchange.tunnel().await;
            Ok(Ended {
                status: 101,
                next: Next::Close,
                flag: None,
            })
        }
    }
}

/// Tells the client that there is no answer, if it is still there to be told.
async fn fail(
    client: &mut Client,
    failure: Option<Failure>,
    request: &Request,
    may_keep: bool,
) -> Ended {
    let Some(reason) = Reason::of(failure.as_ref()) else {
        return Ended {
            status: 499,
            next: Next::Abort,
            flag: Some("client_gone"),
        };
    };
    let keep_alive = request.keep_alive && may_keep;
    let style = reply::Style {
        version: request.version,
        keep_alive,
        json: request.wants_json,
        head_only: request.to_head,
        id: Some(&request.id),
    };
    let mut out = Output::new();
    reply::write(reason, style, &mut out);
    client.deadline.set(LAST_WORDS);
    let next = match exchange::write_all(client, &out).await {
        Ok(()) if keep_alive => Next::KeepAlive,
        Ok(()) => Next::Linger,
        Err(_) => Next::Abort,
    };
    Ended {
        status: reason.status(),
        next,
        flag: Some(reason.flag()),
    }
}
