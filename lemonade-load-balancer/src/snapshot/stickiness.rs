//! Which backend of the pool a sticky cookie names.

use crate::backend::Backend;
use crate::config::Sticky;
use crate::seal::{MadeKey, Said, Seal};
use crate::strategy::Pool;
use std::collections::HashMap;

/// The seal, and what it calls the backends of one pool.
#[derive(Debug)]
pub(crate) struct Stickiness {
    seal: Seal,
    places: HashMap<u64, usize>,
}

impl Stickiness {
    /// Cost: a signature a backend, below a microsecond each.
    pub(super) fn new(sticky: &Sticky, made: Option<&MadeKey>, pool: &Pool) -> Option<Self> {
        let seal = match &sticky.secret {
            Some(secret) => Seal::new(secret.expose().as_bytes()),
            None => Seal::new(made?.as_bytes()),
        };
        let backends = pool.backends().iter().enumerate();
        let places = backends.map(|(place, backend)| (seal.number(&backend.id), place));
        Some(Stickiness {
            places: places.collect(),
            seal,
        })
    }

    /// What a cookie's value says; `None` if it is not ours.
    pub(crate) fn open(&self, value: &[u8]) -> Option<Said> {
        self.seal.open(value)
    }

    /// Where in the pool the backend of this number is, if it is there.
    pub(crate) fn place(&self, backend: u64) -> Option<usize> {
        self.places.get(&backend).copied()
    }

    /// The value that names this backend.
    pub(crate) fn value(&self, backend: &Backend, until: u32) -> [u8; crate::seal::LENGTH] {
        let backend = self.seal.number(&backend.id);
        self.seal.seal(Said { backend, until })
    }
}
