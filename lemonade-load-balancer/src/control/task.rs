//! The control task: every command in turn, each either published whole or not at all.

use super::engine::Steering;
use super::events::{Events, What};
use super::handover::{FoundBackend, Handover, Learned};
use super::membership::{Membership, Preference};
use super::picks::Sampled;
use super::{Command, Estate, Kept, Met, Order, OrderError, QUEUE, Refused, Registry};
use crate::backend::{Backend, BackendId, Move, State};
use crate::config::{BackendConfig, Config, MaxInFlight, Overlay, Plan, Side, Source};
use crate::guard::Guard;
use crate::listen::{Listeners, Prepared};
use crate::log_file::{LogFile, Target};
use crate::outlier::Sign;
use crate::snapshot::{Member, Members, Panic, Parts, Publisher, Snapshot};
use crate::stats::names;
use crate::strategy::Cursor;
use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Entries of a source that are named when they are left out; a table of nonsense must not fill the log.
const MOST_LEFT_OUT: usize = 50;
/// How often the drained are let go, and what requests met is looked at.
const HOUSEKEEPING: Duration = Duration::from_millis(250);

/// Everything that only the task changes.
#[derive(Debug)]
pub(super) struct Owned {
    pub(super) registry: Registry,
    pub(super) guard: Guard,
    pub(super) membership: Membership,
    pub(super) publisher: Publisher,
    pub(super) steering: Steering,
    pub(super) sampled: Sampled,
    pub(super) events: Events,
    /// `None` once they are let go.
    pub(super) listeners: Option<Listeners>,
    pub(super) log: LogFile,
    pub(super) cursor: Arc<Cursor>,
    pub(super) epoch: std::time::Instant,
    pub(super) commands: mpsc::Receiver<Command>,
}

impl Owned {
    /// Since the process began.
    fn now(&self) -> Duration {
        Instant::now()
            .into_std()
            .saturating_duration_since(self.epoch)
    }
}

/// A removed backend whose last requests are still in flight.
#[derive(Debug)]
struct Leaving {
    backend: Arc<Backend>,
    /// When what is left is cut off.
    until: Instant,
    /// Requests that were in flight then.
    cut: Option<u32>,
}

/// Owns all that changes. [`Task::run`] is its life.
#[derive(Debug)]
pub(crate) struct Task {
    own: Owned,
    leaving: Vec<Leaving>,
    /// Something is known of a backend that is not published yet.
    learned: bool,
}

/// The backends with their live state, new ones in the state they begin in.
pub(super) fn members(
    registry: &Registry,
    guard: &mut Guard,
    config: &Config,
    holding: Vec<BackendConfig>,
    now: Duration,
) -> Arc<[Member]> {
    let mut member = |backend: BackendConfig| {
        let live = registry
            .entry(backend.id.clone())
            .or_insert_with(|| Backend::new(backend.id.clone(), config.runtime.shards))
            .clone();
        guard.adopt(&live, &backend, config, now);
        Member {
            config: backend,
            live,
        }
    };
    holding.into_iter().map(&mut member).collect()
}

impl Task {
    pub(super) fn new(own: Owned) -> Self {
        Task {
            own,
            leaving: Vec::new(),
            learned: false,
        }
    }

    /// Runs until nobody is left to command it.
    pub(crate) async fn run(mut self) {
        let mut housekeeping = tokio::time::interval(HOUSEKEEPING);
        loop {
            tokio::select! {
                command = self.own.commands.recv() => match command {
                    Some(command) => self.obey_all(command),
                    None => return,
                },
                now = housekeeping.tick() => self.keep_house(now),
            }
        }
    }

    /// Carries out a command and those that wait behind it. What is learned of backends is published once: when a thousand fail in
    /// one instant, that is one change of the pool and not a thousand.
    fn obey_all(&mut self, first: Command) {
        let mut next = Some(first);
        let mut left = QUEUE;
        while let Some(command) = next {
            if !matches!(command, Command::Verdict { .. } | Command::Met { .. }) {
                self.publish_learned();
            }
            self.obey(command);
            left -= 1;
            next = (left > 0)
                .then(|| self.own.commands.try_recv().ok())
                .flatten();
        }
        self.publish_learned();
    }

