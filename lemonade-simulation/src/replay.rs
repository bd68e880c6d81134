//! What if: the requests of an access log, under other strategies.
//!
//! Reads the JSON lines that the balancer writes (`access_log: { format: json }`). Arrivals are as recorded. What a request would have
//! taken elsewhere is not: it is assumed that a backend's times to first byte, as recorded, are what it takes under any
//! strategy, and each request draws one of the chosen backend's (the same place in the order of its times, whoever is chosen, so
//! that all strategies meet the same requests). A backend is assumed to work on as many requests at once as were ever seen in
//! flight there; beyond that they queue. Recorded errors are not played.

use crate::compare::{Case, Source};
use crate::report::{Comparison, Outcome, Recorder, Target};
use crate::scenario::{Health, MAX_BACKENDS};
use crate::world::{Recorded, Request, Stage, Work};
use fastrand::Rng;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::{self, BufRead, Read as _};
use std::time::Duration;
use thiserror::Error;

/// What the log itself tells, among the runs.
pub const AS_RECORDED: &str = "recorded";

/// Beyond that the rest of a log is left out, which is told.
const MAX_REQUESTS: usize = 5_000_000;

/// No line of ours comes near it.
const MAX_LINE: u64 = 256 * 1024;

/// A log says nothing about the patience of clients: longer than nearly all of them have.
const TIMEOUT: Duration = Duration::from_secs(600);

/// Why a log cannot be replayed.
#[derive(Debug, Error)]
pub enum LogError {
    /// It cannot be read on.
    #[error("cannot be read")]
    Read(#[from] io::Error),
    /// It holds no request that a backend answered.
    #[error("no request in it that a backend answered: {0}")]
    Nothing(String),
    /// More backends than can be simulated.
    #[error("more than {MAX_BACKENDS} backends")]
    Backends,
}

/// Reads a log into a case whose comparison begins with the run as it was recorded. Lines that are no request, and requests
/// that no backend answered, are left out; the comparison's notes say how many, and where the first is.
pub fn read_log(name: &str, log: impl BufRead, seed: u64) -> Result<Case, LogError> {
    let read = read(log)?;
    let Some(begin) = read.entries.iter().map(|entry| entry.came).min() else {
        return Err(LogError::Nothing(read.left_out.join("; ")));
    };
    let mut entries = read.entries;
    // Lines are written when requests end.
    entries.sort_by_key(|entry| entry.came);
    for entry in &mut entries {
        entry.came -= begin;
    }
    let last = entries.last().map_or(Duration::ZERO, |entry| entry.came);
    let duration = last + Duration::from_micros(1);
    let backends = read.backends.len();
    let mut times = vec![Vec::new(); backends];
    for entry in entries.iter().filter(|entry| entry.ok) {
        times[entry.backend].push(entry.took.as_secs_f64());
    }
    let everyone: Vec<f64> = entries
        .iter()
        .map(|entry| entry.took.as_secs_f64())
        .collect();
    // Of one that answered errors only nothing better is known than what the others take.
    let recorded: Vec<Recorded> = times
        .into_iter()
        .filter_map(|times| Recorded::new(times).or_else(|| Recorded::new(everyone.clone())))
        .collect();
    let workers = most_in_flight(&entries, backends);
    let work = Work::Recorded(recorded);
    let mut names = vec![String::new(); backends];
    for (name, index) in read.backends {
        names[index] = name;
    }
    let told = Comparison {
        name: name.to_owned(),
        about: format!(
            "{} requests over {:.1} s, recorded, under other strategies",
            entries.len(),
            duration.as_secs_f64()
        ),
        seed,
        duration,
        backends: targets(names, &workers, &work),
        troubles: Vec::new(),
        notes: read.left_out,
        runs: vec![as_recorded(&entries, backends, duration)],
    };
    Ok(Case {
        stage: Stage {
            workers,
            work,
            changes: Vec::new(),
            health: None::<Health>,
            timeout: TIMEOUT,
        },
        source: Source::Recorded(requests(&entries, seed)),
        weights: vec![1; backends],
        replicas: 1,
        shared: false,
        warm_up: Duration::ZERO,
        told,
    })
}

/// A request as it was recorded.
#[derive(Debug)]
struct Entry {
    /// Since 1970 at first, then since the log's beginning.
    came: Duration,
    backend: usize,
    /// In the balancer, before there was room for it.
    queued: Duration,
    /// By the backend.
    took: Duration,
    ok: bool,
}

/// What a log holds.
#[derive(Debug, Default)]
struct Log {
    entries: Vec<Entry>,
    backends: BTreeMap<String, usize>,
    /// What is missing, a sentence each.
    left_out: Vec<String>,
}

fn read(mut log: impl BufRead) -> Result<Log, LogError> {
    let mut read = Log::default();
    let (mut bad, mut unanswered) = (Bad::default(), 0_u64);
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        if log.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        if line.len() as u64 == MAX_LINE && !line.ends_with(b"\n") {
            bad.count(number, "longer than 256 KiB");
            skip_line(&mut log)?;
            continue;
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        match Line::parse(&line) {
            Err(why) => bad.count(number, &why),
            Ok(line) => match line.entry(&mut read.backends) {
                None => unanswered += 1,
                Some(_) if read.backends.len() > MAX_BACKENDS => return Err(LogError::Backends),
                Some(entry) => read.entries.push(entry),
            },
        }
        if read.entries.len() == MAX_REQUESTS {
            let note = format!(
                "what comes after line {number} is left out: {MAX_REQUESTS} requests are enough"
            );
            read.left_out.push(note);
            break;
        }
    }
    if unanswered > 0 {
        let note = match unanswered {
            1 => "a request that reached no backend is left out".to_owned(),
            count => format!("{count} requests that reached no backend are left out"),
        };
        read.left_out.push(note);
    }
    read.left_out.extend(bad.told());
    Ok(read)
}

fn skip_line(log: &mut impl BufRead) -> io::Result<()> {
    loop {
        let buffer = log.fill_buf()?;
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let length = end.map_or(buffer.len(), |end| end + 1);
        log.consume(length);
        if end.is_some() || length == 0 {
            return Ok(());
        }
    }
}

/// Lines that are no request.
#[derive(Debug, Default)]
struct Bad {
    count: u64,
    first: Option<(u64, String)>,
}

impl Bad {
    fn count(&mut self, line: u64, why: &str) {
        self.count += 1;
        self.first.get_or_insert_with(|| (line, why.to_owned()));
    }

