//! The engine's life: once a second it is shown what was counted; what it decides is carried out, written down and told.
//!
//! Who picks is the engine's to say only under `adaptive`, and only while it is on. Set by hand, a strategy holds at once and
//! without asking; the engine then says what it would do, and its cool-down begins anew.

use super::events::{Events, What};
use super::membership::Preference;
use crate::config::{Config, EngineConfig};
use crate::decision::{Decision, Effect, Engine, Log, Mode, Orders, Outcome, Sample, Why};
use crate::snapshot::{Snapshot, Steered};
use crate::stats::histogram::SLOTS;
use crate::stats::{RequestStats, names};
use crate::strategy::Name;
use crate::timestamp::rfc3339;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// How often the engine is shown what was counted.
const TICK: Duration = Duration::from_secs(1);

/// The last decisions, newest first. Written by the control task, read by the admin API. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Decisions(Arc<Mutex<Log>>);

impl Decisions {
    /// The last so many, newest first.
    pub fn newest(&self, limit: usize) -> Vec<Decision> {
        self.log().newest(limit).cloned().collect()
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        // Nothing panics while it is held; if something did, the decisions are still decisions.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who steers, and by what.
#[derive(Debug)]
pub(super) struct Steering {
    engine: Engine,
    shards: Arc<[Arc<RequestStats>]>,
    /// What sources outside said, and when.
    external: HashMap<String, (f64, Duration)>,
    decisions: Decisions,
    /// Who was asked for, and what the engine might do, when that was last settled.
    asked: (Name, Mode),
    /// Until when what was set by hand holds.
    until: Option<Duration>,
    /// Somebody has just set the strategy by hand.
    restarts: bool,
    next: Duration,
}

/// Who picks if `asked` is asked for, before the engine has said anything.
fn at_first(asked: Name, engine: &EngineConfig) -> Name {
    match asked {
        Name::Adaptive => engine.settings.first(),
        other => other,
    }
}

impl Steering {
    pub(super) fn new(asked: Name, config: &Config, shards: Arc<[Arc<RequestStats>]>) -> Self {
        Steering {
            engine: Engine::new(at_first(asked, &config.engine)),
            shards,
            external: HashMap::new(),
            decisions: Decisions::default(),
            asked: (asked, config.engine.settings.mode),
            until: None,
            restarts: false,
            next: Duration::ZERO,
        }
    }

    /// Takes in that another process steered until now: it may just have switched, so the cool-down begins anew.
    pub(super) fn begin_anew(&mut self, now: Duration) {
        self.engine.follow(self.engine.current(), now);
    }

    pub(super) fn decisions(&self) -> Decisions {
        self.decisions.clone()
    }

    /// Takes in that somebody set the strategy by hand.
    pub(super) fn by_hand(&mut self, preference: &Preference, now: Duration) {
        let until = preference.name.and(preference.ttl);
        self.until = until.map(|ttl| now.saturating_add(ttl));
        self.restarts = true;
    }

    /// How long what was set by hand still holds, if that has an end.
    pub(super) fn left(&self, now: Duration) -> Option<Duration> {
        self.until.map(|until| until.saturating_sub(now))
    }

    /// Who picks now that `asked` is asked for under `config`.
    pub(super) fn adopt(&mut self, asked: Name, config: &Config, now: Duration) -> Steered {
        let mode = config.engine.settings.mode;
        let steers = |(asked, mode): (Name, Mode)| asked == Name::Adaptive && mode != Mode::Off;
        let goes_on = steers(self.asked) && steers((asked, mode));
        // What is asked for already is nothing new.
        self.restarts &= self.asked.0 != asked;
        self.asked = (asked, mode);
        if asked == config.strategy {
            self.until = None;
        }
        let by = match goes_on && !self.restarts {
            true => self.engine.current(),
            false => at_first(asked, &config.engine),
        };
        if std::mem::take(&mut self.restarts) || by != self.engine.current() {
            self.engine.follow(by, now);
        }
        self.steered(by)
    }

    fn steered(&self, by: Name) -> Steered {
        Steered {
            by,
            switched: self.engine.switched(),
            until: self.until,
        }
    }

    /// Takes in what a source outside said.
    pub(super) fn told(&mut self, name: String, value: f64, now: Duration) {
        self.external.insert(name, (value, now));
    }

    /// A second of it, if one has passed: who picks from now on, if that is somebody else.
    pub(super) fn tick(
        &mut self,
        present: &Snapshot,
        now: Duration,
        events: &Events,
    ) -> Option<Steered> {
        if now < self.next {
            return None;
        }
        self.next = now + TICK;
        let (asked, config) = (present.strategy_name, &present.config);
        let mode = config.engine.settings.mode;
        let concerns = asked == Name::Adaptive || config.strategy == Name::Adaptive;
        if mode == Mode::Off || !(concerns || mode == Mode::Advise) {
            self.engine.forget();
            return None;
        }
        let external = self.fresh(&config.engine, now);
        let orders = Orders {
            settings: &config.engine.settings,
            external: &external,
            by_hand: asked != Name::Adaptive && concerns,
        };
        let sample = self.sample(present, now);
        let outcome = self.engine.tick(&sample, &orders, now, fastrand::u64(..));
        self.tell(outcome, events);
        let by = self.engine.current();
        (asked == Name::Adaptive && by != present.picks_by).then(|| self.steered(by))
    }

    /// What was said recently enough by sources that are configured.
    fn fresh(&mut self, config: &EngineConfig, now: Duration) -> BTreeMap<String, f64> {
        let stale = |name: &str| {
            let mut sources = config.prometheus.iter();
            Some(sources.find(|source| source.name == name)?.stale)
        };
        self.external.retain(|name, (_, at)| {
            stale(name).is_some_and(|stale| now.saturating_sub(*at) <= stale)
        });
        let values = self.external.iter();
        values
            .map(|(name, (value, _))| (name.clone(), *value))
            .collect()
    }

    fn sample(&self, present: &Snapshot, now: Duration) -> Sample {
        let mut sample = Sample {
            backends: present.samples(now),
            histogram: vec![0; SLOTS],
            shed: 0,
        };
        for shard in self.shards.iter() {
            shard.first_byte.add_to(&mut sample.histogram);
            sample.shed += shard.shed.load(Relaxed);
        }
        sample
    }

    fn tell(&self, outcome: Outcome, events: &Events) {
        if let Some((id, effect)) = outcome.effect {
            self.tell_effect(id, &effect, events);
        }
        let Some(mut decision) = outcome.decision else {
            return;
        };
        decision.time = rfc3339(SystemTime::now());
        let Decision { from, to, rule, .. } = &decision;
        match decision.suppressed {
            None => {
                tracing::info!(%from, %to, rule, "strategy switched");
                metrics::counter!(names::DECISIONS, "from" => from.as_str(), "to" => to.as_str(), "rule" => rule.clone())
                    .increment(1);
            }
            Some(why) => {
                match why {
                    Why::Advise | Why::ByHand => {
                        tracing::info!(%from, %to, rule, %why, "strategy would be switched");
                    }
                    _ => tracing::debug!(%from, %to, rule, %why, "strategy not switched"),
                }
                metrics::counter!(names::DECISIONS_SUPPRESSED, "why" => why.as_str()).increment(1);
            }
        }
        self.decisions.log().record(decision.clone());
        let decision = Box::new(decision);
        events.record(What::Decision { decision });
    }

    fn tell_effect(&self, id: u64, effect: &Effect, events: &Events) {
        let settled = self.decisions.log().settle(id, effect).cloned();
        if let Some(decision) = settled {
            let (to, verdict) = (decision.to, effect.verdict);
            tracing::info!(%to, ?verdict, before = ?effect.before_p99_seconds, after = ?effect.after_p99_seconds, "effect of the switch");
            let decision = Box::new(decision);
            events.record(What::DecisionSettled { decision });
        }
    }
}

/// Describes the metrics of decisions. Counters are there from the start, at 0: a first occurrence that also brings the
/// series is one that `increase()` does not see. Switches have no bounded set of labels to begin with.
pub(super) fn describe() {
    metrics::describe_counter!(names::DECISIONS, "Switches of the strategy by the engine");
    metrics::describe_counter!(
        names::DECISIONS_SUPPRESSED,
        "Switches that the engine did not make, by reason"
    );
    for why in Why::ALL {
        metrics::counter!(names::DECISIONS_SUPPRESSED, "why" => why.as_str()).increment(0);
    }
}
