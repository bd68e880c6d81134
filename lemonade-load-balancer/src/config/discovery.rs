//! Where backends come from: the file, and whatever else the configuration names.

use super::secret::{Secret, without_password};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Who said that a backend exists.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// The configuration file.
    File,
    /// `LEMONADE_LB_BACKEND_ADDRESSES`.
    Environment,
    /// `--backend`.
    CommandLine,
    /// The database of `discovery.sql`.
    Sql,
    /// This name of `discovery.dns`.
    Dns(Arc<str>),
    /// An operator, through the admin API.
    Api,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::File => f.write_str("file"),
            Source::Environment => f.write_str("environment"),
            Source::CommandLine => f.write_str("command line"),
            Source::Sql => f.write_str("sql"),
            Source::Dns(name) => write!(f, "dns {name}"),
            Source::Api => f.write_str("api"),
        }
    }
}

impl serde::Serialize for Source {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Sources of backends besides the file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Discovery {
    /// A table of a database.
    pub sql: Option<SqlConfig>,
    /// Names that are looked up again and again.
    pub dns: Vec<DnsConfig>,
}

impl Discovery {
    /// The file is the only source.
    pub fn is_empty(&self) -> bool {
        *self == Discovery::default()
    }

    /// Every source that is named.
    pub fn sources(&self) -> impl Iterator<Item = Source> {
        let sql = self.sql.iter().map(|_| Source::Sql);
        sql.chain(self.dns.iter().map(DnsConfig::source))
    }
}

/// A table with a backend a row.
#[derive(Clone, Debug, PartialEq)]
pub struct SqlConfig {
    /// `postgres://…` or `sqlite:…`, with whatever password it needs.
    pub url: Secret,
    /// The table, with a schema or without. Default `workers`.
    pub table: String,
    /// The column that holds `host:port`. Default `worker_address`.
    pub column: String,
    /// How often the table is read when nothing tells of a change. Default 30 s.
    pub poll: Duration,
}

impl SqlConfig {
    /// The defaults, for this database.
    pub fn new(url: Secret) -> Self {
        SqlConfig {
            url,
            table: "workers".to_owned(),
            column: "worker_address".to_owned(),
            poll: Duration::from_secs(30),
        }
    }

    /// For people: the address without its password.
    pub fn shown(&self) -> String {
        without_password(self.url.expose())
    }
}

/// Whether a text can name a column, or with one dot a table: letters, digits and `_`, at most 63 bytes each, as PostgreSQL
/// cuts longer ones. Such a name is quoted as it is.
pub(crate) fn is_sql_name(text: &str, parts: usize) -> bool {
    let is_word = |part: &str| {
        part.len() <= 63
            && part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    text.split('.').count() <= parts && text.split('.').all(is_word)
}

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DnsKind {
    /// Its A and AAAA records, each a backend on this port.
    Address {
        /// From 1.
        port: u16,
    },
    /// Its SRV records, which bring their ports and weights.
    Srv,
}

/// A name whose records are backends.
#[derive(Clone, Debug, PartialEq)]
pub struct DnsConfig {
    /// The name.
    pub name: String,
    /// Which of its records.
    pub kind: DnsKind,
    /// Of each backend; an SRV record has its own. Default 1.
    pub weight: u32,
    /// Asked instead of the system's name servers.
    pub server: Option<SocketAddr>,
    /// A shorter time to live counts as this. Default 1 s.
    pub min_ttl: Duration,
    /// A longer one counts as this. Default 5 min.
    pub max_ttl: Duration,
}

impl DnsConfig {
    /// The defaults, for this name.
    pub fn new(name: String, kind: DnsKind) -> Self {
        DnsConfig {
            name,
            kind,
            weight: 1,
            server: None,
            min_ttl: Duration::from_secs(1),
            max_ttl: Duration::from_secs(300),
        }
    }

    /// What its backends are told by.
    pub fn source(&self) -> Source {
        Source::Dns(self.name.as_str().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_are_of_sql() {
        for name in ["workers", "_w1", "public.workers", "A.b"] {
            assert!(is_sql_name(name, 2), "{name}");
        }
        assert!(!is_sql_name("a.b", 1));
        let long = "a".repeat(64);
        for name in [
            "", "1w", "a b", "a.b.c", ".a", "a.", "a\"", "a;", "ä", "a-b", &long,
        ] {
            assert!(!is_sql_name(name, 2), "{name}");
        }
    }
}
