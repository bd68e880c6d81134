//! What a comparison of strategies found, and how it is told: as a table, as JSON, as one HTML file.
//!
//! A [`Comparison`] in, text out: it does not matter whether requests were simulated or sent. `lemonade bench` counts with the same
//! [`Recorder`] and prints the same reports.

mod html;
mod json;
mod plot;
mod recorder;
mod table;

pub use html::html;
pub use json::json;
pub use recorder::{Outcome, Recorder};
pub use table::table;

use hdrhistogram::{Counter, Histogram};
use std::ops::Range;
use std::time::Duration;

/// The all-knowing bound among the strategies.
pub const IDEAL: &str = "ideal";

/// Several strategies before the same pool, with the same requests.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// What was played.
    pub name: String,
    /// One sentence: what it shows. May be empty.
    pub about: String,
    /// Where all randomness began.
    pub seed: u64,
    /// How long requests came.
    pub duration: Duration,
    /// Who served them.
    pub backends: Vec<Target>,
    /// What went wrong, and when.
    pub troubles: Vec<Trouble>,
    /// What a reader should know of how it was done, a sentence each.
    pub notes: Vec<String>,
    /// One a strategy, in the order in which they are told.
    pub runs: Vec<Run>,
}

/// A backend.
#[derive(Clone, Debug)]
pub struct Target {
    /// What it is called.
    pub name: String,
    /// The share of all work that it can do, 0 to 1.
    pub fair_share: f64,
}

/// Something that went wrong.
#[derive(Clone, Debug)]
pub struct Trouble {
    /// From when to when.
    pub span: Range<Duration>,
    /// Indices of [`Comparison::backends`].
    pub backends: Vec<usize>,
    /// A word for it: `slow`, `crash`.
    pub what: String,
}

/// What became of the requests under one strategy.
#[derive(Clone, Debug)]
pub struct Run {
    /// Its name.
    pub strategy: String,
    /// How requests ended.
    pub counts: Counts,
    /// Of requests that were answered or timed out, in microseconds; quick errors are left out.
    pub latency: Histogram<u64>,
    /// How many requests each backend got.
    pub shares: Vec<u64>,
    /// The same over time.
    pub series: Series,
}

/// How requests ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All of them.
    pub requests: u64,
    /// With an error for an answer.
    pub failed: u64,
    /// Without a connection.
    pub refused: u64,
    /// With a connection that broke.
    pub broken: u64,
    /// Not within the client's patience.
    pub timed_out: u64,
}

/// A run over time.
#[derive(Clone, Debug)]
pub struct Series {
    /// From one point to the next: a second, or more where the run is long.
    pub step: Duration,
    /// In the order of time. Requests belong to the point at which they came.
    pub points: Vec<Point>,
}

/// What became of the requests that came within a step.
#[derive(Clone, Debug)]
pub struct Point {
    /// All of them.
    pub requests: u64,
    /// Those without a good answer.
    pub errors: u64,
    /// As [`Run::latency`] counts; `None` where nothing was.
    pub p99: Option<Duration>,
    /// How many each backend got.
    pub shares: Vec<u32>,
}

impl Counts {
    fn add(&mut self, outcome: Outcome) {
        self.requests += 1;
        match outcome {
            Outcome::Answered => {}
            Outcome::Failed => self.failed += 1,
            Outcome::Refused => self.refused += 1,
            Outcome::Broken => self.broken += 1,
            Outcome::TimedOut => self.timed_out += 1,
        }
    }

    /// Requests without a good answer.
    pub fn errors(&self) -> u64 {
        self.failed + self.refused + self.broken + self.timed_out
    }

    /// Their share, 0 to 1.
    pub fn error_rate(&self) -> f64 {
        self.errors() as f64 / self.requests.max(1) as f64
    }
}

impl Run {
    /// A quantile of the latencies: 0.99 is the 99th percentile. Zero where there is none.
    pub fn latency(&self, share: f64) -> Duration {
        quantile(&self.latency, share)
    }

    /// The mean latency.
    pub fn mean(&self) -> Duration {
        Duration::from_secs_f64(self.latency.mean() / 1e6)
    }

    /// The longest latency.
    pub fn max(&self) -> Duration {
        Duration::from_micros(self.latency.max())
    }

