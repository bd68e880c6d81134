//! What the machine itself did during a run: whether it was the bottleneck.
//!
//! A comparison of strategies says nothing where the processor is what requests wait for, or where the load was not sent when it was
//! due. So both are measured, from `/proc` and from the samples, and judged.

use super::load::{End, Sample};
use super::wire::NoAnswer;
use rustix::param::clock_ticks_per_second;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Requests that are sent so much later than due are late, or a tenth of the mean cost where that is more.
const LATE: Duration = Duration::from_millis(1);
/// More late ones than this are too many.
const FEW_LATE: f64 = 0.01;
/// A machine that is busier has no processor free when one is wanted.
const BUSY: f64 = 0.8;
/// More of the processors' time taken by other virtual machines is felt.
const STOLEN: f64 = 0.02;
/// A shard that is busier is a queue of its own.
const SHARD_BUSY: f64 = 0.8;

/// The processors' time since the machine began, in ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Ticks {
    all: u64,
    busy: u64,
    stolen: u64,
}

impl Ticks {
    fn now() -> Self {
        let read = std::fs::read_to_string("/proc/stat");
        read.ok()
            .and_then(|text| Ticks::parse(&text))
            .unwrap_or_default()
    }

    /// proc(5): user, nice, system, idle, iowait, irq, softirq, steal; guests are in the first two already.
    fn parse(text: &str) -> Option<Self> {
        let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
        let fields: Vec<u64> = line
            .split_whitespace()
            .map_while(|field| field.parse().ok())
            .collect();
        let fields = fields.get(..8)?;
        let all = fields.iter().sum();
        let stolen = fields[7];
        let busy = all - fields[3] - fields[4] - stolen;
        Some(Ticks { all, busy, stolen })
    }

    fn since(self, before: Ticks) -> Ticks {
        Ticks {
            all: self.all.saturating_sub(before.all),
            busy: self.busy.saturating_sub(before.busy),
            stolen: self.stolen.saturating_sub(before.stolen),
        }
    }

    fn share(self, part: u64) -> f64 {
        part as f64 / self.all.max(1) as f64
    }
}

/// CPU time of a living process, in ticks; 0 of one that is none.
pub(super) fn ticks_of(process: u32) -> u64 {
    let read = std::fs::read_to_string(format!("/proc/{process}/stat"));
    read.ok().and_then(|text| parse_process(&text)).unwrap_or(0)
}

/// proc(5): `utime` and `stime` are fields 14 and 15; the name before them may hold anything.
fn parse_process(text: &str) -> Option<u64> {
    let (_, fields) = text.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11);
    let user: u64 = times.next()?.parse().ok()?;
    let system: u64 = times.next()?.parse().ok()?;
    Some(user + system)
}

/// CPU time of the bench's own processes, in ticks.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spent {
    pub(super) generator: u64,
    pub(super) balancers: u64,
    pub(super) workers: u64,
}

/// A measurement that has begun.
#[derive(Debug)]
pub(super) struct Watch {
    begun: Instant,
    ticks: Ticks,
    spent: Spent,
    last: Ticks,
    busiest: f64,
}

impl Watch {
    pub(super) fn begin(spent: Spent) -> Self {
        let ticks = Ticks::now();
        Watch {
            begun: Instant::now(),
            ticks,
            spent,
            last: ticks,
            busiest: 0.0,
        }
    }

    /// To be called once a second, for the busiest one.
    pub(super) fn look(&mut self) {
        let now = Ticks::now();
        let passed = now.since(self.last);
        self.busiest = self.busiest.max(passed.share(passed.busy));
        self.last = now;
    }

    pub(super) fn end(self, spent: Spent) -> Usage {
        let passed = Ticks::now().since(self.ticks);
        let seconds = self.begun.elapsed().as_secs_f64();
        let cores = |now: u64, before: u64| {
            let ticks = now.saturating_sub(before);
            ticks as f64 / clock_ticks_per_second() as f64 / seconds.max(f64::MIN_POSITIVE)
        };
        Usage {
            machine: passed.share(passed.busy),
            busiest_second: self.busiest.max(passed.share(passed.busy)),
            stolen: passed.share(passed.stolen),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            generator: cores(spent.generator, self.spent.generator),
            balancers: cores(spent.balancers, self.spent.balancers),
            workers: cores(spent.workers, self.spent.workers),
        }
    }
}

/// What was used of the processors.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    /// The share of all processors' time in which they worked.
    pub(super) machine: f64,
    /// The same of the busiest second.
    pub(super) busiest_second: f64,
    /// The share that other virtual machines took.
    pub(super) stolen: f64,
    /// How many there are.
    pub(super) processors: usize,
    /// Processors that each kind of process kept busy, on average.
    pub(super) generator: f64,
    pub(super) balancers: f64,
    pub(super) workers: f64,
}

/// How punctual the load was.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Punctuality {
    pub(super) p50: Duration,
    pub(super) p99: Duration,
    pub(super) max: Duration,
    /// The share of requests that were late.
    pub(super) late: f64,
    /// Later than this counts.
    pub(super) allowed: Duration,
    /// The share of requests that found no connection free.
    pub(super) without_connection: f64,
    /// The share that could not connect to the balancer.
    pub(super) turned_away: f64,
}

