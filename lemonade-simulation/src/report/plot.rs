//! Plots as SVG, drawn for an HTML page that has the colours: every part has a class, so that one drawing serves light and dark.
//!
//! No plotting crate: those fix colours in the drawing, and the three plots here need little more than two scales.

use super::html::escape;
use super::table::shown;
use super::{Comparison, IDEAL, Run, Trouble};
use std::fmt::Write as _;
use std::ops::{Range, RangeInclusive};

/// How many colours the page has; more strategies or backends share them.
pub(super) const COLOURS: usize = 10;

const WIDTH: f64 = 960.0;
const LEFT: f64 = 178.0;
const RIGHT: f64 = 24.0;
const ROW: f64 = 26.0;

/// No latency is told from a shorter one.
const LEAST: f64 = 1e-6;

/// More backends share bands: a page must not grow with strategies, points and a thousand backends multiplied.
const MAX_BANDS: usize = 50;

/// A range of values over a range of the drawing, linear or logarithmic.
struct Scale {
    values: (f64, f64),
    place: (f64, f64),
    log: bool,
}

impl Scale {
    fn linear(values: (f64, f64), place: (f64, f64)) -> Self {
        let log = false;
        Scale { values, place, log }
    }

    /// Widened to the marks of its axis.
    fn log(values: RangeInclusive<f64>, place: (f64, f64)) -> Self {
        let least = values.start().max(LEAST);
        let most = values.end().max(least * 1.5);
        let values = (mark_below(least), mark_above(most));
        let log = true;
        Scale { values, place, log }
    }

    fn at(&self, value: f64) -> f64 {
        let (from, to) = self.values;
        let share = match self.log {
            true => (value.clamp(from, to) / from).ln() / (to / from).ln(),
            false => (value - from) / (to - from).max(f64::MIN_POSITIVE),
        };
        self.place.0 + share.clamp(0.0, 1.0) * (self.place.1 - self.place.0)
    }

    /// Where an axis has its numbers.
    fn marks(&self) -> Vec<f64> {
        let (from, to) = self.values;
        if self.log {
            let wide = to / from > 2e3;
            let kept = |mark: &f64| !wide || leading_digit(*mark) == 1;
            let next = |mark: &f64| (*mark < to * 0.999).then(|| mark_above(mark * 1.001));
            return std::iter::successors(Some(from), next)
                .filter(kept)
                .collect();
        }
        let step = step_for((to - from) / 8.0);
        let count = ((to - from) / step).floor();
        (0..=count as u32)
            .map(|number| from + f64::from(number) * step)
            .collect()
    }
}

/// The marks of a logarithmic axis are 1, 2 and 5 times a power of ten.
fn mark_below(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    let leads = [5.0, 2.0, 1.0];
    let lead = leads
        .into_iter()
        .find(|lead| lead * power <= value * (1.0 + 1e-9));
    lead.unwrap_or(1.0) * power
}

fn mark_above(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    let leads = [1.0, 2.0, 5.0, 10.0];
    let lead = leads
        .into_iter()
        .find(|lead| lead * power >= value * (1.0 - 1e-9));
    lead.unwrap_or(10.0) * power
}

fn leading_digit(value: f64) -> u32 {
    (value / 10_f64.powf((value.log10() + 1e-9).floor())).round() as u32
}

fn step_for(least: f64) -> f64 {
    let steps = [
        1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0,
    ];
    steps
        .into_iter()
        .find(|step| *step >= least)
        .unwrap_or(1800.0)
}

fn begin(height: f64, label: &str) -> String {
    format!(
        "<svg viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" aria-label=\"{}\">\n",
        escape(label)
    )
}

fn text(svg: &mut String, class: &str, x: f64, y: f64, words: &str) {
    let words = escape(words);
    let _ = writeln!(
        svg,
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{words}</text>"
    );
}

