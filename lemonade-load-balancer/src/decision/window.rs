//! What each backend and the pool saw in the last minute, second by second.
//!
//! Shown running totals once a tick, it takes the differences: nothing is reset anywhere, and who counts need not know that
//! somebody watches. Memory is bounded: 60 ticks of the pool with a histogram, and of each backend with a few numbers.

use crate::backend::{Backend, BackendId, State, UNLIMITED};
use crate::stats::ShardStats;
use crate::stats::histogram::{SLOTS, middle};
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// Ticks that are kept.
pub const KEPT: usize = 60;
/// How much a slower second moves a backend's baseline up; a faster one moves it down by a hundred times that. So it stays near
/// the fastest seconds, and forgets them within half an hour.
const RISE: f64 = 0.0005;
const FALL: f64 = 0.05;

/// One backend's running totals, and its levels of the moment.
#[derive(Clone, Debug)]
pub struct BackendSample {
    /// Who it is.
    pub id: BackendId,
    /// Attempts that were begun.
    pub begun: u64,
    /// Attempts that were answered or failed.
    pub ended: u64,
    /// Attempts that failed by its fault.
    pub failed: u64,
    /// Attempts that were answered.
    pub answers: u64,
    /// How long those took to begin, together.
    pub first_byte: Duration,
    /// How often it was ejected.
    pub ejections: u64,
    /// Requests in flight.
    pub in_flight: u32,
    /// Requests that may be; [`UNLIMITED`] if nobody said.
    pub limit: u32,
    /// Its weight as configured.
    pub weight: u32,
    /// It may be picked.
    pub eligible: bool,
    /// Requests failed there, and it is left alone for a while.
    pub ejected: bool,
    /// Seconds for each request there, if that was measured lately.
    pub pace: Option<f32>,
}

impl BackendSample {
    /// What a backend shows now.
    pub fn of(backend: &Backend, weight: u32, eligible: bool, now: Duration) -> Self {
        BackendSample {
            id: backend.id.clone(),
            // Before `begun`: what begins in between seems to wait for its answer.
            ended: backend.stats.iter().map(ShardStats::ended).sum(),
            begun: backend.sum(|shard| &shard.begun),
            failed: backend.sum(|shard| &shard.faults),
            answers: backend.stats.iter().map(ShardStats::answers).sum(),
            first_byte: Duration::from_nanos(backend.sum(|shard| &shard.latency.sum)),
            ejections: backend.ejections.load(Relaxed),
            in_flight: backend.load.in_flight(),
            limit: backend.load.limit(),
            weight,
            eligible,
            ejected: backend.state.get() == State::Ejected,
            pace: backend.load.delay.measured(now),
        }
    }
}

/// What one tick is shown.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Every member.
    pub backends: Vec<BackendSample>,
    /// Running totals of answers by time to first byte, [`SLOTS`] of them.
    pub histogram: Vec<u64>,
    /// Running total of requests that no backend had room for.
    pub shed: u64,
}

/// What was counted in one tick, or in several.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counts {
    /// Attempts that were begun.
    pub begun: f64,
    /// Attempts that were answered or failed.
    pub ended: f64,
    /// Attempts that failed.
    pub failed: f64,
    /// Attempts that were answered.
    pub answers: f64,
    /// Seconds that those took to begin.
    pub seconds: f64,
    /// Requests in flight, summed over ticks.
    pub in_flight: f64,
    /// Those of them whose answer had begun, summed over ticks.
    pub streaming: f64,
    /// Ejections.
    pub ejections: f64,
}

impl Counts {
    fn add(&mut self, other: &Counts, sign: f64) {
        self.begun += sign * other.begun;
        self.ended += sign * other.ended;
        self.failed += sign * other.failed;
        self.answers += sign * other.answers;
        self.seconds += sign * other.seconds;
        self.in_flight += sign * other.in_flight;
        self.streaming += sign * other.streaming;
        self.ejections += sign * other.ejections;
    }

    /// Seconds until an answer begins, in the mean.
    pub fn mean(&self) -> Option<f64> {
        (self.answers >= 0.5).then(|| (self.seconds / self.answers).max(1e-6))
    }

    /// The share of attempts that failed.
    pub fn error_rate(&self) -> Option<f64> {
        (self.ended >= 0.5).then(|| (self.failed / self.ended).clamp(0.0, 1.0))
    }
}

