//! What it would cost to be the next request at a backend, learned from the requests before: what `least_delay` picks by.
//!
//! - **Cost of a place**, in seconds: the average time to first byte over the average number of requests there, the new one
//!   included, at the time of sending. By Little's law that tells how fast a backend is *and* how many it serves at once, without
//!   knowing either, and waiting is not counted twice, as it is in latency x in flight.
//!   It is drawn towards what is typical in the pool, the more the less is known, and taken a standard error lower than it looks: a
//!   backend that had bad luck is asked again rather than avoided for it.
//! - **Silence**: how long it has been since the last answer, while one is waited for. Sees a pause before any answer tells.
//! - **Price** of its errors, in seconds: its rate of errors above what is usual in the pool.
//!
//! Shards update it without a lock; two that collide lose one sample, which is harmless.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Samples that count: each moves an average by one in so many, once there were as many. Fewer are noise that misleads (a
/// backend looks 10 % slower than its equal), more are slow to see a change.
const SAMPLES: f32 = 160.0;
/// In this time without news, in seconds, knowledge fades to 1/e.
const FADES_AFTER: f32 = 5.0;
/// An answer after so many seconds without one is about a backend that may have changed.
const PROBE_AFTER: f32 = 2.0;
/// It moves the averages by so much at least.
const PROBE_SHARE: f32 = 0.5;
/// A backend that is no slower than others by more than this share is not dearer than they are either: it has fewer requests, and
/// one that serves several at once looks dear for that. Without this, who had little would keep little.
const AS_FAST: f32 = 0.1;
/// An estimate is lowered by so many of its standard errors,
const HOPE: f32 = 0.5;
/// but not further than to this share.
const LEAST_TRUST: f32 = 0.5;
/// Samples of what is typical in the pool that a backend's own are weighed against: so many where backends differ by more than
/// chance,
const LEAST_DOUBT: f32 = 8.0;
/// and so many where they do not. More would make equal backends perfectly even, and proxies that know nothing of each other run
/// in a herd, for which some difference of opinion is the cure.
const MOST_DOUBT: f32 = 30.0;
/// What is typical before anything was measured. Only proportions matter then.
const UNKNOWN: f32 = 0.001;

/// The least variance of a sample that is believed, by the mean squared: even what always takes the same waits by chance.
const LEAST_VARIANCE: f32 = 0.02;

/// Outcomes that count for the rate of errors.
const OUTCOMES: f32 = 50.0;
/// In this time without news, errors are forgotten to 1/e.
const FORGIVEN_AFTER: f32 = 10.0;
/// An error costs whoever meets it as much as waiting so long, in seconds.
const PRICE: f32 = 1.0;
/// Rates of errors within so many standard deviations of what is usual are chance.
const CHANCE: f32 = 4.0;
/// Fewer outcomes say nothing of a rate.
const LEAST_OUTCOMES: f32 = 5.0;

/// What is learned of one backend. Times are nanoseconds since the process began; fractions are the bits of an `f32`. In the order
/// given: what picks read comes first, to be in one cache line.
#[derive(Debug)]
#[repr(C)]
pub struct Delay {
    /// What strategies read: seconds for each place, drawn towards what is typical.
    cost: AtomicU32,
    /// What strategies read: seconds that its errors are worth.
    price: AtomicU32,
    /// Since when an answer is waited for; before `heard` if none is.
    waiting: AtomicU64,
    /// When anything last came from it, errors and other protocols as well.
    heard: AtomicU64,
    picked: AtomicU64,
    /// Average time to first byte, in seconds.
    latency: AtomicU32,
    /// Average number of requests there at the time of sending, the one that was sent included.
    places: AtomicU32,
    /// Average square of the time to first byte.
    squares: AtomicU32,
    /// Samples in those averages.
    samples: AtomicU32,
    /// Seconds a place at a backend like this: what the pool teaches.
    typical: AtomicU32,
    /// Samples that that is worth.
    doubt: AtomicU32,
    /// The average time to first byte that is usual in the pool.
    usual_latency: AtomicU32,
    errors: AtomicU32,
    outcomes: AtomicU32,
    /// The rate of errors that is usual in the pool.
    usual_errors: AtomicU32,
    /// When it last answered what it was asked.
    answered: AtomicU64,
}

