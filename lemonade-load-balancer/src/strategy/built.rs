//! A strategy, with what it was built for: most snapshots differ from the one before in nothing that a strategy knows, and a table
//! for a thousand backends takes milliseconds to make.

use super::{Cursor, Name, Options, Pool, Strategy, build_with};
use crate::backend::Backend;
use std::sync::Arc;

/// A strategy that serves every pool that is like the one it was built for.
#[derive(Debug)]
pub struct Built {
    /// Picks.
    pub strategy: Arc<dyn Strategy>,
    name: Name,
    options: Options,
    backends: Box<[Arc<Backend>]>,
    weights: Box<[u32]>,
    shares: Option<Box<[u32]>>,
}

impl Built {
    /// Builds it.
    pub fn new(name: Name, pool: &Pool, cursor: &Arc<Cursor>, options: Options) -> Self {
        Built {
            strategy: build_with(name, pool, cursor, &options),
            name,
            options,
            backends: pool.backends().into(),
            weights: pool.weights().into(),
            shares: pool.shares().map(Box::from),
        }
    }

    /// Building it anew would give the same. Cost: O(n).
    pub fn serves(&self, name: Name, pool: &Pool, options: &Options) -> bool {
        let mut backends = self.backends.iter().zip(pool.backends());
        self.name == name
            && self.options == *options
            && *self.weights == *pool.weights()
            && self.shares.as_deref() == pool.shares()
            && backends.all(|(own, other)| Arc::ptr_eq(own, other))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::pool;
    use super::*;

    #[test]
    fn like_pool_is_served_and_no_other() {
        let own = pool(&[1, 2]);
        let options = Options::default();
        let built = Built::new(Name::Maglev, &own, &Arc::default(), options);
        let of = |weights: [u32; 2]| Pool::new(own.backends().iter().cloned().zip(weights));
        assert!(built.serves(Name::Maglev, &of([1, 2]), &options));
        assert!(!built.serves(Name::Maglev, &of([1, 3]), &options));
        assert!(
            !built.serves(Name::Maglev, &pool(&[1, 2]), &options),
            "other backends"
        );
        assert!(!built.serves(Name::Random, &own, &options));
        let fewer = Pool::new(
            own.backends()[..1]
                .iter()
                .map(|backend| (backend.clone(), 1)),
        );
        assert!(!built.serves(Name::Maglev, &fewer, &options));
        let unbounded = Options { bounded_load: None };
        assert!(!built.serves(Name::Maglev, &own, &unbounded));
        own.backends()[0].set_share(50);
        assert!(
            !built.serves(Name::Maglev, &of([2, 2]), &options),
            "in its slow start"
        );
    }
}
