//! What a reading is made of.

use crate::stats::BUCKETS;
use crate::stats::times::Counted;
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
    Times(Box<Times>),
}

/// Times by how long they were.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Times {
    /// Finer than what is exported as a histogram: for percentiles.
    pub(crate) counted: Counted,
    /// In seconds.
    pub(crate) sum: f64,
}

/// Upper bounds of an exported histogram's buckets, in seconds; a time that is equal to one is below it. One more bucket is for
/// what is beyond the last.
pub(crate) const BOUNDS: [f64; BUCKETS.len()] = {
    let mut bounds = [0.0; BUCKETS.len()];
    let mut place = 0;
    while place < bounds.len() {
        bounds[place] = BUCKETS[place] as f64 / 1e6;
        place += 1;
    }
    bounds
};

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
        self.counted.coarse().iter().sum()
    }

    /// Those that are not in `earlier`, which is an earlier reading of the same; all of them if it is not.
    pub(crate) fn since(&self, earlier: &Times) -> Times {
        if earlier.count() > self.count() {
            return self.clone();
        }
        Times {
            counted: self.counted.since(&earlier.counted),
            sum: (self.sum - earlier.sum).max(0.0),
        }
    }

    /// So many, each so long.
    #[cfg(test)]
    pub(crate) fn of(count: u64, each: std::time::Duration) -> Times {
        let times = crate::stats::times::Times::default();
        (0..count).for_each(|_| times.record(each));
        Times {
            counted: Counted::sum([times].iter()),
            sum: count as f64 * each.as_secs_f64(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn difference_of_two_readings_is_what_came_between() {
        let second = Duration::from_secs(1);
        let (earlier, now) = (Times::of(2, second), Times::of(5, second));
        assert_eq!(now.since(&earlier), Times::of(3, second));
        // It began anew.
        assert_eq!(earlier.since(&now), earlier);
    }
}
