//! From what was written to what can be run: the only way to a [`Config`], and the one place that knows every bound.
//!
//! Reports every fault at once. Precedence: flag > environment > file > default.

mod access_log;
mod affinity;
mod discovery;
mod engine;
mod health;
mod reliability;
mod telemetry;

use super::overrides::Overrides;
use super::raw::{Raw, RawAdmin, RawBackend, RawWhenFull};
use super::{
    AdminConfig, BackendConfig, Config, IN_FLIGHT, Network, Secret, Source, Timeouts, WEIGHTS,
    WhenFull,
};
use crate::backend::BackendId;
use crate::http1;
use lemonade_config::{
    Address, Document, Environment, Fault, Faults, ListenAddress, Located, RawDuration, ShortOr,
    Switch, format_duration,
};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::time::Duration;

/// A configuration that can be run, and what its writer should know about it.
#[derive(Debug)]
pub struct Loaded {
    /// Ready to run.
    pub config: Config,
    /// Things that are accepted and have no effect.
    pub warnings: Vec<String>,
}

/// Reads, checks and resolves a configuration: `file` if there is one, then the environment, then `overrides`. Blocks while
/// host names are resolved.
pub fn load(
    file: Option<&Path>,
    environment: &Environment,
    overrides: &Overrides,
) -> Result<Loaded, Faults> {
    let document = match file {
        Some(path) => Document::load(path, environment)?,
        None => Document::empty("environment"),
    };
    check(&document, environment, overrides)
}

/// The same for a file that has been read.
pub fn check(
    document: &Document,
    environment: &Environment,
    overrides: &Overrides,
) -> Result<Loaded, Faults> {
    let (raw, faults) = document.decode::<Raw>();
    let mut check = Check {
        document,
        environment,
        faults,
        warnings: Vec::new(),
    };
    let mut config = check.config(raw.unwrap_or_default());
    check.environment(environment, &mut config);
    check.resource_of_environment(environment, &mut config);
    check.overrides(overrides, &mut config);
    check.database_of_environment(&mut config);
    check.whole(&config);
    Faults::check(check.faults)?;
    Ok(Loaded {
        config,
        warnings: check.warnings,
    })
}

/// Where the admin API is according to a configuration, whatever else may be wrong with that: for those who want to call it.
/// `None`: it is off.
pub fn admin(
    document: &Document,
    environment: &Environment,
) -> Result<Option<AdminConfig>, Faults> {
    let (raw, _) = document.decode::<Raw>();
    let mut check = Check {
        document,
        environment,
        faults: Vec::new(),
        warnings: Vec::new(),
    };
    let admin = match raw.and_then(|raw| raw.admin) {
        Some(Switch::Off) => None,
        Some(Switch::Set(raw)) => Some(check.admin(raw.0)),
        _ => Some(AdminConfig::default()),
    };
    Faults::check(check.faults).map(|()| admin)
}

/// A check under way: what it has found so far.
pub(super) struct Check<'d> {
    document: &'d Document,
    environment: &'d Environment,
    pub(super) faults: Vec<Fault>,
    warnings: Vec<String>,
}

