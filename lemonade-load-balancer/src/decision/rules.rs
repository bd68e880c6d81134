//! Rules of the operator's own: `when: error_rate > 5% and p99 > 200ms for 10s`, `use: least_connections`.
//!
//! A condition is held against the last ten seconds at every tick. It must hold for as long as `for` says (three ticks, if it says
//! nothing), and ceases to when it misses its threshold by a fifth in three ticks running. What cannot be measured does not hold.

use super::regime::AGREE;
use super::window::Windows;
use crate::strategy::Name;
use lemonade_config::{format_duration, parse_duration, suggest};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;
use thiserror::Error;

/// What conditions are held against: so many ticks.
const WINDOW: usize = 10;
/// The fewest attempts of which a share or a percentile says something.
const ENOUGH: f64 = 20.0;
/// By how much a condition that held must miss its threshold.
const SLACK: f64 = 0.2;
/// Longer texts and more comparisons are no condition.
const LONGEST: usize = 1000;
const MOST: usize = 16;
const AND: &str = "and";
const FOR: &str = "for";
const EXTERNAL: &str = "external.";

/// One rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// For logs, metrics and the API.
    pub name: String,
    /// When it applies.
    pub when: Condition,
    /// What picks then.
    pub picks: Name,
}

/// Comparisons that must all hold, for a time.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    comparisons: Vec<Comparison>,
    lasting: Option<Duration>,
}

/// What can be measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Metric {
    /// The share of attempts that failed.
    ErrorRate,
    /// Time to first byte that half of the answers stayed within.
    P50,
    /// That nine tenths stayed within.
    P90,
    /// That 99 of 100 stayed within.
    P99,
    /// Time to first byte in the mean.
    MeanResponseTime,
    /// Requests a second.
    RequestRate,
    /// Requests in flight, in the mean.
    InFlight,
    /// How busy the backends are, in the mean.
    Utilisation,
    /// The slowest backend by the fastest.
    Spread,
    /// Backends that are ejected.
    Ejected,
    /// Backends that may be picked.
    Usable,
    /// What a source outside says.
    External(String),
}

/// What a metric is measured in.
#[derive(Clone, Copy, PartialEq)]
enum Unit {
    Share,
    Time,
    Number,
}

impl Metric {
    const KNOWN: [(&str, Metric); 11] = [
        ("error_rate", Metric::ErrorRate),
        ("p50", Metric::P50),
        ("p90", Metric::P90),
        ("p99", Metric::P99),
        ("mean_response_time", Metric::MeanResponseTime),
        ("request_rate", Metric::RequestRate),
        ("in_flight", Metric::InFlight),
        ("utilisation", Metric::Utilisation),
        ("spread", Metric::Spread),
        ("ejected", Metric::Ejected),
        ("usable", Metric::Usable),
    ];

    fn unit(&self) -> Unit {
        match self {
            Metric::ErrorRate | Metric::Utilisation => Unit::Share,
            Metric::P50 | Metric::P90 | Metric::P99 | Metric::MeanResponseTime => Unit::Time,
            _ => Unit::Number,
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Metric::External(name) = self {
            return write!(f, "{EXTERNAL}{name}");
        }
        let known = Metric::KNOWN.iter().find(|(_, metric)| metric == self);
        f.write_str(known.map_or("", |(name, _)| name))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Above,
    AtLeast,
    Below,
    AtMost,
}

impl Operator {
    const ALL: [(&str, Operator); 4] = [
        (">=", Operator::AtLeast),
        ("<=", Operator::AtMost),
        (">", Operator::Above),
        ("<", Operator::Below),
    ];

    fn as_str(self) -> &'static str {
        let known = Operator::ALL.iter().find(|(_, operator)| *operator == self);
        known.map_or("", |(sign, _)| sign)
    }
}

/// A threshold as it was written.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Value {
    Percent(f64),
    Time(Duration),
    Number(f64),
}

