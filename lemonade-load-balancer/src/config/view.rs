//! A configuration as a file would say it: what `GET /api/v1/config` shows, and what the schema takes its defaults from.
//!
//! Read back, it is the same configuration, but for secrets, which are left out.

use super::{
    AccessLogFormat, AdminConfig, BackendConfig, Config, DnsConfig, DnsKind, HealthConfig, Probe,
    WhenFull,
};
use lemonade_config::{ByteSize, format_duration};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// The whole configuration, with every default spelt out.
pub fn view(config: &Config) -> Value {
    let timeouts = &config.timeouts;
    let mut view = json!({
        "listen": config.listen,
        "strategy": config.strategy.as_str(),
        "backends": config.backends.iter().map(backend).collect::<Vec<_>>(),
        "health": config.health.as_ref().map_or(off(), health),
        "timeouts": {
            "connect": duration(timeouts.connect),
            "request_header": duration(timeouts.request_header),
            "response_header": duration(timeouts.response_header),
            "idle": duration(timeouts.idle),
            "total": duration(timeouts.total),
            "upstream_idle": duration(timeouts.upstream_idle),
            "tunnel": duration(timeouts.tunnel),
        },
        "limits": {
            "max_connections": config.limits.max_connections,
            "max_connections_per_client": config.limits.max_connections_per_client.map_or(off(), Value::from),
            "when_full": match config.limits.when_full {
                WhenFull::Shed => "shed",
                WhenFull::Wait => "wait",
            },
            "min_rate": rate(config.limits.min_rate),
            "header_bytes": config.limits.header_bytes,
            "header_fields": config.limits.header_fields,
            "uri_bytes": config.limits.uri_bytes,
        },
        "retries": { "attempts": config.retries },
        "headers": { "forwarded": config.headers.forwarded },
        "admin": config.admin.as_ref().map_or(off(), admin),
        "access_log": access_log(config),
        "runtime": {
            "drain_timeout": duration(config.runtime.drain_timeout),
            "drain_delay": duration(config.runtime.drain_delay),
            "config_watch_interval": duration(config.runtime.config_watch_interval),
        },
    });
    // Another machine has another default, which the schema must not depend on.
    if config.runtime.shards != super::Runtime::default().shards {
        view["runtime"]["shards"] = config.runtime.shards.into();
    }
    if let Some(host) = &config.headers.host {
        view["headers"]["host"] = host.as_str().into();
    }
    let networks = config.headers.trusted_proxies.iter();
    let networks: Vec<String> = networks.map(|network| network.shown()).collect();
    if !networks.is_empty() {
        view["trusted_proxies"] = networks.into();
    }
    if !config.discovery.is_empty() {
        view["discovery"] = discovery(config);
    }
    if config.backends.is_empty() {
        view.as_object_mut().map(|view| view.remove("backends"));
    }
    view
}

fn off() -> Value {
    "off".into()
}

fn rate(bytes: u64) -> Value {
    match bytes {
        0 => off(),
        bytes => ByteSize::bytes(bytes).to_string().into(),
    }
}

fn duration(duration: Duration) -> Value {
    format_duration(duration).into()
}

fn backend(backend: &BackendConfig) -> Value {
    json!({ "address": backend.id.to_string(), "name": backend.name, "weight": backend.weight })
}

fn health(health: &HealthConfig) -> Value {
    let mut view = json!({
        "interval": duration(health.interval),
        "timeout": duration(health.timeout),
        "rise": health.rise,
        "fall": health.fall,
        "initial": "checking",
    });
    match &health.probe {
        Probe::Tcp => view["probe"] = "tcp".into(),
        Probe::Http { path } => {
            view["probe"] = "http".into();
            view["path"] = path.as_str().into();
        }
    }
    view
}

fn admin(admin: &AdminConfig) -> Value {
    json!({ "listen": admin.listen })
}

fn access_log(config: &Config) -> Value {
    let log = &config.access_log;
    if log.sample <= 0.0 {
        return off();
    }
    let mut view = json!({
        // Multiplying by 100 may leave a trace in the last digit.
        "sample": format!("{}%", (log.sample * 1e9).round() / 1e7),
        "format": match log.format {
            AccessLogFormat::Json => "json",
            AccessLogFormat::Text => "text",
        },
    });
    if let Some(file) = &log.file {
        view["file"] = file.display().to_string().into();
    }
    view
}

