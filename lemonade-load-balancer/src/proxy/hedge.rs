//! A second copy of a slow request, to another backend: whoever answers first is heard, the other is hung up on.
//!
//! The cure for requests that are caught in one backend's pause, which no choice of backend can foresee (Dean & Barroso, "The
//! Tail at Scale", CACM 2013). Only for requests that may be repeated and are still there whole, within a budget of its own,
//! and not while requests queue for room: then a second copy would take another request's place. The first *head* decides, be it
//! an interim one.

use super::claim::{Claim, Slot};
use super::downstream::Client;
use super::exchange::{poll_client_gone, poll_head};
use super::forward::{Course, Failure};
use super::relay::{Relay, RelayError};
use super::retry::Attempts;
use super::upstream::{ConnectError, Connection};
use crate::config::Hedge;
use crate::http1::response::ResponseHead;
use crate::http1::{HeadLimits, HeadScan};
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;
use tokio::time::Sleep;

/// One copy on its way.
pub(super) struct Leg {
    pub(super) connection: Connection,
    pub(super) relay: Relay,
    /// When it began.
    pub(super) sent: Instant,
    scan: HeadScan,
    uploaded: bool,
}

impl Leg {
    pub(super) fn new(connection: Connection, relay: Relay, sent: Instant) -> Self {
        Leg {
            connection,
            relay,
            sent,
            scan: HeadScan::default(),
            uploaded: false,
        }
    }

    /// Sends what can be sent, until a head has come.
    fn poll(
        &mut self,
        context: &mut Context<'_>,
        client: &mut Client,
        course: &Course<'_>,
    ) -> Poll<Result<Heard, Failure>> {
        if !self.uploaded {
            let sent = self.relay.poll(
                context,
                &mut client.stream,
                &mut client.buffer,
                &mut self.connection.stream,
            );
            self.uploaded = match sent {
                // If it stopped reading, it may have said why.
                Poll::Ready(Ok(()) | Err(RelayError::Sink(_))) => true,
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Failure::BadBody)),
                Poll::Pending => false,
            };
        }
        let config = &course.view.snapshot.config;
        let most = config.limits.header_bytes;
        let length = ready!(poll_head(
            &mut self.connection,
            most,
            context,
            &mut self.scan
        ))?;
        let bytes = &self.connection.buffer.filled()[..length];
        let limits = HeadLimits::from(&config.limits);
        let mut scratch = course.shard.scratch();
        let head = ResponseHead::parse(bytes, course.request.to_head, &limits, &mut scratch)
            .map_err(|_| Failure::BadAnswer)?;
        Poll::Ready(Ok(Heard {
            status: head.status,
            busy: head.says_busy(),
        }))
    }
}

/// What a copy's first head says.
#[derive(Clone, Copy)]
struct Heard {
    status: u16,
    busy: bool,
}

impl Heard {
    /// Not worth hearing while another copy is on its way.
    fn is_refusal(self) -> bool {
        self.status >= 500 || self.busy
    }
}

type Opening = Pin<Box<dyn Future<Output = Result<Connection, ConnectError>>>>;

/// The second copy.
enum Second<'s> {
    NotYet(Pin<Box<Sleep>>),
    Opening(Slot<'s>, Relay, Opening),
    Sent(Slot<'s>, Leg),
    /// There is none, or there is none any more.
    Gone,
}

/// Two copies, at most, of one request.
struct Race<'r, 's> {
    first: Option<Leg>,
    second: Second<'s>,
    slot: &'r mut Slot<'s>,
    attempts: &'r mut Attempts,
    course: &'r Course<'s>,
}

/// Sends `first` from `slot`, and after a while a copy of it from another slot. Returns the one that has an answer's head in its
/// buffer; `slot` is then that one's. An error is that of the last copy, and others have been recorded.
pub(super) async fn race<'s>(
    client: &mut Client,
    first: Leg,
    slot: &mut Slot<'s>,
    attempts: &mut Attempts,
    course: &Course<'s>,
    hedge: &Hedge,
) -> Result<Leg, Failure> {
    let config = &course.view.snapshot.config;
    client
        .deadline
        .set(slot.patience(config.timeouts.response_header, true));
    let mut race = Race {
        first: Some(first),
        second: Second::NotYet(Box::pin(tokio::time::sleep(hedge.after))),
        slot,
        attempts,
        course,
    };
    let won = poll_fn(|context| race.poll(context, client)).await;
    let upstream = &race.slot.upstream;
    race.attempts.note(|journal| match &won {
        Ok(_) => journal.overtook(upstream),
        Err(failure) => journal.failed_with(upstream, failure),
    });
    won
}

