//! The checks of `discovery`.

use super::Check;
use crate::config::raw::{RawDiscovery, RawDns, RawSql};
use crate::config::{
    Config, Discovery, DnsConfig, DnsKind, Secret, SqlConfig, WEIGHTS, is_sql_name,
};
use lemonade_config::{Environment, RawDuration, ShortOr, Switch};
use std::time::Duration;

/// Where a database is, when nothing else says it.
const DATABASE_URL: &str = "DATABASE_URL";

impl Check<'_> {
    pub(super) fn discovery(&mut self, raw: RawDiscovery) -> Discovery {
        let sql = match raw.sql {
            None | Some(Switch::Off) => None,
            Some(Switch::On) => self.sql(RawSql::default()),
            Some(Switch::Set(ShortOr(sql))) => self.sql(sql),
        };
        let dns: Vec<DnsConfig> = raw
            .dns
            .0
            .into_iter()
            .filter_map(|dns| self.dns(&dns.path, dns.value.0))
            .collect();
        for (index, name) in dns.iter().enumerate() {
            if dns[..index].iter().any(|other| other.name == name.name) {
                self.fault("discovery.dns", format!("`{}` is named twice", name.name));
            }
        }
        Discovery { sql, dns }
    }

    /// Without a backend anywhere, a database in the environment is where they are: all that the `.env` of a checkout names.
    pub(super) fn database_of_environment(&mut self, config: &mut Config) {
        let nothing = config.backends.is_empty() && config.discovery.is_empty();
        if nothing && self.faults.is_empty() && database_url(self.environment).is_some() {
            config.discovery.sql = self.sql(RawSql::default());
        }
    }

    fn sql(&mut self, raw: RawSql) -> Option<SqlConfig> {
        let url = raw.url.or_else(|| database_url(self.environment));
        let Some(url) = url else {
            let fault = self
                .document
                .fault("discovery.sql", "a database without a URL");
            let help = "write `url: \"postgres://user@host/db\"`, or set DATABASE_URL";
            self.faults.push(fault.help(help));
            return None;
        };
        let known = ["postgres://", "postgresql://", "sqlite:"];
        if !known.iter().any(|scheme| url.starts_with(scheme)) {
            // The URL itself may hold a password.
            self.fault(
                "discovery.sql.url",
                "expected a URL that begins with `postgres://`, `postgresql://` or `sqlite:`",
            );
        }
        let mut sql = SqlConfig::new(Secret::new(url));
        sql.table = self.identifier("table", raw.table, sql.table, 2);
        sql.column = self.identifier("column", raw.column, sql.column, 1);
        let poll = raw.poll.map(RawDuration::or_millis);
        let bounds = Duration::from_millis(100)..=Duration::from_secs(24 * 3600);
        sql.poll = self.duration("discovery.sql.poll", poll, &bounds, sql.poll);
        Some(sql)
    }

    fn identifier(
        &mut self,
        key: &str,
        written: Option<String>,
        default: String,
        parts: usize,
    ) -> String {
        let Some(written) = written else {
            return default;
        };
        if !is_sql_name(&written, parts) {
            self.fault(
                &format!("discovery.sql.{key}"),
                format!("expected a name of letters, digits and `_`, found `{written}`"),
            );
        }
        written
    }

    fn dns(&mut self, path: &str, raw: RawDns) -> Option<DnsConfig> {
        let Some(name) = raw.name else {
            self.fault(path, "a lookup without a name");
            return None;
        };
        if !is_dns_name(&name) {
            self.fault(
                &format!("{path}.name"),
                format!("expected a DNS name, found `{name}`"),
            );
        }
        let kind = match raw.port {
            Some(0) => {
                self.fault(
                    &format!("{path}.port"),
                    "expected a port from 1 to 65535, found `0`",
                );
                return None;
            }
            Some(port) => DnsKind::Address { port },
            None => DnsKind::Srv,
        };
        let mut dns = DnsConfig::new(name.to_ascii_lowercase(), kind);
        dns.weight = self.within(&format!("{path}.weight"), raw.weight, WEIGHTS, 1);
        if let Some(server) = raw.server {
            dns.server = server.to_socket_addr();
            if dns.server.is_none() {
                self.fault(
                    &format!("{path}.server"),
                    "a name server is asked by its IP address: write `ip:port`",
                );
            }
        }
        let bounds = Duration::from_millis(100)..=Duration::from_secs(24 * 3600);
        let [min, max] = [raw.min_ttl, raw.max_ttl].map(|ttl| ttl.map(RawDuration::or_millis));
        dns.min_ttl = self.duration(&format!("{path}.min_ttl"), min, &bounds, dns.min_ttl);
        dns.max_ttl = self.duration(&format!("{path}.max_ttl"), max, &bounds, dns.max_ttl);
        if dns.min_ttl > dns.max_ttl {
            self.fault(
                &format!("{path}.min_ttl"),
                "expected no more than `max_ttl`",
            );
        }
        Some(dns)
    }
}

fn database_url(environment: &Environment) -> Option<String> {
    let url = environment.get(DATABASE_URL)?;
    (!url.is_empty()).then(|| url.to_owned())
}

fn is_dns_name(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    name.len() <= 253 && name.split('.').all(is_label)
}
