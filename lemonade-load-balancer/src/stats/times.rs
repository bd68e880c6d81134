//! Times in steps that are fine enough for percentiles and that the exported histogram's coarse buckets are made of: the
//! preferred numbers R10 (Renard 1877, ISO 3), ten a decade, each bound about 26 % above the one before it.
//!
//! One backend's cost 0.6 KB a shard, so [`super::histogram`] (3 KB, steps of 6 %) is kept once a shard and this one once a
//! backend.

use super::{BUCKETS, add};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Upper bounds, inclusive, in microseconds: 10 µs to 63 s. One more step holds what is longer. Every bound in [`BUCKETS`] is
/// among them.
pub const BOUNDS: [u64; 69] = bounds();
/// How many steps there are.
pub const STEPS: usize = BOUNDS.len() + 1;

/// R10, times 100.
const PREFERRED: [u64; 10] = [100, 125, 160, 200, 250, 315, 400, 500, 630, 800];

const fn bounds() -> [u64; 69] {
    let mut bounds = [0; 69];
    let (mut index, mut decade) = (0, 10);
    while index < bounds.len() {
        // 12.5 µs is counted as 12, 31.5 µs as 31.
        bounds[index] = PREFERRED[index % 10] * decade / 100;
        index += 1;
        if index % 10 == 0 {
            decade *= 10;
        }
    }
    bounds
}

/// For each power of two of microseconds, the first step that reaches into it.
const FIRST: [u8; 65] = first();

const fn first() -> [u8; 65] {
    let mut first = [BOUNDS.len() as u8; 65];
    let mut bits = 0;
    while bits < 65 {
        let lowest = if bits == 0 { 0 } else { 1 << (bits - 1) };
        let mut step = 0;
        while step < BOUNDS.len() && BOUNDS[step] < lowest {
            step += 1;
        }
        first[bits] = step as u8;
        bits += 1;
    }
    first
}

/// The step that holds `took`. At most five comparisons.
fn step(took: Duration) -> usize {
    // A bound is inclusive: what is a nanosecond above it belongs to the next.
    let micros = u64::try_from(took.as_nanos().div_ceil(1000)).unwrap_or(u64::MAX);
    let bits = (u64::BITS - micros.leading_zeros()) as usize;
    let mut step = usize::from(FIRST[bits]);
    while step < BOUNDS.len() && micros > BOUNDS[step] {
        step += 1;
    }
    step
}

/// Counts with a single writer, their shard.
#[derive(Debug)]
pub struct Times {
    counts: [AtomicU64; STEPS],
    /// Nanoseconds.
    pub sum: AtomicU64,
}

impl Default for Times {
    fn default() -> Self {
        Times {
            counts: std::array::from_fn(|_| AtomicU64::new(0)),
            sum: AtomicU64::new(0),
        }
    }
}

impl Times {
    /// Counts one. Cost: two plain stores.
    pub fn record(&self, took: Duration) {
        add(&self.counts[step(took)], 1);
        add(&self.sum, took.as_nanos() as u64);
    }

    /// Adds what was counted to `sums`.
    pub fn add_to(&self, sums: &mut Counted) {
        for (sum, count) in sums.0.iter_mut().zip(&self.counts) {
            *sum += count.load(Relaxed);
        }
    }
}

/// How often each step was met.
#[derive(Clone, Debug, PartialEq)]
pub struct Counted([u64; STEPS]);

impl Default for Counted {
    fn default() -> Self {
        Counted([0; STEPS])
    }
}

