//! Changes that somebody wants: a reload, an order by hand, what a source of backends names. Each is carried out whole, or not at
//! all.

use super::super::events::What;
use super::super::membership::Membership;
use super::super::{Kept, Order, OrderError, Refused};
use super::leaving::Leaving;
use super::{Task, members};
use crate::backend::{BackendId, State};
use crate::config::{BackendConfig, Config, Overlay, Plan, Side, Source};
use crate::listen::Prepared;
use crate::log_file::{Destination, Target};
use crate::snapshot::{Member, Members, Parts, Snapshot};
use crate::stats::names;
use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::time::Instant;

/// Entries of a source that are named when they are left out; a table of nonsense must not fill the log.
const MOST_LEFT_OUT: usize = 50;

impl Task {
    /// All of it, or nothing: what may fail is done before anything is changed.
    pub(super) fn reload(&mut self, config: Config, kept: Overlay) -> Result<Plan, Refused> {
        let next = self.own.membership.under(&config, kept);
        let (plan, holding) = self.consider(&config, &next);
        let prepared = self.prepare(&plan, &config);
        let (sockets, log) = match prepared {
            Ok(prepared) => prepared,
            Err(refused) => {
                self.refuse_reload(refused.to_string());
                return Err(refused);
            }
        };
        self.own.membership = next;
        // Even if nothing changes for the traffic, what the file says has changed: later changes are compared with that.
        if plan.is_empty() && config == *self.own.publisher.load().config {
            count_reload(true);
            return Ok(plan);
        }
        let destination = config.access_log.destination();
        let config = Arc::new(config);
        self.publish_holding(&config, holding, Some(&sockets));
        if let Some(listeners) = &mut self.own.listeners {
            listeners.commit(sockets);
        }
        if let Some(target) = log {
            self.own.log.turn_to(destination, target);
        }
        // Whoever reads that it was applied finds it so.
        count_reload(true);
        let generation = self.own.publisher.load().generation;
        tracing::info!(changes = %plan, generation, "configuration reloaded");
        self.own.events.record(What::Reloaded {
            generation,
            plan: Box::new(plan.clone()),
        });
        Ok(plan)
    }

    /// Gets hold of what the configuration needs and the process does not have.
    fn prepare(&self, plan: &Plan, config: &Config) -> Result<Resources, Refused> {
        if !plan.refused.is_empty() {
            return Err(Refused::Fixed(plan.refused.clone()));
        }
        let sockets = match &self.own.listeners {
            Some(listeners) => listeners.prepare(config)?,
            None => Prepared::default(),
        };
        // The lines of requests that began before still go where they were to go.
        let destination = config.access_log.destination();
        if config.access_log.is_off() && destination == Destination::StandardOutput {
            return Ok((sockets, None));
        }
        let prepared = self.own.log.prepare(&destination);
        let log = prepared.map_err(|cause| Refused::AccessLog {
            path: destination.to_string(),
            cause,
        })?;
        Ok((sockets, log))
    }

    pub(super) fn refuse_reload(&self, error: String) {
        count_reload(false);
        self.own.events.record(What::ReloadRefused { error });
    }

    /// What `next` would hold under `config`, and how that differs from what does.
    pub(super) fn consider(
        &self,
        config: &Config,
        next: &Membership,
    ) -> (Plan, Vec<BackendConfig>) {
        let present = self.own.publisher.load();
        let holding = next.holding(config, own_address(&present, config));
        let from = Side {
            config: &present.config,
            strategy: present.strategy_name,
            backends: &configs(&present.members),
        };
        let to = Side {
            config,
            strategy: next.strategy(config),
            backends: &holding,
        };
        let plan = Plan::between(from, to, |id| self.in_flight(id));
        (plan, holding)
    }

    fn in_flight(&self, id: &BackendId) -> u32 {
        let backend = self.own.registry.get(id);
        backend.map_or(0, |backend| backend.load.in_flight())
    }

    pub(super) fn by_hand(&mut self, order: &Order, kept: Kept) -> Result<Plan, OrderError> {
        let present = self.own.publisher.load();
        let keeps = !matches!(kept, Kept::Nowhere);
        let kept = match kept {
            Kept::InOverlay(overlay) => Some(overlay),
            Kept::Nowhere | Kept::InDatabase => None,
        };
        let mut next = self.own.membership.clone();
        next.obey(&present.config, present.listening.proxy, order, kept)?;
        if let Order::Strategy(preference) = order {
            let now = self.own.now();
            self.own.steering.by_hand(preference, now);
        }
        let plan = self.adopt(next, &present.config);
        tracing::info!(change = %order, kept = keeps, "changed by hand");
        self.own.events.record(What::ChangedByHand {
            change: order.to_string(),
            kept: keeps,
        });
        Ok(plan)
    }

