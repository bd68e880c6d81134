//! What the balancer is told to do. A [`Config`] is already valid: whoever holds one can run it.
//!
//! `raw` is what users may write, in every spelling that is accepted; `validate` turns it into a [`Config`] or into every
//! fault at once; `overlay` is what operators changed since, by hand; `plan` says what a reload would change; `view` writes a
//! [`Config`] as a file that would load to it again; `schema` describes such files to editors.

mod access_log;
mod affinity;
mod discovery;
mod engine;
mod health;
mod inputs;
mod overlay;
mod overrides;
mod plan;
mod raw;
mod schema;
mod secret;
mod telemetry;
mod validate;
mod view;

pub use access_log::{
    AccessLog, AccessLogFormat, Always, Facility, Syslog, SyslogAddress, UnknownFacility,
};
pub use affinity::{Affinity, Key, SameSite, Secure, Sticky};
pub(crate) use discovery::is_sql_name;
pub use discovery::{Discovery, DnsConfig, DnsKind, Source, SqlConfig};
pub use engine::{EngineConfig, PrometheusConfig, PrometheusUrl};
pub use health::{HealthConfig, HttpProbe, Initial, Method, Probe, Statuses};
pub use inputs::{Fingerprint, Inputs};
pub use overlay::{Added, Amendment, Instead, Overlay};
pub use overrides::Overrides;
pub(crate) use plan::Side;
pub use plan::{Change, Member, Moved, Plan};
pub use schema::schema;
pub use secret::{Secret, without_password};
pub use telemetry::{
    Flavour, MetricsConfig, OtlpConfig, OtlpUrl, ResourceConfig, StatsdAddress, StatsdConfig,
    TracingConfig,
};
pub use validate::{Loaded, admin, check, load};
pub use view::view;

use crate::backend::BackendId;
use crate::{outlier, strategy};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::OnceLock;
use std::time::Duration;

/// Everything that one balancer runs by.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where clients connect. Default `127.0.0.1:50501`.
    pub listen: SocketAddr,
    /// Default `round_robin`.
    pub strategy: strategy::Name,
    /// What the strategies that pick by a key go by.
    pub affinity: Affinity,
    /// A cookie that keeps a client at one backend; `None` is `sticky: off`, the default.
    pub sticky: Option<Sticky>,
    /// Those of the file, the environment or the command line; addresses are distinct. At least one, or a source in
    /// `discovery`.
    pub backends: Vec<BackendConfig>,
    /// Other sources of backends.
    pub discovery: Discovery,
    /// Active health checks; `None` is `health: off`.
    pub health: Option<HealthConfig>,
    /// How long each thing may take.
    pub timeouts: Timeouts,
    /// How large each thing may be.
    pub limits: Limits,
    /// When a backend is ejected because requests fail there; `None` is `outlier: off`.
    pub outlier: Option<outlier::Rules>,
    /// What `strategy: adaptive` goes by.
    pub engine: EngineConfig,
    /// How long a backend that comes back takes to reach its full share, where others are warm. Default 10 s, up to 1 h; zero
    /// is `slow_start: off`.
    pub slow_start: Duration,
    /// The share of usable backends below which all are used. Default 50 %; 0 is `panic_threshold: off`.
    pub panic_threshold: f64,
    /// What is tried again on other backends.
    pub retries: Retries,
    /// When a second copy of a slow request is sent; `None` is `hedge: off`, the default.
    pub hedge: Option<Hedge>,
    /// What is said about the client to the backend.
    pub headers: Headers,
    /// The admin API and `/metrics`; `None` is `admin: off`.
    pub admin: Option<AdminConfig>,
    /// Which requests are logged.
    pub access_log: AccessLog,
    /// Metrics that are pushed.
    pub metrics: MetricsConfig,
    /// Traces of single requests; `None` is `tracing: off`, the default.
    pub tracing: Option<TracingConfig>,
    /// Who metrics and traces are said to come from: what the environment says, no key.
    pub resource: ResourceConfig,
    /// Threads, and how the process comes and goes.
    pub runtime: Runtime,
}

