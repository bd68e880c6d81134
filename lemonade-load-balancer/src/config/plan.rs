//! What a change of the configuration would do, told before it is done: who comes, who goes and with how many requests in
//! flight, what moves, and what a running process cannot change.

use super::{BackendConfig, Config, Source, Tier};
use crate::backend::BackendId;
use serde::Serialize;
use std::collections::HashMap;
use std::fmt;
use utoipa::ToSchema;

/// A backend that comes or goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: String,
    /// Who names it, or did.
    #[schema(value_type = String)]
    pub source: Source,
    /// Requests in flight on it: they finish, within `runtime.drain_timeout`.
    pub in_flight: u32,
}

/// A backend that stays and is changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Change {
    /// Its new name.
    pub name: String,
    /// Its address.
    pub address: String,
    /// What changes: `weight 1 to 5`.
    pub changes: Vec<String>,
}

/// A value that becomes another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Moved {
    /// The value now.
    pub from: String,
    /// The value then.
    pub to: String,
}

impl Moved {
    fn between(from: impl fmt::Display, to: impl fmt::Display) -> Option<Self> {
        let (from, to) = (from.to_string(), to.to_string());
        (from != to).then_some(Moved { from, to })
    }
}

/// The difference between what runs and what is to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Plan {
    /// Backends that come.
    pub added: Vec<Member>,
    /// Backends that go: no new request, those in flight finish.
    pub removed: Vec<Member>,
    /// Backends that stay, with another weight, name, endpoint, source, or drained or not.
    pub changed: Vec<Change>,
    /// How many backends are not touched at all.
    pub untouched: usize,
    /// Another strategy.
    pub strategy: Option<Moved>,
    /// Another address for clients. Connections that are open stay open.
    pub listen: Option<Moved>,
    /// Another address for the admin API.
    pub admin: Option<Moved>,
    /// Other parts that change, by their keys.
    pub settings: Vec<&'static str>,
    /// Parts that a running process cannot change: the plan cannot be carried out.
    pub refused: Vec<String>,
}

/// What a plan is made between: a configuration with the backends that all sources add up to.
#[derive(Clone, Copy)]
pub(crate) struct Side<'s> {
    pub(crate) config: &'s Config,
    pub(crate) strategy: crate::strategy::Name,
    pub(crate) backends: &'s [BackendConfig],
}

impl Plan {
    /// Compares. `in_flight`: requests on a backend right now. Cost: linear in the number of backends.
    pub(crate) fn between(
        from: Side<'_>,
        to: Side<'_>,
        in_flight: impl Fn(&BackendId) -> u32,
    ) -> Self {
        let mut plan = Plan {
            strategy: Moved::between(from.strategy, to.strategy),
            listen: Moved::between(from.config.listen, to.config.listen),
            admin: Moved::between(admin(from.config), admin(to.config)),
            settings: settings(from.config, to.config),
            refused: refused(from.config, to.config),
            ..Plan::default()
        };
        let member = |backend: &BackendConfig| Member {
            name: backend.name.clone(),
            address: backend.id.to_string(),
            source: backend.source.clone(),
            in_flight: in_flight(&backend.id),
        };
        let mut present: HashMap<&BackendId, &BackendConfig> = from
            .backends
            .iter()
            .map(|backend| (&backend.id, backend))
            .collect();
        for backend in to.backends {
            match present.remove(&backend.id) {
                None => plan.added.push(member(backend)),
                Some(same) if same == backend => plan.untouched += 1,
                Some(other) => plan.changed.push(Change {
                    name: backend.name.clone(),
                    address: backend.id.to_string(),
                    changes: changes(other, backend),
                }),
            }
        }
        let removed = from
            .backends
            .iter()
            .filter(|backend| present.contains_key(&backend.id));
        plan.removed = removed.map(member).collect();
        plan
    }

    /// Nothing changes.
    pub fn is_empty(&self) -> bool {
        let nothing = Plan {
            untouched: self.untouched,
            ..Plan::default()
        };
        *self == nothing
    }
}

fn admin(config: &Config) -> String {
    match &config.admin {
        Some(admin) => admin.listen.to_string(),
        None => "off".to_owned(),
    }
}

fn changes(from: &BackendConfig, to: &BackendConfig) -> Vec<String> {
    let mut changes = Vec::new();
    let mut note = |what: &str, moved: Option<Moved>| {
        if let Some(Moved { from, to }) = moved {
            changes.push(format!("{what} {from} to {to}"));
        }
    };
    note("weight", Moved::between(from.weight, to.weight));
    note("name", Moved::between(&from.name, &to.name));
    note("endpoint", Moved::between(from.endpoint, to.endpoint));
    note("source", Moved::between(&from.source, &to.source));
    let tier = |backend: &BackendConfig| match backend.tier {
        Tier::Primary => "primary",
        Tier::Backup => "backup",
    };
    note("tier", Moved::between(tier(from), tier(to)));
    let limit = |backend: &BackendConfig| match backend.max_in_flight {
        Some(limit) => limit.to_string(),
        None => "default".to_owned(),
    };
    note("max_in_flight", Moved::between(limit(from), limit(to)));
    match (from.drained, to.drained) {
        (false, true) => changes.push("drained".to_owned()),
        (true, false) => changes.push("enabled".to_owned()),
        _ => {}
    }
    changes
}

