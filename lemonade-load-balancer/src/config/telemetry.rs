//! Where metrics and traces are pushed to.

use super::Secret;
use lemonade_config::Address;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Metrics that are pushed, besides those that `/metrics` shows.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricsConfig {
    /// How often. Default 10 s, 1 s to 1 h.
    pub interval: Duration,
    /// `None` is `otlp: off`, the default.
    pub otlp: Option<OtlpConfig>,
    /// `None` is `statsd: off`, the default.
    pub statsd: Option<StatsdConfig>,
}

/// Traces of single requests.
#[derive(Clone, Debug, PartialEq)]
pub struct TracingConfig {
    /// Where they go.
    pub otlp: OtlpConfig,
    /// The share of the requests whose caller did not decide that is traced. Default 1 %. A caller that decided is followed.
    pub sample: f64,
}

/// A server that takes OTLP: over HTTP, as protobuf.
#[derive(Clone, Debug, PartialEq)]
pub struct OtlpConfig {
    /// Where it is.
    pub endpoint: OtlpUrl,
    /// Sent with every request, such as an API key. Names are tokens, values field values.
    pub headers: Vec<(String, Secret)>,
    /// For one answer. Default 5 s, 100 ms to 1 min.
    pub timeout: Duration,
}

/// `http://host:port` or `https://host:port`, with what lies before `/v1/traces` there, if anything does.
#[derive(Clone, Debug, PartialEq)]
pub struct OtlpUrl {
    secure: bool,
    address: Address,
    /// Empty, or from a `/` on, without one at the end.
    prefix: String,
}

impl OtlpUrl {
    /// Reads a URL; why not, if it is none that can be pushed to.
    pub fn parse(url: &str) -> Result<Self, String> {
        let (secure, rest) = match url.split_once("://") {
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            Some(("grpc" | "grpcs", _)) => {
                return Err(
                    "OTLP is sent over HTTP only, not over gRPC: write `http://host:4318`"
                        .to_owned(),
                );
            }
            _ => {
                return Err(
                    "expected a URL that begins with `http://` or `https://`, such as `http://127.0.0.1:4318`".to_owned(),
                );
            }
        };
        let (authority, prefix) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err("credentials belong into `headers`, not into the URL".to_owned());
        }
        let has_port = authority
            .rsplit_once(':')
            .is_some_and(|(_, port)| !port.ends_with(']'));
        let authority = match (has_port, secure) {
            (true, _) => authority.to_owned(),
            (false, true) => format!("{authority}:443"),
            (false, false) => format!("{authority}:80"),
        };
        let prefix = prefix.trim_end_matches('/');
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte);
        if !prefix.bytes().all(plain) {
            return Err("expected a path of letters, digits, `-`, `_`, `.` and `/`".to_owned());
        }
        if prefix.ends_with("/v1/traces") || prefix.ends_with("/v1/metrics") {
            return Err("`/v1/traces` and `/v1/metrics` are added to the URL".to_owned());
        }
        let address = authority
            .parse()
            .map_err(|error| format!("expected `http://host:port`: {error}"))?;
        Ok(OtlpUrl {
            secure,
            address,
            prefix: prefix.to_owned(),
        })
    }

    /// Over TLS.
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// The port at which a server takes gRPC, by the specification's default.
    pub(crate) fn has_the_port_of_grpc(&self) -> bool {
        self.address.port() == 4317
    }
}

impl fmt::Display for OtlpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.address, self.prefix)
    }
}

/// A server that takes StatsD.
#[derive(Clone, Debug, PartialEq)]
pub struct StatsdConfig {
    /// Where it is.
    pub address: StatsdAddress,
    /// Before every name. Default `lemonade.`; up to 100 letters, digits, `_`, `-` and `.`.
    pub prefix: String,
    /// Default `datadog`.
    pub flavour: Flavour,
    /// Sent with everything; `datadog` alone has tags. At most 50.
    pub tags: Vec<(String, String)>,
}

