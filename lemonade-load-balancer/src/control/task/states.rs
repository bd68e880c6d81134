//! What happened to backends: what it makes of their states, and who is told.

use super::super::Met;
use super::super::events::What;
use super::Task;
use crate::backend::{Backend, BackendId, Move, State};
use crate::config::MaxInFlight;
use crate::outlier::Sign;
use crate::snapshot::Panic;

/// A backend's move from one state to another.
#[derive(Debug)]
pub(super) struct StateChange {
    /// Its name.
    backend: String,
    from: State,
    to: State,
    cause: String,
}

impl Task {
    /// Takes account of what happened to a backend, to be published if that matters.
    pub(super) fn happened(&mut self, id: &BackendId, what: Move, cause: &str) {
        let Some(backend) = self.own.registry.get(id).map(|entry| entry.clone()) else {
            return;
        };
        let present = self.own.publisher.load();
        let was_distrusted = backend.is_distrusted();
        let now = self.own.now();
        let moved = self.own.guard.apply(id, what, &present.config, now);
        match moved {
            Some((from, to)) => self.announce(&backend, from, to, cause),
            None if matches!(what, Move::TrialFailed { .. }) => {
                let cause = format!("a trial failed: {cause}");
                backend.cause.set(backend.state.get(), cause, now);
            }
            None => {}
        }
        self.learned |= moved.is_some() || was_distrusted != backend.is_distrusted();
    }

    pub(super) fn announce(&mut self, backend: &Backend, from: State, to: State, cause: &str) {
        backend.cause.set(to, cause, self.own.now());
        self.untold.push(StateChange {
            backend: self.own.publisher.load().name_of(backend),
            from,
            to,
            cause: cause.to_owned(),
        });
    }

    pub(super) fn tell_changes(&mut self) {
        for change in self.untold.drain(..) {
            let StateChange {
                backend,
                from,
                to,
                cause,
            } = change;
            match to {
                State::Unhealthy | State::Ejected | State::Degraded => {
                    tracing::warn!(%backend, %from, %to, cause, "state changed");
                }
                _ => tracing::info!(%backend, %from, %to, cause, "state changed"),
            }
            self.own.events.record(What::StateChanged {
                backend,
                from,
                to,
                cause,
            });
        }
    }

    pub(super) fn met(&mut self, backend: &Backend, met: Met) {
        let id = &backend.id;
        match met {
            Met::NoConnection(error) => self.happened(id, Move::Unreachable, &error),
            Met::Failures(count) => self.suspect(id, Sign::InARow(count)),
            Met::TrialPassed => self.happened(id, Move::TrialPassed, "trials succeeded"),
            Met::TrialFailed { unreachable, error } => {
                tracing::debug!(backend = %id, error, "trial failed");
                self.happened(id, Move::TrialFailed { unreachable }, &error);
            }
            Met::Answer => self.happened(id, Move::Answered, "it answered a request"),
        }
    }

    /// Ejects a backend at which requests fail, unless too many are ejected already.
    fn suspect(&mut self, id: &BackendId, sign: Sign) {
        let config = self.own.publisher.load().config.clone();
        let Some(rules) = &config.outlier else {
            return;
        };
        if self.own.guard.may_eject(id, &sign, rules) {
            self.happened(id, Move::Failing, &sign.to_string());
        }
    }

    pub(super) fn announce_panic(&mut self, panic: Option<Panic>, usable: usize, all: usize) {
        match panic {
            Some(Panic::FewUsable) => {
                tracing::error!(
                    usable,
                    all,
                    "panic: too few backends are usable, so those that only fail health checks are used too"
                );
            }
            Some(Panic::NoneTrusted) => {
                tracing::error!(
                    all,
                    "panic: requests fail at every backend, so all are tried"
                );
            }
            None => tracing::info!(usable, all, "panic over"),
        }
        let reason = panic.map(Panic::as_str);
        self.own.events.record(What::Panic {
            reason,
            usable,
            all,
        });
    }

    /// Looks at what requests met, and at what time brings.
    pub(super) fn watch_over(&mut self) {
        let now = self.own.now();
        let present = self.own.publisher.load();
        let config = &present.config;
        if let Some(rules) = &config.outlier {
            for (backend, sign) in self.own.guard.look(rules, now) {
                self.suspect(&backend.id, sign);
            }
        }
        if config.limits.max_in_flight == MaxInFlight::Adaptive {
            self.own.guard.limit(&present.members, config, now);
        }
        self.own.guard.compare(now);
        let (moved, shown) = self.own.guard.pass_time(config, now);
        for moved in &moved {
            self.announce(&moved.backend, moved.from, moved.to, &moved.cause);
        }
        self.learned |= shown || !moved.is_empty();
        self.publish_learned();
    }
}