    fn publish_learned(&mut self) {
        if std::mem::take(&mut self.learned) {
            let parts = self.own.publisher.load().parts();
            self.publish(parts);
        }
    }

    fn obey(&mut self, command: Command) {
        // Where an answer goes: if nobody waits any more, the change holds all the same.
        match command {
            Command::Verdict { backend, verdict } => {
                self.happened(&backend, Move::Probed(verdict), verdict.as_str());
            }
            Command::Met { backend, what } => self.met(&backend, what),
            Command::Reload { config, kept, done } => {
                let _ = done.send(self.reload(*config, kept));
            }
            Command::ReloadFailed { error } => self.refuse_reload(error),
            Command::Plan { config, done } => {
                let kept = Overlay::clone(self.own.membership.kept());
                let next = self.own.membership.under(&config, kept);
                let _ = done.send(self.consider(&config, &next).0);
            }
            Command::Draft { order, done } => {
                let present = self.own.publisher.load();
                let own = present.listening.proxy;
                let draft = self.own.membership.draft(&present.config, own, &order);
                let _ = done.send(draft);
            }
            Command::Obey { order, kept, done } => {
                let _ = done.send(self.by_hand(&order, kept));
            }
            Command::Found {
                source,
                backends,
                left_out,
            } => self.found(source, backends, left_out),
            Command::Away { source, error } => self.away(source, error),
            Command::External { name, value } => {
                let now = self.own.now();
                self.own.steering.told(name, value, now);
            }
            Command::ReopenLog { done } => {
                let _ = done.send(self.own.log.reopen());
            }
            Command::HandOver { done } => {
                let _ = done.send(self.hand_over());
            }
            Command::StopListening { taken_over, done } => {
                if let Some(listeners) = self.own.listeners.take() {
                    listeners.close(taken_over);
                }
                let _ = done.send(());
            }
        }
    }

    /// Takes account of what happened to a backend, to be published if that matters.
    fn happened(&mut self, id: &BackendId, what: Move, cause: &str) {
        let Some(backend) = self.own.registry.get(id).map(|entry| entry.clone()) else {
            return;
        };
        let present = self.own.publisher.load();
        let was_distrusted = backend.is_distrusted();
        let now = self.own.now();
        let moved = self.own.guard.apply(id, what, &present.config, now);
        match moved {
            Some((from, to)) => self.announce(&backend, from, to, cause),
            None if matches!(what, Move::TrialFailed { .. }) => {
                let cause = format!("a trial failed: {cause}");
                backend.cause.set(backend.state.get(), cause, now);
            }
            None => {}
        }
        self.learned |= moved.is_some() || was_distrusted != backend.is_distrusted();
    }

    fn announce(&mut self, backend: &Backend, from: State, to: State, cause: &str) {
        let name = self.own.publisher.load().name_of(backend);
        match to {
            State::Unhealthy | State::Ejected | State::Degraded => {
                tracing::warn!(backend = %name, %from, %to, cause, "state changed");
            }
            _ => tracing::info!(backend = %name, %from, %to, cause, "state changed"),
        }
        backend.cause.set(to, cause, self.own.now());
        self.own.events.record(What::StateChanged {
            backend: name,
            from,
            to,
            cause: cause.to_owned(),
        });
    }

    fn met(&mut self, backend: &Backend, met: Met) {
        let id = &backend.id;
        match met {
            Met::NoConnection(error) => self.happened(id, Move::Unreachable, &error),
            Met::Failures(count) => self.suspect(id, Sign::InARow(count)),
            Met::TrialPassed => self.happened(id, Move::TrialPassed, "trials succeeded"),
            Met::TrialFailed { unreachable, error } => {
                tracing::debug!(backend = %id, error, "trial failed");
                self.happened(id, Move::TrialFailed { unreachable }, &error);
            }
            Met::Answer => self.happened(id, Move::Answered, "it answered a request"),
        }
    }

