//! Scenarios: a pool of backends, the requests that come, and what goes wrong meanwhile.
//!
//! Read from a file by `lemonade simulate`, which plays them in simulated time, and by `lemonade bench`, which plays them with
//! real workers. Promise: a [`Scenario`] can be played; everything that may be wrong in a file is reported at once, with its
//! place. All times count from the beginning of the run.

mod check;
mod condition;
mod raw;

pub use condition::{Change, Cold, Condition, Failing};

use lemonade_config::{Document, Environment, Faults};
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

/// The most backends of a scenario.
pub const MAX_BACKENDS: usize = 1000;

/// The most requests that a scenario may ask for, on average.
pub const MAX_REQUESTS: f64 = 1e8;

/// What is played.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// The file's name without its extension.
    pub name: String,
    /// One sentence: what it shows. May be empty.
    pub about: String,
    /// Where all randomness begins. Default 1.
    pub seed: u64,
    /// How long requests come, the warm-up included: 1 s to 1 h. Default 60 s.
    pub duration: Duration,
    /// Requests that come earlier are played and not counted. Less than `duration`. Default none.
    pub warm_up: Duration,
    /// A client's patience: then it is an error. 1 ms to 10 min. Default 5 s.
    pub timeout: Duration,
    /// When requests come.
    pub arrivals: Arrivals,
    /// How much work a request is.
    pub cost: Cost,
    /// Balancers that know nothing of each other, or shards of one: 1 to 1000. Default 1.
    pub replicas: usize,
    /// The replicas are shards of one process.
    pub shared: bool,
    /// One entry a backend: groups are spelt out.
    pub backends: Vec<Backend>,
    /// Active checks, if there are any.
    pub health: Option<Health>,
    /// What goes wrong, and when.
    pub faults: Vec<Fault>,
    /// The share of requests that end in an error whoever serves them, 0 to 1. Default none.
    pub background_errors: f64,
}

/// One backend.
#[derive(Clone, Debug, PartialEq)]
pub struct Backend {
    /// Unique in the scenario. Default `b0`, `b1`, …
    pub name: String,
    /// 2 serves in half the time. 0.001 to 1000. Default 1.
    pub speed: f64,
    /// How many requests are worked on at once; others queue in order. 1 to 10,000. Default 1.
    pub workers: usize,
    /// As configured at the balancer: 1 to 65,535. Default 1.
    pub weight: u32,
}

impl Backend {
    /// Its share of a pool's work if all were equally busy, before it is divided by the pool's.
    pub fn capacity(&self) -> f64 {
        self.speed * self.workers as f64
    }
}

/// When requests come.
#[derive(Clone, Debug, PartialEq)]
pub struct Arrivals {
    /// How the gaps between requests vary.
    pub process: Process,
    /// Requests a second from the beginning, then from each step on. Never empty; begins at zero and ascends.
    pub steps: Vec<Step>,
    /// Many at once, from time to time.
    pub bursts: Option<Bursts>,
}

/// How the gaps between requests vary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Process {
    /// Independent clients: exponential gaps.
    #[default]
    Poisson,
    /// Equal gaps.
    Constant,
}

/// From a time on, so many requests a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Since the beginning.
    pub at: Duration,
    /// Requests a second.
    pub rate: f64,
}

/// Many at once, from time to time: first after `every`, so that a run begins calmly.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bursts {
    /// From one burst's beginning to the next one's.
    pub every: Duration,
    /// How long each lasts; less than `every`.
    pub lasts: Duration,
    /// The rate is so many times the usual one.
    pub times: f64,
}

impl Arrivals {
    /// Requests a second at a time.
    pub fn rate(&self, now: Duration) -> f64 {
        let reached = self.steps.partition_point(|step| step.at <= now);
        let usual = self.steps[reached.max(1) - 1].rate;
        match self.bursts {
            Some(bursts) if bursts.holds(now) => usual * bursts.times,
            _ => usual,
        }
    }

    /// When the rate changes next after a time, if ever.
    pub fn next_change(&self, now: Duration) -> Option<Duration> {
        let reached = self.steps.partition_point(|step| step.at <= now);
        let step = self.steps.get(reached).map(|step| step.at);
        let burst = self.bursts.map(|bursts| bursts.next_edge(now));
        step.into_iter().chain(burst).min()
    }

    /// How many requests come on average until a time.
    pub fn expected(&self, until: Duration) -> f64 {
        let mut sum = 0.0;
        let mut now = Duration::ZERO;
        while now < until {
            let next = self.next_change(now).unwrap_or(until).min(until);
            sum += self.rate(now) * (next - now).as_secs_f64();
            now = next;
        }
        sum
    }
}

impl Bursts {
    fn begin(&self, now: Duration) -> Duration {
        let round = now.as_nanos() / self.every.as_nanos();
        // As many rounds as there are nanoseconds in an hour fit.
        Duration::from_nanos_u128(round * self.every.as_nanos())
    }

    fn holds(&self, now: Duration) -> bool {
        now >= self.every && now - self.begin(now) < self.lasts
    }

    fn next_edge(&self, now: Duration) -> Duration {
        let begin = self.begin(now);
        match self.holds(now) {
            true => begin + self.lasts,
            false => begin + self.every,
        }
    }
}

