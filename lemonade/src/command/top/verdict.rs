//! What is wrong, in words and worst first: what an operator reads before anything else. Pure.
//!
//! Errors, refusals and slowness are judged over the last ten seconds, states as they are now.

use super::figures::{count, percent, share, time};
use super::happened::one_line;
use super::sample::{Backend, State, Totals};
use super::watched::{Link, Watched};
use crate::command::text::cell;
use std::time::{Duration, Instant};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Fine,
    Note,
    Warn,
    Bad,
}

impl Level {
    /// Tells levels apart without colour.
    pub(super) fn symbol(self) -> char {
        match self {
            Level::Fine => '●',
            Level::Note => '·',
            Level::Warn => '!',
            Level::Bad => '✗',
        }
    }
}

/// Something that an operator should know.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Finding {
    pub(super) level: Level,
    pub(super) words: String,
}

/// Errors among the answers that are worth a word, and those that are an incident.
pub(super) const SOME_ERRORS: f64 = 0.01;
pub(super) const MANY_ERRORS: f64 = 0.05;
/// A backend is slow whose median is so many times that of the others, and so much more than it.
const SLOWER: f64 = 3.0;
const SLOWER_BY: f64 = 0.020;
/// Seconds with answers that a median is made of, and errors of a backend that have a cause; fewer say nothing.
const ENOUGH: usize = 3;
/// Backends that a sentence names.
const NAMED: usize = 3;
/// What is shown counts as old after this.
pub(super) const STALE: Duration = Duration::from_secs(3);

