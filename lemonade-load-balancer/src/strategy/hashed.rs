//! What the tests of the strategies that hash keys ask of them.

use super::{PickContext, Pool, Strategy, key};
use crate::backend::{Backend, BackendId};

/// Where each of `count` keys goes while nothing is in flight.
pub(super) fn homes(strategy: &dyn Strategy, pool: &Pool, count: usize) -> Vec<usize> {
    let mut rng = fastrand::Rng::with_seed(1);
    (0..count)
        .map(|number| {
            let mut context = PickContext {
                now: std::time::Duration::ZERO,
                rng: &mut rng,
                key: Some(key(format!("user-{number}").as_bytes())),
            };
            strategy.pick(pool, &mut context)
        })
        .collect()
}

/// A pool of these ports, each of weight 1.
pub(super) fn of_addresses(ports: impl IntoIterator<Item = u16>) -> Pool {
    of_weights(ports.into_iter().map(|port| (port, 1)))
}

fn of_weights(members: impl Iterator<Item = (u16, u32)>) -> Pool {
    Pool::new(members.map(|(port, weight)| {
        let address = format!("10.0.0.1:{}", 8000 + port).parse().unwrap();
        (Backend::new(BackendId::new(address), 1), weight)
    }))
}

fn addresses(homes: &[usize], pool: &Pool) -> Vec<String> {
    let address = |home: &usize| pool.backends()[*home].id.to_string();
    homes.iter().map(address).collect()
}

/// How many of 5,000 keys move when a backend goes, and how many of those were its own.
pub(super) fn moved<S: Strategy>(
    strategy: &dyn Fn(&Pool) -> S,
    weights: &[u32],
    gone: usize,
) -> (usize, usize) {
    let members = || (0..).zip(weights.iter().copied());
    let before = of_weights(members());
    let after = of_weights(members().filter(|(port, _)| usize::from(*port) != gone));
    let from = homes(&strategy(&before), &before, 5000);
    let own = from.iter().filter(|home| **home == gone).count();
    let from = addresses(&from, &before);
    let to = addresses(&homes(&strategy(&after), &after, 5000), &after);
    (
        from.iter().zip(&to).filter(|(from, to)| from != to).count(),
        own,
    )
}

/// Two balancers send every key to the same address.
pub(super) fn agree(
    ours: &dyn Strategy,
    our_pool: &Pool,
    theirs: &dyn Strategy,
    their_pool: &Pool,
) -> bool {
    let ours = addresses(&homes(ours, our_pool, 2000), our_pool);
    ours == addresses(&homes(theirs, their_pool, 2000), their_pool)
}
