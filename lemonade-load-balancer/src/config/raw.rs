//! What users may write: every accepted key in every accepted spelling, all optional. `docs/configuration.md` lists them, and
//! the JSON Schema for editors is made of these types: their docs are what an editor shows.
//!
//! Unknown keys, wrong types and unreadable values are found by the loader while it decodes these types; what only the
//! whole can tell is [`super::validate`]'s business.

mod access_log;
mod affinity;
mod engine;
mod reliability;
mod telemetry;

pub(super) use access_log::{RawAccessLog, RawAlways, RawFormat, RawSyslog};
pub(super) use affinity::{RawAuto, RawKey, RawSameSite, RawSticky};
pub(super) use engine::{RawEngine, RawMode, RawPrometheus, RawRule};
pub(super) use reliability::{RawHedge, RawOutlier, RawRetries};
pub(super) use telemetry::{RawFlavour, RawMetrics, RawOtlp, RawStatsd, RawTracing};

use crate::strategy;
use lemonade_config::{
    Address, AddressError, ByteSize, ListenAddress, Located, OneOrMany, Percent, RawDuration,
    ShortOr, Switch,
};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// Lemonade's load balancer.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields, title = "Lemonade load balancer")]
pub(super) struct Raw {
    /// Where clients connect, `host:port`.
    #[serde(alias = "listen_address")]
    pub(super) listen: Option<ListenAddress>,
    /// Which backend gets the next request: a strategy's name, or a table with it.
    pub(super) strategy: Option<ShortOr<RawStrategy>>,
    /// A cookie that keeps a client at one backend: `off`, `on`, or a table.
    pub(super) sticky: Option<Switch<RawSticky>>,
    /// Who serves the requests: addresses, or tables. May be left out when `discovery` has a source.
    #[serde(alias = "backend_servers")]
    pub(super) backends: OneOrMany<Located<ShortOr<RawBackend>>>,
    /// Active health checks: `off`, `tcp`, `grpc`, a path, or a table.
    pub(super) health: Option<Switch<ShortOr<RawHealth>>>,
    /// How long each thing may take.
    pub(super) timeouts: RawTimeouts,
    /// How large each thing may be.
    pub(super) limits: RawLimits,
    /// Attempts on other backends after one failed; `off` for none.
    pub(super) retries: Option<Switch<RawRetries>>,
    /// A second copy of a slow request, to another backend: `off`, or a table.
    pub(super) hedge: Option<Switch<RawHedge>>,
    /// When a backend is ejected because requests fail there: `off`, or a table.
    pub(super) outlier: Option<Switch<RawOutlier>>,
    /// The adaptive engine: `on`, `advise`, `off`, or a table.
    pub(super) engine: Option<Switch<ShortOr<RawEngine>>>,
    /// How long a backend that comes back takes to reach its full share, or `off`.
    pub(super) slow_start: Option<Switch<RawDuration>>,
    /// The share of usable backends below which all are used, or `off`.
    pub(super) panic_threshold: Option<Switch<Percent>>,
    /// What backends are told about the client.
    pub(super) headers: RawHeaders,
    /// Peers whose own `X-Forwarded-*` are kept and added to: addresses or ranges.
    pub(super) trusted_proxies: OneOrMany<Located<String>>,
    /// Sources of backends besides this file.
    pub(super) discovery: RawDiscovery,
    /// Where the admin API and `/metrics` listen: an address, `off`, or a table.
    pub(super) admin: Option<Switch<ShortOr<RawAdmin>>>,
    /// Which requests are logged: `off`, `all`, a share, or a table.
    pub(super) access_log: Option<Switch<ShortOr<RawAccessLog>>>,
    /// Metrics that are pushed; `/metrics` is there anyway.
    pub(super) metrics: RawMetrics,
    /// Traces of single requests: `off`, an OpenTelemetry server's URL, or a table.
    pub(super) tracing: Option<Switch<ShortOr<RawTracing>>>,
    /// Threads, and how the process comes and goes.
    pub(super) runtime: RawRuntime,