fn line(svg: &mut String, class: &str, from: (f64, f64), to: (f64, f64)) {
    let ((x1, y1), (x2, y2)) = (from, to);
    let _ = writeln!(
        svg,
        "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>"
    );
}

/// A mark without needless digits: `10ms`, `500µs`, `2s`.
fn mark(seconds: f64) -> String {
    let (number, unit) = match seconds {
        _ if seconds >= 0.9999 => (seconds, "s"),
        _ if seconds >= 0.9999e-3 => (seconds * 1e3, "ms"),
        _ => (seconds * 1e6, "µs"),
    };
    format!("{}{unit}", (number * 100.0).round() / 100.0)
}

/// A run's class: the ideal is drawn apart from the others.
fn class(comparison: &Comparison, index: usize) -> String {
    if comparison.runs[index].strategy == IDEAL {
        return "ideal".to_owned();
    }
    let before = &comparison.runs[..index];
    let colour = before.iter().filter(|run| run.strategy != IDEAL).count();
    format!("c{}", colour % COLOURS)
}

/// One row a strategy: from the median to the 99.9th percentile, the 99th being what is compared.
pub(super) fn percentiles(comparison: &Comparison) -> String {
    let runs = &comparison.runs;
    let bottom = 12.0 + ROW * runs.len() as f64;
    let quantiles = [0.5, 0.9, 0.99, 0.999];
    let seconds = |run: &Run, quantile: f64| run.latency(quantile).as_secs_f64();
    let least = runs
        .iter()
        .map(|run| seconds(run, 0.5))
        .fold(f64::INFINITY, f64::min);
    let most = runs
        .iter()
        .map(|run| seconds(run, 0.999))
        .fold(0.0, f64::max);
    let least = if least.is_finite() { least } else { LEAST };
    let scale = Scale::log(least..=most, (LEFT, WIDTH - RIGHT));
    let mut svg = begin(bottom + 28.0, "latency percentiles of each strategy");
    for value in scale.marks() {
        let x = scale.at(value);
        line(&mut svg, "grid", (x, 4.0), (x, bottom));
        text(&mut svg, "tick mid", x, bottom + 18.0, &mark(value));
    }
    for (index, run) in runs.iter().enumerate() {
        let y = 12.0 + ROW * (index as f64 + 0.5);
        let class = class(comparison, index);
        let _ = writeln!(svg, "<g class=\"series {class}\">");
        text(&mut svg, "name end", LEFT - 14.0, y + 4.0, &run.strategy);
        let places = quantiles.map(|quantile| scale.at(seconds(run, quantile)));
        line(&mut svg, "stem", (places[0], y), (places[3], y));
        for (quantile, x) in quantiles.iter().zip(places) {
            let shape = match quantile {
                0.99 => "dot big",
                _ => "dot",
            };
            let radius = if *quantile == 0.99 { 6.0 } else { 3.5 };
            let told = format!(
                "{}: p{} {}",
                run.strategy,
                quantile * 100.0,
                shown(run.latency(*quantile))
            );
            let _ = writeln!(
                svg,
                "<circle class=\"{shape}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\"><title>{}</title></circle>",
                escape(&told)
            );
        }
        svg.push_str("</g>\n");
    }
    svg.push_str("</svg>\n");
    svg
}

/// One line a strategy.
pub(super) fn tail_over_time(comparison: &Comparison) -> String {
    let (top, bottom) = (30.0, 300.0);
    let times = time_scale(comparison);
    let runs = || comparison.runs.iter().flat_map(|run| &run.series.points);
    let seconds = || runs().filter_map(|point| Some(point.p99?.as_secs_f64()));
    let least = seconds().fold(f64::INFINITY, f64::min);
    let least = if least.is_finite() { least } else { LEAST };
    let scale = Scale::log(least..=seconds().fold(0.0, f64::max), (bottom, top));
    let mut svg = begin(bottom + 30.0, "99th percentile over time, of each strategy");
    shade(&mut svg, comparison, "fault", &times, (top, bottom));
    for value in scale.marks() {
        let y = scale.at(value);
        line(&mut svg, "grid", (LEFT, y), (WIDTH - RIGHT, y));
        text(&mut svg, "tick end", LEFT - 8.0, y + 4.0, &mark(value));
    }
    time_axis(&mut svg, &times, bottom);
    for (index, run) in comparison.runs.iter().enumerate() {
        let class = class(comparison, index);
        let path = path_of(run, &times, &scale);
        let name = escape(&run.strategy);
        let _ = writeln!(
            svg,
            "<g class=\"series {class}\"><path class=\"line\" d=\"{path}\"><title>{name}</title></path></g>"
        );
    }
    svg.push_str("</svg>\n");
    svg
}

