//! Strategies: which backend gets the next request.
//!
//! Called by the proxy once per attempt. A strategy is a pure function of the pool, the live load, the time and the
//! randomness that it is handed: it reads no clock, does no I/O, takes no lock and allocates nothing. That is what lets the
//! same code run under real traffic, in a test and in a simulation. Each algorithm is one file; adding one means adding its
//! name to [`Name`] and a line to [`build`].

mod bound;
mod built;
mod consistent_hash;
mod explain;
mod fastest_response_time;
#[cfg(test)]
mod hashed;
mod key;
mod least_connections;
mod least_delay;
mod maglev;
mod peak_ewma;
mod power_of_two;
mod random;
mod round_robin;
mod weighted;
mod weighted_round_robin;

pub use built::Built;
pub use consistent_hash::ConsistentHash;
pub use explain::{Choice, Explanation, Term};
pub use fastest_response_time::FastestResponseTime;
pub use key::key;
pub use least_connections::LeastConnections;
pub(crate) use least_delay::{ALIKE, LEFT_OUT};
pub use least_delay::{LeastDelay, Prediction};
pub use maglev::Maglev;
pub use peak_ewma::PeakEwma;
pub use power_of_two::PowerOfTwo;
pub use random::Random;
pub use round_robin::RoundRobin;
pub use weighted::Weighted;
pub use weighted_round_robin::WeightedRoundRobin;

use crate::backend::Backend;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use thiserror::Error;

/// The backends that may be picked, as the control task last published them. Every one of them is eligible, so a pick
/// filters nothing.
#[derive(Debug)]
pub struct Pool {
    backends: Box<[Arc<Backend>]>,
    weights: Box<[u32]>,
    /// `None` where all are equal.
    shares: Option<Box<[u32]>>,
}

impl Pool {
    /// A pool of backends with their weights as configured; a weight is at least 1. Of each, as much counts as its share says
    /// at this moment (slow start, degraded).
    pub fn new(members: impl IntoIterator<Item = (Arc<Backend>, u32)>) -> Self {
        let (backends, weights): (Vec<_>, Vec<_>) = members
            .into_iter()
            .map(|(backend, weight)| (backend, weight.max(1)))
            .unzip();
        let shares: Box<[u32]> = backends
            .iter()
            .map(|backend: &Arc<Backend>| backend.share())
            .collect();
        let alike = shares.windows(2).all(|pair| pair[0] == pair[1]);
        let effective = |(weight, share): (u32, &u32)| if alike { weight } else { weight * share };
        Pool {
            backends: backends.into(),
            weights: weights.into_iter().zip(&shares).map(effective).collect(),
            shares: (!alike).then_some(shares),
        }
    }

    /// How many backends there are.
    pub fn len(&self) -> usize {
        self.backends.len()
    }

    /// No backend may be picked.
    pub fn is_empty(&self) -> bool {
        self.backends.is_empty()
    }

    /// In the configuration's order.
    pub fn backends(&self) -> &[Arc<Backend>] {
        &self.backends
    }

    /// One effective weight a backend, in the same order. Only their proportions mean something.
    pub fn weights(&self) -> &[u32] {
        &self.weights
    }

    /// How much of each backend's weight counts, for strategies that know no weights; `None` where all are equal.
    pub fn shares(&self) -> Option<&[u32]> {
        self.shares.as_deref()
    }
}

/// What a pick may use besides the pool.
#[derive(Debug)]
pub struct PickContext<'c> {
    /// Time since the process began.
    pub now: Duration,
    /// The shard's own generator, seeded apart from the others so that shards do not walk in step.
    pub rng: &'c mut fastrand::Rng,
    /// What the request is recognised by, hashed, where the strategy goes by that.
    pub key: Option<u64>,
}