/// The findings, worst first; at least one.
pub(super) fn verdict(watched: &Watched, now: Instant) -> Vec<Finding> {
    let mut findings = Findings::default();
    findings.link(watched, now);
    if let Some(last) = watched.last() {
        findings.whole(last);
        findings.answers(watched);
        findings.backends(watched);
        findings.healed(watched);
        findings.slow(watched);
    }
    findings.configuration(watched);
    if let (Link::Live, Some(last)) = (&watched.link, watched.last()) {
        findings.well(watched, last);
    }
    let mut findings = findings.0;
    // Stable: within a level, in the order of the questions above; a note is no worse than wellness.
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.level.max(Level::Note)));
    findings
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, level: Level, words: impl Into<String>) {
        let words = words.into();
        self.0.push(Finding { level, words });
    }

    fn link(&mut self, watched: &Watched, now: Instant) {
        match &watched.link {
            Link::Live => {}
            Link::Connecting => self.add(Level::Note, "connecting"),
            Link::Away(why) => {
                let age = match watched.age(now) {
                    Some(age) => format!("; below is what was {} ago", seconds(age)),
                    None => String::new(),
                };
                self.add(
                    Level::Bad,
                    format!("the balancer is away, trying again{age} ({why})"),
                );
            }
        }
    }

    fn whole(&mut self, last: &Totals) {
        match last.phase.as_str() {
            "draining" => self.add(
                Level::Warn,
                "it drains: what is in flight finishes, then it ends",
            ),
            "unready" => self.add(Level::Warn, "it is not ready, and about to drain"),
            _ => {}
        }
        match (last.backends_all, last.backends_eligible) {
            (0, _) => self.add(Level::Bad, "there is no backend: requests are answered 503"),
            (_, 0) => self.add(
                Level::Bad,
                "no backend may be picked: requests are answered 503",
            ),
            _ => {}
        }
        match last.panic.as_deref() {
            None => {}
            Some("few_usable") => self.add(
                Level::Bad,
                "panic: so few are usable that those which only fail health checks are used too",
            ),
            Some("none_trusted") => {
                self.add(
                    Level::Bad,
                    "panic: requests fail at every backend, so all are tried",
                );
            }
            Some(other) => self.add(Level::Bad, format!("panic: {}", other.replace('_', " "))),
        }
        if last.queued > 0 {
            let words = format!("{} for a place at a backend", waiting(last.queued));
            self.add(Level::Warn, words);
        }
    }

    fn answers(&mut self, watched: &Watched) {
        let sum = |of| sum(watched, of);
        let (share, errors) = errors(watched);
        if share >= SOME_ERRORS {
            let level = if share >= MANY_ERRORS {
                Level::Bad
            } else {
                Level::Warn
            };
            let mut words = format!("errors {}", percent(share));
            words += &match whose(watched, errors) {
                Whose::Mostly(name, part) => format!(", {} of them from {name}", percent(part)),
                Whose::Nobodys => ", none of them a backend's answer".to_owned(),
                Whose::Many => String::new(),
            };
            self.add(level, words);
        }
        let shed = sum(|it| it.shed);
        if shed > 0 {
            let words = format!("overload: {} shed in 10 s", count(shed, "request"));
            self.add(Level::Bad, words);
        }
        // Malformed or too slow: mostly the doing of those who sent them.
        let refused = sum(|it| it.refused);
        if refused > 0 {
            let words = format!("{} could not be read in 10 s", count(refused, "request"));
            self.add(Level::Note, words);
        }
    }

    fn backends(&mut self, watched: &Watched) {
        let all = watched.backends.len();
        let out = these(watched, State::is_out);
        if !out.is_empty() {
            let are = if out.len() == 1 { "is" } else { "are" };
            let words = format!(
                "{} of {} {are} out: {}",
                out.len(),
                count(all as u64, "backend"),
                named(&out)
            );
            self.add(Level::Warn, words);
        }
        let degraded = these(watched, |state| state == State::Degraded);
        if !degraded.is_empty() {
            self.add(Level::Warn, named(&degraded));
        }
        let rest = these(watched, |state| {
            matches!(state, State::Draining | State::Starting)
        });
        if !rest.is_empty() {
            self.add(Level::Note, named(&rest));
        }
    }

    /// Who answers with errors that clients do not see.
    fn healed(&mut self, watched: &Watched) {
        if errors(watched).0 >= SOME_ERRORS {
            return;
        }
        if let Some((name, own)) = most_erring(watched) {
            let words = format!(
                "{name} answers {} with errors; retries heal it",
                percent(own)
            );
            self.add(Level::Warn, words);
        }
    }

    /// Those who answer, and take much longer than the others.
    fn slow(&mut self, watched: &Watched) {
        let medians: Vec<(&str, f64)> = watched
            .backends
            .iter()
            .filter_map(|backend| Some((backend.name.as_str(), median_of(watched, &backend.name)?)))
            .collect();
        let Some(usual) = median(medians.iter().map(|it| it.1).collect()) else {
            return;
        };
        let is_slow = |it: &&(&str, f64)| it.1 > usual * SLOWER && it.1 > usual + SLOWER_BY;
        let mut slow: Vec<&(&str, f64)> = medians.iter().filter(is_slow).collect();
        slow.sort_by(|a, b| b.1.total_cmp(&a.1));
        if let Some((name, worst)) = slow.first() {
            let others = match slow.len() {
                1 => String::new(),
                more => format!(" and {} more", more - 1),
            };
            let words = format!(
                "slow: {name} with a p50 of {}{others} (usual: {})",
                time(*worst),
                time(usual)
            );
            self.add(Level::Warn, words);
        }
    }

    fn configuration(&mut self, watched: &Watched) {
        let reload = &watched.status["last_reload"];
        if reload["type"] == "reload_refused" {
            let words = format!(
                "the last reload was refused: {}",
                one_line(&cell(&reload["error"]))
            );
            self.add(Level::Warn, words);
        }
        let sources = watched.status["sources"].as_array().into_iter().flatten();
        for source in sources.filter(|source| source["away"].is_string()) {
            let (name, why) = (cell(&source["source"]), one_line(&cell(&source["away"])));
            self.add(
                Level::Warn,
                format!("{name} is away, its last backends stay: {why}"),
            );
        }
    }

    fn well(&mut self, watched: &Watched, last: &Totals) {
        if self.0.iter().any(|finding| finding.level > Level::Note) {
            return;
        }
        let idle = watched
            .recent()
            .all(|it| it.requests == 0 && it.in_flight == 0);
        let asked = if idle { "; nobody asks" } else { "" };
        let (eligible, all) = (last.backends_eligible, last.backends_all);
        let words = format!(
            "all is well: {eligible} of {} take requests{asked}",
            count(all, "backend")
        );
        let level = Level::Fine;
        // Before the notes, which are no trouble.
        self.0.insert(0, Finding { level, words });
    }
}

fn waiting(queued: u64) -> String {
    let wait = if queued == 1 { "waits" } else { "wait" };
    format!("{} {wait}", count(queued, "request"))
}

fn sum(watched: &Watched, of: fn(&Totals) -> u64) -> u64 {
    watched.recent().map(of).sum()
}

/// The share of errors among the answers, and their number.
fn errors(watched: &Watched) -> (f64, u64) {
    let errors = sum(watched, Totals::errors);
    (share(errors, sum(watched, |it| it.requests)), errors)
}

