//! One scrape: the sum of what the shards counted, with the levels of the moment, as Prometheus text.

use crate::backend::{FULL_SHARE, UNLIMITED};
use crate::snapshot::{Member, Published};
use crate::stats::times::Counted;
use crate::stats::{BUCKETS, RequestStats, ShardStats, StatusClass, names};
use lemonade_observability::process::usage;
use lemonade_observability::prometheus::Exposition;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// Where the numbers are.
#[derive(Clone, Debug)]
pub(crate) struct Sources {
    pub(crate) published: Published,
    pub(crate) shards: Arc<[Arc<RequestStats>]>,
    pub(crate) connections: Arc<AtomicU32>,
    pub(crate) queue: Arc<AtomicU32>,
    /// Access log lines dropped.
    pub(crate) log_dropped: Arc<AtomicU64>,
}

/// Writes everything. Cost: linear in backends times shards; 1,000 backends on two shards take a few milliseconds, on the
/// admin's thread.
pub(crate) fn scrape(sources: &Sources) -> String {
    let mut text = Exposition::new();
    requests(sources, &mut text);
    backends(&sources.published.load().members, &mut text);
    let snapshot = sources.published.load();
    text.family(
        names::PANIC,
        "gauge",
        "1 while backends are picked that are not usable",
    );
    text.sample(names::PANIC, &[], u32::from(snapshot.panic.is_some()));
    text.family(
        names::QUEUE_DEPTH,
        "gauge",
        "Requests that wait for a backend with room",
    );
    text.sample(names::QUEUE_DEPTH, &[], sources.queue.load(Relaxed));
    text.family(names::STRATEGY, "gauge", "1 for the strategy that picks");
    text.sample(
        names::STRATEGY,
        &[("strategy", snapshot.picks_by.as_str())],
        1,
    );
    text.family(names::BUILD, "gauge", "1, with the version as a label");
    text.sample(names::BUILD, &[("version", env!("CARGO_PKG_VERSION"))], 1);
    text.family(
        names::ACCESS_LOG_DROPPED,
        "counter",
        "Access log lines dropped because the writer was behind or the disk full",
    );
    text.sample(
        names::ACCESS_LOG_DROPPED,
        &[],
        sources.log_dropped.load(Relaxed),
    );
    let limits = &snapshot.config.limits;
    let bounds = [
        (
            names::CONNECTIONS_LIMIT,
            "Client connections that may be open at once",
            limits.max_connections,
        ),
        (
            names::QUEUE_LIMIT,
            "Requests that may wait at once",
            limits.max_queued,
        ),
    ];
    for (name, help, bound) in bounds {
        text.family(name, "gauge", help);
        text.sample(name, &[], bound);
    }
    let help = "1 if this source of backends besides the file can be asked";
    text.family(names::SOURCE_UP, "gauge", help);
    for status in snapshot.sources.iter() {
        let labels = [("source", &*status.source.to_string())];
        text.sample(names::SOURCE_UP, &labels, u8::from(status.away.is_none()));
    }
    process(&mut text);
    text.append(&lemonade_observability::prometheus::render());
    text.into_string()
}

/// The figures that every process has, under the names that every Prometheus client gives them.
fn process(text: &mut Exposition) {
    let usage = usage();
    let figures = [
        (
            names::PROCESS_CPU,
            "counter",
            "Processor time in seconds, in user and kernel mode",
            usage.cpu.map(|cpu| cpu.as_secs_f64()),
        ),
        (
            names::PROCESS_MEMORY,
            "gauge",
            "Memory in RAM, in bytes",
            usage.resident_bytes.map(|bytes| bytes as f64),
        ),
        (
            names::PROCESS_DESCRIPTORS,
            "gauge",
            "Open file descriptors",
            usage.open_descriptors.map(|count| count as f64),
        ),
        (
            names::PROCESS_DESCRIPTORS_LIMIT,
            "gauge",
            "File descriptors that may be open at once",
            usage.descriptor_limit.map(|count| count as f64),
        ),
        (
            names::PROCESS_STARTED,
            "gauge",
            "When the process was started, in seconds since the Unix epoch",
            usage.started.map(|started| started.as_secs_f64()),
        ),
    ];
    for (name, kind, help, value) in figures {
        if let Some(value) = value {
            text.family(name, kind, help);
            text.sample(name, &[], value);
        }
    }
}