/// More retries than this are no configuration.
pub(crate) const MAX_RETRIES: u32 = 10;

/// The requests at once that a backend may be limited to.
pub(crate) const IN_FLIGHT: std::ops::RangeInclusive<u32> = 1..=1_000_000;

/// The weights that a backend may have.
pub(crate) const WEIGHTS: std::ops::RangeInclusive<u32> = 1..=65_535;

/// The admin API's listener.
#[derive(Clone, Debug, PartialEq)]
pub struct AdminConfig {
    /// Where it listens. Default `127.0.0.1:50500`.
    pub listen: SocketAddr,
    /// What a caller must show; always there when `listen` can be reached from other machines.
    pub token: Option<Secret>,
}

/// One backend as configured.
#[derive(Clone, Debug, PartialEq)]
pub struct BackendConfig {
    /// Its address.
    pub id: BackendId,
    /// Where connections go: its address, resolved when the configuration was loaded.
    pub endpoint: SocketAddr,
    /// For people: logs, metrics, the admin API. Default: the address.
    pub name: String,
    /// Its share of the traffic under the weighted strategies, and its capacity under those that count. 1 to 65535, default 1.
    pub weight: u32,
    /// When it is used.
    pub tier: Tier,
    /// Requests at once, 1 to 1,000,000; more wait. Default: that of `limits`.
    pub max_in_flight: Option<u32>,
    /// Who named it.
    pub source: Source,
    /// An operator wants it to get no new request.
    pub drained: bool,
}

/// When a backend is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// Always.
    #[default]
    Primary,
    /// When too few primary backends are usable.
    Backup,
}

/// What is tried again on other backends. Once bytes of a request were sent, only one that may be repeated is (RFC 9110
/// 9.2.2), and only if all of it is still there.
#[derive(Clone, Debug, PartialEq)]
pub struct Retries {
    /// Attempts beyond the first that a request may get. Default 2, 0 to 10; 0 is `retries: off`.
    pub attempts: u32,
    /// What is tried again.
    pub on: RetryOn,
    /// The share of requests that may be retried over about 10 s. Default 20 %. Attempts after a failed connection are free:
    /// no backend has seen the request, so trying elsewhere adds no load.
    pub budget: f64,
    /// Retries a second that are allowed whatever the budget says; 10 s of them may be saved up. Default 3, up to 100,000.
    pub min_per_second: u32,
    /// Also repeat requests that may do twice what they are to do once (POST, PATCH). Default off.
    pub non_idempotent: bool,
}

/// What is tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryOn {
    /// No connection could be made.
    pub connect_failure: bool,
    /// The connection ended, or what came was no HTTP answer, before any of it was passed on.
    pub reset: bool,
    /// No answer began within `timeouts.response_header`.
    pub timeout: bool,
    /// Answers with one of these statuses. Default 502 and 503.
    pub statuses: Vec<u16>,
}

/// When a second copy of a request is sent, to another backend: whoever answers first is heard.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hedge {
    /// How long the first copy has. 1 ms to 1 h.
    pub after: Duration,
    /// The share of requests that may be sent twice. Default 2 %.
    pub budget: f64,
}

/// How long each thing may take. Deadlines fire up to 60 ms late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// To a backend, per attempt. Default 1 s; then 504, or another backend.
    pub connect: Duration,
    /// From a request's first byte to the end of its head. Default 10 s; then 408.
    pub request_header: Duration,
    /// From the end of a request to the head of its answer. Default 15 s; then 504.
    pub response_header: Duration,
    /// Between two requests of a client, and between two pieces of a body in either direction. Default 60 s.
    pub idle: Duration,
    /// From a request (with its body) to the head of its answer, over all attempts. Default 30 s; then 504.
    pub total: Duration,
    /// For an unused connection to a backend. Default 4 s: below the 5 s after which common servers close theirs.
    pub upstream_idle: Duration,
    /// For an upgraded connection on which nothing moves. Default 1 h.
    pub tunnel: Duration,
    /// For a request that waits for a backend with room. Default 1 s, a tenth of it while the queue never empties; then 503.
    pub queue: Duration,
}

