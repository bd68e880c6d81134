//! Wire, spawn, drain: the only file that knows every service.
//!
//! Threads: one a shard for the proxy, one for control, health and the file watch, one for the admin listener, one for the
//! access log, one for metrics and traces that are pushed. Each is owned by [`App`] and joined when it has drained.

use crate::admin::{self, Admin};
use crate::config::{Config, Fingerprint, Inputs, Overlay};
use crate::config_watch::{Watch, WatchError};
use crate::control::{self, Errand, Handover, Keep, Operator};
use crate::descriptors;
use crate::discovery;
use crate::drain::{self, Drain, Phase, Trigger};
use crate::external;
use crate::health;
use crate::history::{History, Recorder, Watched};
use crate::listen::{self, Inherited, ListenError, Listening};
use crate::log_file::{LogFile, Written};
use crate::metrics::{Sources, prometheus, scrape};
use crate::proxy;
use crate::snapshot::Published;
use crate::stats::RequestStats;
use crate::telemetry;
use crate::traces;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};
use thiserror::Error;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc;

/// How long the last lines of the access log may take to be written.
const LAST_LINES: Duration = Duration::from_secs(2);

/// What a balancer starts from.
#[derive(Debug, Default)]
pub struct Start {
    /// What to run by.
    pub config: Config,
    /// Changes by hand that were kept.
    pub kept: Overlay,
    /// Where the configuration was read from, to be read again; its file is watched.
    pub inputs: Inputs,
    /// The files as they were when they were read; unless it says so, as they are at the start.
    pub read: Option<Fingerprint>,
    /// Sockets that are bound already.
    pub inherited: Inherited,
    /// What the process that this one replaces had learned.
    pub handover: Option<Handover>,
}

