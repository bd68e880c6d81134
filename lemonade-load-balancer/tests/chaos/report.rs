//! What a scenario found, and the table of all of them.

use crate::load::Mishap;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

/// What balancer, backends and clients may take together.
const MOST_RSS: u64 = 256 << 20;

/// One scenario's line.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Row {
    pub(crate) fault: String,
    pub(crate) requests: u64,
    pub(crate) errors: Bounds,
    /// How many there may be.
    pub(crate) most: Bounds,
    /// From the fault until every backend at fault was out.
    pub(crate) out: Option<Duration>,
    /// From its end until every one of them served again.
    pub(crate) back: Option<Duration>,
    /// Of balancer, backends and clients together.
    pub(crate) peak_rss: u64,
    /// The longest time for which the machine had no time for the scenario.
    pub(crate) stall: Duration,
    /// Each thing that went wrong for a client, and how often.
    pub(crate) mishaps: BTreeMap<String, u64>,
    /// Bounds that did not hold.
    pub(crate) broken: Vec<String>,
}

/// What clients see of a fault: how much of it there was, or may be.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Bounds {
    /// Errors of requests that may be repeated.
    pub(crate) idempotent: u64,
    /// Errors of the others.
    pub(crate) others: u64,
    /// Answers to both that broke off after their head.
    pub(crate) cut: u64,
}

impl Row {
    pub(crate) fn new(fault: &str) -> Self {
        Row {
            fault: fault.to_owned(),
            requests: 0,
            errors: Bounds::default(),
            most: Bounds::default(),
            out: None,
            back: None,
            peak_rss: 0,
            stall: Duration::ZERO,
            mishaps: BTreeMap::new(),
            broken: Vec::new(),
        }
    }

    /// Whether what was measured says nothing of the balancer: the machine was busy elsewhere.
    pub(crate) fn is_void(&self) -> bool {
        const LONG: Duration = Duration::from_millis(100);
        !self.broken.is_empty() && self.stall > LONG
    }

    pub(crate) fn check(&mut self, holds: bool, why: impl FnOnce() -> String) {
        if !holds {
            self.broken.push(why());
        }
    }

    /// Counts what went wrong for clients; no more may have than this.
    pub(crate) fn tally(&mut self, mishaps: &[Mishap], most: Bounds) {
        let count = |which: &dyn Fn(&Mishap) -> bool| {
            mishaps.iter().filter(|mishap| which(mishap)).count() as u64
        };
        let found = Bounds {
            idempotent: count(&|mishap| mishap.idempotent && !mishap.cut),
            others: count(&|mishap| !mishap.idempotent && !mishap.cut),
            cut: count(&|mishap| mishap.cut),
        };
        (self.errors, self.most) = (found, most);
        self.at_most(
            "errors of idempotent requests",
            found.idempotent,
            most.idempotent,
        );
        self.at_most("errors of other requests", found.others, most.others);
        self.at_most("answers cut off", found.cut, most.cut);
    }

    /// Every scenario measures its memory.
    pub(crate) fn check_memory(&mut self) {
        let peak = self.peak_rss;
        self.check(peak > 0, || "no peak of memory was measured".to_owned());
        self.at_most("bytes of memory", peak, MOST_RSS);
    }

    fn at_most(&mut self, what: &str, found: u64, most: u64) {
        self.check(found <= most, || format!("{found} {what}, at most {most}"));
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
    let (errors, most) = (row.errors, row.most);
    let bounded = |found: u64, most: u64| match most {
        0 => found.to_string(),
        most => format!("{found} (≤ {most})"),
    };
    let cut = match (errors.cut, most.cut) {
        (0, 0) => String::new(),
        (cut, most) => format!("; {} cut off", bounded(cut, most)),
    };
    let idempotent = bounded(errors.idempotent, most.idempotent);
    let others = bounded(errors.others, most.others);
    format!("{idempotent} / {others}{cut}")
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
