//! What the engine costs: one second of it, and a replay before a switch, at 8 and 1,000 backends.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use lemonade_load_balancer::backend::{Backend, BackendId};
use lemonade_load_balancer::decision::shadow::Shadow;
use lemonade_load_balancer::decision::window::Windows;
use lemonade_load_balancer::decision::{BackendSample, Engine, Orders, Sample, Settings};
use lemonade_load_balancer::stats::histogram::{SLOTS, slot};
use lemonade_load_balancer::stats::{Outcome, ShardStats};
use lemonade_load_balancer::strategy::Name;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

const SHARDS: usize = 2;

/// Backends to which requests were sent, and what the shards counted of them.
struct Stage {
    backends: Vec<Arc<Backend>>,
    histogram: Vec<u64>,
    now: Duration,
}

impl Stage {
    fn new(size: usize) -> Self {
        let backend = |index: usize| {
            let address = format!("10.0.{}.{}:80", index / 250, index % 250);
            Backend::new(BackendId::new(address.parse().expect("an address")), SHARDS)
        };
        Stage {
            backends: (0..size).map(backend).collect(),
            histogram: vec![0; SLOTS],
            now: Duration::from_secs(100),
        }
    }

    /// A second in which each backend answers twenty times, some slower than others.
    fn second(&mut self) {
        self.now += Duration::from_secs(1);
        for (place, backend) in self.backends.iter().enumerate() {
            for request in 0..20 {
                let micros = 5000 + (place % 7) as u64 * 2000 + request * 500;
                let took = Duration::from_micros(micros);
                let stats = &backend.stats[request as usize % SHARDS];
                ShardStats::count(&stats.begun);
                stats.record(Outcome::Answered(200), took);
                backend.load.delay.answered(took, 1, self.now);
                self.histogram[slot(took)] += 1;
            }
        }
    }

    fn sample(&self) -> Sample {
        let backends = self.backends.iter();
        Sample {
            backends: backends
                .map(|backend| BackendSample::of(backend, 1, true, self.now))
                .collect(),
            histogram: self.histogram.clone(),
            shed: 0,
        }
    }
}

fn tick(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("tick");
    for size in [8, 1000] {
        let mut stage = Stage::new(size);
        let mut engine = Engine::new(Name::LeastDelay);
        let settings = Settings {
            rules: vec![lemonade_load_balancer::decision::Rule {
                name: "own".to_owned(),
                when: "error_rate > 5% and p99 > 10s"
                    .parse()
                    .expect("a condition"),
                picks: Name::Random,
            }],
            ..Settings::default()
        };
        let external = BTreeMap::new();
        let orders = Orders {
            settings: &settings,
            external: &external,
            by_hand: false,
        };
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter_custom(|times| {
                let mut taken = Duration::ZERO;
                for _ in 0..times {
                    stage.second();
                    let begun = std::time::Instant::now();
                    let sample = stage.sample();
                    black_box(engine.tick(&sample, &orders, stage.now, 1));
                    taken += begun.elapsed();
                }
                taken
            });
        });
    }
}

fn replay(criterion: &mut Criterion) {
    for size in [8, 1000] {
        let mut stage = Stage::new(size);
        let mut windows = Windows::default();
        for _ in 0..60 {
            stage.second();
            windows.observe(&stage.sample(), stage.now);
        }
        let mut group = criterion.benchmark_group(format!("replay_{size}"));
        group.sample_size(20);
        group.bench_function("prepare", |bencher| {
            bencher.iter(|| black_box(Shadow::new(&windows, 1)));
        });
        let shadow = Shadow::new(&windows, 1).expect("enough traffic");
        for name in [Name::LeastDelay, Name::LeastConnections, Name::RoundRobin] {
            group.bench_function(name.as_str(), |bencher| {
                bencher.iter(|| black_box(shadow.play(name)));
            });
        }
    }
}

criterion_group!(benches, tick, replay);
criterion_main!(benches);
