//! What the sources of backends add up to. Pure: the task asks it what holds, and publishes that.

use crate::backend::BackendId;
use crate::config::{Added, BackendConfig, Config, Discovery, DnsKind, Instead, Overlay, Source};
use crate::snapshot::{Snapshot, SourceStatus};
use crate::strategy;
use lemonade_config::{Address, format_duration, suggest};
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;
use thiserror::Error;

/// Which strategy somebody wants, by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preference {
    /// `None`: the one that the configuration says.
    pub name: Option<strategy::Name>,
    /// For how long; then the configuration has its say again. `None`: until it says something else.
    pub ttl: Option<Duration>,
}

impl From<strategy::Name> for Preference {
    fn from(name: strategy::Name) -> Self {
        Preference {
            name: Some(name),
            ttl: None,
        }
    }
}

impl fmt::Display for Preference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.name, self.ttl) {
            (None, _) => f.write_str("as configured"),
            (Some(name), None) => name.fmt(f),
            (Some(name), Some(ttl)) => write!(f, "{name} for {}", format_duration(ttl)),
        }
    }
}

/// A change that an operator orders while the balancer runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Pick by this strategy.
    Strategy(Preference),
    /// A backend that no source names.
    Add {
        /// Its address.
        address: Address,
        /// The address, resolved.
        endpoint: SocketAddr,
        /// Its name; its address if there is none.
        name: Option<String>,
        /// From 1 to 65535.
        weight: u32,
    },
    /// This backend is no longer used.
    Remove(BackendId),
    /// This backend gets no new request.
    Drain(BackendId),
    /// This backend gets requests again.
    Enable(BackendId),
    /// This backend has another weight.
    Weight(BackendId, u32),
}

impl Order {
    /// The backend that it is about, if it is one that is there.
    pub fn backend(&self) -> Option<&BackendId> {
        match self {
            Order::Strategy(_) | Order::Add { .. } => None,
            Order::Remove(id) | Order::Drain(id) | Order::Enable(id) | Order::Weight(id, _) => {
                Some(id)
            }
        }
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Order::Strategy(preference) => write!(f, "strategy: {preference}"),
            Order::Add { address, .. } => write!(f, "added {address}"),
            Order::Remove(id) => write!(f, "removed {id}"),
            Order::Drain(id) => write!(f, "drained {id}"),
            Order::Enable(id) => write!(f, "enabled {id}"),
            Order::Weight(id, weight) => write!(f, "weight of {id}: {weight}"),
        }
    }
}

/// Why an order cannot be carried out.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum OrderError {
    /// No source names such a backend.
    #[error("no backend is called `{which}`{}", .meant.as_ref().map(|meant| format!(" (did you mean `{meant}`?)")).unwrap_or_default())]
    UnknownBackend {
        /// What was asked for.
        which: String,
        /// What it is near to.
        meant: Option<String>,
    },
    /// It is there already.
    #[error("`{0}` is a backend already")]
    Exists(BackendId),
    /// Another one is called so.
    #[error("another backend is called `{0}`")]
    NameTaken(String),
    /// It would proxy to itself.
    #[error("`{0}` is the balancer's own address: requests would loop")]
    OwnAddress(Address),
}

/// The backend that a name or an address stands for.
pub fn find(snapshot: &Snapshot, which: &str) -> Result<BackendId, OrderError> {
    let named = |member: &&crate::snapshot::Member| {
        member.config.name == which || member.live.id.to_string() == which
    };
    if let Some(member) = snapshot.members.iter().find(named) {
        return Ok(member.live.id.clone());
    }
    let names = snapshot
        .members
        .iter()
        .map(|member| member.config.name.as_str());
    Err(OrderError::UnknownBackend {
        which: which.to_owned(),
        meant: suggest(which, names).map(str::to_owned),
    })
}

/// What is known of the sources, and what was changed by hand since.
#[derive(Clone, Debug, Default)]
pub(super) struct Membership {
    /// What each source besides the file names; a source that has not spoken yet is not here.
    found: BTreeMap<Source, Vec<BackendConfig>>,
    /// How each of them is doing.
    statuses: BTreeMap<Source, SourceStatus>,
    /// Changes by hand that hold now.
    live: Overlay,
    /// Those of them that are kept in a file.
    kept: Overlay,
}

impl Membership {
    /// What a process hands to the one that replaces it: the changes by hand, and what the sources named last.
    pub(super) fn hand_over(&self) -> (Overlay, Vec<BackendConfig>) {
        let found = self.found.values().flatten().cloned().collect();
        (self.live.clone(), found)
    }

