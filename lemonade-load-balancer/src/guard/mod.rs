//! The guard under every strategy: who is fit to be picked, decided within a few requests. It keeps what is known of each
//! backend between two decisions: its standing, and what requests meet there.
//!
//! The pure parts decide ([`Standing`], [`Watch`], [`Gradient`]); this keeps one of each for every backend, and writes what
//! follows into the live state. Time is an argument: the control task drives it in real time, a simulation in its own.

use crate::backend::{
    Backend, BackendId, Move, Standing, State, Terms, UNLIMITED, Usual, Verdict, usual,
};
use crate::concurrency::{Gradient, Measured};
use crate::config::{BackendConfig, Config, Initial, MaxInFlight};
use crate::outlier::{Glance, Recent, Rules, Sign, Totals, Watch};
use crate::snapshot::Member;
use crate::stats::ShardStats;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// The most that an adaptive limit may come to where the configuration names no other.
const MOST_ADAPTIVE: u32 = 10_000;

/// One backend between two decisions.
#[derive(Debug)]
struct Entry {
    backend: Arc<Backend>,
    standing: Standing,
    watch: Watch,
    gradient: Gradient,
    /// What the gradient has seen.
    measured: Tally,
    /// The capacity that the configuration presumes.
    weight: u32,
    /// A place for a trial was opened.
    on_trial: bool,
}

/// A backend that went from one state to another.
#[derive(Debug)]
pub(crate) struct Moved {
    pub(crate) backend: Arc<Backend>,
    pub(crate) from: State,
    pub(crate) to: State,
    pub(crate) cause: String,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Guard {
    /// In an order that is the same in every run, as simulations have to be.
    entries: BTreeMap<BackendId, Entry>,
    /// Spreads the ends of ejections that begin together.
    rng: fastrand::Rng,
    /// What is usual among them.
    usual: Usual,
}

/// What the configuration says of ejections and returns. Backends that cannot be reached are ejected even where outlier
/// detection is off: that is no matter of opinion.
fn terms(config: &Config) -> Terms {
    let rules = config.outlier.unwrap_or_default();
    Terms {
        eject: rules.eject,
        max_eject: rules.max_eject,
        slow_start: config.slow_start,
        answer: config.timeouts.response_header,
    }
}

impl Guard {
    /// One whose chance comes from `rng`.
    pub(crate) fn new(rng: fastrand::Rng) -> Self {
        Guard {
            rng,
            ..Guard::default()
        }
    }

    /// Begins with a backend, or has it go on under what the configuration says of it now.
    pub(crate) fn adopt(
        &mut self,
        backend: &Arc<Backend>,
        own: &BackendConfig,
        config: &Config,
        now: Duration,
    ) {
        let entry = self
            .entries
            .entry(backend.id.clone())
            .or_insert_with(|| Entry::new(backend));
        entry.weight = own.weight;
        // Whoever is new is presumed typical: neither flooded nor starved.
        backend.load.delay.compare(&self.usual, own.weight, now);
        let mut apply = |what| entry.standing.apply(what, now, &terms(config), 0.5);
        apply(match own.drained {
            true => Move::Drained,
            false => Move::Enabled,
        });
        match config.health.as_ref().map(|health| health.initial) {
            None => apply(Move::Unchecked),
            Some(initial) => entry.presume(initial, now, config),
        }
        self.settle(&backend.id, config, now);
    }

    /// Forgets what nobody names any more.
    pub(crate) fn retain(&mut self, members: &[Member]) {
        let staying: HashSet<&BackendId> = members.iter().map(|member| &member.live.id).collect();
        self.entries.retain(|id, _| staying.contains(id));
    }

    /// Takes account of what happened to a backend. `None` if that leaves its state as it is.
    pub(crate) fn apply(
        &mut self,
        id: &BackendId,
        what: Move,
        config: &Config,
        now: Duration,
    ) -> Option<(State, State)> {
        let entry = self.entries.get_mut(id)?;
        let before = entry.standing.ejected_until();
        entry
            .standing
            .apply(what, now, &terms(config), self.rng.f64());
        let after = entry.standing.ejected_until();
        if after.is_some() && after != before {
            entry.backend.ejections.fetch_add(1, Relaxed);
        }
        let outcome = matches!(what, Move::TrialPassed | Move::TrialFailed { .. });
        let entry = self.entries.get_mut(id)?;
        entry.turn_trial(now, outcome);
        self.settle(id, config, now)
    }

