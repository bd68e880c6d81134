//! What the API says of one second, as types. Whatever is not there counts as nothing: a balancer may be older or newer.

use serde::Deserialize;

/// The balancer as a whole in one second.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Totals {
    /// Rises by one a second in one process.
    pub(super) id: u64,
    pub(super) time: String,
    /// How long the sample really was.
    pub(super) seconds: f64,
    pub(super) phase: String,
    pub(super) strategy: String,
    pub(super) picks: String,
    pub(super) panic: Option<String>,
    pub(super) connections: u64,
    pub(super) queued: u64,
    pub(super) in_flight: u64,
    pub(super) requests: u64,
    /// 1xx to 5xx.
    pub(super) classes: [u64; 5],
    pub(super) refused: u64,
    pub(super) shed: u64,
    pub(super) retries: u64,
    pub(super) p50_seconds: Option<f64>,
    pub(super) p99_seconds: Option<f64>,
    pub(super) backends_eligible: u64,
    pub(super) backends_usable: u64,
    pub(super) backends_all: u64,
}

impl Totals {
    /// Requests a second.
    pub(super) fn rate(&self) -> f64 {
        per_second(self.requests, self.seconds)
    }

    pub(super) fn errors(&self) -> u64 {
        self.classes[4]
    }
}

pub(super) fn per_second(count: u64, seconds: f64) -> f64 {
    match seconds > 0.0 {
        true => count as f64 / seconds,
        false => 0.0,
    }
}

/// The same second with its backends.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Sample {
    #[serde(flatten)]
    pub(super) totals: Totals,
    #[serde(default)]
    pub(super) backends: Vec<Backend>,
}

/// A backend in one second.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Backend {
    pub(super) name: String,
    pub(super) state: State,
    pub(super) eligible: bool,
    /// Absent while all is well.
    pub(super) why: Option<String>,
    /// As much of it as counts now.
    pub(super) weight: f64,
    pub(super) in_flight: u64,
    pub(super) requests: u64,
    pub(super) errors: u64,
    /// Attempts that failed by its fault.
    pub(super) faults: u64,
    /// Of all answers in this second.
    pub(super) share: f64,
    pub(super) p50_seconds: Option<f64>,
    pub(super) p99_seconds: Option<f64>,
    /// Since it was met.
    pub(super) ejections: u64,
}

/// A backend's state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    Ejected,
    Unhealthy,
    Degraded,
    Starting,
    Draining,
    Healthy,
    /// Of a later release.
    #[default]
    #[serde(other)]
    Unknown,
}

impl State {
    pub(super) fn word(self) -> &'static str {
        match self {
            State::Ejected => "ejected",
            State::Unhealthy => "unhealthy",
            State::Degraded => "degraded",
            State::Starting => "starting",
            State::Draining => "draining",
            State::Unknown => "unknown",
            State::Healthy => "healthy",
        }
    }

    /// Tells states apart where there is no colour, and for who sees none.
    pub(super) fn symbol(self) -> char {
        match self {
            State::Ejected => '✗',
            State::Unhealthy => '✗',
            State::Degraded => '!',
            State::Starting => '…',
            State::Draining => '▽',
            State::Unknown => '?',
            State::Healthy => '●',
        }
    }

    /// It gets no request because something is wrong with it.
    pub(super) fn is_out(self) -> bool {
        matches!(self, State::Ejected | State::Unhealthy)
    }
}

/// Every backend's last seconds: columns that are aligned from the first sample to the last.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Columns {
    pub(super) backends: Vec<Column>,
}

/// One backend's; null where it was not there.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) requests: Vec<Option<u64>>,
    pub(super) errors: Vec<Option<u64>>,
    pub(super) p50_seconds: Vec<Option<f64>>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn sample_is_read_and_what_is_missing_is_nothing() {
        let sample: Sample = serde_json::from_value(json!({
            "id": 7, "seconds": 0.5, "requests": 10, "classes": [0, 8, 0, 0, 2], "novelty": {},
            "backends": [{ "name": "w1", "state": "ejected" }, { "name": "w2", "state": "bewitched" }],
        }))
        .unwrap();
        assert_eq!((sample.totals.rate(), sample.totals.errors()), (20.0, 2));
        let states: Vec<State> = sample
            .backends
            .iter()
            .map(|backend| backend.state)
            .collect();
        assert_eq!(states, [State::Ejected, State::Unknown]);
        assert_eq!(Totals::default().rate(), 0.0);
    }
}
