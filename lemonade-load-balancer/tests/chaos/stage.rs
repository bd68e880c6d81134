//! One scenario's set: backends, a balancer in front of them, clients, and a watch on the states.

use crate::backend::{Backend, Behaviour};
use crate::load::{self, Kept, Load, Mishap};
use crate::report::{Bounds, Row};
use lemonade_load_balancer::app::{App, Start};
use lemonade_load_balancer::config::Inputs;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

/// Backends of a scenario that does not say otherwise.
const BACKENDS: usize = 4;
/// The load before the fault, and after the return.
const CALM: Duration = Duration::from_millis(700);
/// How often the states are looked at.
pub(crate) const LOOK: Duration = Duration::from_millis(3);
/// No scenario waits longer for anything.
const PATIENCE: Duration = Duration::from_secs(15);

/// Besides the backends; what is not said has its default.
pub(crate) const CONFIG: &str = "\
listen: 127.0.0.1:0
admin: 127.0.0.1:0
runtime: { shards: 2, config_watch_interval: 20ms }
health: { interval: 500ms, timeout: 300ms, rise: 2, fall: 3 }
timeouts: { connect: 250ms, response_header: 1s, total: 5s }
";

/// How long a fault lasts.
pub(crate) fn fault_lasts() -> Duration {
    let seconds = std::env::var("LEMONADE_CHAOS_SECONDS").ok();
    let seconds = seconds.and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(3))
}

/// How soon after a fault a backend is back. An ejection is not longer than all before it together and the first, so that much
/// of the fault's own time may pass, and no more than `outlier.max_eject`; then come its trials, or its health checks.
pub(crate) fn soon() -> Duration {
    const MAX_EJECT: Duration = Duration::from_secs(8);
    fault_lasts().min(MAX_EJECT) + Duration::from_secs(2)
}

pub(crate) struct Stage {
    pub(crate) backends: Vec<Backend>,
    pub(crate) app: App,
    load: Load,
    folder: TempDir,
    row: Row,
    /// When the fault began, and what was in flight then.
    fault: Option<(Instant, u32)>,
    /// Only requests that were begun later count.
    counts_after: Option<Instant>,
    /// The longest time for which the machine had no time for this process.
    stall: Rc<Cell<Duration>>,
    _stalls: JoinSet<()>,
}

impl Stage {
    /// Everything at work, and calm.
    pub(crate) async fn set(fault: &str) -> Self {
        Stage::with(fault, BACKENDS, "").await
    }

    /// The same with so many backends, and more lines of configuration.
    pub(crate) async fn with(fault: &str, backends: usize, lines: &str) -> Self {
        let backends: Vec<Backend> = (0..backends).map(|_| Backend::start()).collect();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lemonade.yaml");
        std::fs::write(&path, file(&backends, 1, lines)).unwrap();
        let app = begin(path);
        let load = Load::begin(app.listen(), Kept::IsThere);
        let stall = Rc::<Cell<Duration>>::default();
        let mut stalls = JoinSet::new();
        stalls.spawn_local(watch_for_stalls(stall.clone()));
        let mut stage = Stage {
            backends,
            app,
            load,
            folder,
            row: Row::new(fault),
            fault: None,
            counts_after: None,
            stall,
            _stalls: stalls,
        };
        stage.wait("all are in", |stage| stage.all_in()).await;
        sleep(CALM).await;
        stage
    }

    /// Rewrites the file that the balancer runs by.
    pub(crate) fn reload(&self, weight: u32, lines: &str) {
        let path = self.folder.path().join("lemonade.yaml");
        // Renamed into place, so that half a file is never read.
        let new = self.folder.path().join("new.yaml");
        std::fs::write(&new, file(&self.backends, weight, lines)).unwrap();
        std::fs::rename(new, path).unwrap();
    }

    /// Whether a backend is in the rotation, as the admin API has it.
    pub(crate) fn is_in(&self, backend: usize) -> bool {
        let snapshot = self.app.published().load();
        let live = &snapshot.members[backend].live;
        // A state is written a moment before the pool that follows from it is published.
        let mut pool = snapshot.pool.backends().iter();
        let picked = snapshot.panic.is_none() && pool.any(|picked| Arc::ptr_eq(picked, live));
        picked || live.state.get().is_usable()
    }

