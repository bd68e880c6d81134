//! The states a backend may be in, and which of them may be picked.

use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};

/// What the balancer thinks of a backend. The control task alone decides; everyone may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum State {
    /// Known, but no health check has answered yet. Picked only while no backend is healthy: unknown beats refusing.
    Starting,
    /// Picked.
    Healthy,
    /// Picked, with a quarter of its weight: it answers requests, but its health checks time out.
    Degraded,
    /// Its health checks failed.
    Unhealthy,
    /// Requests failed there, though its health checks may not. Single requests try it again after a while.
    Ejected,
    /// No longer configured, or an operator wants it so: no new request, old ones finish.
    Draining,
}

impl State {
    /// Every state.
    pub const ALL: [State; 6] = [
        State::Starting,
        State::Healthy,
        State::Degraded,
        State::Unhealthy,
        State::Ejected,
        State::Draining,
    ];

    /// It is known to be well enough for requests.
    pub fn is_usable(self) -> bool {
        matches!(self, State::Healthy | State::Degraded)
    }

    /// The name in the admin API, logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            State::Starting => "starting",
            State::Healthy => "healthy",
            State::Degraded => "degraded",
            State::Unhealthy => "unhealthy",
            State::Ejected => "ejected",
            State::Draining => "draining",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The present state, readable by all.
#[derive(Debug)]
pub struct StateCell(AtomicU8);

impl StateCell {
    /// A cell in this state.
    pub fn new(state: State) -> Self {
        StateCell(AtomicU8::new(state as u8))
    }

    /// The state as last decided.
    pub fn get(&self) -> State {
        // Acquire, with the Release below: who sees a state also sees what was recorded before it was decided.
        let stored = usize::from(self.0.load(Ordering::Acquire));
        State::ALL.get(stored).copied().unwrap_or(State::Starting)
    }

    /// For the control task only. Returns the state before.
    pub(crate) fn set(&self, state: State) -> State {
        let before = self.get();
        self.0.store(state as u8, Ordering::Release);
        before
    }
}