/// Where StatsD is listened for.
#[derive(Clone, Debug, PartialEq)]
pub enum StatsdAddress {
    /// UDP. A name is looked up whenever something is sent.
    Udp(Address),
    /// A datagram socket in the file system.
    Unix(PathBuf),
}

impl StatsdAddress {
    const SCHEME: &'static str = "unix:";

    /// Reads `host:port` or `unix:/path`; why not, if it is neither.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix(Self::SCHEME) {
            let path = path.strip_prefix("//").unwrap_or(path);
            // Linux, unix(7): `sun_path` has 108 bytes, with the zero at the end.
            return match path.starts_with('/') && path.len() < 108 {
                true => Ok(StatsdAddress::Unix(path.into())),
                false => {
                    Err("expected `unix:` and an absolute path of at most 107 bytes".to_owned())
                }
            };
        }
        let text = text.strip_prefix("udp://").unwrap_or(text);
        text.parse()
            .map(StatsdAddress::Udp)
            .map_err(|error| format!("expected `host:port` or `unix:/path`: {error}"))
    }
}

impl fmt::Display for StatsdAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StatsdAddress::Udp(address) => write!(f, "{address}"),
            StatsdAddress::Unix(path) => write!(f, "{}{}", Self::SCHEME, path.display()),
        }
    }
}

/// How a StatsD line is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flavour {
    /// DogStatsD: labels are tags.
    #[default]
    Datadog,
    /// Labels are parts of the name.
    Plain,
}

impl Flavour {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Flavour::Datadog => "datadog",
            Flavour::Plain => "plain",
        }
    }
}

/// Who is said to speak, as far as the environment tells: `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES`.
#[derive(Clone, Debug, PartialEq)]
pub struct ResourceConfig {
    /// `service.name`. Default `lemonade`.
    pub service: String,
    /// Others; distinct, without `service.name`.
    pub attributes: Vec<(String, String)>,
}

impl ResourceConfig {
    /// Reads the two variables as the specification of OpenTelemetry's SDKs says. With it come complaints: a list with a fault
    /// in it counts as none.
    pub(crate) fn read(service: Option<&str>, list: Option<&str>) -> (Self, Option<String>) {
        let (attributes, complaint) = match parse_attributes(list.unwrap_or_default()) {
            Ok(attributes) => (attributes, None),
            Err(problem) => {
                let complaint = format!("OTEL_RESOURCE_ATTRIBUTES has no effect: {problem}");
                (Vec::new(), Some(complaint))
            }
        };
        let is_service = |(name, _): &(String, String)| name == SERVICE;
        let listed = attributes.iter().find(|pair| is_service(pair));
        let service = service
            .filter(|service| !service.is_empty())
            .or(listed.map(|(_, service)| service.as_str()));
        let resource = ResourceConfig {
            service: service.unwrap_or("lemonade").to_owned(),
            attributes: attributes
                .iter()
                .filter(|pair| !is_service(pair))
                .cloned()
                .collect(),
        };
        (resource, complaint)
    }
}

const SERVICE: &str = "service.name";

/// `key=value,key=value`, percent-encoded as in W3C Baggage. Of two with one key the later holds.
fn parse_attributes(list: &str) -> Result<Vec<(String, String)>, String> {
    let mut attributes = Vec::<(String, String)>::new();
    for pair in list.split(',').map(str::trim) {
        if pair.is_empty() {
            continue;
        }
        let parts = pair.split_once('=').and_then(|(key, value)| {
            let key = decode(key.trim())?;
            Some((key, decode(value.trim())?))
        });
        let Some((key, value)) = parts.filter(|(key, _)| !key.is_empty()) else {
            return Err("expected `key=value,key=value`, percent-encoded".to_owned());
        };
        attributes.retain(|(other, _)| *other != key);
        attributes.push((key, value));
    }
    Ok(attributes)
}

