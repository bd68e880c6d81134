//! The engine from tick to tick.

use super::regime::{Evidence, Judge};
use super::rules::{Condition, Readings, Rule, RuleState};
use super::shadow::Shadow;
use super::window::Windows;
use super::{Fact, Inputs, Lately, Mode, Outcome, PROBATION, Sample, Settings, State, Why, decide};
use crate::strategy::Name;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// Everything between two ticks.
#[derive(Debug)]
pub struct Engine {
    windows: Windows,
    judge: Judge,
    rules: HashMap<String, (Condition, RuleState)>,
    state: State,
}

/// What one tick goes by.
#[derive(Debug)]
pub struct Orders<'o> {
    /// What the configuration says.
    pub settings: &'o Settings,
    /// What sources outside said lately.
    pub external: &'o BTreeMap<String, f64>,
    /// Somebody set the strategy by hand.
    pub by_hand: bool,
}

impl Engine {
    /// Begins with `current`.
    pub fn new(current: Name) -> Self {
        Engine {
            windows: Windows::default(),
            judge: Judge::default(),
            rules: HashMap::new(),
            state: State::new(current),
        }
    }

    /// Who picks, where it is the engine's to say.
    pub fn current(&self) -> Name {
        self.state.current
    }

    /// Somebody else says who picks now: the cool-down begins anew.
    pub fn follow(&mut self, current: Name, now: Duration) {
        self.state.current = current;
        self.state.last_switch = Some(now);
        (self.state.promise, self.state.revert) = (None, None);
        self.state.by_rule = false;
    }

    /// When the last switch was, by the engine or by hand.
    pub fn switched(&self) -> Option<Duration> {
        self.state.last_switch
    }

    /// Nobody looks for a while: what was seen before says nothing about what comes after. Who picks, and since when, stays.
    pub fn forget(&mut self) {
        if self.windows.is_empty() {
            return;
        }
        (self.windows, self.judge) = (Windows::default(), Judge::default());
        self.rules.clear();
        (self.state.promise, self.state.revert) = (None, None);
        self.state.by_rule = false;
        (self.state.suppressed, self.state.forecasts) = (None, None);
    }

    /// Takes in one second and weighs it. `seed`: for what is played before a switch. Cost: about half a microsecond a
    /// backend; before a switch, some milliseconds.
    pub fn tick(
        &mut self,
        sample: &Sample,
        orders: &Orders<'_>,
        now: Duration,
        seed: u64,
    ) -> Outcome {
        self.windows.observe(sample, now);
        let evidence = Evidence::of(&self.windows);
        let regime = self.judge.judge(&evidence, now);
        let settings = orders.settings;
        let rule = self.rule(&evidence, orders, now);
        let since = self.state.promise.as_ref().map(|promise| promise.at);
        let half_minute = now.saturating_sub(PROBATION);
        let lately = self
            .windows
            .since(since.map_or(half_minute, |at| at.max(half_minute)));
        let inputs = Inputs {
            settings,
            evidence,
            regime,
            regime_held: self.judge.held(now),
            rule,
            weighted: sample
                .backends
                .windows(2)
                .any(|pair| pair[0].weight != pair[1].weight),
            forbidden: match (orders.by_hand, settings.mode) {
                (true, _) => Some(Why::ByHand),
                (false, Mode::On) => None,
                (false, Mode::Advise | Mode::Off) => Some(Why::Advise),
            },
            lately: Lately::of(&lately),
        };
        let windows = &self.windows;
        let mut play = |names: &[Name]| {
            let shadow = Shadow::new(windows, seed);
            let played = shadow.map(|shadow| names.iter().map(|name| shadow.play(*name)).collect());
            played.unwrap_or_default()
        };
        decide(&inputs, &mut self.state, now, &mut play)
    }

    /// The first of the operator's rules that applies. All of them are looked at: each has its own time.
    fn rule<'o>(
        &mut self,
        evidence: &Evidence,
        orders: &Orders<'o>,
        now: Duration,
    ) -> Option<(&'o Rule, Vec<Fact>)> {
        let rules = &orders.settings.rules;
        let same = |name: &String, when: &Condition| {
            let mut rules = rules.iter();
            rules.any(|rule| rule.name == *name && rule.when == *when)
        };
        self.rules.retain(|name, (when, _)| same(name, when));
        if rules.is_empty() {
            return None;
        }
        let readings = Readings::of_now(&self.windows, evidence, orders.external);
        let mut first = None;
        for rule in rules {
            let new = || (rule.when.clone(), RuleState::default());
            let (_, state) = self.rules.entry(rule.name.clone()).or_insert_with(new);
            if state.step(&rule.when, &readings, now) && first.is_none() {
                first = Some((rule, rule.when.facts(&readings)));
            }
        }
        first
    }
}
