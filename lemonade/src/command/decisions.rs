//! `lemonade decisions`: what the engine decided, and why; `-f` goes on as it decides.

use super::text::{cell, print};
use super::{Failure, ask, runtime};
use crate::cli::{self, Reach};
use crate::client::{Body, Client, Event, FROM_NOW_ON, Feed};
use hyper::Method;
use serde_json::Value;
use std::fmt::Write;

/// The events that tell of decisions.
const KINDS: [&str; 2] = ["decision", "decision_settled"];

pub(crate) fn run(options: &cli::Decisions) -> Result<(), Failure> {
    let path = format!("/decisions?limit={}", options.limit);
    match options.follow {
        true => follow(&options.reach, &path),
        false => ask(&options.reach, Method::GET, &path, Body::none(), show_all),
    }
}

/// Prints those that were made, and then each as it is made, until the balancer goes; as JSON, one a line.
fn follow(reach: &Reach, path: &str) -> Result<(), Failure> {
    let client = Client::reach(reach)?;
    let tell = |decision: &Value| match reach.json {
        true => print(&format!("{decision}\n")),
        false => print(&format!("{}\n", show(decision))),
    };
    runtime()?.block_on(async {
        let made = client.call(Method::GET, path, Body::none()).await?;
        let made = made["decisions"].as_array().into_iter().flatten();
        made.rev().try_for_each(tell)?;
        let told = |event: &Event| match is_decision(event) {
            true => tell(&event.json()["decision"]),
            false => Ok(()),
        };
        let feed = Feed {
            path: "/events",
            after: FROM_NOW_ON,
            silence: None,
        };
        client.follow(&feed, told).await
    })
}

fn is_decision(event: &Event) -> bool {
    KINDS.contains(&event.kind.as_str())
}

/// The newest last, as a log is read.
fn show_all(answer: &Value) -> String {
    let decisions = answer["decisions"].as_array();
    let decisions: Vec<String> = decisions.into_iter().flatten().rev().map(show).collect();
    match decisions.is_empty() {
        true => "nothing was decided yet\n".to_owned(),
        false => decisions.join("\n"),
    }
}

fn show(decision: &Value) -> String {
    let mut text = format!(
        "{}  #{} {} -> {}  by `{}`",
        cell(&decision["time"]),
        decision["id"],
        cell(&decision["from"]),
        cell(&decision["to"]),
        cell(&decision["rule"]),
    );
    if let Some(why) = decision["suppressed"].as_str() {
        let left = decision["cooldown_left_seconds"].as_f64().unwrap_or(0.0);
        let why = match why {
            "cooldown" => format!("cool-down, {left:.0}s left"),
            other => other.replace('_', " "),
        };
        let _ = write!(text, "  NOT DONE: {why}");
    }
    text.push('\n');
    for fact in items(decision, "evidence") {
        let (what, value) = (cell(&fact["what"]), cell(&fact["value"]));
        let _ = writeln!(text, "  {what} {value} ({})", cell(&fact["threshold"]));
    }
    for other in items(decision, "alternatives") {
        let _ = writeln!(text, "  {}", alternative(other));
    }
    if let Some(promised) = decision["promised_p99_seconds"].as_f64() {
        let _ = writeln!(text, "  promised p99 {}", time(promised));
    }
    if decision["effect"].is_object() {
        let _ = writeln!(text, "  effect: {}", effect(&decision["effect"]));
    }
    text
}

fn items<'d>(decision: &'d Value, key: &str) -> impl Iterator<Item = &'d Value> {
    decision[key].as_array().into_iter().flatten()
}

fn alternative(other: &Value) -> String {
    let mut text = format!("{:<22}", cell(&other["strategy"]));
    if let (Some(p50), Some(p99)) = (other["p50_seconds"].as_f64(), other["p99_seconds"].as_f64()) {
        let errors = other["errors"].as_f64().unwrap_or(0.0) * 100.0;
        let (p50, p99) = (time(p50), time(p99));
        let _ = write!(text, " foretold p50 {p50}, p99 {p99}, errors {errors:.1}%");
    }
    if let Some(why) = other["rejected"].as_str() {
        let _ = write!(text, "  rejected: {why}");
    }
    text
}

fn effect(effect: &Value) -> String {
    let seconds = |key: &str| effect[key].as_f64().map_or("-".to_owned(), time);
    let rate = |key: &str| effect[key].as_f64().unwrap_or(0.0);
    format!(
        "{}; p99 {} before, {} after ({:.0} and {:.0} requests/s)",
        cell(&effect["verdict"]).replace('_', " "),
        seconds("before_p99_seconds"),
        seconds("after_p99_seconds"),
        rate("before_rate"),
        rate("after_rate"),
    )
}

fn time(seconds: f64) -> String {
    format!("{:.1}ms", seconds * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn decision_is_told_with_its_reasons() {
        let told = show(&json!({
            "id": 3, "time": "2026-01-02T03:04:05Z", "from": "least_delay", "to": "round_robin", "rule": "calm",
            "evidence": [{ "what": "spread", "value": "1.05", "threshold": "< 1.2 is alike" }],
            "alternatives": [{ "strategy": "round_robin", "p50_seconds": 0.01, "p99_seconds": 0.02, "errors": 0.001, "rejected": "cool-down: 9 s left" }],
            "promised_p99_seconds": 0.021,
            "cooldown_left_seconds": 9.0, "suppressed": "cooldown",
            "effect": { "verdict": "load_changed", "before_p99_seconds": 0.03, "before_rate": 10.0, "after_rate": 99.0 },
        }));
        assert_eq!(
            told,
            "2026-01-02T03:04:05Z  #3 least_delay -> round_robin  by `calm`  NOT DONE: cool-down, 9s left\n  \
             spread 1.05 (< 1.2 is alike)\n  \
             round_robin            foretold p50 10.0ms, p99 20.0ms, errors 0.1%  rejected: cool-down: 9 s left\n  \
             promised p99 21.0ms\n  \
             effect: load changed; p99 30.0ms before, - after (10 and 99 requests/s)\n"
        );
    }

    #[test]
    fn other_events_are_not_told() {
        let event = |kind: &str| Event {
            kind: kind.to_owned(),
            data: Vec::new(),
        };
        assert!(is_decision(&event("decision_settled")));
        assert!(!is_decision(&event("reloaded")));
    }
}