    /// How much more than its fair share of the requests the backend got that got the most of it: 1 is even.
    pub fn imbalance(&self, backends: &[Target]) -> f64 {
        let all: u64 = self.shares.iter().sum();
        let times = self.shares.iter().zip(backends).map(|(share, backend)| {
            *share as f64 / all.max(1) as f64 / backend.fair_share.max(f64::MIN_POSITIVE)
        });
        times.fold(0.0, f64::max)
    }
}

impl Comparison {
    /// How many times as long as the ideal's a run's 99th percentile is; `None` without an ideal to compare with.
    pub fn ratio_to_ideal(&self, run: &Run) -> Option<f64> {
        let ideal = self.runs.iter().find(|run| run.strategy == IDEAL)?;
        let [ours, best] = [run, ideal].map(|run| run.latency(0.99).as_secs_f64());
        (best > 0.0).then(|| ours / best)
    }
}

/// A strategy over several comparisons.
#[derive(Clone, Debug, PartialEq)]
pub struct Overall {
    /// Its name.
    pub strategy: String,
    /// The geometric mean of its ratios to the ideal.
    pub ratio_to_ideal: f64,
    /// The largest of them.
    pub worst: f64,
    /// Where that was.
    pub worst_in: String,
    /// The share of all requests that ended in an error.
    pub error_rate: f64,
}

/// Every strategy that all comparisons have with a ratio, in the order of the first.
pub fn overall(comparisons: &[Comparison]) -> Vec<Overall> {
    let Some(first) = comparisons.first() else {
        return Vec::new();
    };
    let strategies = first.runs.iter().map(|run| run.strategy.as_str());
    strategies
        .filter_map(|strategy| overall_of(strategy, comparisons))
        .collect()
}

fn overall_of(strategy: &str, comparisons: &[Comparison]) -> Option<Overall> {
    let mut logs = 0.0;
    let (mut worst, mut worst_in) = (0.0, "");
    let (mut requests, mut errors) = (0, 0);
    for comparison in comparisons {
        let run = comparison
            .runs
            .iter()
            .find(|run| run.strategy == strategy)?;
        let ratio = comparison.ratio_to_ideal(run)?;
        logs += ratio.ln();
        if ratio > worst {
            (worst, worst_in) = (ratio, &comparison.name);
        }
        requests += run.counts.requests;
        errors += run.counts.errors();
    }
    Some(Overall {
        strategy: strategy.to_owned(),
        ratio_to_ideal: (logs / comparisons.len() as f64).exp(),
        worst,
        worst_in: worst_in.to_owned(),
        error_rate: errors as f64 / requests.max(1) as f64,
    })
}

fn quantile<C: Counter>(latency: &Histogram<C>, share: f64) -> Duration {
    let value = latency.median_equivalent(latency.value_at_quantile(share));
    Duration::from_micros(value.min(latency.max()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The ideal, and round robin which takes twice as long, fails once, and sends three of four requests to one of two.
    pub(super) fn comparison(name: &str) -> Comparison {
        let run = |strategy: &str, millis: u64, to_first: usize, failures: usize| {
            let second = Duration::from_secs(1);
            let mut recorder = Recorder::new(2, Duration::ZERO, second);
            for number in 0..100 {
                let backend = usize::from(number >= to_first);
                let outcome = match number < failures {
                    true => Outcome::Failed,
                    false => Outcome::Answered,
                };
                let latency = Duration::from_millis(millis);
                recorder.record(Duration::ZERO, Some(backend), outcome, latency);
            }
            recorder.finish(strategy)
        };
        let target = |name: &str| Target {
            name: name.to_owned(),
            fair_share: 0.5,
        };
        Comparison {
            name: name.to_owned(),
            about: "shows something".to_owned(),
            seed: 1,
            duration: Duration::from_secs(1),
            backends: vec![target("b0"), target("b1")],
            troubles: vec![Trouble {
                span: Duration::ZERO..Duration::from_millis(500),
                backends: vec![1],
                what: "slow".to_owned(),
            }],
            notes: Vec::new(),
            runs: vec![run(IDEAL, 10, 50, 0), run("round_robin", 20, 75, 1)],
        }
    }

    #[test]
    fn ratios_over_all_are_a_geometric_mean() {
        let overall = overall(&[comparison("one"), comparison("two")]);
        assert_eq!(overall[1].strategy, "round_robin");
        assert!((overall[1].ratio_to_ideal - 2.0).abs() < 0.002);
        assert_eq!(overall[1].worst_in, "one");
        assert_eq!(overall[1].error_rate, 0.01);
    }
}
