//! `lemonade explain`: who would get a request now, and why; `--last`: who got some.

use super::text::{cell, table};
use super::{Failure, ask};
use crate::cli;
use crate::client::Body;
use hyper::Method;
use serde_json::{Map, Value, json};
use std::fmt::Write;

/// Ranked backends that are shown; the others are in the JSON.
const MOST_SHOWN: usize = 30;
/// Terms that have a column of their own already.
const SHOWN_ANYWAY: [&str; 2] = ["in_flight", "weight"];

pub(crate) fn run(options: &cli::Explain) -> Result<(), Failure> {
    let reach = &options.reach;
    if let Some(limit) = options.last {
        let path = format!("/explain/picks?limit={limit}");
        return ask(reach, Method::GET, &path, Body::none(), show_picks);
    }
    let body = Body::json(&asked(options)?);
    ask(reach, Method::POST, "/explain", body, show)
}

/// The request as the API wants it described.
fn asked(options: &cli::Explain) -> Result<Value, Failure> {
    let (method, url) = match &options.request[..] {
        [url] => ("GET", url),
        [method, url] => (method.as_str(), url),
        _ => return Err(Failure::Usage("expected `[METHOD] URL`".to_owned())),
    };
    let headers = headers(&options.headers)?;
    let mut asked = json!({ "method": method, "url": url, "headers": headers });
    if let Some(client) = &options.client {
        asked["client"] = client.as_str().into();
    }
    Ok(asked)
}

/// Fields of one name are one, as RFC 9110 5.3 allows; cookies as RFC 6265 5.4 has them.
fn headers(lines: &[String]) -> Result<Map<String, Value>, Failure> {
    let mut headers = Map::<String, Value>::new();
    for line in lines {
        let Some((name, value)) = line.split_once(':') else {
            let problem = format!("`{line}`: expected a header field as `Name: value`");
            return Err(Failure::Usage(problem));
        };
        let value = value.trim();
        let known = headers
            .iter_mut()
            .find(|(known, _)| known.eq_ignore_ascii_case(name));
        match known {
            None => {
                headers.insert(name.to_owned(), value.into());
            }
            Some((_, first)) => {
                let comma = match name.eq_ignore_ascii_case("cookie") {
                    true => "; ",
                    false => ", ",
                };
                *first = (cell(first) + comma + value).into();
            }
        }
    }
    Ok(headers)
}

fn show(report: &Value) -> String {
    let mut text = head(report);
    let backends: Vec<&Value> = items(report, "backends").collect();
    let ranked: Vec<&Value> = backends
        .iter()
        .copied()
        .filter(|backend| backend["rank"].is_number())
        .collect();
    if !ranked.is_empty() {
        text += &compared(&ranked);
    }
    for out in backends.iter().filter(|backend| backend["why"].is_string()) {
        let (name, state, why) = (cell(&out["name"]), cell(&out["state"]), cell(&out["why"]));
        let _ = writeln!(text, "{name}  {state}: {why}");
    }
    let why = cell(&report["why"]);
    match report["picked"].as_str() {
        Some(picked) => text += &format!("{picked} would be picked: {why}\n"),
        None => text += &format!("{why}\n"),
    }
    text
}

/// All that is not of one backend.
fn head(report: &Value) -> String {
    let mut text = cell(&report["strategy"]);
    if report["picks_by"] != report["strategy"] {
        let _ = write!(text, " (now {})", cell(&report["picks_by"]));
    }
    if let Some(rule) = report["rule"].as_str() {
        let _ = write!(text, ": {rule}");
    }
    text.push('\n');
    for key in ["key", "sticky", "panic"] {
        if let Some(said) = report[key].as_str() {
            let _ = writeln!(text, "{key}: {said}");
        }
    }
    let trials: Vec<String> = items(report, "trials").map(cell).collect();
    if !trials.is_empty() {
        let _ = writeln!(text, "trials first: {}", trials.join(", "));
    }
    text.push('\n');
    text
}

