//! An event in words, one line each.

use super::verdict::Level;
use crate::command::text::cell;
use serde_json::Value;

/// Something that happened, as it is shown.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Happened {
    id: u64,
    /// RFC 3339.
    pub(super) time: String,
    pub(super) level: Level,
    pub(super) words: String,
}

impl From<&Value> for Happened {
    fn from(event: &Value) -> Self {
        let (level, words) = told(event);
        Happened {
            id: event["id"].as_u64().unwrap_or(0),
            time: cell(&event["time"]),
            level,
            words: one_line(&words),
        }
    }
}

impl Happened {
    /// The time of the day, in UTC as the API has it.
    pub(super) fn clock(&self) -> &str {
        clock(&self.time)
    }
}

/// `03:04:05` of an RFC 3339 time.
pub(super) fn clock(time: &str) -> &str {
    time.get(11..19).unwrap_or(time)
}

/// What comes from outside may hold anything.
pub(super) fn one_line(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let joined = lines.collect::<Vec<_>>().join("; ");
    joined.replace(char::is_control, " ")
}

fn told(event: &Value) -> (Level, String) {
    let word = |key: &str| cell(&event[key]);
    match event["type"].as_str().unwrap_or_default() {
        "state_changed" => {
            let (backend, from, to, cause) =
                (word("backend"), word("from"), word("to"), word("cause"));
            (
                state_level(&to),
                format!("{backend}: {from} -> {to}: {cause}"),
            )
        }
        "panic" => match event["reason"].as_str() {
            None => (Level::Fine, "panic is over".to_owned()),
            Some(reason) => {
                let (usable, all) = (word("usable"), word("all"));
                let words = format!(
                    "panic, {}: {usable} of {all} usable",
                    reason.replace('_', " ")
                );
                (Level::Bad, words)
            }
        },
        "reloaded" => (
            Level::Fine,
            format!("configuration reloaded: {}", plan(&event["plan"])),
        ),
        "reload_refused" => (Level::Warn, format!("reload refused: {}", word("error"))),
        "changed_by_hand" => {
            let kept = if event["kept"] == true { " (kept)" } else { "" };
            (Level::Note, format!("by hand: {}{kept}", word("change")))
        }
        "discovered" => (
            Level::Note,
            format!("{}: {}", word("source"), plan(&event["plan"])),
        ),
        "source_away" => (
            Level::Warn,
            format!("{} is away: {}", word("source"), word("error")),
        ),
        "source_back" => (Level::Fine, format!("{} is back", word("source"))),
        "decision" => decided(&event["decision"]),
        "decision_settled" => settled(&event["decision"]),
        "drained" => drained(&word("backend"), event["cut"].as_u64().unwrap_or(0)),
        _ => (Level::Note, unknown(event)),
    }
}

fn state_level(state: &str) -> Level {
    match state {
        "ejected" | "unhealthy" => Level::Bad,
        "degraded" => Level::Warn,
        "healthy" => Level::Fine,
        _ => Level::Note,
    }
}

fn plan(plan: &Value) -> String {
    let count = |key: &str| plan[key].as_array().map_or(0, Vec::len);
    let mut parts: Vec<String> = [("added", '+'), ("removed", '-'), ("changed", '~')]
        .into_iter()
        .filter(|(key, _)| count(key) > 0)
        .map(|(key, sign)| format!("{sign}{} backends", count(key)))
        .collect();
    for key in ["strategy", "listen", "admin"] {
        if plan[key].is_object() {
            parts.push(format!("{key} {}", cell(&plan[key]["to"])));
        }
    }
    let settings = plan["settings"].as_array().into_iter().flatten();
    parts.extend(settings.map(cell));
    match parts.is_empty() {
        true => "nothing changed".to_owned(),
        false => parts.join(", "),
    }
}

