//! What would happen under another strategy: recent traffic, played again through the real code of each candidate.
//!
//! Each backend is a queue before as many servers as it seems to have ([`capacity`](super::capacity)); requests arrive at the
//! measured rate, cost what the measured times say, and fail as often as they did. Every candidate sees the same requests at the
//! same moments, so that what differs is the choice. What the model leaves out (ejection, retries, limits, faults that come and
//! go) it leaves out for all of them: forecasts are compared with each other, not believed as they are.

use super::capacity::{Capacity, capacity};
use super::window::{KEPT, Recent, Windows};
use crate::backend::{Backend, BackendId, Usual, usual};
use crate::strategy::{self, Cursor, Name, PickContext, Pool};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

/// Requests that are played, where there are not more backends than that.
const REQUESTS: usize = 4000;
/// Requests a backend, where there are.
const A_BACKEND: usize = 6;
/// The share of them that only warms up.
const WARM_UP: f64 = 0.2;
/// Answers that each backend is remembered by at the beginning.
const REMEMBERED: usize = 40;
/// How often backends are told what is usual, and after how many requests at the least.
const COMPARED: Duration = Duration::from_millis(250);
const AFTER: usize = 20;
/// An error costs whoever meets it as much as waiting so long, in seconds.
const PRICE: f64 = 1.0;
/// In simulated time, nothing is before this: an age of zero is no age.
const BEGIN: Duration = Duration::from_secs(60);

/// What a strategy would come to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Forecast {
    /// Which one.
    pub strategy: Name,
    /// The time to first byte, in seconds, that half of the answers stay within.
    pub p50: f64,
    /// That 99 of 100 stay within.
    pub p99: f64,
    /// The same if a failure counted as a second of waiting: what strategies are compared by.
    pub cost: f64,
    /// The share of failures.
    pub errors: f64,
}

/// A backend as it is played.
#[derive(Clone, Debug)]
struct Model {
    id: BackendId,
    weight: u32,
    service: f64,
    width: usize,
    errors: f64,
}

/// A request as every candidate gets it.
#[derive(Clone, Copy, Debug)]
struct Request {
    at: Duration,
    /// How much dearer than the mean.
    cost: f64,
    /// It fails where failures are more frequent than this.
    luck: f64,
}

/// The stage that all candidates play on.
#[derive(Debug)]
pub struct Shadow {
    backends: Vec<Model>,
    requests: Vec<Request>,
    seed: u64,
}

impl Shadow {
    /// Recent traffic; `None` while there is too little to play.
    pub fn new(windows: &Windows, seed: u64) -> Option<Self> {
        let backends = models(windows);
        let recent = windows.recent(KEPT);
        let rate = recent.rate();
        let costs = Costs::new(&recent, windows)?;
        if backends.is_empty() || rate <= 0.0 {
            return None;
        }
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut at = BEGIN;
        let requests = (0..REQUESTS.max(A_BACKEND * backends.len())).map(|_| {
            at += Duration::from_secs_f64(-(1.0 - rng.f64()).ln() / rate);
            Request {
                at,
                cost: costs.draw(rng.f64()),
                luck: rng.f64(),
            }
        });
        Some(Shadow {
            requests: requests.collect(),
            backends,
            seed,
        })
    }

    /// Plays it under `strategy`. Cost: about a millisecond with eight backends.
    pub fn play(&self, strategy: Name) -> Forecast {
        let mut stage = Stage::new(self, strategy);
        let skipped = (self.requests.len() as f64 * WARM_UP) as usize;
        let mut times = Vec::with_capacity(self.requests.len());
        let mut costs = Vec::with_capacity(self.requests.len());
        let mut failed = 0;
        for (place, request) in self.requests.iter().enumerate() {
            let (took, ok) = stage.serve(request);
            if place >= skipped {
                times.push(took);
                costs.push(if ok { took } else { took + PRICE });
                failed += usize::from(!ok);
            }
        }
        let count = times.len();
        let quantile = |of: &mut [f64], q: f64| {
            let rank = ((q * count as f64) as usize).min(count - 1);
            *of.select_nth_unstable_by(rank, f64::total_cmp).1
        };
        Forecast {
            strategy,
            p50: quantile(&mut times, 0.50),
            p99: quantile(&mut times, 0.99),
            cost: quantile(&mut costs, 0.99),
            errors: failed as f64 / count as f64,
        }
    }
}

