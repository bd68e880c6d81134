//! The Prometheus text exposition format (version 0.0.4).
//!
//! Two sources meet in a scrape: numbers that their owners keep in plain counters of their own, written with
//! [`Exposition`], and what happens rarely, recorded through the `metrics` crate and rendered by [`render`].

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use std::fmt::{Display, Write};
use std::sync::OnceLock;

static RECORDER: OnceLock<Option<PrometheusHandle>> = OnceLock::new();

/// Installs the process's recorder for the `metrics` crate, once; later calls do nothing. If another recorder was installed
/// before, that one stays and [`render`] is empty.
pub fn install() {
    RECORDER.get_or_init(|| PrometheusBuilder::new().install_recorder().ok());
}

/// What was recorded through the `metrics` crate.
pub fn render() -> String {
    match RECORDER.get() {
        Some(Some(handle)) => handle.render(),
        _ => String::new(),
    }
}

/// Text under construction. Writing to memory cannot fail, so nothing here returns an error.
#[derive(Debug, Default)]
pub struct Exposition(String);

impl Exposition {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins a metric family; its samples follow. `kind` is `counter`, `gauge` or `histogram`.
    pub fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    /// One sample.
    pub fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(name);
        self.labels(labels, None);
        let _ = writeln!(self.0, " {value}");
    }

    /// A histogram's samples from plain counts per bucket; `counts` has one more than `bounds`, for what is beyond the last.
    pub fn histogram(
        &mut self,
        name: &str,
        labels: &[(&str, &str)],
        bounds: &[f64],
        counts: &[u64],
        sum: f64,
    ) {
        let mut cumulative = 0;
        let ends = bounds
            .iter()
            .map(|bound| bound.to_string())
            .chain(["+Inf".to_owned()]);
        for (end, count) in ends.zip(counts) {
            cumulative += count;
            let _ = write!(self.0, "{name}_bucket");
            self.labels(labels, Some(&end));
            let _ = writeln!(self.0, " {cumulative}");
        }
        self.sample(&format!("{name}_sum"), labels, sum);
        self.sample(&format!("{name}_count"), labels, cumulative);
    }

    fn labels(&mut self, labels: &[(&str, &str)], end: Option<&str>) {
        let all = labels.iter().copied().chain(end.map(|end| ("le", end)));
        let mut separator = '{';
        for (name, value) in all {
            let _ = write!(self.0, "{separator}{name}=\"");
            for character in value.chars() {
                match character {
                    '\\' => self.0.push_str("\\\\"),
                    '"' => self.0.push_str("\\\""),
                    '\n' => self.0.push_str("\\n"),
                    other => self.0.push(other),
                }
            }
            self.0.push('"');
            separator = ',';
        }
        if separator == ',' {
            self.0.push('}');
        }
    }

    /// Adds text that is in the format already.
    pub fn append(&mut self, text: &str) {
        self.0.push_str(text);
    }

    /// The finished text.
    pub fn into_string(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histogram_is_cumulative_and_complete() {
        let mut text = Exposition::new();
        text.histogram("h", &[("b", "x")], &[0.001, 0.5], &[2, 0, 1], 3.25);
        assert_eq!(
            text.into_string(),
            "h_bucket{b=\"x\",le=\"0.001\"} 2\nh_bucket{b=\"x\",le=\"0.5\"} 2\nh_bucket{b=\"x\",le=\"+Inf\"} 3\n\
             h_sum{b=\"x\"} 3.25\nh_count{b=\"x\"} 3\n"
        );
    }

    #[test]
    fn label_values_are_escaped() {
        let mut text = Exposition::new();
        text.sample("m", &[("a", "\\\"\n")], 1.5);
        assert_eq!(text.into_string(), "m{a=\"\\\\\\\"\\n\"} 1.5\n");
    }
}
