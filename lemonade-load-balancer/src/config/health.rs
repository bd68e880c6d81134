//! How backends are probed, and what counts as a good answer.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

/// How backends are probed.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthConfig {
    /// What a probe does.
    pub probe: Probe,
    /// How often each backend is probed. Probes never overlap: if one outlives `interval`, the next is skipped. Default 5 s.
    pub interval: Duration,
    /// How long a probe may take, connecting included. Default 2 s.
    pub timeout: Duration,
    /// Successes in a row that bring a backend back. Default 2.
    pub rise: u32,
    /// Failures in a row that take it out. Default 3.
    pub fall: u32,
    /// What a new backend is taken for before it has been probed. Default [`Initial::Checking`].
    pub initial: Initial,
}

/// What a new backend is taken for before it has been probed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Initial {
    /// Nothing yet: its first probe decides. Until then it is picked only while no backend is healthy.
    #[default]
    Checking,
    /// Well: picked at once, until `fall` probes say otherwise.
    Healthy,
    /// Not well: never picked before `rise` probes have succeeded.
    Unhealthy,
}

impl Initial {
    /// Its name in a file.
    pub fn as_str(self) -> &'static str {
        match self {
            Initial::Checking => "checking",
            Initial::Healthy => "healthy",
            Initial::Unhealthy => "unhealthy",
        }
    }
}

/// What a probe asks of a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// A request, and an answer as expected. The default.
    Http(HttpProbe),
    /// A connection is a success.
    Tcp,
    /// `grpc.health.v1.Health/Check` over HTTP/2 without TLS; `SERVING` is a success.
    Grpc {
        /// The service that is asked about; empty (the default) for the server as a whole, as the protocol has it.
        service: String,
    },
}

/// A request and what must come back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpProbe {
    /// Default `GET`.
    pub method: Method,
    /// In origin-form. Default `/health`.
    pub path: String,
    /// Sent besides, or instead of, the probe's own `Host`, `User-Agent` and `Accept`. Default none.
    pub headers: Vec<(String, String)>,
    /// Default 200 to 299.
    pub expect: Statuses,
    /// What the first [`HttpProbe::BODY_BYTES`] of the body must contain. Default nothing; then the body is not read.
    pub body: Option<String>,
}

impl HttpProbe {
    /// How much of a body is looked at.
    pub const BODY_BYTES: usize = 64 << 10;
}

impl Default for HttpProbe {
    fn default() -> Self {
        HttpProbe {
            method: Method::Get,
            path: "/health".to_owned(),
            headers: Vec::new(),
            expect: Statuses::default(),
            body: None,
        }
    }
}

/// How a probe asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// With the body.
    Get,
    /// For the head alone.
    Head,
}

impl Method {
    /// Its name in a request and in a file.
    pub fn as_str(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Head => "HEAD",
        }
    }
}

/// Final statuses, as ranges; at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statuses(Vec<RangeInclusive<u16>>);

impl Statuses {
    /// What a final status may be.
    pub(crate) const BOUNDS: RangeInclusive<u16> = 200..=599;

    /// These; the default if there are none.
    pub fn new(ranges: Vec<RangeInclusive<u16>>) -> Self {
        match ranges.is_empty() {
            true => Statuses::default(),
            false => Statuses(ranges),
        }
    }

    /// Whether `status` is one of them.
    pub fn contain(&self, status: u16) -> bool {
        self.0.iter().any(|range| range.contains(&status))
    }

    /// Each range as a file has it: `204` or `200-299`.
    pub(crate) fn shown(&self) -> Vec<String> {
        let shown = |range: &RangeInclusive<u16>| match (range.start(), range.end()) {
            (start, end) if start == end => start.to_string(),
            (start, end) => format!("{start}-{end}"),
        };
        self.0.iter().map(shown).collect()
    }
}

impl Default for Statuses {
    fn default() -> Self {
        Statuses(vec![200..=299])
    }
}

impl fmt::Display for Statuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown().join(", "))
    }
}

impl Default for HealthConfig {
    fn default() -> Self {
        HealthConfig {
            probe: Probe::Http(HttpProbe::default()),
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(2),
            rise: 2,
            fall: 3,
            initial: Initial::default(),
        }
    }
}
