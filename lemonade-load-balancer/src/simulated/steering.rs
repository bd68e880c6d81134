//! The engine in simulated time: once a second it is shown what was counted, as the control task would.

use crate::config::Config;
use crate::decision::{Engine, Mode, Orders, Sample};
use crate::snapshot::Snapshot;
use crate::stats::histogram::{SLOTS, slot};
use crate::strategy::Name;
use std::collections::BTreeMap;
use std::time::Duration;

/// How often the engine is shown what was counted.
const TICK: Duration = Duration::from_secs(1);

/// Who says which strategy picks under `adaptive`.
#[derive(Debug)]
pub(super) struct Steering {
    engine: Engine,
    /// Answers by time to first byte.
    histogram: Vec<u64>,
    next: Duration,
    rng: fastrand::Rng,
}

impl Steering {
    /// `None` where a strategy was named that picks by itself, or the engine is off.
    pub(super) fn new(config: &Config, seed: u64) -> Option<Self> {
        let settings = &config.engine.settings;
        let steers = config.strategy == Name::Adaptive && settings.mode == Mode::On;
        steers.then(|| Steering {
            engine: Engine::new(settings.first()),
            histogram: vec![0; SLOTS],
            next: TICK,
            rng: fastrand::Rng::with_seed(seed),
        })
    }

    pub(super) fn answered(&mut self, latency: Duration) {
        self.histogram[slot(latency)] += 1;
    }

    /// A second of it, if one has passed: who picks from now on.
    pub(super) fn tick(&mut self, present: &Snapshot, now: Duration) -> Option<Name> {
        if now < self.next {
            return None;
        }
        self.next = (self.next + TICK).max(now);
        let sample = Sample {
            backends: present.samples(now),
            histogram: self.histogram.clone(),
            shed: 0,
        };
        let orders = Orders {
            settings: &present.config.engine.settings,
            external: &BTreeMap::new(),
            by_hand: false,
        };
        self.engine.tick(&sample, &orders, now, self.rng.u64(..));
        Some(self.engine.current())
    }
}