    /// Goes on where another process stopped, until the sources have been asked again.
    pub(super) fn take_over(&mut self, config: &Config, live: Overlay, found: Vec<BackendConfig>) {
        self.live = live;
        for backend in found {
            if self.statuses.contains_key(&backend.source) {
                self.found
                    .entry(backend.source.clone())
                    .or_default()
                    .push(backend);
            }
        }
        self.adopt_sources(&config.discovery);
        self.prune(config);
    }

    /// The first membership of a process.
    pub(super) fn new(config: &Config, kept: Overlay) -> Self {
        let mut membership = Membership {
            live: kept.clone(),
            kept,
            ..Membership::default()
        };
        membership.adopt_sources(&config.discovery);
        membership
    }

    /// The same under another configuration and file of kept changes. Who edits that file by hand has the last word.
    pub(super) fn under(&self, config: &Config, kept: Overlay) -> Self {
        let mut next = self.clone();
        if kept != self.kept {
            next.live = kept.clone();
            next.kept = kept;
        }
        next.adopt_sources(&config.discovery);
        next.prune(config);
        next
    }

    /// Forgets sources that are no longer configured, and waits for those that are new.
    fn adopt_sources(&mut self, discovery: &Discovery) {
        let wanted: BTreeMap<Source, String> = places(discovery).collect();
        let same = |source: &Source, status: &SourceStatus| wanted.get(source) == Some(&status.at);
        self.statuses.retain(|source, status| same(source, status));
        self.found.retain(|source, _| wanted.contains_key(source));
        for (source, at) in wanted {
            let backends = self.found.get(&source).map_or(0, Vec::len);
            let waiting = || SourceStatus {
                source: source.clone(),
                at,
                backends,
                away: Some("not asked yet".to_owned()),
                left_out: Vec::new(),
            };
            self.statuses.entry(source.clone()).or_insert_with(waiting);
        }
    }

    /// A source names these backends now. `false` if it is not configured (any more). Returns whether it was away before.
    pub(super) fn found(
        &mut self,
        config: &Config,
        source: &Source,
        backends: Vec<BackendConfig>,
        left_out: Vec<String>,
    ) -> Option<bool> {
        let status = self.statuses.get_mut(source)?;
        let was_away = status.away.take().is_some();
        status.backends = backends.len();
        status.left_out = left_out;
        self.found.insert(source.clone(), backends);
        self.prune(config);
        Some(was_away)
    }

    /// A source cannot be asked. Returns whether that is news.
    pub(super) fn away(&mut self, source: &Source, error: &str) -> bool {
        let Some(status) = self.statuses.get_mut(source) else {
            return false;
        };
        status.away.replace(error.to_owned()).as_deref() != Some(error)
    }

    /// The kept changes by hand.
    pub(super) fn kept(&self) -> &Overlay {
        &self.kept
    }

    /// How each source besides the file is doing.
    pub(super) fn statuses(&self) -> Vec<SourceStatus> {
        self.statuses.values().cloned().collect()
    }

    /// What the sources name, before any change by hand.
    fn said(&self, config: &Config) -> Vec<BackendConfig> {
        let found = self.found.values().flatten();
        config.backends.iter().chain(found).cloned().collect()
    }

    /// The backends that hold. `own`: where the balancer listens, which is none.
    pub(super) fn holding(&self, config: &Config, own: SocketAddr) -> Vec<BackendConfig> {
        self.live.backends(self.said(config), own)
    }

    /// The strategy that holds.
    pub(super) fn strategy(&self, config: &Config) -> strategy::Name {
        self.live.strategy(config.strategy)
    }

    fn prune(&mut self, config: &Config) {
        let said = self.said(config);
        self.live.prune(&said, config, self.is_complete(config));
    }

    /// Every source has spoken, so what none of them names is nowhere.
    fn is_complete(&self, config: &Config) -> bool {
        let spoken = |source: &Source| self.found.contains_key(source);
        config.discovery.all_in(spoken)
    }

    /// The kept changes as they would be after `order`, for whoever is to write them down first.
    pub(super) fn draft(
        &self,
        config: &Config,
        own: SocketAddr,
        order: &Order,
    ) -> Result<Overlay, OrderError> {
        let said = self.said(config);
        self.check(config, own, order)?;
        let mut kept = self.kept.clone();
        kept.prune(&said, config, self.is_complete(config));
        // What is kept about a backend that was added by hand makes no sense without it.
        if let Some(id) = order.backend()
            && let Some(added) = self.live.of(id).and_then(|amended| amended.added.clone())
        {
            kept.amend(id).added.get_or_insert(added);
        }
        amend(&mut kept, order, config, &said);
        Ok(kept)
    }

