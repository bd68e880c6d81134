//! A reading as StatsD lines: what was counted since the last one, levels, percentiles of what was timed since. Pure.
//!
//! Names are those of `/metrics`, with another prefix and without `_total`: what is sent is no total.

use super::{Family, Kind, Sample, Text, Times, Value};
use crate::config::{Flavour, StatsdConfig};
use std::collections::HashMap;
use std::fmt::Write;

/// Of one datagram: what fits into an Ethernet frame, with room for a tunnel's headers.
pub(crate) const UDP_BYTES: usize = 1432;
/// The same for a socket in the file system, as agents read them.
pub(crate) const UNIX_BYTES: usize = 8192;

/// The shares that are told of what was timed.
const PERCENTILES: [(&str, f64); 3] = [("p50", 0.5), ("p95", 0.95), ("p99", 0.99)];

/// Readings in which a series may be missing and still be the same one: a backend that was removed goes on counting when it is named
/// again before its last request has ended.
const MISSING: u32 = 360;

/// What the last readings said of everything that is counted. Memory: an entry for each such series.
#[derive(Debug, Default)]
pub(crate) struct Counted(HashMap<String, Known>);

#[derive(Debug)]
struct Known {
    value: Value,
    /// Readings since it was last there.
    missing: u32,
}

impl Counted {
    /// What is in `reading` counts as sent.
    pub(crate) fn from(reading: &[Family]) -> Self {
        let mut counted = Counted::default();
        counted.changes(reading, |_, _, _| {});
        counted
    }

    /// Calls `tell` with everything in `reading`: with what came since the last one, where it is counted.
    fn changes(&mut self, reading: &[Family], mut tell: impl FnMut(&Family, &Sample, Value)) {
        self.0.retain(|_, known| {
            known.missing += 1;
            known.missing <= MISSING
        });
        for family in reading {
            for sample in &family.samples {
                let series = sample.series(family);
                if family.kind == Kind::Gauge {
                    tell(family, sample, sample.value.clone());
                    continue;
                }
                let before = self.0.get(&series).map(|known| &known.value);
                tell(family, sample, change(&sample.value, before));
                let value = sample.value.clone();
                self.0.insert(series, Known { value, missing: 0 });
            }
        }
    }
}

/// A count that is lower than before began anew.
fn change(now: &Value, before: Option<&Value>) -> Value {
    match (now, before) {
        (Value::Count(now), Some(Value::Count(before))) => {
            Value::Count(now.checked_sub(*before).unwrap_or(*now))
        }
        (Value::Level(now), Some(Value::Level(before))) if now >= before => {
            Value::Level(now - before)
        }
        (Value::Times(now), Some(Value::Times(before))) => Value::Times(now.since(before).into()),
        (now, _) => now.clone(),
    }
}

/// Writes a reading as lines, without line ends. Counts that did not change are left out.
pub(crate) fn write(
    reading: &[Family],
    counted: &mut Counted,
    config: &StatsdConfig,
) -> Vec<String> {
    let mut lines = Vec::new();
    counted.changes(reading, |family, sample, value| {
        let writer = Writer {
            config,
            name: name(&family.name),
            labels: &sample.labels,
        };
        match value {
            Value::Count(0) => {}
            Value::Count(count) => lines.push(writer.line("", count, 'c')),
            Value::Level(level) if family.kind == Kind::Gauge => {
                lines.push(writer.line("", level, 'g'));
            }
            // What is counted in parts of one, such as processor time.
            Value::Level(level) => lines.push(writer.line("", level, 'c')),
            Value::Times(times) if times.count() > 0 => writer.times(&times, &mut lines),
            Value::Times(_) => {}
        }
    });
    lines
}

/// `lemonade_http_requests_total` is `http_requests` after the prefix.
fn name(name: &str) -> &str {
    let name = name.strip_prefix("lemonade_").unwrap_or(name);
    name.strip_suffix("_total").unwrap_or(name)
}

/// One series' lines.
struct Writer<'w> {
    config: &'w StatsdConfig,
    name: &'w str,
    labels: &'w [(Text, Text)],
}

impl Writer<'_> {
    fn times(&self, times: &Times, lines: &mut Vec<String>) {
        let count = times.count();
        lines.push(self.line(".count", count, 'c'));
        lines.push(self.line(".avg", times.sum / count as f64, 'g'));
        for (name, share) in PERCENTILES {
            let percentile = times.counted.percentile(share);
            lines.extend(percentile.map(|time| self.line(&format!(".{name}"), time, 'g')));
        }
    }

    fn line(&self, suffix: &str, value: impl std::fmt::Display, kind: char) -> String {
        let config = self.config;
        let mut line = format!("{}{}", config.prefix, self.name);
        if config.flavour == Flavour::Plain {
            for (_, value) in self.labels {
                line.push('.');
                line.extend(value.chars().map(plain));
            }
        }
        // Writing to a String does not fail.
        let _ = write!(line, "{suffix}:{value}|{kind}");
        if config.flavour == Flavour::Datadog {
            let labels = self.labels.iter();
            let labels = labels.map(|(name, value)| (&**name, &**value));
            let tags = config.tags.iter();
            let tags = tags.map(|(name, value)| (name.as_str(), value.as_str()));
            let mut before = "|#";
            for (name, value) in labels.chain(tags) {
                let _ = write!(line, "{before}{name}:");
                line.extend(value.chars().map(tag));
                before = ",";
            }
        }
        line
    }
}

