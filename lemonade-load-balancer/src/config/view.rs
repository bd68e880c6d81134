//! A configuration as a file would say it: what `GET /api/v1/config` shows, and what the schema takes its defaults from.
//!
//! Read back, it is the same configuration, but for secrets, which are left out.

use super::{
    AccessLog, AccessLogFormat, AdminConfig, Affinity, Always, BackendConfig, Config, DnsConfig,
    DnsKind, EngineConfig, HealthConfig, Hedge, HttpProbe, Key, MaxInFlight, OtlpConfig, Probe,
    PrometheusConfig, Retries, Secure, StatsdConfig, Statuses, Sticky, TracingConfig, WhenFull,
};
use crate::decision::Rule;
use crate::outlier::Rules;
use lemonade_config::{ByteSize, format_duration};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// The whole configuration, with every default spelt out.
pub fn view(config: &Config) -> Value {
    let timeouts = &config.timeouts;
    let mut view = json!({
        "listen": config.listen,
        "strategy": strategy(config),
        "sticky": config.sticky.as_ref().map_or(off(), sticky),
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
            "queue": duration(timeouts.queue),
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
            "max_in_flight": max_in_flight(config.limits.max_in_flight),
            "max_queued": config.limits.max_queued,
        },
        "outlier": config.outlier.as_ref().map_or(off(), outlier),
        "engine": engine(&config.engine),
        "slow_start": if config.slow_start.is_zero() { off() } else { duration(config.slow_start) },
        "panic_threshold": if config.panic_threshold == 0.0 { off() } else { percent(config.panic_threshold) },
        "retries": retries(&config.retries),
        "hedge": config.hedge.as_ref().map_or(off(), hedge),
        "headers": {
            "forwarded": config.headers.forwarded,
            "server_timing": config.headers.server_timing,
        },
        "admin": config.admin.as_ref().map_or(off(), admin),
        "access_log": access_log(&config.access_log),
        "metrics": {
            "interval": duration(config.metrics.interval),
            "otlp": config.metrics.otlp.as_ref().map_or(off(), otlp),
            "statsd": config.metrics.statsd.as_ref().map_or(off(), statsd),
        },
        "tracing": config.tracing.as_ref().map_or(off(), tracing),
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

/// Its name alone where that says it all.
fn strategy(config: &Config) -> Value {
    let name = config.strategy.as_str();
    if config.affinity == Affinity::default() {
        return name.into();
    }
    json!({
        "name": name,
        "key": match &config.affinity.key {
            Key::Client => "client".into(),
            Key::Path => "path".into(),
            Key::Header(name) => json!({ "header": name }),
            Key::Cookie(name) => json!({ "cookie": name }),
        },
        "bounded_load": config.affinity.options.bounded_load.map_or(off(), Value::from),
    })
}

fn sticky(sticky: &Sticky) -> Value {
    json!({
        "cookie": sticky.cookie,
        "ttl": duration(sticky.ttl),
        "secure": match sticky.secure {
            Secure::Auto => "auto".into(),
            Secure::Always => Value::from(true),
            Secure::Never => Value::from(false),
        },
        "same_site": sticky.same_site.as_str(),
        "http_only": sticky.http_only,
        "path": sticky.path,
    })
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
    let mut view = json!({
        "address": backend.id.to_string(),
        "name": backend.name,
        "weight": backend.weight,
        "tier": backend.tier,
    });
    if let Some(limit) = backend.max_in_flight {
        view["max_in_flight"] = limit.into();
    }
    view
}

fn max_in_flight(limit: MaxInFlight) -> Value {
    match limit {
        MaxInFlight::Unlimited => off(),
        MaxInFlight::Fixed(limit) => limit.into(),
        MaxInFlight::Adaptive => "adaptive".into(),
    }
}

fn outlier(rules: &Rules) -> Value {
    json!({
        "consecutive": rules.consecutive,
        "failure_rate": percent(rules.failure_rate),
        "window": duration(rules.window),
        "min_requests": rules.min_requests,
        "eject": duration(rules.eject),
        "max_eject": duration(rules.max_eject),
        "max_ejected": percent(rules.max_ejected),
    })
}

fn engine(engine: &EngineConfig) -> Value {
    let settings = &engine.settings;
    let mut view = json!({
        "mode": settings.mode.as_str(),
        "cooldown": duration(settings.cooldown),
        "candidates": settings.candidates,
        "trace_sample": engine.trace_sample.map_or_else(|| json!("off"), |every| json!(every)),
    });
    if !settings.rules.is_empty() {
        view["rules"] = settings.rules.iter().map(rule).collect();
    }
    if !engine.prometheus.is_empty() {
        view["prometheus"] = engine.prometheus.iter().map(prometheus).collect();
    }
    view
}

fn rule(rule: &Rule) -> Value {
    json!({ "name": rule.name, "when": rule.when.to_string(), "use": rule.picks })
}

fn prometheus(source: &PrometheusConfig) -> Value {
    json!({
        "name": source.name,
        "url": source.url.to_string(),
        "query": source.query,
        "interval": duration(source.interval),
        "timeout": duration(source.timeout),
        "stale": duration(source.stale),
    })
}

fn retries(retries: &Retries) -> Value {
    if retries.attempts == 0 {
        return off();
    }
    let words = [
        ("connect_failure", retries.on.connect_failure),
        ("reset", retries.on.reset),
        ("timeout", retries.on.timeout),
    ];
    let words = words.iter().filter(|(_, on)| *on);
    let words = words.map(|(word, _)| Value::from(*word));
    let statuses = retries
        .on
        .statuses
        .iter()
        .map(|status| Value::from(*status));
    json!({
        "attempts": retries.attempts,
        "on": words.chain(statuses).collect::<Vec<_>>(),
        "budget": percent(retries.budget),
        "min_per_second": retries.min_per_second,
        "non_idempotent": retries.non_idempotent,
    })
}

fn hedge(hedge: &Hedge) -> Value {
    json!({ "after": duration(hedge.after), "budget": percent(hedge.budget) })
}

/// Multiplying by 100 may leave a trace in the last digit.
fn percent(fraction: f64) -> Value {
    format!("{}%", (fraction * 1e9).round() / 1e7).into()
}

fn health(health: &HealthConfig) -> Value {
    let mut view = json!({
        "interval": duration(health.interval),
        "timeout": duration(health.timeout),
        "rise": health.rise,
        "fall": health.fall,
        "initial": health.initial.as_str(),
    });
    match &health.probe {
        Probe::Tcp => view["probe"] = "tcp".into(),
        Probe::Grpc { service } => {
            view["probe"] = "grpc".into();
            if !service.is_empty() {
                view["service"] = service.as_str().into();
            }
        }
        Probe::Http(probe) => http_probe(probe, &mut view),
    }
    view
}

fn http_probe(probe: &HttpProbe, view: &mut Value) {
    view["probe"] = "http".into();
    view["method"] = probe.method.as_str().into();
    view["path"] = probe.path.as_str().into();
    view["expect"] = shown(&probe.expect);
    let headers = probe.headers.iter();
    let headers: Map<String, Value> = headers
        .filter(|(name, _)| !is_credential(name))
        .map(|(name, value)| (name.clone(), value.as_str().into()))
        .collect();
    if !headers.is_empty() {
        view["headers"] = headers.into();
    }
    if let Some(body) = &probe.body {
        view["body"] = body.as_str().into();
    }
}

/// Whether a field of this name is likely to hold a secret. Errs on the side of silence.
fn is_credential(field: &str) -> bool {
    let field = field.to_ascii_lowercase();
    let words = ["auth", "cookie", "key", "password", "secret", "token"];
    words.iter().any(|word| field.contains(word))
}

fn admin(admin: &AdminConfig) -> Value {
    json!({ "listen": admin.listen })
}

fn access_log(log: &AccessLog) -> Value {
    if log.is_off() {
        return off();
    }
    let mut view = json!({
        "sample": percent(log.sample),
        "format": match log.format {
            AccessLogFormat::Json => "json",
            AccessLogFormat::Text => "text",
        },
        "redact": { "client": if log.truncate_clients { "truncate".into() } else { off() } },
    });
    if log.always != Always::default() {
        view["always"] = always(&log.always);
    }
    if let Some(file) = &log.file {
        view["file"] = file.display().to_string().into();
    }
    if let Some(syslog) = &log.syslog {
        view["syslog"] = json!({
            "address": syslog.address.to_string(),
            "facility": syslog.facility.to_string(),
            "tag": syslog.tag,
        });
    }
    view
}

fn always(always: &Always) -> Value {
    let mut view = json!({ "retried": always.retried });
    if let Some(statuses) = &always.statuses {
        view["status"] = shown(statuses);
    }
    if let Some(bound) = always.slower_than {
        view["slower_than"] = duration(bound);
    }
    view
}

/// One range, or a list of them.
fn shown(statuses: &Statuses) -> Value {
    match statuses.shown().as_mut_slice() {
        [one] => std::mem::take(one).into(),
        several => several.to_vec().into(),
    }
}

/// Its headers are credentials, most often.
fn otlp(otlp: &OtlpConfig) -> Value {
    json!({ "endpoint": otlp.endpoint.to_string(), "timeout": duration(otlp.timeout) })
}

fn statsd(statsd: &StatsdConfig) -> Value {
    let mut view = json!({
        "address": statsd.address.to_string(),
        "prefix": statsd.prefix,
        "flavour": statsd.flavour.as_str(),
    });
    if !statsd.tags.is_empty() {
        let tags = statsd.tags.iter();
        let tags: Map<String, Value> = tags
            .map(|(name, value)| (name.clone(), value.as_str().into()))
            .collect();
        view["tags"] = tags.into();
    }
    view
}

fn tracing(tracing: &TracingConfig) -> Value {
    json!({ "otlp": otlp(&tracing.otlp), "sample": percent(tracing.sample) })
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
            "listen": "127.0.0.1:1", "strategy": { "name": "maglev", "key": { "header": "X-User" }, "bounded_load": 1.5 },
            "sticky": { "cookie": "s", "ttl": "1h", "secure": true, "same_site": "none", "http_only": false, "path": "/a" },
            "backends": ["127.0.0.1:2", { "name": "w", "address": "127.0.0.1:3", "weight": 7, "tier": "backup", "max_in_flight": 9 }],
            "health": { "probe": "tcp", "interval": "3s", "timeout": "1500ms", "rise": 1, "fall": 9 },
            "timeouts": { "connect": "1ms", "tunnel": "7d", "queue": "2s" },
            "outlier": { "consecutive": 7, "failure_rate": "33%", "window": "3s", "min_requests": 2, "eject": "1s", "max_eject": "1m", "max_ejected": "10%" },
            "slow_start": "3s", "panic_threshold": "20%", "hedge": { "after": "25ms", "budget": "1%" },
            "limits": { "max_in_flight": "adaptive", "max_queued": 3, "max_connections": 5, "max_connections_per_client": 3, "when_full": "wait", "min_rate": "1KiB", "header_bytes": "4KiB", "header_fields": 7, "uri_bytes": 100 },
            "retries": { "attempts": 3, "on": ["reset", 500], "budget": "5%", "min_per_second": 0, "non_idempotent": true },
            "engine": { "mode": "advise", "cooldown": "5m", "candidates": ["random", "least_delay"],
                "rules": [{ "name": "r", "when": "error_rate > 5% and external.age >= 1.5 for 10s", "use": "round_robin" }],
                "prometheus": [{ "name": "age", "url": "http://h:1/p", "query": "max(x)", "interval": "1s", "timeout": "1s", "stale": "2s" }],
                "trace_sample": 7 },
            "headers": { "forwarded": true, "host": "h", "server_timing": true },
            "trusted_proxies": ["10.0.0.0/8", "::1"],
            "discovery": {
                "sql": { "url": "sqlite:w.db", "table": "a.b", "column": "c", "poll": "1s" },
                "dns": ["a.b:80", { "name": "_http._tcp.c", "server": "127.0.0.1:53", "min_ttl": "2s" }]
            },
            "admin": "127.0.0.1:4",
            "access_log": { "sample": "0.7%", "format": "text", "file": "/tmp/log", "redact": { "client": "truncate" },
                "always": { "status": [429, "500-599"], "slower_than": "1500ms", "retried": true } },
            "metrics": { "interval": "3s", "otlp": { "endpoint": "https://h/x", "timeout": "1s" },
                "statsd": { "address": "unix:/run/s", "prefix": "a.", "tags": { "env": "x", "az": "y:z" } } },
            "tracing": { "otlp": "http://h:4318", "sample": "0.7%" },
            "runtime": { "shards": 200, "drain_timeout": "1s", "drain_delay": "2s", "config_watch_interval": "20ms" }
        }"#;
        let config = read(text);
        assert_eq!(read(&view(&config).to_string()), config);
        for affinity in [
            r#"{"strategy": {"name": "random", "key": "path", "bounded_load": "off"}, "sticky": {"secure": false}}"#,
            r#"{"strategy": {"name": "maglev", "key": {"cookie": "c"}}, "sticky": "on"}"#,
        ] {
            let config = read(&affinity.replacen('{', r#"{"backends": ["127.0.0.1:2"], "#, 1));
            assert_eq!(read(&view(&config).to_string()), config, "{affinity}");
        }
        for log in [
            r#"{"always": {"status": 499}, "syslog": {"address": "h:514", "facility": "daemon", "tag": "t"}}"#,
            r#"{"always": {"slower_than": "0s"}, "syslog": "/run/log"}"#,
        ] {
            let config = read(&format!(
                r#"{{"backends": ["127.0.0.1:2"], "access_log": {log}}}"#
            ));
            assert_eq!(read(&view(&config).to_string()), config, "{log}");
        }
        let plain = read(
            r#"{"backends": ["127.0.0.1:2"], "health": "off", "admin": "off", "retries": "off", "outlier": "off", "engine": { "mode": "off", "trace_sample": "off" },
                "slow_start": "off", "panic_threshold": "off", "limits": { "max_in_flight": 7 },
                "metrics": { "otlp": "off", "statsd": { "address": "h:1", "flavour": "plain" } }, "tracing": "off" }"#,
        );
        assert_eq!(read(&view(&plain).to_string()), plain);
    }

    #[test]
    fn view_of_every_probe_reads_back_to_the_same() {
        for health in [
            r#"{"probe": "grpc", "initial": "healthy"}"#,
            r#"{"probe": "grpc", "service": "a.B", "initial": "unhealthy"}"#,
            r#"{"path": "/x", "expect": [204, "300-399"], "body": "well", "headers": {"Host": "h"}}"#,
            r#"{"method": "HEAD", "expect": 503}"#,
            r#""grpc""#,
        ] {
            let config = read(&format!(
                r#"{{"backends": ["127.0.0.1:2"], "health": {health}}}"#
            ));
            assert_eq!(read(&view(&config).to_string()), config, "{health}");
        }
    }

    #[test]
    fn secrets_are_not_seen() {
        let text = r#"{"discovery": {"sql": "postgres://u:hush@h/d"}, "admin": {"token": "hushhushhushhush"}, "sticky": {"secret": "hushhushhushhush"},
            "health": {"headers": {"Authorization": "hush", "x-api-key": "hush", "Host": "seen"}},
            "metrics": {"otlp": {"endpoint": "http://h", "headers": {"api-key": "hush"}}}, "tracing": {"otlp": {"endpoint": "http://h", "headers": {"x": "hush"}}}}"#;
        let view = view(&read(text)).to_string();
        assert!(!view.contains("hush") && view.contains("seen"), "{view}");
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
