//! A reading as OpenTelemetry's data model has it: cumulative sums, gauges, histograms with explicit bounds. Pure.
//!
//! Names are those of `/metrics`, so that a query means the same wherever the numbers came by.

use super::{BOUNDS, Family, Kind, Sample, Text, Times, Value};
use crate::otlp::{nanos, text};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, Sum,
    metric::Data, number_data_point,
};
use std::collections::HashMap;
use std::time::SystemTime;

/// When each series that only rises began: a backend that was removed and comes back begins anew, and a reader must be told.
/// Memory: an entry for each such series of the last reading.
#[derive(Debug)]
pub(crate) struct Starts {
    /// When those of the next reading began that the last one did not have.
    new_since: u64,
    known: HashMap<String, Begun>,
}

#[derive(Clone, Copy, Debug)]
struct Begun {
    at: u64,
    count: u64,
    /// Readings since it was last there.
    missing: u32,
}

/// Readings in which a series may be missing and still be the same one: a backend that was removed goes on counting when it is named
/// again before its last request has ended.
const MISSING: u32 = 360;

impl Starts {
    /// Nothing was read yet; counting began then.
    pub(crate) fn new(since: SystemTime) -> Self {
        Starts {
            new_since: nanos(since),
            known: HashMap::new(),
        }
    }

    /// When a series that stands at `count` began, by what was known of it at the last reading.
    fn of(&self, series: &str, count: u64) -> u64 {
        match self.known.get(series) {
            Some(begun) if begun.count <= count => begun.at,
            _ => self.new_since,
        }
    }
}

/// Writes everything that has a value, and remembers when it began.
pub(crate) fn write(reading: &[Family], starts: &mut Starts, now: SystemTime) -> Vec<Metric> {
    let now = nanos(now);
    starts.known.retain(|_, begun| {
        begun.missing += 1;
        begun.missing <= MISSING
    });
    let mut begun = |family: &Family, sample: &Sample, count: u64| {
        let series = sample.series(family);
        let at = starts.of(&series, count);
        let missing = 0;
        starts.known.insert(series, Begun { at, count, missing });
        at
    };
    let families = reading.iter().filter(|family| !family.samples.is_empty());
    let metrics = families.map(|family| Metric {
        name: family.name.clone().into_owned(),
        description: family.help.clone().into_owned(),
        unit: unit(&family.name).to_owned(),
        metadata: Vec::new(),
        data: Some(data(family, now, &mut begun)),
    });
    let metrics = metrics.collect();
    starts.new_since = now;
    metrics
}

/// None where nothing is measured but a number: to `1` readers that speak Prometheus would add `_ratio`.
fn unit(name: &str) -> &'static str {
    match name.strip_suffix("_total").unwrap_or(name) {
        name if name.ends_with("_seconds") => "s",
        _ => "",
    }
}

type StartOf<'s> = dyn FnMut(&Family, &Sample, u64) -> u64 + 's;

fn data(family: &Family, now: u64, start: &mut StartOf<'_>) -> Data {
    let samples = family.samples.iter();
    let aggregation_temporality = AggregationTemporality::Cumulative.into();
    match family.kind {
        Kind::Gauge => Data::Gauge(Gauge {
            data_points: samples.map(|sample| number(sample, 0, now)).collect(),
        }),
        Kind::Counter => Data::Sum(Sum {
            data_points: samples
                .map(|sample| number(sample, start(family, sample, count(sample)), now))
                .collect(),
            aggregation_temporality,
            is_monotonic: true,
        }),
        Kind::Histogram => Data::Histogram(Histogram {
            data_points: samples
                .filter_map(|sample| match &sample.value {
                    Value::Times(times) => {
                        let start = start(family, sample, times.count());
                        Some(histogram(sample, times, start, now))
                    }
                    _ => None,
                })
                .collect(),
            aggregation_temporality,
        }),
    }
}

fn count(sample: &Sample) -> u64 {
    match &sample.value {
        Value::Count(count) => *count,
        Value::Times(times) => times.count(),
        Value::Level(_) => 0,
    }
}

fn number(sample: &Sample, start: u64, now: u64) -> NumberDataPoint {
    let value = match &sample.value {
        // An int of OTLP has a sign; nothing that we count comes near it.
        Value::Count(count) => {
            number_data_point::Value::AsInt(i64::try_from(*count).unwrap_or(i64::MAX))
        }
        Value::Level(level) => number_data_point::Value::AsDouble(*level),
        Value::Times(times) => number_data_point::Value::AsDouble(times.sum),
    };
    NumberDataPoint {
        attributes: attributes(&sample.labels),
        start_time_unix_nano: start,
        time_unix_nano: now,
        value: Some(value),
        ..NumberDataPoint::default()
    }
}

