//! Which strategy should pick: the adaptive engine. Pure: what was measured, the time and the randomness are arguments.
//!
//! Once a second the control task shows it a [`Sample`]. [`window`] keeps the last minute, [`regime`] says what kind of traffic
//! that is, [`rules`] are the operator's own, [`shadow`] plays recent traffic through a candidate before it gets any real
//! request, and [`decide`] weighs all that. It promises: **at most one switch in any cool-down, whatever happens**; no switch
//! without a reason that can be read afterwards; and what made things worse is taken back and left alone for a while.

pub mod capacity;
mod engine;
mod log;
mod record;
pub mod regime;
pub mod rules;
#[cfg(test)]
mod scene;
mod settings;
pub mod shadow;
pub mod window;

pub use engine::{Engine, Orders};
pub use log::Log;
pub use record::{Alternative, Decision, Effect, Fact, Verdict, Why};
pub use regime::{Evidence, Regime};
pub use rules::{Condition, ConditionError, Rule};
pub use settings::{Mode, Settings};
pub use shadow::Forecast;
pub use window::{BackendSample, Sample};

use crate::strategy::Name;
use regime::CALM;
use std::collections::HashMap;
use std::time::Duration;
use window::Recent;

/// When a promise is looked at, and how far back what it is compared with goes.
const PROBATION: Duration = Duration::from_secs(30);
/// How much better a forecast must be.
const GAIN: f64 = 0.10;
/// How much worse than before is a broken promise.
const WORSE: f64 = 1.20;
/// How far apart the rates of requests may be for a comparison.
const LIKE_LOAD: f64 = 0.25;
/// How long a strategy that broke its promise is barred for the first time; each further time twice as long.
const BAR: Duration = Duration::from_secs(600);
/// No bar is longer.
const LONGEST_BAR: Duration = Duration::from_secs(24 * 3600);
/// Fewer answers are no percentile to compare.
const ENOUGH: u64 = 200;
/// How long a forecast is believed: it costs milliseconds.
const FORECAST_HOLDS: Duration = Duration::from_secs(10);

/// The engine's own rules.
pub const BUILT_IN: [&str; 8] = [
    "too_few",
    "streams",
    "calm",
    "saturated",
    "varied",
    "promise",
    "candidates",
    "rule_over",
];

/// What one decision is made of.
#[derive(Debug)]
pub struct Inputs<'i> {
    /// What the configuration says.
    pub settings: &'i Settings,
    /// The last minute.
    pub evidence: Evidence,
    /// What kind of traffic that is.
    pub regime: Regime,
    /// For how long it has been that.
    pub regime_held: Duration,
    /// The operator's first rule that applies, with what it found.
    pub rule: Option<(&'i Rule, Vec<Fact>)>,
    /// Weights differ, so turns are to be taken by weight.
    pub weighted: bool,
    /// Why nothing may be switched, if so.
    pub forbidden: Option<Why>,
    /// The last half minute, or what there is of it since the last switch.
    pub lately: Lately,
}

/// What the pool saw lately.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Lately {
    /// Answers.
    pub answers: u64,
    /// Requests a second.
    pub rate: f64,
    /// The time to first byte, in seconds, that 99 of 100 stayed within.
    pub p99: Option<f64>,
}

impl Lately {
    fn of(recent: &Recent) -> Self {
        Lately {
            answers: recent.answers(),
            rate: recent.rate(),
            p99: recent.quantile(0.99),
        }
    }

    fn is_like(&self, other: &Lately) -> bool {
        let (less, more) = (self.rate.min(other.rate), self.rate.max(other.rate));
        more <= less * (1.0 + LIKE_LOAD)
    }
}

/// A switch whose effect is not known yet.
#[derive(Clone, Debug)]
struct Promise {
    decision: u64,
    from: Name,
    to: Name,
    at: Duration,
    before: Lately,
    /// It was made for the sake of a forecast, so it is taken back if that was wrong.
    binding: bool,
}

/// A strategy that is left alone for a while.
#[derive(Clone, Copy, Debug)]
struct Bar {
    until: Duration,
    length: Duration,
}

/// What the engine remembers between two ticks.
#[derive(Debug)]
pub struct State {
    current: Name,
    last_switch: Option<Duration>,
    bars: HashMap<Name, Bar>,
    promise: Option<Promise>,
    /// Whom to go back to: the switch away from there made things worse.
    revert: Option<Name>,
    /// One of the operator's own rules had the last word.
    by_rule: bool,
    /// What was not done last, so that it is said once.
    suppressed: Option<(Name, Why)>,
    forecasts: Option<(Duration, Name, Vec<Forecast>)>,
    decisions: u64,
}

