//! `lemonade backends`: the running balancer's backends, to look at and to change.

use super::text::{self, Tense, cell, milliseconds};
use super::{Failure, ask};
use crate::cli::{self, BackendsAction, Change};
use crate::client::Body;
use hyper::Method;
use serde_json::{Value, json};

pub(crate) fn run(options: cli::Backends) -> Result<(), Failure> {
    let Some(action) = options.action else {
        return list(&options.reach);
    };
    let (method, path, body, change) = match action {
        BackendsAction::List { reach } => return list(&reach),
        BackendsAction::Add {
            address,
            name,
            weight,
            change,
        } => {
            let mut new = json!({ "address": address, "weight": weight });
            if let Some(name) = name {
                new["name"] = name.into();
            }
            (Method::POST, String::new(), Body::json(&new), change)
        }
        BackendsAction::Remove { backend, change } => {
            (Method::DELETE, segment(&backend), Body::none(), change)
        }
        BackendsAction::Drain { backend, change } => {
            let path = segment(&backend) + "/drain";
            (Method::POST, path, Body::none(), change)
        }
        BackendsAction::Enable { backend, change } => {
            let path = segment(&backend) + "/enable";
            (Method::POST, path, Body::none(), change)
        }
        BackendsAction::Weight {
            backend,
            weight,
            change,
        } => {
            let path = segment(&backend) + "/weight";
            let body = Body::json(&json!({ "weight": weight }));
            (Method::PUT, path, body, change)
        }
    };
    let Change { persist, reach } = change;
    let path = format!("/backends{path}{}", persisting(persist));
    ask(&reach, method, &path, body, |plan| {
        text::plan(plan, Tense::Did)
    })
}

pub(super) fn persisting(persist: bool) -> &'static str {
    if persist { "?persist=true" } else { "" }
}

/// A name as one step of a path (RFC 3986 3.3): whatever is not plain is written as its bytes.
pub(super) fn segment(name: &str) -> String {
    let mut segment = String::from("/");
    for byte in name.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' => {
                segment.push(char::from(byte));
            }
            other => segment.push_str(&format!("%{other:02X}")),
        }
    }
    segment
}

fn list(reach: &cli::Reach) -> Result<(), Failure> {
    ask(reach, Method::GET, "/backends", Body::none(), show)
}

fn show(backends: &Value) -> String {
    let row = |backend: &Value| {
        vec![
            cell(&backend["name"]),
            cell(&backend["address"]),
            cell(&backend["state"]),
            weight(backend),
            in_flight(backend),
            cell(&backend["requests"]),
            cell(&backend["errors"]),
            cell(&backend["failures"]),
            cell(&backend["ejections"]),
            milliseconds(&backend["latency_seconds"]),
            cell(&backend["source"]),
        ]
    };
    let rows: Vec<_> = backends.as_array().into_iter().flatten().map(row).collect();
    let head = [
        "NAME",
        "ADDRESS",
        "STATE",
        "WEIGHT",
        "IN FLIGHT",
        "REQUESTS",
        "5XX",
        "FAILURES",
        "EJECTIONS",
        "LATENCY",
        "SOURCE",
    ];
    let mut text = text::table(&head, &rows);
    for backend in backends.as_array().into_iter().flatten() {
        if let Some(why) = backend["why"].as_str() {
            let (name, state) = (cell(&backend["name"]), cell(&backend["state"]));
            text += &format!("{name}  {state}: {why}\n");
        }
    }
    text
}

/// `2`; `0.5 of 2` in a slow start; `2 (backup)`.
fn weight(backend: &Value) -> String {
    let whole = cell(&backend["weight"]);
    let effective = backend["effective_weight"].as_f64();
    let text = match effective.filter(|effective| Some(*effective) != backend["weight"].as_f64()) {
        Some(effective) => format!("{effective:.2} of {whole}"),
        None => whole,
    };
    match backend["tier"] == "backup" {
        true => format!("{text} (backup)"),
        false => text,
    }
}

/// `3`, or `3 of 200`.
fn in_flight(backend: &Value) -> String {
    let now = cell(&backend["in_flight"]);
    match backend["max_in_flight"].as_u64() {
        Some(limit) => format!("{now} of {limit}"),
        None => now,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weight_says_how_much_of_it_counts() {
        let backend = |effective: f64, tier: &str| json!({ "weight": 2, "effective_weight": effective, "tier": tier });
        assert_eq!(weight(&backend(2.0, "primary")), "2");
        assert_eq!(weight(&backend(0.5, "primary")), "0.50 of 2");
        assert_eq!(weight(&backend(2.0, "backup")), "2 (backup)");
    }

    #[test]
    fn names_become_one_step_of_a_path() {
        assert_eq!(segment("127.0.0.1:80"), "/127.0.0.1:80");
        assert_eq!(segment("a b/ü?"), "/a%20b%2F%C3%BC%3F");
        assert_eq!(segment("[::1]:80"), "/%5B::1%5D:80");
    }
}