fn requests(sources: &Sources, text: &mut Exposition) {
    let shards = &sources.shards;
    let sum = |of: &dyn Fn(&RequestStats) -> &AtomicU64| -> u64 {
        shards.iter().map(|shard| of(shard).load(Relaxed)).sum()
    };
    text.family(
        names::REQUESTS,
        "counter",
        "Requests answered, by status class",
    );
    for (class, label) in StatusClass::LABELS.iter().enumerate() {
        text.sample(
            names::REQUESTS,
            &[("class", label)],
            sum(&|shard| &shard.responses[class]),
        );
    }
    text.family(
        names::REQUEST_DURATION,
        "histogram",
        "From a request's head to the last byte of its answer",
    );
    let counts = Counted::sum(shards.iter().map(|shard| &shard.duration)).coarse();
    histogram(
        text,
        names::REQUEST_DURATION,
        &[],
        &counts,
        sum(&|shard| &shard.duration.sum),
    );
    text.family(
        names::REFUSED,
        "counter",
        "Requests refused before a backend was chosen, by status class",
    );
    for class in [3, 4] {
        let labels = [("class", StatusClass::LABELS[class])];
        text.sample(names::REFUSED, &labels, sum(&|shard| &shard.refused[class]));
    }
    type Counter = fn(&RequestStats) -> &AtomicU64;
    text.family(names::CONNECTIONS, "gauge", "Client connections open");
    text.sample(names::CONNECTIONS, &[], sources.connections.load(Relaxed));
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
    for (name, help, of) in counters {
        text.family(name, "counter", help);
        text.sample(name, &[], sum(&of));
    }
}

fn backends(members: &[Member], text: &mut Exposition) {
    text.family(
        names::BACKEND_REQUESTS,
        "counter",
        "Answers of a backend, by status class",
    );
    for member in members {
        for (class, label) in StatusClass::LABELS.iter().enumerate() {
            let labels = [("backend", member.config.name.as_str()), ("class", label)];
            text.sample(
                names::BACKEND_REQUESTS,
                &labels,
                sum(member, &|shard| &shard.responses[class]),
            );
        }
    }
    let help = "From the request's sending to the first byte of the backend's answer";
    text.family(names::BACKEND_DURATION, "histogram", help);
    for member in members {
        let counts = Counted::sum(member.live.stats.iter().map(|shard| &shard.latency)).coarse();
        let labels = [("backend", member.config.name.as_str())];
        histogram(
            text,
            names::BACKEND_DURATION,
            &labels,
            &counts,
            sum(member, &|shard| &shard.latency.sum),
        );
    }
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
    for (name, help, of) in counters {
        text.family(name, "counter", help);
        for member in members {
            text.sample(name, &[("backend", &member.config.name)], sum(member, &of));
        }
    }
    let help = "How often it was ejected";
    text.family(names::BACKEND_EJECTIONS, "counter", help);
    for member in members {
        let labels = [("backend", member.config.name.as_str())];
        let ejections = member.live.ejections.load(Relaxed);
        text.sample(names::BACKEND_EJECTIONS, &labels, ejections);
    }
    let help = "Requests that it takes at once";
    text.family(names::BACKEND_LIMIT, "gauge", help);
    for member in members {
        let limit = member.live.load.limit();
        if limit != UNLIMITED {
            let labels = [("backend", member.config.name.as_str())];
            text.sample(names::BACKEND_LIMIT, &labels, limit);
        }
    }
    type Level = fn(&Member) -> f64;
    let levels: [(&str, &str, Level); 3] = [
        (names::BACKEND_IN_FLIGHT, "Requests in flight", |member| {
            f64::from(member.live.load.in_flight())
        }),
        (
            names::BACKEND_UP,
            "1 if the backend is healthy or degraded",
            |member| f64::from(u8::from(member.live.state.get().is_usable())),
        ),
        (
            names::BACKEND_WEIGHT,
            "The weight that strategies see",
            |member| f64::from(member.config.weight * member.live.share()) / f64::from(FULL_SHARE),
        ),
    ];
    for (name, help, of) in levels {
        text.family(name, "gauge", help);
        for member in members {
            text.sample(name, &[("backend", &member.config.name)], of(member));
        }
    }
    text.family(
        names::BACKEND_STATE,
        "gauge",
        "1 for the state that the backend is in",
    );
    for member in members {
        let labels = [
            ("backend", member.config.name.as_str()),
            ("state", member.live.state.get().name()),
        ];
        text.sample(names::BACKEND_STATE, &labels, 1);
    }
}

fn sum(member: &Member, of: &dyn Fn(&ShardStats) -> &AtomicU64) -> u64 {
    member
        .live
        .stats
        .iter()
        .map(|shard| of(shard).load(Relaxed))
        .sum()
}

fn histogram(
    text: &mut Exposition,
    name: &str,
    labels: &[(&str, &str)],
    counts: &[u64],
    sum_nanos: u64,
) {
    let bounds = BUCKETS.map(|micros| micros as f64 / 1e6);
    text.histogram(name, labels, &bounds, counts, sum_nanos as f64 / 1e9);
}
