//! How long a backend that is well takes for a request.

/// No work takes longer, whatever a heavy tail draws: longer than any client waits, in seconds.
pub(crate) const LONGEST: f64 = 3600.0;

/// What a request's size means for each backend.
#[derive(Debug)]
pub(crate) enum Work {
    /// The size is the seconds that a backend of speed 1 takes.
    Scaled {
        /// One a backend.
        speeds: Vec<f64>,
        /// Of the sizes, in seconds.
        mean: f64,
    },
    /// The size, from 0 to 1, is a place among the times that the backend took before.
    Recorded(Vec<Recorded>),
}

/// The times, in seconds, that a backend has been seen to take.
#[derive(Debug)]
pub(crate) struct Recorded {
    /// Ascending, not empty.
    times: Vec<f64>,
    mean: f64,
}

impl Recorded {
    /// `None` without a time.
    pub(crate) fn new(mut times: Vec<f64>) -> Option<Self> {
        times.sort_unstable_by(f64::total_cmp);
        let mean = times.iter().sum::<f64>() / times.len() as f64;
        (!times.is_empty()).then_some(Recorded { times, mean })
    }
}

impl Work {
    /// Seconds.
    pub(super) fn of(&self, size: f64, backend: usize) -> f64 {
        match self {
            Work::Scaled { speeds, .. } => size / speeds[backend],
            Work::Recorded(recorded) => {
                let times = &recorded[backend].times;
                // Truncated on purpose: a place in a list.
                let place = (size * times.len() as f64) as usize;
                times[place.min(times.len() - 1)]
            }
        }
    }

    /// Seconds that a backend takes on average.
    pub(crate) fn mean(&self, backend: usize) -> f64 {
        match self {
            Work::Scaled { speeds, mean } => mean / speeds[backend],
            Work::Recorded(recorded) => recorded[backend].mean,
        }
    }
}
