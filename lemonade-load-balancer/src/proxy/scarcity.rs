//! When descriptors have run out: who gives some up for whoever is new, and who is told.
//!
//! First the connections to backends that nobody uses, then the clients that have been silent longest after an answer: both
//! are a convenience, a new connection is a request. Each shard looks among its own.

use super::shard::Shard;
use super::upstream::{ConnectError, Connection, Upstream};
use crate::descriptors;
use crate::descriptors::is_exhaustion;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// How long accepting rests when descriptors have run out: the backlog keeps what comes meanwhile.
const PAUSE: Duration = Duration::from_millis(20);
/// How often a request tries to get a descriptor for its backend: for about a second.
const TRIES: u32 = 50;
/// How often the log says so: a machine that has run out of something has other things to do.
const COMPLAINTS: Duration = Duration::from_secs(10);
/// The part of a shard's connections that is asked to leave at a time, and how many at least.
const PART: usize = 16;
const LEAST: usize = 4;

/// When it was last said that something has run out. One for the process.
#[derive(Debug, Default)]
pub(crate) struct Complaint {
    /// Milliseconds since time began; before then it is not said again.
    next: AtomicU64,
}

impl Complaint {
    fn is_due(&self, now: Duration) -> bool {
        let now = now.as_millis() as u64;
        let next = now + COMPLAINTS.as_millis() as u64;
        let due = |at| (at <= now).then_some(next);
        self.next.fetch_update(Relaxed, Relaxed, due).is_ok()
    }
}

/// A request that waits for a descriptor.
struct Short<'s>(&'s Shard);

impl<'s> Short<'s> {
    fn new(shard: &'s Shard) -> Self {
        shard.short.set(shard.short.get() + 1);
        Short(shard)
    }
}

impl Drop for Short<'_> {
    fn drop(&mut self) {
        self.0.short.set(self.0.short.get() - 1);
    }
}

impl Shard {
    /// Accepting failed: makes room and gives that time to take effect.
    pub(super) async fn run_short(&self, error: &io::Error) {
        self.complain(error, "a client");
        self.make_room();
        tokio::time::sleep(PAUSE).await;
        self.wanted.set(0);
    }

    /// A new connection to a backend, for which others make room if they have to.
    pub(super) async fn connect(
        &self,
        upstream: &Upstream,
        timeout: Duration,
    ) -> Result<Connection, ConnectError> {
        match upstream.open(timeout).await {
            Err(ConnectError::Local(error)) if is_exhaustion(&error) => {
                self.complain(&error, "a backend");
                self.make_room();
            }
            opened => return opened,
        }
        let _waiting = Short::new(self);
        for _ in 1..TRIES {
            // Whoever is asked to leave is woken, and does so before this task's next turn.
            tokio::task::yield_now().await;
            match upstream.open(timeout).await {
                Err(ConnectError::Local(error)) if is_exhaustion(&error) => self.make_room(),
                opened => return opened,
            }
            tokio::time::sleep(PAUSE).await;
        }
        self.wanted.set(0);
        upstream.open(timeout).await
    }

    /// Requests that were let in wait for a descriptor: whoever is let in now would take it.
    pub(super) fn is_short(&self) -> bool {
        self.short.get() > 0
    }

    /// Waits while that is so.
    pub(super) async fn until_not_short(&self) {
        while self.is_short() {
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn make_room(&self) {
        let upstreams = self.upstreams.borrow();
        let closed: usize = upstreams.iter().map(|upstream| upstream.clear()).sum();
        if closed == 0 {
            self.wanted.set((self.open.get() / PART).max(LEAST));
            self.timers.wake_soonest_first();
        }
    }

    /// Asked for a client that is silent after an answer: whether its connection is wanted for another. Those who have been
    /// silent longest ask first.
    pub(super) fn wants_room(&self) -> bool {
        self.wanted.get() > 0
    }

    /// One of them leaves.
    pub(super) fn made_room(&self) {
        self.wanted.update(|wanted| wanted.saturating_sub(1));
    }

    /// Says that this machine has no more of something, for a connection with `whom`.
    pub(super) fn complain(&self, error: &io::Error, whom: &str) {
        if self.shared.complaint.is_due(self.shared.epoch.elapsed()) {
            tracing::warn!(
                %error,
                open_files_limit = descriptors::limit(),
                "no connection with {whom} can be opened: raise the limit on open files (ulimit -n, LimitNOFILE=) or lower \
                 `limits.max_connections`"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaint_is_made_once_in_ten_seconds() {
        let complaint = Complaint::default();
        let due = |seconds| complaint.is_due(Duration::from_secs(seconds));
        assert!(due(0));
        assert!(!due(1) && !due(9));
        assert!(due(10));
        assert!(!due(19));
        assert!(due(3600));
    }
}
