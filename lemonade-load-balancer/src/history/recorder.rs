//! Looks at the counters once a second.

use super::reading::{Requests, Works};
use super::sample::{Cell, Sample, Totals};
use super::{EVERY, History};
use crate::backend::FULL_SHARE;
use crate::drain::Drain;
use crate::explain::standing;
use crate::snapshot::{Member, Panic, Published, Snapshot};
use crate::stats::RequestStats;
use crate::timestamp::rfc3339;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Instant, SystemTime};
use tokio::time::MissedTickBehavior;

/// Where the numbers are.
#[derive(Clone, Debug)]
pub(crate) struct Watched {
    pub(crate) published: Published,
    pub(crate) shards: Arc<[Arc<RequestStats>]>,
    /// Client connections open.
    pub(crate) connections: Arc<AtomicU32>,
    /// Requests that wait for a backend with room.
    pub(crate) queued: Arc<AtomicU32>,
    pub(crate) drain: Drain,
    /// What the backends' times count from.
    pub(crate) epoch: Instant,
}

/// Makes the samples. There is one.
#[derive(Debug)]
pub(crate) struct Recorder {
    watched: Watched,
    history: History,
    requests: Requests,
    works: Works,
    /// When the counters were last read.
    at: Instant,
    next: u64,
    names: Names,
}

/// The names of these members, told once.
#[derive(Debug)]
struct Names {
    of: Arc<[Member]>,
    names: Arc<[String]>,
}

impl Names {
    fn new(members: &Arc<[Member]>) -> Self {
        let names = members.iter().map(|member| member.config.name.clone());
        Names {
            of: members.clone(),
            names: names.collect(),
        }
    }
}

impl Recorder {
    /// Begins with what the counters say now.
    pub(crate) fn new(watched: Watched, history: History) -> Self {
        let members = watched.published.load().members.clone();
        let mut works = Works::default();
        works.advance(&members);
        Recorder {
            requests: Requests::read(&watched.shards),
            at: Instant::now(),
            next: 1,
            names: Names::new(&members),
            works,
            watched,
            history,
        }
    }

    /// Never ends. While there is no admin listener to ask for them, no samples are made.
    pub(crate) async fn run(mut self) {
        let mut second = tokio::time::interval_at(tokio::time::Instant::now() + EVERY, EVERY);
        second.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            second.tick().await;
            let snapshot = self.watched.published.load();
            self.record(&snapshot);
        }
    }

    fn record(&mut self, snapshot: &Snapshot) {
        if !Arc::ptr_eq(&self.names.of, &snapshot.members) {
            self.names = Names::new(&snapshot.members);
        }
        let now = Instant::now();
        let took = now - std::mem::replace(&mut self.at, now);
        let read = Requests::read(&self.watched.shards);
        let requests = read.since(&std::mem::replace(&mut self.requests, read.clone()));
        let works = self.works.advance(&snapshot.members);
        // Nobody can ask. What was counted meanwhile is no second's.
        if snapshot.config.admin.is_none() {
            return;
        }
        let retries = works.iter().map(|work| work.retries).sum();

        let pool: HashSet<_> = snapshot.pool.backends().iter().map(Arc::as_ptr).collect();
        let since_epoch = now - self.watched.epoch;
        let mut whys = Vec::new();
        let mut cells = Vec::with_capacity(works.len());
        for (place, (member, work)) in snapshot.members.iter().zip(&works).enumerate() {
            let why = standing(member, since_epoch);
            whys.extend(why.map(|why| (place, why.into_boxed_str())));
            let eligible = pool.contains(&Arc::as_ptr(&member.live));
            cells.push(cell(member, Cell::of(work), eligible));
        }
        let in_flight = cells.iter().map(|cell| cell.in_flight).sum();
        self.history.record(Sample {
            totals: Totals {
                id: self.next,
                time: rfc3339(SystemTime::now()),
                seconds: took.as_secs_f64(),
                generation: snapshot.generation,
                phase: self.watched.drain.phase().name(),
                strategy: snapshot.strategy_name.as_str(),
                picks: snapshot.picks_by.as_str(),
                panic: snapshot.panic.map(Panic::as_str),
                connections: self.watched.connections.load(Relaxed),
                queued: self.watched.queued.load(Relaxed),
                in_flight,
                requests: requests.classes.iter().sum(),
                classes: requests.classes,
                refused: requests.refused,
                shed: requests.shed,
                retries,
                hedges: requests.hedges,
                p50_seconds: requests.duration.percentile(0.5),
                p90_seconds: requests.duration.percentile(0.9),
                p99_seconds: requests.duration.percentile(0.99),
                backends_eligible: snapshot.pool.len(),
                backends_usable: snapshot.usable(),
                backends_all: cells.len(),
            },
            names: self.names.names.clone(),
            cells: cells.into(),
            whys,
        });
        self.next += 1;
    }
}

fn cell(member: &Member, done: Cell, eligible: bool) -> Cell {
    let backend = &member.live;
    Cell {
        in_flight: backend.load.in_flight(),
        ejections: u32::try_from(backend.ejections.load(Relaxed)).unwrap_or(u32::MAX),
        weight: (member.config.weight * backend.share()) as f32 / FULL_SHARE as f32,
        state: backend.state.get(),
        eligible,
        ..done
    }
}
