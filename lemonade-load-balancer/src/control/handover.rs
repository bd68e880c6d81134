//! What a process tells the one that replaces it, so that an upgrade forgets nothing: what is known about the backends, what
//! was changed by hand, where the rotation stands.
//!
//! One JSON document. A reader takes what it understands: an older or newer release may say less or more.

use crate::backend::{Backend, BackendId, Known, State};
use crate::config::{BackendConfig, Overlay, Source, Tier};
use crate::seal::MadeKey;
use lemonade_config::Address;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Everything that was learned.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Handover {
    /// Changes by hand that hold, kept or not.
    pub(super) overlay: Overlay,
    /// For how long the strategy that was set by hand still holds, in seconds, if that has an end.
    pub(super) strategy_for: Option<f64>,
    /// The rotation's next place.
    pub(super) cursor: usize,
    /// What is known about each backend.
    pub(super) learned: Vec<Learned>,
    /// Backends that sources besides the file named last.
    pub(super) found: Vec<FoundBackend>,
    /// What sticky cookies are sealed with where no secret is configured.
    pub(super) sticky_key: Option<MadeKey>,
}

/// What was learned about one backend.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Learned {
    address: String,
    healthy: Option<bool>,
    latency_seconds: Option<f32>,
    delay: Option<Known>,
}

/// A backend as a source named it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct FoundBackend {
    /// `sql`, or `dns` and a name.
    source: String,
    address: String,
    endpoint: SocketAddr,
    name: String,
    weight: u32,
}

impl Learned {
    pub(super) fn of(backend: &Backend, now: Duration) -> Self {
        Learned {
            address: backend.id.to_string(),
            healthy: match backend.state.get() {
                State::Healthy | State::Degraded => Some(true),
                State::Unhealthy => Some(false),
                // Who was ejected may have another chance.
                State::Starting | State::Ejected | State::Draining => None,
            },
            latency_seconds: backend.load.latency.seconds(now),
            delay: backend.load.delay.known(now),
        }
    }

    /// A backend about which this is known.
    pub(super) fn recall(&self, shards: usize, now: Duration) -> Option<Arc<Backend>> {
        let id = BackendId::new(self.address.parse().ok()?);
        let backend = Backend::new(id, shards);
        match self.healthy {
            Some(true) => backend.state.set(State::Healthy),
            Some(false) => backend.state.set(State::Unhealthy),
            None => State::Starting,
        };
        let latency = self.latency_seconds.filter(|seconds| *seconds >= 0.0);
        if let Some(latency) = latency.and_then(|seconds| Duration::try_from_secs_f32(seconds).ok())
        {
            backend.load.latency.record(latency, now);
            backend.load.peak.record(latency, now);
        }
        if let Some(known) = &self.delay {
            backend.load.delay.recall(known, now);
        }
        Some(backend)
    }
}

impl FoundBackend {
    pub(super) fn of(backend: &BackendConfig) -> Self {
        FoundBackend {
            source: backend.source.to_string(),
            address: backend.id.to_string(),
            endpoint: backend.endpoint,
            name: backend.name.clone(),
            weight: backend.weight,
        }
    }

    /// `None` if a release that this one does not know wrote it.
    pub(super) fn recall(&self) -> Option<BackendConfig> {
        let source = match self.source.split_once(' ') {
            None if self.source == "sql" => Source::Sql,
            Some(("dns", name)) => Source::Dns(name.into()),
            _ => return None,
        };
        let address: Address = self.address.parse().ok()?;
        Some(BackendConfig {
            id: BackendId::new(address),
            endpoint: self.endpoint,
            name: self.name.clone(),
            weight: self.weight.max(1),
            tier: Tier::default(),
            max_in_flight: None,
            source,
            drained: false,
        })
    }
}