impl Value {
    /// In the terms of what is measured: shares, seconds.
    fn level(self) -> f64 {
        match self {
            Value::Percent(percent) => percent / 100.0,
            Value::Time(time) => time.as_secs_f64(),
            Value::Number(number) => number,
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Percent(percent) => write!(f, "{percent}%"),
            Value::Time(time) => f.write_str(&format_duration(*time)),
            Value::Number(number) => write!(f, "{number}"),
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
struct Comparison {
    metric: Metric,
    operator: Operator,
    value: Value,
}

impl Comparison {
    /// `slack`: the condition held until now.
    fn holds(&self, measured: f64, slack: bool) -> bool {
        let level = self.value.level();
        let slack = if slack { level.abs() * SLACK } else { 0.0 };
        match self.operator {
            Operator::Above => measured > level - slack,
            Operator::AtLeast => measured >= level - slack,
            Operator::Below => measured < level + slack,
            Operator::AtMost => measured <= level + slack,
        }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Comparison { metric, value, .. } = self;
        write!(f, "{metric} {} {value}", self.operator.as_str())
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, comparison) in self.comparisons.iter().enumerate() {
            if place > 0 {
                write!(f, " {AND} ")?;
            }
            comparison.fmt(f)?;
        }
        match self.lasting {
            Some(lasting) => write!(f, " {FOR} {}", format_duration(lasting)),
            None => Ok(()),
        }
    }
}

impl Condition {
    /// The sources outside that it asks for.
    pub fn externals(&self) -> impl Iterator<Item = &str> {
        self.comparisons.iter().filter_map(|it| match &it.metric {
            Metric::External(name) => Some(name.as_str()),
            _ => None,
        })
    }

    fn holds(&self, readings: &Readings<'_>, slack: bool) -> bool {
        self.comparisons.iter().all(|comparison| {
            let measured = readings.of(&comparison.metric);
            measured.is_some_and(|measured| comparison.holds(measured, slack))
        })
    }

    /// What each comparison found, with its threshold.
    pub(super) fn facts(&self, readings: &Readings<'_>) -> Vec<super::Fact> {
        let facts = self.comparisons.iter().map(|comparison| {
            let measured = readings.of(&comparison.metric);
            let found = measured.map(|measured| match comparison.metric.unit() {
                Unit::Share => format!("{:.1}%", measured * 100.0),
                Unit::Time => format!("{:.1}ms", measured * 1e3),
                Unit::Number => format!("{:.6}", measured)
                    .trim_end_matches('0')
                    .trim_end_matches('.')
                    .to_owned(),
            });
            let mut bound = format!("{} {}", comparison.operator.as_str(), comparison.value);
            if let Some(lasting) = self.lasting {
                bound += &format!(" {FOR} {}", format_duration(lasting));
            }
            let found = found.unwrap_or_else(|| "unknown".to_owned());
            super::Fact::new(comparison.metric.to_string(), found, bound)
        });
        facts.collect()
    }
}

/// Why a text is no condition, and where.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("column {column}: {problem}")]
pub struct ConditionError {
    /// Characters from the beginning, from 1.
    pub column: usize,
    /// What is wrong there, and what would be right.
    pub problem: String,
}

/// A word of a condition, and where it begins.
#[derive(Clone, Copy)]
struct Word<'t> {
    text: &'t str,
    column: usize,
}

/// Splits into operators, and what lies between blanks and operators.
fn words(text: &str) -> Vec<Word<'_>> {
    let mut words = Vec::new();
    let (mut rest, mut column) = (text, 1);
    while let Some(first) = rest.chars().next() {
        let length = match first {
            blank if blank.is_whitespace() => blank.len_utf8(),
            '<' | '>' => rest.len() - rest.trim_start_matches(['<', '>', '=']).len(),
            _ => rest
                .find(|c: char| c.is_whitespace() || c == '<' || c == '>')
                .unwrap_or(rest.len()),
        };
        let (word, after) = rest.split_at(length);
        if !first.is_whitespace() {
            words.push(Word { text: word, column });
        }
        column += word.chars().count();
        rest = after;
    }
    words
}

struct Parser<'t> {
    words: std::iter::Peekable<std::vec::IntoIter<Word<'t>>>,
    end: usize,
}

