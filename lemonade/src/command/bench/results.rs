//! From what the clients saw and what the balancers wrote to what reports are made of.
//!
//! Clients know how their requests ended, and balancers who served them: each request carries its number as its id, by which it is
//! found in the access log.

use super::load::{End, Planned, Sample};
use super::wire::NoAnswer;
use lemonade_simulation::report::{Outcome, Recorder, Run};
use lemonade_simulation::scenario::Scenario;
use serde::Deserialize;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::PathBuf;

/// What a balancer says of a request.
#[derive(Clone, Copy, Debug, Default)]
struct Served {
    backend: Option<usize>,
    fate: Option<Outcome>,
}

/// As much of a line of the access log as is used here.
#[derive(Deserialize)]
struct Line {
    request_id: String,
    backend: Option<String>,
    flag: Option<String>,
}

impl Line {
    /// What the balancer's own errors mean; `None` for what a backend answered.
    fn fate(&self) -> Option<Outcome> {
        Some(match self.flag.as_deref()? {
            "timeout" => Outcome::TimedOut,
            "connect_failed" | "no_healthy_backend" | "overflow" => Outcome::Refused,
            "bad_answer" | "retries_exhausted" => Outcome::Broken,
            _ => return None,
        })
    }
}

/// Puts the two together. Access logs are read once they are complete.
pub(super) fn run(
    strategy: &str,
    scenario: &Scenario,
    requests: &[Planned],
    samples: &[Sample],
    access_logs: &[PathBuf],
) -> io::Result<Run> {
    let served = served(scenario, requests.len(), access_logs)?;
    let backends = scenario.backends.len();
    let mut recorder = Recorder::new(backends, scenario.warm_up, scenario.duration);
    for ((planned, sample), served) in requests.iter().zip(samples).zip(served) {
        let outcome = outcome(sample.end, served.fate);
        recorder.record(planned.due, served.backend, outcome, sample.latency);
    }
    Ok(recorder.finish(strategy))
}

fn outcome(end: End, fate: Option<Outcome>) -> Outcome {
    match end {
        End::Answered(200) => Outcome::Answered,
        End::Answered(504) | End::TimedOut => Outcome::TimedOut,
        End::Answered(_) => fate.unwrap_or(Outcome::Failed),
        End::Without(NoAnswer::Refused) => Outcome::Refused,
        End::Without(NoAnswer::Unanswered | NoAnswer::Broken) => Outcome::Broken,
    }
}

fn served(
    scenario: &Scenario,
    requests: usize,
    access_logs: &[PathBuf],
) -> io::Result<Vec<Served>> {
    let names = scenario.backends.iter().map(|backend| &*backend.name);
    let index: HashMap<&str, usize> = names.zip(0..).collect();
    let mut served = vec![Served::default(); requests];
    for path in access_logs {
        for line in BufReader::new(File::open(path)?).lines() {
            // The last line may be cut off where a balancer had to be killed.
            let Ok(line) = serde_json::from_str::<Line>(&line?) else {
                continue;
            };
            let number: Option<usize> = line.request_id.parse().ok();
            if let Some(served) = number.and_then(|number| served.get_mut(number)) {
                let backend = line.backend.as_deref();
                served.backend = backend.and_then(|name| index.get(name).copied());
                served.fate = line.fate();
            }
        }
    }
    Ok(served)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lemonade_config::{Document, Environment, Format};
    use std::time::Duration;

    #[test]
    fn balancers_say_who_served_and_why_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.jsonl");
        let lines = [
            r#"{"request_id":"1","backend":"b1","status":200,"time":"now"}"#,
            r#"{"request_id":"0","backend":"b0","status":500}"#,
            r#"{"request_id":"2","backend":"b1","status":502,"flag":"connect_failed"}"#,
            r#"{"request_id":"3","backend":null,"status":502,"flag":"retries_exhausted"}"#,
            r#"{"request_id":"4","backend":"b0","status":504,"flag":"timeout"}"#,
            r#"{"request_id":"a-probe's","backend":"b0","status":200}"#,
            r#"{"request_id":"5","ba"#,
        ];
        std::fs::write(&path, lines.join("\n")).unwrap();
        let text = "backends: [{ count: 2 }]\nduration: 1s";
        let document = Document::parse("s.yaml", Format::Yaml, text, &Environment::default());
        let scenario = Scenario::decode(&document.unwrap()).unwrap();
        let planned = Planned {
            due: Duration::ZERO,
            cost: Duration::ZERO,
            balancer: 0,
            doomed: false,
        };
        let ends = [
            End::Answered(500),
            End::Answered(200),
            End::Answered(502),
            End::Answered(502),
            End::Answered(504),
            End::TimedOut,
        ];
        let samples = ends.map(|end| Sample {
            latency: Duration::from_millis(10),
            end,
            late: Duration::ZERO,
            without_connection: false,
        });
        let run = run("random", &scenario, &[planned; 6], &samples, &[path]).unwrap();
        assert_eq!(run.strategy, "random");
        let counts = run.counts;
        assert_eq!(counts.requests, 6);
        assert_eq!(
            (
                counts.failed,
                counts.refused,
                counts.broken,
                counts.timed_out
            ),
            (1, 1, 1, 2)
        );
        assert_eq!(run.shares, [2, 2]);
    }
}
