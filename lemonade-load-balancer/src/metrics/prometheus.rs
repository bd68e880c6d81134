//! A reading as Prometheus text.

use super::{BOUNDS, Family, Text, Value};
use lemonade_observability::prometheus::Exposition;

/// Writes everything.
pub(crate) fn write(reading: &[Family]) -> String {
    let mut text = Exposition::new();
    for family in reading {
        text.family(&family.name, family.kind.as_str(), &family.help);
        for sample in &family.samples {
            let labels = sample.labels.iter().map(borrowed);
            let labels: Vec<(&str, &str)> = labels.collect();
            let name = &family.name;
            match &sample.value {
                Value::Count(count) => text.sample(name, &labels, count),
                Value::Level(level) => text.sample(name, &labels, level),
                Value::Times(times) => {
                    text.histogram(name, &labels, &BOUNDS, &times.counted.coarse(), times.sum);
                }
            }
        }
    }
    text.into_string()
}

fn borrowed((name, value): &(Text, Text)) -> (&str, &str) {
    (name, value)
}
