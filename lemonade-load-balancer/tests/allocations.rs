//! A pick allocates nothing. A binary of its own, because counting takes the process's allocator.

use lemonade_load_balancer::backend::{Backend, BackendId};
use lemonade_load_balancer::strategy::{Name, PickContext, Pool, build};
use std::sync::Arc;
use std::time::Duration;

#[test]
fn pick_allocates_nothing_under_any_strategy() {
    let member = |index: u16| {
        let address = format!("127.0.0.1:{}", 10_000 + index);
        let backend = Backend::new(BackendId::new(address.parse().expect("an address")), 1);
        (backend, u32::from(index % 3) + 1)
    };
    for size in [1, 4, 128, 1000] {
        let pool = Pool::new((0..size).map(member));
        for name in Name::ALL {
            let strategy = build(name, &pool, &Arc::default());
            let mut rng = fastrand::Rng::with_seed(1);
            let counted = allocation_counter::measure(|| {
                for step in 0..100 {
                    let now = Duration::from_millis(step);
                    let picked = strategy.pick(
                        &pool,
                        &mut PickContext {
                            now,
                            rng: &mut rng,
                            key: None,
                        },
                    );
                    let _in_flight = pool.backends()[picked].begin();
                }
            });
            assert_eq!(counted.count_total, 0, "{name} over {size}");
        }
    }
    let counted = allocation_counter::measure(|| drop(Box::new(1)));
    assert_eq!(counted.count_total, 1, "the counter counts");
}
