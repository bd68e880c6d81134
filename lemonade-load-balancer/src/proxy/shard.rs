//! One core: a thread with its own runtime, listener, client connections and pools of backend connections.
//!
//! Shards share nothing on a request's way but the published snapshot, the backends' load and the rotation's cursor, all
//! plain atomics. The kernel spreads new connections over the shards' listeners (`SO_REUSEPORT`).

use super::access_log::{self, Entry, Finish};
use super::budget::{Budget, Floor};
use super::buffer;
use super::deadline::Timers;
use super::downstream::{self, Client};
use super::exchange::Answer;
use super::forward::{Ended, Failure, Request};
use super::headers::{RequestId, RequestIds};
use super::queue::Queue;
use super::reply::Reason;
use super::retry::{Attempts, Slot};
use super::upstream::{ConnectError, Upstream, is_exhaustion};
use crate::backend::{Backend, State};
use crate::config::{Limits, Retries, Timeouts};
use crate::control::{self, Met};
use crate::drain::{Drain, Phase};
use crate::http1::HeadLimits;
use crate::http1::fields::Field;
use crate::http1::request::RequestHead;
use crate::listen::{Feed, Old, Share};
use crate::log_file::LogWriter;
use crate::snapshot::{Member, Panic, Published, Snapshot};
use crate::stats::{Outcome, RequestStats, ShardStats};
use crate::strategy::PickContext;
use arc_swap::ArcSwap;
use std::cell::{Cell, OnceCell, RefCell, RefMut};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

/// How long accepting rests when descriptors have run out: the backlog keeps what comes meanwhile.
const EXHAUSTION_PAUSE: Duration = Duration::from_millis(100);
/// How long a handshake that has begun may take to its end when its socket is to close.
const HANDSHAKE: Duration = Duration::from_secs(1);
/// How often idle backend connections are looked over.
const SWEEP: Duration = Duration::from_secs(1);

/// What all shards share.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    pub(crate) published: Published,
    pub(crate) control: control::Handle,
    pub(crate) drain: Drain,
    /// Client connections open in the whole process.
    pub(crate) connections: Arc<AtomicU32>,
    pub(crate) access_log: LogWriter,
    /// Requests that wait for a backend with room.
    pub(crate) queue: Arc<Queue>,
    /// Retries that are allowed whatever the budget says.
    pub(crate) retry_floor: Arc<Floor>,
    /// When time began, for strategies.
    pub(crate) epoch: Instant,
}

/// A snapshot with this shard's way to each backend of its pool, in the same order, and after them to those on trial.
#[derive(Debug)]
pub(super) struct View {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) upstreams: Box<[Rc<Upstream>]>,
}

impl From<&Limits> for HeadLimits {
    fn from(limits: &Limits) -> Self {
        HeadLimits {
            bytes: limits.header_bytes,
            fields: limits.header_fields,
            target: limits.uri_bytes,
        }
    }
}

/// The ways to `wanted`, which are in the order of `upstreams`.
fn these<'u>(
    upstreams: &'u [Rc<Upstream>],
    wanted: &'u [Arc<Backend>],
) -> impl Iterator<Item = Rc<Upstream>> + 'u {
    let mut upstreams = upstreams.iter();
    wanted.iter().filter_map(move |backend| {
        upstreams
            .find(|upstream| Arc::ptr_eq(&upstream.backend, backend))
            .cloned()
    })
}

/// Whether a status says that the backend failed. That it does not know a method or a version is the request's fault.
fn is_fault(status: u16) -> bool {
    status >= 500 && !matches!(status, 501 | 505)
}

impl View {
    /// Some backend may take another request.
    pub(super) fn has_room(&self) -> bool {
        let mut pool = self.snapshot.pool.backends().iter();
        pool.any(|backend| !backend.load.is_full())
    }

    pub(super) fn limits(&self) -> (Timeouts, HeadLimits) {
        (
            self.snapshot.config.timeouts,
            HeadLimits::from(&self.snapshot.config.limits),
        )
    }
}