/// Why the balancer could not start. Nothing runs then.
#[derive(Debug, Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The access log cannot be written.
    #[error("cannot open the access log: {0}")]
    AccessLog(io::Error),
    /// The configuration file cannot be watched.
    #[error(transparent)]
    Watch(#[from] WatchError),
    /// The system gives no more threads or descriptors.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}

/// A running balancer.
#[derive(Debug)]
pub struct App {
    control: control::Handle,
    operator: Operator,
    published: Published,
    errands: mpsc::Receiver<Errand>,
    trigger: Trigger,
    /// Has telemetry push what is left.
    flush: Trigger,
    drain: Drain,
    shards: Vec<JoinHandle<()>>,
    background: Vec<JoinHandle<()>>,
    log_written: Written,
    queued: Arc<AtomicU32>,
}

impl App {
    /// Starts everything, or nothing.
    pub fn start(start: Start) -> Result<Self, StartError> {
        lemonade_observability::prometheus::install();
        let count = start.config.runtime.shards;
        let (listeners, feeds, admin_feed) = listen::open(&start.config, start.inherited)?;
        let (log, log_written) =
            LogFile::open(start.config.access_log.destination()).map_err(StartError::AccessLog)?;
        let access_log = log.writer();
        let watch = start.inputs.path.clone().map(Watch::begin).transpose()?;

        let epoch = Instant::now();
        let stats: Arc<[Arc<RequestStats>]> = (0..count).map(|_| Arc::default()).collect();
        let control::Started {
            task,
            handle: control,
            published,
            events,
            decisions,
            drafts,
            picks,
        } = control::new(control::Setup {
            config: start.config,
            kept: start.kept,
            handover: start.handover,
            listeners,
            log,
            stats: stats.clone(),
            epoch,
        });
        let keeper: Arc<dyn Keep> = Arc::new(discovery::Keeper::new(published.clone()));
        let read = start.read.unwrap_or_else(|| start.inputs.fingerprint());
        let operator = Operator::new(
            control.clone(),
            published.clone(),
            start.inputs,
            keeper,
            read,
        );
        let (trigger, drain) = drain::channel();
        let connections: Arc<AtomicU32> = Arc::default();
        let (traces, traced) = traces::channel();
        let shared = proxy::Shared {
            published: published.clone(),
            control: control.clone(),
            drain: drain.clone(),
            complaint: Arc::default(),
            admission: Arc::new(proxy::Admission::new(connections.clone())),
            access_log: access_log.clone(),
            queue: Arc::default(),
            retry_floor: Arc::default(),
            drafts,
            traces,
            epoch,
        };
        let sources = Sources {
            published: published.clone(),
            shards: stats.clone(),
            connections: connections.clone(),
            queue: shared.queue.depth(),
            log_dropped: access_log.dropped(),
            since: SystemTime::now(),
        };

        let queued = shared.queue.depth();
        let mut background = Vec::new();
        let services = Services {
            published: published.clone(),
            control: control.clone(),
            operator: operator.clone(),
            watch,
        };
        let mut over = drain.clone();
        background.push(spawn("control", move || async move {
            tokio::select! {
                () = task.run() => {}
                () = services.run() => {}
                () = over.reached(Phase::Over) => {}
            }
        })?);
        let history = History::default();
        let watched = Watched {
            published: published.clone(),
            shards: stats.clone(),
            connections: connections.clone(),
            queued: queued.clone(),
            drain: drain.clone(),
            epoch,
        };
        let recorder = Recorder::new(watched, history.clone());
        let (flush, over) = drain::channel();
        let read = sources.clone();
        background.push(spawn("telemetry", move || async move {
            give_way();
            telemetry::run(read, traced, over).await;
        })?);
        let (errand, errands) = mpsc::channel(1);
        let admin = Admin {
            published: published.clone(),
            connections,
            scrape: Arc::new(move || prometheus::write(&scrape(&sources))),
            operator: operator.clone(),
            events,
            decisions,
            picks,
            history,
            queued: queued.clone(),
            errand: Arc::new(move |wanted| errand.try_send(wanted).is_ok()),
            drain: drain.clone(),
            started: epoch,
        };
        background.push(spawn("admin", move || async move {
            tokio::select! {
                () = admin::run(admin_feed, admin) => {}
                () = recorder.run() => {}
            }
        })?);
        let mut shards = Vec::new();
        for (index, (feed, stats)) in feeds.into_iter().zip(stats.iter()).enumerate() {
            let (stats, shared) = (stats.clone(), shared.clone());
            let run = move || proxy::run(index, feed, stats, shared);
            shards.push(spawn(&format!("shard-{index}"), run)?);
        }
        Ok(App {
            control,
            operator,
            published,
            errands,
            trigger,
            flush,
            drain,
            shards,
            background,
            log_written,
            queued,
        })
    }

    /// Where clients connect, with the port that the kernel chose if the configuration left it open.
    pub fn listen(&self) -> SocketAddr {
        self.listening().proxy
    }

    /// Where the admin API listens.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.listening().admin
    }

    fn listening(&self) -> Listening {
        self.published.load().listening
    }

    /// Reloads and changes by hand.
    pub fn operator(&self) -> &Operator {
        &self.operator
    }

    /// Waits for a caller of the admin API to ask something of the process as a whole.
    pub async fn errand(&mut self) -> Errand {
        match self.errands.recv().await {
            Some(errand) => errand,
            // The admin service is gone; so nobody will ask.
            None => std::future::pending().await,
        }
    }

    /// Where the control task is told things.
    pub fn control(&self) -> &control::Handle {
        &self.control
    }

    /// Where the present state is read.
    pub fn published(&self) -> &Published {
        &self.published
    }

    /// Requests that wait for a backend with room.
    pub fn queued(&self) -> u32 {
        self.queued.load(Relaxed)
    }

    /// The phase of going away, for whoever wants to watch it.
    pub fn drain(&self) -> &Drain {
        &self.drain
    }

    /// Goes away in order: readiness fails, after `drain_delay` nothing more is accepted, requests in flight get
    /// `drain_timeout`, then what is left is cut off. `hurry` completing skips what is left of all that. Returns whether
    /// everything was answered.
    pub async fn shut_down(self, hurry: impl Future<Output = ()>) -> bool {
        self.leave(false, hurry).await
    }

    /// The same after another process has taken over the sockets: nobody has to notice anything.
    pub async fn step_down(self, hurry: impl Future<Output = ()>) -> bool {
        self.leave(true, hurry).await
    }

    async fn leave(self, taken_over: bool, hurry: impl Future<Output = ()>) -> bool {
        let mut runtime = self.published.load().config.runtime.clone();
        if taken_over {
            runtime.drain_delay = Duration::ZERO;
        }
        tracing::info!(timeout = ?runtime.drain_timeout, taken_over, "draining");
        let App {
            control,
            trigger,
            flush,
            shards,
            background,
            log_written,
            ..
        } = self;
        let shards = tokio::task::spawn_blocking(move || join_all(shards));
        let in_order = async {
            trigger.advance(Phase::Unready);
            tokio::time::sleep(runtime.drain_delay).await;
            trigger.advance(Phase::Draining);
            // If nobody owns the sockets any more, nobody listens on them.
            let _ = control.stop_listening(taken_over).await;
        };
        let deadline = runtime.drain_delay + runtime.drain_timeout;
        let mut shards = shards;
        let drained = tokio::select! {
            _ = async { in_order.await; (&mut shards).await } => true,
            () = tokio::time::sleep(deadline) => false,
            () = hurry => false,
        };
        trigger.advance(Phase::Over);
        if !drained {
            tracing::warn!("the drain was cut short: connections are closed");
            let _ = shards.await;
        }
        // Those that were cut off have been told of by now.
        flush.advance(Phase::Over);
        let ended = tokio::task::spawn_blocking(move || {
            join_all(background);
            log_written.wait(LAST_LINES);
        });
        let _ = ended.await;
        tracing::info!(drained, "stopped");
        drained
    }
}

