//! `host:port`, parsed once and valid ever after.
//!
//! Raw types hold them, so that a bad address is a fault where it stands; the proxy, discovery and the commands pass
//! them on. Promise: two ways to write one address are equal; printing gives what parses again.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use thiserror::Error;

use crate::words::shorten;

/// Where a backend is: a name, an IPv4 or a bracketed IPv6 address, and a port from 1.
///
/// `http://` before and a single `/` after are accepted and dropped; names are lower-cased.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// An IPv6 address without its brackets, in its shortest form.
    host: String,
    port: u16,
}

impl Address {
    /// The name or IP address; an IPv6 one without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Never 0.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// None for a name, which has to be resolved.
    pub fn to_socket_addr(&self) -> Option<SocketAddr> {
        let ip: IpAddr = self.host.parse().ok()?;
        Some(SocketAddr::new(ip, self.port))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// Where to listen: as [`Address`], but port 0 asks the kernel for a free one, and there is no `http://`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListenAddress(Address);

impl ListenAddress {
    /// The name or IP address; an IPv6 one without brackets.
    pub fn host(&self) -> &str {
        self.0.host()
    }

    /// 0 for any free one.
    pub fn port(&self) -> u16 {
        self.0.port
    }

    /// None for a name, which has to be resolved.
    pub fn to_socket_addr(&self) -> Option<SocketAddr> {
        self.0.to_socket_addr()
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<SocketAddr> for ListenAddress {
    fn from(address: SocketAddr) -> ListenAddress {
        ListenAddress(Address {
            host: address.ip().to_string(),
            port: address.port(),
        })
    }
}

/// Why a text is no address. Each says what would be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AddressError {
    /// No colon, or nothing after it.
    #[error("expected host:port, found `{0}`")]
    MissingPort(String),
    /// Not a number, or out of range.
    #[error("expected a port from {from} to 65535, found `{port}`")]
    Port {
        /// 0 or 1.
        from: u16,
        /// What was written.
        port: String,
    },
    /// Neither a name nor an IP address.
    #[error("expected a host name or an IP address, found `{0}`")]
    Host(String),
    /// Its colons cannot be told from the port's.
    #[error("an IPv6 address needs brackets: `[::1]:8080`, found `{0}`")]
    Brackets(String),
    /// `https://`.
    #[error("TLS to backends is not supported yet: write `http://` or host:port")]
    Tls,
    /// Another scheme, or one where none belongs.
    #[error("expected host:port without `{0}://`")]
    Scheme(String),
    /// Something after the port.
    #[error("expected host:port without the path `{0}`")]
    Path(String),
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Address, AddressError> {
        let rest = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
            Some((scheme, _)) if scheme.eq_ignore_ascii_case("https") => {
                return Err(AddressError::Tls);
            }
            _ => return host_port(text, 1),
        };
        host_port(rest.strip_suffix('/').unwrap_or(rest), 1)
    }
}

impl FromStr for ListenAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<ListenAddress, AddressError> {
        host_port(text, 0).map(ListenAddress)
    }
}

fn host_port(text: &str, lowest: u16) -> Result<Address, AddressError> {
    if let Some((scheme, _)) = text.split_once("://") {
        return Err(AddressError::Scheme(shorten(scheme)));
    }
    if let Some(slash) = text.find('/') {
        return Err(AddressError::Path(shorten(&text[slash..])));
    }
    let missing = || AddressError::MissingPort(shorten(text));
    let (host, port) = text.rsplit_once(':').ok_or_else(missing)?;
    if text.parse::<Ipv6Addr>().is_ok() || host.parse::<Ipv6Addr>().is_ok() {
        return Err(AddressError::Brackets(shorten(text)));
    }
    if port.is_empty() || text.ends_with(']') {
        return Err(missing());
    }
    Ok(Address {
        host: valid_host(host)?,
        port: valid_port(port, lowest)?,
    })
}

fn valid_port(port: &str, lowest: u16) -> Result<u16, AddressError> {
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    let number = port
        .parse()
        .ok()
        .filter(|&number| digits && number >= lowest);
    number.ok_or_else(|| AddressError::Port {
        from: lowest,
        port: shorten(port),
    })
}

fn valid_host(host: &str) -> Result<String, AddressError> {
    let refused = || AddressError::Host(shorten(host));
    if let Some(inside) = host.strip_prefix('[') {
        let ip: Option<Ipv6Addr> = inside.strip_suffix(']').and_then(|ip| ip.parse().ok());
        return ip.map(|ip| ip.to_string()).ok_or_else(refused);
    }
    // RFC 3696, section 2: no top-level name is all digits, so what ends in them means an IPv4 address.
    let last = host.rsplit('.').next().unwrap_or_default();
    if last.bytes().all(|byte| byte.is_ascii_digit()) {
        let ip: Option<Ipv4Addr> = host.parse().ok();
        return ip.map(|ip| ip.to_string()).ok_or_else(refused);
    }
    if host.len() <= 253 && host.split('.').all(is_label) {
        return Ok(host.to_ascii_lowercase());
    }
    Err(refused())
}

/// RFC 1123, section 2.1, and `_`, which container networks use in names.
fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text("an address `host:port`", Address::from_str))
    }
}

