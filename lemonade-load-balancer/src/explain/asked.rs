//! A request that nobody sent: what is said of it, made into the head that the proxy would read.

use crate::affinity::Peer;
use crate::config::Config;
use crate::http1::fields::{Field, is_field_value, is_token};
use crate::http1::request::RequestHead;
use crate::http1::{HeadError, HeadLimits};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use thiserror::Error;
use utoipa::ToSchema;

/// Methods that are not taken for a slip (RFC 9110 9, RFC 5789, RFC 4918).
const METHODS: [&str; 17] = [
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "DELETE",
    "OPTIONS",
    "PATCH",
    "TRACE",
    "PROPFIND",
    "PROPPATCH",
    "MKCOL",
    "COPY",
    "MOVE",
    "LOCK",
    "UNLOCK",
    "REPORT",
    "SEARCH",
];

/// A request to explain.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    /// Default `GET`.
    #[serde(default)]
    method: Option<String>,
    /// `http://host/path?query`, or from the path on. Only path and query matter.
    url: String,
    /// Header fields by name.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// The address of the client, or of the proxy that it comes through. Default 127.0.0.1.
    #[serde(default)]
    client: Option<String>,
}

/// Why nobody could send such a request.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum Unclear {
    #[error("unknown method `{method}`{hint}; known are {}", METHODS.join(", "))]
    Method { method: String, hint: String },
    #[error(
        "`{url}`: the balancer is asked in plain HTTP, whatever is in front of it: say `http://…`, or the path alone"
    )]
    Https { url: String },
    #[error("`{url}`: expected `http://host/path`, or a path that begins with `/`")]
    Url { url: String },
    #[error("`{name}`: no name of a header field")]
    Name { name: String },
    #[error("header field `{name}`: its value holds a line break or another control character")]
    Value { name: String },
    #[error("`{client}`: expected the address of a client, such as 192.0.2.7")]
    Client { client: String },
    #[error("the balancer would refuse this request: {0}")]
    Refused(#[from] HeadError),
}