/// One algorithm.
pub trait Strategy: fmt::Debug + Send + Sync {
    /// The index in `pool` of the backend for the next request. The pool is never empty, and is the one that this strategy
    /// was built for.
    fn pick(&self, pool: &Pool, context: &mut PickContext<'_>) -> usize;

    /// What it goes by now, of each backend in the pool's order; the last term is what is compared, if anything is. Changes
    /// nothing; may allocate. Cost: O(n), so that a shard that has requests to serve may ask.
    fn terms(&self, pool: &Pool, context: &PickContext<'_>) -> Vec<Vec<Term>>;

    /// What it would pick now, and why. Changes nothing; may allocate. Cost: up to O(n^2).
    fn explain(&self, pool: &Pool, context: &PickContext<'_>) -> Explanation;
}

/// A place in a rotation, shared by all shards and kept over reloads, so that the order is exact for whoever counts.
/// Alone on its cache lines: it is written on every pick.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Cursor(AtomicUsize);

impl Cursor {
    /// A rotation that goes on from `place`.
    pub fn at(place: usize) -> Self {
        Cursor(AtomicUsize::new(place))
    }

    /// The place that the next caller gets.
    pub fn place(&self) -> usize {
        self.0.load(Relaxed)
    }

    /// The present place; the next caller gets the one after it.
    pub fn advance(&self) -> usize {
        self.0.fetch_add(1, Relaxed)
    }
}

/// The strategies that a configuration may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Name {
    /// Each backend in turn.
    #[default]
    RoundRobin,
    /// Each backend in turn, as often as its weight says, spread evenly.
    WeightedRoundRobin,
    /// Any backend, with equal chance.
    Random,
    /// Any backend, with a chance in proportion to its weight.
    Weighted,
    /// The fewest requests in flight for its weight.
    LeastConnections,
    /// The least expected time: average time to first byte, times the requests it would then have in flight.
    FastestResponseTime,
    /// The less busy of two drawn at random.
    PowerOfTwo,
    /// The better of two drawn at random, by the worst recent time to first byte and the requests in flight.
    PeakEwma,
    /// Equal keys to the same backend; when one comes or goes, no other keys move.
    ConsistentHash,
    /// The same, spread more evenly, with a few more that move.
    Maglev,
    /// The shortest predicted delay: what each backend has shown, what is in flight there, how long it has been silent.
    LeastDelay,
    /// Whatever the engine finds best: `least_delay`, unless there is a reason.
    Adaptive,
}

impl Name {
    /// Every strategy, in the order in which the documentation lists them.
    pub const ALL: [Name; 12] = [
        Name::RoundRobin,
        Name::WeightedRoundRobin,
        Name::Random,
        Name::Weighted,
        Name::LeastConnections,
        Name::FastestResponseTime,
        Name::PowerOfTwo,
        Name::PeakEwma,
        Name::LeastDelay,
        Name::Adaptive,
        Name::ConsistentHash,
        Name::Maglev,
    ];

    /// As written in configurations, the API and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Name::RoundRobin => "round_robin",
            Name::WeightedRoundRobin => "weighted_round_robin",
            Name::Random => "random",
            Name::Weighted => "weighted",
            Name::LeastConnections => "least_connections",
            Name::FastestResponseTime => "fastest_response_time",
            Name::PowerOfTwo => "power_of_two",
            Name::PeakEwma => "peak_ewma",
            Name::ConsistentHash => "consistent_hash",
            Name::Maglev => "maglev",
            Name::LeastDelay => "least_delay",
            Name::Adaptive => "adaptive",
        }
    }

    /// It picks by [`PickContext::key`].
    pub fn wants_key(self) -> bool {
        matches!(self, Name::ConsistentHash | Name::Maglev)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl serde::Serialize for Name {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> serde::Deserialize<'de> for Name {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        word.parse().map_err(serde::de::Error::custom)
    }
}

/// Why a word names no strategy.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum UnknownStrategy {
    /// A word that means nothing here.
    #[error("unknown strategy `{word}`{}; known are {}", did_you_mean(.word), known())]
    Unknown {
        /// What was written.
        word: String,
    },
}

fn known() -> String {
    Name::ALL.map(Name::as_str).join(", ")
}

fn did_you_mean(word: &str) -> String {
    lemonade_config::suggest(word, Name::ALL.iter().map(|name| name.as_str()))
        .map(|name| format!(" (did you mean `{name}`?)"))
        .unwrap_or_default()
}

impl FromStr for Name {
    type Err = UnknownStrategy;

    fn from_str(word: &str) -> Result<Self, UnknownStrategy> {
        let plain = word.trim().replace('-', "_").to_ascii_lowercase();
        if let Some(name) = Name::ALL.into_iter().find(|name| name.as_str() == plain) {
            return Ok(name);
        }
        let word = word.to_owned();
        Err(UnknownStrategy::Unknown { word })
    }
}

/// What a configuration may say of a strategy besides its name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// How far above its fair share of the requests in flight a backend may go before its keys go to another: for those that
    /// pick by a key. Default 1.25, 1.01 to 100; `None` is `off`.
    pub bounded_load: Option<f64>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            bounded_load: Some(1.25),
        }
    }
}

/// [`build_with`] the default options.
pub fn build(name: Name, pool: &Pool, cursor: &Arc<Cursor>) -> Arc<dyn Strategy> {
    build_with(name, pool, cursor, &Options::default())
}