/// One core's state; everything in it belongs to one thread.
#[derive(Debug)]
pub(super) struct Shard {
    index: usize,
    pub(super) timers: Rc<Timers>,
    pub(super) retry_budget: Budget,
    pub(super) hedge_budget: Budget,
    shared: Shared,
    stats: Arc<RequestStats>,
    cache: RefCell<arc_swap::Cache<Arc<ArcSwap<Snapshot>>, Arc<Snapshot>>>,
    view: RefCell<Rc<View>>,
    /// This shard's way to every backend of the view's snapshot, in the order of its members.
    upstreams: RefCell<Vec<Rc<Upstream>>>,
    rng: RefCell<fastrand::Rng>,
    ids: RefCell<RequestIds>,
    scratch: RefCell<Vec<Field>>,
    draining: Cell<bool>,
    open: Cell<usize>,
    all_closed: Notify,
}

/// A client connection that counts as open until this drops.
pub(super) struct OpenConnection(Rc<Shard>);

impl OpenConnection {
    fn new(shard: &Rc<Shard>) -> Self {
        shard.open.set(shard.open.get() + 1);
        OpenConnection(shard.clone())
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        let shard = &self.0;
        shard.open.set(shard.open.get() - 1);
        // Relaxed: a bound on how many there are, not a lock.
        shard.shared.connections.fetch_sub(1, Relaxed);
        if shard.open.get() == 0 {
            shard.all_closed.notify_one();
        }
    }
}

/// Runs one shard on the present thread's runtime until it has drained, or the drain is over. It serves the sockets that it
/// is fed, and begins to drain when it is fed none.
///
/// All its work is done in spawned tasks: a wake-up of the runtime's main future costs a write to an `eventfd`, one of a
/// task does not.
pub(crate) async fn run(index: usize, feed: Feed, stats: Arc<RequestStats>, shared: Shared) {
    let mut drain = shared.drain.clone();
    let shard = Rc::new(Shard::new(index, stats, shared));
    let timers = shard.timers.clone();
    tokio::task::spawn_local(async move { timers.run().await });
    let sweeper = shard.clone();
    tokio::task::spawn_local(async move { sweeper.sweep().await });
    let served = tokio::task::spawn_local(serve(shard, feed));
    tokio::select! {
        served = served => {
            if let Err(error) = served {
                tracing::error!(shard = index, %error, "the shard's listener ended");
            }
        }
        () = drain.reached(Phase::Over) => {}
    }
}

/// Accepts on whatever sockets there are, until there are none; then waits for the last connection to close.
async fn serve(shard: Rc<Shard>, mut feed: Feed) {
    let mut accepting = JoinSet::new();
    let mut present = watch::Sender::new(Old::Held);
    while let Some(Share { sockets, old }) = feed.recv().await {
        let draining = sockets.is_empty();
        // The new ones are served before the old ones are let go.
        let next = watch::Sender::new(Old::Held);
        for socket in sockets {
            accepting.spawn_local(serve_socket(shard.clone(), socket, next.subscribe()));
        }
        present.send_replace(old);
        present = next;
        if draining {
            break;
        }
    }
    shard.draining.set(true);
    shard.timers.wake_all();
    drop(present);
    while let Some(ended) = accepting.join_next().await {
        if let Err(error) = ended {
            tracing::error!(shard = shard.index, %error, "accepting ended early");
        }
    }
    while shard.open.get() > 0 {
        shard.all_closed.notified().await;
    }
}

/// Accepts on one socket until `present` says what is to become of it.
async fn serve_socket(
    shard: Rc<Shard>,
    socket: std::net::TcpListener,
    mut present: watch::Receiver<Old>,
) {
    let listener = socket
        .local_addr()
        .and_then(|local| Ok((TcpListener::from_std(socket)?, local)));
    let (listener, local) = match listener {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "a listening socket cannot be used"),
    };
    tokio::select! {
        () = accept(&shard, &listener, local) => {}
        _ = present.changed() => {}
    }
    let old = *present.borrow();
    if old == Old::Closing {
        // Whoever had been let in when the filter was put on has this long to arrive.
        let arriving = accept(&shard, &listener, local);
        let _ = tokio::time::timeout(HANDSHAKE, arriving).await;
        accept_queued(&shard, listener, local);
    }
}

