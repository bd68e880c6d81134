//! One process of the simulated balancer: its guard, its published view, its shards.

use super::Setup;
use super::steering::Steering;
use crate::backend::{Backend, BackendId, Move, Taken, Verdict};
use crate::config::{BackendConfig, Config, Source, Tier};
use crate::guard::Guard;
use crate::listen::Listening;
use crate::outlier::Sign;
use crate::snapshot::{Carried, Member, Members, Parts, Snapshot, Steered};
use crate::stats::{Outcome, ShardStats};
use crate::strategy::{Cursor, Name, PickContext};
use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// How often the control task looks at what requests met.
const HOUSEKEEPING: Duration = Duration::from_millis(250);

/// However far time leaps, no more of it is gone through step by step.
const LONGEST_LOOK_BACK: Duration = Duration::from_secs(600);

/// A request in flight.
#[derive(Debug)]
struct Sent {
    at: Duration,
    shard: usize,
    /// Requests that were there before it.
    ahead: u32,
    trial: Option<Taken>,
}

#[derive(Debug)]
pub(super) struct Process {
    config: Arc<Config>,
    guard: Guard,
    /// Who says whose algorithm picks, under `adaptive`.
    steering: Option<Steering>,
    snapshot: Snapshot,
    /// The pool's backends by number, in the pool's order.
    numbers: Vec<usize>,
    cursor: Arc<Cursor>,
    rngs: Vec<fastrand::Rng>,
    /// What is in flight at each backend, the oldest first.
    sent: Vec<VecDeque<Sent>>,
    alive: Vec<bool>,
    /// When the guard next looks.
    looks: Duration,
    /// Something is known of a backend that is not published yet.
    learned: bool,
    /// Whose algorithm picks.
    picks_by: Name,
}

impl Process {
    pub(super) fn new(setup: &Setup, shards: usize, seed: u64) -> Self {
        let config = Arc::new(Config {
            strategy: setup.strategy,
            // Probes are reported by whoever simulates; until then nothing speaks against anyone.
            health: None,
            ..setup.config.clone()
        });
        // Drawn from one root: generators whose seeds differ in a few bits resemble each other.
        let mut root = fastrand::Rng::with_seed(seed);
        let mut guard = Guard::new(root.fork());
        let mut member = |(number, weight): (usize, &u32)| {
            let config_of = backend_config(number, *weight);
            let live = Backend::new(config_of.id.clone(), shards);
            guard.adopt(&live, &config_of, &config, Duration::ZERO);
            Member {
                config: config_of,
                live,
            }
        };
        let members: Arc<[Member]> = setup.weights.iter().enumerate().map(&mut member).collect();
        guard.limit(&members, &config, Duration::ZERO);
        let cursor = Arc::new(Cursor::at(seed as usize % members.len().max(1)));
        let parts = Parts {
            config: config.clone(),
            strategy_name: setup.strategy,
            steered: Steered::plainly(at_first(&config)),
            listening: Listening {
                proxy: config.listen,
                admin: None,
            },
            sources: Arc::default(),
            lapsed: Arc::default(),
            trials: Box::default(),
            carried: Carried::default(),
            members: Members::new(members),
        };
        let snapshot = Snapshot::new(1, parts, &cursor);
        Process {
            numbers: (0..setup.weights.len()).collect(),
            sent: setup.weights.iter().map(|_| VecDeque::new()).collect(),
            alive: vec![true; setup.weights.len()],
            rngs: (0..shards).map(|_| root.fork()).collect(),
            looks: HOUSEKEEPING,
            learned: false,
            picks_by: at_first(&config),
            steering: Steering::new(&config, seed),
            config,
            guard,
            snapshot,
            cursor,
        }
    }

    pub(super) fn size(&self) -> usize {
        self.sent.len()
    }

    pub(super) fn shards(&self) -> usize {
        self.rngs.len()
    }