/// A part of a plain name: a dot would begin another part.
fn plain(character: char) -> char {
    match character {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '-' => character,
        _ => '_',
    }
}

/// A tag's value may hold anything that does not end it.
fn tag(character: char) -> char {
    match character {
        '|' | ',' | '#' => '_',
        other if other.is_control() => '_',
        other => other,
    }
}

/// Packs lines into datagrams of at most `most` bytes. A line that is longer goes alone.
pub(crate) fn datagrams(lines: &[String], most: usize) -> Vec<Vec<u8>> {
    let mut datagrams = Vec::<Vec<u8>>::new();
    for line in lines {
        match datagrams.last_mut() {
            Some(last) if last.len() + 1 + line.len() <= most => {
                last.push(b'\n');
                last.extend_from_slice(line.as_bytes());
            }
            _ => datagrams.push(line.as_bytes().to_vec()),
        }
    }
    datagrams
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::StatsdAddress;
    use std::time::Duration;

    fn config(flavour: Flavour) -> StatsdConfig {
        let mut config = StatsdConfig::at(StatsdAddress::parse("a:1").unwrap());
        config.flavour = flavour;
        config
    }

    /// So many requests, and so many times of a second.
    fn reading(count: u64, times: u64) -> Vec<Family> {
        let labels = vec![
            ("backend".into(), "127.0.0.1:1|x".into()),
            ("class".into(), "2xx".into()),
        ];
        let times = Times::of(times, Duration::from_secs(1));
        let times = Sample {
            labels: Vec::new(),
            value: Value::Times(times.into()),
        };
        let level = Sample::level(Vec::new(), 0.25);
        vec![
            Family::new(
                Kind::Counter,
                "lemonade_backend_requests_total",
                "",
                vec![Sample::count(labels, count)],
            ),
            Family::new(Kind::Gauge, "lemonade_connections", "", vec![level]),
            Family::new(Kind::Histogram, "lemonade_x_seconds", "", vec![times]),
        ]
    }

    #[test]
    fn lines_say_what_changed() {
        let mut config = config(Flavour::Datadog);
        config.tags = vec![("env".to_owned(), "x".to_owned())];
        let mut counted = Counted::default();
        let lines = write(&reading(3, 2), &mut counted, &config);
        let (lines, percentiles) = lines.split_at(4);
        assert_eq!(
            lines,
            [
                "lemonade.backend_requests:3|c|#backend:127.0.0.1:1_x,class:2xx,env:x",
                "lemonade.connections:0.25|g|#env:x",
                "lemonade.x_seconds.count:2|c|#env:x",
                "lemonade.x_seconds.avg:1|g|#env:x",
            ]
        );
        for (line, name) in percentiles.iter().zip(["p50", "p95", "p99"]) {
            let value = line.strip_prefix(&format!("lemonade.x_seconds.{name}:"));
            let value = value.and_then(|value| value.strip_suffix("|g|#env:x"));
            let value: f64 = value.unwrap().parse().unwrap();
            assert!((0.8..=1.0).contains(&value), "{line}");
        }
        let lines = write(&reading(3, 2), &mut counted, &config);
        assert_eq!(lines, ["lemonade.connections:0.25|g|#env:x"]);
        let lines = write(&reading(8, 3), &mut counted, &config);
        assert!(lines[0].starts_with("lemonade.backend_requests:5|c"));
        assert_eq!(lines[2], "lemonade.x_seconds.count:1|c|#env:x");
        // It began anew.
        let lines = write(&reading(2, 1), &mut counted, &config);
        assert!(lines[0].starts_with("lemonade.backend_requests:2|c"));
        assert_eq!(lines[2], "lemonade.x_seconds.count:1|c|#env:x");
        // It was away, and has gone on counting.
        write(&[], &mut counted, &config);
        let lines = write(&reading(3, 1), &mut counted, &config);
        assert!(lines[0].starts_with("lemonade.backend_requests:1|c"));
    }

    #[test]
    fn what_is_counted_in_parts_is_told_in_parts() {
        let reading = |seconds: f64| {
            let sample = Sample::level(Vec::new(), seconds);
            vec![Family::new(
                Kind::Counter,
                "cpu_seconds_total",
                "",
                vec![sample],
            )]
        };
        let mut counted = Counted::default();
        let config = config(Flavour::Datadog);
        let mut told = |seconds| write(&reading(seconds), &mut counted, &config);
        assert_eq!(told(1.5), ["lemonade.cpu_seconds:1.5|c"]);
        assert_eq!(told(1.75), ["lemonade.cpu_seconds:0.25|c"]);
    }

    #[test]
    fn plain_lines_have_labels_in_their_names() {
        let mut counted = Counted::from(&reading(1, 0));
        let lines = write(&reading(3, 0), &mut counted, &config(Flavour::Plain));
        assert_eq!(
            lines,
            [
                "lemonade.backend_requests.127_0_0_1_1_x.2xx:2|c",
                "lemonade.connections:0.25|g"
            ]
        );
    }

    #[test]
    fn datagrams_are_full_and_not_too_long() {
        let lines: Vec<String> = [3, 4, 2, 20, 1].map(|length| "x".repeat(length)).into();
        let datagrams = datagrams(&lines, 8);
        let lengths: Vec<usize> = datagrams.iter().map(Vec::len).collect();
        assert_eq!(lengths, [8, 2, 20, 1]);
        assert_eq!(datagrams[0], b"xxx\nxxxx");
    }
}