impl Default for Delay {
    fn default() -> Self {
        let zero = || AtomicU32::new(0f32.to_bits());
        let unknown = || AtomicU32::new(UNKNOWN.to_bits());
        Delay {
            latency: zero(),
            places: zero(),
            squares: zero(),
            samples: zero(),
            cost: unknown(),
            typical: unknown(),
            doubt: AtomicU32::new(LEAST_DOUBT.to_bits()),
            usual_latency: zero(),
            errors: zero(),
            outcomes: zero(),
            usual_errors: zero(),
            price: zero(),
            answered: AtomicU64::new(0),
            heard: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
            picked: AtomicU64::new(0),
        }
    }
}

/// What the guard learns of a pool from all of its backends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Usual {
    /// Seconds a place, for a backend of weight 1.
    pub cost: f32,
    /// Seconds to first byte.
    pub latency: f32,
    /// Samples that that is worth against a backend's own.
    pub doubt: f32,
    /// The rate of errors of its better half.
    pub errors: f32,
}

/// What a backend has shown of its cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shown {
    /// Seconds a place, times its weight.
    pub cost: f32,
    /// Seconds to first byte, in the mean.
    pub latency: f32,
    /// Samples that that rests on.
    pub samples: f32,
    /// Variance of its times to first byte by their mean squared.
    pub variance: f32,
}

impl Default for Usual {
    fn default() -> Self {
        Usual {
            cost: UNKNOWN,
            latency: 0.0,
            doubt: LEAST_DOUBT,
            errors: 0.0,
        }
    }
}

// Relaxed throughout: all of it are hints for picking; nothing is published through them.
impl Delay {
    /// Notes that a request is sent there when `ahead` others are.
    pub fn sent(&self, ahead: u32, now: Duration) {
        let nanos = now.as_nanos() as u64;
        if ahead == 0 || self.waiting.load(Relaxed) <= self.heard.load(Relaxed) {
            self.waiting.store(nanos, Relaxed);
        }
        self.picked.store(nanos, Relaxed);
    }

    /// Notes that something came from it that says nothing of how fast it works, nor that it fails; or that nobody waits any more
    /// for what did not come. Silence counts from the next request on.
    pub fn heard(&self, now: Duration) {
        self.heard.store(now.as_nanos() as u64, Relaxed);
    }

    /// Takes in an answer that did work, to a request that was sent when `ahead` others were there.
    pub fn answered(&self, took: Duration, ahead: u32, now: Duration) {
        let age = age(&self.answered, now);
        let known = load(&self.samples) * fading(age, FADES_AFTER);
        let samples = (known + 1.0).min(SAMPLES);
        let share = match age > PROBE_AFTER {
            true => PROBE_SHARE.max(1.0 / samples),
            false => 1.0 / samples,
        };
        let seconds = took.as_secs_f32();
        move_by(&self.latency, seconds, share);
        move_by(&self.squares, seconds * seconds, share);
        move_by(&self.places, ahead as f32 + 1.0, share);
        store(&self.samples, samples);
        self.answered.store(now.as_nanos() as u64, Relaxed);
        store(&self.cost, self.estimate(samples));
        self.outcome(0.0, now);
    }

    /// Takes in a failure, or an answer that says "too busy": no measure of how fast it works.
    pub fn failed(&self, now: Duration) {
        self.outcome(1.0, now);
    }

    /// Forgets all but what is typical: it was away, and what it was before says nothing.
    pub(crate) fn forget(&self) {
        let learned = [&self.latency, &self.squares, &self.places, &self.samples];
        let errors = [&self.errors, &self.outcomes, &self.price];
        for value in learned.into_iter().chain(errors) {
            store(value, 0.0);
        }
        store(&self.cost, load(&self.typical));
    }

