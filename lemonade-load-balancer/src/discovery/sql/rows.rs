//! What a row of the table means: a worker, nothing, or a sentence about why it is left out.

use std::collections::HashSet;

use lemonade_config::{Address, AddressError};
use thiserror::Error;

use super::error::{SqlError, plain};
use super::table::MOST_ROWS;

/// Longest name of a worker, in characters.
const LONGEST_NAME: usize = 100;

/// One row as the database wrote it, NULL as None. A column that the table lacks holds its default.
pub(super) struct Row {
    pub(super) address: Option<String>,
    pub(super) name: Option<String>,
    pub(super) weight: Option<String>,
    pub(super) enabled: Option<String>,
}

/// A valid row whose host may yet have to be resolved.
#[derive(Debug, PartialEq)]
pub(super) struct Worker {
    pub(super) address: Address,
    pub(super) name: Option<String>,
    pub(super) weight: u32,
}

/// The valid and enabled rows, by address, and a sentence about each of the others that is not switched off.
pub(super) fn workers(mut rows: Vec<Row>) -> (Vec<Worker>, Vec<String>) {
    let mut left_out = Vec::new();
    if rows.len() > MOST_ROWS {
        rows.truncate(MOST_ROWS);
        left_out.push(format!("every row after the first {MOST_ROWS}: too many"));
    }
    let mut workers = Vec::new();
    let mut seen = HashSet::new();
    for row in rows {
        match worker(&row) {
            Ok(None) => {}
            Ok(Some(worker)) if seen.insert(worker.address.clone()) => workers.push(worker),
            Ok(Some(_)) => left_out.push(sentence(&row, &Fault::Again)),
            Err(why) => left_out.push(sentence(&row, &why)),
        }
    }
    workers.sort_by(|a, b| a.address.cmp(&b.address));
    (workers, left_out)
}

