//! Where requests wait while every backend has as many as it may: bounded, in order, not for long.
//!
//! One queue for all shards. Who is first in line is woken by the next request that ends, wherever that was; who comes while
//! others wait goes behind them. How long a request waits depends on how the queue does: after a burst it may take
//! `timeouts.queue`, but a queue that has not been empty for that long serves nobody better by making everyone wait, so then a
//! tenth of it must do ("controlled delay": Nichols & Jacobson 2012, in the form of Maurer, "Fail at Scale", ACM Queue 2015).
//! What is turned away is told at once, before response times explode.

use super::downstream::Client;
use super::exchange::poll_client_gone;
use super::forward::Failure;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{Relaxed, SeqCst},
};
use std::task::Poll;
use std::time::Duration;
use tokio::sync::Notify;

/// How much shorter the wait is in a queue that never empties.
const STANDING: u32 = 10;

/// The queue of one process.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: Arc<AtomicU32>,
    /// Since when it has not been empty, in milliseconds since the process began.
    standing_since: AtomicU64,
    freed: Notify,
}

// SeqCst for the count, as for a backend's requests in flight: who finds every backend full counts itself in and looks once more,
// who leaves a backend counts itself out and looks whether anybody waits. One of the two must see the other.
impl Queue {
    /// Requests that wait.
    pub(crate) fn waiting(&self) -> u32 {
        self.waiting.load(SeqCst)
    }

    /// The same, for whoever reports it.
    pub(crate) fn depth(&self) -> Arc<AtomicU32> {
        self.waiting.clone()
    }

    /// There may be room for another request. Cost while nobody waits: one load.
    pub(super) fn freed(&self) {
        if self.waiting() > 0 {
            self.freed.notify_one();
        }
    }

    /// A place at its end; `None` if `most` have one already.
    pub(super) fn join(&self, most: u32, now: Duration) -> Option<Place<'_>> {
        let before = self.waiting.fetch_add(1, SeqCst);
        let now = now.as_millis() as u64;
        if before == 0 {
            self.standing_since.store(now, Relaxed);
        }
        // Counted before it is refused, so that what is dropped now counts it out.
        let place = Place {
            queue: self,
            is_first: before == 0,
            standing: Duration::from_millis(now.saturating_sub(self.standing_since.load(Relaxed))),
        };
        (before < most).then_some(place)
    }
}

/// A request's place. Dropping it leaves the queue.
#[derive(Debug)]
pub(super) struct Place<'q> {
    queue: &'q Queue,
    /// Nobody waited before: room that was made while this place was taken woke nobody.
    pub(super) is_first: bool,
    /// How long the queue had not been empty when it was taken.
    standing: Duration,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.queue.waiting.fetch_sub(1, SeqCst);
    }
}

impl Place<'_> {
    /// How long to wait, given `timeouts.queue`.
    pub(super) fn patience(&self, timeout: Duration) -> Duration {
        match self.standing > timeout {
            true => timeout / STANDING,
            false => timeout,
        }
    }

    /// Waits for its turn, for as long as the client's deadline allows and the client is there. A turn that is not used
    /// passes to the next in line.
    pub(super) async fn turn(&self, client: &mut Client) -> Result<(), Failure> {
        let mut freed = pin!(self.queue.freed.notified());
        poll_fn(|context| {
            if freed.as_mut().poll(context).is_ready() {
                return Poll::Ready(Ok(()));
            }
            poll_client_gone(client, context)?;
            client
                .deadline
                .poll(context)
                .map(|()| Err(Failure::QueueTimeout))
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queue_is_bounded_and_knows_who_left() {
        let queue = Queue::default();
        let first = queue.join(1, Duration::ZERO);
        assert!(first.is_some());
        assert!(queue.join(1, Duration::ZERO).is_none());
        assert_eq!(queue.waiting(), 1);
        drop(first);
        assert_eq!(queue.waiting(), 0);
        assert!(queue.join(0, Duration::ZERO).is_none());
    }

    #[test]
    fn queue_that_never_empties_has_less_patience() {
        let queue = Queue::default();
        let second = Duration::from_secs(1);
        let first = queue.join(9, second).unwrap();
        assert_eq!(first.patience(second), second);
        assert_eq!(queue.join(9, 2 * second).unwrap().patience(second), second);
        let late = queue.join(9, 3 * second).unwrap();
        assert_eq!(late.patience(second), second / 10);
        drop((first, late));
        let again = queue.join(9, 4 * second).unwrap();
        assert_eq!(again.patience(second), second);
    }
}