    /// Older names for `listen` and `limits.max_connections`.
    pub(super) proxy: RawProxy,
    /// An older name for `health.interval`; a bare number is seconds.
    pub(super) health_check_interval: Option<RawDuration>,
    /// An older name for `health.timeout`; a bare number is seconds.
    pub(super) health_check_timeout: Option<RawDuration>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct RawStrategy {
    /// Its name.
    pub(super) name: RawStrategyName,
    /// What a request is recognised by under `consistent_hash` and `maglev`: `client` (its address), `path`, or a table.
    #[serde(default)]
    pub(super) key: Option<ShortOr<RawKey>>,
    /// How far above its fair share of the requests in flight a backend may go before its keys go to another, or `off`.
    #[serde(default)]
    pub(super) bounded_load: Option<Switch<f64>>,
}

impl FromStr for RawStrategy {
    type Err = strategy::UnknownStrategy;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Ok(RawStrategy {
            name: RawStrategyName(word.parse()?),
            key: None,
            bounded_load: None,
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

impl JsonSchema for RawStrategyName {
    fn schema_name() -> Cow<'static, str> {
        "Strategy".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "enum": strategy::Name::ALL.map(strategy::Name::as_str) })
    }
}

/// A backend: `"host:port"`, or a table.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub(super) struct RawBackend {
    /// `host:port`; required. A host name is resolved when the file is loaded.
    pub(super) address: Option<Address>,
    /// An older file's number for it; its name if it has none.
    pub(super) id: Option<RawId>,
    /// For logs, metrics and the admin API.
    pub(super) name: Option<String>,
    /// Its share under the weighted strategies, its capacity under those that count: 1 to 65535.
    pub(super) weight: Option<u32>,
    /// `primary`, or `backup`: used when too few primary ones are usable.
    pub(super) tier: Option<RawTier>,
    /// Requests at once, 1 to 1,000,000; more wait. That of `limits` if it is left out.
    pub(super) max_in_flight: Option<u32>,
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

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawTier {
    Primary,
    Backup,
}

/// A number or a word.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(super) struct RawId(pub(super) ShortOr<Word>);

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(super) struct Word(pub(super) String);

impl FromStr for Word {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Word(text.to_owned()))
    }
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub(super) struct RawHealth {
    /// What a probe does: `http` (a request), `tcp` (a connection) or `grpc` (the standard health protocol).
    pub(super) probe: Option<RawProbe>,
    /// How an `http` probe asks.
    pub(super) method: Option<RawMethod>,
    /// What an `http` probe asks for.
    pub(super) path: Option<String>,
    /// Sent with an `http` probe; its own `Host`, `User-Agent` and `Accept` give way.
    pub(super) headers: Option<BTreeMap<String, String>>,
    /// Statuses that an `http` probe takes for well: numbers, or ranges such as `200-299`.
    pub(super) expect: OneOrMany<Located<RawStatuses>>,
    /// What the first 64 KiB of the body must contain for an `http` probe to succeed.
    pub(super) body: Option<String>,
    /// The service that a `grpc` probe asks about; the server as a whole if it is left out.
    pub(super) service: Option<String>,
    /// How often each backend is probed.
    pub(super) interval: Option<RawDuration>,
    /// For one probe, connecting included.
    pub(super) timeout: Option<RawDuration>,
    /// Successes in a row that bring a backend back.
    pub(super) rise: Option<u32>,
    /// Failures in a row that take it out.
    pub(super) fall: Option<u32>,
    /// What a new backend is taken for: `checking` (its first probe decides), `healthy` or `unhealthy`.
    pub(super) initial: Option<RawInitial>,
}