/// Why a row is no worker.
#[derive(Debug, Error)]
enum Fault {
    #[error("its {0} is NULL")]
    Null(&'static str),
    #[error("expected `enabled` to be true or false, found `{0}`")]
    Enabled(String),
    #[error("an earlier row has the same address")]
    Again,
    #[error(transparent)]
    Address(#[from] AddressError),
    #[error(transparent)]
    Other(#[from] SqlError),
}

/// None when it is disabled: what else is wrong with it is nobody's concern.
fn worker(row: &Row) -> Result<Option<Worker>, Fault> {
    if !enabled(row.enabled.as_deref())? {
        return Ok(None);
    }
    let address = row.address.as_deref().ok_or(Fault::Null("address"))?;
    let weight = row.weight.as_deref().ok_or(Fault::Null("weight"))?;
    valid_name(row.name.as_deref().unwrap_or_default())?;
    Ok(Some(Worker {
        address: address.parse()?,
        name: row.name.clone().filter(|name| !name.is_empty()),
        weight: valid_weight(weight)?,
    }))
}

/// PostgreSQL writes a boolean as `true`, SQLite as `1`.
fn enabled(text: Option<&str>) -> Result<bool, Fault> {
    match text {
        Some("1" | "true" | "t") => Ok(true),
        Some("0" | "false" | "f") => Ok(false),
        Some(other) => Err(Fault::Enabled(other.to_owned())),
        None => Err(Fault::Null("`enabled`")),
    }
}

/// 1 to 65535, as in the configuration.
pub(super) fn valid_weight(text: &str) -> Result<u32, SqlError> {
    let number = text.parse().ok();
    number
        .filter(|weight| (1..=65_535).contains(weight))
        .ok_or_else(|| SqlError::Weight(text.to_owned()))
}

/// A name goes to logs, labels and pages.
pub(super) fn valid_name(name: &str) -> Result<(), SqlError> {
    match name.chars().count() > LONGEST_NAME || name.chars().any(char::is_control) {
        true => Err(SqlError::Name),
        false => Ok(()),
    }
}

fn sentence(row: &Row, why: &Fault) -> String {
    let address = row.address.as_deref().unwrap_or("NULL");
    plain(&format!("row `{}`: {why}", short(address)))
}

/// Enough to find the row by.
fn short(text: &str) -> String {
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: [Option<&str>; 4]) -> Row {
        let [address, name, weight, enabled] = cells.map(|cell| cell.map(str::to_owned));
        Row {
            address,
            name,
            weight,
            enabled,
        }
    }

    #[test]
    fn valid_rows_are_ordered_by_address_and_disabled_ones_are_not_there() {
        let (workers, left_out) = workers(vec![
            row([Some("b:80"), Some("second"), Some("7"), Some("true")]),
            row([Some("a:80"), Some(""), Some("1"), Some("1")]),
            row([Some("nonsense"), None, Some("1"), Some("0")]),
        ]);
        let named = workers.iter().map(|worker| {
            (
                worker.address.to_string(),
                worker.name.as_deref(),
                worker.weight,
            )
        });
        let expected = [("a:80", None, 1), ("b:80", Some("second"), 7)];
        assert!(named.eq(expected.map(|(address, name, weight)| (
            address.to_owned(),
            name,
            weight
        ))));
        assert!(left_out.is_empty());
    }

    #[test]
    fn each_invalid_row_gets_a_sentence() {
        let long = "n".repeat(101);
        for (cells, expected) in [
            (
                [Some("not-an-address"), None, Some("1"), Some("1")],
                "row `not-an-address`: expected host:port, found `not-an-address`",
            ),
            (
                [Some("a:80"), None, Some("0"), Some("1")],
                "row `a:80`: expected a weight from 1 to 65535, found `0`",
            ),
            (
                [Some("a:80"), None, Some("1.5"), Some("1")],
                "row `a:80`: expected a weight from 1 to 65535, found `1.5`",
            ),
            (
                [None, None, Some("1"), Some("1")],
                "row `NULL`: its address is NULL",
            ),
            (
                [Some("a:80"), None, None, Some("1")],
                "row `a:80`: its weight is NULL",
            ),
            (
                [Some("a:80"), None, Some("1"), None],
                "row `a:80`: its `enabled` is NULL",
            ),
            (
                [Some("a:80"), None, Some("1"), Some("maybe")],
                "row `a:80`: expected `enabled` to be true or false, found `maybe`",
            ),
            (
                [Some("a:80"), Some("x\ny"), Some("1"), Some("1")],
                "row `a:80`: expected a name of at most 100 characters, none of them a control character",
            ),
            (
                [Some("a:80"), Some(&long), Some("1"), Some("1")],
                "row `a:80`: expected a name of at most 100 characters, none of them a control character",
            ),
            (
                [Some("a\n:80"), None, Some("1"), Some("1")],
                "row `a\\n:80`: expected a host name or an IP address, found `a\\n`",
            ),
        ] {
            assert_eq!(
                workers(vec![row(cells)]),
                (vec![], vec![expected.to_owned()])
            );
        }
    }

    #[test]
    fn two_ways_to_write_one_address_are_one_worker() {
        let (workers, left_out) = workers(vec![
            row([Some("a:80"), None, Some("1"), Some("1")]),
            row([Some("http://A:80/"), None, Some("9"), Some("1")]),
        ]);
        assert_eq!(workers.len(), 1);
        assert_eq!(workers[0].weight, 1);
        assert_eq!(
            left_out,
            ["row `http://A:80/`: an earlier row has the same address"]
        );
    }

    #[test]
    fn rows_after_the_first_ten_thousand_are_left_out() {
        let rows = (0..=MOST_ROWS)
            .map(|index| row([Some(&format!("h{index:05}:80")), None, Some("1"), Some("1")]));
        let (workers, left_out) = workers(rows.collect());
        assert_eq!(workers.len(), MOST_ROWS);
        assert_eq!(left_out, ["every row after the first 10000: too many"]);
    }
}
