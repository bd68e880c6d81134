//! What was recorded through the `metrics` crate, as families.
//!
//! Its recorder gives away nothing but Prometheus text, so that is read: what it writes, not all that the format allows.

use super::{Family, Kind, Sample, Text, Value};

/// Counters and gauges of a text, by name. The recorder has no order of its own.
pub(super) fn parse(text: &str) -> Vec<Family> {
    let mut families = Vec::<Family>::new();
    let mut help = "";
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ').map_or("", |(_, help)| help);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap_or_default();
            let help = std::mem::take(&mut help);
            let kind = match kind {
                "counter" => Kind::Counter,
                "gauge" => Kind::Gauge,
                // We record none, and its lines are of no family here.
                _ => continue,
            };
            families.push(Family {
                name: name.to_owned().into(),
                help: help.to_owned().into(),
                kind,
                samples: Vec::new(),
            });
        } else if let Some(family) = families.last_mut() {
            family.samples.extend(sample(family, line));
        }
    }
    families.sort_by(|a, b| a.name.cmp(&b.name));
    families
}

fn sample(family: &Family, line: &str) -> Option<Sample> {
    let rest = line.strip_prefix(&*family.name)?;
    let (labels, value) = rest.rsplit_once(' ')?;
    let value = match family.kind {
        Kind::Counter => Value::Count(value.parse().ok()?),
        _ => Value::Level(value.parse().ok()?),
    };
    let labels = match labels.strip_prefix('{') {
        Some(list) => pairs(list.strip_suffix('}')?)?,
        None if labels.is_empty() => Vec::new(),
        // Another one's name begins like this one's.
        None => return None,
    };
    Some(Sample { labels, value })
}

/// `a="b",c="d"`, with `\`, `"` and line feeds escaped.
fn pairs(mut list: &str) -> Option<Vec<(Text, Text)>> {
    let mut pairs = Vec::new();
    while !list.is_empty() {
        let (name, rest) = list.split_once("=\"")?;
        let (value, rest) = quoted(rest)?;
        pairs.push((name.to_owned().into(), value.into()));
        list = rest.strip_prefix(',').unwrap_or(rest);
    }
    Some(pairs)
}

/// The text up to the closing quote, and what comes after it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    loop {
        match characters.next()? {
            (end, '"') => return Some((value, &text[end + 1..])),
            (_, '\\') => match characters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            (_, other) => value.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_recorder_writes_is_read() {
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            metrics::describe_counter!("b_total", "What, how \"often\"");
            metrics::counter!("b_total", "from" => "x\"\\y\n,z", "to" => "").increment(3);
            metrics::counter!("b_total", "from" => "=").increment(1);
            metrics::gauge!("a").set(0.25);
            metrics::histogram!("c").record(1.0);
        });
        let families = parse(&handle.render());
        let names: Vec<_> = families.iter().map(|family| &*family.name).collect();
        assert_eq!(names, ["a", "b_total"]);
        assert_eq!(families[0].samples, [Sample::level(Vec::new(), 0.25)]);
        assert_eq!(families[1].help, "What, how \"often\"");
        let mut samples = families[1].samples.clone();
        samples.sort_by_key(|sample| sample.labels.len());
        let from = |value: &'static str| ("from".into(), value.into());
        assert_eq!(
            samples,
            [
                Sample::count(vec![from("=")], 1),
                Sample::count(vec![from("x\"\\y\n,z"), ("to".into(), "".into())], 3),
            ]
        );
    }

    #[test]
    fn malformed_text_is_passed_over() {
        let text = "a 1\n# TYPE a counter\na{b=\"c} 1\na{b} 1\na x\na\nab 3\n# TYPE\na{} 2\n";
        assert_eq!(parse(text)[0].samples, [Sample::count(Vec::new(), 2)]);
    }
}
