//! A configuration as a file would say it: what `GET /api/v1/config` shows, and what the schema takes its defaults from.
//!
//! Read back, it is the same configuration, but for secrets, which are left out.

use super::{
    AccessLogFormat, AdminConfig, BackendConfig, Config, DnsConfig, DnsKind, HealthConfig, Probe,
};
use lemonade_config::format_duration;
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