impl<'t> Parser<'t> {
    fn next(&mut self, expected: &str) -> Result<Word<'t>, ConditionError> {
        let column = self.end;
        self.words.next().ok_or_else(|| ConditionError {
            column,
            problem: format!("expected {expected}, found the end"),
        })
    }

    fn condition(mut self) -> Result<Condition, ConditionError> {
        let mut comparisons = vec![self.comparison()?];
        let mut lasting = None;
        while let Some(word) = self.words.next() {
            match word.text {
                AND if comparisons.len() < MOST && lasting.is_none() => {
                    comparisons.push(self.comparison()?);
                }
                FOR if lasting.is_none() => {
                    let word = self.next("a duration such as `10s`")?;
                    lasting = Some(duration(word)?);
                }
                AND if lasting.is_some() => {
                    return wrong(word, format!("`{FOR}` comes last, for all comparisons"));
                }
                AND => return wrong(word, format!("at most {MOST} comparisons")),
                _ => {
                    return wrong(
                        word,
                        format!(
                            "expected `{AND}`, `{FOR}` or the end, found `{}`",
                            shown(word.text)
                        ),
                    );
                }
            }
        }
        Ok(Condition {
            comparisons,
            lasting,
        })
    }

    fn comparison(&mut self) -> Result<Comparison, ConditionError> {
        let metric = metric(self.next("a metric such as `error_rate`")?)?;
        let sign = self.next("`>`, `>=`, `<` or `<=`")?;
        let known = Operator::ALL.iter().find(|(text, _)| *text == sign.text);
        let Some((_, operator)) = known else {
            return wrong(
                sign,
                format!(
                    "expected `>`, `>=`, `<` or `<=`, found `{}`",
                    shown(sign.text)
                ),
            );
        };
        let value = value(&metric, self.next(expected(&metric))?)?;
        Ok(Comparison {
            metric,
            operator: *operator,
            value,
        })
    }
}

fn wrong<T>(word: Word<'_>, problem: String) -> Result<T, ConditionError> {
    let column = word.column;
    Err(ConditionError { column, problem })
}

/// As much of a word as a message should hold.
fn shown(word: &str) -> String {
    word.chars().take(40).collect()
}

fn metric(word: Word<'_>) -> Result<Metric, ConditionError> {
    if let Some(name) = word.text.strip_prefix(EXTERNAL) {
        return match is_source_name(name) {
            true => Ok(Metric::External(name.to_owned())),
            false => wrong(
                word,
                format!(
                    "expected the name of a source after `{EXTERNAL}`: letters, digits and `_`"
                ),
            ),
        };
    }
    let names = || Metric::KNOWN.iter().map(|(name, _)| *name);
    if let Some((_, metric)) = Metric::KNOWN.iter().find(|(name, _)| *name == word.text) {
        return Ok(metric.clone());
    }
    let meant = suggest(word.text, names())
        .map(|name| format!(" (did you mean `{name}`?)"))
        .unwrap_or_default();
    let known = names().collect::<Vec<_>>().join(", ");
    let problem = format!(
        "unknown metric `{}`{meant}; known are {known} and {EXTERNAL}NAME",
        shown(word.text)
    );
    wrong(word, problem)
}

/// Whether a source outside may be called so.
pub fn is_source_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    (1..=50).contains(&name.len()) && name.chars().all(plain)
}

fn expected(metric: &Metric) -> &'static str {
    match metric.unit() {
        Unit::Share => "a percentage such as `5%`",
        Unit::Time => "a duration such as `200ms`",
        Unit::Number => "a number",
    }
}

fn value(metric: &Metric, word: Word<'_>) -> Result<Value, ConditionError> {
    let finite = |text: &str| text.parse().ok().filter(|number: &f64| number.is_finite());
    let value = match metric.unit() {
        Unit::Share => word
            .text
            .strip_suffix('%')
            .and_then(finite)
            .filter(|percent| (0.0..=100.0).contains(percent))
            .map(Value::Percent),
        Unit::Time => return duration(word).map(Value::Time),
        Unit::Number => finite(word.text).map(Value::Number),
    };
    match value {
        Some(value) => Ok(value),
        None => wrong(
            word,
            format!(
                "expected {}, found `{}`",
                expected(metric),
                shown(word.text)
            ),
        ),
    }
}

fn duration(word: Word<'_>) -> Result<Duration, ConditionError> {
    parse_duration(word.text).or_else(|error| wrong(word, error.to_string()))
}

impl FromStr for Condition {
    type Err = ConditionError;

    fn from_str(text: &str) -> Result<Self, ConditionError> {
        let end = text.chars().count() + 1;
        if end > LONGEST {
            let column = LONGEST;
            let problem = format!("at most {LONGEST} characters");
            return Err(ConditionError { column, problem });
        }
        let words = words(text).into_iter().peekable();
        Parser { words, end }.condition()
    }
}

/// What conditions are held against.
#[derive(Debug)]
pub(super) struct Readings<'r> {
    error_rate: Option<f64>,
    quantiles: [Option<f64>; 3],
    mean: Option<f64>,
    rate: f64,
    in_flight: f64,
    utilisation: Option<f64>,
    spread: Option<f64>,
    ejected: usize,
    usable: usize,
    external: &'r BTreeMap<String, f64>,
}

