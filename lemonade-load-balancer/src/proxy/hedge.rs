//! A second copy of a slow request, to another backend: whoever answers first is heard, the other is hung up on.
//!
//! The cure for requests that are caught in one backend's pause, which no choice of backend can foresee (Dean & Barroso, "The
//! Tail at Scale", CACM 2013). Only for requests that may be repeated and are still there whole, within a budget of its own,
//! and not while requests queue for room: then a second copy would take another request's place.

use super::claim::{Claim, Slot};
use super::deadline::Deadline;
use super::downstream::Client;
use super::exchange::{poll_client_gone, poll_head};
use super::forward::{Course, Failure};
use super::relay::{Relay, RelayError};
use super::retry::Attempts;
use super::upstream::{ConnectError, Connection};
use crate::config::Hedge;
use crate::http1::HeadScan;
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

    /// Sends what can be sent, until a head has come; its status.
    fn poll(
        &mut self,
        context: &mut Context<'_>,
        client: &mut Client,
        most: usize,
    ) -> Poll<Result<u16, Failure>> {
        if !self.uploaded {
            let sent = self.relay.poll(
                context,
                &mut client.stream,
                &mut client.buffer,
                &mut self.connection.stream,
            );
            self.uploaded = match sent {
                Poll::Ready(Ok(())) => true,
                // It may have said why.
                Poll::Ready(Err(RelayError::Sink(_))) => true,
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Failure::BadBody)),
                Poll::Pending => false,
            };
        }
        let length = ready!(poll_head(
            &mut self.connection,
            most,
            context,
            &mut self.scan
        ))?;
        let head = &self.connection.buffer.filled()[..length];
        // `HTTP/1.1 200`; whether the rest of it is right is seen later.
        let status = head
            .get(9..12)
            .and_then(|code| std::str::from_utf8(code).ok());
        Poll::Ready(
            status
                .and_then(|code| code.parse().ok())
                .ok_or(Failure::BadAnswer),
        )
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
    /// Bytes that an answer's head may have.
    most: usize,
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
        most: config.limits.header_bytes,
    };
    poll_fn(|context| race.poll(context, client)).await
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
        poll_deadline(&client.deadline, context)
    }

    fn poll_first(
        &mut self,
        context: &mut Context<'_>,
        client: &mut Client,
    ) -> Poll<Result<Leg, Failure>> {
        let Some(leg) = &mut self.first else {
            return Poll::Pending;
        };
        let came = ready!(leg.poll(context, client, self.most));
        let alone = matches!(self.second, Second::NotYet(_) | Second::Gone);
        match (came, self.first.take()) {
            (Ok(status), Some(leg)) if alone || status < 500 => Poll::Ready(Ok(leg)),
            (Err(failure), _) if alone => Poll::Ready(Err(failure)),
            (came, _) => {
                self.lost(came);
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
                    self.second = Second::Sent(slot, Leg::new(connection, relay, Instant::now()))
                }
                Err(error) => return self.second_failed(slot, Failure::Connect(error)),
            }
        }
        let Second::Sent(_, leg) = &mut self.second else {
            return Poll::Pending;
        };
        let came = ready!(leg.poll(context, client, self.most));
        let Second::Sent(slot, leg) = std::mem::replace(&mut self.second, Second::Gone) else {
            return Poll::Pending;
        };
        match came {
            Ok(status) if status < 500 || self.first.is_none() => {
                *self.slot = slot;
                self.course.shard.record_hedge_won();
                Poll::Ready(Ok(leg))
            }
            Ok(status) => self.second_failed(slot, Failure::Refused(status)),
            Err(failure) => self.second_failed(slot, failure),
        }
    }

    /// The second copy came to nothing: the first goes on alone, if it is still there.
    fn second_failed(&mut self, slot: Slot<'s>, failure: Failure) -> Poll<Result<Leg, Failure>> {
        if self.first.is_some() {
            self.blame(&slot, &failure);
            return Poll::Pending;
        }
        *self.slot = slot;
        Poll::Ready(Err(failure))
    }

    /// The first copy came to nothing while the second is on its way.
    fn lost(&mut self, came: Result<u16, Failure>) {
        let failure = came.map_or_else(|failure| failure, Failure::Refused);
        self.blame(self.slot, &failure);
    }

    fn blame(&self, slot: &Slot<'_>, failure: &Failure) {
        let Course { shard, view, .. } = *self.course;
        match failure {
            Failure::Refused(status) => shard.record_refusal(slot, *status, view),
            failure => shard.blame(slot, failure, self.attempts, view),
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
        let Claim::Slot(slot) = self.attempts.tried.claim_next(shard, view, first.sent) else {
            return Second::Gone;
        };
        shard.record_hedge(&slot);
        let relay = first.relay.copy(self.course.request.framing);
        let now = Instant::now();
        match slot.upstream.take_idle(now) {
            Some(connection) => Second::Sent(slot, Leg::new(connection, relay, now)),
            None => {
                let (upstream, timeout) =
                    (slot.upstream.clone(), view.snapshot.config.timeouts.connect);
                let opening = Box::pin(async move { upstream.open(timeout).await });
                Second::Opening(slot, relay, opening)
            }
        }
    }
}

fn poll_deadline(deadline: &Deadline, context: &Context<'_>) -> Poll<Result<Leg, Failure>> {
    deadline.poll(context).map(|()| Err(Failure::AnswerTimeout))
}
