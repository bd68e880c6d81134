//! One core: a thread with its own runtime, listener, client connections and pools of backend connections.
//!
//! Shards share nothing on a request's way but the published snapshot, the backends' load and the rotation's cursor, all
//! plain atomics. The kernel spreads new connections over the shards' listeners (`SO_REUSEPORT`).

use super::accept;
use super::access_log::Log;
use super::admission::Admission;
use super::budget::{Budget, Floor};
use super::buffer;
use super::deadline::Timers;
use super::headers::{RequestId, RequestIds};
use super::journal::{Journal, Journals};
use super::queue::Queue;
use super::sampling::Sampling;
use super::scarcity::Complaint;
use super::tracing::{Traced, Tracing};
use super::upstream::Upstream;
use super::view::View;
use crate::config::{Always, Retries};
use crate::control;
use crate::drain::{Drain, Phase};
use crate::http1::fields::Field;
use crate::http1::request::RequestHead;
use crate::listen::Feed;
use crate::log_file::LogWriter;
use crate::snapshot::{Published, Snapshot};
use crate::stats::{RequestStats, ShardStats};
use crate::strategy::PickContext;
use crate::traces::Traces;
use crate::traces::context::Unrecorded;
use arc_swap::ArcSwap;
use std::cell::{Cell, RefCell, RefMut};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::task::JoinError;

/// How often idle backend connections are looked over.
const SWEEP: Duration = Duration::from_secs(1);

/// What all shards share.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    pub(crate) published: Published,
    pub(crate) control: control::Handle,
    pub(crate) drain: Drain,
    /// Client connections open in the whole process.
    pub(crate) admission: Arc<Admission>,
    pub(crate) complaint: Arc<Complaint>,
    pub(crate) access_log: LogWriter,
    /// Requests that wait for a backend with room.
    pub(crate) queue: Arc<Queue>,
    /// Retries that are allowed whatever the budget says.
    pub(crate) retry_floor: Arc<Floor>,
    /// Where picks are handed in that somebody may want to see.
    pub(crate) drafts: control::Drafts,
    /// Where traces of sampled requests are handed in.
    pub(crate) traces: Traces,
    /// When time began, for strategies.
    pub(crate) epoch: Instant,
}

/// One core's state; everything in it belongs to one thread.
#[derive(Debug)]
pub(super) struct Shard {
    pub(super) index: usize,
    pub(super) timers: Rc<Timers>,
    pub(super) retry_budget: Budget,
    pub(super) hedge_budget: Budget,
    pub(super) shared: Shared,
    pub(super) stats: Arc<RequestStats>,
    cache: RefCell<arc_swap::Cache<Arc<ArcSwap<Snapshot>>, Arc<Snapshot>>>,
    pub(super) view: RefCell<Rc<View>>,
    /// This shard's way to every backend of the view's snapshot, in the order of its members.
    pub(super) upstreams: RefCell<Vec<Rc<Upstream>>>,
    pub(super) rng: RefCell<fastrand::Rng>,
    pub(super) sampling: Sampling,
    ids: RefCell<RequestIds>,
    pub(super) unrecorded: Unrecorded,
    scratch: RefCell<Vec<Field>>,
    pub(super) journals: Rc<Journals>,
    pub(super) log: RefCell<Log>,
    /// A line waits to be handed over, and none did.
    pub(super) log_begun: Notify,
    pub(super) draining: Cell<bool>,
    /// Requests that wait for a descriptor.
    pub(super) short: Cell<u32>,
    pub(super) open: Cell<usize>,
    /// So many idle clients shall leave, for their descriptors.
    pub(super) wanted: Cell<usize>,
    /// Those of the open ones that have no place: they are only told so.
    pub(super) turned_away: Cell<usize>,
    pub(super) all_closed: Notify,
}