    fn all_in(&self) -> bool {
        (0..self.backends.len()).all(|backend| self.is_in(backend))
    }

    /// The fault begins with these backends.
    pub(crate) fn strike(&mut self, backends: &[usize], behaviour: Behaviour) {
        let snapshot = self.app.published().load();
        let members = snapshot.members.iter();
        let in_flight = members.map(|member| member.live.load.in_flight()).sum();
        self.fault = Some((Instant::now(), in_flight));
        for backend in backends {
            self.backends[*backend].behave(behaviour);
        }
    }

    /// Waits for the end of the fault's time; says whether and when all of these backends were out.
    pub(crate) async fn endure(&mut self, backends: &[usize]) -> Option<Duration> {
        let (began, _) = self.fault.unwrap();
        let until = began + fault_lasts();
        let mut out = None;
        while Instant::now() < until {
            if out.is_none() && !backends.iter().any(|backend| self.is_in(*backend)) {
                out = Some(began.elapsed());
            }
            sleep(LOOK).await;
        }
        self.row.out = out;
        out
    }

    /// [`Self::endure`] where they must be out within so long.
    pub(crate) async fn ejects(&mut self, backends: &[usize], within: Duration) {
        let out = self.endure(backends).await;
        self.check(out.is_some_and(|out| out <= within), || {
            format!("out after {out:?}, not within {within:?}")
        });
    }

    /// The fault is over; all of these backends must be back [`soon`], and then it is calm once more.
    pub(crate) async fn heal(&mut self, backends: &[usize]) {
        let healed = Instant::now();
        self.load.listen_for_good();
        let out = backends.iter().any(|backend| !self.is_in(*backend));
        for backend in backends {
            self.backends[*backend].behave(Behaviour::Answer);
        }
        self.comes_back(backends, healed, soon()).await;
        if !out {
            // Who never left does not return.
            self.row.back = None;
        }
        sleep(CALM).await;
    }

    /// Waits until all of these backends are in and have served again since `healed`.
    pub(crate) async fn comes_back(
        &mut self,
        backends: &[usize],
        healed: Instant,
        within: Duration,
    ) {
        let served: Vec<u64> = self.backends.iter().map(Backend::served).collect();
        let back = |stage: &Stage| {
            let back = |at: &usize| stage.is_in(*at) && stage.backends[*at].served() > served[*at];
            backends.iter().all(back)
        };
        if self.wait("they are back", back).await {
            let took = healed.elapsed();
            self.row.back = Some(took);
            self.check(took <= within, || {
                format!("back after {took:?}, not within {within:?}")
            });
        }
    }

    /// For so long all backends must be in.
    pub(crate) async fn stays_in(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until {
            let out: Vec<usize> = (0..self.backends.len())
                .filter(|backend| !self.is_in(*backend))
                .collect();
            if !out.is_empty() {
                return self.check(false, || format!("{out:?} are out, and nothing was wrong"));
            }
            sleep(LOOK).await;
        }
    }

    /// Calls what stops this process for a while, which is not the machine's doing.
    pub(crate) async fn stopped(&mut self, stop: impl FnOnce()) {
        let stall = self.stall.get();
        stop();
        // Until the watch has seen it.
        sleep(2 * LOOK).await;
        self.stall.set(stall);
    }

    /// What went wrong so far.
    pub(crate) fn mishaps(&self) -> BTreeMap<String, u64> {
        load::summary(&self.load.mishaps())
    }

    /// How long after `since` the first request was answered well.
    pub(crate) fn first_good(&self, since: Instant) -> Option<Duration> {
        let good = self.load.first_good();
        good.map(|good| good.saturating_duration_since(since))
    }

    /// Waits for a condition; it is a failure if it does not come about.
    async fn wait(&mut self, what: &str, condition: impl Fn(&Stage) -> bool) -> bool {
        let begun = Instant::now();
        while !condition(self) {
            if begun.elapsed() > PATIENCE {
                self.check(false, || format!("waited in vain until {what}"));
                return false;
            }
            sleep(LOOK).await;
        }
        true
    }

    pub(crate) fn check(&mut self, holds: bool, why: impl FnOnce() -> String) {
        self.row.check(holds, why);
    }