    /// Writes what a standing comes to into the live state.
    fn settle(&mut self, id: &BackendId, config: &Config, now: Duration) -> Option<(State, State)> {
        let terms = terms(config);
        let others_warm = || {
            let others = self.entries.iter().filter(|(other, _)| *other != id);
            others
                .into_iter()
                .any(|(_, other)| other.standing.is_warm(now, &terms))
        };
        let entry = self.entries.get(id)?;
        let (from, to) = (entry.backend.state.get(), entry.standing.state());
        let comes_back = to.is_usable() && (from != to && !from.is_usable());
        let slowly = comes_back && !terms.slow_start.is_zero() && others_warm();
        let entry = self.entries.get_mut(id)?;
        if comes_back {
            entry.standing.come_back(now, slowly);
            entry.watch.forget();
            entry.backend.load.forget();
        }
        entry.backend.state.set(to);
        entry.backend.set_distrusted(entry.standing.is_distrusted());
        entry.backend.set_share(entry.standing.share(now, &terms));
        entry
            .backend
            .set_ejected_until(entry.standing.ejected_until());
        entry.turn_trial(now, false);
        (from != to).then_some((from, to))
    }

    /// Moves on what time alone moves on. Returns who changed state, and whether anything else did that a snapshot shows.
    pub(crate) fn pass_time(&mut self, config: &Config, now: Duration) -> (Vec<Moved>, bool) {
        let terms = terms(config);
        let mut due = Vec::new();
        let mut shown = false;
        for entry in self.entries.values_mut() {
            let had_trial = entry.standing.trial(now).is_some();
            let under_way = entry.backend.trial.is_taken();
            entry.standing.pass_time(now, &terms, under_way);
            shown |= had_trial != entry.standing.trial(now).is_some();
            let share = entry.standing.share(now, &terms);
            shown |= share != entry.backend.share();
            entry.backend.set_share(share);
            entry
                .backend
                .set_ejected_until(entry.standing.ejected_until());
            entry.turn_trial(now, false);
            entry.widen_trial(now);
            if entry.standing.state() != entry.backend.state.get() {
                due.push(entry.backend.clone());
            }
        }
        let moved = due.into_iter().filter_map(|backend| {
            let (from, to) = self.settle(&backend.id, config, now)?;
            let cause = "nothing speaks against it any more".to_owned();
            Some(Moved {
                backend,
                from,
                to,
                cause,
            })
        });
        (moved.collect(), shown)
    }

    /// Ejected backends that may take a single request each.
    pub(crate) fn trials(&self, members: &[Member], now: Duration) -> Box<[Arc<Backend>]> {
        let on_trial = members.iter().filter(|member| {
            let entry = self.entries.get(&member.live.id);
            entry.is_some_and(|entry| entry.standing.trial(now).is_some())
        });
        on_trial.map(|member| member.live.clone()).collect()
    }

    /// Takes in what requests met since the last look; whoever fails by itself, and how that shows.
    pub(crate) fn look(&mut self, rules: &Rules, now: Duration) -> Vec<(Arc<Backend>, Sign)> {
        let totals: Vec<Totals> = self
            .entries
            .values()
            .map(|entry| totals(&entry.backend))
            .collect();
        let ended_by_all = totals.iter().map(|totals| totals.ended).sum();
        let glance = |backend: &Backend| Glance {
            now,
            in_flight: backend.load.in_flight(),
            usual: backend
                .load
                .latency
                .seconds(now)
                .map(Duration::from_secs_f32),
            ended_by_all,
        };
        for (entry, totals) in self.entries.values_mut().zip(&totals) {
            entry.watch.look(*totals, &glance(&entry.backend), rules);
        }
        let all = self.recent();
        let signs = self.entries.values().filter_map(|entry| {
            if entry.standing.is_distrusted() || entry.standing.state() == State::Draining {
                return None;
            }
            let rest = all.without(entry.watch.recent());
            let sign = entry.watch.sign(&glance(&entry.backend), rest, rules)?;
            Some((entry.backend.clone(), sign))
        });
        signs.collect()
    }

    /// What all backends together saw within the window.
    fn recent(&self) -> Recent {
        let mut all = Recent::default();
        self.entries
            .values()
            .for_each(|entry| all += entry.watch.recent());
        all
    }

    /// Whether one more may be ejected because requests fail there: the others must be enough, and not fail just as much. Where
    /// it answers nothing at all, or health checks agree, one other that is usable is enough.
    pub(crate) fn may_eject(&self, id: &BackendId, sign: &Sign, rules: &Rules) -> bool {
        let Some(own) = self.entries.get(id) else {
            return false;
        };
        let (mut ejected, mut all, mut others) = (0u32, 0u32, false);
        for (other, entry) in &self.entries {
            let state = entry.standing.state();
            all += u32::from(state != State::Draining);
            let by_failures = state == State::Ejected && !entry.standing.is_unreachable();
            ejected += u32::from(by_failures);
            others |= other != id && state.is_usable();
        }
        let within_share = f64::from(ejected + 1) <= rules.max_ejected * f64::from(all);
        let beyond_doubt = matches!(sign, Sign::Stalled { .. }) || own.standing.fails_checks();
        let rest = self.recent().without(own.watch.recent());
        let enough = match sign {
            Sign::InARow(count) => rules.is_enough(*count, rest),
            _ => true,
        };
        enough && (within_share || (beyond_doubt && others)) && !rest.fails(rules)
    }

