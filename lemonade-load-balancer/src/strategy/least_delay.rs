//! The shortest predicted delay: `adaptive`'s own rule.
//!
//! For each backend, in seconds: `(in flight + 1) x cost of a place / share + silence beyond 5 costs + price of its errors`
//! ([`crate::backend::Delay`] says what those are and how they are learned). The lowest is picked; those within 10 % of it count
//! as equal, and of equals the one that was picked longest ago: at light load that is as even as round robin.
//!
//! Where backends cannot be told apart, this is least connections; where they can, it is the shortest expected delay, without
//! anybody telling speeds or widths. Nothing attracts that should not: errors feed no average and have a price, what is silent
//! looks worse with every moment, what nobody has measured is presumed typical, and whoever was left out for 4 s is next.

use super::{PickContext, Pool, Strategy};
use crate::backend::{Backend, FULL_SHARE};
use std::time::Duration;

/// Delays nearer to the least than this are equal: closer than they are known.
const ALIKE: f32 = 1.1;
/// Silence for so many times the cost of a place is not yet one.
const PATIENCE: f32 = 5.0;
/// An idle backend that was left out for so long is picked, so that what is known of it is never older.
const LEFT_OUT: Duration = Duration::from_secs(4);
/// Up to so many backends are all looked at; of more, a sample.
const ALL: usize = 128;
/// How many are looked at then.
const SAMPLE: usize = 12;

/// What `least_delay` expects of one backend.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prediction {
    /// Requests there, the next one included.
    pub places: u32,
    /// Seconds a place.
    pub cost: f32,
    /// How much of it counts, from 0 to 1 (slow start, degraded).
    pub share: f32,
    /// Seconds that it has been silent for beyond what is usual.
    pub silence: f32,
    /// Seconds that its errors are worth.
    pub price: f32,
}

impl Prediction {
    /// What is expected of `backend` now, of which `share` percent count.
    pub fn of(backend: &Backend, share: u32, now: Duration) -> Self {
        let delay = &backend.load.delay;
        let cost = delay.cost();
        let in_flight = backend.load.in_flight();
        let silence = match in_flight {
            0 => 0.0,
            _ => (delay.silence(now) - PATIENCE * cost).max(0.0),
        };
        Prediction {
            places: in_flight.saturating_add(1),
            cost,
            share: share as f32 / FULL_SHARE as f32,
            silence,
            price: delay.price(),
        }
    }

    /// All of it, in seconds.
    pub fn seconds(&self) -> f32 {
        self.places as f32 * self.cost / self.share + self.silence + self.price
    }
}

/// Cost: O(n) up to 128 backends, and that of 12 beyond.
#[derive(Debug)]
pub struct LeastDelay;

impl Strategy for LeastDelay {
    fn pick(&self, pool: &Pool, context: &mut PickContext<'_>) -> usize {
        let size = pool.len();
        let picked = match size <= ALL {
            true => least(pool, 0..size, context.now),
            false => {
                // Spread over the pool, from anywhere: neighbours are often alike.
                let (start, step) = (context.rng.usize(..size), size / SAMPLE);
                let places = (0..SAMPLE).map(|nth| (start + nth * step) % size);
                least(pool, places, context.now)
            }
        };
        pool.backends()[picked].load.delay.picked(context.now);
        picked
    }
}

/// The place of the least delay among `places`, of which there are at most [`ALL`], and at least one.
fn least(pool: &Pool, places: impl Iterator<Item = usize> + Clone, now: Duration) -> usize {
    let mut delays = [0f32; ALL];
    let mut least = f32::INFINITY;
    let nanos = now.as_nanos() as u64;
    for (place, delay) in places.clone().zip(&mut delays) {
        let backend = &pool.backends()[place];
        let share = pool.shares().map_or(FULL_SHARE, |shares| shares[place]);
        *delay = Prediction::of(backend, share, now).seconds();
        least = least.min(*delay);
        let left_out = nanos.saturating_sub(backend.load.delay.last_picked());
        if left_out > LEFT_OUT.as_nanos() as u64 && backend.load.in_flight() == 0 {
            return place;
        }
    }
    let equals = places
        .zip(&delays)
        .filter(|(_, delay)| **delay <= least * ALIKE);
    let longest_ago = |place: &usize| pool.backends()[*place].load.delay.last_picked();
    equals
        .map(|(place, _)| place)
        .min_by_key(longest_ago)
        .unwrap_or_default()
}
