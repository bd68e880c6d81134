//! What a scenario found, and the table of all of them.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

/// One scenario's line.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Row {
    pub(crate) fault: String,
    pub(crate) requests: u64,
    /// Errors of requests that may be repeated.
    pub(crate) idempotent: u64,
    /// Errors of the others, and how many there may be.
    pub(crate) others: u64,
    pub(crate) most_others: u64,
    /// Answers that broke off after their head, of both kinds.
    pub(crate) cut: u64,
    pub(crate) most_cut: u64,
    /// From the fault until every backend at fault was out.
    pub(crate) out: Option<Duration>,
    /// From its end until every one of them served again.
    pub(crate) back: Option<Duration>,
    /// Of balancer, backends and clients together.
    pub(crate) peak_rss: u64,
    /// Each thing that went wrong for a client, and how often.
    pub(crate) mishaps: BTreeMap<String, u64>,
    /// Bounds that did not hold.
    pub(crate) broken: Vec<String>,
}

impl Row {
    pub(crate) fn new(fault: &str) -> Self {
        Row {
            fault: fault.to_owned(),
            requests: 0,
            idempotent: 0,
            others: 0,
            most_others: 0,
            cut: 0,
            most_cut: 0,
            out: None,
            back: None,
            peak_rss: 0,
            mishaps: BTreeMap::new(),
            broken: Vec::new(),
        }
    }

    /// A scenario that came to no end.
    pub(crate) fn failed(fault: &str, why: String) -> Self {
        Row {
            broken: vec![why],
            ..Row::new(fault)
        }
    }
}

/// All of them, as markdown.
pub(crate) fn table(rows: &[Row]) -> String {
    let mut table = "| fault | requests | errors seen by clients (idempotent / other) | time to eject | time to return | peak RSS |\n|---|---|---|---|---|---|\n".to_owned();
    for row in rows {
        let held = if row.broken.is_empty() {
            ""
        } else {
            " **✗**"
        };
        // Writing to a String does not fail.
        let _ = writeln!(
            table,
            "| {}{held} | {} | {} | {} | {} | {} MiB |",
            row.fault,
            row.requests,
            errors(row),
            time(row.out),
            time(row.back),
            row.peak_rss >> 20,
        );
    }
    table
}

fn errors(row: &Row) -> String {
    let others = match row.most_others {
        0 => row.others.to_string(),
        most => format!("{} (≤ {most})", row.others),
    };
    let cut = match (row.cut, row.most_cut) {
        (0, 0) => String::new(),
        (cut, most) => format!("; {cut} cut off (≤ {most})"),
    };
    format!("{} / {others}{cut}", row.idempotent)
}

fn time(time: Option<Duration>) -> String {
    time.map_or_else(
        || "–".to_owned(),
        |time| match time.as_millis() {
            millis @ ..1000 => format!("{millis} ms"),
            millis => format!("{:.1} s", millis as f64 / 1000.0),
        },
    )
}