/// The last minute of one backend.
#[derive(Debug)]
pub struct Track {
    last: BackendSample,
    ticks: VecDeque<Counts>,
    sum: Counts,
    /// Attempts whose client left before the answer: begun, and never to end.
    abandoned: i64,
    baseline: Option<f64>,
    seen: u64,
}

impl Track {
    fn new(sample: &BackendSample) -> Self {
        let mut track = Track {
            last: sample.clone(),
            ticks: VecDeque::with_capacity(KEPT),
            sum: Counts::default(),
            abandoned: i64::MIN,
            baseline: None,
            seen: 0,
        };
        track.streaming(sample);
        track
    }

    /// Requests whose answer has begun. All that was begun and has not ended waits for its answer, but for those whose client
    /// left; of these there are at least as many as it would take for all in flight to be waiting.
    fn streaming(&mut self, sample: &BackendSample) -> f64 {
        let open = sample.begun.wrapping_sub(sample.ended).cast_signed();
        let in_flight = i64::from(sample.in_flight);
        self.abandoned = self.abandoned.max(open.saturating_sub(in_flight));
        in_flight
            .saturating_sub(open.saturating_sub(self.abandoned))
            .max(0) as f64
    }

    fn tick(&mut self, sample: &BackendSample) -> Counts {
        let last = &self.last;
        // A total never falls; a backend that went and came back begins anew.
        let since = |now: u64, then: u64| now.saturating_sub(then) as f64;
        let taken = sample.first_byte.saturating_sub(last.first_byte);
        let mut counts = Counts {
            begun: since(sample.begun, last.begun),
            ended: since(sample.ended, last.ended),
            failed: since(sample.failed, last.failed),
            answers: since(sample.answers, last.answers),
            seconds: taken.as_secs_f64(),
            in_flight: f64::from(sample.in_flight),
            streaming: 0.0,
            ejections: since(sample.ejections, last.ejections),
        };
        counts.streaming = self.streaming(sample);
        self.learn(&counts);
        self.last.clone_from(sample);
        self.sum.add(&counts, 1.0);
        self.ticks.push_back(counts);
        if self.ticks.len() > KEPT
            && let Some(oldest) = self.ticks.pop_front()
        {
            self.sum.add(&oldest, -1.0);
        }
        counts
    }

    fn learn(&mut self, counts: &Counts) {
        /// Fewer answers in a second say little about how fast it can be.
        const ENOUGH: f64 = 10.0;
        /// Errors are fast for the wrong reason.
        const FEW: f64 = 0.02;
        let tells = counts.answers >= ENOUGH && counts.failed <= FEW * counts.ended;
        let Some(mean) = counts.mean().filter(|_| tells) else {
            return;
        };
        let baseline = self.baseline.get_or_insert(mean);
        let share = if mean < *baseline { FALL } else { RISE };
        *baseline += (mean - *baseline) * share;
    }

    /// What it showed last.
    pub fn last(&self) -> &BackendSample {
        &self.last
    }

    /// What it saw in the last minute.
    pub fn sum(&self) -> &Counts {
        &self.sum
    }

    /// Seconds until an answer begins in its fastest seconds: where little queues.
    pub fn baseline(&self) -> Option<f64> {
        self.baseline
    }

    /// It has all the requests that it may have.
    pub fn is_full(&self) -> bool {
        self.last.limit != UNLIMITED && self.last.in_flight >= self.last.limit
    }
}

/// One tick of the pool.
#[derive(Debug)]
struct PoolTick {
    at: Duration,
    length: Duration,
    counts: Counts,
    shed: u64,
    histogram: Box<[u32]>,
}

/// The last minute of all of them.
#[derive(Debug, Default)]
pub struct Windows {
    tracks: HashMap<BackendId, Track>,
    ticks: VecDeque<PoolTick>,
    last: Option<Last>,
    seen: u64,
}

/// The pool's totals at the last tick.
#[derive(Debug)]
struct Last {
    at: Duration,
    histogram: Vec<u64>,
    shed: u64,
}