    /// How many requests the backends at fault may spoil: those in flight when it began, those that are sent there before they
    /// are out, twice as many as is their even share of so many a second; then one for each later trial.
    pub(crate) fn exposed(&self, share: f64, a_second: f64) -> u64 {
        const TRIALS: u64 = 4;
        let exposed = self.row.out.unwrap_or(fault_lasts()).as_secs_f64();
        let sent = (2.0 * share * exposed * a_second).ceil() as u64;
        self.in_flight_at_fault() + sent + TRIALS
    }

    /// And, for each shard, the one that it was about to send on a connection which was just being closed.
    pub(crate) fn in_flight_at_fault(&self) -> u64 {
        let shards = self.app.published().load().config.runtime.shards as u64;
        self.fault
            .map_or(0, |(_, in_flight)| u64::from(in_flight) + shards)
    }

    /// Ends the load; no more may have gone wrong than this.
    pub(crate) async fn bounds(mut self, most: Bounds) -> Row {
        self.load.end().await;
        let mishaps = self.load.mishaps();
        let counts =
            |mishap: &&Mishap| self.counts_after.is_none_or(|moment| mishap.begun > moment);
        let counted: Vec<Mishap> = mishaps.iter().filter(counts).cloned().collect();
        self.row.tally(&counted, most);
        self.finish(mishaps).await
    }

    /// What went wrong with requests that were begun before does not count; the table still tells it below.
    pub(crate) fn only_after(&mut self, moment: Instant) {
        self.counts_after = Some(moment);
    }

    /// Ends the load; nothing may have gone wrong with a request that was begun after `calm`.
    pub(crate) async fn well_since(mut self, calm: Instant) -> Row {
        self.only_after(calm);
        self.bounds(Bounds::default()).await
    }

    /// Ends the load while the fault lasts; nothing may have gone wrong with a request that was begun a moment after all backends
    /// at fault were out.
    pub(crate) async fn well_from_ejection_on(self) -> Row {
        const MOMENT: Duration = Duration::from_millis(200);
        let (began, _) = self.fault.unwrap();
        let out = self.row.out.unwrap_or_default();
        self.well_since(began + out + MOMENT).await
    }

    async fn finish(mut self, mishaps: Vec<Mishap>) -> Row {
        self.row.requests = self.load.requests();
        self.row.stall = self.stall.get();
        self.row.mishaps = load::summary(&mishaps);
        self.row.peak_rss = peak_rss(Path::new("/proc/self"));
        let Stage { app, row, .. } = self;
        app.shut_down(std::future::ready(())).await;
        row
    }

    /// One sample of `/metrics`; 0 if there is none.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let admin = self.app.admin().unwrap();
        let mut client = lemonade_test::Client::connect(admin).await;
        let request = format!("GET /metrics HTTP/1.1\r\nHost: {admin}\r\n\r\n");
        let text = client.ask(request).await.text();
        let sample = text.lines().find_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            (series == name).then(|| value.parse().ok())?
        });
        sample.unwrap_or(0.0)
    }
}

/// Sees how late a short sleep ends.
pub(crate) async fn watch_for_stalls(longest: Rc<Cell<Duration>>) {
    loop {
        let began = Instant::now();
        sleep(LOOK).await;
        longest.set(longest.get().max(began.elapsed().saturating_sub(LOOK)));
    }
}

pub(crate) fn begin(path: PathBuf) -> App {
    let inputs = Inputs {
        path: Some(path),
        ..Inputs::default()
    };
    let loaded = inputs.load().unwrap_or_else(|faults| panic!("{faults}"));
    App::start(Start {
        config: loaded.config,
        inputs,
        ..Start::default()
    })
    .unwrap()
}

pub(crate) fn file(backends: &[Backend], weight: u32, lines: impl Display) -> String {
    let entry = |backend: &Backend| {
        let address = backend.address();
        format!("  - {{ address: \"{address}\", weight: {weight} }}\n")
    };
    let backends: String = backends.iter().map(entry).collect();
    format!("{CONFIG}backends:\n{backends}{lines}")
}

/// The most memory that a process has ever had, in bytes; its folder below `/proc` says.
pub(crate) fn peak_rss(process: &Path) -> u64 {
    let status = std::fs::read_to_string(process.join("status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}