/// Runs one shard on the present thread's runtime until it has drained, or the drain is over. It serves the sockets that it
/// is fed, and begins to drain when it is fed none.
///
/// All its work is done in spawned tasks: a wake-up of the runtime's main future costs a write to an `eventfd`, one of a
/// task does not.
pub(crate) async fn run(index: usize, feed: Feed, stats: Arc<RequestStats>, shared: Shared) {
    let mut drain = shared.drain.clone();
    let shard = Rc::new(Shard::new(index, stats, shared));
    let turned = shard.clone();
    let turn = move || turn_timers(turned.clone());
    tokio::task::spawn_local(keep_running(shard.clone(), "timers", turn));
    let swept = shard.clone();
    let sweep = move || sweep(swept.clone());
    tokio::task::spawn_local(keep_running(shard.clone(), "sweep", sweep));
    let logged = shard.clone();
    let hand_over = move || hand_lines_over(logged.clone());
    tokio::task::spawn_local(keep_running(shard.clone(), "access log", hand_over));
    let served = tokio::task::spawn_local(accept::serve(shard, feed));
    tokio::select! {
        served = served => {
            if let Err(error) = served {
                tracing::error!(shard = index, %error, "the shard's listener ended");
            }
        }
        () = drain.reached(Phase::Over) => {}
    }
}

/// Runs what the shard cannot do without, and anew after a panic.
async fn keep_running<F: Future<Output = ()> + 'static>(
    shard: Rc<Shard>,
    name: &'static str,
    task: impl Fn() -> F,
) {
    while let Err(error) = tokio::task::spawn_local(task()).await {
        shard.ended_early(name, &error);
        // If it panics at once, it does so every time.
        tokio::time::sleep(SWEEP).await;
    }
}

async fn turn_timers(shard: Rc<Shard>) {
    shard.timers.run().await;
}

async fn hand_lines_over(shard: Rc<Shard>) {
    shard.hand_lines_over().await;
}

async fn sweep(shard: Rc<Shard>) {
    shard.sweep().await;
}

impl Shard {
    fn new(index: usize, stats: Arc<RequestStats>, shared: Shared) -> Self {
        let mut rng = fastrand::Rng::new();
        let snapshot = shared.published.load();
        let ids = RequestIds::new(&mut rng);
        let unrecorded = Unrecorded::new(&mut rng);
        let empty = View {
            snapshot: snapshot.clone(),
            upstreams: Box::default(),
        };
        let log = Log::new(shared.access_log.clone());
        let shard = Shard {
            index,
            timers: Timers::new(),
            retry_budget: Budget::default(),
            hedge_budget: Budget::default(),
            stats,
            cache: RefCell::new(shared.published.cache()),
            shared,
            view: RefCell::new(Rc::new(empty)),
            upstreams: RefCell::default(),
            rng: RefCell::new(rng),
            sampling: Sampling::default(),
            ids: RefCell::new(ids),
            unrecorded,
            scratch: RefCell::default(),
            journals: Rc::default(),
            log: RefCell::new(log),
            log_begun: Notify::new(),
            draining: Cell::new(false),
            short: Cell::new(0),
            open: Cell::new(0),
            wanted: Cell::new(0),
            turned_away: Cell::new(0),
            all_closed: Notify::new(),
        };
        shard.renew_view(snapshot);
        shard
    }

    /// The present view. Cost while nothing changed: one atomic load and a count that is not atomic.
    pub(super) fn view(&self) -> Rc<View> {
        let mut cache = self.cache.borrow_mut();
        let snapshot = arc_swap::Cache::load(&mut cache);
        if !Arc::ptr_eq(snapshot, &self.view.borrow().snapshot) {
            self.renew_view(snapshot.clone());
        }
        self.view.borrow().clone()
    }

    /// A task that should have gone on did not.
    pub(super) fn ended_early(&self, name: &'static str, error: &JoinError) {
        if error.is_panic() {
            ShardStats::count(&self.stats.panics);
        }
        tracing::error!(shard = self.index, %error, "the shard's {name} ended early");
    }

    async fn sweep(&self) {
        let mut ticker = tokio::time::interval(SWEEP);
        let mut published = self.shared.published.clone();
        loop {
            tokio::select! {
                _ = ticker.tick() => {}
                // A new view may have room for those who wait.
                true = published.changed() => {
                    self.queue().freed();
                    continue;
                }
            }
            self.queue().freed();
            self.log_left_behind();
            self.retry_budget.age();
            self.hedge_budget.age();
            buffer::trim();
            let now = Instant::now();
            self.view();
            for upstream in self.upstreams.borrow().iter() {
                upstream.sweep(now);
            }
            for backend in self.view.borrow().snapshot.lapsed.iter() {
                self.timers.expire(Arc::as_ptr(backend).addr());
            }
        }
    }