impl<'r> Readings<'r> {
    pub(super) fn of_now(
        windows: &Windows,
        evidence: &super::Evidence,
        external: &'r BTreeMap<String, f64>,
    ) -> Self {
        let recent = windows.recent(WINDOW);
        let enough = recent.counts.ended >= ENOUGH;
        let quantile = |q| recent.quantile(q).filter(|_| enough);
        Readings {
            error_rate: recent.counts.error_rate().filter(|_| enough),
            quantiles: [0.50, 0.90, 0.99].map(quantile),
            mean: recent.counts.mean().filter(|_| enough),
            rate: recent.rate(),
            in_flight: recent.in_flight(),
            utilisation: evidence.busy.map(|(least, most)| (least + most) / 2.0),
            spread: evidence.spread,
            ejected: windows
                .tracks()
                .filter(|track| track.last().ejected)
                .count(),
            usable: evidence.usable,
            external,
        }
    }

    fn of(&self, metric: &Metric) -> Option<f64> {
        match metric {
            Metric::ErrorRate => self.error_rate,
            Metric::P50 => self.quantiles[0],
            Metric::P90 => self.quantiles[1],
            Metric::P99 => self.quantiles[2],
            Metric::MeanResponseTime => self.mean,
            Metric::RequestRate => Some(self.rate),
            Metric::InFlight => Some(self.in_flight),
            Metric::Utilisation => self.utilisation,
            Metric::Spread => self.spread,
            Metric::Ejected => Some(self.ejected as f64),
            Metric::Usable => Some(self.usable as f64),
            Metric::External(name) => self.external.get(name).copied(),
        }
    }
}

/// How a rule stands between two ticks.
#[derive(Clone, Debug, Default)]
pub(super) struct RuleState {
    since: Option<Duration>,
    ticks: u32,
    applies: bool,
    misses: u32,
}

impl RuleState {
    /// Takes in one tick; whether the rule applies.
    pub(super) fn step(
        &mut self,
        when: &Condition,
        readings: &Readings<'_>,
        now: Duration,
    ) -> bool {
        let holds = when.holds(readings, self.applies);
        if self.applies {
            self.misses = if holds { 0 } else { self.misses + 1 };
            if self.misses >= AGREE {
                *self = RuleState::default();
            }
            return self.applies;
        }
        if !holds {
            *self = RuleState::default();
            return false;
        }
        let since = *self.since.get_or_insert(now);
        self.ticks += 1;
        self.applies = match when.lasting {
            Some(lasting) => now.saturating_sub(since) >= lasting,
            None => self.ticks >= AGREE,
        };
        self.applies
    }
}

#[cfg(test)]
mod tests {
    use super::super::Evidence;
    use super::super::scene::Scene;
    use super::*;
    use proptest::prelude::*;