/// The strategy of this name for this pool. `cursor` is the balancer's one place in the rotation: it goes from strategy to
/// strategy and from reload to reload.
pub fn build_with(
    name: Name,
    pool: &Pool,
    cursor: &Arc<Cursor>,
    options: &Options,
) -> Arc<dyn Strategy> {
    match name {
        // Blind to weights, not to a slow start.
        Name::RoundRobin => match pool.shares() {
            None => Arc::new(RoundRobin::new(cursor.clone())),
            Some(shares) => Arc::new(WeightedRoundRobin::new(shares, cursor.clone())),
        },
        Name::WeightedRoundRobin => {
            Arc::new(WeightedRoundRobin::new(pool.weights(), cursor.clone()))
        }
        Name::Random => match pool.shares() {
            None => Arc::new(Random),
            Some(shares) => Arc::new(Weighted::new(shares)),
        },
        Name::Weighted => Arc::new(Weighted::new(pool.weights())),
        Name::LeastConnections => Arc::new(LeastConnections::new(cursor.clone())),
        Name::FastestResponseTime => Arc::new(FastestResponseTime::new(cursor.clone())),
        Name::PowerOfTwo => Arc::new(PowerOfTwo),
        Name::PeakEwma => Arc::new(PeakEwma),
        Name::ConsistentHash => Arc::new(ConsistentHash::new(pool, options.bounded_load)),
        Name::Maglev => Arc::new(Maglev::new(pool, options.bounded_load)),
        Name::LeastDelay | Name::Adaptive => Arc::new(LeastDelay),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::backend::{BackendId, InFlight};
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    pub(crate) fn pool(weights: &[u32]) -> Pool {
        Pool::new(weights.iter().enumerate().map(|(index, weight)| {
            let address = format!("127.0.0.1:{}", 10_000 + index).parse().unwrap();
            (Backend::new(BackendId::new(address), 1), *weight)
        }))
    }

    /// Picks `count` times, each request in flight until `in_flight` later ones were picked; how often each was picked.
    pub(crate) fn shares(
        strategy: &dyn Strategy,
        pool: &Pool,
        count: usize,
        in_flight: usize,
        seed: u64,
    ) -> Vec<usize> {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut shares = vec![0; pool.len()];
        let mut flying = std::collections::VecDeque::<InFlight>::new();
        for step in 0..count {
            let now = Duration::from_micros(step as u64 * 100);
            let picked = strategy.pick(
                pool,
                &mut PickContext {
                    now,
                    rng: &mut rng,
                    key: None,
                },
            );
            shares[picked] += 1;
            flying.push_back(pool.backends()[picked].begin());
            if flying.len() > in_flight {
                flying.pop_front();
            }
        }
        shares
    }

    #[test]
    fn names_parse_and_mistakes_are_explained() {
        for name in Name::ALL {
            assert_eq!(name.as_str().parse(), Ok(name));
        }
        let message = "round_robbin".parse::<Name>().unwrap_err().to_string();
        assert!(message.contains("did you mean `round_robin`?"), "{message}");
    }

    proptest! {
        /// What is explained is what happens next.
        #[test]
        fn explanation_names_who_is_picked(
            weights in proptest::collection::vec(1u32..6, 1..9),
            busy in proptest::collection::vec(0u32..9, 9),
            seed in any::<u64>(),
        ) {
            for name in Name::ALL {
                let pool = pool(&weights);
                for (backend, count) in pool.backends().iter().zip(&busy) {
                    backend.load.set_in_flight(*count);
                }
                let strategy = build(name, &pool, &Arc::new(Cursor::at(seed as usize % 100)));
                let mut rng = fastrand::Rng::with_seed(seed);
                for step in 0..20 {
                    let now = Duration::from_millis(step);
                    let mut context = PickContext { now, rng: &mut rng, key: Some(seed ^ step) };
                    let explained = strategy.explain(&pool, &context);
                    let picked = strategy.pick(&pool, &mut context);
                    prop_assert!(explained.choice.chance(picked) > 0.0, "{name}: {explained:?}, {picked}");
                    let all: f64 = (0..pool.len()).map(|place| explained.choice.chance(place)).sum();
                    prop_assert!((all - 1.0).abs() < 1e-6, "{name}: {all}");
                    prop_assert_eq!(explained.terms.len(), pool.len());
                }
            }
        }

        /// No equal backend gets under half its fair share, under any strategy.
        #[test]
        fn equal_backends_get_at_least_half_their_share(
            size in 1usize..12,
            in_flight in 0usize..20,
            seed in any::<u64>(),
        ) {
            for name in Name::ALL {
                let pool = pool(&vec![1; size]);
                let strategy = build(name, &pool, &Arc::default());
                let count = 400 * size;
                for share in shares(&*strategy, &pool, count, in_flight, seed) {
                    prop_assert!(share >= 200, "{name}: {share} of {count} over {size}");
                }
            }
        }

        /// The same when their times to first byte are noise around one mean (exponential service times).
        #[test]
        fn noise_in_latency_starves_no_equal_backend(size in 2usize..8, seed in any::<u64>()) {
            // A peak is remembered for longer than this lasts, and nothing is in flight here: `peak_ewma` has its own.
            for name in Name::ALL.into_iter().filter(|name| *name != Name::PeakEwma) {
                let pool = pool(&vec![1; size]);
                let strategy = build(name, &pool, &Arc::default());
                let mut rng = fastrand::Rng::with_seed(seed);
                let mut shares = vec![0; size];
                let count = 1000 * size;
                for step in 0..count {
                    let now = Duration::from_millis(step as u64);
                    let picked = strategy.pick(&pool, &mut PickContext { now, rng: &mut rng, key: None });
                    shares[picked] += 1;
                    let took = Duration::from_secs_f64(-0.01 * (1.0 - rng.f64()).ln());
                    pool.backends()[picked].load.latency.record(took, now);
                    pool.backends()[picked].load.peak.record(took, now);
                }
                // Half of its part is rare but possible; a third would be starving.
                for share in shares {
                    prop_assert!(share >= 333, "{name}: {share} of {count} over {size}");
                }
            }
        }
    }
}
