//! A comparison as a table for a terminal.

use super::{Comparison, Overall, Run, overall};
use std::fmt::Write as _;
use std::time::Duration;

const HEAD: [&str; 11] = [
    "strategy",
    "requests",
    "errors",
    "p50",
    "p90",
    "p99",
    "p99.9",
    "max",
    "mean",
    "p99/ideal",
    "imbalance",
];

/// One table a comparison, and where there are several one over all of them.
pub fn table(comparisons: &[Comparison]) -> String {
    let mut text = String::new();
    for comparison in comparisons {
        text.push_str(&one(comparison));
        text.push('\n');
    }
    let overall = overall(comparisons);
    if comparisons.len() > 1 && !overall.is_empty() {
        let _ = writeln!(text, "all {} scenarios", comparisons.len());
        text.push_str(&over_all(&overall));
    } else {
        text.pop();
    }
    text
}

fn one(comparison: &Comparison) -> String {
    let mut text = match comparison.about.is_empty() {
        true => format!("{}\n", comparison.name),
        false => format!("{}: {}\n", comparison.name, comparison.about),
    };
    for note in &comparison.notes {
        let _ = writeln!(text, "note: {note}");
    }
    let runs = comparison.runs.iter();
    let rows: Vec<Vec<String>> = runs.map(|run| cells(comparison, run)).collect();
    text.push_str(&aligned(&HEAD, &rows));
    text
}

fn cells(comparison: &Comparison, run: &Run) -> Vec<String> {
    let ratio = comparison.ratio_to_ideal(run);
    vec![
        run.strategy.clone(),
        run.counts.requests.to_string(),
        errors(run),
        shown(run.latency(0.5)),
        shown(run.latency(0.9)),
        shown(run.latency(0.99)),
        shown(run.latency(0.999)),
        shown(run.max()),
        shown(run.mean()),
        ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}")),
        format!("{:.2}", run.imbalance(&comparison.backends)),
    ]
}

/// The count, and its share where there is one.
pub(super) fn errors(run: &Run) -> String {
    match run.counts.errors() {
        0 => "0".to_owned(),
        count => format!("{count} ({})", percent(run.counts.error_rate())),
    }
}

pub(super) fn percent(share: f64) -> String {
    match share * 100.0 {
        percent if percent >= 10.0 => format!("{percent:.0}%"),
        percent if percent >= 0.1 => format!("{percent:.1}%"),
        percent if percent >= 0.01 => format!("{percent:.2}%"),
        percent if percent > 0.0 => "<0.01%".to_owned(),
        _ => "0%".to_owned(),
    }
}

/// To three digits, in the unit that people would say it in.
pub(super) fn shown(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    let (number, unit) = match seconds {
        _ if seconds >= 1.0 => (seconds, "s"),
        _ if seconds >= 1e-3 => (seconds * 1e3, "ms"),
        _ => (seconds * 1e6, "µs"),
    };
    let digits = match number {
        // What would be rounded up to another digit has one decimal less.
        _ if number >= 99.95 || number == 0.0 => 0,
        _ if number >= 9.995 => 1,
        _ => 2,
    };
    format!("{number:.digits$}{unit}")
}

fn over_all(overall: &[Overall]) -> String {
    let head = ["strategy", "p99/ideal", "worst", "in", "errors"];
    let rows: Vec<Vec<String>> = overall
        .iter()
        .map(|row| {
            vec![
                row.strategy.clone(),
                format!("{:.3}", row.ratio_to_ideal),
                format!("{:.2}", row.worst),
                row.worst_in.clone(),
                percent(row.error_rate),
            ]
        })
        .collect();
    aligned(&head, &rows)
}

/// Columns as wide as their widest cell; what is measured is to the right, names to the left.
fn aligned(head: &[&str], rows: &[Vec<String>]) -> String {
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    let lines = || std::iter::once(&head).chain(rows);
    let width = |column: usize| lines().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..head.len()).filter_map(width).collect();
    let mut text = String::new();
    for row in lines() {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let _ = match column == 0 || head[column] == "in" {
                true => write!(line, "{cell:<width$}  "),
                false => write!(line, "{cell:>width$}  "),
            };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::comparison;

    #[test]
    fn table_tells_every_strategy_beside_the_ideal() {
        assert_eq!(
            table(&[comparison("one")]),
            "one: shows something\n\
             strategy     requests    errors     p50     p90     p99   p99.9     max    mean  p99/ideal  imbalance\n\
             ideal             100         0  10.0ms  10.0ms  10.0ms  10.0ms  10.0ms  10.0ms       1.00       1.00\n\
             round_robin       100  1 (1.0%)  20.0ms  20.0ms  20.0ms  20.0ms  20.0ms  20.0ms       2.00       1.50\n"
        );
    }

    #[test]
    fn several_are_summed_up() {
        let text = table(&[comparison("one"), comparison("two")]);
        let end = "all 2 scenarios\n\
             strategy     p99/ideal  worst  in   errors\n\
             ideal            1.000   1.00  one      0%\n\
             round_robin      2.000   2.00  one    1.0%\n";
        assert!(text.ends_with(end), "{text}");
    }

    #[test]
    fn times_are_told_as_people_say_them() {
        let told = |nanos| shown(Duration::from_nanos(nanos));
        for (nanos, wanted) in [
            (0, "0µs"),
            (1_500, "1.50µs"),
            (999_000, "999µs"),
            (1_234_000, "1.23ms"),
            (9_996_000, "10.0ms"),
            (45_670_000, "45.7ms"),
            (99_960_000, "100ms"),
            (456_700_000, "457ms"),
            (5_000_000_000, "5.00s"),
        ] {
            assert_eq!(told(nanos), wanted);
        }
        assert_eq!(
            [0.00001, 0.0001, 0.005, 0.5].map(percent),
            ["<0.01%", "0.01%", "0.5%", "50%"]
        );
    }
}