/// Broken where nothing was measured.
fn path_of(run: &Run, times: &Scale, scale: &Scale) -> String {
    let step = run.series.step.as_secs_f64();
    let mut path = String::new();
    let mut draws = false;
    for (index, point) in run.series.points.iter().enumerate() {
        let Some(p99) = point.p99 else {
            draws = false;
            continue;
        };
        let x = times.at((index as f64 + 0.5) * step);
        let y = scale.at(p99.as_secs_f64());
        let _ = write!(path, "{}{x:.1} {y:.1}", if draws { 'L' } else { 'M' });
        draws = true;
    }
    path
}

/// One band a strategy: which part of the requests each backend got.
pub(super) fn shares_over_time(comparison: &Comparison) -> String {
    let height = 72.0;
    let row = height + 14.0;
    let top = 30.0;
    let bottom = top + row * comparison.runs.len() as f64 - 14.0;
    let times = time_scale(comparison);
    let mut svg = begin(
        bottom + 30.0,
        "share of the requests of each backend over time, by strategy",
    );
    for (index, run) in comparison.runs.iter().enumerate() {
        let from = top + row * index as f64;
        text(
            &mut svg,
            "name end",
            LEFT - 14.0,
            from + height / 2.0 + 4.0,
            &run.strategy,
        );
        let scale = Scale::linear((0.0, 1.0), (from + height, from));
        for (number, band) in bands(comparison.backends.len()).enumerate() {
            let area = area_of(run, &band, &times, &scale);
            let colour = number % COLOURS;
            let name = escape(&band_name(comparison, &band));
            let _ = writeln!(
                svg,
                "<path class=\"area c{colour}\" d=\"{area}\"><title>{name}</title></path>"
            );
        }
    }
    // Over the areas, which must still be found by a pointer.
    shade(&mut svg, comparison, "fault over", &times, (top, bottom));
    time_axis(&mut svg, &times, bottom);
    svg.push_str("</svg>\n");
    svg
}

/// Neighbouring backends that are drawn as one.
pub(super) fn bands(backends: usize) -> impl Iterator<Item = Range<usize>> {
    let size = backends.div_ceil(MAX_BANDS).max(1);
    (0..backends)
        .step_by(size)
        .map(move |from| from..(from + size).min(backends))
}

pub(super) fn band_name(comparison: &Comparison, band: &Range<usize>) -> String {
    let name = |index: usize| comparison.backends[index].name.as_str();
    match band.len() {
        1 => name(band.start).to_owned(),
        _ => format!("{} to {}", name(band.start), name(band.end - 1)),
    }
}

/// A band's share, above those of the backends before it.
fn area_of(run: &Run, band: &Range<usize>, times: &Scale, scale: &Scale) -> String {
    let step = run.series.step.as_secs_f64();
    let mut below = Vec::new();
    let mut path = String::new();
    for (index, point) in run.series.points.iter().enumerate() {
        let sum = |shares: &[u32]| shares.iter().map(|share| f64::from(*share)).sum::<f64>();
        let all = sum(&point.shares).max(1.0);
        let [under, over] = [band.start, band.end].map(|end| sum(&point.shares[..end]) / all);
        for edge in [index as f64, index as f64 + 1.0] {
            let x = times.at(edge * step);
            let lead = if path.is_empty() { 'M' } else { 'L' };
            let _ = write!(path, "{lead}{x:.1} {:.1}", scale.at(over));
            below.push((x, scale.at(under)));
        }
    }
    for (x, y) in below.into_iter().rev() {
        let _ = write!(path, "L{x:.1} {y:.1}");
    }
    if !path.is_empty() {
        path.push('Z');
    }
    path
}

