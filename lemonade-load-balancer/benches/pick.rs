//! What a pick costs: nanoseconds at 4 to 1,000 backends, alone and with a second thread that does nothing else.
//!
//! That it allocates nothing is a test (`tests/allocations.rs`).

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use lemonade_load_balancer::backend::{Backend, BackendId};
use lemonade_load_balancer::strategy::{Name, PickContext, Pool, build};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

fn pool(size: u16) -> Pool {
    let member = |index: u16| {
        let address = format!("127.0.0.1:{}", 10_000 + index)
            .parse()
            .expect("an address");
        let backend = Backend::new(BackendId::new(address), 1);
        let took = Duration::from_micros(u64::from(index % 50) * 100 + 1000);
        backend.load.latency.record(took, Duration::ZERO);
        backend.load.peak.record(took, Duration::ZERO);
        (backend, u32::from(index % 3) + 1)
    };
    Pool::new((0..size).map(member))
}

fn alone(criterion: &mut Criterion) {
    for name in Name::ALL {
        let mut group = criterion.benchmark_group(name.as_str());
        for size in [4, 32, 128, 1000] {
            let pool = pool(size);
            let strategy = build(name, &pool, &Arc::default());
            let mut rng = fastrand::Rng::with_seed(1);
            group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
                bencher.iter(|| {
                    let mut context = PickContext {
                        now: Duration::from_secs(1),
                        rng: &mut rng,
                        key: None,
                    };
                    let picked = strategy.pick(&pool, &mut context);
                    drop(black_box(pool.backends()[picked].begin()));
                });
            });
        }
    }
}

fn contended(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("contended_by_two_threads");
    for name in Name::ALL {
        let pool = pool(128);
        let strategy = build(name, &pool, &Arc::default());
        let stop = AtomicBool::new(false);
        let pick = |rng: &mut fastrand::Rng| {
            let mut context = PickContext {
                now: Duration::from_secs(1),
                rng,
                key: None,
            };
            let picked = strategy.pick(&pool, &mut context);
            drop(black_box(pool.backends()[picked].begin()));
        };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut rng = fastrand::Rng::with_seed(2);
                while !stop.load(Relaxed) {
                    pick(&mut rng);
                }
            });
            let mut rng = fastrand::Rng::with_seed(1);
            group.bench_function(name.as_str(), |bencher| bencher.iter(|| pick(&mut rng)));
            stop.store(true, Relaxed);
        });
    }
}

/// Those that go by a key, with as much in flight everywhere that requests must be summed.
fn bounded(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("bounded_load");
    for name in [Name::ConsistentHash, Name::Maglev] {
        for size in [128, 1000] {
            let pool = pool(size);
            for (index, backend) in pool.backends().iter().enumerate() {
                backend.load.set_in_flight(4 + index as u32 % 3);
            }
            let strategy = build(name, &pool, &Arc::default());
            let mut rng = fastrand::Rng::with_seed(1);
            group.bench_function(BenchmarkId::new(name.as_str(), size), |bencher| {
                bencher.iter(|| {
                    let key = Some(rng.u64(..));
                    let mut context = PickContext {
                        now: Duration::from_secs(1),
                        rng: &mut rng,
                        key,
                    };
                    black_box(strategy.pick(&pool, &mut context))
                });
            });
        }
    }
}

/// What a change of the pool costs the control task.
fn built(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("build");
    for name in [Name::ConsistentHash, Name::Maglev] {
        for size in [128, 1000] {
            let pool = pool(size);
            group.bench_function(BenchmarkId::new(name.as_str(), size), |bencher| {
                bencher.iter(|| black_box(build(name, &pool, &Arc::default())));
            });
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = alone, contended, bounded, built
}
criterion_main!(benches);
