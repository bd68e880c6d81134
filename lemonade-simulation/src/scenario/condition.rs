//! What several faults at once make of a backend, and when that changes.
//!
//! Whoever plays a scenario plays these changes, so that a simulated and a real worker suffer the same.

use super::{Fault, Kind};
use std::ops::Range;
use std::time::Duration;

/// What is wrong with a backend.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// Requests take so many times as long, besides what `cold` adds.
    pub slow: f64,
    /// It is warming up.
    pub cold: Option<Cold>,
    /// It answers errors.
    pub fail: Option<Failing>,
    /// It does nothing until then.
    pub paused_until: Option<Duration>,
    /// It refuses connections.
    pub crashed: bool,
    /// It accepts requests and answers none.
    pub hanging: bool,
}

/// Requests that are answered with an error, without doing the work.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Failing {
    /// The share of requests, above 0 to 1. Default all.
    pub rate: f64,
    /// How soon. Default 1 ms.
    pub after: Duration,
}

/// A backend that warms up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cold {
    /// When it began.
    pub since: Duration,
    /// How many times as long requests took then.
    pub from: f64,
    /// How long warming up takes.
    pub over: Duration,
}

impl Cold {
    fn times(&self, now: Duration) -> f64 {
        let passed = now.saturating_sub(self.since).as_secs_f64();
        let left = (1.0 - passed / self.over.as_secs_f64()).clamp(0.0, 1.0);
        1.0 + (self.from - 1.0) * left
    }
}

impl Default for Condition {
    fn default() -> Self {
        Condition {
            slow: 1.0,
            cold: None,
            fail: None,
            paused_until: None,
            crashed: false,
            hanging: false,
        }
    }
}

impl Condition {
    /// How many times as long as usual a request takes that is begun now.
    pub fn slowdown(&self, now: Duration) -> f64 {
        self.slow * self.cold.map_or(1.0, |cold| cold.times(now))
    }

    fn suffer(&mut self, span: &Range<Duration>, kind: &Kind) {
        match *kind {
            Kind::Slow(times) => self.slow *= times,
            Kind::Fail(failing) => match self.fail {
                Some(worse) if worse.rate >= failing.rate => {}
                _ => self.fail = Some(failing),
            },
            Kind::Pause => self.paused_until = self.paused_until.max(Some(span.end)),
            Kind::Crash => self.crashed = true,
            Kind::Hang => self.hanging = true,
            Kind::Cold { from, over } => {
                let since = span.start;
                self.cold = Some(Cold { since, from, over });
            }
        }
    }
}

/// From a time on a backend is in another condition.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Since the beginning.
    pub at: Duration,
    /// Which backend.
    pub backend: usize,
    /// How it is from then on.
    pub condition: Condition,
}

pub(super) fn changes(faults: &[Fault], backends: usize, end: Duration) -> Vec<Change> {
    let mut spans: Vec<Vec<(Range<Duration>, &Kind)>> = vec![Vec::new(); backends];
    for fault in faults {
        for span in fault.times(end) {
            for backend in &fault.backends {
                spans[*backend].push((span.clone(), &fault.kind));
            }
        }
    }
    let mut changes: Vec<Change> = spans
        .iter_mut()
        .enumerate()
        .flat_map(|(backend, spans)| changes_of(backend, spans))
        .collect();
    // Stable: changes at one time stay in the order of the backends.
    changes.sort_by_key(|change| change.at);
    changes
}

fn changes_of(backend: usize, spans: &mut [(Range<Duration>, &Kind)]) -> Vec<Change> {
    spans.sort_by_key(|(span, _)| span.start);
    let mut edges: Vec<Duration> = spans
        .iter()
        .flat_map(|(span, _)| [span.start, span.end])
        .collect();
    edges.sort_unstable();
    edges.dedup();
    let mut coming = spans.iter().peekable();
    let mut present = Vec::new();
    edges
        .into_iter()
        .map(|at| {
            present.retain(|(span, _): &&(Range<Duration>, &Kind)| span.end > at);
            while let Some(span) = coming.next_if(|(span, _)| span.start <= at) {
                present.push(span);
            }
            let mut condition = Condition::default();
            for (span, kind) in &present {
                condition.suffer(span, kind);
            }
            Change {
                at,
                backend,
                condition,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: Duration = Duration::from_secs(100);

    fn seconds(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    fn fault(at: u64, lasts: u64, kind: Kind) -> Fault {
        Fault {
            at: seconds(at),
            lasts: Some(seconds(lasts)),
            every: None,
            backends: vec![0],
            kind,
        }
    }

    #[test]
    fn faults_at_once_add_up_and_end_apart() {
        let faults = [
            fault(10, 20, Kind::Slow(2.0)),
            fault(20, 20, Kind::Slow(5.0)),
            fault(25, 1, Kind::Pause),
        ];
        let changes = changes(&faults, 1, END);
        let told: Vec<_> = changes
            .iter()
            .map(|change| {
                let condition = &change.condition;
                let until = condition.paused_until.map(|until| until.as_secs());
                (change.at.as_secs(), condition.slow, until)
            })
            .collect();
        assert_eq!(
            told,
            [
                (10, 2.0, None),
                (20, 10.0, None),
                (25, 10.0, Some(26)),
                (26, 10.0, None),
                (30, 5.0, None),
                (40, 1.0, None),
            ]
        );
    }

    #[test]
    fn fault_that_comes_back_is_well_in_between() {
        let every = Some(seconds(40));
        let fault = Fault {
            every,
            ..fault(10, 5, Kind::Crash)
        };
        let changes = changes(&[fault], 2, END);
        let told: Vec<_> = changes
            .iter()
            .map(|change| (change.at.as_secs(), change.condition.crashed))
            .collect();
        assert_eq!(
            told,
            [
                (10, true),
                (15, false),
                (50, true),
                (55, false),
                (90, true),
                (95, false)
            ]
        );
    }

    #[test]
    fn cold_backend_warms_up_evenly() {
        let over = seconds(10);
        let condition = Condition {
            cold: Some(Cold {
                since: seconds(5),
                from: 11.0,
                over,
            }),
            ..Condition::default()
        };
        let times: Vec<f64> = [5, 10, 15, 50]
            .map(|at| condition.slowdown(seconds(at)))
            .to_vec();
        assert_eq!(times, [11.0, 6.0, 1.0, 1.0]);
    }
}
