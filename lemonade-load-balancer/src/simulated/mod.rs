//! The balancer without sockets, in simulated time: the strategies and the guard that balance real traffic, driven by whoever
//! calls. What a proxy adds around the pick that needs no I/O is in force (ejection, trials, slow start, limits); retries are
//! not. No clock is read: time comes with every call and never goes back.

mod process;
mod stdio;
mod steering;

pub use stdio::{ProtocolError, serve};

use crate::config::Config;
use crate::strategy::Name;
use process::Process;
use std::time::Duration;

/// What to simulate.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Who picks.
    pub strategy: Name,
    /// One a backend, at least 1; backends are numbered from 0.
    pub weights: Vec<u32>,
    /// Proxies, or shards of one; at least 1.
    pub replicas: usize,
    /// The replicas are shards of one process: they share what those share.
    pub shared: bool,
    /// The same seed gives the same picks.
    pub seed: u64,
    /// Outlier detection, slow start, limits and the engine; its backends and strategy do not matter.
    pub config: Config,
}

/// One balancer, or as many as there are replicas that share nothing.
#[derive(Debug)]
pub struct Balancer {
    processes: Vec<Process>,
    shared: bool,
}

impl Balancer {
    /// At the beginning of time, with every backend taken to be alive.
    pub fn new(setup: &Setup) -> Self {
        let (processes, shards) = match setup.shared {
            true => (1, setup.replicas.max(1)),
            false => (setup.replicas.max(1), 1),
        };
        let process = |number: usize| {
            let seed = setup.seed.wrapping_add((number as u64) << 32);
            Process::new(setup, shards, seed)
        };
        Balancer {
            processes: (0..processes).map(process).collect(),
            shared: setup.shared,
        }
    }

    /// How many backends there are.
    pub fn size(&self) -> usize {
        self.processes[0].size()
    }

    /// How many replicas there are.
    pub fn replicas(&self) -> usize {
        match self.shared {
            true => self.processes[0].shards(),
            false => self.processes.len(),
        }
    }

    /// Active health checks call these backends alive, and no others.
    pub fn alive(&mut self, now: Duration, backends: &[usize]) {
        for process in &mut self.processes {
            process.alive(now, backends);
        }
    }

    /// The backend that the next request goes to. It is in flight there until [`Self::done`].
    pub fn pick(&mut self, replica: usize, now: Duration) -> usize {
        let (process, shard) = self.place(replica);
        process.pick(shard, now)
    }

    /// A request ended that was sent `latency` ago. `ok`: it was answered; else it is the backend's failure.
    pub fn done(
        &mut self,
        replica: usize,
        backend: usize,
        now: Duration,
        latency: Duration,
        ok: bool,
    ) {
        let (process, shard) = self.place(replica);
        process.done(shard, backend, now, latency, ok);
    }

    /// The process that a replica is, or is a shard of.
    fn place(&mut self, replica: usize) -> (&mut Process, usize) {
        match self.shared {
            true => {
                let shard = replica % self.processes[0].shards();
                (&mut self.processes[0], shard)
            }
            false => {
                let place = replica % self.processes.len();
                (&mut self.processes[place], 0)
            }
        }
    }
}
