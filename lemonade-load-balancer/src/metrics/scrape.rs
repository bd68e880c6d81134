//! One reading: the sum of what the shards counted, with the levels of the moment.

use super::{Family, Kind, Sample, Text, Times, Value, process, recorded};
use crate::backend::{FULL_SHARE, UNLIMITED};
use crate::snapshot::{Member, Published, SourceStatus};
use crate::stats::times::Counted;
use crate::stats::{RequestStats, ShardStats, StatusClass, names};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::SystemTime;

/// Where the numbers are.
#[derive(Clone, Debug)]
pub(crate) struct Sources {
    pub(crate) published: Published,
    pub(crate) shards: Arc<[Arc<RequestStats>]>,
    pub(crate) connections: Arc<AtomicU32>,
    pub(crate) queue: Arc<AtomicU32>,
    /// Access log lines dropped.
    pub(crate) log_dropped: Arc<AtomicU64>,
    /// When counting began.
    pub(crate) since: SystemTime,
}

/// Reads everything. Cost: linear in backends times shards; 1,000 backends on two shards take a few milliseconds, on the
/// caller's thread.
pub(crate) fn scrape(sources: &Sources) -> Vec<Family> {
    let snapshot = sources.published.load();
    let mut families = requests(sources);
    families.extend(backends(&snapshot.members));
    families.extend([
        alone(
            names::PANIC,
            "1 while backends are picked that are not usable",
            Sample::level(Vec::new(), u32::from(snapshot.panic.is_some())),
        ),
        alone(
            names::QUEUE_DEPTH,
            "Requests that wait for a backend with room",
            Sample::level(Vec::new(), sources.queue.load(Relaxed)),
        ),
        alone(
            names::STRATEGY,
            "1 for the strategy that picks",
            Sample::level(one("strategy", snapshot.picks_by.as_str()), 1),
        ),
        alone(
            names::BUILD,
            "1, with the version as a label",
            Sample::level(one("version", env!("CARGO_PKG_VERSION")), 1),
        ),
        alone(
            names::ACCESS_LOG_DROPPED,
            "Access log lines dropped because the writer was behind or the disk full",
            Sample::count(Vec::new(), sources.log_dropped.load(Relaxed)),
        ),
        alone(
            names::CONNECTIONS_LIMIT,
            "Client connections that may be open at once",
            Sample::level(Vec::new(), snapshot.config.limits.max_connections),
        ),
        alone(
            names::QUEUE_LIMIT,
            "Requests that may wait at once",
            Sample::level(Vec::new(), snapshot.config.limits.max_queued),
        ),
        Family::new(
            Kind::Gauge,
            names::SOURCE_UP,
            "1 if this source of backends besides the file can be asked",
            snapshot.sources.iter().map(source).collect(),
        ),
    ]);
    families.extend(process::read());
    families.extend(recorded::parse(
        &lemonade_observability::prometheus::render(),
    ));
    families
}

fn source(status: &SourceStatus) -> Sample {
    let labels = vec![("source".into(), status.source.to_string().into())];
    Sample::level(labels, u8::from(status.away.is_none()))
}

/// A family of one series.
fn alone(name: &'static str, help: &'static str, sample: Sample) -> Family {
    let kind = match sample.value {
        Value::Count(_) => Kind::Counter,
        Value::Level(_) => Kind::Gauge,
        Value::Times(_) => Kind::Histogram,
    };
    Family::new(kind, name, help, vec![sample])
}

fn one(name: &'static str, value: &'static str) -> Vec<(Text, Text)> {
    vec![(name.into(), value.into())]
}

fn requests(sources: &Sources) -> Vec<Family> {
    let shards = &sources.shards;
    let sum = |of: &dyn Fn(&RequestStats) -> &AtomicU64| -> u64 {
        shards.iter().map(|shard| of(shard).load(Relaxed)).sum()
    };
    let classes = StatusClass::LABELS.iter().enumerate();
    let answered = classes.map(|(class, label)| {
        let count = sum(&|shard| &shard.responses[class]);
        Sample::count(one("class", label), count)
    });
    let refused = [3, 4].map(|class| {
        let count = sum(&|shard| &shard.refused[class]);
        Sample::count(one("class", StatusClass::LABELS[class]), count)
    });
    let durations = times(
        Vec::new(),
        Counted::sum(shards.iter().map(|shard| &shard.duration)),
        sum(&|shard| &shard.duration.sum),
    );
    let mut families = vec![
        Family::new(
            Kind::Counter,
            names::REQUESTS,
            "Requests answered, by status class",
            answered.collect(),
        ),
        alone(
            names::REQUEST_DURATION,
            "From a request's head to the last byte of its answer",
            durations,
        ),
        Family::new(
            Kind::Counter,
            names::REFUSED,
            "Requests refused before a backend was chosen, by status class",
            refused.into(),
        ),
        alone(
            names::CONNECTIONS,
            "Client connections open",
            Sample::level(Vec::new(), sources.connections.load(Relaxed)),
        ),
    ];
    type Counter = fn(&RequestStats) -> &AtomicU64;
    let counters: [(&str, &str, Counter); 11] = [
        (
            names::OVERFLOW,
            "Requests answered 503 because no backend had room",
            |shard| &shard.shed,
        ),
        (
            names::RETRIES_REFUSED,
            "Retries that the budget did not allow",
            |shard| &shard.retries_refused,
        ),
        (names::HEDGES, "Requests that were sent twice", |shard| {
            &shard.hedges
        }),
        (
            names::HEDGES_WON,
            "Requests that the second copy answered",
            |shard| &shard.hedges_won,
        ),
        (
            names::STICKY_IGNORED,
            "Requests whose sticky cookie was not ours, or too old",
            |shard| &shard.sticky_ignored,
        ),
        (
            names::STICKY_MOVED,
            "Attempts at another backend than the one that the request's sticky cookie names",
            |shard| &shard.sticky_moved,
        ),
        (
            names::PICKS_DROPPED,
            "Sampled picks that were not kept, because more were sampled than 256 a second",
            |shard| &shard.drafts_dropped,
        ),
        (
            names::CONNECTIONS_TOTAL,
            "Client connections accepted",
            |shard| &shard.connections,
        ),
        (
            names::CONNECTIONS_TURNED_AWAY,
            "Client connections turned away at max_connections",
            |shard| &shard.turned_away,
        ),
        (
            names::CONNECTIONS_OVER_CLIENT_LIMIT,
            "Client connections turned away at max_connections_per_client",
            |shard| &shard.over_client_limit,
        ),
        (
            names::PANICS,
            "Tasks, of a connection most often, that ended because the program has a fault",
            |shard| &shard.panics,
        ),
    ];
    families.extend(
        counters.map(|(name, help, of)| alone(name, help, Sample::count(Vec::new(), sum(&of)))),
    );
    families
}