    pub(super) fn found(
        &mut self,
        source: Source,
        mut backends: Vec<BackendConfig>,
        mut left_out: Vec<String>,
    ) {
        let present = self.own.publisher.load();
        let config = present.config.clone();
        let own = present.listening.proxy;
        for looping in backends.extract_if(.., |backend| backend.endpoint == own) {
            left_out.push(format!("`{}`: the balancer's own address", looping.id));
        }
        if left_out.len() > MOST_LEFT_OUT {
            let more = left_out.len() - MOST_LEFT_OUT;
            left_out.truncate(MOST_LEFT_OUT);
            left_out.push(format!("and {more} more"));
        }
        let mut next = self.own.membership.clone();
        let Some(was_away) = next.found(&config, &source, backends, left_out.clone()) else {
            return;
        };
        for entry in &left_out {
            tracing::warn!(%source, "left out: {entry}");
        }
        if was_away {
            self.own.events.record(What::SourceBack {
                source: source.clone(),
            });
        }
        let plan = self.adopt(next, &config);
        if !plan.is_empty() || !left_out.is_empty() {
            tracing::info!(%source, changes = %plan, "backends discovered");
            self.own.events.record(What::Discovered {
                source,
                plan: Box::new(plan),
                left_out,
            });
        }
    }

    pub(super) fn away(&mut self, source: Source, error: String) {
        if !self.own.membership.away(&source, &error) {
            return;
        }
        tracing::warn!(%source, error, "source of backends away: its last backends stay in use");
        let mut parts = self.own.publisher.load().parts();
        parts.sources = self.own.membership.statuses().into();
        self.publish(parts);
        self.own.events.record(What::SourceAway { source, error });
    }

    /// Publishes what `next` holds.
    fn adopt(&mut self, next: Membership, config: &Arc<Config>) -> Plan {
        let (plan, holding) = self.consider(config, &next);
        self.own.membership = next;
        self.publish_holding(config, holding, None);
        plan
    }

    /// Publishes what the membership holds, and has what it no longer holds drain.
    fn publish_holding(
        &mut self,
        config: &Arc<Config>,
        holding: Vec<BackendConfig>,
        sockets: Option<&Prepared>,
    ) {
        let present = self.own.publisher.load();
        let membership = &self.own.membership;
        let listening = match sockets {
            Some(prepared) => prepared.listening(present.listening),
            None => present.listening,
        };
        let now = self.own.now();
        let guard = &mut self.own.guard;
        let members = members(&self.own.registry, guard, config, holding, now);
        guard.retain(&members);
        guard.limit(&members, config, now);
        let staying: HashSet<&BackendId> = members.iter().map(|member| &member.live.id).collect();
        let until = Instant::now() + config.runtime.drain_timeout;
        for gone in present.members.iter() {
            if !staying.contains(&gone.live.id) {
                gone.live.state.set(State::Draining);
                self.leaving.push(Leaving {
                    backend: gone.live.clone(),
                    until,
                    cut: None,
                });
            }
        }
        self.leaving
            .retain(|leaving| !staying.contains(&leaving.backend.id));
        let strategy_name = membership.strategy(config);
        let parts = Parts {
            steered: self.own.steering.adopt(strategy_name, config, now),
            strategy_name,
            sources: membership.statuses().into(),
            lapsed: self.lapsed(),
            trials: Box::default(),
            carried: present.carried(),
            config: config.clone(),
            listening,
            members: Members::new(members),
        };
        self.publish(parts);
    }
}

/// Sockets that are bound and a log that is open, neither in use yet.
type Resources = (Prepared, Option<Target>);

/// Where the balancer will listen under `config`: its port may be left to the kernel, which has chosen one.
fn own_address(present: &Snapshot, config: &Config) -> SocketAddr {
    match config.listen == present.config.listen {
        true => present.listening.proxy,
        false => config.listen,
    }
}

fn configs(members: &[Member]) -> Vec<BackendConfig> {
    members.iter().map(|member| member.config.clone()).collect()
}

fn count_reload(applied: bool) {
    let result = if applied { "applied" } else { "refused" };
    metrics::counter!(names::RELOADS, "result" => result).increment(1);
    metrics::gauge!(names::LAST_RELOAD).set(if applied { 1.0 } else { 0.0 });
}
