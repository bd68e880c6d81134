//! The checks of `metrics` and `tracing`.

use super::super::raw::{RawFlavour, RawMetrics, RawOtlp, RawStatsd, RawTracing};
use super::super::telemetry::{
    Flavour, MetricsConfig, OtlpConfig, OtlpUrl, ResourceConfig, StatsdAddress, StatsdConfig,
    TracingConfig,
};
use super::super::{Config, Secret};
use super::Check;
use crate::http1::fields::{is_field_value, is_token};
use lemonade_config::{Environment, RawDuration, ShortOr, Switch};
use std::collections::BTreeMap;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
/// More headers, or tags, are no configuration.
const MOST: usize = 50;
const LONGEST_VALUE: usize = 4096;
const LONGEST_NAME: usize = 100;
/// A line, with all its tags, is to fit into one datagram.
const LONGEST_TAGS: usize = 500;
/// Fields that are the exporter's own business.
const OWN: [&str; 6] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "transfer-encoding",
];

impl Check<'_> {
    pub(super) fn metrics(&mut self, raw: RawMetrics) -> MetricsConfig {
        let default = MetricsConfig::default();
        let interval = raw.interval.map(RawDuration::or_millis);
        MetricsConfig {
            interval: self.duration(
                "metrics.interval",
                interval,
                &(SECOND..=HOUR),
                default.interval,
            ),
            otlp: self
                .server("metrics.otlp", raw.otlp)
                .and_then(|raw| self.otlp("metrics.otlp", raw)),
            statsd: self
                .server("metrics.statsd", raw.statsd)
                .and_then(|raw| self.statsd(raw)),
        }
    }

    pub(super) fn tracing(
        &mut self,
        raw: Option<Switch<ShortOr<RawTracing>>>,
    ) -> Option<TracingConfig> {
        let raw = self.server("tracing", raw)?;
        let Some(ShortOr(otlp)) = raw.otlp else {
            self.fault(
                "tracing",
                "expected `otlp`: `{ otlp: \"http://127.0.0.1:4318\" }`",
            );
            return None;
        };
        let mut tracing = TracingConfig::to(self.otlp("tracing.otlp", otlp)?);
        if let Some(sample) = raw.sample {
            tracing.sample = sample.fraction();
        }
        Some(tracing)
    }

    /// What a block says of the server that it sends to: it cannot be on without one.
    fn server<T>(&mut self, path: &str, raw: Option<Switch<ShortOr<T>>>) -> Option<T> {
        match raw {
            None | Some(Switch::Off) => None,
            Some(Switch::On) => {
                self.fault(path, "expected where to: an address, or a table");
                None
            }
            Some(Switch::Set(ShortOr(raw))) => Some(raw),
        }
    }

    fn otlp(&mut self, path: &str, raw: RawOtlp) -> Option<OtlpConfig> {
        let Some(endpoint) = raw.endpoint else {
            self.fault(path, "expected `endpoint`, such as `http://127.0.0.1:4318`");
            return None;
        };
        let endpoint = match OtlpUrl::parse(&endpoint) {
            Ok(endpoint) => endpoint,
            Err(problem) => {
                self.fault(path, problem);
                return None;
            }
        };
        if endpoint.has_the_port_of_grpc() {
            self.warnings.push(format!(
                "{path}: 4317 is the port at which OTLP over gRPC is taken, and this is sent over HTTP: that is 4318, most often"
            ));
        }
        let mut otlp = OtlpConfig::at(endpoint);
        otlp.headers = self.otlp_headers(&format!("{path}.headers"), raw.headers);
        let bounds = Duration::from_millis(100)..=SECOND * 60;
        let timeout = raw.timeout.map(RawDuration::or_millis);
        otlp.timeout = self.duration(&format!("{path}.timeout"), timeout, &bounds, otlp.timeout);
        Some(otlp)
    }

    fn otlp_headers(
        &mut self,
        path: &str,
        headers: BTreeMap<String, String>,
    ) -> Vec<(String, Secret)> {
        if headers.len() > MOST {
            self.fault(path, format!("at most {MOST} headers"));
        }
        for (name, value) in &headers {
            let lower = name.to_ascii_lowercase();
            let good = value.len() <= LONGEST_VALUE && is_field_value(value.as_bytes());
            let problem = match lower.as_str() {
                _ if !is_token(name.as_bytes()) => "expected a header's name",
                // Not shown: it is a credential, most often.
                _ if !good => "expected a value without control characters",
                own if OWN.contains(&own) => "is the exporter's own business",
                _ => continue,
            };
            self.fault(path, format!("`{name}`: {problem}"));
        }
        let headers = headers.into_iter();
        headers
            .map(|(name, value)| (name, Secret::new(value)))
            .collect()
    }

    fn statsd(&mut self, raw: RawStatsd) -> Option<StatsdConfig> {
        let Some(address) = raw.address else {
            let problem = "expected `address`, such as `127.0.0.1:8125` or `unix:/path`";
            self.fault("metrics.statsd", problem);
            return None;
        };
        let address = match StatsdAddress::parse(&address) {
            Ok(address) => address,
            Err(problem) => {
                self.fault("metrics.statsd", problem);
                return None;
            }
        };
        let mut statsd = StatsdConfig::at(address);
        statsd.prefix = raw.prefix.unwrap_or(statsd.prefix);
        if statsd.prefix.len() > LONGEST_NAME || !statsd.prefix.bytes().all(is_name_byte) {
            let problem =
                format!("expected at most {LONGEST_NAME} letters, digits, `_`, `-` and `.`");
            self.fault("metrics.statsd.prefix", problem);
        }
        if let Some(RawFlavour::Plain) = raw.flavour {
            statsd.flavour = Flavour::Plain;
        }
        statsd.tags = self.tags(raw.tags, statsd.flavour);
        Some(statsd)
    }

    fn tags(&mut self, tags: BTreeMap<String, String>, flavour: Flavour) -> Vec<(String, String)> {
        let path = "metrics.statsd.tags";
        if !tags.is_empty() && flavour == Flavour::Plain {
            self.fault(path, "belong to `flavour: datadog`: plain StatsD has none");
        }
        if tags.len() > MOST {
            self.fault(path, format!("at most {MOST} tags"));
        }
        let bytes = tags.iter().map(|(name, value)| name.len() + value.len());
        if bytes.sum::<usize>() > LONGEST_TAGS {
            let problem = format!(
                "expected at most {LONGEST_TAGS} bytes of names and values: they are sent with every line"
            );
            self.fault(path, problem);
        }
        for (name, value) in &tags {
            let plain = |text: &str| {
                let good = |c: char| !c.is_control() && !"|,#".contains(c);
                (1..=LONGEST_NAME).contains(&text.len()) && text.chars().all(good)
            };
            if !plain(name) || !plain(value) || name.contains(':') {
                let problem = format!(
                    "`{name}`: expected a name and a value of 1 to {LONGEST_NAME} bytes, without `|`, `,` and `#`, and no `:` in the name"
                );
                self.fault(path, problem);
            }
        }
        tags.into_iter().collect()
    }

    /// Who is said to speak: it is OpenTelemetry's way that the environment says so.
    pub(super) fn resource_of_environment(
        &mut self,
        environment: &Environment,
        config: &mut Config,
    ) {
        let (resource, complaint) = ResourceConfig::read(
            environment.get("OTEL_SERVICE_NAME"),
            environment.get("OTEL_RESOURCE_ATTRIBUTES"),
        );
        config.resource = resource;
        self.warnings.extend(complaint);
    }
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_-.".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{faults, good};
    use super::*;

    fn with(text: &str) -> String {
        format!("backends: [\"127.0.0.1:2\"]\n{text}\n")
    }

    #[test]
    fn telemetry_is_written_short_or_in_full() {
        let config = good(&with(
            "metrics: { otlp: \"http://h:4318\", statsd: \"127.0.0.1:8125\" }\ntracing: \"https://h\"",
        ));
        let otlp = config.metrics.otlp.unwrap();
        assert_eq!(otlp.endpoint.to_string(), "http://h:4318");
        assert_eq!(otlp.timeout, SECOND * 5);
        assert_eq!(config.metrics.interval, SECOND * 10);
        let statsd = config.metrics.statsd.unwrap();
        assert_eq!(
            (statsd.prefix.as_str(), statsd.flavour),
            ("lemonade.", Flavour::Datadog)
        );
        let tracing = config.tracing.unwrap();
        assert!((tracing.sample - 0.01).abs() < 1e-12);

        let config = good(&with(
            "metrics: { interval: 1m, statsd: { address: \"unix:/run/s\", prefix: \"\", flavour: plain } }\n\
             tracing: { otlp: { endpoint: \"http://h/x\", headers: { api-key: hush }, timeout: 1s }, sample: 100% }",
        ));
        assert_eq!(config.metrics.interval, SECOND * 60);
        assert_eq!(config.metrics.statsd.unwrap().prefix, "");
        let tracing = config.tracing.unwrap();
        assert_eq!(tracing.otlp.headers[0].1, Secret::new("hush"));
        assert!((tracing.sample - 1.0).abs() < 1e-12);

        let off = good(&with(
            "metrics: { interval: 10000, otlp: off, statsd: off }\ntracing: off",
        ));
        assert_eq!(off.metrics, MetricsConfig::default());
        assert_eq!(off.tracing, None);
    }

    #[test]
    fn telemetry_that_could_not_work_is_refused() {
        for (text, expected) in [
            (
                "metrics: { interval: 10ms }",
                "metrics.interval: expected 1s to 1h",
            ),
            ("metrics: { otlp: on }", "metrics.otlp: expected where to"),
            ("metrics: { otlp: \"grpc://h:4317\" }", "not over gRPC"),
            (
                "metrics: { otlp: { timeout: 1s } }",
                "metrics.otlp: expected `endpoint`",
            ),
            ("tracing: { sample: 1% }", "tracing: expected `otlp`"),
            (
                "tracing: { otlp: { endpoint: \"http://h\", timeout: 1h } }",
                "tracing.otlp.timeout: expected 100ms to 1m",
            ),
            (
                "tracing: { otlp: { endpoint: \"http://h\", headers: { \"a b\": x } } }",
                "expected a header's name",
            ),
            (
                "tracing: { otlp: { endpoint: \"http://h\", headers: { Host: x } } }",
                "own business",
            ),
            (
                "metrics: { statsd: agent }",
                "metrics.statsd: expected `host:port`",
            ),
            (
                "metrics: { statsd: { address: \"a:1\", prefix: \"a b\" } }",
                "metrics.statsd.prefix",
            ),
            (
                "metrics: { statsd: { address: \"a:1\", flavour: plain, tags: { a: b } } }",
                "belong to `flavour: datadog`",
            ),
            (
                "metrics: { statsd: { address: \"a:1\", tags: { a: \"b|c\" } } }",
                "without `|`",
            ),
        ] {
            let found = faults(&with(text));
            assert!(found.contains(expected), "{text}: {found}");
        }
        let secret = "tracing: { otlp: { endpoint: \"http://h\", headers: { x: \"hush\\n\" } } }";
        assert!(!faults(&with(secret)).contains("hush"));
    }
}