    fn outcome(&self, error: f32, now: Duration) {
        let known = load(&self.outcomes) * fading(age(&self.heard, now), FORGIVEN_AFTER);
        let outcomes = (known + 1.0).min(OUTCOMES);
        move_by(&self.errors, error, 1.0 / outcomes);
        store(&self.outcomes, outcomes);
        self.heard(now);
        // Nearly always there is nothing to pay for.
        if load(&self.errors) > 0.0 || load(&self.price) > 0.0 {
            store(&self.price, self.priced(now));
        }
    }

    fn estimate(&self, samples: f32) -> f32 {
        let typical = load(&self.typical);
        let Some(own) = self.own_cost().filter(|_| self.is_comparable()) else {
            return typical;
        };
        let doubt = load(&self.doubt);
        let own = self.by_latency(own, typical);
        let drawn = (own * samples + typical * doubt) / (samples + doubt);
        let error = (self.variance() / (samples + doubt)).sqrt();
        drawn * (1.0 - HOPE * error).max(LEAST_TRUST)
    }

    /// What is typical is known. Until then, which is a quarter of a second, all count as equal: nobody is to be first or last only
    /// because it was measured first.
    fn is_comparable(&self) -> bool {
        load(&self.usual_latency) > 0.0
    }

    /// `own`, or as much less as its answers come no later than those of others.
    fn by_latency(&self, own: f32, typical: f32) -> f32 {
        let usual = load(&self.usual_latency);
        if own <= typical {
            return own;
        }
        let later = load(&self.latency) / usual - 1.0;
        typical + (own - typical) * (later / AS_FAST).clamp(0.0, 1.0)
    }

    /// Of times to first byte, by their mean squared.
    fn variance(&self) -> f32 {
        let mean = load(&self.latency);
        let square = (mean * mean).max(f32::MIN_POSITIVE);
        (load(&self.squares) / square - 1.0).max(0.0)
    }

    fn own_cost(&self) -> Option<f32> {
        let places = load(&self.places);
        let latency = load(&self.latency);
        (places > 0.0 && latency > 0.0).then_some(latency / places)
    }

    fn priced(&self, now: Duration) -> f32 {
        let fading = fading(age(&self.heard, now), FORGIVEN_AFTER);
        let outcomes = load(&self.outcomes) * fading;
        if outcomes < 1.0 {
            return 0.0;
        }
        let usual = load(&self.usual_errors);
        let likely = (usual * outcomes + 0.5) / (outcomes + 1.0);
        let deviation = (likely * (1.0 - likely) / outcomes).sqrt();
        let excess = load(&self.errors) - usual - CHANCE * deviation;
        excess.max(0.0) * fading * PRICE
    }

    /// For the guard, a few times a second: what is usual in the pool. `weight` is the capacity that the configuration presumes;
    /// it holds until the backend was measured.
    pub fn compare(&self, usual: &Usual, weight: u32, now: Duration) {
        store(&self.typical, usual.cost / weight.max(1) as f32);
        store(&self.doubt, usual.doubt);
        store(&self.usual_latency, usual.latency);
        store(&self.usual_errors, usual.errors);
        store(&self.cost, self.estimate(self.samples(now)));
        store(&self.price, self.priced(now));
    }

    /// How many samples its own averages are worth now.
    fn samples(&self, now: Duration) -> f32 {
        load(&self.samples) * fading(age(&self.answered, now), FADES_AFTER)
    }

    /// Its own cost of a place in seconds, if it was measured lately.
    pub fn measured(&self, now: Duration) -> Option<f32> {
        self.own_cost().filter(|_| self.samples(now) > 1.0)
    }

    /// What it has shown of its cost lately. `weight`: the capacity that the configuration presumes.
    pub fn shown(&self, weight: u32, now: Duration) -> Option<Shown> {
        Some(Shown {
            cost: self.measured(now)? * weight as f32,
            latency: load(&self.latency),
            samples: self.samples(now),
            variance: self.variance(),
        })
    }

