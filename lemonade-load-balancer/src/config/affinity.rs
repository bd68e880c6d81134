//! Which requests belong together, and how a client is kept at one backend.

use super::Secret;
use crate::strategy::Options;
use std::time::Duration;

/// What the strategies that pick by a key (`consistent_hash`, `maglev`) go by.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Affinity {
    /// What a request is recognised by.
    pub key: Key,
    /// How far above its fair share of the requests in flight a backend may go.
    pub options: Options,
}

/// What a request is recognised by. One that has no such header or cookie is recognised by its client's address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Key {
    /// The client's address: that of the connection, or the one that a trusted proxy names. The default.
    #[default]
    Client,
    /// The target without its query.
    Path,
    /// The first field of this name, in any case.
    Header(String),
    /// The first cookie of this name.
    Cookie(String),
}

/// A cookie that keeps a client at the backend that answered it first.
#[derive(Clone, Debug, PartialEq)]
pub struct Sticky {
    /// Its name. Default `lemonade`; up to 64 bytes.
    pub cookie: String,
    /// How long it holds, renewed when half of it has passed; zero, the default: until the browser is closed. 1 s to 400 days.
    pub ttl: Duration,
    /// Whether it is sent over HTTPS alone. Default `auto`.
    pub secure: Secure,
    /// Whether it is sent with requests that other sites cause. Default `lax`.
    pub same_site: SameSite,
    /// Scripts do not see it. Default on.
    pub http_only: bool,
    /// It is sent with requests below this path. Default `/`.
    pub path: String,
    /// What it is sealed with; `None`: a key that is made at the start, and kept over reloads and upgrades.
    pub secret: Option<Secret>,
}

/// Whether a cookie is sent over HTTPS alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Secure {
    /// If its client came by HTTPS, as far as a trusted proxy says so.
    #[default]
    Auto,
    /// In any case.
    Always,
    /// It is not.
    Never,
}

/// Which requests that other sites cause carry a cookie (RFC 6265bis).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SameSite {
    /// None.
    Strict,
    /// Those that follow a link.
    #[default]
    Lax,
    /// All.
    None,
}

impl SameSite {
    /// As in a configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            SameSite::Strict => "strict",
            SameSite::Lax => "lax",
            SameSite::None => "none",
        }
    }
}

impl Default for Sticky {
    fn default() -> Self {
        Sticky {
            cookie: "lemonade".to_owned(),
            ttl: Duration::ZERO,
            secure: Secure::default(),
            same_site: SameSite::default(),
            http_only: true,
            path: "/".to_owned(),
            secret: None,
        }
    }
}
