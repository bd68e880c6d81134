//! How long a backend takes to begin an answer: an exponentially weighted moving average that knows how old it is.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Each sample moves the average by this share, so about the last 60 samples count.
const SAMPLE_WEIGHT: f32 = 1.0 / 32.0;
/// Early samples weigh more: the average of the first few is their plain mean.
const WARM_UP: u32 = 32;
/// An average nobody has added to for so long says nothing about the backend as it is now.
const STALE_AFTER: Duration = Duration::from_secs(4);

/// Average time to first byte. Shards update it without a lock: two that collide lose one sample, which is harmless.
#[derive(Debug, Default)]
pub struct Latency {
    /// Seconds, as the bits of an `f32`.
    average: AtomicU32,
    samples: AtomicU32,
    /// Nanoseconds since the process began.
    updated: AtomicU64,
}

impl Latency {
    /// Adds one answer's time to first byte. Only answers that did work belong here: an error is fast for the wrong
    /// reason, and a balancer that believes it sends everything to the backend that fails fastest.
    pub fn record(&self, took: Duration, now: Duration) {
        // What is stale begins anew: else a backend that was slow once would take minutes of rare samples to be forgiven.
        let samples = match self.is_fresh(now) {
            true => self.samples.load(Relaxed),
            false => 0,
        };
        let weight = if samples < WARM_UP {
            1.0 / (samples + 1) as f32
        } else {
            SAMPLE_WEIGHT
        };
        let average = f32::from_bits(self.average.load(Relaxed));
        let next = average + (took.as_secs_f32() - average) * weight;
        self.average.store(next.to_bits(), Relaxed);
        if samples < WARM_UP {
            self.samples.store(samples + 1, Relaxed);
        }
        self.updated.store(now.as_nanos() as u64, Relaxed);
    }

    /// The average in seconds, drawn towards `mean` as if `doubt` samples of that had been seen too: a few samples say little,
    /// however far they lie. It is `mean` itself where [`Self::seconds`] is `None`.
    pub fn shrunk(&self, now: Duration, mean: f32, doubt: f32) -> f32 {
        let Some(own) = self.seconds(now) else {
            return mean;
        };
        let samples = self.samples.load(Relaxed) as f32;
        (own * samples + mean * doubt) / (samples + doubt)
    }

    /// The average in seconds, however old; zero if there never was a sample.
    pub fn last_seconds(&self) -> f32 {
        f32::from_bits(self.average.load(Relaxed))
    }

    /// The average in seconds; `None` while there is no sample, or none of the last 4 s.
    pub fn seconds(&self, now: Duration) -> Option<f32> {
        if self.samples.load(Relaxed) == 0 {
            return None;
        }
        self.is_fresh(now)
            .then(|| f32::from_bits(self.average.load(Relaxed)))
    }

    fn is_fresh(&self, now: Duration) -> bool {
        let age = (now.as_nanos() as u64).saturating_sub(self.updated.load(Relaxed));
        age < STALE_AFTER.as_nanos() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn average_begins_at_the_first_sample_and_goes_stale() {
        let latency = Latency::default();
        assert_eq!(latency.seconds(Duration::ZERO), None);
        latency.record(Duration::from_millis(10), Duration::ZERO);
        latency.record(Duration::from_millis(30), Duration::ZERO);
        let average = latency.seconds(Duration::from_secs(1)).unwrap();
        assert!((average - 0.020).abs() < 1e-6, "{average}");
        assert_eq!(latency.seconds(Duration::from_secs(4)), None);
    }

    #[test]
    fn stale_average_begins_anew() {
        let latency = Latency::default();
        for _ in 0..100 {
            latency.record(Duration::from_secs(1), Duration::ZERO);
        }
        let now = Duration::from_secs(5);
        latency.record(Duration::from_millis(10), now);
        assert!((latency.seconds(now).unwrap() - 0.010).abs() < 1e-6);
    }

    #[test]
    fn average_follows_a_change() {
        let latency = Latency::default();
        for _ in 0..100 {
            latency.record(Duration::from_millis(10), Duration::ZERO);
        }
        for _ in 0..150 {
            latency.record(Duration::from_millis(100), Duration::ZERO);
        }
        assert!(latency.seconds(Duration::ZERO).unwrap() > 0.095);
    }
}
