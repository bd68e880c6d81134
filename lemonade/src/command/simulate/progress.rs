//! How far a long run is, for a person who waits for it.

use indicatif::{ProgressBar, ProgressStyle};
use lemonade_simulation::Progress;
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

/// Shorter runs show nothing.
const PATIENCE: Duration = Duration::from_secs(1);

const STEPS: u64 = 1000;

/// On standard error, if that is a terminal; gone when it is dropped.
pub(super) struct Bar {
    began: Instant,
    cases: usize,
    finished: usize,
    shown: Option<ProgressBar>,
    wanted: bool,
}

impl Bar {
    pub(super) fn new(cases: usize) -> Self {
        Bar {
            began: Instant::now(),
            cases,
            finished: 0,
            shown: None,
            wanted: std::io::stderr().is_terminal(),
        }
    }

    /// How far the present case is.
    pub(super) fn told(&mut self, case: &str, now: Progress) {
        if !self.wanted || self.began.elapsed() < PATIENCE {
            return;
        }
        let bar = self.shown.get_or_insert_with(|| {
            let bar = ProgressBar::new(STEPS);
            let style = ProgressStyle::with_template("{bar:30} {percent:>3}%  {msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        let share = (self.finished as f64 + now.done) / self.cases as f64;
        bar.set_message(format!("{case}: {}", now.contestant));
        bar.set_position((share * STEPS as f64) as u64);
    }

    /// The present case is done.
    pub(super) fn next(&mut self) {
        self.finished += 1;
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(bar) = &self.shown {
            bar.finish_and_clear();
        }
    }
}