impl Check<'_> {
    fn fault(&mut self, path: &str, problem: impl Into<String>) {
        self.faults.push(self.document.fault(path, problem));
    }

    fn config(&mut self, raw: Raw) -> Config {
        let mut config = Config::default();
        if let Some((path, listen)) = either(
            raw.listen,
            "listen",
            raw.proxy.listen_address,
            "proxy.listen_address",
        ) {
            config.listen = self.listen(path, &listen).unwrap_or(config.listen);
        }
        if let Some(strategy) = raw.strategy {
            self.strategy(strategy.0, &mut config);
        }
        config.sticky = self.sticky(raw.sticky);
        config.backends = self.backends(raw.backends.0);
        config.health = self.health(
            raw.health,
            raw.health_check_interval,
            raw.health_check_timeout,
        );
        config.timeouts = self.timeouts(&raw.timeouts);
        self.limits(raw.limits, raw.proxy.max_connections, &mut config);
        config.outlier = self.outlier(raw.outlier);
        config.engine = self.engine(raw.engine);
        config.slow_start = self.slow_start(raw.slow_start, config.slow_start);
        config.panic_threshold = Self::panic_threshold(raw.panic_threshold, config.panic_threshold);
        config.retries = self.retries(raw.retries);
        config.hedge = self.hedge(raw.hedge);
        config.headers.forwarded = raw.headers.forwarded.unwrap_or(false);
        config.headers.server_timing = raw.headers.server_timing.unwrap_or(false);
        config.headers.host = raw.headers.host.filter(|host| self.is_host(host));
        config.headers.trusted_proxies = raw
            .trusted_proxies
            .0
            .iter()
            .filter_map(|network| self.network(network))
            .collect();
        config.discovery = self.discovery(raw.discovery);
        config.admin = match raw.admin {
            Some(Switch::Off) => None,
            Some(Switch::Set(raw)) => Some(self.admin(raw.0)),
            _ => config.admin,
        };
        config.access_log = self.access_log(raw.access_log);
        config.metrics = self.metrics(raw.metrics);
        config.tracing = self.tracing(raw.tracing);
        self.runtime(&raw.runtime, &mut config);
        config
    }

    pub(super) fn listen(&mut self, path: &str, listen: &ListenAddress) -> Option<SocketAddr> {
        match (listen.host(), listen.port())
            .to_socket_addrs()
            .map(|mut found| found.next())
        {
            Ok(Some(address)) => Some(address),
            Ok(None) => {
                self.fault(path, format!("`{}` resolves to no address", listen.host()));
                None
            }
            Err(error) => {
                self.fault(
                    path,
                    format!("`{}` does not resolve: {error}", listen.host()),
                );
                None
            }
        }
    }

    fn admin(&mut self, raw: RawAdmin) -> AdminConfig {
        let mut admin = AdminConfig::default();
        if let Some(listen) = raw.listen {
            admin.listen = self.listen("admin", &listen).unwrap_or(admin.listen);
        }
        admin.token = raw.token.map(Secret::new);
        if let Some(token) = &admin.token
            && let Err(problem) = check_token(token)
        {
            self.fault("admin.token", problem);
        }
        admin
    }

    fn backends(&mut self, raw: Vec<Located<ShortOr<RawBackend>>>) -> Vec<BackendConfig> {
        raw.into_iter()
            .filter_map(|backend| self.backend(&backend.path, backend.value.0))
            .collect()
    }

    fn backend(&mut self, path: &str, raw: RawBackend) -> Option<BackendConfig> {
        let weight = self.within(&format!("{path}.weight"), raw.weight, WEIGHTS, 1);
        let max_in_flight = raw.max_in_flight.map(|limit| {
            let path = format!("{path}.max_in_flight");
            self.within(&path, Some(limit), IN_FLIGHT, *IN_FLIGHT.start())
        });
        let Some(address) = raw.address else {
            self.faults.push(
                self.document
                    .fault(path, "a backend without an address")
                    .help("write `address: host:port`"),
            );
            return None;
        };
        let name = raw
            .name
            .or(raw.id.map(|id| id.0.0.0))
            .unwrap_or_else(|| address.to_string());
        if name.is_empty() || name.len() > 100 || name.chars().any(char::is_control) {
            self.fault(
                &format!("{path}.name"),
                "expected a name of 1 to 100 characters without control characters",
            );
        }
        let endpoint = self.resolve(&format!("{path}.address"), &address)?;
        Some(BackendConfig {
            id: BackendId::new(address),
            endpoint,
            name,
            weight,
            tier: Self::tier(raw.tier.as_ref()),
            max_in_flight,
            source: Source::File,
            drained: false,
        })
    }

    fn resolve(&mut self, path: &str, address: &Address) -> Option<SocketAddr> {
        if let Some(endpoint) = address.to_socket_addr() {
            return Some(endpoint);
        }
        match (address.host(), address.port())
            .to_socket_addrs()
            .map(|mut found| found.next())
        {
            Ok(Some(endpoint)) => Some(endpoint),
            Ok(None) => {
                self.fault(
                    path,
                    format!("backend `{}` resolves to no address", address.host()),
                );
                None
            }
            Err(error) => {
                self.fault(
                    path,
                    format!("backend `{}` does not resolve: {error}", address.host()),
                );
                None
            }
        }
    }

    fn timeouts(&mut self, raw: &super::raw::RawTimeouts) -> Timeouts {
        let default = Timeouts::default();
        let bounds = Duration::from_millis(1)..=Duration::from_secs(7 * 24 * 3600);
        let mut timeout = |key: &str, raw: Option<RawDuration>, default| {
            self.duration(
                &format!("timeouts.{key}"),
                raw.map(RawDuration::or_millis),
                &bounds,
                default,
            )
        };
        Timeouts {
            connect: timeout("connect", raw.connect, default.connect),
            request_header: timeout("request_header", raw.request_header, default.request_header),
            response_header: timeout(
                "response_header",
                raw.response_header,
                default.response_header,
            ),
            idle: timeout("idle", raw.idle, default.idle),
            total: timeout("total", raw.total, default.total),
            upstream_idle: timeout("upstream_idle", raw.upstream_idle, default.upstream_idle),
            tunnel: timeout("tunnel", raw.tunnel, default.tunnel),
            queue: timeout("queue", raw.queue, default.queue),
        }
    }

    fn limits(&mut self, raw: super::raw::RawLimits, older: Option<u32>, config: &mut Config) {
        let limits = &mut config.limits;
        if let Some((path, count)) = either(
            raw.max_connections,
            "limits.max_connections",
            older,
            "proxy.max_connections",
        ) {
            limits.max_connections =
                self.within(path, Some(count), 1..=10_000_000, limits.max_connections);
        }
        limits.max_connections_per_client = match raw.max_connections_per_client {
            Some(Switch::Set(count)) => {
                let path = "limits.max_connections_per_client";
                Some(self.within(path, Some(count), 1..=10_000_000, 1))
            }
            Some(Switch::Off | Switch::On) | None => None,
        };
        limits.when_full = match raw.when_full {
            Some(RawWhenFull::Wait) => WhenFull::Wait,
            Some(RawWhenFull::Shed) | None => WhenFull::Shed,
        };
        let rate = match raw.min_rate {
            Some(Switch::Off) => Some(0),
            Some(Switch::Set(rate)) => Some(rate.as_u64()),
            Some(Switch::On) | None => None,
        };
        limits.min_rate = self.within("limits.min_rate", rate, 0..=1 << 20, limits.min_rate);
        let bytes = raw.header_bytes.map(|size| size.as_usize());
        limits.header_bytes = self.within(
            "limits.header_bytes",
            bytes,
            1024..=65_536,
            limits.header_bytes,
        );
        let fields = raw.header_fields.map(|count| count as usize);
        limits.header_fields = self.within(
            "limits.header_fields",
            fields,
            1..=1000,
            limits.header_fields,
        );
        let bytes = raw.uri_bytes.map(|size| size.as_usize());
        limits.uri_bytes = self.within("limits.uri_bytes", bytes, 64..=65_536, limits.uri_bytes);
        limits.max_queued = self.within(
            "limits.max_queued",
            raw.max_queued,
            0..=1_000_000,
            limits.max_queued,
        );
        limits.max_in_flight = self.max_in_flight(raw.max_in_flight);
    }

    fn runtime(&mut self, raw: &super::raw::RawRuntime, config: &mut Config) {
        let day = Duration::from_secs(24 * 3600);
        let runtime = &mut config.runtime;
        let shards = raw.shards.map(|shards| shards as usize);
        runtime.shards = self.within("runtime.shards", shards, 1..=256, runtime.shards);
        let drain_timeout = raw.drain_timeout.map(RawDuration::or_millis);
        let any = Duration::ZERO..=day;
        runtime.drain_timeout = self.duration(
            "runtime.drain_timeout",
            drain_timeout,
            &any,
            runtime.drain_timeout,
        );
        let drain_delay = raw.drain_delay.map(RawDuration::or_millis);
        runtime.drain_delay = self.duration(
            "runtime.drain_delay",
            drain_delay,
            &any,
            runtime.drain_delay,
        );
        let interval = raw.config_watch_interval.map(RawDuration::or_millis);
        let bounds = Duration::from_millis(10)..=Duration::from_secs(60);
        let interval = self.duration(
            "runtime.config_watch_interval",
            interval,
            &bounds,
            runtime.config_watch_interval,
        );
        // Older files say 1 s and mean "within a second".
        runtime.config_watch_interval = interval.min(Duration::from_millis(500));
    }

    fn within<T: PartialOrd + std::fmt::Display + Copy>(
        &mut self,
        path: &str,
        value: Option<T>,
        bounds: std::ops::RangeInclusive<T>,
        default: T,
    ) -> T {
        match value {
            Some(value) if !bounds.contains(&value) => {
                self.fault(
                    path,
                    format!(
                        "expected {} to {}, found {value}",
                        bounds.start(),
                        bounds.end()
                    ),
                );
                default
            }
            value => value.unwrap_or(default),
        }
    }

    fn duration(
        &mut self,
        path: &str,
        value: Option<Duration>,
        bounds: &std::ops::RangeInclusive<Duration>,
        default: Duration,
    ) -> Duration {
        match value {
            Some(value) if !bounds.contains(&value) => {
                let [from, to, found] =
                    [*bounds.start(), *bounds.end(), value].map(format_duration);
                self.fault(path, format!("expected {from} to {to}, found {found}"));
                default
            }
            value => value.unwrap_or(default),
        }
    }

    fn is_host(&mut self, host: &str) -> bool {
        let good = http1::request::is_authority(host.as_bytes());
        if !good {
            self.fault(
                "headers.host",
                format!("expected a host name, with a port or without; found `{host}`"),
            );
        }
        good
    }

    fn network(&mut self, written: &Located<String>) -> Option<Network> {
        let parsed = parse_network(&written.value);
        if parsed.is_none() {
            let problem = format!(
                "expected an address or a range such as `10.0.0.0/8`, found `{}`",
                written.value
            );
            self.fault(&written.path, problem);
        }
        parsed
    }

    /// What only the whole can tell.
    fn whole(&mut self, config: &Config) {
        if config.backends.is_empty() && config.discovery.is_empty() && self.faults.is_empty() {
            let fault = self.document.fault(
                "backends",
                "there are no backends, so there is nothing to balance",
            );
            let help = "write `backends: [\"127.0.0.1:50510\"]` or `discovery: …`, or set LEMONADE_LB_BACKEND_ADDRESSES or DATABASE_URL";
            self.faults.push(fault.help(help));
        }
        let mut ids = HashMap::new();
        let mut names = HashMap::new();
        for (index, backend) in config.backends.iter().enumerate() {
            if let Some(first) = ids.insert(&backend.id, index) {
                let problem = format!(
                    "`{}` is already backends[{first}]: one server would count twice",
                    backend.id
                );
                self.fault(&format!("backends[{index}]"), problem);
            } else if let Some(first) = names.insert(&backend.name, index) {
                let problem = format!(
                    "the name `{}` is already that of backends[{first}]",
                    backend.name
                );
                self.fault(&format!("backends[{index}].name"), problem);
            }
            if backend.endpoint == config.listen && config.listen.port() != 0 {
                self.fault(
                    &format!("backends[{index}]"),
                    "a backend at the balancer's own address would loop",
                );
            }
        }
        let Some(admin) = &config.admin else { return };
        if admin.listen == config.listen && config.listen.port() != 0 {
            self.fault(
                "admin",
                "the admin listener and the balancer cannot share an address",
            );
        }
        if !admin.listen.ip().is_loopback() && admin.token.is_none() {
            let problem = format!(
                "`{}` can be reached from other machines, so it needs a token",
                admin.listen
            );
            let help = "write `admin: { listen: …, token: \"${LEMONADE_ADMIN_TOKEN}\" }`, set LEMONADE_ADMIN_TOKEN, or listen on 127.0.0.1";
            self.faults
                .push(self.document.fault("admin", problem).help(help));
        }
    }
}

