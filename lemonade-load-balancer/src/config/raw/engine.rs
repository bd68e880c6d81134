//! What users may write about the adaptive engine.

use super::RawStrategyName;
use lemonade_config::{Located, OneOrMany, RawDuration, Switch};
use schemars::JsonSchema;
use serde::Deserialize;
use std::str::FromStr;

/// The adaptive engine.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub(in super::super) struct RawEngine {
    /// `on`, `advise` (say what it would do, and do nothing) or `off`.
    pub(in super::super) mode: Option<Switch<RawMode>>,
    /// The least time between two switches: 1 s to 24 h.
    pub(in super::super) cooldown: Option<RawDuration>,
    /// Strategies to choose between; the first one picks at the start.
    pub(in super::super) candidates: OneOrMany<Located<RawStrategyName>>,
    /// Rules of your own; the first that applies wins.
    pub(in super::super) rules: OneOrMany<Located<RawRule>>,
    /// Figures of Prometheus servers, for rules to go by.
    pub(in super::super) prometheus: OneOrMany<Located<RawPrometheus>>,
    /// Of how many picks one is kept with all that it went by: 1 to 1000000, or `off`.
    pub(in super::super) trace_sample: Option<Switch<u32>>,
}

impl FromStr for RawEngine {
    type Err = &'static str;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "advise" => Ok(RawEngine {
                mode: Some(Switch::Set(RawMode::Advise)),
                ..RawEngine::default()
            }),
            _ => Err("expected `on`, `advise`, `off` or a table"),
        }
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in super::super) enum RawMode {
    Advise,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub(in super::super) struct RawRule {
    /// What decisions and metrics call it: 1 to 50 characters.
    pub(in super::super) name: Option<String>,
    /// When it applies, such as `error_rate > 5% for 10s`; required.
    pub(in super::super) when: Option<String>,
    /// The strategy that picks then; required.
    #[serde(rename = "use")]
    pub(in super::super) picks: Option<RawStrategyName>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub(in super::super) struct RawPrometheus {
    /// What rules call it after `external.`: letters, digits and `_`; required.
    pub(in super::super) name: Option<String>,
    /// Where the server is, `http://host:port`; required.
    pub(in super::super) url: Option<String>,
    /// What it is asked: an instant query with one value; required.
    pub(in super::super) query: Option<String>,
    /// How often: 1 s to 1 h.
    pub(in super::super) interval: Option<RawDuration>,
    /// For one answer: 10 ms to 1 min.
    pub(in super::super) timeout: Option<RawDuration>,
    /// How old a value may be: 1 s to 24 h.
    pub(in super::super) stale: Option<RawDuration>,
}