impl Asked {
    /// Hands the head to `of` as the proxy would read it, with who sent it.
    pub(super) fn read<T>(
        &self,
        config: &Config,
        of: impl FnOnce(&RequestHead<'_>, Peer) -> T,
    ) -> Result<T, Unclear> {
        let limits = HeadLimits::from(&config.limits);
        let (text, peer) = (self.text()?, Peer::new(self.client()?, &config.headers));
        if text.len() > limits.bytes {
            return Err(HeadError::TooLarge.into());
        }
        let mut scratch = Vec::<Field>::new();
        let head = RequestHead::parse(&text, &limits, &mut scratch)?;
        Ok(of(&head, peer))
    }

    fn client(&self) -> Result<IpAddr, Unclear> {
        let Some(client) = &self.client else {
            return Ok(Ipv4Addr::LOCALHOST.into());
        };
        let plain = client.parse().ok();
        let with_port = || Some(client.parse::<SocketAddr>().ok()?.ip());
        plain.or_else(with_port).ok_or_else(|| Unclear::Client {
            client: client.clone(),
        })
    }

    fn text(&self) -> Result<Vec<u8>, Unclear> {
        let (host, target) = self.target()?;
        let mut text = format!("{} {target} HTTP/1.1\r\n", self.method()?);
        if !self
            .headers
            .keys()
            .any(|it| it.eq_ignore_ascii_case("host"))
        {
            text += &format!("Host: {host}\r\n");
        }
        for (name, value) in &self.headers {
            let name = name.clone();
            if !is_token(name.as_bytes()) {
                return Err(Unclear::Name { name });
            }
            if !is_field_value(value.as_bytes()) {
                return Err(Unclear::Value { name });
            }
            text += &format!("{name}: {value}\r\n");
        }
        text += "\r\n";
        Ok(text.into_bytes())
    }

    fn method(&self) -> Result<&str, Unclear> {
        let method = self.method.as_deref().unwrap_or("GET");
        if METHODS.contains(&method) || method == "CONNECT" {
            return Ok(method);
        }
        let near = lemonade_config::suggest(&method.to_ascii_uppercase(), METHODS.iter().copied());
        Err(Unclear::Method {
            method: method.to_owned(),
            hint: near
                .map(|near| format!(" (did you mean `{near}`?)"))
                .unwrap_or_default(),
        })
    }

    /// Host and target.
    fn target(&self) -> Result<(&str, &str), Unclear> {
        let url = || self.url.clone();
        let whole = self.url.split('#').next().unwrap_or_default();
        if whole.bytes().any(|byte| !(0x21..0x7f).contains(&byte)) {
            return Err(Unclear::Url { url: url() });
        }
        if whole.starts_with('/') || whole == "*" {
            return Ok(("localhost", whole));
        }
        let (scheme, rest) = match whole.split_once("://") {
            Some(parts) => parts,
            None => return Err(Unclear::Url { url: url() }),
        };
        if scheme.eq_ignore_ascii_case("https") {
            return Err(Unclear::Https { url: url() });
        }
        let (host, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        match target {
            _ if !scheme.eq_ignore_ascii_case("http") || host.is_empty() => {
                Err(Unclear::Url { url: url() })
            }
            "" => Ok((host, "/")),
            target if target.starts_with('/') => Ok((host, target)),
            _ => Err(Unclear::Url { url: url() }),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn asked(url: &str, headers: &[(&str, &str)]) -> Asked {
        let headers = headers.iter();
        Asked {
            url: url.to_owned(),
            headers: headers
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            ..Asked::default()
        }
    }

    fn target(asked: &Asked) -> Result<String, Unclear> {
        asked.read(&Config::default(), |head, _| {
            String::from_utf8_lossy(head.target).into_owned()
        })
    }

    #[test]
    fn url_of_the_balancer_and_path_alone_mean_the_same() {
        for (url, expected) in [
            ("/a?b=c", "/a?b=c"),
            ("http://127.0.0.1:50501/a?b=c", "/a?b=c"),
            ("HTTP://h", "/"),
            ("http://[::1]:80/a#b", "/a"),
        ] {
            assert_eq!(target(&asked(url, &[])).unwrap(), expected, "{url}");
        }
    }

    #[test]
    fn what_nobody_could_send_is_refused_in_words() {
        let of = |url: &str, headers: &[(&str, &str)]| {
            target(&asked(url, headers)).unwrap_err().to_string()
        };
        for (url, why) in [
            ("https://h/a", "plain HTTP"),
            ("h/a", "expected `http://host/path`"),
            ("ftp://h/a", "expected `http://host/path`"),
            ("http:///a", "expected `http://host/path`"),
            ("/a b", "expected `http://host/path`"),
            ("/a\r\nX: y", "expected `http://host/path`"),
            ("http://h?x", "expected `http://host/path`"),
            ("*", "would refuse"),
            ("http://a b/", "expected"),
        ] {
            assert!(of(url, &[]).contains(why), "{url}: {}", of(url, &[]));
        }
        assert!(of("/", &[("a b", "c")]).contains("no name"));
        assert!(of("/", &[("a", "b\r\nc: d")]).contains("line break"));
        assert!(of("/", &[("Content-Length", "x")]).contains("would refuse"));
        let long = "x".repeat(1 << 20);
        assert!(of("/", &[("a", &long)]).contains("too large"));
        let method = |method: &str| {
            let asked = Asked {
                method: Some(method.to_owned()),
                ..asked("/", &[])
            };
            target(&asked).unwrap_err().to_string()
        };
        assert!(method("get").contains("did you mean `GET`"));
        assert!(method("GTE").contains("unknown method"));
        assert!(method("").contains("unknown method"));
        assert!(method("CONNECT").contains("would refuse"));
        let nobody = Asked {
            client: Some("nobody".to_owned()),
            ..asked("/", &[])
        };
        assert!(target(&nobody).unwrap_err().to_string().contains("address"));
    }
}