    /// The strategy's choice among the view's pool, which is not empty.
    pub(super) fn pick(&self, view: &View, now: Instant, key: Option<u64>) -> usize {
        let mut rng = self.rng.borrow_mut();
        let mut context = PickContext {
            now: self.since_epoch(now),
            rng: &mut rng,
            key,
        };
        if self.sampling.is_due() {
            return self.pick_and_draft(view, &mut context);
        }
        view.snapshot
            .strategy
            .pick(&view.snapshot.pool, &mut context)
    }

    /// A number from 0 up to 1, 1 not among them.
    pub(super) fn draw(&self) -> f64 {
        self.rng.borrow_mut().f64()
    }

    /// How long after the beginning of time it is.
    pub(super) fn since_epoch(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.shared.epoch)
    }

    /// Where requests wait for room.
    pub(super) fn queue(&self) -> &Queue {
        &self.shared.queue
    }

    /// Takes a retry out of the budget, or out of what is always allowed.
    pub(super) fn may_spend(&self, retries: &Retries) -> bool {
        let spent = self.retry_budget.withdraw()
            || self
                .shared
                .retry_floor
                .withdraw(retries.min_per_second, self.shared.epoch.elapsed());
        if !spent {
            ShardStats::count(&self.stats.retries_refused);
        }
        spent
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// Storage for parsing a head; never held over an await.
    pub(super) fn scratch(&self) -> RefMut<'_, Vec<Field>> {
        self.scratch.borrow_mut()
    }

    pub(super) fn request_id(&self, head: &RequestHead<'_>) -> RequestId {
        self.ids.borrow_mut().of(head)
    }

    /// A journal for a request, if it is or may have to be logged, or is traced.
    pub(super) fn journal(
        &self,
        head: &RequestHead<'_>,
        id: &RequestId,
        client: SocketAddr,
        started: Instant,
        tracing: &Tracing,
        outbound: &[u8],
    ) -> Option<Box<Journal>> {
        let view = self.view.borrow();
        let log = &view.snapshot.config.access_log;
        let traced = tracing.part().filter(|part| part.is_sampled());
        if log.is_off() && traced.is_none() {
            return None;
        }
        let sampled = self.is_sampled(log);
        if !sampled && traced.is_none() && log.always == Always::default() {
            return None;
        }
        let mut journal = self.journals.begin(head, id, client, started, tracing);
        journal.sampled = sampled;
        journal.traced = traced.map(|part| Box::new(Traced::new(part, head, outbound)));
        Some(journal)
    }
}