    pub(super) fn alive(&mut self, now: Duration, backends: &[usize]) {
        self.pass_to(now);
        let mut alive = vec![false; self.size()];
        for backend in backends {
            if let Some(alive) = alive.get_mut(*backend) {
                *alive = true;
            }
        }
        let before = std::mem::replace(&mut self.alive, alive.clone());
        for (number, (was, is)) in before.into_iter().zip(alive).enumerate() {
            if was != is {
                // Whoever is not alive cannot be reached: that is more than an opinion about it.
                let verdict = match is {
                    true => Verdict::Up,
                    false => Verdict::Down { unreachable: true },
                };
                self.happened(number, Move::Probed(verdict), now);
            }
        }
        self.publish_learned(now);
    }

    pub(super) fn pick(&mut self, shard: usize, now: Duration) -> usize {
        self.pass_to(now);
        let (number, trial) = match self.take_trial() {
            Some((number, taken)) => (number, Some(taken)),
            None => (self.choose(shard, now), None),
        };
        let backend = &self.snapshot.members[number].live;
        // Nobody waits in simulated time: with every backend full, the one picked takes more than its limit.
        let ahead = backend.load.try_enter().unwrap_or_else(|| {
            let ahead = backend.load.in_flight();
            backend.load.set_in_flight(ahead + 1);
            ahead
        });
        backend.load.delay.sent(ahead, now);
        ShardStats::count(&backend.stats[shard].begun);
        self.sent[number].push_back(Sent {
            at: now,
            shard,
            ahead,
            trial,
        });
        number
    }

    /// An ejected backend that takes this request as its trial. Every request counts as one that could be repeated.
    fn take_trial(&self) -> Option<(usize, Taken)> {
        self.snapshot.trials.iter().find_map(|backend| {
            let taken = backend.trial.take(true)?;
            Some((self.number_of(backend), taken))
        })
    }

    fn choose(&mut self, shard: usize, now: Duration) -> usize {
        let mut context = PickContext {
            now,
            rng: &mut self.rngs[shard],
            key: None,
        };
        let pool = &self.snapshot.pool;
        if pool.is_empty() {
            // Nobody is alive, which whoever simulates promised not to say.
            return self.cursor.advance() % self.sent.len();
        }
        let place = self.snapshot.strategy.pick(pool, &mut context);
        if !pool.backends()[place].load.is_full() {
            return self.numbers[place];
        }
        let size = pool.len();
        let next = (place..size)
            .chain(0..place)
            .find(|place| !pool.backends()[*place].load.is_full());
        self.numbers[next.unwrap_or(place)]
    }

    pub(super) fn done(
        &mut self,
        shard: usize,
        number: usize,
        now: Duration,
        latency: Duration,
        ok: bool,
    ) {
        self.pass_to(now);
        let Some(sent) = self.take_sent(shard, number, now.saturating_sub(latency)) else {
            return;
        };
        self.snapshot.members[number].live.load.leave();
        match ok {
            true => self.succeeded(number, &sent, now, latency),
            false => self.failed(number, &sent, now, latency),
        }
        self.publish_learned(now);
    }

    /// The request of this shard that was sent at `at`, or next to that.
    fn take_sent(&mut self, shard: usize, number: usize, at: Duration) -> Option<Sent> {
        let sent = self.sent.get_mut(number)?;
        let of_shard = sent.iter().enumerate().filter(|(_, it)| it.shard == shard);
        let (place, _) = of_shard.min_by_key(|(_, it)| it.at.abs_diff(at))?;
        sent.remove(place)
    }

    fn succeeded(&mut self, number: usize, sent: &Sent, now: Duration, latency: Duration) {
        let backend = &self.snapshot.members[number].live;
        backend.stats[sent.shard].record(Outcome::Answered(200), latency);
        if let Some(steering) = &mut self.steering {
            steering.answered(latency);
        }
        backend.load.latency.record(latency, now);
        backend.load.peak.record(latency, now);
        backend.load.delay.answered(latency, sent.ahead, now);
        backend.load.succeeded();
        if sent.trial.is_some() {
            self.happened(number, Move::TrialPassed, now);
        }
    }

