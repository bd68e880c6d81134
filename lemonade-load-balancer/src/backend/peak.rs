//! How bad it was lately: the worst recent time to first byte, forgotten bit by bit (Finagle's "peak EWMA").
//!
//! An average needs many samples to see that a backend became slow. This one jumps to any time that is longer than itself
//! and comes down by age, not by samples, so that a backend about which nobody asks is forgiven as well.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// After so long, a sample's weight is down to 1/e (Finagle's and Linkerd's default).
const FORGETTING: Duration = Duration::from_secs(10);
/// What a failure counts as, if it took no longer. As dear as an error is to `least_delay`; Linkerd's 5 s would keep a backend
/// away 16 s longer (ten times the logarithm of five) for one failure that may have been the request's fault.
const FAILURE: Duration = Duration::from_secs(1);

/// Milliseconds by which a clock may be ahead of another.
const AHEAD: u32 = 60_000;

/// The estimate and when it was made, in one word, so that shards replace both at once; two that collide lose one sample,
/// which is harmless.
///
/// Upper half: milliseconds since the process began, which wrap after 49 days. Lower half: seconds, as the bits of an `f32`.
#[derive(Debug, Default)]
pub struct Peak(AtomicU64);

// Relaxed: a hint for picking; nothing is published through it.
impl Peak {
    /// Adds the time to first byte of an answer that did work.
    pub fn record(&self, took: Duration, now: Duration) {
        let Read { estimate, age, at } = self.read(now);
        // No time at all would look like no sample at all.
        let took = took.as_secs_f32().max(f32::MIN_POSITIVE);
        let next = match took > estimate {
            true => took,
            // Nothing is forgotten within the same millisecond.
            false if age == 0 => return,
            false => {
                let kept = remembered(age);
                estimate * kept + took * (1.0 - kept)
            }
        };
        let packed = u64::from(at) << 32 | u64::from(next.to_bits());
        self.0.store(packed, Relaxed);
    }

    /// Adds a failure that came after `took`. However fast it was, it is no reason to ask there again.
    pub fn record_failure(&self, took: Duration, now: Duration) {
        self.record(took.max(FAILURE), now);
    }

    /// Forgets it: the backend was away, and what it was before says nothing.
    pub(crate) fn forget(&self) {
        self.0.store(0, Relaxed);
    }

    /// The estimate in seconds as it is by now; `None` if there was no sample, or the last is forgotten.
    pub fn seconds(&self, now: Duration) -> Option<f32> {
        let Read { estimate, age, .. } = self.read(now);
        let left = estimate * remembered(age);
        (left > 0.0).then_some(left)
    }

    fn read(&self, now: Duration) -> Read {
        let packed = self.0.load(Relaxed);
        let (now, made) = (now.as_millis() as u32, (packed >> 32) as u32);
        let age = now.wrapping_sub(made);
        // Shards read their clocks at different moments, so it may have been made after "now".
        let (age, at) = match age > u32::MAX - AHEAD {
            true => (0, made),
            false => (age, now),
        };
        let estimate = f32::from_bits(packed as u32);
        Read { estimate, age, at }
    }
}

/// The estimate as it was made.
struct Read {
    estimate: f32,
    /// How many milliseconds ago.
    age: u32,
    /// What the next one is dated, in milliseconds: never before this one, or its age would count twice.
    at: u32,
}

/// The part of a sample that still counts at this age.
fn remembered(age: u32) -> f32 {
    (-(age as f32) / FORGETTING.as_millis() as f32).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(100);

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn is_near(peak: &Peak, now: Duration, seconds: f32) {
        let found = peak.seconds(now).unwrap_or(0.0);
        assert!((found - seconds).abs() < 0.01 * seconds, "{found}");
    }

    #[test]
    fn longer_time_counts_at_once_and_a_shorter_one_bit_by_bit() {
        let peak = Peak::default();
        assert_eq!(peak.seconds(NOW), None);
        peak.record(ms(10), NOW);
        is_near(&peak, NOW, 0.010);
        peak.record(ms(500), NOW);
        is_near(&peak, NOW, 0.500);
        for _ in 0..1000 {
            peak.record(ms(10), NOW);
        }
        is_near(&peak, NOW, 0.500);
        peak.record(ms(10), NOW + FORGETTING);
        is_near(
            &peak,
            NOW + FORGETTING,
            0.500 / std::f32::consts::E + 0.010 * 0.632,
        );
    }

    #[test]
    fn nobody_asking_is_forgiveness_too() {
        let peak = Peak::default();
        peak.record(ms(500), NOW);
        is_near(&peak, NOW + FORGETTING, 0.500 / std::f32::consts::E);
        assert_eq!(peak.seconds(NOW + 200 * FORGETTING), None);
    }

    #[test]
    fn fast_failure_is_a_long_time() {
        let peak = Peak::default();
        peak.record_failure(ms(1), NOW);
        is_near(&peak, NOW, 1.0);
        peak.record_failure(ms(3000), NOW);
        is_near(&peak, NOW, 3.0);
    }

    #[test]
    fn clock_of_another_shard_may_be_behind() {
        let peak = Peak::default();
        peak.record(ms(500), NOW);
        is_near(&peak, NOW - ms(5), 0.500);
        peak.record(ms(10), NOW - ms(5));
        is_near(&peak, NOW, 0.500);
    }
}
