//! What is remembered of requests and attempts: counters, what it says of the backend, a line of the access log.
//!
//! Success costs plain stores into the shard's own memory. What concerns others (no connection, failures in a row, how a trial
//! ended) is told to the control task, which never makes a request wait.

use super::access_log::Finish;
use super::claim::Slot;
use super::exchange::{self, Answer};
use super::forward::{Ended, Failure, Request};
use super::reply::Reason;
use super::retry::Attempts;
use super::shard::Shard;
use super::upstream::ConnectError;
use super::view::View;
use crate::backend::{Backend, Taken};
use crate::control::Met;
use crate::snapshot::Panic;
use crate::stats::{Outcome, ShardStats};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// The status of whoever asks too often; some backends say it when they have too much to do.
const TOO_MANY: u16 = 429;

impl Shard {
    /// Records a backend's answer, and what it says of the backend.
    pub(super) fn record(&self, slot: &Slot<'_>, answer: &Answer, view: &View) {
        let took = answer.took;
        let upstream = &*slot.upstream;
        let backend = &upstream.backend;
        upstream
            .stats()
            .record(Outcome::Answered(answer.status), took);
        self.stats.first_byte.record(took);
        // An error is fast for the wrong reason, and so is "too busy".
        let now = self.since_epoch(answer.first_byte);
        if answer.status < 500 && answer.status != TOO_MANY {
            backend.load.latency.record(took, now);
            backend.load.delay.answered(took, slot.ahead, now);
            backend.load.peak.record(took, now);
        } else if answer.status == TOO_MANY
            || (exchange::is_fault(answer.status) && !answer.is_fault())
        {
            backend.load.delay.failed(now);
            backend.load.peak.record_failure(took, now);
        } else {
            backend.load.delay.heard(now);
        }
        slot.heard();
        if answer.is_fault() {
            backend.load.peak.record_failure(took, now);
            let error = || format!("its answer was {}", answer.status);
            return self.record_fault(slot, view, error);
        }
        let unexpected = slot.last_resort || view.snapshot.panic == Some(Panic::NoneTrusted);
        if unexpected && backend.is_distrusted() {
            self.shared.control.met(backend, Met::Answer);
        }
    }

    /// Records that an answer was passed on whole: until then it might have broken off.
    pub(super) fn record_whole(&self, slot: &Slot<'_>, answer: &Answer) {
        if !answer.is_fault() {
            self.record_success(slot);
        }
    }

    fn record_success(&self, slot: &Slot<'_>) {
        let backend = &slot.upstream.backend;
        backend.load.succeeded();
        if let Some(taken) = slot.take_trial() {
            self.report_trial(backend, taken, Met::TrialPassed);
        }
    }

    /// Records that a backend agreed to another protocol: no measure of how fast it works.
    pub(super) fn record_switch(&self, slot: &Slot<'_>, took: Duration) {
        slot.upstream.stats().record(Outcome::Answered(101), took);
        let delay = &slot.upstream.backend.load.delay;
        delay.heard(self.shared.epoch.elapsed());
        slot.heard();
        self.record_success(slot);
    }

    /// Records a failure that is the backend's own.
    fn record_fault(&self, slot: &Slot<'_>, view: &View, error: impl FnOnce() -> String) {
        let backend = &slot.upstream.backend;
        ShardStats::count(&slot.upstream.stats().faults);
        let now = self.shared.epoch.elapsed();
        backend.load.delay.failed(now);
        slot.heard();
        backend.load.peak.record_failure(Duration::ZERO, now);
        let in_a_row = backend.load.failed();
        if let Some(taken) = slot.take_trial() {
            let (unreachable, error) = (false, error());
            let failed = Met::TrialFailed { unreachable, error };
            return self.report_trial(backend, taken, failed);
        }
        let rules = &view.snapshot.config.outlier;
        if rules.is_some_and(|rules| rules.tells(in_a_row)) {
            self.shared.control.met(backend, Met::Failures(in_a_row));
        }
    }

    /// Reports how a trial ended. If that cannot be told, the next request is the trial.
    fn report_trial(&self, backend: &Arc<Backend>, taken: Taken, outcome: Met) {
        if !self.shared.control.met(backend, outcome) {
            backend.trial.give_back(taken);
        }
    }

    /// Records an answer that another one is waited for instead of.
    pub(super) fn record_refusal(
        &self,
        slot: &Slot<'_>,
        status: u16,
        busy: bool,
        took: Duration,
        view: &View,
    ) {
        let stats = slot.upstream.stats();
        stats.record(Outcome::Answered(status), took);
        if exchange::is_fault(status) || busy {
            let now = self.shared.epoch.elapsed();
            slot.upstream.backend.load.peak.record_failure(took, now);
            if busy {
                slot.upstream.backend.load.delay.failed(now);
            }
            slot.heard();
        }
        if exchange::is_fault(status) && !busy {
            self.record_fault(slot, view, || format!("its answer was {status}"));
        }
    }

