//! One request: pick → send → retry → reply. The file to read first.
//!
//! [`super::downstream`] has read and checked the request and rewritten its head; here it meets a backend. What can go wrong
//! is a [`Failure`]; [`super::retry`] says which of them another backend may heal, [`super::reply`] what the client is told
//! of the others.

use super::buffer::Output;
use super::claim::{Asking, Claim, Slot};
use super::downstream::Client;
use super::exchange::{self, Answer, Answered, Exchange, Upload, poll_client_gone};
use super::headers::RequestId;
use super::hedge::{self, Leg};
use super::journal::Journal;
use super::relay::Relay;
use super::reply::{self, Reason};
use super::retry::Attempts;
use super::server_timing::Timing;
use super::shard::Shard;
use super::sticky::{self, Shown};
use super::upstream::{ConnectError, Connection, Upstream};
use super::view::View;
use crate::config::Config;
use crate::http1::Version;
use crate::http1::framing::Framing;
use crate::stats::ShardStats;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
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
    /// What it is recognised by, where the strategy goes by that.
    pub(super) key: Option<u64>,
    /// What it says about where its client was.
    pub(super) shown: Shown,
    /// Where it is remembered, if somebody may read about it.
    pub(super) journal: Option<Box<Journal>>,
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
    /// The time for all attempts is over.
    TotalTimeout,
    /// Its answer's status says that it cannot serve now.
    Refused(u16),
    /// Every backend has all the requests that it may have, and as many wait as may.
    QueueFull,
    /// No backend had room in time.
    QueueTimeout,
    /// The client left.
    ClientGone,
    /// The client's body is malformed.
    BadBody,
    /// The client's body stopped coming, or came too slowly.
    RequestTimeout,
    /// The client took too little of the answer for too long.
    SlowClient,
    /// The backend broke its answer off, or garbled it, after its head had been passed on: nothing can be said any more.
    Broken,
    /// The answer's transfer stood still for too long.
    Cut,
}

impl Failure {
    /// The backend brought no usable answer.
    pub(super) fn is_of_backend(&self) -> bool {
        matches!(
            self,
            Failure::Unanswered | Failure::BadAnswer | Failure::AnswerTimeout | Failure::Refused(_)
        )
    }

    /// The word for an attempt that ended so; `None` where its status says it.
    pub(super) fn error(&self) -> Option<&'static str> {
        Some(match self {
            Failure::Refused(_) => return None,
            Failure::Connect(ConnectError::Timeout(_)) => "connect_timeout",
            Failure::Connect(ConnectError::Refused(_)) => "connect_failed",
            Failure::Connect(ConnectError::Local(_)) => "no_resources",
            Failure::Unanswered => "unanswered",
            Failure::BadAnswer => "bad_answer",
            Failure::AnswerTimeout => "timeout",
            Failure::TotalTimeout => "total_timeout",
            Failure::BadBody => "bad_body",
            Failure::RequestTimeout => "request_timeout",
            Failure::QueueFull | Failure::QueueTimeout => "overflow",
            Failure::ClientGone | Failure::SlowClient | Failure::Broken | Failure::Cut => {
                self.flag()
            }
        })
    }

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
    /// When its answer's last byte had been passed on.
    pub(super) at: Instant,
}