/// What runs beside the control task, on its thread.
struct Services {
    published: Published,
    control: control::Handle,
    operator: Operator,
    watch: Option<Watch>,
}

impl Services {
    /// Runs until the control task is gone.
    async fn run(self) {
        let watched = self.published.clone();
        let watch = async {
            match self.watch {
                Some(watch) => watch.run(self.operator, watched).await,
                None => std::future::pending().await,
            }
        };
        tokio::join!(
            health::run(self.published.clone(), self.control.clone()),
            discovery::run(self.published.clone(), self.control.clone()),
            external::run(self.published.clone(), self.control),
            watch_descriptors(self.published),
            watch,
        );
    }
}

/// Warns at the start, and whenever more clients are to be let in, if there are not enough descriptors for them.
async fn watch_descriptors(mut published: Published) {
    let mut known = None;
    loop {
        let wanted = published.load().config.limits.max_connections;
        if known.replace(wanted) != Some(wanted) {
            descriptors::warn_if_short(wanted);
        }
        if !published.changed().await {
            return;
        }
    }
}

fn join_all(threads: Vec<JoinHandle<()>>) {
    for thread in threads {
        if thread.join().is_err() {
            tracing::error!("a thread panicked");
        }
    }
}

/// How long a file that is being read may take when its service has ended.
const BLOCKED: Duration = Duration::from_millis(500);

/// A thread with a runtime of its own, which runs `service` to its end and then drops what is left of its tasks.
fn spawn<S, F>(name: &str, service: S) -> Result<JoinHandle<()>, StartError>
where
    S: FnOnce() -> F + Send + 'static,
    F: Future<Output = ()>,
{
    // What needs the last descriptors is in place before anybody else can take them.
    let (ready, started) = std::sync::mpsc::sync_channel(1);
    let run = move || match Builder::new_current_thread()
        .enable_all()
        // The runtime's other threads: those for what blocks, such as reading a configuration.
        .on_thread_start(give_way)
        .build_local(LocalOptions::default())
    {
        Ok(runtime) => {
            // The starter waits for this, unless it has given up.
            let _ = ready.send(Ok(()));
            runtime.block_on(service());
            // What still blocks, such as a name server that does not answer, holds nobody up.
            runtime.shutdown_timeout(BLOCKED);
        }
        Err(error) => {
            let _ = ready.send(Err(error));
        }
    };
    let thread = std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(run)
        .map_err(StartError::Thread)?;
    let started = started.recv().unwrap_or(Ok(()));
    started.map(|()| thread).map_err(StartError::Thread)
}

/// Lets the present thread run when the shards leave time for it: where there are as many shards as cores, reading a file with
/// a thousand backends would take milliseconds from requests.
fn give_way() {
    /// On a saturated core, a tenth of what a shard gets.
    const NICE: i32 = 10;
    if let Err(error) = rustix::process::nice(NICE) {
        tracing::debug!(%error, "a thread's priority cannot be lowered");
    }
}
