//! Who is driven through a simulation: anything that picks backends.

use crate::world::{Backend, Chooser, Stage};
use lemonade_load_balancer::simulated::Balancer;
use std::time::Duration;

/// A balancer, or several replicas of one, that sees no more than a real one would.
///
/// Backends are numbered from 0. Time is simulated: it comes from these calls, and never runs backwards.
pub trait Picker {
    /// Whom active health checks call alive: at the start and whenever that changes; never nobody.
    fn alive(&mut self, now: Duration, backends: &[usize]);

    /// The backend for a request that has come to a replica. It is in flight there until [`Picker::done`].
    fn pick(&mut self, replica: usize, now: Duration) -> usize;

    /// A request has ended. `ok` is false for errors and where the client's patience ended; `latency` is what the client saw.
    fn done(&mut self, replica: usize, backend: usize, now: Duration, latency: Duration, ok: bool);
}

/// A picker sees nothing of the world but what it is told.
pub(crate) struct Blind<P>(pub(crate) P);

impl<P: Picker> Chooser for Blind<P> {
    fn alive(&mut self, now: Duration, backends: &[usize]) {
        self.0.alive(now, backends);
    }

    fn pick(&mut self, replica: usize, now: Duration, _: &Stage, _: &[Backend]) -> usize {
        self.0.pick(replica, now)
    }

    fn done(&mut self, replica: usize, backend: usize, now: Duration, latency: Duration, ok: bool) {
        self.0.done(replica, backend, now, latency, ok);
    }
}

impl Picker for Balancer {
    fn alive(&mut self, now: Duration, backends: &[usize]) {
        Balancer::alive(self, now, backends);
    }

    fn pick(&mut self, replica: usize, now: Duration) -> usize {
        Balancer::pick(self, replica, now)
    }

    fn done(&mut self, replica: usize, backend: usize, now: Duration, latency: Duration, ok: bool) {
        Balancer::done(self, replica, backend, now, latency, ok);
    }
}