fn settings(from: &Config, to: &Config) -> Vec<&'static str> {
    let token = |config: &Config| config.admin.as_ref().and_then(|admin| admin.token.clone());
    let parts = [
        ("affinity", from.affinity == to.affinity),
        ("sticky", from.sticky == to.sticky),
        ("discovery", from.discovery == to.discovery),
        ("health", from.health == to.health),
        ("timeouts", from.timeouts == to.timeouts),
        ("limits", from.limits == to.limits),
        ("outlier", from.outlier == to.outlier),
        ("engine", from.engine == to.engine),
        ("slow_start", from.slow_start == to.slow_start),
        (
            "panic_threshold",
            from.panic_threshold == to.panic_threshold,
        ),
        ("retries", from.retries == to.retries),
        ("hedge", from.hedge == to.hedge),
        ("headers", from.headers == to.headers),
        ("admin.token", token(from) == token(to)),
        ("access_log", from.access_log == to.access_log),
        ("metrics", from.metrics == to.metrics),
        ("tracing", from.tracing == to.tracing),
        ("runtime", from.runtime == to.runtime),
    ];
    parts
        .into_iter()
        .filter(|(_, same)| !same)
        .map(|(part, _)| part)
        .collect()
}

/// Threads with their own listeners and pools cannot come and go under traffic; everything else can.
fn refused(from: &Config, to: &Config) -> Vec<String> {
    let shards = from.runtime.shards != to.runtime.shards;
    let sentence = || {
        format!(
            "`runtime.shards` cannot be changed from {} to {} while running: restart, or `lemonade upgrade`",
            from.runtime.shards, to.runtime.shards
        )
    };
    shards.then(sentence).into_iter().collect()
}

impl fmt::Display for Plan {
    /// One line, for a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        let members = [("added", &self.added), ("removed", &self.removed)];
        for (what, members) in members {
            list(&mut parts, what, members.iter().map(|member| &member.name));
        }
        list(
            &mut parts,
            "changed",
            self.changed.iter().map(|change| &change.name),
        );
        let moves = [
            ("strategy", &self.strategy),
            ("listen", &self.listen),
            ("admin", &self.admin),
        ];
        for (what, moved) in moves {
            if let Some(Moved { from, to }) = moved {
                parts.push(format!("{what} {from} to {to}"));
            }
        }
        if !self.settings.is_empty() {
            parts.push(format!("new {}", self.settings.join(", ")));
        }
        f.write_str(if parts.is_empty() { "no change" } else { "" })?;
        f.write_str(&parts.join("; "))
    }
}

/// Names a few, and counts the others: a thousand names are no log line.
fn list<'n>(parts: &mut Vec<String>, what: &str, names: impl ExactSizeIterator<Item = &'n String>) {
    const SHOWN: usize = 10;
    let more = names.len().saturating_sub(SHOWN);
    let shown: Vec<&str> = names.take(SHOWN).map(String::as_str).collect();
    if shown.is_empty() {
        return;
    }
    let rest = match more {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    parts.push(format!("{what} {}{rest}", shown.join(", ")));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strategy::Name;

    fn with(ports: &[u16]) -> Config {
        let backends = ports.iter().map(|port| BackendConfig {
            id: BackendId::new(format!("127.0.0.1:{port}").parse().unwrap()),
            endpoint: ([127, 0, 0, 1], *port).into(),
            name: format!("w{port}"),
            weight: 1,
            tier: Tier::default(),
            max_in_flight: None,
            source: Source::File,
            drained: false,
        });
        Config {
            backends: backends.collect(),
            ..Config::default()
        }
    }

    fn plan(from: &Config, to: &Config) -> Plan {
        fn side(config: &Config) -> Side<'_> {
            Side {
                config,
                strategy: config.strategy,
                backends: &config.backends,
            }
        }
        Plan::between(side(from), side(to), |_| 7)
    }

    #[test]
    fn difference_is_told_by_name() {
        let from = with(&[1, 2]);
        let mut to = with(&[2, 3]);
        to.backends[0].weight = 5;
        to.strategy = Name::Random;
        to.limits.max_connections = 1;
        let plan_there = plan(&from, &to);
        assert_eq!(
            plan_there.to_string(),
            "added w3; removed w1; changed w2; strategy round_robin to random; new limits"
        );
        assert_eq!(plan_there.changed[0].changes, ["weight 1 to 5"]);
        assert_eq!(plan_there.removed[0].in_flight, 7);
        let same = plan(&from, &from);
        assert!(same.is_empty());
        assert_eq!(
            (same.untouched, same.to_string().as_str()),
            (2, "no change")
        );
    }

    #[test]
    fn a_thousand_names_are_counted() {
        let many: Vec<u16> = (1..=1000).collect();
        let text = plan(&with(&[]), &with(&many)).to_string();
        assert!(text.ends_with("w10 and 990 more"), "{text}");
    }

    #[test]
    fn what_cannot_change_live_is_refused_with_a_sentence() {
        let mut to = with(&[1]);
        to.runtime.shards = with(&[1]).runtime.shards + 1;
        let refused = plan(&with(&[1]), &to).refused;
        assert!(
            refused[0].contains("`runtime.shards` cannot be changed"),
            "{refused:?}"
        );
    }
}