    fn told(self) -> Option<String> {
        let (line, why) = self.first?;
        Some(match self.count {
            1 => format!("line {line} is left out: {why}"),
            count => format!("{count} lines are left out, the first of them line {line}: {why}"),
        })
    }
}

/// The fields that are needed; unknown ones are no fault.
#[derive(Deserialize)]
struct Line<'l> {
    time: &'l str,
    backend: Option<&'l str>,
    status: u16,
    #[serde(default)]
    queue_seconds: f64,
    #[serde(default)]
    connect_seconds: f64,
    #[serde(default)]
    first_byte_seconds: f64,
    total_seconds: f64,
}

impl<'l> Line<'l> {
    fn parse(line: &'l [u8]) -> Result<Line<'l>, String> {
        let line: Line<'l> = serde_json::from_slice(line)
            .map_err(|error| format!("not a line of our JSON access log ({error})"))?;
        if since_1970(line.time).is_none() {
            return Err("`time` is no time such as 2026-11-21T06:44:12.123456Z".to_owned());
        }
        Ok(line)
    }

    /// `None` for a request that reached no backend.
    fn entry(&self, backends: &mut BTreeMap<String, usize>) -> Option<Entry> {
        let name = self.backend?;
        let [queued, connect, first_byte, total] = [
            self.queue_seconds,
            self.connect_seconds,
            self.first_byte_seconds,
            self.total_seconds,
        ]
        .map(seconds);
        let took = match first_byte.is_zero() {
            true => total.saturating_sub(queued + connect),
            false => first_byte,
        };
        // The line was written when the request ended.
        let came = since_1970(self.time)?.saturating_sub(total);
        let next = backends.len();
        let backend = match backends.get(name) {
            Some(index) => *index,
            None => *backends.entry(name.to_owned()).or_insert(next),
        };
        Some(Entry {
            came,
            backend,
            queued,
            took,
            ok: self.status < 500,
        })
    }
}

/// Nothing for what is no time; none is longer than a day.
fn seconds(number: f64) -> Duration {
    Duration::try_from_secs_f64(number.min(86_400.0)).unwrap_or_default()
}

/// `2026-11-21T06:44:12.123456Z`, with any number of decimals; the balancer writes no other form.
fn since_1970(time: &str) -> Option<Duration> {
    let (date, clock) = time.strip_suffix('Z')?.split_once('T')?;
    let [year, month, day] = whole(date.split('-'))?;
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let [hour, minute, second] = whole(clock.split(':'))?;
    let plausible = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60
        && fraction.bytes().all(|byte| byte.is_ascii_digit());
    if !plausible {
        return None;
    }
    let fraction: f64 = format!("0.{fraction}").parse().ok()?;
    let days = days_since_1970(year, month, day);
    let whole = Duration::from_secs(days * 86_400 + hour * 3600 + minute * 60 + second);
    Some(whole + Duration::from_secs_f64(fraction))
}

fn whole<'t>(mut parts: impl Iterator<Item = &'t str>) -> Option<[u64; 3]> {
    let mut next = || parts.next()?.parse().ok();
    let found = [next()?, next()?, next()?];
    parts.next().is_none().then_some(found)
}