/// Without `%xx`; `None` if that is no text then.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        let digits = std::str::from_utf8(digits).ok()?;
        let plain = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        bytes.push(u8::from_str_radix(digits, 16).ok().filter(|_| plain)?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

impl Default for MetricsConfig {
    fn default() -> Self {
        MetricsConfig {
            interval: Duration::from_secs(10),
            otlp: None,
            statsd: None,
        }
    }
}

impl Default for ResourceConfig {
    fn default() -> Self {
        Self::read(None, None).0
    }
}

impl OtlpConfig {
    /// That server, with nothing else said of it.
    pub fn at(endpoint: OtlpUrl) -> Self {
        OtlpConfig {
            endpoint,
            headers: Vec::new(),
            timeout: Duration::from_secs(5),
        }
    }
}

impl TracingConfig {
    /// Traces to that server, with nothing else said of them.
    pub fn to(otlp: OtlpConfig) -> Self {
        TracingConfig { otlp, sample: 0.01 }
    }
}

impl StatsdConfig {
    /// That server, with nothing else said of it.
    pub fn at(address: StatsdAddress) -> Self {
        StatsdConfig {
            address,
            prefix: "lemonade.".to_owned(),
            flavour: Flavour::default(),
            tags: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_read_back() {
        for (url, shown) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318"),
            ("https://otel.example/", "https://otel.example:443"),
            ("http://otel", "http://otel:80"),
            ("http://[::1]", "http://[::1]:80"),
            ("http://[::1]:4318/a/b/", "http://[::1]:4318/a/b"),
        ] {
            assert_eq!(OtlpUrl::parse(url).unwrap().to_string(), shown);
        }
        for (url, says) in [
            ("grpc://h:4317", "not over gRPC"),
            ("127.0.0.1:4318", "begins with `http://`"),
            ("http://u:p@h:1", "`headers`"),
            ("http://h:1/?x=1", "a path of letters"),
            ("http://h:1/v1/traces", "are added"),
            ("http://", "host:port"),
        ] {
            let problem = OtlpUrl::parse(url).unwrap_err();
            assert!(problem.contains(says), "{url}: {problem}");
        }
    }

    #[test]
    fn statsd_addresses_read_back() {
        for (text, shown) in [
            ("127.0.0.1:8125", "127.0.0.1:8125"),
            ("udp://agent:8125", "agent:8125"),
            ("unix:/var/run/dsd.socket", "unix:/var/run/dsd.socket"),
            ("unix:///var/run/dsd.socket", "unix:/var/run/dsd.socket"),
        ] {
            assert_eq!(StatsdAddress::parse(text).unwrap().to_string(), shown);
        }
        let long = format!("unix:/{}", "x".repeat(107));
        for text in ["agent", "unix:run/x", "unix:", &long] {
            assert!(StatsdAddress::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn resource_is_what_the_environment_says() {
        let (resource, complaint) = ResourceConfig::read(None, None);
        assert_eq!((resource.service.as_str(), complaint), ("lemonade", None));
        let list = "service.name=edge, team=a%2Cb ,team=c%C3%BC,";
        let (resource, complaint) = ResourceConfig::read(None, Some(list));
        assert_eq!((resource.service.as_str(), complaint), ("edge", None));
        assert_eq!(resource.attributes, [("team".to_owned(), "cü".to_owned())]);
        let (resource, _) = ResourceConfig::read(Some("shop"), Some(list));
        assert_eq!(resource.service, "shop");
    }

    #[test]
    fn malformed_list_counts_as_none_and_is_complained_of() {
        for list in ["a", "a=1,b", "=1", "a=%", "a=%G0", "a=%+1", "a=%ff"] {
            let (resource, complaint) = ResourceConfig::read(None, Some(list));
            assert_eq!(resource, ResourceConfig::default(), "{list}");
            assert!(complaint.is_some(), "{list}");
        }
    }
}
