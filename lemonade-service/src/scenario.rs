//! A timeline of chaos: what changes, and how long after the worker's start.
//!
//! Read at start by the configuration, played by the worker. Promise: a scenario that was read can be played; when
//! its steps fall is a function of their number alone, so tests need no clock.

use std::path::Path;
use std::time::Duration;

use lemonade_config::{Document, Environment, Faults, Located, RawDuration};
use serde::Deserialize;

use crate::chaos::Change;

/// Steps in the order of time, played once or over and over. Never empty.
#[derive(Debug, Clone)]
pub struct Scenario {
    steps: Vec<Step>,
    /// How long one round takes; None when there is only one.
    round: Option<Duration>,
}

#[derive(Debug, Clone)]
struct Step {
    at: Duration,
    change: Change,
}

impl Scenario {
    /// Reads a YAML, TOML or JSON file, with every fault in it.
    pub fn load(path: &Path, environment: &Environment) -> Result<Scenario, Faults> {
        Scenario::decode(&Document::load(path, environment)?)
    }

    fn decode(document: &Document) -> Result<Scenario, Faults> {
        let (raw, mut faults) = document.decode::<RawScenario>();
        let raw = raw.unwrap_or_default();
        let every = raw.every.map(RawDuration::or_millis);
        let mut last = Duration::ZERO;
        let mut steps = Vec::with_capacity(raw.steps.len());
        for Located { path, value: step } in raw.steps {
            let Some(at) = step.at.map(RawDuration::or_millis) else {
                // One that is there has a fault of its own.
                if !document.has(&format!("{path}.at")) {
                    faults.push(document.fault(&path, "the key `at` is missing"));
                }
                continue;
            };
            if at < last {
                let path = format!("{path}.at");
                faults.push(document.fault(&path, "expected no earlier than the step before"));
            }
            if !step.reset && step.set.is_none() {
                faults.push(document.fault(&path, "expected `set` or `reset: true`"));
            }
            last = last.max(at);
            let mut change = step.set.unwrap_or_default();
            change.reset |= step.reset;
            steps.push(Step { at, change });
        }
        if steps.is_empty() && faults.is_empty() {
            faults.push(document.fault("steps", "expected at least one step"));
        }
        let round = every.or(raw.repeat.then_some(last));
        if let Some(round) = round
            && faults.is_empty()
        {
            faults.extend(too_short(document, round, last));
        }
        Faults::check(faults)?;
        Ok(Scenario { steps, round })
    }

    /// The step that is played as the `number`th, from 0, and when; None after the last.
    pub(crate) fn step(&self, number: u64) -> Option<(Duration, &Change)> {
        let count = self.steps.len() as u64;
        let step = &self.steps[usize::try_from(number % count).ok()?];
        match (number / count, self.round) {
            (0, _) => Some((step.at, &step.change)),
            (_, None) => None,
            (rounds, Some(round)) => {
                let before = round.checked_mul(u32::try_from(rounds).ok()?)?;
                Some((before.checked_add(step.at)?, &step.change))
            }
        }
    }
}

/// A round that ends before its last step, or at once, cannot be repeated.
fn too_short(
    document: &Document,
    round: Duration,
    last: Duration,
) -> Option<lemonade_config::Fault> {
    let key = if document.has("every") {
        "every"
    } else {
        "repeat"
    };
    if round < last {
        return Some(document.fault(key, "expected no less than the last step's `at`"));
    }
    let problem = "expected a round of more than 0s: give `every`";
    round.is_zero().then(|| document.fault(key, problem))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawScenario {
    steps: Vec<Located<RawStep>>,
    /// From the beginning again after the last step, or after `every`.
    repeat: bool,
    /// The length of a round; means `repeat`.
    every: Option<RawDuration>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawStep {
    at: Option<RawDuration>,
    set: Option<Change>,
    reset: bool,
}

#[cfg(test)]
mod tests {
    use lemonade_config::Format;

    use super::*;

    fn scenario(text: &str) -> Result<Scenario, Faults> {
        let environment = Environment::default();
        Scenario::decode(&Document::parse(
            "s.yaml",
            Format::Yaml,
            text,
            &environment,
        )?)
    }

    fn times(scenario: &Scenario) -> Vec<u64> {
        let steps = (0..5).map_while(|number| scenario.step(number));
        steps.map(|(at, _)| at.as_secs()).collect()
    }

    const STEPS: &str = "steps: [{at: 5s, set: {error_rate: 50%}}, {at: 20s, reset: true}]\n";

    #[test]
    fn steps_are_played_once() {
        let scenario = scenario(STEPS).unwrap();
        assert_eq!(times(&scenario), [5, 20]);
        assert!(scenario.step(1).unwrap().1.reset);
    }

    #[test]
    fn repeated_rounds_begin_at_the_last_step_or_every() {
        let repeated = scenario(&format!("{STEPS}repeat: true")).unwrap();
        assert_eq!(times(&repeated), [5, 20, 25, 40, 45]);
        let spaced = scenario(&format!("{STEPS}every: 1m")).unwrap();
        assert_eq!(times(&spaced), [5, 20, 65, 80, 125]);
    }

    #[test]
    fn repetition_has_an_end_instead_of_an_overflow() {
        let endless = scenario("steps: [{at: 3650d, reset: true}]\nrepeat: true").unwrap();
        assert!(endless.step(u64::MAX).is_none());
    }

    #[test]
    fn every_fault_has_its_place() {
        let faults = scenario(
            "steps:\n\
             - { at: 5s }\n\
             - { at: 1s, reset: true }\n\
             - { set: { hang: true } }\n\
             - { at: 9s, set: { hng: true, error_rate: 50% } }\n\
             - { at: soon, reset: true }\n\
             repaet: true\n",
        );
        assert_eq!(
            faults.unwrap_err().to_string(),
            "6 faults\n\
             s.yaml:2:3: steps[0]: expected `set` or `reset: true`\n\
             s.yaml:3:9: steps[1].at: expected no earlier than the step before\n\
             s.yaml:4:3: steps[2]: the key `at` is missing\n\
             s.yaml:5:20: steps[3].set.hng: unknown key (did you mean `hang`?)\n\
             s.yaml:6:9: steps[4].at: expected a duration such as `5s`, `250ms` or `1m30s`, found `soon`\n\
             s.yaml:7:1: repaet: unknown key (did you mean `repeat`?)"
        );
    }

    #[test]
    fn rounds_that_cannot_be_played_are_refused() {
        for (text, message) in [
            ("", "s.yaml:1:1: steps: expected at least one step"),
            ("steps: []", "s.yaml:1:8: steps: expected at least one step"),
            (
                "steps: [{at: 5s, reset: true}]\nevery: 2s",
                "s.yaml:2:8: every: expected no less than the last step's `at`",
            ),
            (
                "steps: [{at: 0s, reset: true}]\nrepeat: true",
                "s.yaml:2:9: repeat: expected a round of more than 0s: give `every`",
            ),
        ] {
            assert_eq!(scenario(text).unwrap_err().to_string(), message);
        }
    }
}