/// Where errors come from.
enum Whose<'w> {
    /// One backend sent at least a half, and this share of them.
    Mostly(&'w str, f64),
    Many,
    /// No backend sent any: the balancer could not get an answer.
    Nobodys,
}

fn whose(watched: &Watched, errors: u64) -> Whose<'_> {
    let of = |backend: &Backend| watched.answers_of(&backend.name).1;
    let most = watched.backends.iter().max_by_key(|backend| of(backend));
    match most.map(|most| (most, share(of(most), errors).min(1.0))) {
        Some((most, part)) if part >= 0.5 => Whose::Mostly(&most.name, part),
        Some((most, _)) if of(most) > 0 => Whose::Many,
        _ => Whose::Nobodys,
    }
}

/// The backend with the greatest share of errors, if it is worth a word.
fn most_erring(watched: &Watched) -> Option<(&str, f64)> {
    let own = |backend: &'_ Backend| {
        let (requests, errors) = watched.answers_of(&backend.name);
        (errors >= ENOUGH as u64).then(|| share(errors, requests))
    };
    let backends = watched.backends.iter();
    let shares = backends.filter_map(|backend| Some((backend.name.as_str(), own(backend)?)));
    let worst = shares.max_by(|a, b| a.1.total_cmp(&b.1))?;
    (worst.1 >= MANY_ERRORS).then_some(worst)
}

fn these(watched: &Watched, is_meant: impl Fn(State) -> bool) -> Vec<&Backend> {
    let backends = watched.backends.iter();
    backends.filter(|backend| is_meant(backend.state)).collect()
}

/// `w3 ejected (5 failures in a row), w4 unhealthy (…)`; of many, one with its reason and how many more.
fn named(backends: &[&Backend]) -> String {
    let reasons = if backends.len() > NAMED { 1 } else { NAMED };
    let word = |(place, backend): (usize, &&Backend)| {
        let why = backend.why.as_ref().filter(|_| place < reasons);
        let why = why.map_or_else(String::new, |why| format!(" ({})", one_line(why)));
        format!("{} {}{why}", one_line(&backend.name), backend.state.word())
    };
    let mut words: Vec<String> = backends.iter().take(NAMED).enumerate().map(word).collect();
    if backends.len() > NAMED {
        words.push(format!("{} more", backends.len() - NAMED));
    }
    words.join(", ")
}

fn median_of(watched: &Watched, name: &str) -> Option<f64> {
    let times: Vec<f64> = watched
        .recent_of(name)
        .filter_map(|it| it.p50_seconds)
        .collect();
    (times.len() >= ENOUGH).then(|| median(times)).flatten()
}

/// The lower of the two middle ones where the count is even, so that one of two can stand out.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len().checked_sub(1)? / 2;
    Some(values[middle])
}

