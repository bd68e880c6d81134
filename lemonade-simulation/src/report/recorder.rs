//! Counts what became of requests, whoever sent them: [`Recorder::record`] once for each, then [`Recorder::finish`].

use super::{Counts, Point, Run, Series};
use hdrhistogram::Histogram;
use std::time::Duration;

/// A series has no more points: longer runs have longer steps.
const MAX_POINTS: u64 = 600;

/// The longest latency that is told from longer ones.
const LONGEST: Duration = Duration::from_secs(3600);

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With a good answer.
    Answered,
    /// With an error for an answer.
    Failed,
    /// It found no connection.
    Refused,
    /// The connection broke before the answer.
    Broken,
    /// The client's patience ended before the answer came.
    TimedOut,
}

/// Requests of one run, counted as they end. Latencies are to three digits in the totals, to two in the series.
#[derive(Debug)]
pub struct Recorder {
    warm_up: Duration,
    duration: Duration,
    step: Duration,
    counts: Counts,
    latency: Histogram<u64>,
    shares: Vec<u64>,
    spans: Vec<Span>,
}

/// What is counted of a stretch of time.
#[derive(Debug)]
struct Span {
    requests: u64,
    errors: u64,
    /// Small at first; grows with what it holds.
    latency: Histogram<u32>,
    shares: Vec<u32>,
}

impl Recorder {
    /// For a run over so many backends. Requests that come before `warm_up` has passed are in the series only.
    pub fn new(backends: usize, warm_up: Duration, duration: Duration) -> Self {
        let step = Duration::from_secs(duration.as_secs().div_ceil(MAX_POINTS).max(1));
        Recorder {
            warm_up,
            duration,
            step,
            counts: Counts::default(),
            latency: Histogram::new_with_max(micros(LONGEST), 3).expect("bounds that are legal"),
            shares: vec![0; backends],
            spans: Vec::new(),
        }
    }

    /// Counts a request that came at a time since the beginning; `backend` is `None` where nobody knows who served it.
    pub fn record(
        &mut self,
        came: Duration,
        backend: Option<usize>,
        outcome: Outcome,
        latency: Duration,
    ) {
        let counted = came >= self.warm_up;
        let is_error = outcome != Outcome::Answered;
        let micros = micros(latency.min(LONGEST));
        // An error that comes at once is fast for the wrong reason; who waits in vain has waited.
        let has_latency = matches!(outcome, Outcome::Answered | Outcome::TimedOut);
        if counted {
            self.counts.add(outcome);
            if has_latency {
                self.latency.saturating_record(micros);
            }
        }
        let span = self.span(came);
        span.requests += 1;
        span.errors += u64::from(is_error);
        if has_latency {
            let recorded = span.latency.record(micros);
            debug_assert!(recorded.is_ok(), "a histogram grows with what it holds");
        }
        let Some(backend) = backend else { return };
        if let Some(share) = span.shares.get_mut(backend) {
            *share += 1;
            self.shares[backend] += u64::from(counted);
        }
    }

    /// What became of all of them.
    pub fn finish(mut self, strategy: impl Into<String>) -> Run {
        if let Some(last) = self.duration.checked_sub(Duration::from_nanos(1)) {
            self.span(last);
        }
        Run {
            strategy: strategy.into(),
            counts: self.counts,
            latency: self.latency,
            shares: self.shares,
            series: Series {
                step: self.step,
                points: self.spans.into_iter().map(Span::finish).collect(),
            },
        }
    }

    fn span(&mut self, came: Duration) -> &mut Span {
        // What comes late belongs to the last span: a real client may be behind its schedule.
        let came = came.min(self.duration);
        let index = came.as_nanos() / self.step.as_nanos();
        let index = usize::try_from(index).unwrap_or(0);
        while self.spans.len() <= index {
            self.spans.push(Span::new(self.shares.len()));
        }
        &mut self.spans[index]
    }
}

impl Span {
    fn new(backends: usize) -> Self {
        Span {
            requests: 0,
            errors: 0,
            latency: Histogram::new(2).expect("two digits are legal"),
            shares: vec![0; backends],
        }
    }

    fn finish(self) -> Point {
        let p99 = (!self.latency.is_empty()).then(|| super::quantile(&self.latency, 0.99));
        Point {
            requests: self.requests,
            errors: self.errors,
            p99,
            shares: self.shares,
        }
    }
}

fn micros(latency: Duration) -> u64 {
    // Rounded: a simulated millisecond must not be 999 µs.
    u64::try_from((latency.as_nanos() + 500) / 1000).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn quick_errors_do_not_flatter_latencies() {
        let mut recorder = Recorder::new(2, Duration::ZERO, 2 * SECOND);
        recorder.record(Duration::ZERO, Some(0), Outcome::Failed, MILLISECOND);
        recorder.record(SECOND, Some(1), Outcome::Answered, 30 * MILLISECOND);
        recorder.record(SECOND, Some(1), Outcome::TimedOut, 5 * SECOND);
        let run = recorder.finish("x");
        assert_eq!(run.counts.requests, 3);
        assert_eq!(run.counts.errors(), 2);
        assert_eq!(run.latency.len(), 2);
        assert_eq!(run.shares, [1, 2]);
        let p99s: Vec<_> = run.series.points.iter().map(|point| point.p99).collect();
        assert_eq!(p99s[0], None);
        assert!(p99s[1].unwrap() > 4900 * MILLISECOND);
    }

    #[test]
    fn warm_up_is_in_the_series_only() {
        let mut recorder = Recorder::new(1, SECOND, 3 * SECOND);
        for millis in [0, 999, 1000, 2999] {
            let came = millis * MILLISECOND;
            recorder.record(came, Some(0), Outcome::Answered, MILLISECOND);
        }
        let run = recorder.finish("x");
        assert_eq!((run.counts.requests, run.shares[0]), (2, 2));
        let requests: Vec<_> = run.series.points.iter().map(|p| p.requests).collect();
        assert_eq!(requests, [2, 1, 1]);
    }

    #[test]
    fn series_of_a_long_run_is_no_longer_than_others() {
        let run = Recorder::new(1, Duration::ZERO, 3601 * SECOND).finish("x");
        assert_eq!(run.series.step, 7 * SECOND);
        assert_eq!(run.series.points.len(), 515);
    }
}