/// What a tick came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// A decision that changes something, or would have.
    pub decision: Option<Decision>,
    /// What came of an earlier one.
    pub effect: Option<(u64, Effect)>,
}

/// Why a switch is wanted, and what it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Grounds {
    /// It is an order: nothing else is asked.
    Order,
    /// What picks now does harm under this kind of traffic.
    Safety,
    /// The grounds for being elsewhere are gone.
    Return,
    /// It is expected to be better.
    Gain,
}

struct Wanted {
    to: Name,
    rule: String,
    grounds: Grounds,
}

impl State {
    /// Begins with `current`; nothing was switched yet.
    pub fn new(current: Name) -> Self {
        State {
            current,
            last_switch: None,
            bars: HashMap::new(),
            promise: None,
            revert: None,
            by_rule: false,
            suppressed: None,
            forecasts: None,
            decisions: 0,
        }
    }

    /// How long until the next switch may be made.
    pub fn cooldown_left(&self, cooldown: Duration, now: Duration) -> Duration {
        let since = self.last_switch.map(|last| now.saturating_sub(last));
        since.map_or(Duration::ZERO, |since| cooldown.saturating_sub(since))
    }

    /// Looks at what came of the last switch, when its time has come.
    fn settle(&mut self, lately: &Lately, home: Name, now: Duration) -> Option<(u64, Effect)> {
        let promise = self
            .promise
            .take_if(|promise| now.saturating_sub(promise.at) >= PROBATION)?;
        let before = promise.before;
        let verdict = match (before.p99, lately.p99) {
            (Some(before_p99), Some(after_p99))
                if before.answers >= ENOUGH && lately.answers >= ENOUGH =>
            {
                match (before.is_like(lately), after_p99 > before_p99 * WORSE) {
                    (false, _) => Verdict::LoadChanged,
                    (true, true) => Verdict::Broken,
                    (true, false) => Verdict::Kept,
                }
            }
            _ => Verdict::TooFew,
        };
        if verdict == Verdict::Broken && promise.binding {
            self.bar(promise.to, now);
            self.revert = Some(promise.from).filter(|from| *from != promise.to);
        }
        if verdict == Verdict::Kept && promise.to != home {
            self.bars.remove(&promise.to);
        }
        let effect = Effect {
            before_p99_seconds: before.p99,
            after_p99_seconds: lately.p99,
            before_rate: before.rate,
            after_rate: lately.rate,
            verdict,
        };
        Some((promise.decision, effect))
    }

    fn bar(&mut self, name: Name, now: Duration) {
        let before = self.bars.get(&name).map(|bar| bar.length * 2);
        let length = before.unwrap_or(BAR).min(LONGEST_BAR);
        let until = now.saturating_add(length);
        self.bars.insert(name, Bar { until, length });
    }

    fn barred(&self, name: Name, now: Duration) -> Option<Duration> {
        let left = self.bars.get(&name)?.until.saturating_sub(now);
        (!left.is_zero()).then_some(left)
    }

    /// What should pick, if anything speaks for or against somebody.
    fn wanted(&self, inputs: &Inputs<'_>) -> Option<Wanted> {
        let settings = inputs.settings;
        let home = settings.home();
        let wanted = |to, rule: &str, grounds| {
            let rule = rule.to_owned();
            Some(Wanted { to, rule, grounds })
        };
        if let Some((rule, _)) = &inputs.rule {
            return wanted(rule.picks, &rule.name, Grounds::Order);
        }
        if let Some(before) = self.revert {
            return wanted(before, "promise", Grounds::Order);
        }
        if !settings.allows(self.current) {
            return wanted(home, "candidates", Grounds::Order);
        }
        let regime = inputs.regime.as_str();
        let unclear = matches!(inputs.regime, Regime::TooFew | Regime::Varied);
        if self.by_rule && unclear {
            return wanted(home, "rule_over", Grounds::Order);
        }
        // Where the regime has no wish of its own, or one that a forecast would have to grant, a rule that is over leaves no trace.
        let gives_way = matches!(inputs.regime, Regime::Calm | Regime::Saturated);
        if self.by_rule && gives_way && self.current != home {
            return wanted(home, "rule_over", Grounds::Order);
        }
        match inputs.regime {
            Regime::TooFew => None,
            Regime::Streams => wanted(Name::LeastConnections, regime, Grounds::Safety),
            Regime::Calm if inputs.weighted => {
                wanted(Name::WeightedRoundRobin, regime, Grounds::Gain)
            }
            Regime::Calm => wanted(Name::RoundRobin, regime, Grounds::Gain),
            Regime::Saturated if inputs.regime_held < CALM => None,
            Regime::Saturated => wanted(Name::LeastConnections, regime, Grounds::Gain),
            Regime::Varied => wanted(home, regime, Grounds::Return),
        }
    }