    /// Records that another backend answered first: this one takes as long as that at least.
    pub(super) fn record_overtaken(&self, slot: &Slot<'_>, took: Duration) {
        let now = self.shared.epoch.elapsed();
        let load = &slot.upstream.backend.load;
        load.latency.record(took, now);
        load.peak.record(took, now);
        load.delay.answered(took, slot.ahead, now);
    }

    /// Records that a request is sent a second time.
    pub(super) fn record_hedge(&self, slot: &Slot<'_>) {
        ShardStats::count(&slot.upstream.stats().begun);
        ShardStats::count(&self.stats.hedges);
    }

    /// Records that the second copy was the first to be answered.
    pub(super) fn record_hedge_won(&self) {
        ShardStats::count(&self.stats.hedges_won);
    }

    /// Records a failed attempt, and reports the backend if no connection to it can be made.
    pub(super) fn blame(
        &self,
        slot: &Slot<'_>,
        failure: &Failure,
        attempts: &Attempts,
        view: &View,
    ) {
        let upstream = &*slot.upstream;
        match failure {
            Failure::Connect(ConnectError::Local(error)) => {
                self.complain(error, "a backend");
            }
            Failure::Connect(error) => {
                upstream
                    .stats()
                    .record(Outcome::ConnectFailed, Duration::ZERO);
                ShardStats::count(&upstream.stats().faults);
                self.record_wait(slot, Duration::ZERO);
                self.report_unreachable(slot, error);
            }
            Failure::Unanswered if attempts.was_stale(failure) => {}
            Failure::Unanswered | Failure::BadAnswer | Failure::AnswerTimeout => {
                upstream.stats().record(Outcome::Failed, Duration::ZERO);
                tracing::debug!(backend = %upstream.backend.id, ?failure, "attempt failed");
                self.record_wait(
                    slot,
                    match failure {
                        Failure::AnswerTimeout => view.snapshot.config.timeouts.response_header,
                        _ => Duration::ZERO,
                    },
                );
                self.record_fault(slot, view, || format!("{failure:?}"));
            }
            // Only the first attempt had all the time there was.
            Failure::TotalTimeout if attempts.is_first() => {
                upstream.stats().record(Outcome::Failed, Duration::ZERO);
                self.record_wait(slot, view.snapshot.config.timeouts.total);
                self.record_fault(slot, view, || {
                    "no answer in all the time there was".to_owned()
                });
            }
            // Its answer has been counted already.
            Failure::Broken => self.record_fault(slot, view, || "its answer broke off".to_owned()),
            Failure::Refused(_) => {}
            // The client's doing, or nobody's.
            Failure::ClientGone
            | Failure::BadBody
            | Failure::RequestTimeout
            | Failure::TotalTimeout
            | Failure::SlowClient
            | Failure::QueueFull
            | Failure::QueueTimeout
            | Failure::Cut => {}
        }
    }

    /// Records that so long was waited for nothing.
    fn record_wait(&self, slot: &Slot<'_>, waited: Duration) {
        let now = self.shared.epoch.elapsed();
        slot.upstream.backend.load.peak.record_failure(waited, now);
    }

    fn report_unreachable(&self, slot: &Slot<'_>, error: &ConnectError) {
        let backend = &slot.upstream.backend;
        let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
        let error = format!("{error}{}", cause.unwrap_or_default());
        let unreachable = true;
        match slot.take_trial() {
            Some(taken) => {
                self.report_trial(backend, taken, Met::TrialFailed { unreachable, error });
            }
            None if backend.is_distrusted() => {}
            None => drop(self.shared.control.met(backend, Met::NoConnection(error))),
        }
    }

    /// Records the end of a request.
    pub(super) fn finished(
        &self,
        request: &Request,
        view: &View,
        attempts: &mut Attempts,
        ended: &Ended,
        bytes_in: u64,
    ) {
        let total = ended.at.saturating_duration_since(request.started);
        self.stats.record(ended.status, total);
        let Some(journal) = attempts.noted() else {
            return;
        };
        let finish = Finish {
            ended: ended.at,
            total,
            status: ended.status,
            flag: ended.flag,
            backend: attempts.served_by().cloned(),
            queue: attempts.queued,
            connect: attempts.connect,
            first_byte: attempts.first_byte,
            bytes_in: bytes_in + attempts.tunnelled_in,
            bytes_out: attempts.bytes_out,
        };
        self.tell_of(journal, &finish, view);
    }

    /// Records a request that no backend had room for.
    pub(super) fn record_shed(&self) {
        ShardStats::count(&self.stats.shed);
    }

    /// Records a connection whose request was refused before it was read.
    /// `unread` is what came of it.
    pub(super) fn refused(&self, reason: Reason, client: SocketAddr, unread: &[u8]) {
        self.stats.record_refused(reason.status());
        self.log_refused(reason, client, unread);
        tracing::debug!(%client, ?reason, "request refused");
    }
}