/// Each backend that may be picked, as a queue. One that is not known well enough is taken for the mean of the others.
fn models(windows: &Windows) -> Vec<Model> {
    let eligible = windows.tracks().filter(|track| track.last().eligible);
    let known: Vec<_> = eligible.map(|track| (track, capacity(track))).collect();
    let certain: Vec<Capacity> = known.iter().filter_map(|(_, found)| *found).collect();
    let mean = |of: fn(&Capacity) -> f64| {
        certain.iter().map(of).sum::<f64>() / certain.len().max(1) as f64
    };
    let usual = Capacity {
        service: mean(|found| found.service).max(1e-6),
        width: mean(|found| found.width).max(1.0),
        busy: 0.0,
    };
    let mut models: Vec<Model> = known
        .iter()
        .map(|(track, found)| {
            let found = found.unwrap_or(usual);
            Model {
                id: track.last().id.clone(),
                weight: track.last().weight,
                service: found.service,
                width: (found.width.round() as usize).max(1),
                errors: track.sum().error_rate().unwrap_or(0.0),
            }
        })
        .collect();
    // A map has no order, and the same traffic is to give the same forecast.
    models.sort_unstable_by(|one, other| one.id.cmp(&other.id));
    models
}

/// How dear requests are, relative to each other.
struct Costs {
    /// Costs with the share of requests that are not dearer.
    steps: Vec<(f64, f64)>,
}

impl Costs {
    /// The measured times, less what only the backends' differences account for; the mean is 1.
    fn new(recent: &Recent, windows: &Windows) -> Option<Self> {
        let all = recent.answers() as f64;
        let variation = recent.variation()?.powi(2);
        let between = between(windows);
        // Of independent factors (1 + cv²) multiplies; as if each were log-normal, a power takes one out.
        let within = ((1.0 + variation) / (1.0 + between) - 1.0).max(0.0);
        let power = match variation > 1e-6 {
            true => ((1.0 + within).ln() / (1.0 + variation).ln()).sqrt(),
            false => 1.0,
        };
        let shaped = |(time, count): (f64, u64)| (time.powf(power), count as f64);
        let sum: f64 = recent.times().map(shaped).map(|(time, n)| time * n).sum();
        let mean = sum / all;
        let mut share = 0.0;
        let steps = recent.times().map(shaped).map(|(time, count)| {
            share += count / all;
            (time / mean, share)
        });
        let steps: Vec<(f64, f64)> = steps.collect();
        (mean > 0.0).then_some(Costs { steps })
    }

    fn draw(&self, share: f64) -> f64 {
        let place = self.steps.partition_point(|(_, upto)| *upto < share);
        let last = self.steps.len() - 1;
        self.steps[place.min(last)].0
    }
}

/// The squared coefficient of variation of the backends' mean times, each counted as often as it answered.
fn between(windows: &Windows) -> f64 {
    let (mut answers, mut first, mut second) = (0.0, 0.0, 0.0);
    for track in windows.tracks() {
        let sum = track.sum();
        if let Some(mean) = sum.mean() {
            answers += sum.answers;
            first += sum.answers * mean;
            second += sum.answers * mean * mean;
        }
    }
    let mean = first / f64::max(answers, 1e-9);
    if mean <= 0.0 {
        return 0.0;
    }
    (second / answers / (mean * mean) - 1.0).max(0.0)
}

/// A request that will end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct End {
    at: Duration,
    place: usize,
    ahead: u32,
    took: Duration,
    ok: bool,
}

/// Backends of which nobody else knows, under one strategy.
struct Stage<'s> {
    models: &'s [Model],
    pool: Pool,
    strategy: Arc<dyn strategy::Strategy>,
    rng: fastrand::Rng,
    /// When each backend's servers in use are free again.
    busy: Vec<BinaryHeap<Reverse<Duration>>>,
    ends: BinaryHeap<Reverse<End>>,
    usual: Usual,
    compared: Duration,
    since_then: usize,
}

impl<'s> Stage<'s> {
    fn new(shadow: &'s Shadow, name: Name) -> Self {
        let models = &shadow.backends;
        let members = models.iter().map(|model| {
            let backend = Backend::new(model.id.clone(), 1);
            let service = Duration::from_secs_f64(model.service);
            for _ in 0..REMEMBERED {
                backend.load.latency.record(service, BEGIN);
                backend.load.delay.answered(service, 0, BEGIN);
            }
            (backend, model.weight)
        });
        let pool = Pool::new(members);
        let cursor = Arc::new(Cursor::default());
        let mut stage = Stage {
            strategy: strategy::build(name, &pool, &cursor),
            pool,
            rng: fastrand::Rng::with_seed(shadow.seed),
            busy: models.iter().map(|_| BinaryHeap::new()).collect(),
            ends: BinaryHeap::new(),
            usual: Usual::default(),
            compared: BEGIN,
            since_then: 0,
            models,
        };
        stage.compare(BEGIN);
        stage
    }