/// How large each thing may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Client connections at once; what becomes of one more, [`Limits::when_full`] says. Default 10,000.
    pub max_connections: u32,
    /// Client connections at once from one address, or from one /64 of IPv6; one more is answered 429 and closed. Peers in
    /// [`Headers::trusted_proxies`] are not counted, nor connections older than the limit. Default none, at least 1.
    pub max_connections_per_client: Option<u32>,
    /// Default `shed`.
    pub when_full: WhenFull,
    /// Bytes a second that a client takes of its answer, or sends of its body, while it alone is waited for; counted over
    /// [`Timeouts::idle`]. A client that is slower is cut off, a body's with 408. 0 is off: then a byte an idle timeout
    /// will do. Default 240, up to 1 MiB.
    pub min_rate: u64,
    /// Bytes of a request's head, and of an answer's. Default 32 KiB, 1 to 64 KiB; then 431 (an answer's: 502).
    pub header_bytes: usize,
    /// Fields of a head. Default 100, 1 to 1000; then 431.
    pub header_fields: usize,
    /// Bytes of a request's target. Default 8 KiB; then 414.
    pub uri_bytes: usize,
    /// Requests at once on each backend that says nothing else. Default: no limit.
    pub max_in_flight: MaxInFlight,
    /// Requests that may wait for a backend with room; one more is answered 503. Default 1000, up to 1,000,000.
    pub max_queued: u32,
}

/// Requests at once on one backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MaxInFlight {
    /// Any number.
    #[default]
    Unlimited,
    /// So many. 1 to 1,000,000.
    Fixed(u32),
    /// As many as do not make it slower: found out while it runs.
    Adaptive,
}

/// What becomes of a client for whom there is no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// It is answered 503, and may come back.
    #[default]
    Shed,
    /// It waits in the kernel's queue until somebody leaves.
    Wait,
}

/// What is said about the client to the backend, and how far a client that says it itself is believed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Headers {
    /// Send `Forwarded` (RFC 7239) besides `X-Forwarded-*`. Default off.
    pub forwarded: bool,
    /// Send this `Host` instead of the client's. Default: the client's.
    pub host: Option<String>,
    /// Peers whose own `X-Forwarded-*` are kept and added to. Default: none.
    pub trusted_proxies: Vec<Network>,
    /// Tell clients what their answer's time was spent on (`Server-Timing`). Default off.
    pub server_timing: bool,
}

impl Headers {
    /// The peer is one of [`Self::trusted_proxies`].
    pub(crate) fn trusts(&self, peer: IpAddr) -> bool {
        // A v4 peer of a v6 listener is a v4 peer.
        let peer = peer.to_canonical();
        let mut networks = self.trusted_proxies.iter();
        networks.any(|network| network.contains(peer))
    }
}

/// An address range, `10.0.0.0/8` or a single address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// The addresses that share the first `prefix` bits with `address`; `None` if it has not so many bits.
    pub fn new(address: IpAddr, prefix: u8) -> Option<Self> {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        (prefix <= bits).then_some(Network { address, prefix })
    }

    /// The range as it is written: `10.0.0.0/8`.
    pub(crate) fn shown(self) -> String {
        format!("{}/{}", self.address, self.prefix)
    }

    /// Whether `address` is in the range.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let shift = 32 - u32::from(self.prefix);
                (own.to_bits() ^ other.to_bits())
                    .checked_shr(shift)
                    .unwrap_or(0)
                    == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let shift = 128 - u32::from(self.prefix);
                (own.to_bits() ^ other.to_bits())
                    .checked_shr(shift)
                    .unwrap_or(0)
                    == 0
            }
            _ => false,
        }
    }
}