fn histogram(sample: &Sample, times: &Times, start: u64, now: u64) -> HistogramDataPoint {
    HistogramDataPoint {
        attributes: attributes(&sample.labels),
        start_time_unix_nano: start,
        time_unix_nano: now,
        count: times.count(),
        sum: Some(times.sum),
        bucket_counts: times.counted.coarse().to_vec(),
        explicit_bounds: BOUNDS.to_vec(),
        ..HistogramDataPoint::default()
    }
}

fn attributes(labels: &[(Text, Text)]) -> Vec<KeyValue> {
    let labels = labels.iter();
    labels
        .map(|(name, value)| text(&**name, &**value))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    const BEGAN: SystemTime = UNIX_EPOCH;

    fn at(second: u64) -> SystemTime {
        BEGAN + Duration::from_secs(second)
    }

    fn counter(counts: &[(&'static str, u64)]) -> Vec<Family> {
        let samples = counts.iter();
        let samples = samples
            .map(|(backend, count)| Sample::count(vec![("b".into(), (*backend).into())], *count));
        vec![Family::new(
            Kind::Counter,
            "c_total",
            "help",
            samples.collect(),
        )]
    }

    /// The start of each series, in seconds.
    fn starts(metrics: &[Metric]) -> Vec<u64> {
        let Some(Data::Sum(sum)) = &metrics[0].data else {
            panic!("not a sum: {metrics:?}");
        };
        assert!(sum.is_monotonic && sum.aggregation_temporality == 2);
        let points = sum.data_points.iter();
        points
            .map(|point| point.start_time_unix_nano / 1_000_000_000)
            .collect()
    }

    #[test]
    fn series_that_begins_anew_has_a_new_start() {
        let mut known = Starts::new(at(1));
        let mut read = |counts: &[(&'static str, u64)], second| {
            starts(&write(&counter(counts), &mut known, at(second)))
        };
        assert_eq!(read(&[("a", 5), ("b", 1)], 10), [1, 1]);
        assert_eq!(read(&[("a", 5), ("b", 2), ("c", 1)], 20), [1, 1, 10]);
        assert_eq!(read(&[("a", 6), ("b", 1), ("c", 1)], 30), [1, 20, 10]);
        assert_eq!(read(&[("b", 1)], 40), [20]);
        // It was away, and has gone on counting; then it has not.
        assert_eq!(read(&[("a", 7), ("b", 1)], 50), [1, 20]);
        assert_eq!(read(&[("b", 1)], 60), [20]);
        assert_eq!(read(&[("a", 1), ("b", 1)], 70), [60, 20]);
    }

    #[test]
    fn reading_is_written_whole() {
        let times = Times::of(3, Duration::from_millis(2));
        let reading = vec![
            Family::new(
                Kind::Gauge,
                "g",
                "",
                vec![Sample::level(vec![("x".into(), "y".into())], 1.5)],
            ),
            Family::new(
                Kind::Histogram,
                "h_seconds",
                "How long",
                vec![Sample {
                    labels: Vec::new(),
                    value: Value::Times(times.into()),
                }],
            ),
            Family::new(Kind::Gauge, "none", "", Vec::new()),
        ];
        let metrics = write(&reading, &mut Starts::new(at(1)), at(2));
        assert_eq!(metrics.len(), 2);
        let Some(Data::Gauge(gauge)) = &metrics[0].data else {
            panic!("{metrics:?}");
        };
        let point = &gauge.data_points[0];
        assert_eq!(point.attributes, [text("x", "y")]);
        assert_eq!(point.value, Some(number_data_point::Value::AsDouble(1.5)));
        assert_eq!(
            (metrics[1].unit.as_str(), metrics[0].unit.as_str()),
            ("s", "")
        );
        let Some(Data::Histogram(histogram)) = &metrics[1].data else {
            panic!("{metrics:?}");
        };
        let point = &histogram.data_points[0];
        assert_eq!((point.count, point.sum), (3, Some(0.006)));
        assert_eq!(point.bucket_counts[..4], [0, 0, 3, 0]);
        assert_eq!(point.explicit_bounds[..4], [0.0005, 0.001, 0.0025, 0.005]);
        assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
        assert_eq!(
            point.time_unix_nano - point.start_time_unix_nano,
            1_000_000_000
        );
    }
}
