//! The checks of `health`.

use super::{Check, is_path};
use crate::config::raw::{RawHealth, RawInitial, RawMethod, RawProbe, RawStatuses};
use crate::config::{HealthConfig, HttpProbe, Initial, Method, Probe, Statuses};
use crate::http1;
use lemonade_config::{Located, RawDuration, ShortOr, Switch};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

/// Longer texts are no sign of health; also what a body must hold.
const MOST_TEXT: usize = 4096;

/// Fields that frame the probe or end its connection: its own business.
const OWN: [&str; 8] = [
    "connection",
    "content-length",
    "expect",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

impl Check<'_> {
    pub(super) fn health(
        &mut self,
        raw: Option<Switch<ShortOr<RawHealth>>>,
        flat_interval: Option<RawDuration>,
        flat_timeout: Option<RawDuration>,
    ) -> Option<HealthConfig> {
        let raw = match raw {
            Some(Switch::Off) => return None,
            Some(Switch::Set(raw)) => raw.0,
            _ => RawHealth::default(),
        };
        let default = HealthConfig::default();
        let interval = raw
            .interval
            .map(RawDuration::or_millis)
            .or(flat_interval.map(RawDuration::or_seconds));
        let timeout = raw
            .timeout
            .map(RawDuration::or_millis)
            .or(flat_timeout.map(RawDuration::or_seconds));
        let bounds = Duration::from_millis(10)..=Duration::from_secs(3600);
        Some(HealthConfig {
            interval: self.duration("health.interval", interval, &bounds, default.interval),
            timeout: self.duration("health.timeout", timeout, &bounds, default.timeout),
            rise: self.within("health.rise", raw.rise, 1..=100, default.rise),
            fall: self.within("health.fall", raw.fall, 1..=100, default.fall),
            initial: raw.initial.map_or(default.initial, initial),
            probe: self.probe(raw),
        })
    }

    fn probe(&mut self, raw: RawHealth) -> Probe {
        let kind = raw.probe.unwrap_or(RawProbe::Http);
        self.refuse_keys_of_other_probes(kind, &raw);
        match kind {
            RawProbe::Tcp => Probe::Tcp,
            RawProbe::Grpc => Probe::Grpc {
                service: self.service(raw.service),
            },
            RawProbe::Http => Probe::Http(self.http_probe(raw)),
        }
    }

    /// A key that the probe does not look at was meant for another one.
    fn refuse_keys_of_other_probes(&mut self, kind: RawProbe, raw: &RawHealth) {
        let keys = [
            ("method", RawProbe::Http, raw.method.is_some()),
            ("path", RawProbe::Http, raw.path.is_some()),
            ("headers", RawProbe::Http, raw.headers.is_some()),
            ("expect", RawProbe::Http, !raw.expect.0.is_empty()),
            ("body", RawProbe::Http, raw.body.is_some()),
            ("service", RawProbe::Grpc, raw.service.is_some()),
        ];
        for (key, of, present) in keys {
            if present && of != kind {
                let (of, kind) = (name(of), name(kind));
                let problem = format!("belongs to `probe: {of}`, and the probe is `{kind}`");
                self.fault(&format!("health.{key}"), problem);
            }
        }
    }

    fn http_probe(&mut self, raw: RawHealth) -> HttpProbe {
        let default = HttpProbe::default();
        if raw.path.as_deref().is_some_and(|path| !is_path(path)) {
            self.fault(
                "health.path",
                "expected a path that begins with `/` and holds no space or control character",
            );
        }
        let method = match raw.method {
            Some(RawMethod::Head) => Method::Head,
            Some(RawMethod::Get) => Method::Get,
            None => default.method,
        };
        let body = raw.body.as_deref();
        if body.is_some_and(|body| body.is_empty() || body.len() > MOST_TEXT) {
            let problem = format!("expected a text of 1 to {MOST_TEXT} bytes");
            self.fault("health.body", problem);
        }
        if body.is_some() && method == Method::Head {
            self.fault("health.body", "an answer to `HEAD` has no body");
        }
        HttpProbe {
            method,
            path: raw.path.unwrap_or(default.path),
            headers: self.probe_headers(raw.headers.unwrap_or_default()),
            expect: self.statuses(raw.expect.0),
            body: raw.body,
        }
    }

    fn probe_headers(&mut self, headers: BTreeMap<String, String>) -> Vec<(String, String)> {
        let mut seen: Vec<String> = Vec::new();
        for (name, value) in &headers {
            let lower = name.to_ascii_lowercase();
            let problem = match lower.as_str() {
                _ if !http1::fields::is_token(name.as_bytes()) => "expected a header's name",
                // Not shown: it may be a credential.
                _ if !is_value(value) => "expected a value without control characters",
                own if OWN.contains(&own) => "is the probe's own business",
                "host" if !http1::request::is_authority(value.as_bytes()) => {
                    "expected a host name, with a port or without"
                }
                _ if seen.contains(&lower) => "is there already, in another case",
                _ => {
                    seen.push(lower);
                    continue;
                }
            };
            self.fault("health.headers", format!("`{name}`: {problem}"));
        }
        headers.into_iter().collect()
    }

    pub(super) fn statuses(&mut self, raw: Vec<Located<RawStatuses>>) -> Statuses {
        let mut ranges: Vec<RangeInclusive<u16>> = Vec::new();
        for Located { path, value } in raw {
            let bounds = Statuses::BOUNDS;
            let RawStatuses(range) = value;
            if !bounds.contains(range.start()) || !bounds.contains(range.end()) {
                let problem = "expected final statuses, from 200 to 599";
                self.fault(&path, problem);
            }
            ranges.push(range);
        }
        Statuses::new(ranges)
    }

    fn service(&mut self, service: Option<String>) -> String {
        let service = service.unwrap_or_default();
        if service.len() > MOST_TEXT {
            let problem = format!("expected a name of at most {MOST_TEXT} bytes");
            self.fault("health.service", problem);
        }
        service
    }
}