/// Threads, and how the process comes and goes.
#[derive(Clone, Debug, PartialEq)]
pub struct Runtime {
    /// Threads that carry traffic, each with its own listener and connections. Default: the cores. 1 to 256.
    pub shards: usize,
    /// How long a drain waits for requests in flight before it cuts them off. Default 30 s.
    pub drain_timeout: Duration,
    /// How long accepting goes on after readiness failed, for whoever is in front to notice. Default 0.
    pub drain_delay: Duration,
    /// Changes of the file that come within this time are one reload. Default 200 ms, at most 1 s.
    pub config_watch_interval: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            listen: SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 50501),
            strategy: strategy::Name::default(),
            affinity: Affinity::default(),
            sticky: None,
            backends: Vec::new(),
            discovery: Discovery::default(),
            health: Some(HealthConfig::default()),
            timeouts: Timeouts::default(),
            limits: Limits::default(),
            outlier: Some(outlier::Rules::default()),
            engine: EngineConfig::default(),
            slow_start: Duration::from_secs(10),
            panic_threshold: 0.5,
            retries: Retries::default(),
            hedge: None,
            headers: Headers::default(),
            admin: Some(AdminConfig::default()),
            access_log: AccessLog::default(),
            metrics: MetricsConfig::default(),
            tracing: None,
            resource: ResourceConfig::default(),
            runtime: Runtime::default(),
        }
    }
}

impl Default for Retries {
    fn default() -> Self {
        Retries {
            attempts: 2,
            on: RetryOn::default(),
            budget: 0.2,
            min_per_second: 3,
            non_idempotent: false,
        }
    }
}

impl Default for RetryOn {
    fn default() -> Self {
        RetryOn {
            connect_failure: true,
            reset: true,
            timeout: true,
            statuses: vec![502, 503],
        }
    }
}

impl Default for AdminConfig {
    fn default() -> Self {
        AdminConfig {
            listen: SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 50500),
            token: None,
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts {
            connect: Duration::from_secs(1),
            request_header: Duration::from_secs(10),
            response_header: Duration::from_secs(15),
            idle: Duration::from_secs(60),
            total: Duration::from_secs(30),
            upstream_idle: Duration::from_secs(4),
            tunnel: Duration::from_secs(3600),
            queue: Duration::from_secs(1),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_connections: 10_000,
            max_connections_per_client: None,
            when_full: WhenFull::Shed,
            min_rate: 240,
            header_bytes: 32 << 10,
            header_fields: 100,
            uri_bytes: 8 << 10,
            max_in_flight: MaxInFlight::Unlimited,
            max_queued: 1000,
        }
    }
}

/// The cores that the process may use, as they were when it was first asked: a limit that is changed later must not make
/// every reload differ from what runs.
fn cores() -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from))
}

impl Default for Runtime {
    fn default() -> Self {
        Runtime {
            shards: cores(),
            drain_timeout: Duration::from_secs(30),
            drain_delay: Duration::ZERO,
            config_watch_interval: Duration::from_millis(200),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_contains_its_range_and_nothing_else() {
        let network = |text: &str, prefix| Network::new(text.parse().unwrap(), prefix).unwrap();
        let holds = |network: Network, text: &str| network.contains(text.parse().unwrap());
        assert!(holds(network("10.0.0.0", 8), "10.255.0.1"));
        assert!(!holds(network("10.0.0.0", 8), "11.0.0.1"));
        assert!(holds(network("0.0.0.0", 0), "203.0.113.9"));
        assert!(holds(network("2001:db8::", 32), "2001:db8::1"));
        assert!(!holds(network("::", 0), "127.0.0.1"));
        assert_eq!(Network::new("127.0.0.1".parse().unwrap(), 33), None);
    }
}