    /// Tells each backend what is usual among all that requests may rely on.
    pub(crate) fn compare(&mut self, now: Duration) {
        let (mut shown, mut errors) = (Vec::new(), Vec::new());
        for entry in self.entries.values() {
            let delay = &entry.backend.load.delay;
            if !entry.standing.is_distrusted() {
                shown.extend(delay.shown(entry.weight, now));
            }
            errors.extend(delay.error_rate(now));
        }
        self.usual = usual(&shown, &mut errors, self.usual);
        for entry in self.entries.values() {
            let delay = &entry.backend.load.delay;
            delay.compare(&self.usual, entry.weight, now);
        }
    }

    /// Sets how many requests each backend takes at once.
    pub(crate) fn limit(&mut self, members: &[Member], config: &Config, now: Duration) {
        let default = config.limits.max_in_flight;
        for member in members {
            let own = member.config.max_in_flight;
            let limit = match (default, own) {
                (MaxInFlight::Adaptive, _) => {
                    let Some(entry) = self.entries.get_mut(&member.live.id) else {
                        continue;
                    };
                    entry.measure(own.unwrap_or(MOST_ADAPTIVE), now)
                }
                (_, Some(own)) => own,
                (MaxInFlight::Fixed(limit), None) => limit,
                (MaxInFlight::Unlimited, None) => UNLIMITED,
            };
            member.live.load.set_limit(limit);
        }
    }
}

impl Entry {
    fn new(backend: &Arc<Backend>) -> Self {
        Entry {
            backend: backend.clone(),
            standing: Standing::new(backend.state.get()),
            watch: Watch::new(totals(backend)),
            gradient: Gradient::default(),
            measured: Tally::of(backend),
            weight: 1,
            on_trial: false,
        }
    }

    /// What is taken for granted of a backend that no probe has looked at.
    fn presume(&mut self, initial: Initial, now: Duration, config: &Config) {
        let verdict = match initial {
            Initial::Checking => return,
            Initial::Healthy => Verdict::Up,
            Initial::Unhealthy => Verdict::Down { unreachable: false },
        };
        if self.standing.state() == State::Starting {
            let what = Move::Probed(verdict);
            self.standing.apply(what, now, &terms(config), 0.5);
        }
    }

    /// Opens the place for a trial when one falls due, and anew after each outcome. A trial that is under way is left alone.
    fn turn_trial(&mut self, now: Duration, after_outcome: bool) {
        let due = self.standing.trial(now);
        match due {
            Some(any) if after_outcome || !self.on_trial => self.backend.trial.open(any),
            None if self.on_trial => self.backend.trial.close(),
            _ => {}
        }
        self.on_trial = due.is_some();
    }

    fn widen_trial(&self, now: Duration) {
        if self.standing.trial(now) == Some(true) {
            self.backend.trial.widen();
        }
    }

    fn measure(&mut self, most: u32, now: Duration) -> u32 {
        let seen = std::mem::replace(&mut self.measured, Tally::of(&self.backend));
        let mut measured = Measured {
            answers: self.measured.answers.saturating_sub(seen.answers),
            sum: Duration::from_nanos(self.measured.nanos.saturating_sub(seen.nanos)),
            in_flight: self.backend.load.in_flight(),
        };
        // An error is fast for the wrong reason, and the times are counted together.
        if self.measured.errors != seen.errors {
            (measured.answers, measured.sum) = (0, Duration::ZERO);
        }
        self.gradient.measure(measured, most, now)
    }
}

fn totals(backend: &Backend) -> Totals {
    let mut totals = Totals::default();
    for shard in &backend.stats {
        totals.begun += shard.begun.load(Relaxed);
        totals.failed += shard.faults.load(Relaxed);
        totals.ended += shard.ended();
    }
    totals
}

/// Answers, those of them that are errors, and how long all took to begin.
#[derive(Clone, Copy, Debug)]
struct Tally {
    answers: u64,
    errors: u64,
    nanos: u64,
}

impl Tally {
    fn of(backend: &Backend) -> Self {
        Tally {
            answers: backend.stats.iter().map(ShardStats::answers).sum(),
            errors: backend.sum(|shard| &shard.responses[4]),
            nanos: backend.sum(|shard| &shard.latency.sum),
        }
    }
}
