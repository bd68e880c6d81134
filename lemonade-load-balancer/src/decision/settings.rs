//! What the configuration says of the engine.

use super::Rule;
use crate::strategy::Name;
use std::time::Duration;

/// What the engine may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Switch.
    #[default]
    On,
    /// Say what it would do, and do nothing.
    Advise,
    /// Nothing: the first candidate picks.
    Off,
}

impl Mode {
    /// As written in configurations.
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::On => "on",
            Mode::Advise => "advise",
            Mode::Off => "off",
        }
    }
}

/// What the configuration says of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Default `on`.
    pub mode: Mode,
    /// The least time between two switches. Default 60 s, 1 s to 24 h.
    pub cooldown: Duration,
    /// Strategies to choose between; the first one picks at the start. Default `least_delay`, `least_connections`,
    /// `round_robin`; at least one.
    pub candidates: Vec<Name>,
    /// The operator's own rules; the first that applies wins over all else.
    pub rules: Vec<Rule>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            mode: Mode::On,
            cooldown: Duration::from_secs(60),
            candidates: vec![Name::LeastDelay, Name::LeastConnections, Name::RoundRobin],
            rules: Vec::new(),
        }
    }
}

impl Settings {
    /// Who picks at the start, and while the engine is off.
    pub fn first(&self) -> Name {
        self.candidates.first().copied().unwrap_or_default()
    }

    /// Who picks where nothing speaks for anyone else.
    pub(super) fn home(&self) -> Name {
        match self.candidates.contains(&Name::LeastDelay) {
            true => Name::LeastDelay,
            false => self.first(),
        }
    }

    pub(super) fn allows(&self, name: Name) -> bool {
        let plain = match name {
            Name::WeightedRoundRobin => Name::RoundRobin,
            other => other,
        };
        self.candidates.contains(&name) || self.candidates.contains(&plain)
    }
}