impl<'s> Race<'_, 's> {
    fn poll(
        &mut self,
        context: &mut Context<'_>,
        client: &mut Client,
    ) -> Poll<Result<Leg, Failure>> {
        if let Poll::Ready(ended) = self.poll_first(context, client) {
            return Poll::Ready(ended);
        }
        if let Poll::Ready(ended) = self.poll_second(context, client) {
            return Poll::Ready(ended);
        }
        poll_client_gone(client, context)?;
        let over = client.deadline.poll(context);
        over.map(|()| Err(self.too_late(client)))
    }

    fn poll_first(
        &mut self,
        context: &mut Context<'_>,
        client: &mut Client,
    ) -> Poll<Result<Leg, Failure>> {
        let Some(leg) = &mut self.first else {
            return Poll::Pending;
        };
        let came = ready!(leg.poll(context, client, self.course));
        let alone = matches!(self.second, Second::NotYet(_) | Second::Gone);
        match (came, self.first.take()) {
            (Ok(heard), Some(leg)) if alone || !heard.is_refusal() => Poll::Ready(Ok(leg)),
            (Err(failure), _) if alone => Poll::Ready(Err(failure)),
            (came, leg) => {
                if let Some(leg) = leg {
                    self.blame(self.slot, &leg, came);
                }
                Poll::Pending
            }
        }
    }

    fn poll_second(
        &mut self,
        context: &mut Context<'_>,
        client: &mut Client,
    ) -> Poll<Result<Leg, Failure>> {
        if let Second::NotYet(sleep) = &mut self.second {
            ready!(sleep.as_mut().poll(context));
            self.second = self.begin();
        }
        if let Second::Opening(_, _, opening) = &mut self.second {
            let opened = ready!(opening.as_mut().poll(context));
            let Second::Opening(slot, relay, _) = std::mem::replace(&mut self.second, Second::Gone)
            else {
                return Poll::Pending;
            };
            match opened {
                Ok(connection) => {
                    let now = Instant::now();
                    slot.sent(now);
                    self.attempts
                        .note(|journal| journal.connected(&slot.upstream, now));
                    self.second = Second::Sent(slot, Leg::new(connection, relay, now));
                }
                Err(error) => return self.not_opened(slot, error),
            }
        }
        let Second::Sent(_, leg) = &mut self.second else {
            return Poll::Pending;
        };
        let came = ready!(leg.poll(context, client, self.course));
        let Second::Sent(slot, leg) = std::mem::replace(&mut self.second, Second::Gone) else {
            return Poll::Pending;
        };
        match came {
            Ok(heard) if !heard.is_refusal() || self.first.is_none() => {
                if let Some(first) = self.first.take() {
                    let Course { shard, .. } = *self.course;
                    shard.record_overtaken(self.slot, first.sent.elapsed());
                }
                *self.slot = slot;
                self.course.shard.record_hedge_won();
                Poll::Ready(Ok(leg))
            }
            came if self.first.is_some() => {
                self.blame(&slot, &leg, came);
                Poll::Pending
            }
            came => {
                *self.slot = slot;
                Poll::Ready(came.map(|_| leg))
            }
        }
    }

    /// No connection for the second copy: the first goes on alone, if it is still there.
    fn not_opened(&mut self, slot: Slot<'s>, error: ConnectError) -> Poll<Result<Leg, Failure>> {
        let failure = Failure::Connect(error);
        if self.first.is_some() {
            let Course { shard, view, .. } = *self.course;
            shard.blame(&slot, &failure, self.attempts, view);
            self.attempts
                .note(|journal| journal.failed(&slot.upstream, &failure));
            return Poll::Pending;
        }
        *self.slot = slot;
        Poll::Ready(Err(failure))
    }

    /// Records that a copy came to nothing while another goes on.
    fn blame(&self, slot: &Slot<'_>, leg: &Leg, came: Result<Heard, Failure>) {
        let Course { shard, view, .. } = *self.course;
        self.attempts.note(|journal| match &came {
            Ok(heard) => journal.refused(&slot.upstream, heard.status),
            Err(failure) => journal.failed(&slot.upstream, failure),
        });
        match came {
            Ok(Heard { status, busy }) => {
                shard.record_refusal(slot, status, busy, leg.sent.elapsed(), view);
            }
            // A kept connection that was closed says nothing about its backend.
            Err(Failure::Unanswered) if leg.connection.reused => {}
            Err(failure) => shard.blame(slot, &failure, self.attempts, view),
        }
    }

    /// The time is over: whoever is left has taken too long.
    fn too_late(&mut self, client: &Client) -> Failure {
        if let (None, Second::Sent(..) | Second::Opening(..)) = (&self.first, &self.second) {
            let second = std::mem::replace(&mut self.second, Second::Gone);
            if let Second::Sent(slot, _) | Second::Opening(slot, ..) = second {
                *self.slot = slot;
            }
        }
        match client.deadline.is_capped() {
            true => Failure::TotalTimeout,
            false => Failure::AnswerTimeout,
        }
    }

    /// Begins the second copy, if there is somewhere to send it and the budget allows.
    fn begin(&mut self) -> Second<'s> {
        let Course { shard, view, .. } = *self.course;
        let Some(first) = &self.first else {
            return Second::Gone;
        };
        if shard.queue().waiting() > 0
            || !self.attempts.tried.leaves_others(view)
            || !shard.hedge_budget.withdraw()
        {
            return Second::Gone;
        }
        let key = self.course.request.key;
        let tried = &mut self.attempts.tried;
        let Claim::Slot(slot) = tried.claim_next(shard, view, first.sent, key) else {
            return Second::Gone;
        };
        shard.record_hedge(&slot);
        let mut relay = first.relay.copy(self.course.request.framing);
        let now = Instant::now();
        let kept = slot.upstream.take_idle(now);
        self.attempts.note(|journal| {
            journal.began(&slot.upstream, now, kept.is_some(), true);
            journal.address(&mut relay);
        });
        match kept {
            Some(connection) => {
                slot.sent(now);
                Second::Sent(slot, Leg::new(connection, relay, now))
            }
            None => {
                let (upstream, timeout) =
                    (slot.upstream.clone(), view.snapshot.config.timeouts.connect);
                let opening = Box::pin(async move { upstream.open(timeout).await });
                Second::Opening(slot, relay, opening)
            }
        }
    }
}