impl Punctuality {
    pub(super) fn of(samples: &[Sample], mean_cost: Duration) -> Self {
        let allowed = LATE.max(mean_cost / 10);
        let mut late: Vec<Duration> = samples.iter().map(|sample| sample.late).collect();
        late.sort_unstable();
        let share = |count: usize| count as f64 / samples.len().max(1) as f64;
        let quantile = |share: f64| {
            let index = (late.len() as f64 * share) as usize;
            late.get(index.min(late.len().saturating_sub(1)))
                .copied()
                .unwrap_or_default()
        };
        let count = |of: fn(&Sample) -> bool| samples.iter().filter(|sample| of(sample)).count();
        Punctuality {
            p50: quantile(0.5),
            p99: quantile(0.99),
            max: quantile(1.0),
            late: share(late.iter().filter(|late| **late > allowed).count()),
            allowed,
            without_connection: share(count(|sample| sample.without_connection)),
            turned_away: share(count(|sample| {
                sample.end == End::Without(NoAnswer::Refused)
            })),
        }
    }
}

/// What was measured of one run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measured {
    pub(super) usage: Usage,
    pub(super) punctuality: Punctuality,
    /// Of one balancer; all balancers' time is spread over as many shards.
    pub(super) shards: usize,
}

impl Measured {
    /// Why the run is not to be trusted, a reason each; none if it is.
    pub(super) fn doubts(&self) -> Vec<String> {
        let Measured {
            usage, punctuality, ..
        } = self;
        let mut doubts = Vec::new();
        if usage.machine > BUSY {
            let own = usage.generator + usage.balancers + usage.workers;
            doubts.push(format!(
                "the machine was the bottleneck: its processors were busy {} of the time, {own:.2} of its {} with this bench",
                percent(usage.machine),
                usage.processors
            ));
        }
        if usage.stolen > STOLEN {
            doubts.push(format!(
                "other virtual machines took {} of the processors' time",
                percent(usage.stolen)
            ));
        }
        let shard = usage.balancers / self.shards.max(1) as f64;
        if shard > SHARD_BUSY {
            doubts.push(format!(
                "the load balancer was the bottleneck: its shards were busy {} of the time",
                percent(shard)
            ));
        }
        if punctuality.late > FEW_LATE {
            doubts.push(format!(
                "the load was late by itself: {} of the requests were sent more than {} after they were due (p99 {}, \
                 at most {}), which is part of their latency",
                percent(punctuality.late),
                milliseconds(punctuality.allowed),
                milliseconds(punctuality.p99),
                milliseconds(punctuality.max)
            ));
        }
        if punctuality.without_connection > 0.0 {
            doubts.push(format!(
                "{} of the requests waited for a connection, as `--connections` were in use",
                percent(punctuality.without_connection)
            ));
        }
        if punctuality.turned_away > 0.0 {
            doubts.push(format!(
                "{} of the requests could not connect to the load balancer",
                percent(punctuality.turned_away)
            ));
        }
        doubts
    }

    /// For the report in JSON.
    pub(super) fn json(&self) -> Value {
        let Measured {
            usage, punctuality, ..
        } = self;
        json!({
            "cpu_share": usage.machine,
            "cpu_share_busiest_second": usage.busiest_second,
            "cpu_stolen_share": usage.stolen,
            "cores": usage.processors,
            "generator_cores": usage.generator,
            "balancer_cores": usage.balancers,
            "worker_cores": usage.workers,
            "late_seconds": {
                "p50": punctuality.p50.as_secs_f64(),
                "p99": punctuality.p99.as_secs_f64(),
                "max": punctuality.max.as_secs_f64(),
            },
            "late_share": punctuality.late,
            "late_beyond_seconds": punctuality.allowed.as_secs_f64(),
            "without_connection_share": punctuality.without_connection,
            "turned_away_share": punctuality.turned_away,
        })
    }
}

pub(super) fn percent(share: f64) -> String {
    format!("{:.1}%", share * 100.0)
}

pub(super) fn milliseconds(time: Duration) -> String {
    format!("{:.2}ms", time.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn proc_is_read() {
        let text = "cpu  100 5 50 800 20 3 2 20 7 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n";
        let ticks = Ticks::parse(text).unwrap();
        assert_eq!(
            ticks,
            Ticks {
                all: 1000,
                busy: 160,
                stolen: 20
            }
        );
        assert_eq!(Ticks::parse("cpu  1 2\n"), None);
        let text = "42 (a) b c) S 1 1 1 0 -1 4194560 1 0 0 0 30 12 0 0 20 0 1 0";
        assert_eq!(parse_process(text), Some(42));
        assert!(ticks_of(std::process::id()) < 1_000_000);
    }

    fn sample(late: Duration) -> Sample {
        Sample {
            latency: late + 10 * MS,
            end: End::Answered(200),
            late,
            without_connection: false,
        }
    }

    fn measured(usage: Usage, samples: &[Sample]) -> Measured {
        Measured {
            usage,
            punctuality: Punctuality::of(samples, 10 * MS),
            shards: 1,
        }
    }

    #[test]
    fn run_with_time_to_spare_is_trusted() {
        let samples: Vec<Sample> = (0..1000).map(|_| sample(MS / 10)).collect();
        let usage = Usage {
            machine: 0.3,
            busiest_second: 0.5,
            balancers: 0.2,
            ..Usage::default()
        };
        assert_eq!(measured(usage, &samples).doubts(), [""; 0]);
    }

    #[test]
    fn every_bottleneck_is_told_with_its_figure() {
        let mut samples: Vec<Sample> = (0..90).map(|_| sample(Duration::ZERO)).collect();
        samples.extend((0..10).map(|_| sample(5 * MS)));
        samples[0].without_connection = true;
        samples[1].end = End::Without(NoAnswer::Refused);
        let usage = Usage {
            machine: 0.97,
            stolen: 0.05,
            balancers: 0.9,
            ..Usage::default()
        };
        let doubts = measured(usage, &samples).doubts();
        for (doubt, figure) in doubts
            .iter()
            .zip(["97.0%", "5.0%", "90.0%", "10.0%", "1.0%", "1.0%"])
        {
            assert!(doubt.contains(figure), "{doubt}");
        }
        assert_eq!(doubts.len(), 6);
    }
}
