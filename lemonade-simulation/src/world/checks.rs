//! Active health checks: who is called alive.

use crate::scenario::Health;
use std::time::Duration;

/// Probes of all backends, spread evenly over the interval. A probe tells at once.
#[derive(Debug)]
pub(super) struct Checks {
    health: Health,
    /// How many probes there have been.
    count: u64,
    verdicts: Vec<Verdict>,
}

#[derive(Clone, Debug)]
struct Verdict {
    alive: bool,
    /// Probes in a row that say otherwise.
    against: u32,
}

impl Checks {
    pub(super) fn new(health: Health, backends: usize) -> Self {
        let alive = Verdict {
            alive: true,
            against: 0,
        };
        Checks {
            health,
            count: 0,
            verdicts: vec![alive; backends],
        }
    }

    /// The first backend is probed at the beginning.
    pub(super) fn next_at(&self) -> Duration {
        let backends = self.verdicts.len() as u128;
        let nanos = self.health.interval.as_nanos() * u128::from(self.count) / backends;
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Probes the next backend. Who is alive, if that has changed: everybody where nobody is, since somebody must be picked.
    pub(super) fn probe(&mut self, passes: impl Fn(usize) -> bool) -> Option<Vec<usize>> {
        let index = usize::try_from(self.count % self.verdicts.len() as u64).ok()?;
        self.count += 1;
        let verdict = &mut self.verdicts[index];
        if passes(index) == verdict.alive {
            verdict.against = 0;
            return None;
        }
        verdict.against += 1;
        let enough = match verdict.alive {
            true => self.health.fall,
            false => self.health.rise,
        };
        if verdict.against < enough {
            return None;
        }
        verdict.alive = !verdict.alive;
        verdict.against = 0;
        let verdicts = self.verdicts.iter().enumerate();
        let alive: Vec<usize> = verdicts
            .filter_map(|(index, verdict)| verdict.alive.then_some(index))
            .collect();
        match alive.is_empty() {
            true => Some((0..self.verdicts.len()).collect()),
            false => Some(alive),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backend_falls_and_rises_after_as_many_probes_as_asked_for() {
        let mut checks = Checks::new(Health::default(), 2);
        let told: Vec<_> = (0..8)
            .map(|round| {
                let dead = (2..6).contains(&round);
                checks.probe(|index| index == 0 || !dead)
            })
            .collect();
        let mut wanted = vec![None; 8];
        wanted[5] = Some(vec![0]);
        wanted[7] = Some(vec![0, 1]);
        assert_eq!(told, wanted);
    }

    #[test]
    fn everybody_is_alive_where_nobody_is() {
        let health = Health {
            fall: 1,
            ..Health::default()
        };
        let mut checks = Checks::new(health, 2);
        assert_eq!(checks.probe(|_| false), Some(vec![1]));
        assert_eq!(checks.probe(|_| false), Some(vec![0, 1]));
    }

    #[test]
    fn probes_are_spread_over_the_interval() {
        let mut checks = Checks::new(Health::default(), 4);
        let times: Vec<_> = (0..5)
            .map(|_| {
                let at = checks.next_at().as_millis();
                checks.probe(|_| true);
                at
            })
            .collect();
        assert_eq!(times, [0, 250, 500, 750, 1000]);
    }
}