async fn accept(shard: &Rc<Shard>, listener: &TcpListener, local: SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => admit(shard, stream, peer, local),
            Err(error) if is_exhaustion(&error) => {
                tracing::warn!(%error, "cannot accept connections: raise the limit on open files (ulimit -n)");
                tokio::time::sleep(EXHAUSTION_PAUSE).await;
            }
            // The client gave up while it was queued.
            Err(error) => tracing::debug!(%error, "accepting a connection failed"),
        }
    }
}

/// Closes the listener, but not over connections that the kernel has queued: in their clients' eyes they were accepted.
fn accept_queued(shard: &Rc<Shard>, listener: TcpListener, local: SocketAddr) {
    let Ok(listener) = listener.into_std() else {
        return;
    };
    loop {
        let (stream, peer) = match listener.accept() {
            Ok(accepted) => accepted,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(error) if is_exhaustion(&error) => {
                return tracing::warn!(%error, "connections are lost: raise the limit on open files (ulimit -n)");
            }
            // One client gave up while it was queued; the next may not have.
            Err(_) => continue,
        };
        let ready = stream
            .set_nonblocking(true)
            .and_then(|()| TcpStream::from_std(stream));
        match ready {
            Ok(stream) => admit(shard, stream, peer, local),
            Err(error) => tracing::debug!(%error, "accepting a connection failed"),
        }
    }
}

/// `local`: where the client found us.
fn admit(shard: &Rc<Shard>, stream: TcpStream, peer: SocketAddr, local: SocketAddr) {
    ShardStats::count(&shard.stats.connections);
    let limit = shard.view().snapshot.config.limits.max_connections;
    let open = shard.shared.connections.fetch_add(1, Relaxed);
    let guard = OpenConnection::new(shard);
    if open < limit {
        let client = Client::new(stream, peer, local, shard);
        tokio::task::spawn_local(downstream::serve(client, shard.clone(), guard));
    } else {
        ShardStats::count(&shard.stats.turned_away);
        let client = Client::new(stream, peer, local, shard);
        tokio::task::spawn_local(downstream::turn_away(client, shard.clone(), guard));
    }
}