fn time_scale(comparison: &Comparison) -> Scale {
    let end = comparison.duration.as_secs_f64();
    Scale::linear((0.0, end), (LEFT, WIDTH - RIGHT))
}

fn time_axis(svg: &mut String, times: &Scale, bottom: f64) {
    for value in times.marks() {
        let x = times.at(value);
        line(svg, "grid", (x, bottom), (x, bottom + 5.0));
        text(svg, "tick mid", x, bottom + 19.0, &format!("{value:.0}s"));
    }
}

/// When something was wrong, and what, the first time that it is.
fn shade(
    svg: &mut String,
    comparison: &Comparison,
    class: &str,
    times: &Scale,
    (top, bottom): (f64, f64),
) {
    let mut told: Vec<(&str, &[usize])> = Vec::new();
    let mut free = LEFT;
    for trouble in &comparison.troubles {
        let [from, to] =
            [trouble.span.start, trouble.span.end].map(|time| times.at(time.as_secs_f64()));
        let words = trouble_words(comparison, trouble);
        let _ = writeln!(
            svg,
            "<rect class=\"{class}\" x=\"{from:.1}\" y=\"{top}\" width=\"{:.1}\" height=\"{:.1}\"><title>{}</title></rect>",
            (to - from).max(1.0),
            bottom - top,
            escape(&words)
        );
        let kind = (trouble.what.as_str(), trouble.backends.as_slice());
        // About seven units a letter: what has no room has its title still.
        if !told.contains(&kind) && from >= free {
            text(svg, "tick", from + 2.0, top - 8.0, &words);
            free = from + 7.0 * words.chars().count() as f64;
            told.push(kind);
        }
    }
}

fn trouble_words(comparison: &Comparison, trouble: &Trouble) -> String {
    let name = |index: &usize| {
        comparison
            .backends
            .get(*index)
            .map(|backend| backend.name.as_str())
    };
    let named: Vec<&str> = trouble.backends.iter().filter_map(name).collect();
    let whom = match named.len() {
        0..=3 => named.join(", "),
        count => format!("{count} backends"),
    };
    format!("{} {whom}", trouble.what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_numbers_that_people_expect() {
        let scale = Scale::log(0.004..=0.08, (0.0, 100.0));
        let marks: Vec<String> = scale.marks().into_iter().map(mark).collect();
        assert_eq!(marks, ["2ms", "5ms", "10ms", "20ms", "50ms", "100ms"]);
        let scale = Scale::log(5e-6..=30.0, (0.0, 100.0));
        let marks: Vec<String> = scale.marks().into_iter().map(mark).collect();
        let wanted = ["10µs", "100µs", "1ms", "10ms", "100ms", "1s", "10s"];
        assert_eq!(marks, wanted);
        let scale = Scale::linear((0.0, 60.0), (0.0, 100.0));
        assert_eq!(scale.marks(), [0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0]);
    }

    #[test]
    fn places_stay_within_the_drawing() {
        let scale = Scale::log(0.001..=1.0, (0.0, 100.0));
        for value in [0.0, 1e-9, 0.001, 0.5, 1.0, 1e9, f64::INFINITY] {
            let place = scale.at(value);
            assert!((0.0..=100.0).contains(&place), "{value} at {place}");
        }
        assert!((scale.at(0.1) - 200.0 / 3.0).abs() < 0.01);
        let empty = Scale::linear((0.0, 0.0), (0.0, 100.0));
        assert_eq!(empty.at(0.0), 0.0);
        assert_eq!(empty.marks(), [0.0]);
    }
}