impl Drop for Shard {
    /// The last of a drain: all connections are gone, and with them requests that nobody will finish.
    fn drop(&mut self) {
        self.log_left_behind();
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::backend::Backend;
    use crate::config::Config;
    use crate::listen::Inherited;
    use crate::log_file::{Destination, LogFile};
    use crate::snapshot::{self, Publisher};
    use crate::strategy::{Cursor, Explanation, Pool, RoundRobin, Strategy, Term};
    use crate::{config, drain, listen};
    use lemonade_config::Environment;
    use lemonade_test::{Client, Origin, until};
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
    use tokio::task::LocalSet;

    /// Has a fault that shows once.
    #[derive(Debug, Default)]
    struct Faulty {
        asked: AtomicU32,
    }

    impl Strategy for Faulty {
        fn pick(&self, _: &Pool, _: &mut PickContext<'_>) -> usize {
            assert!(self.asked.fetch_add(1, Relaxed) != 1, "the second pick");
            0
        }

        fn terms(&self, pool: &Pool, context: &PickContext<'_>) -> Vec<Vec<Term>> {
            RoundRobin::new(Arc::default()).terms(pool, context)
        }

        fn explain(&self, pool: &Pool, context: &PickContext<'_>) -> Explanation {
            RoundRobin::new(Arc::default()).explain(pool, context)
        }
    }

    /// What there is around a shard, and has to outlive it.
    pub(in crate::proxy) struct Around {
        address: SocketAddr,
        shared: Shared,
        stats: Arc<RequestStats>,
        open: Arc<AtomicU32>,
        backend: Arc<Backend>,
        _held: (control::Task, Publisher, drain::Trigger),
    }

    /// A shard that accepts nobody by itself.
    pub(in crate::proxy) fn idle(
        origin: &Origin,
        change: impl FnOnce(&mut Config),
    ) -> (Rc<Shard>, Around) {
        let strategy = Arc::new(RoundRobin::new(Arc::default()));
        let (around, _) = around(origin, strategy, change);
        let shard = Shard::new(0, around.stats.clone(), around.shared.clone());
        (Rc::new(shard), around)
    }

    fn config_of(origin: &Origin) -> Config {
        let backend = origin.address().to_string();
        let inputs = config::Inputs {
            environment: Environment::from_pairs([
                ("LEMONADE_LB_LISTEN_ADDRESS", "127.0.0.1:0"),
                ("LEMONADE_LB_BACKEND_ADDRESSES", &backend),
            ]),
            ..config::Inputs::default()
        };
        let mut config = inputs.load().unwrap().config;
        config.runtime.shards = 1;
        config.admin = None;
        config.health = None;
        config
    }

    fn around(
        origin: &Origin,
        strategy: Arc<dyn Strategy>,
        change: impl FnOnce(&mut Config),
    ) -> (Around, Feed) {
        let mut config = config_of(origin);
        change(&mut config);
        let (listeners, mut feeds, _) = listen::open(&config, Inherited::default()).unwrap();
        let address = listeners.listening().proxy;
        let (log, _) = LogFile::open(Destination::StandardOutput).unwrap();
        let access_log = log.writer();
        let epoch = Instant::now();
        let control::Started {
            task,
            handle: control,
            published,
            drafts,
            ..
        } = control::new(control::Setup {
            config,
            kept: config::Overlay::default(),
            handover: None,
            listeners,
            log,
            stats: Arc::default(),
            epoch,
        });
        let mut snapshot = Snapshot::new(2, published.load().parts(), &Arc::<Cursor>::default());
        snapshot.strategy = strategy;
        let backend = snapshot.members[0].live.clone();
        let (publisher, published) = snapshot::channel(snapshot);
        let (trigger, drain) = drain::channel();
        let open = Arc::<AtomicU32>::default();
        let shared = Shared {
            published,
            control,
            drain,
            admission: Arc::new(Admission::new(open.clone())),
            complaint: Arc::default(),
            access_log,
            queue: Arc::default(),
            retry_floor: Arc::default(),
            drafts,
            traces: crate::traces::channel().0,
            epoch,
        };
        let around = Around {
            address,
            shared,
            stats: Arc::default(),
            open,
            backend,
            _held: (task, publisher, trigger),
        };
        (around, feeds.remove(0))
    }

    #[tokio::test]
    async fn panic_costs_one_connection_and_is_counted() {
        let origin = Origin::named("a").await;
        let (shard, feed) = around(&origin, Arc::<Faulty>::default(), |_| {});
        let tasks = LocalSet::new();
        tasks.spawn_local(run(0, feed, shard.stats.clone(), shard.shared.clone()));
        let test = async {
            let mut bystander = Client::connect(shard.address).await;
            assert_eq!(bystander.get("/").await.status(), 200);
            let mut unlucky = Client::connect(shard.address).await;
            let request = "GET / HTTP/1.1\r\nHost: t\r\n\r\n";
            assert!(unlucky.try_answer_to(request).await.is_err());
            assert_eq!(shard.stats.panics.load(Relaxed), 1);
            until("its place is free", || shard.open.load(Relaxed) == 1).await;
            assert_eq!(bystander.get("/").await.status(), 200);
            assert_eq!(
                Client::connect(shard.address).await.get("/").await.status(),
                200
            );
            assert_eq!(shard.backend.load.in_flight(), 0);
        };
        tasks.run_until(test).await;
        assert_eq!(shard.stats.panics.load(Relaxed), 1, "no more than it was");
    }
}