impl FromStr for RawHealth {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let probe = |probe| RawHealth {
            probe: Some(probe),
            ..RawHealth::default()
        };
        match word {
            "tcp" => Ok(probe(RawProbe::Tcp)),
            "grpc" => Ok(probe(RawProbe::Grpc)),
            path if path.starts_with('/') => Ok(RawHealth {
                path: Some(path.to_owned()),
                ..RawHealth::default()
            }),
            other => Err(format!(
                "expected `off`, `tcp`, `grpc`, a path that begins with `/`, or a table; found `{other}`"
            )),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawProbe {
    Http,
    Tcp,
    Grpc,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum RawMethod {
    Get,
    Head,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawInitial {
    Checking,
    Healthy,
    Unhealthy,
}

/// A status, or a range of them.
#[derive(Debug)]
pub(super) struct RawStatuses(pub(super) RangeInclusive<u16>);

impl FromStr for RawStatuses {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (start, end) = text.split_once('-').unwrap_or((text, text));
        let status = |text: &str| text.trim().parse().ok();
        match (status(start), status(end)) {
            (Some(start), Some(end)) if start <= end => Ok(RawStatuses(start..=end)),
            _ => Err(format!(
                "expected a status such as 204, or a range such as `200-299`; found `{text}`"
            )),
        }
    }
}

impl<'de> Deserialize<'de> for RawStatuses {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let ShortOr(Word(text)) = ShortOr::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for RawStatuses {
    fn schema_name() -> Cow<'static, str> {
        "Statuses".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "integer"],
            "pattern": "^[0-9]{3}(-[0-9]{3})?$|\\$\\{",
            "minimum": 200,
            "maximum": 599
        })
    }
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub(super) struct RawTimeouts {
    /// For a connection to a backend.
    pub(super) connect: Option<RawDuration>,
    /// From a request's first byte to the end of its head.
    pub(super) request_header: Option<RawDuration>,
    /// From the end of the request to the head of its answer.
    pub(super) response_header: Option<RawDuration>,
    /// Between two requests of a client, and between two pieces of a body.
    pub(super) idle: Option<RawDuration>,
    /// From a request, with its body, to the head of its answer, over all attempts.
    pub(super) total: Option<RawDuration>,
    /// For an unused connection to a backend.
    pub(super) upstream_idle: Option<RawDuration>,
    /// For an upgraded connection on which nothing moves.
    pub(super) tunnel: Option<RawDuration>,
    /// For a request that waits for a backend with room.
    pub(super) queue: Option<RawDuration>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub(super) struct RawLimits {
    /// Client connections at once.
    pub(super) max_connections: Option<u32>,
    /// Client connections at once from one address (IPv6: one /64); `off` for no limit.
    pub(super) max_connections_per_client: Option<Switch<u32>>,
    /// What happens to a client beyond `max_connections`: `shed` (503) or `wait`.
    pub(super) when_full: Option<RawWhenFull>,
    /// Bytes a second that a client takes of its answer, or sends of its body, at least; `off` for none.
    pub(super) min_rate: Option<Switch<ByteSize>>,
    /// A request's head, and an answer's.
    pub(super) header_bytes: Option<ByteSize>,
    /// Fields of a head.
    pub(super) header_fields: Option<u32>,
    /// A request's target.
    pub(super) uri_bytes: Option<ByteSize>,
    /// Requests at once on each backend: a number, `adaptive`, or `off`.
    pub(super) max_in_flight: Option<RawId>,
    /// Requests that may wait for a backend with room.
    pub(super) max_queued: Option<u32>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawWhenFull {
    Shed,
    Wait,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub(super) struct RawHeaders {
    /// Also send `Forwarded` (RFC 7239).
    pub(super) forwarded: Option<bool>,
    /// Send this `Host` instead of the client's.
    pub(super) host: Option<String>,
    /// Tell clients what their answer's time was spent on (`Server-Timing`).
    pub(super) server_timing: Option<bool>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub(super) struct RawDiscovery {
    /// A table of a PostgreSQL or SQLite database: its URL, or a table. `on`: the URL is that of `DATABASE_URL`.
    pub(super) sql: Option<Switch<ShortOr<RawSql>>>,
    /// Names whose records are backends: `host:port` for addresses, `_service._proto.name` for SRV records, or tables.
    pub(super) dns: OneOrMany<Located<ShortOr<RawDns>>>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub(super) struct RawSql {
    /// `postgres://…` or `sqlite:…`; that of `DATABASE_URL` if it is left out.
    pub(super) url: Option<String>,
    /// The table, with a schema or without.
    pub(super) table: Option<String>,
    /// The column that holds `host:port`.
    pub(super) column: Option<String>,
    /// How often it is read when nothing tells of a change.
    pub(super) poll: Option<RawDuration>,
}

impl FromStr for RawSql {
    type Err = std::convert::Infallible;

    fn from_str(url: &str) -> Result<Self, Self::Err> {
        Ok(RawSql {
            url: Some(url.to_owned()),
            ..RawSql::default()
        })
    }
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub(super) struct RawDns {
    /// The name; required.
    pub(super) name: Option<String>,
    /// Each address of the name is a backend on this port; without it the name's SRV records are used.
    pub(super) port: Option<u16>,
    /// Of each backend; an SRV record has its own.
    pub(super) weight: Option<u32>,
    /// Asked instead of the system's name servers, `ip:port`.
    pub(super) server: Option<Address>,
    /// A shorter time to live counts as this.
    pub(super) min_ttl: Option<RawDuration>,
    /// A longer one counts as this.
    pub(super) max_ttl: Option<RawDuration>,
}

impl FromStr for RawDns {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if text.starts_with('_') && !text.contains(':') {
            return Ok(RawDns {
                name: Some(text.to_owned()),
                ..RawDns::default()
            });
        }
        let address: Address = text.parse()?;
        Ok(RawDns {
            name: Some(address.host().to_owned()),
            port: Some(address.port()),
            ..RawDns::default()
        })
    }
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub(super) struct RawAdmin {
    /// Its address, `host:port`.
    #[serde(alias = "listen_address", alias = "address")]
    pub(super) listen: Option<ListenAddress>,
    /// What callers must show (`Authorization: Bearer …`): 16 to 512 characters. Required beyond loopback.
    pub(super) token: Option<String>,
}

impl FromStr for RawAdmin {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        Ok(RawAdmin {
            listen: Some(text.parse()?),
            token: None,
        })
    }
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub(super) struct RawRuntime {
    /// Threads that carry traffic.
    pub(super) shards: Option<u32>,
    /// How long a drain waits for requests in flight, of the process or of a removed backend.
    #[serde(alias = "drain_timeout_millis")]
    pub(super) drain_timeout: Option<RawDuration>,
    /// How long accepting goes on after readiness failed.
    pub(super) drain_delay: Option<RawDuration>,
    /// Changes of the file within this time are one reload.
    #[serde(alias = "config_watch_interval_millis")]
    pub(super) config_watch_interval: Option<RawDuration>,
    // Older knobs of things that have no such bound here; read so that older files load.
    /// An older knob without effect.
    #[serde(rename = "background_timeout_millis")]
    _background_timeout: Option<RawDuration>,
    /// An older knob without effect.
    #[serde(rename = "accept_timeout_millis")]
    _accept_timeout: Option<RawDuration>,
    /// An older knob without effect.
    #[serde(rename = "metrics_cap")]
    _metrics_cap: Option<u64>,
    /// An older knob without effect.
    #[serde(rename = "health_cap")]
    _health_cap: Option<u64>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub(super) struct RawProxy {
    /// An older name for `listen`.
    #[serde(alias = "listen")]
    pub(super) listen_address: Option<ListenAddress>,
    /// An older name for `limits.max_connections`.
    pub(super) max_connections: Option<u32>,
}