/// Howard Hinnant's civil-to-days algorithm, for years from 1970 on.
fn days_since_1970(year: u64, month: u64, day: u64) -> u64 {
    let year = year - u64::from(month <= 2);
    let (era, year_of_era) = (year / 400, year % 400);
    let shifted = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Of each backend.
fn most_in_flight(entries: &[Entry], backends: usize) -> Vec<usize> {
    let mut edges: Vec<(Duration, i64, usize)> = entries
        .iter()
        .flat_map(|entry| {
            let begun = entry.came + entry.queued;
            [
                (begun, 1, entry.backend),
                (begun + entry.took, -1, entry.backend),
            ]
        })
        .collect();
    // Ends before beginnings.
    edges.sort_unstable();
    let mut present = vec![0_i64; backends];
    let mut most = vec![1_i64; backends];
    for (_, step, backend) in edges {
        present[backend] += step;
        most[backend] = most[backend].max(present[backend]);
    }
    most.into_iter()
        .filter_map(|most| usize::try_from(most).ok())
        .collect()
}

fn targets(names: Vec<String>, workers: &[usize], work: &Work) -> Vec<Target> {
    // A clock too coarse for a request must not divide by zero.
    let capacity = |index: usize| workers[index] as f64 / work.mean(index).max(1e-6);
    let all: f64 = (0..names.len()).map(capacity).sum();
    let target = |(index, name)| Target {
        name,
        fair_share: capacity(index) / all,
    };
    names.into_iter().enumerate().map(target).collect()
}

fn requests(entries: &[Entry], seed: u64) -> Vec<Request> {
    let mut rng = Rng::with_seed(seed);
    let request = |entry: &Entry| Request {
        at: entry.came,
        replica: 0,
        size: rng.f64(),
        luck: 0.0,
        doomed: false,
    };
    entries.iter().map(request).collect()
}

fn as_recorded(entries: &[Entry], backends: usize, duration: Duration) -> crate::report::Run {
    let mut recorder = Recorder::new(backends, Duration::ZERO, duration);
    for entry in entries {
        let outcome = match entry.ok {
            true => Outcome::Answered,
            false => Outcome::Failed,
        };
        let latency = entry.queued + entry.took;
        recorder.record(entry.came, Some(entry.backend), outcome, latency);
    }
    recorder.finish(AS_RECORDED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Contestant, compare};
    use lemonade_load_balancer::config::Config;
    use proptest::prelude::*;
    use std::fmt::Write as _;

    fn line(millis: u64, backend: &str, took: f64) -> String {
        let (second, micros) = (millis / 1000, millis % 1000 * 1000);
        let (minute, second) = (second / 60, second % 60);
        format!(
            r#"{{"time":"2026-11-21T06:{minute:02}:{second:02}.{micros:06}Z","request_id":"x","client":"127.0.0.1:1","method":"GET","host":"h","path":"/","status":200,"strategy":"round_robin","backend":"{backend}","attempts":["{backend}"],"queue_seconds":0.0,"connect_seconds":0.0,"first_byte_seconds":{took},"total_seconds":{took},"bytes_in":0,"bytes_out":2}}"#
        )
    }

    fn failed(log: &str) -> String {
        read_log("a", log.as_bytes(), 1).unwrap_err().to_string()
    }

    #[test]
    fn log_is_replayed_with_its_arrivals_and_times() {
        let mut log = String::new();
        for number in 0..2000 {
            let (backend, took) = match number % 2 {
                0 => ("fast", 0.003),
                _ => ("slow", 0.2),
            };
            let end = number * 5 + (took * 1000.0) as u64;
            let _ = writeln!(log, "{}", line(end, backend, took));
        }
        let case = read_log("a", log.as_bytes(), 1).unwrap();
        let contestants = ["ideal", "round_robin", "least_connections"];
        let contestants = contestants.map(|name| name.parse::<Contestant>().unwrap());
        let comparison = compare(&case, &contestants, &Config::default(), &mut |_| {});
        let [recorded, ideal, round_robin, least] = &comparison.runs[..] else {
            panic!("{:?}", comparison.runs);
        };
        assert_eq!(recorded.strategy, AS_RECORDED);
        for run in [recorded, ideal, round_robin, least] {
            assert_eq!((run.counts.requests, run.counts.errors()), (2000, 0));
        }
        assert_eq!(recorded.shares, [1000, 1000]);
        let off = recorded.mean().as_secs_f64() - 0.1015;
        assert!(off.abs() < 0.001, "{off}");
        // Round robin is what was recorded; who avoids the slow one is better off.
        let off = round_robin.mean().as_secs_f64() - 0.1015;
        assert!(off.abs() < 0.005, "{off}");
        assert!(ideal.mean() < recorded.mean() / 2);
        assert!(comparison.backends[0].fair_share < 0.5 || comparison.backends[1].fair_share < 0.5);
    }

    #[test]
    fn what_cannot_be_read_is_told_with_its_place() {
        let mut log = format!("{}\nnot json\n\n", line(1, "a", 0.001));
        log.push_str(&line(2, "a", 0.001).replace("2026-", "yesterday"));
        log.push('\n');
        log.push_str(&line(3, "a", 0.001).replace("\"backend\":\"a\"", "\"backend\":null"));
        log.push('\n');
        log.push_str(&"x".repeat(300_000));
        log.push('\n');
        log.push_str(&line(4, "a", 0.001));
        let case = read_log("a", log.as_bytes(), 1).unwrap();
        assert_eq!(case.told.runs[0].counts.requests, 2);
        let notes = case.told.notes.join("\n");
        let wanted = "a request that reached no backend is left out\n\
                      3 lines are left out, the first of them line 2: not a line of our JSON access log";
        assert!(notes.starts_with(wanted), "{notes}");
    }

    #[test]
    fn log_without_requests_says_why() {
        assert!(failed("").starts_with("no request in it"));
        let text = failed("2026-11-21T06:44:12Z 127.0.0.1:1 \"GET /\" 200\n");
        assert!(text.contains("line 1 is left out"), "{text}");
    }

    #[test]
    fn times_are_read_as_the_balancer_writes_them() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", Some(0.0)),
            ("2000-02-29T12:00:00.5Z", Some(951_825_600.5)),
            ("2026-11-21T06:44:12.123456Z", Some(1_795_243_452.123_456)),
            ("2026-11-21T06:44:12+01:00", None),
            ("2026-13-21T06:44:12Z", None),
            ("2026-11-21T06:44Z", None),
            ("", None),
        ] {
            let found = since_1970(text).map(|time| time.as_secs_f64());
            assert_eq!(found, seconds, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_log_makes_it_panic(log in any::<Vec<u8>>(), took in any::<f64>(), time in "[0-9TZ:.-]{0,30}") {
            let _ = read_log("a", log.as_slice(), 1);
            let odd = line(5, "a", 0.5).replace("0.5", &took.to_string());
            let _ = read_log("a", odd.as_bytes(), 1);
            let odd = line(5, "a", 0.5).replace("2026-11-21T06:00:00.005000Z", &time);
            let _ = read_log("a", odd.as_bytes(), 1);
        }
    }
}