/// `7 s`, `12 min`.
pub(super) fn seconds(time: Duration) -> String {
    match time.as_secs() {
        it if it < 120 => format!("{it} s"),
        it => format!("{} min", it / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::super::watched::Update;
    use super::super::watched::tests::{sample, watched};
    use super::*;
    use serde_json::json;

    fn words(watched: &Watched) -> Vec<String> {
        let findings = verdict(watched, Instant::now());
        findings.into_iter().map(|finding| finding.words).collect()
    }

    #[track_caller]
    fn first(watched: &Watched, level: Level, part: &str) {
        let findings = verdict(watched, Instant::now());
        assert_eq!(findings[0].level, level, "{findings:?}");
        assert!(findings[0].words.contains(part), "{findings:?}");
    }

    #[test]
    fn wellness_is_said() {
        let well = watched(&[("w1", "healthy", 5, 0), ("w2", "healthy", 5, 0)]);
        assert_eq!(words(&well), ["all is well: 2 of 2 backends take requests"]);
        let idle = watched(&[("w1", "healthy", 0, 0)]);
        first(&idle, Level::Fine, "1 of 1 backend take");
    }

    #[test]
    fn drained_backend_is_no_trouble() {
        let drained = watched(&[("w1", "healthy", 5, 0), ("w2", "draining", 0, 0)]);
        assert!(words(&drained)[0].starts_with("all is well: 1 of 2"));
        assert!(words(&drained)[1].starts_with("w2 draining"));
    }

    #[test]
    fn incident_is_told_worst_first_with_names_and_reasons() {
        let bad = watched(&[
            ("w1", "healthy", 90, 0),
            ("w2", "healthy", 10, 10),
            ("w3", "ejected", 0, 0),
        ]);
        assert_eq!(
            words(&bad),
            [
                "errors 10%, 100% of them from w2",
                "1 of 3 backends is out: w3 ejected (5 failures in a row)",
            ]
        );
    }

    #[test]
    fn errors_that_no_backend_sent_are_told_apart() {
        let mut sample = sample(1, &[("w1", "healthy", 50, 0)]);
        sample.totals.classes = [0, 50, 0, 0, 50];
        (sample.totals.requests, sample.totals.queued) = (100, 0);
        let mut watched = Watched::default();
        watched.apply(Update::Sample(Box::new(sample)), Instant::now());
        first(
            &watched,
            Level::Bad,
            "errors 50%, none of them a backend's answer",
        );
    }

    #[test]
    fn few_errors_are_no_incident() {
        let some = watched(&[("w1", "healthy", 100, 2)]);
        first(&some, Level::Warn, "errors 2.0%");
        let hardly = watched(&[("w1", "healthy", 1000, 2)]);
        first(&hardly, Level::Fine, "all is well");
    }

    #[test]
    fn nobody_left_is_worst() {
        first(
            &watched(&[("w1", "unhealthy", 0, 0)]),
            Level::Bad,
            "no backend may be picked",
        );
        first(&watched(&[]), Level::Bad, "there is no backend");
    }

    #[test]
    fn sentence_names_a_few_of_many() {
        let many: Vec<String> = (0..9).map(|number| format!("w{number}")).collect();
        let many: Vec<_> = many
            .iter()
            .map(|name| (name.as_str(), "ejected", 0, 0))
            .collect();
        let words = words(&watched(&many)).join("\n");
        assert!(
            words.contains("9 of 9 backends are out: w0 ejected"),
            "{words}"
        );
        assert!(
            words.ends_with("in a row), w1 ejected, w2 ejected, 6 more"),
            "{words}"
        );
    }

    #[test]
    fn slow_backend_stands_out() {
        let mut watched = Watched::default();
        for id in 1..10 {
            let mut sample = sample(id, &[("w1", "healthy", 5, 0), ("w2", "healthy", 5, 0)]);
            sample.backends[1].p50_seconds = Some(0.4);
            watched.apply(Update::Sample(Box::new(sample)), Instant::now());
        }
        first(
            &watched,
            Level::Warn,
            "slow: w2 with a p50 of 400ms (usual: 10ms)",
        );
    }

    #[test]
    fn shed_requests_and_queues_are_told() {
        let mut sample = sample(1, &[("w1", "healthy", 5, 0)]);
        (
            sample.totals.shed,
            sample.totals.queued,
            sample.totals.refused,
        ) = (3, 1, 2);
        let mut watched = Watched::default();
        watched.apply(Update::Sample(Box::new(sample)), Instant::now());
        assert_eq!(
            words(&watched),
            [
                "overload: 3 requests shed in 10 s",
                "1 request waits for a place at a backend",
                "2 requests could not be read in 10 s",
            ]
        );
    }

    #[test]
    fn errors_that_clients_never_see_are_told() {
        let mut sample = sample(1, &[("w1", "healthy", 90, 0), ("w2", "healthy", 10, 5)]);
        sample.totals.classes = [0, 100, 0, 0, 0];
        let mut watched = Watched::default();
        watched.apply(Update::Sample(Box::new(sample)), Instant::now());
        first(
            &watched,
            Level::Warn,
            "w2 answers 50% with errors; retries heal it",
        );
    }

    #[test]
    fn away_balancer_comes_before_what_it_last_said() {
        let mut away = watched(&[("w1", "healthy", 5, 5)]);
        away.apply(
            Update::Away("connection refused".to_owned()),
            Instant::now(),
        );
        let later = Instant::now() + Duration::from_secs(12);
        let findings = verdict(&away, later);
        assert_eq!(
            findings[0].words,
            "the balancer is away, trying again; below is what was 12 s ago (connection refused)"
        );
    }

    #[test]
    fn refused_reload_and_lost_source_are_told() {
        let mut watched = watched(&[("w1", "healthy", 5, 0)]);
        let status = json!({
            "last_reload": { "type": "reload_refused", "error": "a:\nb" },
            "sources": [{ "source": "sql", "away": "no route" }],
        });
        watched.apply(Update::Status(status), Instant::now());
        assert_eq!(
            words(&watched),
            [
                "the last reload was refused: a:; b",
                "sql is away, its last backends stay: no route"
            ]
        );
    }
}