fn name(probe: RawProbe) -> &'static str {
    match probe {
        RawProbe::Http => "http",
        RawProbe::Tcp => "tcp",
        RawProbe::Grpc => "grpc",
    }
}

fn initial(raw: RawInitial) -> Initial {
    match raw {
        RawInitial::Checking => Initial::Checking,
        RawInitial::Healthy => Initial::Healthy,
        RawInitial::Unhealthy => Initial::Unhealthy,
    }
}

fn is_value(value: &str) -> bool {
    value.len() <= MOST_TEXT && http1::fields::is_field_value(value.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{faults, good};
    use super::*;

    #[test]
    fn probe_is_written_short_or_in_full() {
        let probe = |health: &str| {
            let text = format!("backends: [\"127.0.0.1:2\"]\nhealth: {health}\n");
            good(&text).health.unwrap().probe
        };
        let service = |service: &str| Probe::Grpc {
            service: service.to_owned(),
        };
        assert_eq!(probe("grpc"), service(""));
        assert_eq!(probe("{probe: grpc, service: a.B}"), service("a.B"));
        let Probe::Http(http) = probe(
            "{method: HEAD, path: /x, expect: [200-204, \"301\", 404], headers: {Host: a.example}}",
        ) else {
            panic!("not the probe that was written");
        };
        assert_eq!((http.method.as_str(), http.path.as_str()), ("HEAD", "/x"));
        let good = (200..600).filter(|status| http.expect.contain(*status));
        assert!(good.eq([200, 201, 202, 203, 204, 301, 404]));
        assert_eq!(http.headers, [("Host".to_owned(), "a.example".to_owned())]);
    }

    #[test]
    fn probe_that_could_not_mean_anything_is_refused() {
        for (health, expected) in [
            (
                "{probe: tcp, path: /x}",
                "health.path: belongs to `probe: http`",
            ),
            (
                "{probe: grpc, expect: 200}",
                "health.expect: belongs to `probe: http`",
            ),
            ("{service: x}", "health.service: belongs to `probe: grpc`"),
            (
                "{expect: [200, 2xx]}",
                "health.expect[1]: expected a status",
            ),
            ("{expect: 299-200}", "expected a status"),
            ("{expect: 100-299}", "expected final statuses"),
            ("{body: \"\"}", "health.body: expected a text"),
            ("{body: x, method: HEAD}", "has no body"),
            ("{method: POST}", "health.method"),
            (
                "{headers: {Content-Length: \"3\"}}",
                "`Content-Length`: is the probe's own business",
            ),
            ("{headers: {\"a b\": x}}", "`a b`: expected a header's name"),
            ("{headers: {x: \"a\\nb\"}}", "`x`: expected a value"),
            ("{headers: {Host: \"a b\"}}", "`Host`: expected a host name"),
            ("{headers: {a: x, A: y}}", "in another case"),
            ("{initial: well}", "health.initial"),
            ("udp", "`grpc`, a path"),
        ] {
            let found = faults(&format!("backends: [\"127.0.0.1:2\"]\nhealth: {health}\n"));
            assert!(found.contains(expected), "{health}: {found}");
        }
    }
}