    /// Carries out `order`; `kept`: it was written down as [`Self::draft`] said.
    pub(super) fn obey(
        &mut self,
        config: &Config,
        own: SocketAddr,
        order: &Order,
        kept: Option<Overlay>,
    ) -> Result<(), OrderError> {
        self.check(config, own, order)?;
        let said = self.said(config);
        amend(&mut self.live, order, config, &said);
        if let Some(kept) = kept {
            self.kept = kept;
        }
        Ok(())
    }

    fn check(&self, config: &Config, own: SocketAddr, order: &Order) -> Result<(), OrderError> {
        let holding = self.holding(config, own);
        let known = |id: &BackendId| match holding.iter().any(|backend| backend.id == *id) {
            true => Ok(()),
            false => Err(OrderError::UnknownBackend {
                which: id.to_string(),
                meant: None,
            }),
        };
        match order {
            Order::Strategy(_) => Ok(()),
            Order::Remove(id) | Order::Drain(id) | Order::Enable(id) | Order::Weight(id, _) => {
                known(id)
            }
            Order::Add {
                address,
                endpoint,
                name,
                ..
            } => {
                let id = BackendId::new(address.clone());
                if holding.iter().any(|backend| backend.id == id) {
                    return Err(OrderError::Exists(id));
                }
                if *endpoint == own {
                    return Err(OrderError::OwnAddress(address.clone()));
                }
                match name {
                    Some(name) if holding.iter().any(|backend| backend.name == *name) => {
                        Err(OrderError::NameTaken(name.clone()))
                    }
                    _ => Ok(()),
                }
            }
        }
    }
}

/// Each configured source with where it is.
fn places(discovery: &Discovery) -> impl Iterator<Item = (Source, String)> {
    let sql = discovery.sql.iter().map(|sql| (Source::Sql, sql.shown()));
    let dns = discovery.dns.iter().map(|dns| {
        let at = match (dns.kind, dns.server) {
            (DnsKind::Address { port }, None) => format!("{}:{port}", dns.name),
            (DnsKind::Address { port }, Some(server)) => {
                format!("{}:{port} at {server}", dns.name)
            }
            (DnsKind::Srv, None) => dns.name.clone(),
            (DnsKind::Srv, Some(server)) => format!("{} at {server}", dns.name),
        };
        (dns.source(), at)
    });
    sql.chain(dns)
}

/// Writes an order into an overlay.
fn amend(overlay: &mut Overlay, order: &Order, config: &Config, said: &[BackendConfig]) {
    match order {
        Order::Strategy(Preference { name, .. }) => {
            let other = name.filter(|name| *name != config.strategy);
            overlay.strategy = other.map(|name| Instead {
                to: name,
                instead_of: config.strategy,
            });
        }
        Order::Add {
            address,
            endpoint,
            name,
            weight,
        } => {
            let id = BackendId::new(address.clone());
            let amendment = overlay.amend(&id);
            *amendment = Default::default();
            // One that a source names was removed by hand before: it is enough to take that back.
            match said.iter().find(|backend| backend.id == id) {
                None => {
                    amendment.added = Some(Added {
                        name: name.clone().unwrap_or_else(|| address.to_string()),
                        weight: *weight,
                        endpoint: *endpoint,
                    });
                }
                Some(named) if named.weight != *weight => {
                    amendment.weight = Some(Instead {
                        to: *weight,
                        instead_of: named.weight,
                    });
                }
                Some(_) => {}
            }
        }
        Order::Remove(id) => {
            let named = said.iter().any(|backend| backend.id == *id);
            let amendment = overlay.amend(id);
            *amendment = Default::default();
            amendment.removed = named;
        }
        Order::Drain(id) => overlay.amend(id).drained = true,
        Order::Enable(id) => overlay.amend(id).drained = false,
        Order::Weight(id, weight) => {
            let named = said.iter().find(|backend| backend.id == *id);
            let amendment = overlay.amend(id);
            match (&mut amendment.added, named) {
                (Some(added), None) => added.weight = *weight,
                (_, Some(named)) => {
                    amendment.weight = Some(Instead {
                        to: *weight,
                        instead_of: named.weight,
                    });
                }
                (None, None) => {}
            }
        }
    }
    overlay.forget_empty();
}