    /// Ejects a backend at which requests fail, unless too many are ejected already.
    fn suspect(&mut self, id: &BackendId, sign: Sign) {
        let config = self.own.publisher.load().config.clone();
        let Some(rules) = &config.outlier else {
            return;
        };
        if self.own.guard.may_eject(id, &sign, rules) {
            self.happened(id, Move::Failing, &sign.to_string());
        }
    }

    /// All of it, or nothing: what may fail is done before anything is changed.
    fn reload(&mut self, config: Config, kept: Overlay) -> Result<Plan, Refused> {
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
        count_reload(true);
        self.own.membership = next;
        // Even if nothing changes for the traffic, what the file says has changed: later changes are compared with that.
        if plan.is_empty() && config == *self.own.publisher.load().config {
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
        let destination = config.access_log.destination();
        let prepared = self.own.log.prepare(&destination);
        let log = prepared.map_err(|cause| Refused::AccessLog {
            path: destination.to_string(),
            cause,
        })?;
        Ok((sockets, log))
    }

    fn refuse_reload(&self, error: String) {
        count_reload(false);
        self.own.events.record(What::ReloadRefused { error });
    }

    /// What `next` would hold under `config`, and how that differs from what does.
    fn consider(&self, config: &Config, next: &Membership) -> (Plan, Vec<BackendConfig>) {
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

    fn by_hand(&mut self, order: &Order, kept: Kept) -> Result<Plan, OrderError> {
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

    fn found(
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

    fn away(&mut self, source: Source, error: String) {
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

    fn publish(&mut self, mut parts: Parts) {
        let present = self.own.publisher.load();
        let now = self.own.now();
        parts.trials = self.own.guard.trials(parts.members.list(), now);
        let snapshot = Snapshot::new(present.generation + 1, parts, &self.own.cursor);
        let (panic, was) = (snapshot.panic, present.panic);
        let (usable, all) = (snapshot.usable(), snapshot.members.len());
        self.own.publisher.publish(snapshot);
        if panic != was {
            self.announce_panic(panic, usable, all);
        }
    }

    fn announce_panic(&mut self, panic: Option<Panic>, usable: usize, all: usize) {
        match panic {
            Some(Panic::FewUsable) => {
                tracing::error!(
                    usable,
                    all,
                    "panic: too few backends are usable, so those that only fail health checks are used too"
                );
            }
            Some(Panic::NoneTrusted) => {
                tracing::error!(
                    all,
                    "panic: requests fail at every backend, so all are tried"
                );
            }
            None => tracing::info!(usable, all, "panic over"),
        }
        let reason = panic.map(Panic::as_str);
        self.own.events.record(What::Panic {
            reason,
            usable,
            all,
        });
    }

    fn keep_house(&mut self, now: Instant) {
        self.watch_over();
        self.see_off(now);
        self.steer();
        let since_epoch = self.own.now();
        self.own.sampled.collect(since_epoch);
        self.own.publisher.free_past();
    }

    /// Looks at what requests met, and at what time brings.
    fn watch_over(&mut self) {
        let now = self.own.now();
        let present = self.own.publisher.load();
        let config = &present.config;
        if let Some(rules) = &config.outlier {
            for (backend, sign) in self.own.guard.look(rules, now) {
                self.suspect(&backend.id, sign);
            }
        }
        if config.limits.max_in_flight == MaxInFlight::Adaptive {
            self.own.guard.limit(&present.members, config, now);
        }
        self.own.guard.compare(now);
        let (moved, shown) = self.own.guard.pass_time(config, now);
        for moved in &moved {
            self.announce(&moved.backend, moved.from, moved.to, &moved.cause);
        }
        self.learned |= shown || !moved.is_empty();
        self.publish_learned();
    }

    /// Has the engine look, and what was set by hand end in its time.
    fn steer(&mut self) {
        let now = self.own.now();
        if self
            .own
            .steering
            .left(now)
            .is_some_and(|left| left.is_zero())
        {
            let (name, ttl) = (None, None);
            let order = Order::Strategy(Preference { name, ttl });
            // No such order can be refused.
            let _ = self.by_hand(&order, Kept::Nowhere);
        }
        let present = self.own.publisher.load();
        let steered = self.own.steering.tick(&present, now, &self.own.events);
        if let Some(steered) = steered {
            let mut parts = present.parts();
            parts.steered = steered;
            self.publish(parts);
        }
    }

    /// Lets go of removed backends: of each when its last request has ended, or has had its time.
    fn see_off(&mut self, now: Instant) {
        let gone: Vec<Leaving> = self
            .leaving
            .extract_if(.., |leaving| leaving.backend.load.in_flight() == 0)
            .collect();
        for leaving in &gone {
            let (id, cut) = (&leaving.backend.id, leaving.cut.unwrap_or(0));
            self.own.registry.remove(id);
            tracing::info!(backend = %id, cut, "drained");
            self.own.events.record(What::Drained {
                backend: id.to_string(),
                cut,
            });
        }
        let mut lapsed = gone.iter().any(|leaving| leaving.cut.is_some());
        for leaving in &mut self.leaving {
            if leaving.until <= now && leaving.cut.is_none() {
                leaving.cut = Some(leaving.backend.load.in_flight());
                lapsed = true;
            }
        }
        if lapsed {
            let mut parts = self.own.publisher.load().parts();
            parts.lapsed = self.lapsed();
            self.publish(parts);
        }
    }

    /// Removed backends whose requests have had their time.
    fn lapsed(&self) -> Arc<[Arc<Backend>]> {
        let lapsed = self.leaving.iter().filter(|leaving| leaving.cut.is_some());
        lapsed.map(|leaving| leaving.backend.clone()).collect()
    }

    fn hand_over(&self) -> io::Result<Estate> {
        let present = self.own.publisher.load();
        let now = self.own.now();
        let (overlay, found) = self.own.membership.hand_over();
        let members = present.members.iter();
        let handover = Handover {
            overlay,
            strategy_for: self.own.steering.left(now).map(|left| left.as_secs_f64()),
            cursor: self.own.cursor.place(),
            learned: members
                .map(|member| Learned::of(&member.live, now))
                .collect(),
            found: found.iter().map(FoundBackend::of).collect(),
            sticky_key: present.carried().key,
        };
        let listeners = self.own.listeners.as_ref();
        let sockets = listeners.map(Listeners::share).transpose()?;
        Ok(Estate {
            handover,
            sockets: sockets.unwrap_or_default(),
            held: listeners.is_some_and(Listeners::are_held),
        })
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

#[cfg(test)]
mod tests {
    use super::super::{Events, Handle, Setup, new};
    use super::*;
    use crate::backend::Verdict;
    use crate::config::{AdminConfig, Discovery, DnsConfig, DnsKind, Tier};
    use crate::listen::{self, Feed, Inherited};
    use crate::log_file::Destination;
    use crate::snapshot::Published;
    use crate::strategy;

    fn config(ports: &[u16]) -> Config {
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
            listen: ([127, 0, 0, 1], 0).into(),
            admin: None,
            backends: backends.collect(),
            health: None,
            ..Config::default()
        }
    }

    /// A running task, and the other end of what it feeds.
    struct Running {
        handle: Handle,
        published: Published,
        events: Events,
        feeds: Vec<Feed>,
    }

    fn start(config: Config) -> Running {
        let (listeners, feeds, _) = listen::open(&config, Inherited::default()).unwrap();
        let super::super::Started {
            task,
            handle,
            published,
            events,
            ..
        } = new(Setup {
            config,
            kept: Overlay::default(),
            handover: None,
            listeners,
            log: LogFile::open(Destination::StandardOutput).unwrap().0,
            stats: Arc::default(),
            epoch: std::time::Instant::now(),
        });
        tokio::spawn(task.run());
        Running {
            handle,
            published,
            events,
            feeds,
        }
    }

    fn started(ports: &[u16]) -> (Handle, Published) {
        let running = start(config(ports));
        (running.handle, running.published)
    }

    async fn reload(handle: &Handle, config: Config) -> Result<Plan, Refused> {
        handle.reload(config, Overlay::default()).await.unwrap()
    }

    fn pool(published: &Published) -> Vec<String> {
        let snapshot = published.load();
        snapshot
            .pool
            .backends()
            .iter()
            .map(|backend| snapshot.name_of(backend))
            .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn refusing_backend_is_out_at_once_and_tried_again() {
        let (handle, mut published) = started(&[1, 2]);
        let backend = published.load().pool.backends()[0].clone();
        handle.met(&backend, Met::NoConnection("refused".to_owned()));
        assert!(published.changed().await);
        assert_eq!(pool(&published), ["w2"]);
        assert_eq!(backend.state.get(), State::Ejected);
        assert!(published.changed().await, "it is on trial after a while");
        assert_eq!(published.load().trials.len(), 1);
        for _ in 0..3 {
            assert!(backend.trial.take(false).is_some(), "one at a time");
            assert!(backend.trial.take(false).is_none());
            handle.met(&backend, Met::TrialPassed);
            handle.plan(config(&[1, 2])).await.unwrap();
        }
        assert_eq!(pool(&published), ["w1", "w2"]);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_in_a_row_eject_half_of_the_pool_at_most() {
        let (handle, published) = started(&[1, 2, 3, 4]);
        let members = published.load().members.clone();
        for member in members.iter() {
            handle.met(&member.live, Met::Failures(5));
        }
        handle.plan(config(&[1])).await.unwrap();
        assert_eq!(pool(&published), ["w3", "w4"]);
        let mut lenient = config(&[1, 2, 3, 4]);
        lenient.outlier = None;
        reload(&handle, lenient).await.unwrap();
        handle.met(&members[2].live, Met::Failures(5));
        handle.plan(config(&[1])).await.unwrap();
        assert_eq!(pool(&published), ["w3", "w4"], "switched off");
    }

    #[tokio::test(start_paused = true)]
    async fn backend_that_joins_warm_ones_rises_to_its_full_share() {
        let (handle, published) = started(&[1, 2]);
        tokio::time::sleep(Duration::from_secs(11)).await;
        reload(&handle, config(&[1, 2, 3])).await.unwrap();
        let joined = published.load().members[2].live.clone();
        assert_eq!(joined.share(), 10);
        assert_eq!(published.load().pool.weights(), [100, 100, 10]);
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!((40..=60).contains(&joined.share()), "{}", joined.share());
        tokio::time::sleep(Duration::from_secs(6)).await;
        assert_eq!(published.load().pool.weights(), [1, 1, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn panic_is_announced_when_it_begins_and_when_it_ends() {
        let Running {
            handle,
            published,
            events,
            ..
        } = start(config(&[1, 2, 3]));
        let members = published.load().members.clone();
        let down = |unreachable| Verdict::Down { unreachable };
        for member in &members[..2] {
            handle.verdict(member.live.id.clone(), down(false)).await;
        }
        handle.plan(config(&[1])).await.unwrap();
        assert_eq!(published.load().panic, Some(Panic::FewUsable));
        assert_eq!(pool(&published), ["w1", "w2", "w3"]);
        for member in &members[..2] {
            handle.verdict(member.live.id.clone(), down(true)).await;
        }
        handle.plan(config(&[1])).await.unwrap();
        assert_eq!(
            pool(&published),
            ["w3"],
            "no use in asking who is not there"
        );
        let (recorded, _) = events.follow(0);
        let panics = recorded.iter().filter_map(|event| match event.what {
            What::Panic { reason, usable, .. } => Some((reason, usable)),
            _ => None,
        });
        let panics: Vec<_> = panics.collect();
        assert_eq!(panics, [(Some("few_usable"), 1), (None, 1)]);
    }

    #[tokio::test(start_paused = true)]
    async fn reload_keeps_live_state_and_drains_what_goes() {
        let (handle, published) = started(&[1, 2]);
        let before = published.load();
        let in_flight = before.members[0].live.begin();
        reload(&handle, config(&[2, 3])).await.unwrap();
        assert_eq!(pool(&published), ["w2", "w3"]);
        assert!(Arc::ptr_eq(
            &before.members[1].live,
            &published.load().members[0].live
        ));
        assert_eq!(before.members[0].live.state.get(), State::Draining);

        // One that comes back before it has drained is the same backend, with its request still counted.
        reload(&handle, config(&[1, 2])).await.unwrap();
        assert_eq!(published.load().members[0].live.load.in_flight(), 1);
        drop(in_flight);
    }

    #[tokio::test(start_paused = true)]
    async fn strategy_set_by_hand_outlives_an_unrelated_reload() {
        let (handle, published) = started(&[1, 2]);
        let random = Order::Strategy(strategy::Name::Random.into());
        handle.obey(random, Kept::Nowhere).await.unwrap().unwrap();
        reload(&handle, config(&[1])).await.unwrap();
        assert_eq!(published.load().strategy_name, strategy::Name::Random);
        let named = Config {
            strategy: strategy::Name::Weighted,
            ..config(&[1])
        };
        reload(&handle, named).await.unwrap();
        assert_eq!(published.load().strategy_name, strategy::Name::Weighted);
    }

    #[tokio::test(start_paused = true)]
    async fn refused_reload_changes_nothing() {
        let Running {
            handle,
            published,
            events,
            ..
        } = start(config(&[1]));
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let generation = published.load().generation;
        let mut shards = config(&[2]);
        shards.runtime.shards += 1;
        let occupied = Config {
            listen: taken.local_addr().unwrap(),
            ..config(&[2])
        };
        let mut nowhere = config(&[2]);
        nowhere.access_log.file = Some("/nowhere/access.log".into());
        for (refused, why) in [
            (shards, "`runtime.shards` cannot be changed"),
            (occupied, "in use by another process"),
            (nowhere, "cannot open the access log /nowhere/access.log"),
        ] {
            let error = reload(&handle, refused).await.unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        assert_eq!(published.load().generation, generation);
        assert_eq!(events.follow(0).0.len(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn listen_address_moves_and_every_shard_gets_its_socket() {
        let Running {
            handle,
            published,
            mut feeds,
            ..
        } = start(config(&[1]));
        let before = published.load().listening;
        for feed in &mut feeds {
            assert_eq!(feed.try_recv().unwrap().sockets.len(), 1);
        }
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let moved = Config {
            listen: address,
            admin: Some(AdminConfig {
                listen: ([127, 0, 0, 1], 0).into(),
                token: None,
            }),
            ..config(&[1])
        };
        let plan = reload(&handle, moved).await.unwrap();
        assert_eq!(plan.listen.unwrap().to, address.to_string());
        let after = published.load().listening;
        assert_eq!((before.admin, after.proxy), (None, address));
        assert!(after.admin.is_some());
        for feed in &mut feeds {
            let socket = &feed.try_recv().unwrap().sockets[0];
            assert_eq!(socket.local_addr().unwrap(), address);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn changes_by_hand_hold_until_the_file_says_something_else() {
        let (handle, published) = started(&[1, 2]);
        let first = published.load().members[0].live.id.clone();
        let obey = async |order: Order| handle.obey(order, Kept::Nowhere).await.unwrap();
        let weight = |published: &Published| published.load().members[0].config.weight;
        obey(Order::Weight(first.clone(), 7)).await.unwrap();
        assert_eq!(weight(&published), 7);
        reload(&handle, config(&[1, 2, 3])).await.unwrap();
        assert_eq!(weight(&published), 7, "the file did not touch it");
        let mut heavier = config(&[1, 2]);
        heavier.backends[0].weight = 3;
        reload(&handle, heavier).await.unwrap();
        assert_eq!(weight(&published), 3, "the file has the last word");

        obey(Order::Remove(first.clone())).await.unwrap();
        assert_eq!(pool(&published), ["w2"]);
        reload(&handle, config(&[1, 2, 4])).await.unwrap();
        assert_eq!(pool(&published), ["w2", "w4"], "the file still names it");
        reload(&handle, config(&[2])).await.unwrap();
        reload(&handle, config(&[1, 2])).await.unwrap();
        assert_eq!(pool(&published), ["w1", "w2"], "named anew");
        assert!(matches!(
            obey(Order::Drain(BackendId::new("127.0.0.1:9".parse().unwrap()))).await,
            Err(OrderError::UnknownBackend { .. })
        ));
    }

    #[tokio::test(start_paused = true)]
    async fn file_that_says_what_was_done_by_hand_is_believed_from_then_on() {
        let (handle, published) = started(&[1, 2]);
        let first = published.load().members[0].live.id.clone();
        let obey = async |order: Order| handle.obey(order, Kept::Nowhere).await.unwrap().unwrap();
        obey(Order::Remove(first)).await;
        obey(Order::Strategy(strategy::Name::Random.into())).await;
        let caught_up = Config {
            strategy: strategy::Name::Random,
            ..config(&[2])
        };
        assert!(reload(&handle, caught_up).await.unwrap().is_empty());
        let second = published.load().members[0].live.id.clone();
        obey(Order::Weight(second, 3)).await;
        assert_eq!(
            pool(&published),
            ["w2"],
            "what the file no longer names stays gone"
        );
        assert_eq!(published.load().strategy_name, strategy::Name::Random);
    }

    #[tokio::test(start_paused = true)]
    async fn drained_backend_is_there_and_not_picked() {
        let (handle, published) = started(&[1, 2]);
        let live = published.load().members[0].live.clone();
        let obey = async |order: Order| handle.obey(order, Kept::Nowhere).await.unwrap().unwrap();
        let plan = obey(Order::Drain(live.id.clone())).await;
        assert_eq!(plan.changed[0].changes, ["drained"]);
        assert_eq!(pool(&published), ["w2"]);
        handle.verdict(live.id.clone(), Verdict::Up).await;
        reload(&handle, config(&[1, 2, 3])).await.unwrap();
        assert_eq!(pool(&published), ["w2", "w3"]);
        obey(Order::Enable(live.id.clone())).await;
        assert_eq!(pool(&published), ["w1", "w2", "w3"]);
        assert!(Arc::ptr_eq(&live, &published.load().members[0].live));
    }

    #[tokio::test(start_paused = true)]
    async fn removed_backend_that_does_not_finish_lapses() {
        let Running {
            handle,
            mut published,
            events,
            ..
        } = start(config(&[1, 2]));
        let in_flight = published.load().members[0].live.begin();
        reload(&handle, config(&[2])).await.unwrap();
        while published.load().lapsed.is_empty() {
            assert!(published.changed().await);
        }
        assert!(Arc::ptr_eq(
            &published.load().lapsed[0],
            in_flight.backend()
        ));
        drop(in_flight);
        while !published.load().lapsed.is_empty() {
            assert!(published.changed().await);
        }
        let (past, _) = events.follow(0);
        let last = &past.last().unwrap().what;
        assert!(matches!(last, What::Drained { cut: 1, .. }), "{last:?}");
    }

    fn found(source: &Source, ports: &[u16]) -> Vec<BackendConfig> {
        let mut backends = config(ports).backends;
        for backend in &mut backends {
            backend.source = source.clone();
        }
        backends
    }

    #[tokio::test(start_paused = true)]
    async fn sources_combine_and_keep_what_they_named_while_they_are_away() {
        let dns = DnsConfig::new("workers".to_owned(), DnsKind::Address { port: 1 });
        let source = dns.source();
        let with_dns = |ports: &[u16]| Config {
            discovery: Discovery {
                sql: None,
                dns: vec![dns.clone()],
            },
            ..config(ports)
        };
        let Running {
            handle,
            published,
            events,
            ..
        } = start(with_dns(&[1]));
        assert!(published.load().sources[0].away.is_some(), "not asked yet");
        let tell = async |ports: &[u16]| {
            let found = found(&source, ports);
            handle.found(source.clone(), found, Vec::new()).await;
            // Answered in turn, so what was told before has been done.
            handle.plan(with_dns(&[1])).await.unwrap();
        };
        tell(&[1, 2, 3]).await;
        assert_eq!(pool(&published), ["w1", "w2", "w3"]);
        let sources = |published: &Published| -> Vec<Source> {
            let snapshot = published.load();
            let members = snapshot.members.iter();
            members.map(|member| member.config.source.clone()).collect()
        };
        assert_eq!(
            sources(&published),
            [Source::File, source.clone(), source.clone()]
        );
        handle.away(source.clone(), "gone".to_owned()).await;
        handle.away(source.clone(), "gone".to_owned()).await;
        tell(&[3]).await;
        assert_eq!(pool(&published), ["w1", "w3"]);
        let kinds: Vec<bool> = events
            .follow(0)
            .0
            .iter()
            .map(|event| matches!(event.what, What::SourceAway { .. }))
            .collect();
        assert_eq!(kinds.iter().filter(|away| **away).count(), 1, "said once");
        reload(&handle, config(&[1])).await.unwrap();
        assert_eq!(pool(&published), ["w1"], "the source is configured no more");
        tell(&[9]).await;
        assert_eq!(pool(&published), ["w1"]);
    }

    #[tokio::test(start_paused = true)]
    async fn next_process_goes_on_where_this_one_stops() {
        let mut checked = config(&[1, 2, 3]);
        checked.health = Some(crate::config::HealthConfig::default());
        let Running {
            handle, published, ..
        } = start(checked);
        let snapshot = published.load();
        let id = |place: usize| snapshot.members[place].live.id.clone();
        handle.verdict(id(0), Verdict::Up).await;
        handle
            .verdict(id(1), Verdict::Down { unreachable: false })
            .await;
        handle
            .obey(Order::Weight(id(0), 9), Kept::Nowhere)
            .await
            .unwrap()
            .unwrap();
        handle
            .obey(Order::Remove(id(2)), Kept::Nowhere)
            .await
            .unwrap()
            .unwrap();
        let for_an_hour = Preference {
            name: Some(strategy::Name::Random),
            ttl: Some(Duration::from_secs(3600)),
        };
        handle
            .obey(Order::Strategy(for_an_hour), Kept::Nowhere)
            .await
            .unwrap()
            .unwrap();
        let Estate {
            handover, sockets, ..
        } = handle.hand_over().await.unwrap().unwrap();
        assert_eq!(sockets.len(), snapshot.config.runtime.shards);
        let written = serde_json::to_string(&handover).unwrap();

        let mut config = config(&[1, 2, 3]);
        config.health = Some(crate::config::HealthConfig::default());
        let (listeners, _feeds, _) = listen::open(&config, Inherited::default()).unwrap();
        let super::super::Started { published, .. } = new(Setup {
            config,
            kept: Overlay::default(),
            handover: Some(serde_json::from_str(&written).unwrap()),
            listeners,
            log: LogFile::open(Destination::StandardOutput).unwrap().0,
            stats: Arc::default(),
            epoch: std::time::Instant::now(),
        });
        let next = published.load();
        let states: Vec<State> = next
            .members
            .iter()
            .map(|member| member.live.state.get())
            .collect();
        assert_eq!(states, [State::Healthy, State::Unhealthy]);
        assert_eq!(next.members[0].config.weight, 9);
        assert_eq!(next.picks_by, strategy::Name::Random);
        let until = next.override_until.unwrap();
        assert!(until > Duration::from_secs(3500), "{until:?}");
    }
}