fn decided(decision: &Value) -> (Level, String) {
    let (from, to) = (cell(&decision["from"]), cell(&decision["to"]));
    let evidence = decision["evidence"].as_array().into_iter().flatten();
    let evidence: Vec<String> = evidence
        .map(|fact| {
            let (what, value) = (cell(&fact["what"]), cell(&fact["value"]));
            format!("{what} {value} ({})", cell(&fact["threshold"]))
        })
        .collect();
    let (level, how) = match decision["suppressed"].as_str() {
        Some(why) => (Level::Note, format!("not done ({})", why.replace('_', " "))),
        None => (Level::Warn, "done".to_owned()),
    };
    let words = format!(
        "decision #{} {from} -> {to} by {}, {how}: {}",
        decision["id"],
        cell(&decision["rule"]),
        evidence.join(", ")
    );
    (level, words)
}

fn settled(decision: &Value) -> (Level, String) {
    let effect = &decision["effect"];
    let time = |key: &str| {
        effect[key]
            .as_f64()
            .map_or_else(|| "-".to_owned(), super::figures::time)
    };
    let verdict = cell(&effect["verdict"]).replace('_', " ");
    let level = if verdict == "broken" {
        Level::Warn
    } else {
        Level::Fine
    };
    let (before, after) = (time("before_p99_seconds"), time("after_p99_seconds"));
    let words = format!(
        "decision #{}: {verdict}; p99 {before} before, {after} after",
        decision["id"]
    );
    (level, words)
}

fn drained(backend: &str, cut: u64) -> (Level, String) {
    match cut {
        0 => (Level::Note, format!("{backend} has drained and is gone")),
        cut => (
            Level::Warn,
            format!("{backend} is gone; {cut} of its requests were cut off"),
        ),
    }
}

/// An event of a later release: what it holds.
fn unknown(event: &Value) -> String {
    let fields = event.as_object().into_iter().flatten();
    let fields: Vec<String> = fields
        .filter(|(key, _)| !["id", "time", "type"].contains(&key.as_str()))
        .map(|(key, value)| format!("{key} {}", cell(value)))
        .collect();
    format!(
        "{} {}",
        cell(&event["type"]).replace('_', " "),
        fields.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn events_are_told_in_one_line() {
        for (event, words) in [
            (
                json!({ "type": "state_changed", "backend": "w1", "from": "healthy", "to": "ejected", "cause": "5 failures" }),
                "w1: healthy -> ejected: 5 failures",
            ),
            (
                json!({ "type": "panic", "reason": "few_usable", "usable": 1, "all": 4 }),
                "panic, few usable: 1 of 4 usable",
            ),
            (
                json!({ "type": "panic", "usable": 4, "all": 4 }),
                "panic is over",
            ),
            (
                json!({ "type": "reload_refused", "error": "line 1\n  line 2\u{1b}[31m\n" }),
                "reload refused: line 1; line 2 [31m",
            ),
            (
                json!({ "type": "reloaded", "plan": { "added": [1, 2], "settings": ["timeouts"], "strategy": { "from": "a", "to": "b" } } }),
                "configuration reloaded: +2 backends, strategy b, timeouts",
            ),
            (
                json!({ "type": "changed_by_hand", "change": "weight of w1: 5", "kept": true }),
                "by hand: weight of w1: 5 (kept)",
            ),
            (
                json!({ "type": "decision", "decision": { "id": 3, "from": "a", "to": "b", "rule": "calm", "suppressed": "no_gain",
                    "evidence": [{ "what": "spread", "value": "1.05", "threshold": "< 1.2" }] } }),
                "decision #3 a -> b by calm, not done (no gain): spread 1.05 (< 1.2)",
            ),
            (
                json!({ "type": "decision_settled", "decision": { "id": 3, "effect": { "verdict": "kept", "before_p99_seconds": 0.03 } } }),
                "decision #3: kept; p99 30ms before, - after",
            ),
            (
                json!({ "id": 1, "type": "moon_rose", "over": "hills" }),
                "moon rose over hills",
            ),
        ] {
            assert_eq!(Happened::from(&event).words, words);
        }
    }

    #[test]
    fn time_of_day_is_cut_out_of_the_time() {
        assert_eq!(clock("2026-01-02T03:04:05.123Z"), "03:04:05");
        assert_eq!(clock("soon"), "soon");
    }
}