/// How long a client may take to read a reply that ends its request.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Serves one request.
pub(super) async fn forward(client: &mut Client, mut request: Request, shard: &Shard) -> Next {
    client.owes_answer = true;
    let mut view = shard.view();
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
        // Of other requests, from the end of their body on: an upload takes as long as it moves.
        let total = view.snapshot.config.timeouts.total;
        client.deadline.cap(Some(total));
    }

    let retries = &view.snapshot.config.retries;
    shard.retry_budget.deposit(retries.budget);
    if let Some(hedge) = &view.snapshot.config.hedge {
        shard.hedge_budget.deposit(hedge.budget);
    }
    let mut asking = Asking {
        started: request.started,
        key: request.key,
        shown: request.shown,
        repeatable: request.idempotent && whole.is_some() && retries.attempts > 0,
        in_turn: false,
    };
    let mut attempts = Attempts::new(retries.attempts, request.journal.take());
    let ended = loop {
        let mut slot = match attempts.claim(shard, &view, asking) {
            Claim::Slot(slot) => slot,
            Claim::Full if attempts.is_fresh() && !asking.in_turn => {
                match wait_in_queue(client, shard, &mut view, &mut attempts, &mut asking).await {
                    Ok(slot) => slot,
                    Err(failure) => break Err(failure),
                }
            }
            Claim::Full | Claim::Nobody => break Err(attempts.last_failure()),
        };
        let course = Course {
            request: &request,
            shard,
            view: &view,
            repeatable: asking.repeatable,
        };
        let on_trial = slot.is_on_trial();
        match attempt(client, &mut slot, &mut relay, &course, &mut attempts).await {
            Ok(ended) => break Ok(ended),
            Err(failure) => {
                shard.blame(&slot, &failure, &attempts, &view);
                attempts.note(|journal| journal.failed(&slot.upstream, &failure));
                let approved = matches!(failure, Failure::Refused(_))
                    || attempts.may_retry(&failure, on_trial, &course, &relay);
                attempts.failed(failure);
                if !approved {
                    break Err(attempts.last_failure());
                }
                ShardStats::count(&slot.upstream.stats().retries);
                relay.rewind_if_retained(request.framing);
                // What made this one fail may have changed who is picked.
                drop(slot);
                view = shard.view();
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
            if let Some(Failure::QueueFull | Failure::QueueTimeout) = failure {
                shard.record_shed();
            }
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
    shard.finished(&request, &view, &mut attempts, &ended, relay.bytes());
    ended.next
}

/// Waits until some backend has room. The error is what the client is told.
async fn wait_in_queue<'s>(
    client: &mut Client,
    shard: &'s Shard,
    view: &mut Rc<View>,
    attempts: &mut Attempts,
    asking: &mut Asking,
) -> Result<Slot<'s>, Option<Failure>> {
    let began = Instant::now();
    attempts.queuing = Some(began);
    let slot = wait_for_room(client, shard, view, attempts, asking, began).await;
    // Who waited in vain did so all the same.
    attempts.queued = began.elapsed();
    attempts.queuing = None;
    slot
}

async fn wait_for_room<'s>(
    client: &mut Client,
    shard: &'s Shard,
    view: &mut Rc<View>,
    attempts: &mut Attempts,
    asking: &mut Asking,
    began: Instant,
) -> Result<Slot<'s>, Option<Failure>> {
    let config = &view.snapshot.config;
    let place = shard
        .queue()
        .join(config.limits.max_queued, shard.since_epoch(began))
        .ok_or(Some(Failure::QueueFull))?;
    client.deadline.set(place.patience(config.timeouts.queue));
    asking.in_turn = true;
    let mut look_first = place.is_first;
    loop {
        if !std::mem::take(&mut look_first) {
            place.turn(client).await.map_err(Some)?;
        }
        // Much may have changed since.
        *view = shard.view();
        match attempts.claim(shard, view, *asking) {
            Claim::Slot(slot) => {
                drop(place);
                if view.has_room() {
                    shard.queue().freed();
                }
                return Ok(slot);
            }
            Claim::Full => {}
            Claim::Nobody => return Err(None),
        }
    }
}

/// What stays the same over a request's attempts.
pub(super) struct Course<'c> {
    pub(super) request: &'c Request,
    pub(super) shard: &'c Shard,
    pub(super) view: &'c View,
    repeatable: bool,
}

