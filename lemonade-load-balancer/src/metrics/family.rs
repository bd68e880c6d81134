//! What a reading is made of.

use std::borrow::Cow;
use std::fmt::Write;

/// Most are known when the program is built.
pub(crate) type Text = Cow<'static, str>;

/// A metric with all its series.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Family {
    /// One of `stats/names.rs`.
    pub(crate) name: Text,
    pub(crate) help: Text,
    pub(crate) kind: Kind,
    pub(crate) samples: Vec<Sample>,
}

/// How a metric's values are to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Only ever rises, from the start of the process or of what it is counted of.
    Counter,
    Gauge,
    Histogram,
}

/// One series, now.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    /// Names with values.
    pub(crate) labels: Vec<(Text, Text)>,
    pub(crate) value: Value,
}

/// What it comes to; its family's kind says which.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Count(u64),
    Level(f64),
    Times(Times),
}

/// Times by how long they were.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Times {
    /// Upper bounds in seconds, rising; a time that is equal to one is below it.
    pub(crate) bounds: &'static [f64],
    /// How many there are between each bound and the one before; one more, for what is beyond the last.
    pub(crate) counts: Vec<u64>,
    /// In seconds.
    pub(crate) sum: f64,
}

impl Family {
    pub(crate) fn new(
        kind: Kind,
        name: &'static str,
        help: &'static str,
        samples: Vec<Sample>,
    ) -> Self {
        let (name, help) = (name.into(), help.into());
        Family {
            name,
            help,
            kind,
            samples,
        }
    }
}

impl Kind {
    /// As Prometheus calls it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

impl Sample {
    pub(crate) fn count(labels: Vec<(Text, Text)>, count: u64) -> Self {
        let value = Value::Count(count);
        Sample { labels, value }
    }

    pub(crate) fn level(labels: Vec<(Text, Text)>, level: impl Into<f64>) -> Self {
        let value = Value::Level(level.into());
        Sample { labels, value }
    }

    /// What tells the series from all others, to remember it by.
    pub(crate) fn series(&self, family: &Family) -> String {
        let mut series = family.name.to_string();
        for (name, value) in &self.labels {
            // Writing to a String does not fail. No label has a control character in its name.
            let _ = write!(series, "\0{name}\0{value}");
        }
        series
    }
}

impl Times {
    pub(crate) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Those that are not in `earlier`, which is an earlier reading of the same; all of them if it is not.
    pub(crate) fn since(&self, earlier: &Times) -> Times {
        let pairs = self.counts.iter().zip(&earlier.counts);
        let differences: Option<Vec<u64>> =
            pairs.map(|(now, then)| now.checked_sub(*then)).collect();
        match differences {
            Some(counts) if counts.len() == self.counts.len() => Times {
                bounds: self.bounds,
                counts,
                sum: (self.sum - earlier.sum).max(0.0),
            },
            _ => self.clone(),
        }
    }

    /// The time that this share (above 0, up to 1) of all is not above: as if those between two bounds were spread evenly.
    /// Beyond the last bound nothing is known, so that is the answer there; 0 if there are none.
    pub(crate) fn percentile(&self, share: f64) -> f64 {
        let wanted = self.count() as f64 * share;
        let (mut below, mut from) = (0.0, 0.0);
        for (to, count) in self.bounds.iter().zip(&self.counts) {
            let count = *count as f64;
            if count > 0.0 && below + count >= wanted {
                return from + (to - from) * (wanted - below) / count;
            }
            below += count;
            from = *to;
        }
        if self.count() == 0 { 0.0 } else { from }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(counts: [u64; 4]) -> Times {
        Times {
            bounds: &[1.0, 2.0, 4.0],
            counts: counts.to_vec(),
            sum: counts.iter().sum::<u64>() as f64,
        }
    }

    #[test]
    fn percentiles_lie_within_their_bucket() {
        let some = times([10, 10, 20, 0]);
        assert!((some.percentile(0.5) - 2.0).abs() < 1e-9);
        assert!((some.percentile(0.25) - 1.0).abs() < 1e-9);
        assert!((some.percentile(0.75) - 3.0).abs() < 1e-9);
        assert!((some.percentile(1.0) - 4.0).abs() < 1e-9);
        assert!((times([0, 0, 0, 5]).percentile(0.5) - 4.0).abs() < 1e-9);
        assert!(times([0, 0, 0, 0]).percentile(0.5).abs() < 1e-9);
    }

    #[test]
    fn difference_of_two_readings_is_what_came_between() {
        let (earlier, now) = (times([1, 2, 3, 4]), times([1, 3, 3, 9]));
        assert_eq!(now.since(&earlier).counts, [0, 1, 0, 5]);
        assert!((now.since(&earlier).sum - 6.0).abs() < 1e-9);
        assert_eq!(earlier.since(&now), earlier);
    }
}