/// A table of backends that have ranks, with a column for each of the strategy's terms.
fn compared(backends: &[&Value]) -> String {
    let is_shown = |(place, backend): &(usize, &&Value)| {
        *place < MOST_SHOWN || backend["picked"] == Value::Bool(true)
    };
    let shown: Vec<&Value> = backends
        .iter()
        .enumerate()
        .filter(is_shown)
        .map(|(_, backend)| *backend)
        .collect();
    let by_chance = backends.iter().any(|backend| {
        let chance = backend["chance"].as_f64().unwrap_or(0.0);
        chance > 0.0 && chance < 1.0
    });
    let mut columns: Vec<(String, Column)> = vec![
        ("".to_owned(), Column::Picked),
        ("RANK".to_owned(), Column::Field("rank")),
        ("NAME".to_owned(), Column::Field("name")),
        ("STATE".to_owned(), Column::Field("state")),
        ("IN FLIGHT".to_owned(), Column::InFlight),
        ("WEIGHT".to_owned(), Column::Field("effective_weight")),
    ];
    columns.extend(terms(&shown));
    if by_chance {
        columns.push(("CHANCE".to_owned(), Column::Chance));
    }
    let mut text = laid_out(&columns, &shown);
    if let more @ 1.. = backends.len() - shown.len() {
        let _ = writeln!(text, "and {more} more (--json has them)");
    }
    text.push('\n');
    text
}