/// One attempt at one backend, or at two if it is hedged; `slot` is then that of the one that answered. An error is returned
/// only while the client has been told nothing, so that it may be retried.
async fn attempt<'s>(
    client: &mut Client,
    slot: &mut Slot<'s>,
    relay: &mut Relay,
    course: &Course<'s>,
    attempts: &mut Attempts,
) -> Result<Ended, Failure> {
    let Course {
        request,
        shard,
        view,
        repeatable,
    } = *course;
    let config = &view.snapshot.config;
    let on_trial = slot.is_on_trial();
    let (mut connection, mut sent) = connect(client, slot, course, attempts).await?;
    attempts.note(|journal| journal.address(relay));
    let hedged = repeatable && !request.upgrade && !on_trial;
    if let (Some(hedge), true) = (&config.hedge, hedged) {
        // A copy even of the first, so that the original can be sent once more if both fail.
        let first = Leg::new(connection, relay.copy(request.framing), sent);
        let race = hedge::race(client, first, slot, attempts, course, hedge);
        // On the heap: the few that are hedged must not make every connection's task larger.
        let heard = Box::pin(race).await?;
        attempts.lose(heard.sent.saturating_duration_since(sent));
        (connection, *relay, sent) = (heard.connection, heard.relay, heard.sent);
        client.deadline.tag(slot.tag());
    }
    let slot = &*slot;
    let patience = slot.patience(config.timeouts.response_header, repeatable);
    let mut exchange = Exchange::new(
        client,
        &mut connection,
        relay,
        request,
        config,
        sent,
        patience,
    );
    exchange.cookie = sticky::cookie(request, slot, view, shard);
    if config.headers.server_timing {
        exchange.timing = Some(Timing::new(request.started, sent, attempts));
    }
    let mut answer = match exchange.answer(shard).await? {
        Answered::Final(answer) => answer,
        Answered::Switched { took } => {
            exchange.begin_answering();
            shard.record_switch(slot, took);
            attempts.answered(slot.upstream.clone(), 101, took);
            let (up, down) = exchange.tunnel().await;
            attempts.tunnelled(up, down);
            return Ok(Ended {
                status: 101,
                next: Next::Close,
                flag: None,
                at: Instant::now(),
            });
        }
    };
    attempts.answered(slot.upstream.clone(), answer.status, answer.took);
    shard.record(slot, &answer, view);
    let refused = Failure::Refused(answer.status);
    let failed_trial = on_trial && answer.is_fault();
    if answer.status >= 400
        && attempts.tried.leaves_others(view)
        && attempts.may_retry(&refused, failed_trial, course, exchange.relay)
    {
        shard.record_whole(slot, &answer);
        if answer.whole.is_some_and(|length| exchange.discard(length)) && answer.reusable {
            put_back(connection, &slot.upstream, &answer, Instant::now(), config);
        }
        return Err(refused);
    }
    exchange.begin_answering();
    let relayed = exchange.relay_answer(&mut answer).await;
    let uploaded = exchange.upload == Upload::Done;
    attempts.delivered(answer.relay.bytes());
    match relayed {
        Ok(()) => shard.record_whole(slot, &answer),
        // The client has been told nothing yet.
        Err(Failure::Broken) if answer.relay.is_untouched() => return Err(Failure::BadAnswer),
        Err(failure) => {
            shard.blame(slot, &failure, attempts, view);
            attempts.note(|journal| journal.failed(&slot.upstream, &failure));
            return Ok(Ended {
                status: answer.status,
                next: Next::Abort,
                flag: Some(failure.flag()),
                at: Instant::now(),
            });
        }
    }
    let now = Instant::now();
    if answer.reusable && uploaded {
        put_back(connection, &slot.upstream, &answer, now, config);
    }
    Ok(Ended {
        status: answer.status,
        next: match (answer.keep_alive, uploaded) {
            (true, _) => Next::KeepAlive,
            (false, true) => Next::Close,
            (false, false) => Next::Linger,
        },
        flag: None,
        at: now,
    })
}

/// A connection to the slot's backend, kept or new, and when the attempt on it began.
async fn connect(
    client: &mut Client,
    slot: &Slot<'_>,
    course: &Course<'_>,
    attempts: &mut Attempts,
) -> Result<(Connection, Instant), Failure> {
    let Course {
        request,
        shard,
        view,
        ..
    } = *course;
    let upstream = &*slot.upstream;
    ShardStats::count(&upstream.stats().begun);
    client.deadline.tag(slot.tag());
    // Saves reading the clock; a wait in the queue is not the backend's.
    let began = match attempts.is_first() && attempts.queued.is_zero() {
        true => request.started,
        false => attempts.begin_anew(request.started),
    };
    let kept = match attempts.wants_new_connection() {
        true => None,
        false => upstream.take_idle(began),
    };
    attempts.note(|journal| journal.began(&slot.upstream, began, kept.is_some(), false));
    let (connection, sent) = match kept {
        Some(connection) => (connection, began),
        None => {
            // What passed since the request came is none of the connection's.
            let opening = Instant::now();
            let connection = open(client, shard, upstream, &view.snapshot.config).await?;
            let opened = Instant::now();
            attempts.connected(opened - opening);
            attempts.note(|journal| journal.connected(&slot.upstream, opened));
            (connection, opened)
        }
    };
    attempts.sending(connection.reused);
    slot.sent(sent);
    Ok((connection, sent))
}

/// Opens a connection, for as long as the client is there and its request has time.
async fn open(
    client: &mut Client,
    shard: &Shard,
    upstream: &Upstream,
    config: &Config,
) -> Result<Connection, Failure> {
    let timeout = config.timeouts.connect;
    // It has its own clock; this one is for the request's total.
    client.deadline.set(timeout + timeout);
    let mut connecting = pin!(shard.connect(upstream, timeout));
    poll_fn(|context| {
        if let Poll::Ready(opened) = connecting.as_mut().poll(context) {
            return Poll::Ready(opened.map_err(Failure::Connect));
        }
        poll_client_gone(client, context)?;
        match client.deadline.poll(context) {
            Poll::Ready(()) if client.deadline.is_capped() => {
                Poll::Ready(Err(Failure::TotalTimeout))
            }
            _ => Poll::Pending,
        }
    })
    .await
}

fn put_back(
    connection: Connection,
    upstream: &Upstream,
    answer: &Answer,
    now: Instant,
    config: &Config,
) {
    let idle = config.timeouts.upstream_idle;
    upstream.put_back(connection, now, idle, answer.keep_alive_timeout);
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
            at: Instant::now(),
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
        at: Instant::now(),
    }
}