    /// Tells each backend what is usual among all, as the guard does.
    fn compare(&mut self, now: Duration) {
        (self.compared, self.since_then) = (now, 0);
        let (mut shown, mut errors) = (Vec::new(), Vec::new());
        let delays = || self.pool.backends().iter().map(|it| &it.load.delay);
        for (delay, model) in delays().zip(self.models) {
            shown.extend(delay.shown(model.weight, now));
            errors.extend(delay.error_rate(now));
        }
        self.usual = usual(&shown, &mut errors, self.usual);
        for (delay, model) in delays().zip(self.models) {
            delay.compare(&self.usual, model.weight, now);
        }
    }

    /// Sends a request and foretells its end: how long it takes, and whether it succeeds.
    fn serve(&mut self, request: &Request) -> (f64, bool) {
        self.pass_to(request.at);
        self.since_then += 1;
        if self.since_then >= AFTER && request.at - self.compared >= COMPARED {
            self.compare(request.at);
        }
        let mut context = PickContext {
            now: request.at,
            rng: &mut self.rng,
            key: Some((request.luck * u64::MAX as f64) as u64),
        };
        let place = self.strategy.pick(&self.pool, &mut context);
        let model = &self.models[place];
        let backend = &self.pool.backends()[place];
        let ahead = backend.load.try_enter().unwrap_or_default();
        backend.load.delay.sent(ahead, request.at);
        let busy = &mut self.busy[place];
        while busy.peek().is_some_and(|Reverse(free)| *free <= request.at) {
            busy.pop();
        }
        let starts = match busy.len() < model.width {
            true => request.at,
            false => busy.pop().map_or(request.at, |Reverse(free)| free),
        };
        let at = starts + Duration::from_secs_f64(model.service * request.cost);
        busy.push(Reverse(at));
        let took = at - request.at;
        let ok = request.luck >= model.errors;
        self.ends.push(Reverse(End {
            at,
            place,
            ahead,
            took,
            ok,
        }));
        (took.as_secs_f64(), ok)
    }

    /// Lets end what ends until `now`.
    fn pass_to(&mut self, now: Duration) {
        while let Some(Reverse(end)) = self.ends.peek().copied() {
            if end.at > now {
                return;
            }
            self.ends.pop();
            let load = &self.pool.backends()[end.place].load;
            load.leave();
            match end.ok {
                true => {
                    load.latency.record(end.took, end.at);
                    load.delay.answered(end.took, end.ahead, end.at);
                }
                false => load.delay.failed(end.at),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::scene::Scene;
    use super::*;

    /// A minute in which each backend answers so many a second, in so many milliseconds.
    fn minute(each: &[(u64, u64)]) -> Scene {
        let mut scene = Scene::new(each.len());
        for _ in 0..KEPT {
            for (place, (count, millis)) in each.iter().enumerate() {
                scene.answer(place, *count, *millis);
            }
            scene.tick();
        }
        scene
    }

    fn play(scene: &Scene, name: Name) -> Forecast {
        Shadow::new(&scene.windows, 7).unwrap().play(name)
    }

    #[test]
    fn unequal_backends_are_worse_under_round_robin() {
        let scene = minute(&[(40, 20), (40, 20), (10, 80)]);
        let blind = play(&scene, Name::RoundRobin);
        let counting = play(&scene, Name::LeastConnections);
        assert!(blind.p99 > 1.2 * counting.p99, "{blind:?} {counting:?}");
    }

    #[test]
    fn alike_backends_are_much_the_same_under_either() {
        let scene = minute(&[(20, 20); 4]);
        let blind = play(&scene, Name::RoundRobin);
        let counting = play(&scene, Name::LeastConnections);
        let ratio = blind.p50 / counting.p50;
        assert!((0.9..1.1).contains(&ratio), "{blind:?} {counting:?}");
        assert!((0.015..0.025).contains(&blind.p50), "{blind:?}");
    }

    #[test]
    fn forecast_can_be_repeated_and_knows_failures() {
        let mut scene = minute(&[(40, 20), (40, 20)]);
        scene.fail(0, 480);
        scene.tick();
        let once = play(&scene, Name::Random);
        assert_eq!(once, play(&scene, Name::Random));
        assert!((0.07..0.14).contains(&once.errors), "{once:?}");
    }

    #[test]
    fn nothing_to_play_is_no_forecast() {
        let mut scene = Scene::new(3);
        assert!(Shadow::new(&scene.windows, 1).is_none());
        for _ in 0..5 {
            scene.sample.backends[0].begun += 5;
            scene.tick();
        }
        assert!(Shadow::new(&scene.windows, 1).is_none(), "no answer yet");
    }
}