    /// What stands against a switch, before anything is played.
    fn obstacle(&self, wanted: &Wanted, inputs: &Inputs<'_>, now: Duration) -> Option<Why> {
        let settings = inputs.settings;
        if wanted.grounds != Grounds::Order {
            if !settings.allows(wanted.to) {
                return Some(Why::NotACandidate);
            }
            if self.barred(wanted.to, now).is_some() {
                return Some(Why::Barred);
            }
        }
        let waits = !self.cooldown_left(settings.cooldown, now).is_zero();
        // Who only advises advises at any time.
        (waits && inputs.forbidden.is_none()).then_some(Why::Cooldown)
    }

    /// What was foretold of everyone who comes into question, played anew if that is long ago.
    fn foresee(
        &mut self,
        to: Name,
        settings: &Settings,
        now: Duration,
        play: &mut dyn FnMut(&[Name]) -> Vec<Forecast>,
    ) -> Vec<Forecast> {
        if let Some((at, of, forecasts)) = &self.forecasts
            && now.saturating_sub(*at) < FORECAST_HOLDS
            && *at <= now
            && *of == to
        {
            return forecasts.clone();
        }
        let mut names = vec![self.current, to];
        names.extend(&settings.candidates);
        let mut seen = Vec::new();
        names.retain(|name| {
            let new = !seen.contains(name);
            seen.push(*name);
            new
        });
        let forecasts = play(&names);
        self.forecasts = Some((now, to, forecasts.clone()));
        forecasts
    }
}

/// What is foretold of `to`, as a share of what is of `from`.
fn ratio(forecasts: &[Forecast], what: fn(&Forecast) -> f64, from: Name, to: Name) -> Option<f64> {
    let of = |name| {
        let found = forecasts.iter().find(|forecast| forecast.strategy == name);
        found.map(what)
    };
    let (from, to) = (of(from)?, of(to)?);
    (from > 0.0).then(|| to / from)
}

fn gain(forecasts: &[Forecast], from: Name, to: Name) -> Option<f64> {
    ratio(forecasts, |forecast| forecast.cost, from, to)
}

/// Whether what was foretold allows a switch.
fn approved(grounds: Grounds, forecasts: &[Forecast], from: Name, to: Name) -> bool {
    let ratio = gain(forecasts, from, to);
    match grounds {
        Grounds::Order | Grounds::Safety => true,
        // Being elsewhere was what took grounds. Nothing is known against it: back.
        Grounds::Return => ratio.is_none_or(|ratio| ratio <= 1.0 + GAIN),
        Grounds::Gain => ratio.is_some_and(|ratio| ratio <= 1.0 - GAIN),
    }
}

