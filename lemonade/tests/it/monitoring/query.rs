//! What a query of Prometheus asks for: its vector selectors, each by itself.
//!
//! An alert has no result while all is well, so its expression as a whole cannot show that its metrics exist. Prometheus does
//! not tell the parts (`parse_query` came with 3.0, Debian has 2.42), so they are read here, as far as our queries go.

use std::iter::Peekable;
use std::str::Chars;

/// A list of labels follows in parentheses, or nothing.
const GROUPING: [&str; 6] = [
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
];

/// Aggregations among them: those may have their grouping before the parenthesis.
const WORDS: [&str; 10] = [
    "and", "or", "unless", "offset", "bool", "sum", "min", "max", "avg", "count",
];

/// Every vector selector, without ranges and offsets, in order.
pub(super) fn selectors(query: &str) -> Vec<String> {
    let mut rest = query.chars().peekable();
    let mut found = Vec::new();
    while let Some(first) = rest.peek().copied() {
        match first {
            '"' => drop(through(&mut rest, '"')),
            '[' => drop(through(&mut rest, ']')),
            _ if first.is_ascii_digit() => drop(word(&mut rest)),
            _ if is_of_a_word(first) => {
                let name = word(&mut rest);
                found.extend(selector(name, &mut rest));
            }
            _ => drop(rest.next()),
        }
    }
    found
}

fn selector(name: String, rest: &mut Peekable<Chars<'_>>) -> Option<String> {
    while rest.next_if(|next| next.is_whitespace()).is_some() {}
    let next = rest.peek().copied();
    if GROUPING.contains(&&*name) {
        if next == Some('(') {
            through(rest, ')');
        }
        return None;
    }
    match next {
        _ if WORDS.contains(&&*name) => None,
        Some('(') => None,
        Some('{') => Some(name + &through(rest, '}')),
        _ => Some(name),
    }
}

/// What is up to that character, which is not quoted, and it.
fn through(rest: &mut Peekable<Chars<'_>>, end: char) -> String {
    let mut taken: String = rest.next().into_iter().collect();
    let mut quoted = false;
    for next in rest {
        taken.push(next);
        if next == end && !quoted {
            break;
        }
        quoted ^= next == '"';
    }
    taken
}

fn word(rest: &mut Peekable<Chars<'_>>) -> String {
    std::iter::from_fn(|| rest.next_if(|next| is_of_a_word(*next))).collect()
}

fn is_of_a_word(next: char) -> bool {
    next.is_ascii_alphanumeric() || next == '_' || next == ':'
}

#[test]
fn selectors_are_found_and_nothing_else_is() {
    let query = r#"sum by (job, le) (rate(a_total{class="5}x", b=~"c|d"}[5m])) / 14.4 * 1e-9 > 0.5
        and on (job) job:b:rate5m offset 1h unless max_over_time(up[1h]) or histogram_quantile(0.99, x_bucket)
        * on (i) group_left sum (y) + label_replace(z, "l", "m", "n", "o")"#;
    let expected = [
        r#"a_total{class="5}x", b=~"c|d"}"#,
        "job:b:rate5m",
        "up",
        "x_bucket",
        "y",
        "z",
    ];
    assert_eq!(selectors(query), expected);
}