/// How much work a request is, as the time that a backend of speed 1 takes for it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// On average: 1 µs to 1 min. Default 10 ms.
    pub mean: Duration,
    /// How it varies from request to request.
    pub distribution: Distribution,
}

/// How work varies from request to request. The mean is the same in all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Distribution {
    /// Every request is alike.
    Constant,
    /// Memoryless: standard deviation equal to the mean.
    #[default]
    Exponential,
    /// Skewed to the right.
    Lognormal {
        /// Standard deviation over mean: 0.01 to 20.
        cv: f64,
    },
    /// A heavy tail: a few requests are a large part of all work.
    Pareto {
        /// Above 1, up to 100; at 2 and below the variance has no bound.
        shape: f64,
    },
    /// Two kinds of requests.
    Bimodal {
        /// The share of expensive ones, 0 to 1.
        share: f64,
        /// How many times the cheap ones' cost they are.
        times: f64,
    },
}

/// Active checks: they see backends that crashed or hang, not those that are slow, paused or answer errors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Health {
    /// How often each backend is probed; probes of different backends are spread evenly. 10 ms to 10 min. Default 1 s.
    pub interval: Duration,
    /// Probes in a row that fail until it is called dead: 1 to 100. Default 2.
    pub fall: u32,
    /// Probes in a row that succeed until it is called alive again: 1 to 100. Default 1.
    pub rise: u32,
}

impl Default for Health {
    fn default() -> Self {
        Health {
            interval: Duration::from_secs(1),
            fall: 2,
            rise: 1,
        }
    }
}

/// Something that goes wrong, once or over and over.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// The first time.
    pub at: Duration,
    /// For how long each time; `None`: until the end.
    pub lasts: Option<Duration>,
    /// From one time to the next, if it comes back.
    pub every: Option<Duration>,
    /// Whom it befalls: indices of [`Scenario::backends`], ascending, none twice.
    pub backends: Vec<usize>,
    /// What it does.
    pub kind: Kind,
}

/// What a fault does to a backend.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Requests begun meanwhile take so many times as long: 0.001 to 10,000.
    Slow(f64),
    /// Requests are answered with an error, without doing the work.
    Fail(Failing),
    /// Nothing is begun or finished until the end, as in a collector's pause.
    Pause,
    /// Connections are refused; what was in flight fails.
    Crash,
    /// Requests are accepted and never answered, those in flight at the beginning included.
    Hang,
    /// Requests take `from` times as long at first, and less and less until they take as long as ever.
    Cold {
        /// 1 to 10,000. Default 10.
        from: f64,
        /// How long warming up takes. Default 10 s.
        over: Duration,
    },
}

impl Kind {
    /// As it is written in a file.
    pub fn as_str(&self) -> &'static str {
        match self {
            Kind::Slow(_) => "slow",
            Kind::Fail(_) => "fail",
            Kind::Pause => "pause",
            Kind::Crash => "crash",
            Kind::Hang => "hang",
            Kind::Cold { .. } => "cold",
        }
    }
}

impl Fault {
    /// The times at which it holds, before `end`.
    pub fn times(&self, end: Duration) -> impl Iterator<Item = Range<Duration>> {
        let ends = move |begin: Duration| match self.lasts {
            Some(lasts) => (begin + lasts).min(end),
            None => end,
        };
        let later = move |begin: &Duration| Some(*begin + self.every?);
        std::iter::successors(Some(self.at), later)
            .take_while(move |begin| *begin < end)
            .map(move |begin| begin..ends(begin))
    }
}

impl Scenario {
    /// Reads a YAML, TOML or JSON file, with every fault in it.
    pub fn load(path: &Path, environment: &Environment) -> Result<Scenario, Faults> {
        Scenario::decode(&Document::load(path, environment)?)
    }

    /// The same for a file that has been read.
    pub fn decode(document: &Document) -> Result<Scenario, Faults> {
        check::scenario(document)
    }

    /// Requests a second that the whole pool can serve at full speed.
    pub fn capacity(&self) -> f64 {
        let speeds: f64 = self.backends.iter().map(Backend::capacity).sum();
        speeds / self.cost.mean.as_secs_f64()
    }

    /// What the faults make of each backend, as a list of changes in the order of time. Before its first change a backend is
    /// well.
    pub fn changes(&self) -> Vec<Change> {
        condition::changes(&self.faults, self.backends.len(), self.duration)
    }

    /// The same pool and the same events in a shorter time: every time but those of single requests and health checks is
    /// divided. For tests.
    #[must_use]
    pub fn shortened(mut self, by: u32) -> Scenario {
        self.duration /= by;
        self.warm_up /= by;
        for step in &mut self.arrivals.steps {
            step.at /= by;
        }
        if let Some(bursts) = &mut self.arrivals.bursts {
            bursts.every /= by;
            bursts.lasts /= by;
        }
        for fault in &mut self.faults {
            fault.at /= by;
            fault.lasts = fault.lasts.map(|lasts| lasts / by);
            fault.every = fault.every.map(|every| every / by);
            if let Kind::Cold { over, .. } = &mut fault.kind {
                *over /= by;
            }
        }
        self
    }
}