impl Shard {
    fn new(index: usize, stats: Arc<RequestStats>, shared: Shared) -> Self {
        let mut rng = fastrand::Rng::new();
        let snapshot = shared.published.load();
        let ids = RequestIds::new(&mut rng);
        let empty = View {
            snapshot: snapshot.clone(),
            upstreams: Box::default(),
        };
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
            ids: RefCell::new(ids),
            scratch: RefCell::default(),
            draining: Cell::new(false),
            open: Cell::new(0),
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

    /// Takes over a new snapshot, keeping the idle connections to every backend that stays. Costs a few microseconds for
    /// 1,000 backends of which most stay in their places: requests wait for it.
    fn renew_view(&self, snapshot: Arc<Snapshot>) {
        let old = self.upstreams.take();
        let serves = |upstream: &&Rc<Upstream>, member: &Member| {
            upstream.endpoint == member.config.endpoint
                && Arc::ptr_eq(&upstream.backend, &member.live)
        };
        let elsewhere: OnceCell<HashMap<*const Backend, &Rc<Upstream>>> = OnceCell::new();
        let find_elsewhere = |member: &Member| {
            let by_backend = elsewhere.get_or_init(|| {
                let backends = old.iter();
                backends
                    .map(|upstream| (Arc::as_ptr(&upstream.backend), upstream))
                    .collect()
            });
            by_backend.get(&Arc::as_ptr(&member.live)).copied()
        };
        let upstream = |(place, member): (usize, &Member)| {
            let same_place = old.get(place).filter(|upstream| serves(upstream, member));
            let kept = same_place
                .or_else(|| find_elsewhere(member).filter(|upstream| serves(upstream, member)));
            let open = || Upstream::new(member.live.clone(), member.config.endpoint, self.index);
            let upstream = kept.cloned().unwrap_or_else(|| Rc::new(open()));
            if matches!(member.live.state.get(), State::Unhealthy | State::Ejected) {
                upstream.clear();
            }
            upstream
        };
        let upstreams: Vec<_> = snapshot.members.iter().enumerate().map(upstream).collect();
        // Both have some of the members, in their order.
        let in_pool = these(&upstreams, snapshot.pool.backends());
        let on_trial = these(&upstreams, &snapshot.trials);
        let ways = in_pool.chain(on_trial).collect();
        self.upstreams.replace(upstreams);
        *self.view.borrow_mut() = Rc::new(View {
            snapshot,
            upstreams: ways,
        });
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
    pub(super) fn pick(&self, view: &View, now: Instant) -> usize {
        let mut rng = self.rng.borrow_mut();
        let mut context = PickContext {
            now: self.since_epoch(now),
            rng: &mut rng,
        };
        view.snapshot
            .strategy
            .pick(&view.snapshot.pool, &mut context)
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

    /// What to remember of a request, if it is to be logged.
    pub(super) fn log_entry(
        &self,
        head: &RequestHead<'_>,
        client: SocketAddr,
    ) -> Option<Box<Entry>> {
        let sample = self.view.borrow().snapshot.config.access_log.sample;
        let wanted = sample > 0.0 && (sample >= 1.0 || self.rng.borrow_mut().f64() < sample);
        wanted.then(|| Box::new(Entry::new(head, client)))
    }

    /// Records a backend's answer, and what it says of the backend.
    pub(super) fn record(&self, slot: &Slot<'_>, answer: &Answer, took: Duration, view: &View) {
        let upstream = &*slot.upstream;
        let backend = &upstream.backend;
        upstream
            .stats()
            .record(Outcome::Answered(answer.status), took);
        // An error is fast for the wrong reason.
        if answer.status < 500 {
            let now = self.since_epoch(answer.first_byte);
            backend.load.latency.record(took, now);
        }
        if is_fault(answer.status) && !answer.retry_after {
            let error = || format!("its answer was {}", answer.status);
            self.record_fault(slot, view, error);
        } else {
            backend.load.succeeded();
            if slot.take_trial() {
                self.shared.control.met(backend, Met::TrialPassed);
            }
        }
        if view.snapshot.panic == Some(Panic::NoneReachable) && backend.is_unreachable() {
            self.shared.control.met(backend, Met::Answer);
        }
    }

    /// Records that a backend agreed to another protocol: no measure of how fast it works.
    pub(super) fn record_switch(&self, slot: &Slot<'_>, took: Duration) {
        slot.upstream.stats().record(Outcome::Answered(101), took);
        slot.upstream.backend.load.succeeded();
        if slot.take_trial() {
            self.shared
                .control
                .met(&slot.upstream.backend, Met::TrialPassed);
        }
    }

    /// Records a failure that is the backend's own.
    fn record_fault(&self, slot: &Slot<'_>, view: &View, error: impl FnOnce() -> String) {
        let backend = &slot.upstream.backend;
        ShardStats::count(&slot.upstream.stats().faults);
        let in_a_row = backend.load.failed();
        if slot.take_trial() {
            let (unreachable, error) = (false, error());
            let failed = Met::TrialFailed { unreachable, error };
            return self.shared.control.met(backend, failed);
        }
        let rules = &view.snapshot.config.outlier;
        // Again each time that many more are in a row: what did not lead to an ejection may now.
        if rules.is_some_and(|rules| in_a_row % rules.consecutive == 0) {
            self.shared.control.met(backend, Met::Failures(in_a_row));
        }
    }

    /// Records an answer that another one is waited for instead of.
    pub(super) fn record_refusal(&self, slot: &Slot<'_>, status: u16, view: &View) {
        let stats = slot.upstream.stats();
        stats.record(Outcome::Answered(status), Duration::ZERO);
        if is_fault(status) {
            self.record_fault(slot, view, || format!("its answer was {status}"));
        }
    }

    /// Records that a request is sent a second time.
    pub(super) fn record_hedge(&self, slot: &Slot<'_>) {
        ShardStats::count(&slot.upstream.stats().begun);
        ShardStats::count(&self.stats.hedges);
    }

    /// Records that the second copy was the first to be answered.
    pub(super) fn record_hedge_won(&self) {
        ShardStats::count(&self.stats.hedges_won);
    }

    /// Records a failed attempt, and reports the backend if no connection to it can be made.
    pub(super) fn blame(
        &self,
        slot: &Slot<'_>,
        failure: &Failure,
        attempts: &Attempts,
        view: &View,
    ) {
        let upstream = &*slot.upstream;
        match failure {
            Failure::Connect(ConnectError::Local(error)) => {
                tracing::warn!(%error, "no resources left for a connection to a backend");
            }
            Failure::Connect(error) => {
                upstream
                    .stats()
                    .record(Outcome::ConnectFailed, Duration::ZERO);
                ShardStats::count(&upstream.stats().faults);
                self.report_unreachable(slot, error);
            }
            Failure::Unanswered if attempts.was_stale(failure) => {}
            Failure::Unanswered | Failure::BadAnswer | Failure::AnswerTimeout => {
                upstream.stats().record(Outcome::Failed, Duration::ZERO);
                tracing::debug!(backend = %upstream.backend.id, ?failure, "attempt failed");
                self.record_fault(slot, view, || format!("{failure:?}"));
            }
            // Its answer has been counted already.
            Failure::Broken => self.record_fault(slot, view, || "its answer broke off".to_owned()),
            Failure::Refused(_) => {}
            // The client's doing, or nobody's.
            Failure::ClientGone
            | Failure::BadBody
            | Failure::RequestTimeout
            | Failure::QueueFull
            | Failure::QueueTimeout
            | Failure::Cut => {}
        }
    }

    fn report_unreachable(&self, slot: &Slot<'_>, error: &ConnectError) {
        let backend = &slot.upstream.backend;
        let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
        let error = format!("{error}{}", cause.unwrap_or_default());
        let unreachable = true;
        let met = match slot.take_trial() {
            true => Met::TrialFailed { unreachable, error },
            false if backend.is_unreachable() => return,
            false => Met::NoConnection(error),
        };
        self.shared.control.met(backend, met);
    }

    /// Records the end of a request.
    pub(super) fn finished(
        &self,
        request: Request,
        view: &View,
        attempts: &Attempts,
        ended: &Ended,
        bytes_in: u64,
    ) {
        let total = request.started.elapsed();
        self.stats.record(ended.status, total);
        let Some(entry) = request.log else { return };
        let names: Vec<String> = attempts
            .tried()
            .iter()
            .map(|index| {
                let upstream = &view.upstreams[*index as usize];
                view.snapshot.name_of(&upstream.backend)
            })
            .collect();
        let finish = Finish {
            id: &request.id,
            ended,
            strategy: view.snapshot.strategy_name.as_str(),
            backends: names.iter().map(String::as_str).collect(),
            attempts,
            total,
            bytes_in,
        };
        let format = view.snapshot.config.access_log.format;
        self.shared
            .access_log
            .write(access_log::write(format, &entry, &finish));
    }

    /// Records a request that no backend had room for.
    pub(super) fn record_shed(&self) {
        ShardStats::count(&self.stats.shed);
    }

    /// Records a connection whose request was refused before it was read.
    pub(super) fn refused(&self, reason: Reason, client: SocketAddr) {
        self.stats.record_refused(reason.status());
        tracing::debug!(%client, ?reason, "request refused");
    }
}