fn discovery(config: &Config) -> Value {
    let mut view = Map::new();
    if let Some(sql) = &config.discovery.sql {
        let table = json!({
            "url": sql.shown(),
            "table": sql.table,
            "column": sql.column,
            "poll": duration(sql.poll),
        });
        view.insert("sql".to_owned(), table);
    }
    if !config.discovery.dns.is_empty() {
        let names: Vec<Value> = config.discovery.dns.iter().map(dns).collect();
        view.insert("dns".to_owned(), names.into());
    }
    view.into()
}

fn dns(dns: &DnsConfig) -> Value {
    let mut view = json!({
        "name": dns.name,
        "weight": dns.weight,
        "min_ttl": duration(dns.min_ttl),
        "max_ttl": duration(dns.max_ttl),
    });
    if let DnsKind::Address { port } = dns.kind {
        view["port"] = port.into();
    }
    if let Some(server) = dns.server {
        view["server"] = server.to_string().into();
    }
    view
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Overrides, check};
    use lemonade_config::{Document, Environment, Format};
    use proptest::prelude::*;

    fn read(text: &str) -> Config {
        let document =
            Document::parse("view.json", Format::Json, text, &Environment::default()).unwrap();
        check(&document, &Environment::default(), &Overrides::default())
            .unwrap_or_else(|faults| panic!("{faults}\n{text}"))
            .config
    }

    #[test]
    fn view_of_everything_reads_back_to_the_same() {
        let text = r#"{
            "listen": "127.0.0.1:1", "strategy": "weighted",
            "backends": ["127.0.0.1:2", { "name": "w", "address": "127.0.0.1:3", "weight": 7 }],
            "health": { "probe": "tcp", "interval": "3s", "timeout": "1500ms", "rise": 1, "fall": 9 },
            "timeouts": { "connect": "1ms", "tunnel": "7d" },
            "limits": { "max_connections": 5, "max_connections_per_client": 3, "when_full": "wait", "min_rate": "1KiB", "header_bytes": "4KiB", "header_fields": 7, "uri_bytes": 100 },
            "retries": "off", "headers": { "forwarded": true, "host": "h" },
            "trusted_proxies": ["10.0.0.0/8", "::1"],
            "discovery": {
                "sql": { "url": "sqlite:w.db", "table": "a.b", "column": "c", "poll": "1s" },
                "dns": ["a.b:80", { "name": "_http._tcp.c", "server": "127.0.0.1:53", "min_ttl": "2s" }]
            },
            "admin": "127.0.0.1:4",
            "access_log": { "sample": "0.7%", "format": "text", "file": "/tmp/log" },
            "runtime": { "shards": 200, "drain_timeout": "1s", "drain_delay": "2s", "config_watch_interval": "20ms" }
        }"#;
        let config = read(text);
        assert_eq!(read(&view(&config).to_string()), config);
        let plain = read(r#"{"backends": ["127.0.0.1:2"], "health": "off", "admin": "off"}"#);
        assert_eq!(read(&view(&plain).to_string()), plain);
    }

    #[test]
    fn secrets_are_not_seen() {
        let text = r#"{"discovery": {"sql": "postgres://u:hush@h/d"}, "admin": {"token": "hushhushhushhush"}}"#;
        assert!(!view(&read(text)).to_string().contains("hush"));
    }

    proptest! {
        #[test]
        fn durations_and_weights_read_back(connect in 1u64..604_800_000, weight in 1u32..65_536, sample in 1u32..10_000) {
            let mut config = read(r#"{"backends": ["127.0.0.1:2"]}"#);
            config.timeouts.connect = Duration::from_millis(connect);
            config.backends[0].weight = weight;
            config.access_log.sample = f64::from(sample) / 10_000.0;
            let again = read(&view(&config).to_string());
            prop_assert_eq!(again.timeouts, config.timeouts);
            prop_assert_eq!(again.backends, config.backends);
            prop_assert!((again.access_log.sample - config.access_log.sample).abs() < 1e-9);
        }
    }
}