    /// Its own rate of errors, and how many outcomes that is worth, if that is enough.
    pub fn error_rate(&self, now: Duration) -> Option<(f32, f32)> {
        let outcomes = load(&self.outcomes) * fading(age(&self.heard, now), FORGIVEN_AFTER);
        (outcomes >= LEAST_OUTCOMES).then(|| (load(&self.errors), outcomes))
    }

    /// Seconds for each request there, the next one included.
    pub fn cost(&self) -> f32 {
        load(&self.cost)
    }

    /// Seconds that its errors are worth.
    pub fn price(&self) -> f32 {
        load(&self.price)
    }

    /// For how long, in seconds, nothing has come while something was waited for. Means something only while it has requests.
    /// `now` in nanoseconds since the process began.
    pub fn silence(&self, now: u64) -> f32 {
        let waiting = self.waiting.load(Relaxed);
        match waiting > self.heard.load(Relaxed) {
            true => now.saturating_sub(waiting) as f32 * 1e-9,
            false => 0.0,
        }
    }

    /// When a request last went there, in nanoseconds since the process began.
    pub fn last_picked(&self) -> u64 {
        self.picked.load(Relaxed)
    }

    /// Notes that the strategy picked it at `now`, in nanoseconds since the process began.
    pub fn picked(&self, now: u64) {
        self.picked.store(now, Relaxed);
    }
}

/// What one process tells the next of a backend.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Known {
    latency: f32,
    squares: f32,
    places: f32,
    samples: f32,
}

impl Delay {
    /// What it has shown, if that was lately.
    pub(crate) fn known(&self, now: Duration) -> Option<Known> {
        self.measured(now).map(|_| Known {
            latency: load(&self.latency),
            squares: load(&self.squares),
            places: load(&self.places),
            samples: self.samples(now),
        })
    }

    /// Goes on from what another process knew; from nothing if that makes no sense.
    pub(crate) fn recall(&self, known: &Known, now: Duration) {
        let Known {
            latency,
            squares,
            places,
            samples,
        } = *known;
        let values = [latency, squares, places, samples];
        if !values
            .iter()
            .all(|value| value.is_finite() && *value >= 0.0)
        {
            return;
        }
        store(&self.latency, latency);
        store(&self.squares, squares);
        store(&self.places, places);
        store(&self.samples, samples.min(SAMPLES));
        self.answered.store(now.as_nanos() as u64, Relaxed);
    }
}

/// What is usual in a pool, from what its backends measured of themselves: their costs, and their rates of errors with what those
/// are worth. The cost is the mean; the errors are those of the better half, because where most fail, failing must not
/// count as usual.
pub fn usual(shown: &[Shown], errors: &mut [(f32, f32)], before: Usual) -> Usual {
    let (cost, latency, doubt) = match shown.len() {
        0 => (before.cost, before.latency, before.doubt),
        count => {
            let mean = |of: fn(&Shown) -> f32| shown.iter().map(of).sum::<f32>() / count as f32;
            let cost = mean(|shown| shown.cost);
            (cost, mean(|shown| shown.latency), doubt(shown, cost))
        }
    };
    errors.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let better = &errors[..errors.len().div_ceil(2)];
    let weight: f32 = better.iter().map(|(_, outcomes)| outcomes).sum();
    let failed: f32 = better.iter().map(|(rate, outcomes)| rate * outcomes).sum();
    Usual {
        cost,
        latency,
        doubt,
        errors: if weight > 0.0 { failed / weight } else { 0.0 },
    }
}

/// How many samples the mean is worth: the variance of one sample by that of the backends, once what chance alone makes of them
/// is taken off (empirical Bayes: Efron & Morris 1973). Backends that differ for sure speak for themselves.
fn doubt(shown: &[Shown], mean: f32) -> f32 {
    let count = shown.len() as f32;
    if count < 2.0 {
        return LEAST_DOUBT;
    }
    let sum = |of: fn(&Shown) -> f32| shown.iter().map(of).sum::<f32>();
    let squares = shown.iter().map(|shown| (shown.cost / mean - 1.0).powi(2));
    let between = squares.sum::<f32>() / (count - 1.0);
    let by_chance = sum(|shown| shown.variance / shown.samples) / count;
    let one_sample = sum(|shown| shown.variance) / count;
    let real = (between - by_chance).max(f32::MIN_POSITIVE);
    (one_sample.max(LEAST_VARIANCE) / real).clamp(LEAST_DOUBT, MOST_DOUBT)
}

