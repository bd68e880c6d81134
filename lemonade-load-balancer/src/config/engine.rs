//! The adaptive engine, and the sources outside that its rules may ask.

use crate::decision::Settings;
use lemonade_config::Address;
use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

/// What `strategy: adaptive` goes by.
#[derive(Clone, Debug, PartialEq)]
pub struct EngineConfig {
    /// What it may do, between whom, by which rules.
    pub settings: Settings,
    /// Prometheus servers that are asked for a figure now and then.
    pub prometheus: Vec<PrometheusConfig>,
    /// Of how many picks, whatever the strategy, one is kept with all that it went by. Default 1,024, 1 to 1,000,000; `None` is `off`.
    pub trace_sample: Option<NonZeroU32>,
}

impl Default for EngineConfig {
    fn default() -> Self {
        EngineConfig {
            settings: Settings::default(),
            prometheus: Vec::new(),
            trace_sample: NonZeroU32::new(1024),
        }
    }
}

/// One figure of a Prometheus server; rules know it as `external.NAME`.
#[derive(Clone, Debug, PartialEq)]
pub struct PrometheusConfig {
    /// Letters, digits and `_`; distinct.
    pub name: String,
    /// Where the server is.
    pub url: PrometheusUrl,
    /// What it is asked, in its own language; an instant query whose answer has one value.
    pub query: String,
    /// How often. Default 10 s, 1 s to 1 h.
    pub interval: Duration,
    /// For one answer. Default 2 s, 10 ms to 1 min.
    pub timeout: Duration,
    /// How old a value may be before rules that need it no longer hold. Default 60 s, 1 s to 24 h.
    pub stale: Duration,
}

/// `http://host:port`, with what lies before `/api/v1` there, if anything does.
#[derive(Clone, Debug, PartialEq)]
pub struct PrometheusUrl {
    /// Where to connect.
    pub address: Address,
    /// Empty, or from a `/` on, without one at the end.
    pub prefix: String,
}

impl PrometheusUrl {
    const SCHEME: &'static str = "http://";

    /// Reads a URL; why not, if it is none that can be asked.
    pub fn parse(url: &str) -> Result<Self, String> {
        let Some(rest) = url.strip_prefix(Self::SCHEME) else {
            return Err("expected a URL that begins with `http://`".to_owned());
        };
        let (authority, prefix) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let authority = match authority.contains(':') {
            true => authority.to_owned(),
            false => format!("{authority}:80"),
        };
        let prefix = prefix.trim_end_matches('/');
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte);
        if !prefix.bytes().all(plain) {
            return Err("expected a path of letters, digits, `-`, `_`, `.` and `/`".to_owned());
        }
        let address = authority
            .parse()
            .map_err(|error| format!("expected `http://host:port`: {error}"))?;
        Ok(PrometheusUrl {
            address,
            prefix: prefix.to_owned(),
        })
    }
}

impl fmt::Display for PrometheusUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{}", Self::SCHEME, self.address, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_read_back() {
        for (url, shown) in [
            ("http://127.0.0.1:9090", "http://127.0.0.1:9090"),
            ("http://prom/", "http://prom:80"),
            ("http://[::1]:9090/a/b/", "http://[::1]:9090/a/b"),
        ] {
            assert_eq!(PrometheusUrl::parse(url).unwrap().to_string(), shown);
        }
        for url in [
            "https://a:1",
            "a:1",
            "http://",
            "http://u:p@a:1",
            "http://a:1/?x=1",
            "http://a:1/ b",
        ] {
            assert!(PrometheusUrl::parse(url).is_err(), "{url}");
        }
    }
}