/// Weighs one tick. `play`: foretells what each of the named strategies would come to; asked only before a switch. Whatever the
/// inputs, and however the clock steps, two switches are never closer than `settings.cooldown`.
pub fn decide(
    inputs: &Inputs<'_>,
    state: &mut State,
    now: Duration,
    play: &mut dyn FnMut(&[Name]) -> Vec<Forecast>,
) -> Outcome {
    let settings = inputs.settings;
    let effect = state.settle(&inputs.lately, settings.home(), now);
    let only = |effect| Outcome {
        decision: None,
        effect,
    };
    let Some(wanted) = state.wanted(inputs) else {
        state.suppressed = None;
        return only(effect);
    };
    let (from, to) = (state.current, wanted.to);
    if from == to {
        state.suppressed = None;
        state.revert = None;
        return only(effect);
    }
    let mut why = state.obstacle(&wanted, inputs, now);
    let said = |why: Why, state: &State| state.suppressed == Some((to, why));
    if why.is_some_and(|why| said(why, state)) {
        return only(effect);
    }
    let mut forecasts = Vec::new();
    if why.is_none() {
        forecasts = state.foresee(to, settings, now, play);
        why = match approved(wanted.grounds, &forecasts, from, to) {
            true => inputs.forbidden,
            false => Some(Why::NoGain),
        };
    }
    if why.is_some_and(|why| said(why, state)) {
        return only(effect);
    }
    state.decisions += 1;
    let decision = Decision {
        id: state.decisions,
        time: String::new(),
        from,
        to,
        evidence: match &inputs.rule {
            Some((_, facts)) => facts.clone(),
            None => inputs.evidence.facts(inputs.regime),
        },
        alternatives: alternatives(state, inputs, &wanted, &forecasts, why, now),
        promised_p99_seconds: promised(&forecasts, &inputs.lately, from, to),
        cooldown_left_seconds: state.cooldown_left(settings.cooldown, now).as_secs_f64(),
        rule: wanted.rule,
        regime: inputs.regime,
        suppressed: why,
        effect: None,
    };
    match why {
        Some(why) => state.suppressed = Some((to, why)),
        None => {
            state.promise = Some(Promise {
                decision: decision.id,
                from,
                to,
                at: now,
                before: inputs.lately,
                binding: wanted.grounds == Grounds::Gain,
            });
            state.current = to;
            state.last_switch = Some(now);
            state.by_rule = inputs.rule.is_some();
            (state.suppressed, state.revert, state.forecasts) = (None, None, None);
        }
    }
    Outcome {
        decision: Some(decision),
        effect,
    }
}

/// What is measured now, changed as the forecasts say it would.
fn promised(forecasts: &[Forecast], lately: &Lately, from: Name, to: Name) -> Option<f64> {
    Some(lately.p99? * ratio(forecasts, |forecast| forecast.p99, from, to)?)
}

fn alternatives(
    state: &State,
    inputs: &Inputs<'_>,
    wanted: &Wanted,
    forecasts: &[Forecast],
    why: Option<Why>,
    now: Duration,
) -> Vec<Alternative> {
    let mut names = vec![wanted.to, state.current];
    names.extend(&inputs.settings.candidates);
    let mut known = Vec::<Alternative>::new();
    for name in names {
        if known.iter().any(|other| other.strategy == name) {
            continue;
        }
        let forecast = forecasts.iter().find(|forecast| forecast.strategy == name);
        let rejected = match why {
            None if name == wanted.to => None,
            _ => Some(rejection(state, inputs, wanted, forecasts, name, now)),
        };
        known.push(Alternative {
            strategy: name,
            p50_seconds: forecast.map(|forecast| forecast.p50),
            p99_seconds: forecast.map(|forecast| forecast.p99),
            errors: forecast.map(|forecast| forecast.errors),
            // What picks on because the wanted one may not is not rejected either.
            rejected: rejected.filter(|_| why.is_none() || name != state.current),
        });
    }
    known
}

/// Why `name` does not pick from now on.
fn rejection(
    state: &State,
    inputs: &Inputs<'_>,
    wanted: &Wanted,
    forecasts: &[Forecast],
    name: Name,
    now: Duration,
) -> String {
    let seconds = |left: Duration| format!("{:.0} s", left.as_secs_f64().ceil());
    if let Some(left) = state.barred(name, now) {
        return format!("barred for {} more: it made things worse", seconds(left));
    }
    let of = |name| gain(forecasts, state.current, name);
    if name != wanted.to {
        return match (name == state.current, of(wanted.to)) {
            (true, Some(ratio)) if wanted.grounds == Grounds::Gain => format!(
                "its p99, with a second for each error, is foretold {:.0} % above that of {}",
                (1.0 / ratio - 1.0) * 100.0,
                wanted.to
            ),
            _ => format!("`{}` calls for {}", wanted.rule, wanted.to),
        };
    }
    let settings = inputs.settings;
    if wanted.grounds != Grounds::Order && !settings.allows(name) {
        return "not one of `engine.candidates`".to_owned();
    }
    let left = state.cooldown_left(settings.cooldown, now);
    match (inputs.forbidden, of(name)) {
        (None, _) if !left.is_zero() => format!("cool-down: {} left", seconds(left)),
        (_, ratio) if !approved(wanted.grounds, forecasts, state.current, name) => match ratio {
            Some(ratio) => format!(
                "its p99, with a second for each error, is foretold at {:.0} % of that of {}",
                ratio * 100.0,
                state.current
            ),
            None => "nothing could be foretold".to_owned(),
        },
        (Some(Why::ByHand), _) => "the strategy was set by hand".to_owned(),
        _ => "the engine only advises".to_owned(),
    }
}

#[cfg(test)]
mod tests;