impl Counted {
    /// What was counted by several writers.
    pub fn sum<'t>(times: impl Iterator<Item = &'t Times>) -> Self {
        let mut sums = Counted::default();
        times.for_each(|times| times.add_to(&mut sums));
        sums
    }

    /// What was counted since `before`.
    pub fn since(&self, before: &Counted) -> Counted {
        Counted(std::array::from_fn(|step| {
            self.0[step].saturating_sub(before.0[step])
        }))
    }

    /// The exported buckets: counts between the bounds of [`BUCKETS`], and one for what is longer.
    pub fn coarse(&self) -> [u64; BUCKETS.len() + 1] {
        let mut coarse = [0; BUCKETS.len() + 1];
        for (step, count) in self.0.iter().enumerate() {
            let bound = BOUNDS.get(step).copied().unwrap_or(u64::MAX);
            coarse[BUCKETS.partition_point(|coarse| *coarse < bound)] += count;
        }
        coarse
    }

    /// The time, in seconds, that this share (0 to 1) did not exceed; `None` if nothing was counted. Within its step it goes by
    /// proportion, so it errs by less than the step's 26 %.
    pub fn percentile(&self, share: f64) -> Option<f64> {
        let all: u64 = self.0.iter().sum();
        let mut left = (all as f64 * share).max(f64::MIN_POSITIVE);
        for (step, count) in self.0.iter().enumerate().filter(|(_, count)| **count > 0) {
            let count = *count as f64;
            if left > count {
                left -= count;
                continue;
            }
            let below = step.checked_sub(1).map_or(0, |below| BOUNDS[below]) as f64;
            let above = BOUNDS.get(step).map_or(below, |above| *above as f64);
            return Some((below + (above - below) * left / count) * 1e-6);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn counted(times: &[Duration]) -> Counted {
        let all = Times::default();
        times.iter().for_each(|took| all.record(*took));
        Counted::sum([all].iter())
    }

    #[test]
    fn steps_rise_and_hold_every_exported_bound() {
        assert!(BOUNDS.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(BUCKETS.iter().all(|bound| BOUNDS.contains(bound)));
        assert_eq!((BOUNDS[0], BOUNDS[68]), (10, 63_000_000));
    }

    #[test]
    fn nothing_counted_has_no_percentile() {
        assert_eq!(counted(&[]).percentile(0.99), None);
        let longest = counted(&[Duration::from_secs(64), Duration::from_secs(100)]);
        assert_eq!(longest.percentile(0.5), Some(63.0));
        assert!(counted(&[Duration::ZERO]).percentile(0.0).unwrap() < 1e-5);
    }

    proptest! {
        #[test]
        fn step_is_the_first_whose_bound_is_not_exceeded(nanos in 0u64..100_000_000_000) {
            let took = Duration::from_nanos(nanos);
            let expected = BOUNDS.iter().position(|bound| nanos <= bound * 1000);
            prop_assert_eq!(step(took), expected.unwrap_or(BOUNDS.len()));
        }

        #[test]
        fn coarse_buckets_are_those_of_a_coarse_histogram(
            times in proptest::collection::vec(0u64..20_000_000_000, 0..50),
        ) {
            let times: Vec<Duration> = times.into_iter().map(Duration::from_nanos).collect();
            let mut expected = [0; BUCKETS.len() + 1];
            let bucket = |took: &Duration| BUCKETS.iter().position(|bound| took.as_nanos() <= u128::from(bound * 1000));
            times.iter().for_each(|took| expected[bucket(took).unwrap_or(BUCKETS.len())] += 1);
            prop_assert_eq!(counted(&times).coarse(), expected);
        }

        #[test]
        fn percentile_is_in_the_step_of_the_real_one(
            times in proptest::collection::vec(20_000u64..60_000_000_000, 1..200), share in 0.01f64..1.0,
        ) {
            let mut times: Vec<Duration> = times.into_iter().map(Duration::from_nanos).collect();
            times.sort();
            let real = times[((times.len() as f64 * share).ceil() as usize).clamp(1, times.len()) - 1];
            let told = counted(&times).percentile(share).unwrap();
            prop_assert!((0.74..1.36).contains(&(told / real.as_secs_f64())), "{told} for {real:?}");
        }
    }
}
