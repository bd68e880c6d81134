//! What users may write: every accepted key in every accepted spelling, all optional. `docs/configuration.md` lists them.
//!
//! Unknown keys, wrong types and unreadable values are found by the loader while it decodes these types; what only the
//! whole can tell is [`super::validate`]'s business.

use crate::strategy;
use lemonade_config::{
    Address, AddressError, ByteSize, ListenAddress, Located, OneOrMany, Percent, RawDuration,
    ShortOr, Switch,
};
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::str::FromStr;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Raw {
    #[serde(alias = "listen_address")]
    pub(super) listen: Option<ListenAddress>,
    pub(super) strategy: Option<ShortOr<RawStrategy>>,
    #[serde(alias = "backend_servers")]
    pub(super) backends: OneOrMany<Located<ShortOr<RawBackend>>>,
    pub(super) health: Option<Switch<ShortOr<RawHealth>>>,
    pub(super) timeouts: RawTimeouts,
    pub(super) limits: RawLimits,
    pub(super) retries: Option<Switch<RawRetries>>,
    pub(super) headers: RawHeaders,
    pub(super) trusted_proxies: OneOrMany<Located<String>>,
    pub(super) admin: Option<Switch<ShortOr<RawAdmin>>>,
    pub(super) access_log: Option<Switch<ShortOr<RawAccessLog>>>,
    pub(super) runtime: RawRuntime,

    // The older nested names, and the flat ones.
    pub(super) proxy: RawProxy,
    pub(super) metrics: RawMetrics,
    /// Bare numbers are seconds.
    pub(super) health_check_interval: Option<RawDuration>,
    pub(super) health_check_timeout: Option<RawDuration>,

    // Parts of the conventions that later releases bring: accepted, with a warning that they have no effect.
    pub(super) outlier: Option<IgnoredAny>,
    pub(super) slow_start: Option<IgnoredAny>,
    pub(super) panic_threshold: Option<IgnoredAny>,
    pub(super) engine: Option<IgnoredAny>,
    pub(super) discovery: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
pub(super) struct RawStrategy {
    pub(super) name: RawStrategyName,
}

impl FromStr for RawStrategy {
    type Err = strategy::UnknownStrategy;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Ok(RawStrategy {
            name: RawStrategyName(word.parse()?),
        })
    }
}

#[derive(Debug)]
pub(super) struct RawStrategyName(pub(super) strategy::Name);

impl<'de> Deserialize<'de> for RawStrategyName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        word.parse()
            .map(RawStrategyName)
            .map_err(serde::de::Error::custom)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawBackend {
    pub(super) address: Option<Address>,
    /// An older file's number for it; its name if it has none.
    pub(super) id: Option<RawId>,
    pub(super) name: Option<String>,
    pub(super) weight: Option<u32>,
    pub(super) tier: Option<IgnoredAny>,
    pub(super) max_in_flight: Option<IgnoredAny>,
}

impl FromStr for RawBackend {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        Ok(RawBackend {
            address: Some(text.parse()?),
            ..RawBackend::default()
        })
    }
}

/// A number or a word.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct RawId(pub(super) ShortOr<Word>);

#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct Word(pub(super) String);

impl FromStr for Word {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Word(text.to_owned()))
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawHealth {
    /// `health: tcp`.
    #[serde(skip)]
    pub(super) tcp: bool,
    pub(super) path: Option<String>,
    pub(super) interval: Option<RawDuration>,
    pub(super) timeout: Option<RawDuration>,
    pub(super) rise: Option<u32>,
    pub(super) fall: Option<u32>,
    pub(super) initial: Option<String>,
}

impl FromStr for RawHealth {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "tcp" => Ok(RawHealth {
                tcp: true,
                ..RawHealth::default()
            }),
            path if path.starts_with('/') => Ok(RawHealth {
                path: Some(path.to_owned()),
                ..RawHealth::default()
            }),
            other => Err(format!(
                "expected `off`, `tcp`, a path that begins with `/`, or a table; found `{other}`"
            )),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawTimeouts {
    pub(super) connect: Option<RawDuration>,
    pub(super) request_header: Option<RawDuration>,
    pub(super) response_header: Option<RawDuration>,
    pub(super) idle: Option<RawDuration>,
    pub(super) total: Option<RawDuration>,
    pub(super) upstream_idle: Option<RawDuration>,
    pub(super) tunnel: Option<RawDuration>,
    pub(super) queue: Option<IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawLimits {
    pub(super) max_connections: Option<u32>,
    pub(super) header_bytes: Option<ByteSize>,
    pub(super) header_fields: Option<u32>,
    pub(super) uri_bytes: Option<ByteSize>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawRetries {
    pub(super) attempts: Option<u32>,
    pub(super) on: Option<IgnoredAny>,
    pub(super) budget: Option<IgnoredAny>,
    pub(super) min_per_second: Option<IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawHeaders {
    pub(super) forwarded: Option<bool>,
    pub(super) host: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawAdmin {
    #[serde(alias = "listen_address", alias = "address")]
    pub(super) listen: Option<ListenAddress>,
}

impl FromStr for RawAdmin {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        Ok(RawAdmin {
            listen: Some(text.parse()?),
        })
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawAccessLog {
    pub(super) sample: Option<Percent>,
    pub(super) format: Option<RawFormat>,
    pub(super) file: Option<String>,
}

impl FromStr for RawAccessLog {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        if word == "all" {
            return Ok(RawAccessLog::default());
        }
        let sample = word.parse().map_err(|_| {
            format!("expected `off`, `all`, a share such as `1%`, or a table; found `{word}`")
        })?;
        Ok(RawAccessLog {
            sample: Some(sample),
            ..RawAccessLog::default()
        })
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawFormat {
    Json,
    Text,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawRuntime {
    pub(super) shards: Option<u32>,
    #[serde(alias = "drain_timeout_millis")]
    pub(super) drain_timeout: Option<RawDuration>,
    pub(super) drain_delay: Option<RawDuration>,
    #[serde(alias = "config_watch_interval_millis")]
    pub(super) config_watch_interval: Option<RawDuration>,
    // Older knobs of things that have no such bound here; read so that older files load.
    #[serde(rename = "background_timeout_millis")]
    _background_timeout: Option<RawDuration>,
    #[serde(rename = "accept_timeout_millis")]
    _accept_timeout: Option<RawDuration>,
    #[serde(rename = "metrics_cap")]
    _metrics_cap: Option<u64>,
    #[serde(rename = "health_cap")]
    _health_cap: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawProxy {
    #[serde(alias = "listen")]
    pub(super) listen_address: Option<ListenAddress>,
    pub(super) max_connections: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawMetrics {
    /// How often an older release sampled; here, metrics are summed when they are scraped.
    #[serde(rename = "interval")]
    _interval: Option<RawDuration>,
}
