//! Which backend of the pool a sticky cookie names.

use crate::backend::Backend;
use crate::config::Sticky;
use crate::seal::{MadeKey, Said, Seal};
use crate::strategy::Pool;
use std::collections::HashMap;

/// Cookies of our name that are looked at: each costs half a microsecond, and a head could hold a thousand.
pub(crate) const MOST_COOKIES: usize = 8;

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

    /// What the first of these cookies says that is ours and not too old. `today`: seconds since 1970, asked for only where it
    /// matters.
    pub(crate) fn said<'v>(
        &self,
        values: impl Iterator<Item = &'v [u8]>,
        today: impl Fn() -> u32,
    ) -> Option<Said> {
        let mut said = values.filter_map(|value| self.seal.open(value));
        said.find(|said| said.until == 0 || said.until > today())
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