impl<'de> Deserialize<'de> for ListenAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text("an address `host:port`", ListenAddress::from_str))
    }
}

/// A string that a function parses.
struct Text<T>(&'static str, fn(&str) -> Result<T, AddressError>);

impl<T> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        (self.1)(text).map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_parse_to_one_form() {
        for (text, form) in [
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("http://127.0.0.1:80/", "127.0.0.1:80"),
            ("HTTP://Localhost:8080", "localhost:8080"),
            ("[0:0::1]:443", "[::1]:443"),
            ("worker_1.net-a:65535", "worker_1.net-a:65535"),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), form);
            assert_eq!(form.parse(), Ok(address));
        }
    }

    #[test]
    fn literal_addresses_need_no_resolver() {
        let socket = |text: &str| text.parse::<Address>().unwrap().to_socket_addr();
        assert_eq!(socket("[::1]:80"), Some("[::1]:80".parse().unwrap()));
        assert_eq!(socket("10.0.0.1:80"), Some("10.0.0.1:80".parse().unwrap()));
        assert_eq!(socket("localhost:80"), None);
    }

    #[test]
    fn faults_say_what_is_expected() {
        for (text, message) in [
            ("localhost", "expected host:port, found `localhost`"),
            ("", "expected host:port, found ``"),
            ("localhost:", "expected host:port, found `localhost:`"),
            ("[::1]", "expected host:port, found `[::1]`"),
            ("a:0", "expected a port from 1 to 65535, found `0`"),
            ("a:65536", "expected a port from 1 to 65535, found `65536`"),
            ("a:+1", "expected a port from 1 to 65535, found `+1`"),
            (":80", "expected a host name or an IP address, found ``"),
            (
                "300.0.0.1:80",
                "expected a host name or an IP address, found `300.0.0.1`",
            ),
            (
                "a b:80",
                "expected a host name or an IP address, found `a b`",
            ),
            ("-a:80", "expected a host name or an IP address, found `-a`"),
            (
                "::1:80",
                "an IPv6 address needs brackets: `[::1]:8080`, found `::1:80`",
            ),
            (
                "https://a:80",
                "TLS to backends is not supported yet: write `http://` or host:port",
            ),
            ("ftp://a:80", "expected host:port without `ftp://`"),
            ("http://a:80/b", "expected host:port without the path `/b`"),
        ] {
            let error = text.parse::<Address>().unwrap_err();
            assert_eq!(error.to_string(), message, "{text}");
        }
    }

    #[test]
    fn listening_allows_port_zero_but_no_scheme() {
        let address: ListenAddress = "127.0.0.1:0".parse().unwrap();
        assert_eq!(address.port(), 0);
        assert_eq!(
            "http://a:80".parse::<ListenAddress>(),
            Err(AddressError::Scheme("http".to_owned()))
        );
    }
}
