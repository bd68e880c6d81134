//! What became of what was to be pushed: counters, and a line in the log when a server goes away or comes back.

use super::server::PushError;
use crate::stats::names;
use std::fmt::Display;

/// One kind of thing that is pushed.
#[derive(Debug)]
pub(super) struct Signal {
    name: &'static str,
    away: bool,
    /// The server says that it leaves out some of what it takes.
    rejects: bool,
}

/// What a server says of what it took.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    /// So many spans, or data points, it left out,
    pub(super) rejected: u64,
    /// and why.
    pub(super) why: String,
}

/// Why a push failed, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// There was no answer, or one that says to come again.
    Away,
    /// The server will not take it.
    Refused,
}

pub(super) fn describe() {
    metrics::describe_counter!(
        names::TELEMETRY_EXPORTS,
        "Pushes of traces, metrics and StatsD, by result"
    );
    metrics::describe_counter!(
        names::TELEMETRY_DROPPED,
        "Traces, readings of metrics and StatsD datagrams that reached no server"
    );
    metrics::describe_counter!(
        names::TELEMETRY_REJECTED,
        "Spans and data points that a server left out of what it took"
    );
}

impl Signal {
    /// `name`: as a label says it.
    pub(super) fn new(name: &'static str) -> Self {
        Signal {
            name,
            away: false,
            rejects: false,
        }
    }

    /// The server answered, or did not.
    pub(super) fn settled(&mut self, pushed: &Result<Taken, PushError>) {
        match pushed {
            Ok(Taken { rejected: 0, .. }) => self.delivered(),
            Ok(Taken { rejected, why }) => self.delivered_in_part(*rejected, why),
            Err(error @ PushError::Refused(_)) => self.failed(Failure::Refused, error),
            Err(error) => self.failed(Failure::Away, error),
        }
    }

    /// The server took it.
    pub(super) fn delivered(&mut self) {
        self.count("ok");
        self.rejects = false;
        self.back();
    }

    /// The server took some of it.
    fn delivered_in_part(&mut self, rejected: u64, why: &str) {
        self.count("partial");
        metrics::counter!(names::TELEMETRY_REJECTED, "signal" => self.name).increment(rejected);
        if !std::mem::replace(&mut self.rejects, true) {
            tracing::warn!(
                signal = self.name,
                rejected,
                why,
                "telemetry server leaves out a part"
            );
        }
        self.back();
    }

    /// The server did not take it.
    pub(super) fn failed(&mut self, failure: Failure, error: &dyn Display) {
        self.count(match failure {
            Failure::Away => "away",
            Failure::Refused => "refused",
        });
        if !std::mem::replace(&mut self.away, true) {
            tracing::warn!(signal = self.name, %error, "telemetry server away");
        }
    }

    /// So many will reach no server.
    pub(super) fn dropped(&self, count: u64) {
        if count > 0 {
            metrics::counter!(names::TELEMETRY_DROPPED, "signal" => self.name).increment(count);
        }
    }

    fn back(&mut self) {
        if std::mem::take(&mut self.away) {
            tracing::info!(signal = self.name, "telemetry server back");
        }
    }

    fn count(&self, result: &'static str) {
        metrics::counter!(names::TELEMETRY_EXPORTS, "signal" => self.name, "result" => result)
            .increment(1);
    }
}