impl Windows {
    /// Takes in what there is to see at `now`. The first look is what later ones are compared with.
    pub fn observe(&mut self, sample: &Sample, now: Duration) {
        self.seen += 1;
        let mut counts = Counts::default();
        for backend in &sample.backends {
            match self.tracks.get_mut(&backend.id) {
                Some(track) => counts.add(&track.tick(backend), 1.0),
                None => drop(self.tracks.insert(backend.id.clone(), Track::new(backend))),
            }
            if let Some(track) = self.tracks.get_mut(&backend.id) {
                track.seen = self.seen;
            }
        }
        let seen = self.seen;
        self.tracks.retain(|_, track| track.seen == seen);
        let last = self.last.replace(Last {
            at: now,
            histogram: sample.histogram.clone(),
            shed: sample.shed,
        });
        let Some(last) = last else { return };
        let histogram = sample.histogram.iter().zip(&last.histogram);
        self.ticks.push_back(PoolTick {
            at: now,
            length: now.saturating_sub(last.at),
            counts,
            shed: sample.shed.saturating_sub(last.shed),
            histogram: histogram
                .map(|(now, then)| now.saturating_sub(*then) as u32)
                .collect(),
        });
        if self.ticks.len() > KEPT {
            self.ticks.pop_front();
        }
    }

    /// What the pool saw in the last so many ticks.
    pub fn recent(&self, ticks: usize) -> Recent {
        let from = self.ticks.len().saturating_sub(ticks);
        Recent::sum(self.ticks.iter().skip(from))
    }

    /// What the pool saw later than `since`.
    pub fn since(&self, since: Duration) -> Recent {
        Recent::sum(self.ticks.iter().filter(|tick| tick.at > since))
    }

    /// Each backend's last minute.
    pub fn tracks(&self) -> impl Iterator<Item = &Track> {
        self.tracks.values()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.tracks.len()
    }

    /// Nothing was observed yet.
    pub fn is_empty(&self) -> bool {
        self.tracks.is_empty()
    }
}

/// What the pool saw in some time.
#[derive(Clone, Debug)]
pub struct Recent {
    /// How long that was.
    pub length: Duration,
    /// Ticks in it.
    pub ticks: usize,
    /// Sums over all backends.
    pub counts: Counts,
    /// Requests that no backend had room for.
    pub shed: u64,
    histogram: Vec<u64>,
}

impl Recent {
    fn sum<'t>(ticks: impl Iterator<Item = &'t PoolTick>) -> Self {
        let mut recent = Recent {
            length: Duration::ZERO,
            ticks: 0,
            counts: Counts::default(),
            shed: 0,
            histogram: vec![0; SLOTS],
        };
        for tick in ticks {
            recent.length += tick.length;
            recent.ticks += 1;
            recent.counts.add(&tick.counts, 1.0);
            recent.shed += tick.shed;
            for (sum, count) in recent.histogram.iter_mut().zip(&tick.histogram) {
                *sum += u64::from(*count);
            }
        }
        recent
    }

    /// Requests a second.
    pub fn rate(&self) -> f64 {
        match self.length.is_zero() {
            true => 0.0,
            false => self.counts.begun / self.length.as_secs_f64(),
        }
    }

    /// Requests in flight, in the mean.
    pub fn in_flight(&self) -> f64 {
        self.counts.in_flight / self.ticks.max(1) as f64
    }

    /// Those of them whose answer has begun.
    pub fn streaming(&self) -> f64 {
        self.counts.streaming / self.ticks.max(1) as f64
    }

    /// Answers in the histogram.
    pub fn answers(&self) -> u64 {
        self.histogram.iter().sum()
    }

    /// The time to first byte, in seconds, that a share `q` of the answers stayed within; `None` without an answer.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let all = self.answers();
        let rank = ((q * all as f64).ceil() as u64).max(1);
        let mut below = 0;
        let slot = self.histogram.iter().position(|count| {
            below += count;
            below >= rank
        })?;
        Some(middle(slot))
    }

    /// The coefficient of variation of times to first byte: 0 where all take the same.
    pub fn variation(&self) -> Option<f64> {
        let all = self.answers() as f64;
        let moment = |power: i32| -> f64 {
            let slots = self.histogram.iter().enumerate();
            slots
                .map(|(slot, count)| *count as f64 * middle(slot).powi(power))
                .sum()
        };
        let mean = moment(1) / all;
        (all >= 1.0).then(|| (moment(2) / all / (mean * mean) - 1.0).max(0.0).sqrt())
    }

    /// How often each time was measured: the middle of a slot, in seconds, and a count above zero.
    pub fn times(&self) -> impl Iterator<Item = (f64, u64)> {
        let slots = self.histogram.iter().enumerate();
        slots
            .filter(|(_, count)| **count > 0)
            .map(|(slot, count)| (middle(slot), *count))
    }
}