/// Seconds since `then`.
fn age(then: &AtomicU64, now: Duration) -> f32 {
    let age = (now.as_nanos() as u64).saturating_sub(then.load(Relaxed));
    age as f32 * 1e-9
}

/// What is left of knowledge of this age: e to the minus `age / time`, by the first terms of its series.
fn fading(age: f32, time: f32) -> f32 {
    let x = age / time;
    1.0 / (1.0 + x * (1.0 + x * (0.5 + x / 6.0)))
}

fn load(fraction: &AtomicU32) -> f32 {
    f32::from_bits(fraction.load(Relaxed))
}

fn store(fraction: &AtomicU32, value: f32) {
    fraction.store(value.to_bits(), Relaxed);
}

fn move_by(average: &AtomicU32, sample: f32, share: f32) {
    let now = load(average);
    store(average, now + (sample - now) * share);
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// `count` answers of `took` each, one after the other from `from` on, each sent when `ahead` others were there.
    fn feed(delay: &Delay, count: u32, took: Duration, ahead: u32, from: Duration) -> Duration {
        let mut now = from;
        for _ in 0..count {
            now += took;
            delay.answered(took, ahead, now);
        }
        now
    }

    /// A pool whose backends were measured, and answer fast.
    fn measured(cost: f32) -> Usual {
        Usual {
            cost,
            latency: 0.001,
            ..Usual::default()
        }
    }

    #[test]
    fn nobody_is_first_or_last_for_being_measured_first() {
        let delay = Delay::default();
        feed(&delay, 300, 100 * MS, 0, Duration::ZERO);
        assert_eq!(delay.cost(), Delay::default().cost());
    }

    #[test]
    fn cost_of_a_place_tells_speed_and_width_alike() {
        let (fast, wide) = (Delay::default(), Delay::default());
        // One serves in 5 ms one at a time with one waiting; the other in 20 ms, eight at a time.
        for delay in [&fast, &wide] {
            delay.compare(&measured(0.002), 1, Duration::ZERO);
        }
        feed(&fast, 300, 10 * MS, 1, Duration::ZERO);
        feed(&wide, 300, 20 * MS, 7, Duration::ZERO);
        assert!((fast.cost() / 0.005 - 1.0).abs() < 0.1, "{}", fast.cost());
        assert!((wide.cost() / 0.0025 - 1.0).abs() < 0.1, "{}", wide.cost());
    }

    #[test]
    fn knowledge_fades_to_what_is_typical() {
        let delay = Delay::default();
        let now = feed(&delay, 300, 100 * MS, 0, Duration::ZERO);
        let usual = measured(0.010);
        delay.compare(&usual, 1, now);
        assert!(delay.cost() > 0.08, "{}", delay.cost());
        delay.compare(&usual, 1, now + Duration::from_secs(60));
        assert!(delay.cost() < 0.025, "{}", delay.cost());
    }

    #[test]
    fn unmeasured_backend_is_presumed_to_be_what_its_weight_says() {
        let delay = Delay::default();
        delay.compare(
            &Usual {
                cost: 0.04,
                ..Usual::default()
            },
            4,
            Duration::ZERO,
        );
        assert_eq!(delay.cost(), 0.01);
        assert_eq!(delay.measured(Duration::ZERO), None);
    }

    #[test]
    fn errors_cost_when_they_are_more_than_usual_and_more_than_chance() {
        let usual = |errors: f32| Usual {
            cost: 0.01,
            errors,
            ..Usual::default()
        };
        let failing = |errors: f32, of: u32| {
            let delay = Delay::default();
            delay.compare(&usual(errors), 1, Duration::ZERO);
            for step in 0..50 {
                match step % 10 < of {
                    true => delay.failed(step * MS),
                    false => delay.answered(MS, 0, step * MS),
                }
            }
            delay
        };
        assert!(failing(0.0, 10).price() > 0.5);
        assert!(failing(0.0, 3).price() > 0.1);
        assert_eq!(failing(0.3, 3).price(), 0.0, "as the others");
        assert_eq!(failing(0.0, 0).price(), 0.0);
        let delay = failing(0.0, 10);
        delay.forget();
        assert_eq!((delay.price(), delay.cost()), (0.0, 0.01));
        let delay = failing(0.0, 10);
        delay.compare(&usual(0.0), 1, Duration::from_secs(60));
        assert!(delay.price() < 0.01, "forgiven");
    }

    #[test]
    fn silence_counts_from_the_first_request_that_waits() {
        let delay = Delay::default();
        delay.sent(0, 10 * MS);
        delay.sent(1, 15 * MS);
        let silent = |at: u32| (delay.silence(u64::from(at) * 1_000_000) * 1e3).round();
        assert_eq!(silent(30), 20.0);
        delay.answered(10 * MS, 0, 20 * MS);
        assert_eq!(
            silent(30),
            0.0,
            "a body that is on its way is not waited for"
        );
        delay.sent(1, 40 * MS);
        assert_eq!(silent(50), 10.0);
        delay.heard(75 * MS);
        assert_eq!(silent(80), 0.0, "an error is an answer too");
        // The next finds nobody there.
        delay.sent(0, 90 * MS);
        assert_eq!(silent(91), 1.0);
    }

    #[test]
    fn next_process_goes_on_from_what_was_known() {
        let (before, after) = (Delay::default(), Delay::default());
        let now = feed(&before, 300, 10 * MS, 1, Duration::ZERO);
        let known = serde_json::to_string(&before.known(now)).unwrap();
        let known: Option<Known> = serde_json::from_str(&known).unwrap();
        after.recall(&known.unwrap(), now);
        assert_eq!(after.measured(now), before.measured(now));
        assert_eq!(Delay::default().known(now), None);
    }

    fn shown(cost: f32) -> Shown {
        let (latency, samples, variance) = (0.1, 100.0, 1.0);
        Shown {
            cost,
            latency,
            samples,
            variance,
        }
    }

    #[test]
    fn who_answers_as_fast_with_less_is_not_dearer() {
        let cost = |usual_latency: f32| {
            let delay = Delay::default();
            let now = feed(&delay, 300, 10 * MS, 0, Duration::ZERO);
            let usual = Usual {
                cost: 0.003,
                latency: usual_latency,
                ..Usual::default()
            };
            delay.compare(&usual, 1, now);
            delay.cost()
        };
        assert!((cost(0.010) - 0.003).abs() < 1e-4, "{}", cost(0.010));
        assert!(cost(0.005) > 0.008, "it is twice as slow");
    }

    #[test]
    fn what_chance_explains_is_doubted() {
        let doubt = |costs: [f32; 3]| usual(&costs.map(shown), &mut [], Usual::default()).doubt;
        // A hundred samples of that variance err by a tenth.
        assert_eq!(doubt([0.010, 0.011, 0.009]), MOST_DOUBT);
        assert_eq!(doubt([0.010, 0.020, 0.040]), LEAST_DOUBT);
        let some = doubt([0.010, 0.0122, 0.0078]);
        assert!((LEAST_DOUBT..MOST_DOUBT).contains(&some), "{some}");
    }

    #[test]
    fn better_half_says_what_is_usual() {
        let before = Usual::default();
        let mut errors = [(1.0, 50.0), (0.02, 50.0), (0.0, 50.0), (0.9, 10.0)];
        let usual = usual(&[shown(0.01), shown(0.03)], &mut errors, before);
        assert!((usual.cost - 0.02).abs() < 1e-6 && (usual.errors - 0.01).abs() < 1e-6);
        assert_eq!(super::usual(&[], &mut [], before), before);
    }
}