/// What a column holds.
#[derive(Clone)]
enum Column {
    Picked,
    Field(&'static str),
    InFlight,
    Term(String),
    Chance,
}

/// A column for each term of the first that has any.
fn terms(backends: &[&Value]) -> Vec<(String, Column)> {
    let first = backends
        .iter()
        .find(|backend| items(backend, "terms").next().is_some());
    let names = first
        .into_iter()
        .flat_map(|backend| items(backend, "terms"));
    let names = names.map(|term| cell(&term["name"]));
    let names = names.filter(|name| !SHOWN_ANYWAY.contains(&name.as_str()));
    names
        .map(|name| {
            let plain = name
                .trim_end_matches("_seconds")
                .trim_end_matches("_percent");
            let head = plain.replace('_', " ").to_uppercase();
            (head, Column::Term(name))
        })
        .collect()
}

fn laid_out(columns: &[(String, Column)], backends: &[&Value]) -> String {
    let row = |backend: &&Value| -> Vec<String> {
        let cells = columns.iter();
        cells.map(|(_, column)| column.cell(backend)).collect()
    };
    let head: Vec<&str> = columns.iter().map(|(head, _)| head.as_str()).collect();
    let rows: Vec<Vec<String>> = backends.iter().map(row).collect();
    table(&head, &rows)
}

impl Column {
    fn cell(&self, backend: &Value) -> String {
        match self {
            Column::Picked => match backend["picked"] == Value::Bool(true) {
                true => "*".to_owned(),
                false => String::new(),
            },
            Column::Field("effective_weight") => {
                number(backend["effective_weight"].as_f64().unwrap_or(0.0))
            }
            Column::Field(name) => cell(&backend[*name]),
            Column::InFlight => match backend["max_in_flight"].as_u64() {
                Some(limit) => format!("{} of {limit}", cell(&backend["in_flight"])),
                None => cell(&backend["in_flight"]),
            },
            Column::Chance => percent(backend["chance"].as_f64().unwrap_or(0.0)),
            Column::Term(name) => {
                let mut terms = items(backend, "terms");
                let term = terms.find(|term| term["name"] == name.as_str());
                let value = term.and_then(|term| term["value"].as_f64());
                value.map_or_else(|| "-".to_owned(), |value| with_unit(name, value))
            }
        }
    }
}

/// A term's value, in the unit that its name gives.
fn with_unit(name: &str, value: f64) -> String {
    match name {
        _ if name.ends_with("_seconds") && value >= 10.0 => format!("{value:.1}s"),
        _ if name.ends_with("_seconds") => format!("{:.1}ms", value * 1e3),
        _ if name.ends_with("_percent") => format!("{value}%"),
        "share_of_keys" => percent(value),
        _ => number(value),
    }
}

fn number(value: f64) -> String {
    match value.fract() == 0.0 {
        true => format!("{value}"),
        false => format!("{value:.2}"),
    }
}

fn percent(share: f64) -> String {
    format!("{:.1}%", share * 100.0)
}

/// The newest last, as a log is read.
fn show_picks(answer: &Value) -> String {
    let picks: Vec<String> = items(answer, "picks").map(show_pick).collect();
    match picks.is_empty() {
        true => "no pick was kept yet (`engine.trace_sample` says of how many one is)\n".to_owned(),
        false => picks.into_iter().rev().collect::<Vec<_>>().join("\n"),
    }
}

fn show_pick(pick: &Value) -> String {
    let mut text = format!(
        "{}  {} picked {}: {}\n",
        cell(&pick["time"]),
        cell(&pick["strategy"]),
        cell(&pick["picked"]),
        cell(&pick["why"]),
    );
    let candidates: Vec<&Value> = items(pick, "candidates").collect();
    let mut columns: Vec<(String, Column)> = vec![
        ("".to_owned(), Column::Picked),
        ("RANK".to_owned(), Column::Field("rank")),
        ("NAME".to_owned(), Column::Field("name")),
    ];
    for name in SHOWN_ANYWAY {
        let mut all = candidates
            .iter()
            .flat_map(|candidate| items(candidate, "terms"));
        if all.any(|term| term["name"] == name) {
            let head = name.replace('_', " ").to_uppercase();
            columns.push((head, Column::Term(name.to_owned())));
        }
    }
    columns.extend(terms(&candidates));
    text += &laid_out(&columns, &candidates);
    text
}

fn items<'v>(value: &'v Value, key: &str) -> impl Iterator<Item = &'v Value> {
    value[key].as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_fields_are_one() {
        let lines = ["X-A: 1", "x-a:2 ", "Cookie: a=1", "Cookie: b=2"].map(str::to_owned);
        let headers = headers(&lines).unwrap();
        assert_eq!(
            Value::Object(headers),
            json!({ "X-A": "1, 2", "Cookie": "a=1; b=2" })
        );
        assert!(super::headers(&["nonsense".to_owned()]).is_err());
    }

    #[test]
    fn report_is_a_table_with_who_is_out_below() {
        let told = show(&json!({
            "strategy": "adaptive", "picks_by": "least_delay", "rule": "the lowest", "trials": ["w9"], "key": "path",
            "picked": "w2", "why": "the lowest of 2, 1.5 ms",
            "backends": [
                { "name": "w2", "state": "healthy", "picked": true, "rank": 1, "in_flight": 1, "max_in_flight": 9, "effective_weight": 0.5, "chance": 1.0,
                  "terms": [{ "name": "in_flight", "value": 1.0 }, { "name": "share_percent", "value": 100.0 }, { "name": "score_seconds", "value": 0.0015 }] },
                { "name": "w1", "state": "healthy", "picked": false, "rank": 2, "in_flight": 0, "effective_weight": 2.0, "chance": 0.0,
                  "terms": [{ "name": "in_flight", "value": 0.0 }, { "name": "share_percent", "value": 10.0 }, { "name": "score_seconds", "value": 12.0 }] },
                { "name": "w3", "state": "ejected", "picked": false, "why": "5 failures in a row" },
            ],
        }));
        assert_eq!(
            told,
            "adaptive (now least_delay): the lowest\nkey: path\ntrials first: w9\n\n\
             \x20  RANK  NAME  STATE    IN FLIGHT  WEIGHT  SHARE  SCORE\n\
             *     1  w2    healthy     1 of 9    0.50   100%  1.5ms\n\
             \x20     2  w1    healthy          0       2    10%  12.0s\n\n\
             w3  ejected: 5 failures in a row\n\
             w2 would be picked: the lowest of 2, 1.5 ms\n"
        );
    }
}
