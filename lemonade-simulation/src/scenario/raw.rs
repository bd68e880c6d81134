//! What users may write in a scenario; [`super::check`] makes a [`super::Scenario`] of it.

use lemonade_config::{Located, OneOrMany, Percent, RawDuration, Switch};
use serde::Deserialize;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawScenario {
    pub(super) about: Option<String>,
    pub(super) seed: Option<u64>,
    pub(super) duration: Option<RawDuration>,
    pub(super) warm_up: Option<RawDuration>,
    pub(super) timeout: Option<RawDuration>,
    pub(super) arrivals: RawArrivals,
    pub(super) cost: RawCost,
    pub(super) replicas: Option<u32>,
    pub(super) shared: bool,
    pub(super) backends: Vec<Located<RawGroup>>,
    pub(super) health: Option<Switch<RawHealth>>,
    pub(super) faults: Vec<Located<RawFault>>,
    pub(super) background_errors: Option<Percent>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawArrivals {
    /// The share of what the pool can serve at full speed.
    pub(super) load: Option<Percent>,
    /// Requests a second, instead.
    pub(super) rate: Option<f64>,
    pub(super) process: Option<RawProcess>,
    pub(super) bursts: Option<RawBursts>,
    pub(super) steps: Vec<Located<RawStep>>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RawProcess {
    Poisson,
    Constant,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawBursts {
    pub(super) every: Option<RawDuration>,
    #[serde(rename = "for")]
    pub(super) lasts: Option<RawDuration>,
    pub(super) times: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawStep {
    pub(super) at: Option<RawDuration>,
    pub(super) load: Option<Percent>,
    pub(super) rate: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawCost {
    pub(super) mean: Option<RawDuration>,
    pub(super) distribution: Option<RawDistribution>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RawDistribution {
    Constant,
    Exponential,
    Lognormal(RawLognormal),
    Pareto(RawPareto),
    Bimodal(RawBimodal),
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawLognormal {
    pub(super) cv: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawPareto {
    pub(super) shape: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawBimodal {
    pub(super) share: Option<Percent>,
    pub(super) times: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawGroup {
    pub(super) count: Option<u32>,
    pub(super) speed: Option<f64>,
    pub(super) workers: Option<u32>,
    pub(super) weight: Option<u32>,
    pub(super) name: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawHealth {
    pub(super) interval: Option<RawDuration>,
    pub(super) fall: Option<u32>,
    pub(super) rise: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawFault {
    pub(super) at: Option<RawDuration>,
    #[serde(rename = "for")]
    pub(super) lasts: Option<RawDuration>,
    pub(super) every: Option<RawDuration>,
    pub(super) backends: OneOrMany<u32>,
    pub(super) slow: Option<f64>,
    pub(super) fail: Option<Switch<RawFail>>,
    pub(super) pause: bool,
    pub(super) crash: bool,
    pub(super) hang: bool,
    pub(super) cold: Option<Switch<RawCold>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawFail {
    pub(super) rate: Option<Percent>,
    pub(super) after: Option<RawDuration>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawCold {
    pub(super) from: Option<f64>,
    pub(super) over: Option<RawDuration>,
}
