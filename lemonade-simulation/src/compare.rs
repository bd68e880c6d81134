//! Every strategy over one case, each with the same requests.

use crate::ideal::Ideal;
use crate::picker::{Blind, Picker};
use crate::report::{Comparison, IDEAL, Recorder, Run, Target, Trouble};
use crate::scenario::{Backend, Fault, Scenario};
use crate::world::{self, Chooser, Drawn, Request, Stage, Work};
use lemonade_load_balancer::config::Config;
use lemonade_load_balancer::simulated::{Balancer, Setup};
use lemonade_load_balancer::strategy::{Name, UnknownStrategy};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Simulated requests have nothing to hash.
const NEEDS_KEY: [&str; 2] = ["consistent_hash", "maglev"];

/// Who is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contestant {
    /// The all-knowing bound.
    Ideal,
    /// The balancer's own code, with this strategy.
    Strategy(Name),
}

impl Contestant {
    /// The ideal, then every strategy that needs no key of the request to pick by.
    pub fn all() -> Vec<Contestant> {
        let strategies = Name::ALL
            .into_iter()
            .filter(|name| !NEEDS_KEY.contains(&name.as_str()));
        let strategies = strategies.map(Contestant::Strategy);
        std::iter::once(Contestant::Ideal)
            .chain(strategies)
            .collect()
    }

    /// As in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Contestant::Ideal => IDEAL,
            Contestant::Strategy(name) => name.as_str(),
        }
    }
}

impl fmt::Display for Contestant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Contestant {
    type Err = UnknownStrategy;

    fn from_str(word: &str) -> Result<Self, UnknownStrategy> {
        match word.trim() {
            IDEAL => Ok(Contestant::Ideal),
            other => other.parse().map(Contestant::Strategy),
        }
    }
}

/// A pool with the requests that come to it, as often as anyone wants to play them.
#[derive(Debug)]
pub struct Case {
    pub(crate) stage: Stage,
    pub(crate) source: Source,
    pub(crate) weights: Vec<u32>,
    pub(crate) replicas: usize,
    pub(crate) shared: bool,
    pub(crate) warm_up: Duration,
    /// What a comparison begins with: everything but the runs.
    pub(crate) told: Comparison,
}

/// Where requests come from.
#[derive(Debug)]
pub(crate) enum Source {
    Drawn(Box<Scenario>),
    Recorded(Vec<Request>),
}

impl From<Scenario> for Case {
    fn from(scenario: Scenario) -> Self {
        let backends = || scenario.backends.iter();
        let capacity: f64 = backends().map(Backend::capacity).sum();
        let told = Comparison {
            name: scenario.name.clone(),
            about: scenario.about.clone(),
            seed: scenario.seed,
            duration: scenario.duration,
            backends: backends()
                .map(|backend| Target {
                    name: backend.name.clone(),
                    fair_share: backend.capacity() / capacity,
                })
                .collect(),
            troubles: troubles(&scenario),
            notes: Vec::new(),
            runs: Vec::new(),
        };
        Case {
            stage: Stage {
                workers: backends().map(|backend| backend.workers).collect(),
                work: Work::Scaled {
                    speeds: backends().map(|backend| backend.speed).collect(),
                    mean: scenario.cost.mean.as_secs_f64(),
                },
                changes: scenario.changes(),
                health: scenario.health,
                timeout: scenario.timeout,
            },
            weights: backends().map(|backend| backend.weight).collect(),
            replicas: scenario.replicas,
            shared: scenario.shared,
            warm_up: scenario.warm_up,
            source: Source::Drawn(Box::new(scenario)),
            told,
        }
    }
}

fn troubles(scenario: &Scenario) -> Vec<Trouble> {
    let faults = scenario.faults.iter();
    let of = |fault: &Fault| -> Vec<Trouble> {
        let times = fault.times(scenario.duration);
        let trouble = |span| Trouble {
            span,
            backends: fault.backends.clone(),
            what: fault.kind.as_str().to_owned(),
        };
        times.map(trouble).collect()
    };
    faults.flat_map(of).collect()
}

/// How far a comparison is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Who is playing.
    pub contestant: Contestant,
    /// The share of the whole that is done, 0 to 1.
    pub done: f64,
}

/// Plays a case once for each contestant. `config` is what the strategies run with; `told` hears of progress often.
pub fn compare(
    case: &Case,
    contestants: &[Contestant],
    config: &Config,
    told: &mut dyn FnMut(Progress),
) -> Comparison {
    let mut comparison = case.told.clone();
    let count = contestants.len() as f64;
    for (place, contestant) in contestants.iter().copied().enumerate() {
        let mut told = |share: f64| {
            let done = (place as f64 + share) / count;
            told(Progress { contestant, done });
        };
        told(0.0);
        comparison.runs.push(match contestant {
            Contestant::Ideal => case.play(IDEAL, &mut Ideal, &mut told),
            Contestant::Strategy(name) => {
                let balancer = Balancer::new(&case.setup(name, config));
                case.play(name.as_str(), &mut Blind(balancer), &mut told)
            }
        });
    }
    comparison
}

impl Case {
    /// What its comparisons begin with: everything but the runs, for whoever brings runs of another kind.
    pub fn without_runs(&self) -> Comparison {
        self.told.clone()
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.told.name
    }

    /// Plays it once with anything that picks, under a name of its own.
    pub fn play_with(&self, name: &str, picker: impl Picker) -> Run {
        self.play(name, &mut Blind(picker), &mut |_| {})
    }

    fn play<C: Chooser>(&self, name: &str, chooser: &mut C, told: &mut dyn FnMut(f64)) -> Run {
        let duration = self.told.duration;
        let mut recorder = Recorder::new(self.weights.len(), self.warm_up, duration);
        let mut told = |at: Duration| told(at.as_secs_f64() / duration.as_secs_f64());
        let stage = &self.stage;
        match &self.source {
            Source::Drawn(scenario) => {
                let requests = Drawn::new(scenario);
                world::play(stage, requests, chooser, &mut recorder, &mut told);
            }
            Source::Recorded(requests) => {
                let requests = requests.iter().copied();
                world::play(stage, requests, chooser, &mut recorder, &mut told);
            }
        }
        recorder.finish(name)
    }

    fn setup(&self, strategy: Name, config: &Config) -> Setup {
        Setup {
            strategy,
            weights: self.weights.clone(),
            replicas: self.replicas,
            shared: self.shared,
            seed: self.told.seed,
            config: config.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_compared_that_need_no_key() {
        let all: Vec<&str> = Contestant::all()
            .into_iter()
            .map(Contestant::as_str)
            .collect();
        assert_eq!(all[0], IDEAL);
        assert!(all.contains(&"least_connections"));
        assert!(!all.iter().any(|name| NEEDS_KEY.contains(name)), "{all:?}");
        for name in all {
            assert_eq!(name.parse::<Contestant>().unwrap().as_str(), name);
        }
        for name in NEEDS_KEY {
            // Else the list above leaves out nothing.
            assert!(
                Name::ALL.iter().any(|known| known.as_str() == name),
                "{name}"
            );
        }
    }
}