/// A token that is short is guessed, and one that no header can carry opens nothing.
pub(super) fn check_token(token: &Secret) -> Result<(), &'static str> {
    let text = token.expose();
    let plain = text.bytes().all(|byte| byte.is_ascii_graphic());
    match (16..=512).contains(&text.len()) && plain {
        true => Ok(()),
        false => Err("expected 16 to 512 visible ASCII characters (`openssl rand -hex 32`)"),
    }
}

fn either<T>(
    newer: Option<T>,
    newer_path: &'static str,
    older: Option<T>,
    older_path: &'static str,
) -> Option<(&'static str, T)> {
    newer
        .map(|value| (newer_path, value))
        .or(older.map(|value| (older_path, value)))
}

fn is_path(path: &str) -> bool {
    path.starts_with('/')
        && path
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'#')
}

fn parse_network(text: &str) -> Option<Network> {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix.parse().ok()?)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    Network::new(
        address,
        prefix.unwrap_or(if address.is_ipv4() { 32 } else { 128 }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{HealthConfig, Probe};
    use crate::strategy::Name;
    use std::io::Write;

    fn load_text(extension: &str, text: &str, pairs: &[(&str, &str)]) -> Result<Loaded, Faults> {
        let mut file = tempfile::Builder::new()
            .suffix(extension)
            .tempfile()
            .unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let environment = Environment::from_pairs(pairs.iter().copied());
        load(Some(file.path()), &environment, &Overrides::default())
    }

    pub(super) fn good(text: &str) -> Config {
        load_text(".yaml", text, &[])
            .unwrap_or_else(|faults| panic!("{faults}"))
            .config
    }

    pub(super) fn faults(text: &str) -> String {
        load_text(".yaml", text, &[])
            .expect_err("a fault")
            .to_string()
    }

    #[test]
    fn three_keys_are_a_complete_file() {
        let config =
            good("listen: 127.0.0.1:1\nstrategy: least_connections\nbackends: [\"127.0.0.1:2\"]\n");
        assert_eq!(config.listen.port(), 1);
        assert_eq!(config.strategy, Name::LeastConnections);
        assert_eq!(config.backends[0].name, "127.0.0.1:2");
        assert_eq!(config.health, Some(HealthConfig::default()));
    }

    #[test]
    fn older_nested_names_load() {
        let config = good(
            "runtime:\n  metrics_cap: 1000\n  health_cap: 100\n  drain_timeout_millis: 5000\n  \
             background_timeout_millis: 30000\n  accept_timeout_millis: 60000\n  config_watch_interval_millis: 1000\n\
             proxy:\n  listen_address: \"127.0.0.1:50501\"\n  max_connections: 77\n\
             strategy: round_robin\nbackends:\n  - id: 0\n    name: worker-hyper\n    address: \"127.0.0.1:50510\"\n  \
             - id: 1\n    address: \"127.0.0.1:50520\"\nhealth:\n  interval: \"3s\"\n  timeout: 500\nmetrics:\n  interval: \"10s\"\n",
        );
        assert_eq!(config.runtime.drain_timeout, Duration::from_secs(5));
        assert_eq!(config.limits.max_connections, 77);
        assert_eq!(config.backends[0].name, "worker-hyper");
        assert_eq!(config.backends[1].name, "1");
        let health = config.health.unwrap();
        assert_eq!(
            (health.interval, health.timeout),
            (Duration::from_secs(3), Duration::from_millis(500))
        );
    }

    #[test]
    fn flat_json_loads_and_its_numbers_are_seconds() {
        let text = "{\"listen_address\": \"127.0.0.1:8080\", \"backend_servers\": [\"127.0.0.1:8081\", \"127.0.0.1:8082\"],\n\
                    \"health_check_interval\": 30, \"health_check_timeout\": 5}";
        let config = load_text(".json", text, &[]).unwrap().config;
        assert_eq!(config.listen.port(), 8080);
        assert_eq!(config.backends.len(), 2);
        assert_eq!(config.health.unwrap().interval, Duration::from_secs(30));
    }

    #[test]
    fn environment_wins_over_the_file_and_flags_over_both() {
        let text = "listen: 127.0.0.1:1\nbackends: [\"127.0.0.1:2\"]\n";
        let pairs = [
            ("LEMONADE_LB_LISTEN_ADDRESS", "127.0.0.1:3"),
            ("LEMONADE_LB_STRATEGY", "random"),
        ];
        let config = load_text(".yaml", text, &pairs).unwrap().config;
        assert_eq!((config.listen.port(), config.strategy), (3, Name::Random));

        let environment = Environment::from_pairs([(
            "LEMONADE_LB_BACKEND_ADDRESSES",
            "127.0.0.1:5, 127.0.0.1:6",
        )]);
        let overrides = Overrides {
            strategy: Some("weighted".to_owned()),
            ..Overrides::default()
        };
        let config = load(None, &environment, &overrides).unwrap().config;
        assert_eq!(
            (config.backends.len(), config.strategy),
            (2, Name::Weighted)
        );
    }

    #[test]
    fn every_fault_is_reported_at_once_with_its_place() {
        let found = faults(
            "listen: 127.0.0.1:1\nstrateggy: random\nbackends:\n  - 127.0.0.1\n  - {address: \"127.0.0.1:2\", weight: 0}\n\
             health: {rise: 0}\ntimeouts: {connect: soon}\nlimits: {header_bytes: 1MiB}\n",
        );
        for expected in [
            ":2:1: strateggy: ",
            "did you mean `strategy`",
            ":4:5: backends[0]: expected host:port",
            "backends[1].weight: expected 1 to 65535, found 0",
            ":6:16: health.rise: expected 1 to 100, found 0",
            "timeouts.connect",
            "limits.header_bytes: expected 1024 to 65536, found 1048576",
        ] {
            assert!(found.contains(expected), "{expected} in:\n{found}");
        }
    }

    #[test]
    fn faults_of_the_whole_are_found() {
        assert!(faults("listen: 127.0.0.1:1\n").contains("there are no backends"));
        let found = faults(
            "listen: 127.0.0.1:1\nbackends: [\"127.0.0.1:1\", \"127.0.0.1:2\", \"127.0.0.1:2\"]\n",
        );
        assert!(
            found.contains("own address") && found.contains("already backends[1]"),
            "{found}"
        );
        assert!(
            faults("backends: [\"127.0.0.1:2\"]\nadmin: 0.0.0.0:1\n").contains("needs a token")
        );
        assert!(
            faults("backends: [\"127.0.0.1:2\"]\nadmin: {token: short}\n").contains("16 to 512")
        );
        assert!(faults("backends: [\"no-such-host.invalid:2\"]\n").contains("does not resolve"));
        assert!(
            faults("strategy: lest_connections\nbackends: [\"a:1\"]\n")
                .contains("did you mean `least_connections`")
        );
    }

    #[test]
    fn blocks_can_be_switched_off() {
        let config = good(
            "backends: [\"127.0.0.1:2\"]\nhealth: off\nretries: off\nadmin: off\naccess_log: 25%\n",
        );
        assert_eq!(
            (config.health, config.retries.attempts, config.admin),
            (None, 0, None)
        );
        assert!((config.access_log.sample - 0.25).abs() < 1e-9);
        assert_eq!(
            good("backends: [\"127.0.0.1:2\"]\nhealth: tcp\n")
                .health
                .unwrap()
                .probe,
            Probe::Tcp
        );
    }
}
