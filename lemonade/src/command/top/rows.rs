//! The backends in the order in which they are shown: trouble first, or by a figure. Pure.

use super::figures::share;
use super::sample::{Backend, State, per_second};
use super::verdict::SOME_ERRORS;
use super::watched::Watched;
use std::cmp::Ordering;

/// What the table is sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sort {
    #[default]
    Trouble,
    Name,
    Rate,
    P50,
    P99,
    Errors,
    InFlight,
    Weight,
    Ejections,
}

impl Sort {
    const ALL: [Sort; 9] = [
        Sort::Trouble,
        Sort::Name,
        Sort::Rate,
        Sort::P50,
        Sort::P99,
        Sort::Errors,
        Sort::InFlight,
        Sort::Weight,
        Sort::Ejections,
    ];

    pub(super) fn word(self) -> &'static str {
        match self {
            Sort::Trouble => "trouble",
            Sort::Name => "name",
            Sort::Rate => "rate",
            Sort::P50 => "p50",
            Sort::P99 => "p99",
            Sort::Errors => "errors",
            Sort::InFlight => "in flight",
            Sort::Weight => "weight",
            Sort::Ejections => "ejections",
        }
    }

    pub(super) fn next(self) -> Self {
        let place = Sort::ALL.iter().position(|it| *it == self).unwrap_or(0);
        Sort::ALL[(place + 1) % Sort::ALL.len()]
    }
}

/// A backend with what is worked out of its last seconds.
pub(super) struct Row<'w> {
    pub(super) backend: &'w Backend,
    /// Answers a second.
    pub(super) rate: f64,
    /// The share of errors among its answers of the last ten seconds.
    pub(super) errors: f64,
}

/// The backends whose name or state holds `filter`, in order. Cost: a sort of them all.
pub(super) fn rows<'w>(
    watched: &'w Watched,
    sort: Sort,
    reversed: bool,
    filter: &str,
) -> Vec<Row<'w>> {
    let seconds = watched.last().map_or(1.0, |last| last.seconds);
    let filter = filter.to_lowercase();
    let mut rows: Vec<Row<'_>> = watched
        .backends
        .iter()
        .filter(|backend| is_meant(backend, &filter))
        .map(|backend| {
            let (requests, errors) = watched.answers_of(&backend.name);
            Row {
                backend,
                rate: per_second(backend.requests, seconds),
                errors: share(errors, requests),
            }
        })
        .collect();
    rows.sort_by(|a, b| {
        let order = compare(sort, a, b);
        let order = if reversed { order.reverse() } else { order };
        order.then_with(|| by_name(&a.backend.name, &b.backend.name))
    });
    rows
}

fn is_meant(backend: &Backend, filter: &str) -> bool {
    backend.name.to_lowercase().contains(filter) || backend.state.word().contains(filter)
}

/// What is most first: that is what is looked for.
fn compare(sort: Sort, a: &Row<'_>, b: &Row<'_>) -> Ordering {
    let (x, y) = (a.backend, b.backend);
    match sort {
        Sort::Trouble => trouble(a)
            .cmp(&trouble(b))
            .then(b.errors.total_cmp(&a.errors)),
        Sort::Name => by_name(&x.name, &y.name),
        Sort::Rate => b.rate.total_cmp(&a.rate),
        Sort::P50 => longest(x.p50_seconds, y.p50_seconds),
        Sort::P99 => longest(x.p99_seconds, y.p99_seconds),
        Sort::Errors => b.errors.total_cmp(&a.errors),
        Sort::InFlight => y.in_flight.cmp(&x.in_flight),
        Sort::Weight => y.weight.total_cmp(&x.weight),
        Sort::Ejections => y.ejections.cmp(&x.ejections),
    }
}

/// Smaller is worse. Who answers with errors is worse off than who is known to be ill and spared.
fn trouble(row: &Row<'_>) -> u8 {
    match row.backend.state {
        state if state.is_out() => 0,
        _ if row.errors >= SOME_ERRORS => 1,
        State::Degraded => 2,
        State::Starting => 3,
        State::Draining => 4,
        _ => 5,
    }
}

fn longest(a: Option<f64>, b: Option<f64>) -> Ordering {
    let known = |time: Option<f64>| time.unwrap_or(-1.0);
    known(b).total_cmp(&known(a))
}

/// As people count: `w2` before `w10`.
fn by_name(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a, b);
    while let (Some(x), Some(y)) = (left.chars().next(), right.chars().next()) {
        let order = match (number(left), number(right)) {
            (Some((n, rest)), Some((m, other))) => {
                (left, right) = (rest, other);
                n.cmp(&m)
            }
            _ => {
                (left, right) = (&left[x.len_utf8()..], &right[y.len_utf8()..]);
                x.cmp(&y)
            }
        };
        if order != Ordering::Equal {
            return order;
        }
    }
    left.len().cmp(&right.len()).then_with(|| a.cmp(b))
}

/// The number that a text begins with, and what follows it.
fn number(text: &str) -> Option<(u64, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    Some((digits.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::super::watched::tests::watched;
    use super::*;

    fn names(watched: &Watched, sort: Sort, reversed: bool, filter: &str) -> Vec<String> {
        let rows = rows(watched, sort, reversed, filter);
        rows.iter().map(|row| row.backend.name.clone()).collect()
    }

    fn mixed() -> Watched {
        watched(&[
            ("w10", "healthy", 9, 0),
            ("w2", "healthy", 5, 0),
            ("w3", "healthy", 7, 7),
            ("w4", "ejected", 0, 0),
            ("w5", "degraded", 1, 0),
        ])
    }

    #[test]
    fn trouble_comes_first() {
        let order = names(&mixed(), Sort::default(), false, "");
        assert_eq!(order, ["w4", "w3", "w5", "w2", "w10"]);
    }

    #[test]
    fn table_sorts_by_a_figure_and_the_other_way() {
        assert_eq!(names(&mixed(), Sort::Rate, false, "")[..2], ["w10", "w3"]);
        assert_eq!(names(&mixed(), Sort::Rate, true, "")[..2], ["w4", "w5"]);
        assert_eq!(names(&mixed(), Sort::Name, false, "")[0], "w2");
        assert_eq!(names(&mixed(), Sort::Errors, false, "")[0], "w3");
    }

    #[test]
    fn filter_looks_at_names_and_states() {
        assert_eq!(names(&mixed(), Sort::Name, false, "W1"), ["w10"]);
        assert_eq!(names(&mixed(), Sort::Name, false, "eject"), ["w4"]);
        assert!(names(&mixed(), Sort::Name, false, "nobody").is_empty());
    }

    #[test]
    fn every_sort_is_reached() {
        let mut sort = Sort::default();
        let walked = Sort::ALL.map(|_| {
            sort = sort.next();
            sort
        });
        assert!(Sort::ALL.iter().all(|it| walked.contains(it)));
        assert_eq!(sort, Sort::default());
    }

    #[test]
    fn names_are_ordered_as_people_count() {
        for (less, more) in [
            ("w2", "w10"),
            ("a", "b"),
            ("a", "a1"),
            ("10.0.0.2:80", "10.0.0.10:80"),
            ("é1", "é2"),
        ] {
            assert_eq!(by_name(less, more), Ordering::Less, "{less} {more}");
        }
        // Longer than any number: text.
        let long = "9".repeat(30);
        assert_eq!(by_name(&long, &long), Ordering::Equal);
    }
}
