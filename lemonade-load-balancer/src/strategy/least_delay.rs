//! The shortest predicted delay: `adaptive`'s own rule.
//!
//! For each backend, in seconds: `(in flight + 1) x cost of a place / share + silence beyond 5 costs + price of its errors`
//! ([`crate::backend::Delay`] says what those are and how they are learned). The lowest is picked; those within 10 % of it count
//! as equal, and of equals the one that was picked longest ago.
//!
//! Where backends cannot be told apart, this is least connections; where they can, it is the shortest expected delay, without
//! anybody telling speeds or widths. Nothing attracts that should not: errors feed no average and have a price, what is silent
//! looks worse with every moment, what nobody has measured is presumed typical, and whoever was left out for 4 s is next.

use super::{Choice, Explanation, PickContext, Pool, Strategy, Term};
use crate::backend::{Backend, FULL_SHARE};

/// Delays nearer to the least than this are equal: closer than they are known.
pub(crate) const ALIKE: f32 = 1.1;
/// Silence for so many times the cost of a place is not yet one.
const PATIENCE: f32 = 5.0;
/// A backend that was left out for so long, in nanoseconds, is picked, so that what is known of it is never older. Of several, the
/// one that waits longest.
pub(crate) const LEFT_OUT: u64 = 4_000_000_000;
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
    /// How much of it counts, in percent (slow start, degraded).
    pub share: u32,
    /// Seconds that it has been silent for beyond what is usual.
    pub silence: f32,
    /// Seconds that its errors are worth.
    pub price: f32,
}

impl Prediction {
    /// What is expected of `backend` now, in nanoseconds since the process began; `share` percent of it count.
    pub fn of(backend: &Backend, share: u32, now: u64) -> Self {
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
            share,
            silence,
            price: delay.price(),
        }
    }

    /// All of it, in seconds.
    pub fn seconds(&self) -> f32 {
        let queue = self.places as f32 * self.cost;
        // Nearly all count in full, and a division takes as long as all the rest.
        let queue = match self.share {
            FULL_SHARE => queue,
            share => queue * FULL_SHARE as f32 / share as f32,
        };
        queue + self.silence + self.price
    }
}

/// Cost: O(n) up to 128 backends, and that of 12 beyond.
#[derive(Debug)]
pub struct LeastDelay;

impl Strategy for LeastDelay {
    fn pick(&self, pool: &Pool, context: &mut PickContext<'_>) -> usize {
        let (size, now) = (pool.len(), nanos(context));
        let picked = match size <= ALL {
            true => least(pool, 0..size, now),
            false => least(pool, sample(size, context.rng.usize(..size)), now),
        };
        pool.backends()[picked].load.delay.picked(now);
        picked
    }

    fn terms(&self, pool: &Pool, context: &PickContext<'_>) -> Vec<Vec<Term>> {
        let now = nanos(context);
        let terms = |place: usize| {
            let backend = &pool.backends()[place];
            let predicted = Prediction::of(backend, share(pool, place), now);
            let idle = now.saturating_sub(backend.load.delay.last_picked());
            vec![
                Term::new("places", predicted.places),
                Term::new("cost_seconds", predicted.cost),
                Term::new("share_percent", predicted.share),
                Term::new("silence_seconds", predicted.silence),
                Term::new("price_seconds", predicted.price),
                Term::new("idle_seconds", idle as f64 * 1e-9),
                Term::new("score_seconds", predicted.seconds()),
            ]
        };
        (0..pool.len()).map(terms).collect()
    }

    fn explain(&self, pool: &Pool, context: &PickContext<'_>) -> Explanation {
        let (size, now) = (pool.len(), nanos(context));
        let choice = match size <= ALL {
            true => Choice::This(least(pool, 0..size, now)),
            false => Choice::Chances(chances(pool, now)),
        };
        Explanation {
            rule: "the lowest places x cost / share + silence + price; within 10 % of it, whoever was picked longest ago; one \
                   that was left out for 4 s goes first",
            terms: self.terms(pool, context),
            choice,
        }
    }
}

/// Of more backends than are looked at: spread over the pool, because neighbours are often alike.
fn sample(size: usize, start: usize) -> impl Iterator<Item = usize> + Clone {
    let step = size / SAMPLE;
    (0..SAMPLE).map(move |nth| (start + nth * step) % size)
}

/// Over all samples that may be drawn.
fn chances(pool: &Pool, now: u64) -> Vec<f64> {
    let size = pool.len();
    let mut chances = vec![0.0; size];
    for start in 0..size {
        chances[least(pool, sample(size, start), now)] += 1.0 / size as f64;
    }
    chances
}

fn share(pool: &Pool, place: usize) -> u32 {
    pool.shares().map_or(FULL_SHARE, |shares| shares[place])
}

/// Since the process began.
fn nanos(context: &PickContext<'_>) -> u64 {
    context.now.as_nanos() as u64
}

/// The place of the least delay among `places`, of which there are at most [`ALL`], and at least one.
fn least(pool: &Pool, places: impl Iterator<Item = usize> + Clone, now: u64) -> usize {
    // As bits: those of positive numbers have the same order, and integers are compared in a third of the time.
    let (mut delays, mut lasts) = ([0u32; ALL], [0u64; ALL]);
    let mut least = f32::INFINITY.to_bits();
    let (mut left_out, mut out_since) = (None, now.saturating_sub(LEFT_OUT));
    let (backends, shares) = (pool.backends(), pool.shares());
    for (place, (delay, last)) in places.clone().zip(delays.iter_mut().zip(&mut lasts)) {
        let backend = &*backends[place];
        let share = shares.map_or(FULL_SHARE, |shares| shares[place]);
        *delay = Prediction::of(backend, share, now).seconds().to_bits();
        least = least.min(*delay);
        *last = backend.load.delay.last_picked();
        if *last < out_since {
            (left_out, out_since) = (Some(place), *last);
        }
    }
    if let Some(place) = left_out {
        return place;
    }
    let bound = (f32::from_bits(least) * ALIKE).to_bits();
    let (mut picked, mut earliest) = (None, u64::MAX);
    for (place, (delay, last)) in places.zip(delays.iter().zip(&lasts)) {
        // A choice, not a branch: which of them are equals cannot be foreseen.
        let key = if *delay <= bound { *last } else { u64::MAX };
        if key < earliest {
            (picked, earliest) = (Some(place), key);
        }
    }
    picked.unwrap_or_default()
}
