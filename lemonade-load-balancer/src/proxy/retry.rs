//! Which failed attempt another may heal, and where that one goes.
//!
//! The rules (RFC 9110 9.2.2): a connection that failed before anything was sent may always be tried elsewhere; once bytes
//! were sent, only a request that may be repeated is, and only while its body can be.

use super::forward::Failure;
use super::relay::Relay;
use super::shard::{Shard, View};
use super::upstream::ConnectError;
use crate::config::MAX_RETRIES;
use std::time::{Duration, Instant};

/// The attempts of one request.
#[derive(Debug)]
pub(super) struct Attempts {
    retries_left: u32,
    /// Indices in the view's pool, in the order in which they were tried.
    tried: [u32; MAX_RETRIES as usize + 1],
    count: usize,
    /// The next attempt goes to the same backend, on a new connection.
    again: bool,
    reused: bool,
    last: Option<Failure>,
    pub(super) connect: Duration,
    pub(super) first_byte: Duration,
    /// Body bytes of the answer.
    pub(super) bytes_out: u64,
}

impl Attempts {
    pub(super) fn new(retries: u32) -> Self {
        Attempts {
            retries_left: retries.min(MAX_RETRIES),
            tried: [0; MAX_RETRIES as usize + 1],
            count: 0,
            again: false,
            reused: false,
            last: None,
            connect: Duration::ZERO,
            first_byte: Duration::ZERO,
            bytes_out: 0,
        }
    }

    /// The backends tried, as indices in the pool.
    pub(super) fn tried(&self) -> &[u32] {
        &self.tried[..self.count]
    }

    /// The backend for the next attempt: the strategy's choice, then the next ones after it that were not tried yet.
    pub(super) fn pick(&mut self, shard: &Shard, view: &View, now: Instant) -> Option<usize> {
        if self.again {
            return self.tried().last().map(|index| *index as usize);
        }
        let size = view.snapshot.pool.len();
        if size == 0 || self.count == self.tried.len() {
            return None;
        }
        // A retry goes to the next one along without asking again: a second turn of the rotation would send every other
        // request to a backend that fails first.
        let picked = match self.tried().last() {
            None => shard.pick(view, now),
            Some(last) => (*last as usize + 1) % size,
        };
        let untried = |index: &usize| !self.tried().contains(&(*index as u32));
        let index = (picked..size).chain(0..picked).find(untried)?;
        self.tried[self.count] = index as u32;
        self.count += 1;
        Some(index)
    }

    pub(super) fn is_first(&self) -> bool {
        self.count == 1 && !self.again
    }

    pub(super) fn wants_new_connection(&self) -> bool {
        self.again
    }

    pub(super) fn connected(&mut self, took: Duration) {
        self.connect += took;
    }

    pub(super) fn sending(&mut self, reused: bool) {
        self.reused = reused;
    }

    /// The connection was an old one: that it failed says nothing about its backend.
    pub(super) fn was_stale(&self, failure: &Failure) -> bool {
        self.reused && matches!(failure, Failure::Unanswered)
    }

    pub(super) fn answered(&mut self, took: Duration) {
        self.first_byte = took;
    }

    pub(super) fn delivered(&mut self, bytes: u64) {
        self.bytes_out = bytes;
    }

    /// Whether to try again after `failure`. A stale connection costs no retry: the same backend gets a new one.
    pub(super) fn may_retry(&mut self, failure: Failure, idempotent: bool, relay: &Relay) -> bool {
        let repeatable = relay.is_untouched() || (idempotent && relay.is_retained());
        let stale = self.was_stale(&failure);
        let healable = match &failure {
            Failure::Connect(error) => !matches!(error, ConnectError::Local(_)),
            Failure::Unanswered => repeatable,
            _ => false,
        };
        self.last = Some(failure);
        self.again = healable && stale && !self.again;
        if self.again {
            return true;
        }
        let retry = healable && self.retries_left > 0;
        self.retries_left = self.retries_left.saturating_sub(1);
        retry
    }

    /// What the client is told when no attempt is left; `None` when there was no backend to try.
    pub(super) fn last_failure(&mut self) -> Option<Failure> {
        self.last.take()
    }
}
