//! What the commands print: tables, and what a plan says in words.

use super::Failure;
use serde_json::Value;
use std::fmt::Write as _;
use std::io::Write as _;

/// Prints; a reader that has gone away, as `head` does, is no failure.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::Failed(format!("cannot print: {error}")))
        }
        _ => Ok(()),
    }
}

/// Columns as wide as their widest cell; the last is not padded. Numbers are to the right.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([head[column].len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let is_number =
        |cell: &str| cell.starts_with(|c: char| c.is_ascii_digit()) && !cell.contains(':');
    let numeric: Vec<bool> = (0..head.len())
        .map(|column| {
            !rows.is_empty()
                && rows
                    .iter()
                    .all(|row| is_number(&row[column]) || row[column] == "-")
        })
        .collect();
    let mut text = String::new();
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    for row in [&head].into_iter().chain(rows) {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = widths[column];
            let _ = match numeric[column] {
                true => write!(line, "{cell:>width$}  "),
                false => write!(line, "{cell:<width$}  "),
            };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A field as a cell.
pub(super) fn cell(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

/// A number of seconds as people say it.
pub(super) fn milliseconds(value: &Value) -> String {
    value.as_f64().map_or_else(
        || "-".to_owned(),
        |seconds| format!("{:.1}ms", seconds * 1e3),
    )
}

/// What a plan does, a line each; `tense` is what it says of backends that come, go and change.
pub(super) fn plan(plan: &Value, tense: Tense) -> String {
    let mut text = String::new();
    let names = |key: &str| plan[key].as_array().cloned().unwrap_or_default();
    for added in names("added") {
        let _ = writeln!(text, "+ {} ({})", who(&added), cell(&added["source"]));
    }
    for removed in names("removed") {
        let in_flight = removed["in_flight"].as_u64().unwrap_or(0);
        let finish = match (in_flight, tense) {
            (0, _) => String::new(),
            (1, _) => ": its request in flight finishes".to_owned(),
            (count, _) => format!(": its {count} requests in flight finish"),
        };
        let _ = writeln!(text, "- {}{finish}", who(&removed));
    }
    for changed in names("changed") {
        let changes: Vec<String> = changed["changes"]
            .as_array()
            .into_iter()
            .flatten()
            .map(cell)
            .collect();
        let _ = writeln!(text, "~ {}: {}", who(&changed), changes.join(", "));
    }
    for key in ["strategy", "listen", "admin"] {
        if let Some(moved) = plan[key].as_object() {
            let _ = writeln!(
                text,
                "~ {key}: {} to {}",
                cell(&moved["from"]),
                cell(&moved["to"])
            );
        }
    }
    for setting in names("settings") {
        let _ = writeln!(text, "~ {}", cell(&setting));
    }
    for refused in names("refused") {
        let _ = writeln!(text, "! {}", cell(&refused));
    }
    let untouched = plan["untouched"].as_u64().unwrap_or(0);
    match (text.is_empty(), tense) {
        (true, Tense::Would) => text.push_str("nothing would change\n"),
        (true, Tense::Did) => text.push_str("nothing changed\n"),
        (false, _) if untouched == 1 => text.push_str("  1 backend is untouched\n"),
        (false, _) => {
            let _ = writeln!(text, "  {untouched} backends are untouched");
        }
    }
    text
}

/// Whether a plan was carried out.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Tense {
    Would,
    Did,
}

fn who(member: &Value) -> String {
    let (name, address) = (cell(&member["name"]), cell(&member["address"]));
    match name == address {
        true => name,
        false => format!("{name} ({address})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn columns_line_up() {
        let rows = [
            vec!["w1".to_owned(), "9".to_owned(), "x".to_owned()],
            vec!["worker".to_owned(), "10".to_owned(), "-".to_owned()],
        ];
        assert_eq!(
            table(&["name", "n", "y"], &rows),
            "name     n  y\nw1       9  x\nworker  10  -\n"
        );
    }

    #[test]
    fn plan_is_told_line_by_line() {
        let told = plan(
            &json!({
                "added": [{ "name": "w3", "address": "a:3", "source": "file", "in_flight": 0 }],
                "removed": [{ "name": "a:1", "address": "a:1", "source": "file", "in_flight": 2 }],
                "changed": [{ "name": "w2", "address": "a:2", "changes": ["weight 1 to 5"] }],
                "untouched": 1,
                "strategy": { "from": "random", "to": "weighted" },
                "listen": null,
                "admin": null,
                "settings": ["timeouts"],
                "refused": [],
            }),
            Tense::Would,
        );
        assert_eq!(
            told,
            "+ w3 (a:3) (file)\n- a:1: its 2 requests in flight finish\n~ w2 (a:2): weight 1 to 5\n\
             ~ strategy: random to weighted\n~ timeouts\n  1 backend is untouched\n"
        );
    }
}