fn backends(members: &[Member]) -> Vec<Family> {
    let answers = members.iter().flat_map(|member| {
        let classes = StatusClass::LABELS.iter().enumerate();
        classes.map(|(class, label)| {
            let mut labels = backend(member);
            labels.push(("class".into(), (*label).into()));
            Sample::count(labels, sum(member, &|shard| &shard.responses[class]))
        })
    });
    let durations = members.iter().map(|member| {
        times(
            backend(member),
            Counted::sum(member.live.stats.iter().map(|shard| &shard.latency)),
            sum(member, &|shard| &shard.latency.sum),
        )
    });
    let mut families = vec![
        Family::new(
            Kind::Counter,
            names::BACKEND_REQUESTS,
            "Answers of a backend, by status class",
            answers.collect(),
        ),
        Family::new(
            Kind::Histogram,
            names::BACKEND_DURATION,
            "From the request's sending to the first byte of the backend's answer",
            durations.collect(),
        ),
    ];
    type Counter = fn(&ShardStats) -> &AtomicU64;
    let counters: [(&str, &str, Counter); 5] = [
        (
            names::BACKEND_FAULTS,
            "Attempts that failed by the backend's fault",
            |shard| &shard.faults,
        ),
        (
            names::BACKEND_CONNECT_FAILURES,
            "Attempts for which no connection could be made",
            |shard| &shard.connect_failures,
        ),
        (
            names::BACKEND_FAILURES,
            "Attempts that brought no usable answer",
            |shard| &shard.failures,
        ),
        (
            names::BACKEND_RETRIES,
            "Attempts that failed and were made again, there or elsewhere",
            |shard| &shard.retries,
        ),
        (
            names::BACKEND_CONNECTIONS,
            "Connections opened to a backend",
            |shard| &shard.connections,
        ),
    ];
    families.extend(counters.map(|(name, help, of)| {
        let samples = members.iter();
        let samples = samples.map(|member| Sample::count(backend(member), sum(member, &of)));
        Family::new(Kind::Counter, name, help, samples.collect())
    }));
    let ejections = members.iter();
    let ejections =
        ejections.map(|member| Sample::count(backend(member), member.live.ejections.load(Relaxed)));
    families.push(Family::new(
        Kind::Counter,
        names::BACKEND_EJECTIONS,
        "How often it was ejected",
        ejections.collect(),
    ));
    families.extend(levels(members));
    families
}

/// What backends are at the moment.
fn levels(members: &[Member]) -> Vec<Family> {
    type Level = fn(&Member) -> Option<f64>;
    let levels: [(&str, &str, Level); 4] = [
        (
            names::BACKEND_LIMIT,
            "Requests that it takes at once",
            |member| {
                let limit = member.live.load.limit();
                (limit != UNLIMITED).then_some(f64::from(limit))
            },
        ),
        (names::BACKEND_IN_FLIGHT, "Requests in flight", |member| {
            Some(f64::from(member.live.load.in_flight()))
        }),
        (
            names::BACKEND_UP,
            "1 if the backend is healthy or degraded",
            |member| Some(f64::from(u8::from(member.live.state.get().is_usable()))),
        ),
        (
            names::BACKEND_WEIGHT,
            "The weight that strategies see",
            |member| {
                let weight = member.config.weight * member.live.share();
                Some(f64::from(weight) / f64::from(FULL_SHARE))
            },
        ),
    ];
    let families = levels.map(|(name, help, of)| {
        let samples = members.iter();
        let samples =
            samples.filter_map(|member| Some(Sample::level(backend(member), of(member)?)));
        Family::new(Kind::Gauge, name, help, samples.collect())
    });
    let states = members.iter().map(|member| {
        let mut labels = backend(member);
        labels.push(("state".into(), member.live.state.get().name().into()));
        Sample::level(labels, 1)
    });
    let states = Family::new(
        Kind::Gauge,
        names::BACKEND_STATE,
        "1 for the state that the backend is in",
        states.collect(),
    );
    families.into_iter().chain([states]).collect()
}

fn backend(member: &Member) -> Vec<(Text, Text)> {
    vec![("backend".into(), member.config.name.clone().into())]
}

fn sum(member: &Member, of: &dyn Fn(&ShardStats) -> &AtomicU64) -> u64 {
    member
        .live
        .stats
        .iter()
        .map(|shard| of(shard).load(Relaxed))
        .sum()
}

fn times(labels: Vec<(Text, Text)>, counted: Counted, sum_nanos: u64) -> Sample {
    let sum = sum_nanos as f64 / 1e9;
    let value = Value::Times(Box::new(Times { counted, sum }));
    Sample { labels, value }
}
