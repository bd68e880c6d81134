//! One strategy's run, from the first process to the last line of its logs.

use super::load::{Load, Offer, Planned, Sample};
use super::machine::{Measured, Punctuality, Spent, Watch, ticks_of};
use super::results;
use super::stage::{Balancer, Stage};
use super::worker::Worker;
use crate::command::Failure;
use indicatif::ProgressBar;
use lemonade_load_balancer::strategy::Name;
use lemonade_service::Framework;
use lemonade_simulation::report::Run;
use lemonade_simulation::scenario::{Change, Scenario};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

/// From the order to begin to the time from which requests are due.
const LEAD: Duration = Duration::from_millis(50);

/// A balancer gives a request up when the scenario's client would, and says so: for its own client to hear that, and the balancer
/// not to be left in the belief that it went by choice, that one waits a little longer.
const GRACE: Duration = Duration::from_millis(500);

/// What every strategy plays.
#[derive(Debug)]
pub(super) struct Play {
    scenario: Scenario,
    framework: Framework,
    connections: usize,
    requests: Arc<[Planned]>,
}

/// What came of it.
pub(super) struct Played {
    pub(super) run: Run,
    pub(super) measured: Measured,
    /// Faults that could not be played, and the like.
    pub(super) mishaps: Vec<String>,
}

impl Play {
    /// Draws the requests: as the simulation does, so that both have the same.
    pub(super) fn new(scenario: Scenario, framework: Framework, connections: usize) -> Self {
        let planned = lemonade_simulation::requests(&scenario).map(|request| Planned {
            due: request.at,
            cost: request.cost,
            balancer: if scenario.shared { 0 } else { request.replica },
            doomed: request.doomed,
        });
        Play {
            requests: planned.collect(),
            scenario,
            framework,
            connections,
        }
    }

    /// Requests a second that are sent.
    pub(super) fn rate(&self) -> f64 {
        self.requests.len() as f64 / self.scenario.duration.as_secs_f64()
    }

    /// Plays it with one strategy. Dropping the future kills every process.
    pub(super) async fn run(
        &self,
        strategy: Name,
        folder: &Path,
        progress: &ProgressBar,
    ) -> Result<Played, Failure> {
        let mut stage = Stage::set(&self.scenario, strategy, self.framework, folder).await?;
        let watch = Watch::begin(spent(&stage));
        let start = Instant::now() + LEAD;
        let suffering = self.let_suffer(&mut stage, start);
        let balancers = stage.balancers.iter().map(|balancer| balancer.listen);
        let load = Load::begin(self.offer(balancers.collect()), start)
            .map_err(|error| not_offered(&error))?;
        let (samples, watch) = self.attend(load, watch, progress).await?;
        let (workers, mishaps) = recovered(suffering).await?;
        stage.workers = workers;
        let usage = watch.end(spent(&stage));
        stage.strike().await;

        let access_logs = stage
            .balancers
            .iter()
            .map(|balancer| balancer.access_log.clone());
        let access_logs: Vec<PathBuf> = access_logs.collect();
        let requests = &self.requests;
        let run = results::run(
            strategy.as_str(),
            &self.scenario,
            requests,
            &samples,
            &access_logs,
        );
        let unread = |error| Failure::Failed(format!("cannot read an access log: {error}"));
        Ok(Played {
            run: run.map_err(unread)?,
            measured: Measured {
                usage,
                punctuality: Punctuality::of(&samples, self.scenario.cost.mean),
                shards: self.scenario.replicas,
            },
            mishaps,
        })
    }

    fn offer(&self, balancers: Vec<SocketAddr>) -> Offer {
        Offer {
            requests: self.requests.clone(),
            balancers,
            patience: self.scenario.timeout + GRACE,
            connections: self.connections,
        }
    }

    /// Each worker suffers in a task of its own: one that is stopped does not hold up the others.
    fn let_suffer(&self, stage: &mut Stage, start: Instant) -> JoinSet<Suffered> {
        let changes = self.scenario.changes();
        let mut suffering = JoinSet::new();
        for (number, worker) in stage.workers.drain(..).enumerate() {
            let own = |change: &&Change| change.backend == number;
            let changes = changes.iter().filter(own).cloned().collect();
            suffering.spawn(async move {
                let (worker, mishaps) = worker.suffer(changes, start).await;
                (number, worker, mishaps)
            });
        }
        suffering
    }

    /// Waits for the load's end, and shows how far it is.
    async fn attend(
        &self,
        mut load: Load,
        mut watch: Watch,
        progress: &ProgressBar,
    ) -> Result<(Vec<Sample>, Watch), Failure> {
        let mut ticker = interval(Duration::from_secs(1));
        ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first is at once.
        ticker.tick().await;
        progress.set_length(self.scenario.duration.as_secs());
        progress.set_position(0);
        loop {
            tokio::select! {
                samples = load.finished() => return Ok((samples.map_err(|error| not_offered(&error))?, watch)),
                _ = ticker.tick() => {
                    watch.look();
                    let due = self.requests.get(load.done()).map(|request| request.due);
                    progress.set_position(due.unwrap_or(self.scenario.duration).as_secs());
                }
            }
        }
    }
}

type Suffered = (usize, Worker, Vec<String>);

/// The workers in their order, when the last fault has been played.
async fn recovered(suffering: JoinSet<Suffered>) -> Result<(Vec<Worker>, Vec<String>), Failure> {
    let mut suffered = suffering.join_all().await;
    suffered.sort_by_key(|(number, ..)| *number);
    let mut workers = Vec::with_capacity(suffered.len());
    let mut mishaps = Vec::new();
    for (_, worker, own) in suffered {
        workers.push(worker);
        mishaps.extend(own);
    }
    Ok((workers, mishaps))
}

fn spent(stage: &Stage) -> Spent {
    Spent {
        generator: ticks_of(std::process::id()),
        balancers: stage
            .balancers
            .iter()
            .filter_map(Balancer::id)
            .map(ticks_of)
            .sum(),
        workers: stage.workers.iter().map(Worker::spent).sum(),
    }
}

fn not_offered(error: &io::Error) -> Failure {
    Failure::Failed(format!("the load cannot be offered: {error}"))
}