    fn failed(&mut self, number: usize, sent: &Sent, now: Duration, latency: Duration) {
        let backend = &self.snapshot.members[number].live;
        let stats = &backend.stats[sent.shard];
        stats.record(Outcome::Failed, Duration::ZERO);
        ShardStats::count(&stats.faults);
        backend.load.peak.record_failure(latency, now);
        backend.load.delay.failed(now);
        let in_a_row = backend.load.failed();
        if sent.trial.is_some() {
            let unreachable = false;
            return self.happened(number, Move::TrialFailed { unreachable }, now);
        }
        let rules = &self.config.outlier;
        if rules.is_some_and(|rules| rules.tells(in_a_row)) {
            self.suspect(number, Sign::InARow(in_a_row), now);
        }
    }

    fn suspect(&mut self, number: usize, sign: Sign, now: Duration) {
        let Some(rules) = &self.config.outlier else {
            return;
        };
        let id = &self.snapshot.members[number].live.id;
        if self.guard.may_eject(id, &sign, rules) {
            self.happened(number, Move::Failing, now);
        }
    }

    fn happened(&mut self, number: usize, what: Move, now: Duration) {
        let backend = self.snapshot.members[number].live.clone();
        let was_distrusted = backend.is_distrusted();
        let moved = self.guard.apply(&backend.id, what, &self.config, now);
        self.learned |= moved.is_some() || was_distrusted != backend.is_distrusted();
    }

    /// Lets the guard look as often as it would have until `now`.
    fn pass_to(&mut self, now: Duration) {
        // After a leap in time nothing is known any more that looking at every step of it would change.
        self.looks = self.looks.max(now.saturating_sub(LONGEST_LOOK_BACK));
        while self.looks <= now {
            let at = self.looks;
            self.looks += HOUSEKEEPING;
            if let Some(rules) = self.config.outlier {
                for (backend, sign) in self.guard.look(&rules, at) {
                    let number = self.number_of(&backend);
                    self.suspect(number, sign, at);
                }
            }
            self.guard.compare(at);
            let (moved, shown) = self.guard.pass_time(&self.config, at);
            self.learned |= shown || !moved.is_empty();
            self.steer(at);
            self.publish_learned(at);
        }
    }

    /// Lets the engine look, if its second has passed.
    fn steer(&mut self, now: Duration) {
        let Some(steering) = &mut self.steering else {
            return;
        };
        if let Some(name) = steering.tick(&self.snapshot, now) {
            self.learned |= name != self.picks_by;
            self.picks_by = name;
        }
    }

    fn number_of(&self, backend: &Backend) -> usize {
        self.snapshot.place_of(&backend.id).unwrap_or_default()
    }

    fn publish_learned(&mut self, now: Duration) {
        if !std::mem::take(&mut self.learned) {
            return;
        }
        let mut parts = self.snapshot.parts();
        parts.trials = self.guard.trials(parts.members.list(), now);
        parts.steered.by = self.picks_by;
        let generation = self.snapshot.generation + 1;
        self.snapshot = Snapshot::new(generation, parts, &self.cursor);
        let pool = self.snapshot.pool.backends().iter();
        self.numbers = pool.map(|backend| self.number_of(backend)).collect();
    }
}

/// Who picks before the engine has said anything.
fn at_first(config: &Config) -> Name {
    match config.strategy {
        Name::Adaptive => config.engine.settings.first(),
        other => other,
    }
}

/// A backend that nobody connects to; its number is its identity.
fn backend_config(number: usize, weight: u32) -> BackendConfig {
    let [_, a, b, c] = (number as u32).to_be_bytes();
    let endpoint = SocketAddr::new(Ipv4Addr::new(10, a, b, c).into(), 80);
    let address = endpoint.to_string().parse();
    BackendConfig {
        id: BackendId::new(address.expect("an IPv4 address with its port is an address")),
        endpoint,
        name: format!("b{number}"),
        weight,
        tier: Tier::Primary,
        max_in_flight: None,
        source: Source::File,
        drained: false,
    }
}