#[cfg(test)]
mod tests {
    use super::super::scene::{Scene, id};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn differences_of_totals_are_kept_for_a_minute() {
        let mut scene = Scene::new(2);
        scene.answer(0, 10, 20);
        scene.answer(1, 5, 40);
        scene.tick();
        let recent = scene.windows.recent(1);
        assert_eq!((recent.counts.begun, recent.answers()), (15.0, 15));
        assert!((recent.rate() - 15.0).abs() < 1e-9);
        for _ in 0..59 {
            scene.tick();
        }
        assert_eq!(scene.windows.recent(KEPT).counts.answers, 15.0);
        scene.tick();
        assert_eq!(scene.windows.recent(KEPT).counts.answers, 0.0);
        let track = scene.windows.tracks.get(&id(0)).unwrap();
        assert!(track.sum().seconds.abs() < 1e-9 && track.ticks.len() == KEPT);
    }

    #[test]
    fn who_goes_is_forgotten_and_who_comes_back_begins_anew() {
        let mut scene = Scene::new(2);
        scene.answer(1, 500, 20);
        scene.tick();
        let gone = scene.sample.backends.pop().unwrap();
        scene.tick();
        assert_eq!(scene.windows.len(), 1);
        scene.sample.backends.push(gone);
        scene.tick();
        assert_eq!(scene.windows.recent(1).counts.begun, 0.0);
    }

    #[test]
    fn answers_under_way_are_told_from_requests_that_wait() {
        let mut scene = Scene::new(1);
        let backend = &mut scene.sample.backends[0];
        (backend.begun, backend.ended, backend.in_flight) = (50, 20, 30);
        scene.tick();
        assert_eq!(scene.windows.recent(1).streaming(), 0.0, "all wait");
        scene.sample.backends[0].ended = 40;
        scene.tick();
        assert_eq!(scene.windows.recent(1).streaming(), 20.0);
        let backend = &mut scene.sample.backends[0];
        (backend.begun, backend.in_flight) = (100, 5);
        scene.tick();
        assert_eq!(scene.windows.recent(1).streaming(), 0.0, "clients left");
        scene.sample.backends[0].in_flight = 15;
        scene.tick();
        let now = scene.windows.recent(1).streaming();
        assert_eq!(now, 10.0, "those who left wait for nothing");
    }

    #[test]
    fn baseline_stays_near_the_fastest_seconds() {
        let mut scene = Scene::new(1);
        for second in 0..60 {
            scene.answer(0, 20, if second % 2 == 0 { 10 } else { 50 });
            scene.tick();
        }
        let track = scene.windows.tracks().next().unwrap();
        let baseline = track.baseline().unwrap();
        assert!((0.009..0.014).contains(&baseline), "{baseline}");
    }

    proptest! {
        #[test]
        fn quantiles_are_near_those_of_the_list(times in prop::collection::vec(1u64..20_000, 1..400), q in 0.01f64..1.0) {
            let mut scene = Scene::new(1);
            for time in &times {
                scene.answer(0, 1, *time);
            }
            scene.tick();
            let mut sorted = times.clone();
            sorted.sort_unstable();
            let exact = sorted[((q * times.len() as f64).ceil() as usize).max(1) - 1] as f64 / 1e3;
            let found = scene.windows.recent(1).quantile(q).unwrap();
            prop_assert!((found / exact - 1.0).abs() < 0.032, "{found} for {exact}");
        }

        /// Whatever the totals do, nothing overflows and nothing is negative.
        #[test]
        fn totals_may_be_anything(totals in prop::collection::vec((any::<u64>(), any::<u64>(), any::<u32>()), 1..80)) {
            let mut scene = Scene::new(1);
            for (begun, ended, in_flight) in totals {
                let backend = &mut scene.sample.backends[0];
                (backend.begun, backend.ended, backend.in_flight) = (begun, ended, in_flight);
                scene.tick();
                let recent = scene.windows.recent(KEPT);
                prop_assert!(recent.rate() >= 0.0 && recent.streaming() >= 0.0);
            }
        }
    }
}
