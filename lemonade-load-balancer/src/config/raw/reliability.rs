//! What users may write about failures: when a backend is ejected, what is tried again, what is sent twice.

use super::RawId;
use lemonade_config::{OneOrMany, Percent, RawDuration};
use schemars::JsonSchema;
use serde::Deserialize;

/// When a backend is ejected because requests fail there.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub(in super::super) struct RawOutlier {
    /// Failures in a row: 1 to 1000.
    pub(in super::super) consecutive: Option<u32>,
    /// The share of failures within the window.
    pub(in super::super) failure_rate: Option<Percent>,
    /// How far back is looked: 1 s to 10 min.
    pub(in super::super) window: Option<RawDuration>,
    /// Fewer requests within the window say nothing.
    pub(in super::super) min_requests: Option<u32>,
    /// For how long, the first time; each further time twice as long.
    pub(in super::super) eject: Option<RawDuration>,
    /// No ejection is longer.
    pub(in super::super) max_eject: Option<RawDuration>,
    /// The largest share of backends that may be ejected for failures at once.
    pub(in super::super) max_ejected: Option<Percent>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub(in super::super) struct RawRetries {
    /// Attempts on other backends after the first failed: 0 to 10.
    pub(in super::super) attempts: Option<u32>,
    /// What is tried again: `connect_failure`, `reset`, `timeout`, and statuses from 400 to 599.
    pub(in super::super) on: OneOrMany<RawId>,
    /// The share of requests that may be retried.
    pub(in super::super) budget: Option<Percent>,
    /// Retries a second that are allowed whatever the budget says.
    pub(in super::super) min_per_second: Option<u32>,
    /// Also repeat requests such as POST, which may then be done twice.
    pub(in super::super) non_idempotent: Option<bool>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub(in super::super) struct RawHedge {
    /// How long the first copy has; required.
    pub(in super::super) after: Option<RawDuration>,
    /// The share of requests that may be sent twice.
    pub(in super::super) budget: Option<Percent>,
}