    fn condition(text: &str) -> Condition {
        text.parse()
            .unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn conditions_read_back() {
        for text in [
            "error_rate > 5% for 10s",
            "p99 >= 200ms and request_rate > 100 for 1m",
            "external.queue_age <= -1.5",
            "utilisation < 33.3%",
        ] {
            assert_eq!(condition(text).to_string(), text);
        }
        assert_eq!(
            condition("p50>1s and  ejected>=1").to_string(),
            "p50 > 1s and ejected >= 1"
        );
    }

    #[test]
    fn mistakes_have_a_place_and_a_suggestion() {
        for (text, column, says) in [
            ("", 1, "expected a metric"),
            ("eror_rate > 5%", 1, "did you mean `error_rate`?"),
            ("error_rate > 5", 14, "a percentage such as `5%`"),
            ("error_rate = 5%", 12, "`>`, `>=`, `<` or `<=`"),
            ("p99 > 200", 7, "unit"),
            ("p99 > 1s or p50 > 1s", 10, "expected `and`, `for`"),
            ("p99 > 1s for", 13, "found the end"),
            ("p99 > 1s for 1s and p50 > 1s", 17, "comes last"),
            ("external. > 1", 1, "name of a source"),
            ("request_rate > inf", 16, "a number"),
            ("größe > 1", 1, "unknown metric"),
        ] {
            let error = text.parse::<Condition>().unwrap_err();
            assert_eq!(error.column, column, "{text}: {error}");
            assert!(error.problem.contains(says), "{text}: {error}");
        }
    }

    /// Ticks in each of which so many of 100 requests fail; whether the condition held after each.
    fn played(text: &str, failing: &[u64]) -> Vec<bool> {
        let (when, mut state) = (condition(text), RuleState::default());
        let mut scene = Scene::new(2);
        let none = BTreeMap::new();
        let steps = failing.iter().map(|failing| {
            scene.answer(0, 100, 20);
            scene.fail(0, *failing);
            scene.tick();
            let evidence = Evidence::of(&scene.windows);
            let readings = Readings::of_now(&scene.windows, &evidence, &none);
            state.step(&when, &readings, scene.now)
        });
        steps.collect()
    }

    #[test]
    fn condition_must_last_and_ends_with_slack() {
        let mut failing = vec![0; 5];
        failing.extend([10; 20]);
        let held = played("error_rate > 5% for 4s", &failing);
        // Six of ten ticks at 10 % are 6 %, four seconds later it has lasted.
        assert_eq!(held.iter().position(|held| *held), Some(14));
        failing.extend([5; 20]);
        failing.extend([0; 12]);
        let held = played("error_rate > 5% for 4s", &failing);
        assert!(held[44], "not a fifth below");
        assert!(!held[56]);
    }

    #[test]
    fn without_a_time_three_ticks_must_agree() {
        let held = played("error_rate > 5%", &[10; 5]);
        assert_eq!(held, [false, false, true, true, true]);
        let held = played("error_rate > 5%", &[90, 0, 0, 0, 0, 0]);
        assert!(held[2], "one burst is within the window: {held:?}");
    }

    #[test]
    fn condition_that_held_ends_with_three_misses_in_a_row() {
        let (when, mut state) = (condition("external.age > 10"), RuleState::default());
        let scene = Scene::new(1);
        let evidence = Evidence::of(&scene.windows);
        let mut step = |age: f64| {
            let external = BTreeMap::from([("age".to_owned(), age)]);
            let readings = Readings::of_now(&scene.windows, &evidence, &external);
            state.step(&when, &readings, scene.now)
        };
        let held = [11.0, 11.0, 11.0, 1.0, 1.0, 9.0, 1.0, 1.0, 1.0, 11.0].map(&mut step);
        let expected = [
            false, false, true, true, true, true, true, true, false, false,
        ];
        assert_eq!(held, expected);
    }

    #[test]
    fn what_is_not_measured_does_not_hold() {
        let (when, mut state) = (condition("external.age >= 0"), RuleState::default());
        let scene = Scene::new(1);
        let evidence = Evidence::of(&scene.windows);
        let mut external = BTreeMap::new();
        let mut step = |external: &BTreeMap<String, f64>| {
            let readings = Readings::of_now(&scene.windows, &evidence, external);
            state.step(&when, &readings, scene.now)
        };
        (0..5).for_each(|_| assert!(!step(&external)));
        external.insert("age".to_owned(), 3.0);
        assert!(!step(&external) && !step(&external) && step(&external));
    }

    fn arbitrary() -> impl Strategy<Value = Condition> {
        let metric = prop_oneof![
            (0..Metric::KNOWN.len()).prop_map(|place| Metric::KNOWN[place].1.clone()),
            "[a-z0-9_]{1,9}".prop_map(Metric::External),
        ];
        let operator = (0usize..4).prop_map(|place| Operator::ALL[place].1);
        let comparison = (
            metric,
            operator,
            0.0f64..=100.0,
            0u64..1_000_000_000_000,
            -1e9f64..1e9,
        );
        let comparison = comparison.prop_map(|(metric, operator, percent, nanos, number)| {
            let value = match metric.unit() {
                Unit::Share => Value::Percent(percent),
                Unit::Time => Value::Time(Duration::from_nanos(nanos)),
                Unit::Number => Value::Number(number),
            };
            Comparison {
                metric,
                operator,
                value,
            }
        });
        let lasting = prop::option::of((0u64..100_000_000).prop_map(Duration::from_micros));
        (prop::collection::vec(comparison, 1..5), lasting).prop_map(|(comparisons, lasting)| {
            Condition {
                comparisons,
                lasting,
            }
        })
    }

    proptest! {
        #[test]
        fn every_condition_reads_back(condition in arbitrary()) {
            prop_assert_eq!(condition.to_string().parse(), Ok(condition));
        }

        #[test]
        fn no_text_is_too_much(text in ".{0,200}", nearly in "(error_rate|p99|for|and|[<>=]{1,3}|5%|10s|external\\.| |x){0,30}") {
            for text in [text, nearly] {
                match text.parse::<Condition>() {
                    Ok(condition) => prop_assert_eq!(condition.to_string().parse(), Ok(condition)),
                    Err(error) => prop_assert!(error.column <= text.chars().count() + 1),
                }
            }
        }
    }
}
