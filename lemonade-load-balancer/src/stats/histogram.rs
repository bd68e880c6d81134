//! Times in slots that are fine enough for percentiles: log-linear, each slot at most 6.25 % wide, so that its middle is within
//! 3.2 % of everything in it (the layout of HdrHistogram, Tene 2012, with four bits).

use super::add;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Each doubling has 16 slots.
const BITS: u32 = 4;
/// Below 32 µs each microsecond has its own slot.
const LINEAR: usize = 2 << BITS;
/// From 32 µs to 67 s; what is longer counts as that.
const OCTAVES: usize = 21;
/// How many there are.
pub const SLOTS: usize = LINEAR + (OCTAVES << BITS);

/// The slot that holds `took`.
pub fn slot(took: Duration) -> usize {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    if micros < LINEAR as u64 {
        return micros as usize;
    }
    let octave = micros.ilog2() - BITS;
    let within = (micros >> octave) as usize & (LINEAR / 2 - 1);
    (LINEAR + ((octave as usize - 1) << BITS) + within).min(SLOTS - 1)
}

/// The middle of a slot, in seconds.
pub fn middle(slot: usize) -> f64 {
    if slot < LINEAR {
        return (slot as f64 + 0.5) * 1e-6;
    }
    let octave = ((slot - LINEAR) >> BITS) + 1;
    let within = (slot - LINEAR) & (LINEAR / 2 - 1);
    let width = (1u64 << octave) as f64;
    ((LINEAR / 2 + within) as f64 + 0.5) * width * 1e-6
}

/// Counts with a single writer, their shard.
#[derive(Debug)]
pub struct Histogram(Box<[AtomicU64]>);

impl Default for Histogram {
    fn default() -> Self {
        Histogram((0..SLOTS).map(|_| AtomicU64::new(0)).collect())
    }
}

impl Histogram {
    /// Counts one. Cost: a plain store.
    pub fn record(&self, took: Duration) {
        add(&self.0[slot(took)], 1);
    }

    /// Adds what was counted to `sums`, one a slot.
    pub fn add_to(&self, sums: &mut [u64]) {
        for (sum, count) in sums.iter_mut().zip(&self.0) {
            *sum += count.load(Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn slots_follow_each_other() {
        let middles: Vec<f64> = (0..SLOTS).map(middle).collect();
        assert!(middles.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(slot(Duration::MAX), SLOTS - 1);
        assert_eq!(slot(Duration::from_secs(66)), SLOTS - 1);
        assert_eq!(slot(Duration::ZERO), 0);
    }

    proptest! {
        #[test]
        fn middle_of_a_slot_is_near_what_is_in_it(micros in 32u64..67_000_000) {
            let took = Duration::from_micros(micros);
            let error = middle(slot(took)) / took.as_secs_f64() - 1.0;
            prop_assert!(error.abs() < 0.032, "{error}");
        }
    }
}
