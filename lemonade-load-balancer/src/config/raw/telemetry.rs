//! What users may write about metrics and traces that are pushed.

use lemonade_config::{Percent, RawDuration, ShortOr, Switch};
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::str::FromStr;

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub(in super::super) struct RawMetrics {
    /// How often metrics are pushed: 1 s to 1 h.
    pub(in super::super) interval: Option<RawDuration>,
    /// Push them to an OpenTelemetry server: its URL, `off`, or a table.
    pub(in super::super) otlp: Option<Switch<ShortOr<RawOtlp>>>,
    /// Push them to a StatsD server: its address, `off`, or a table.
    pub(in super::super) statsd: Option<Switch<ShortOr<RawStatsd>>>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub(in super::super) struct RawTracing {
    /// The OpenTelemetry server that they go to: its URL, or a table; required.
    pub(in super::super) otlp: Option<ShortOr<RawOtlp>>,
    /// The share of requests that are traced, where the caller did not decide.
    pub(in super::super) sample: Option<Percent>,
}

impl FromStr for RawTracing {
    type Err = Infallible;

    fn from_str(url: &str) -> Result<Self, Self::Err> {
        Ok(RawTracing {
            otlp: Some(ShortOr(url.parse()?)),
            sample: None,
        })
    }
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub(in super::super) struct RawOtlp {
    /// `http://host:4318` or `https://host:4318`; `/v1/traces` or `/v1/metrics` is added. Required.
    pub(in super::super) endpoint: Option<String>,
    /// Sent with every request, such as an API key.
    pub(in super::super) headers: BTreeMap<String, String>,
    /// For one answer: 100 ms to 1 min.
    pub(in super::super) timeout: Option<RawDuration>,
}

impl FromStr for RawOtlp {
    type Err = Infallible;

    fn from_str(url: &str) -> Result<Self, Self::Err> {
        Ok(RawOtlp {
            endpoint: Some(url.to_owned()),
            ..RawOtlp::default()
        })
    }
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub(in super::super) struct RawStatsd {
    /// `host:port`, or `unix:/path`; required.
    pub(in super::super) address: Option<String>,
    /// Before every name.
    pub(in super::super) prefix: Option<String>,
    /// `datadog` (labels are tags) or `plain` (labels are parts of the name).
    pub(in super::super) flavour: Option<RawFlavour>,
    /// Sent with everything; for `datadog`.
    pub(in super::super) tags: BTreeMap<String, String>,
}

impl FromStr for RawStatsd {
    type Err = Infallible;

    fn from_str(address: &str) -> Result<Self, Self::Err> {
        Ok(RawStatsd {
            address: Some(address.to_owned()),
            ..RawStatsd::default()
        })
    }
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in super::super) enum RawFlavour {
    Datadog,
    Plain,
}
