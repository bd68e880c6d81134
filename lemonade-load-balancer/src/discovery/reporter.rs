//! Tells the receiver what is news, and nothing twice.

use std::time::Duration;

use super::found::{Found, Report};

/// Between a source that reads again and again and a receiver that acts on every report.
pub(super) struct Reporter<F> {
    report: F,
    /// The last set that was reported.
    found: Vec<Found>,
    left_out: Vec<String>,
    /// False before the first set and since the last failure: the next set is news even if it is the same.
    current: bool,
}

impl<F: FnMut(Report)> Reporter<F> {
    pub(super) fn new(report: F) -> Reporter<F> {
        Reporter {
            report,
            found: Vec::new(),
            left_out: Vec::new(),
            current: false,
        }
    }

    /// Reported when it differs from the last set, or when the source is back.
    pub(super) fn set(&mut self, found: Vec<Found>, left_out: Vec<String>) {
        if self.current && self.found == found && self.left_out == left_out {
            return;
        }
        self.current = true;
        self.found.clone_from(&found);
        self.left_out.clone_from(&left_out);
        (self.report)(Report::Set { found, left_out });
    }

    /// Always reported.
    pub(super) fn away(&mut self, error: String, again_in: Duration) {
        self.current = false;
        (self.report)(Report::Away { error, again_in });
    }

    /// The last set, also while the source is away; empty before the first.
    pub(super) fn found(&self) -> &[Found] {
        &self.found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_reported_when_it_differs_or_the_source_is_back() {
        let mut reports = Vec::new();
        let mut reporter = Reporter::new(|report| reports.push(report));
        reporter.set(vec![], vec![]);
        reporter.set(vec![], vec![]);
        reporter.set(vec![], vec!["a row".to_owned()]);
        reporter.away("gone".to_owned(), Duration::ZERO);
        reporter.set(vec![], vec!["a row".to_owned()]);
        let sets = reports
            .iter()
            .map(|report| matches!(report, Report::Set { .. }));
        assert_eq!(sets.collect::<Vec<_>>(), [true, true, false, true]);
    }
}
