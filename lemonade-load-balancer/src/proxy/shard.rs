//! One core: a thread with its own runtime, listener, client connections and pools of backend connections.
//!
//! Shards share nothing on a request's way but the published snapshot, the backends' load and the rotation's cursor, all
//! plain atomics. The kernel spreads new connections over the shards' listeners (`SO_REUSEPORT`).

use super::access_log::Log;
use super::admission::{Admission, Place};
use super::asked::Asker;
use super::budget::{Budget, Floor};
use super::buffer;
use super::deadline::Timers;
use super::downstream::{self, Client};
use super::headers::{RequestId, RequestIds};
use super::journal::{Journal, Journals};
use super::queue::Queue;
use super::reply::Reason;
use super::sampling::Sampling;
use super::scarcity::Complaint;
use super::tracing::{Part, Traced};
use super::upstream::Upstream;
use crate::backend::{Backend, State};
use crate::config::{Always, Limits, Retries, Timeouts, WhenFull};
use crate::control;
use crate::descriptors::is_exhaustion;
use crate::drain::{Drain, Phase};
use crate::http1::HeadLimits;
use crate::http1::fields::Field;
use crate::http1::request::RequestHead;
use crate::listen::{Feed, Old, Share};
use crate::log_file::LogWriter;
use crate::snapshot::{Member, Published, Snapshot};
use crate::stats::{RequestStats, ShardStats};
use crate::strategy::PickContext;
use crate::traces::Traces;
use arc_swap::ArcSwap;
use std::cell::{Cell, OnceCell, RefCell, RefMut};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::{JoinError, JoinSet};

/// How long a handshake that has begun may take to its end when its socket is to close.
const HANDSHAKE: Duration = Duration::from_secs(1);
/// How long a socket that is to close waits for descriptors, for those in its queue.
const MAKING_ROOM: Duration = Duration::from_secs(2);
/// Connections beyond the limit that are given time to read why they are turned away, per shard: those are beyond every
/// other bound.
const MAX_TURNED_AWAY: usize = 256;
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
    pub(super) shared: Shared,
    pub(super) stats: Arc<RequestStats>,
    cache: RefCell<arc_swap::Cache<Arc<ArcSwap<Snapshot>>, Arc<Snapshot>>>,
    view: RefCell<Rc<View>>,
    /// This shard's way to every backend of the view's snapshot, in the order of its members.
    pub(super) upstreams: RefCell<Vec<Rc<Upstream>>>,
    pub(super) rng: RefCell<fastrand::Rng>,
    pub(super) sampling: Sampling,
    ids: RefCell<RequestIds>,
    scratch: RefCell<Vec<Field>>,
    pub(super) journals: Rc<Journals>,
    pub(super) log: RefCell<Log>,
    /// A line waits, and none did.
    pub(super) log_begun: Notify,
    draining: Cell<bool>,
    /// Requests that wait for a descriptor.
    pub(super) short: Cell<u32>,
    pub(super) open: Cell<usize>,
    /// So many idle clients shall leave, for their descriptors.
    pub(super) wanted: Cell<usize>,
    /// Those of the open ones that have no place: they are only told so.
    turned_away: Cell<usize>,
    all_closed: Notify,
}

/// A client connection that counts as open until this drops.
pub(super) struct OpenConnection {
    shard: Rc<Shard>,
    /// None: it is being turned away.
    place: Option<Place>,
}

impl OpenConnection {
    fn new(shard: &Rc<Shard>, place: Option<Place>) -> Self {
        shard.open.set(shard.open.get() + 1);
        if place.is_none() {
            shard.turned_away.set(shard.turned_away.get() + 1);
        }
        OpenConnection {
            shard: shard.clone(),
            place,
        }
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        let shard = &self.shard;
        // The runtime catches a panic where it polls the task, after everything that the connection held has been dropped: it
        // costs this one connection. Seen from here it costs the others nothing.
        if std::thread::panicking() {
            ShardStats::count(&shard.stats.panics);
        }
        shard.open.set(shard.open.get() - 1);
        match &self.place {
            Some(place) => shard.shared.admission.leave(place),
            None => shard.turned_away.set(shard.turned_away.get() - 1),
        }
        if shard.open.get() == 0 {
            shard.all_closed.notify_one();
        }
    }
}

/// A connection that was accepted and is not yet served. It waits here, outside of whatever may be cancelled: dropping it
/// would lose it without a word.
struct Accepted {
    stream: TcpStream,
    peer: SocketAddr,
    /// Where the client found us.
    local: SocketAddr,
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

/// Accepts on whatever sockets there are, until there are none; then waits for the last connection to close.
async fn serve(shard: Rc<Shard>, mut feed: Feed) {
    let mut accepting = JoinSet::new();
    let mut present = watch::Sender::new(Old::Held);
    loop {
        let fed = tokio::select! {
            fed = feed.recv() => fed,
            Some(ended) = accepting.join_next() => {
                shard.accepting_ended(ended);
                continue;
            }
        };
        let Some(Share { sockets, old }) = fed else {
            break;
        };
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
        shard.accepting_ended(ended);
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
    let mut waiting = None;
    tokio::select! {
        () = accept(&shard, &listener, local, &mut waiting) => {}
        _ = present.changed() => {}
    }
    let old = *present.borrow();
    if old == Old::Closing {
        // Whoever had been let in when the filter was put on has this long to arrive.
        let arriving = accept(&shard, &listener, local, &mut waiting);
        let _ = tokio::time::timeout(HANDSHAKE, arriving).await;
        accept_queued(&shard, listener, local).await;
    }
    if let Some(accepted) = waiting {
        let place = shard.shared.admission.enter_anyway();
        admit(&shard, accepted, Ok(place));
    }
}

/// Accepts and admits without end. Who is accepted and has to wait for a place is in `waiting`, whatever becomes of this.
async fn accept(
    shard: &Rc<Shard>,
    listener: &TcpListener,
    local: SocketAddr,
    waiting: &mut Option<Accepted>,
) {
    loop {
        if let Some(peer) = waiting.as_ref().map(|accepted| accepted.peer) {
            let place = shard.place(peer).await;
            if let Some(accepted) = waiting.take() {
                admit(shard, accepted, place);
            }
        }
        shard.until_not_short().await;
        match listener.accept().await {
            Ok((stream, peer)) => {
                *waiting = Some(Accepted {
                    stream,
                    peer,
                    local,
                });
            }
            Err(error) if is_exhaustion(&error) => shard.run_short(&error).await,
            // The client gave up while it was queued.
            Err(error) => tracing::debug!(%error, "accepting a connection failed"),
        }
    }
}

/// Closes the listener, but not over connections that the kernel has queued: in their clients' eyes they were accepted.
/// Those for whom there is no room are told so, since nobody will be there to let them in later.
async fn accept_queued(shard: &Rc<Shard>, listener: TcpListener, local: SocketAddr) {
    let Ok(listener) = listener.into_std() else {
        return;
    };
    let begun = Instant::now();
    loop {
        let (stream, peer) = match listener.accept() {
            Ok(accepted) => accepted,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(error) if is_exhaustion(&error) && begun.elapsed() < MAKING_ROOM => {
                shard.run_short(&error).await;
                continue;
            }
            Err(error) if is_exhaustion(&error) => {
                return tracing::error!(%error, "connections that wait to be accepted are lost");
            }
            // One client gave up while it was queued; the next may not have.
            Err(_) => continue,
        };
        let ready = stream
            .set_nonblocking(true)
            .and_then(|()| TcpStream::from_std(stream));
        match ready {
            Ok(stream) => {
                let place = shard.try_place(peer);
                let accepted = Accepted {
                    stream,
                    peer,
                    local,
                };
                admit(shard, accepted, place);
            }
            Err(error) => tracing::debug!(%error, "accepting a connection failed"),
        }
    }
}

/// Serves a connection in its place, or tells it why it has none.
fn admit(shard: &Rc<Shard>, accepted: Accepted, place: Result<Place, Reason>) {
    let Accepted {
        stream,
        peer,
        local,
    } = accepted;
    ShardStats::count(&shard.stats.connections);
    let client = Client::new(stream, peer, local, shard);
    let reason = match place {
        Ok(place) => {
            let open = OpenConnection::new(shard, Some(place));
            tokio::task::spawn_local(downstream::serve(client, shard.clone(), open));
            return;
        }
        Err(reason) => reason,
    };
    ShardStats::count(match reason {
        Reason::TooManyOfClient => &shard.stats.over_client_limit,
        _ => &shard.stats.turned_away,
    });
    let open = OpenConnection::new(shard, None);
    tokio::task::spawn_local(downstream::turn_away(client, shard.clone(), open, reason));
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
            upstream.rename(&member.config.name);
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
        self.sampling.adopt(snapshot.config.engine.trace_sample);
        *self.view.borrow_mut() = Rc::new(View {
            snapshot,
            upstreams: ways,
        });
    }

    fn accepting_ended(&self, ended: Result<(), JoinError>) {
        // One that was let go has ended as it should.
        if let Err(error) = ended {
            self.ended_early("accepting", &error);
        }
    }

    /// A task that should have gone on did not.
    fn ended_early(&self, name: &'static str, error: &JoinError) {
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

    /// A place for a client, or why there is none.
    fn try_place(&self, peer: SocketAddr) -> Result<Place, Reason> {
        let view = self.view();
        let admission = &self.shared.admission;
        admission.enter(peer.ip(), &view.snapshot.config)
    }

    /// The same, but where the configuration says so, a client waits for somebody to leave.
    async fn place(&self, peer: SocketAddr) -> Result<Place, Reason> {
        let place = self.try_place(peer);
        if !self.shall_wait(&place) {
            return place;
        }
        let mut published = self.shared.published.clone();
        let watch = self.shared.admission.watch();
        loop {
            let mut left = pin!(watch.left());
            left.as_mut().enable();
            // Somebody may have left before it was watched for.
            let place = self.try_place(peer);
            if !self.shall_wait(&place) {
                return place;
            }
            tokio::select! {
                () = left => {}
                // The limit may be another now.
                changed = published.changed() => if !changed {
                    return place;
                },
            }
        }
    }

    fn shall_wait(&self, place: &Result<Place, Reason>) -> bool {
        matches!(place, Err(Reason::TooManyConnections))
            && self.view().snapshot.config.limits.when_full == WhenFull::Wait
    }

    /// So many are being turned away that they cannot all be waited for.
    pub(super) fn is_crowded(&self) -> bool {
        self.turned_away.get() > MAX_TURNED_AWAY
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
        asker: Asker<'_>,
        started: Instant,
        part: Option<&Part>,
        outbound: &[u8],
    ) -> Option<Box<Journal>> {
        let view = self.view.borrow();
        let log = &view.snapshot.config.access_log;
        let traced = part.filter(|part| part.is_sampled());
        if log.is_off() && traced.is_none() {
            return None;
        }
        let sampled = self.is_sampled(log);
        if !sampled && traced.is_none() && log.always == Always::default() {
            return None;
        }
        let mut journal = self.journals.begin(head, id, asker, started, part);
        journal.sampled = sampled;
        journal.traced = traced.map(|part| Traced::new(*part, head, outbound));
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
mod tests {
    use super::*;
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

    /// A shard that picks by `strategy`, and what has to outlive it.
    struct Alone {
        address: SocketAddr,
        stats: Arc<RequestStats>,
        open: Arc<AtomicU32>,
        backend: Arc<Backend>,
        _held: (control::Task, Publisher, drain::Trigger),
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

    /// To be run by the tasks of the set.
    fn alone(origin: &Origin, strategy: Arc<dyn Strategy>) -> (Alone, LocalSet) {
        let config = config_of(origin);
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
        let stats = Arc::<RequestStats>::default();
        let tasks = LocalSet::new();
        tasks.spawn_local(run(0, feeds.remove(0), stats.clone(), shared));
        let alone = Alone {
            address,
            stats,
            open,
            backend,
            _held: (task, publisher, trigger),
        };
        (alone, tasks)
    }

    #[tokio::test]
    async fn panic_costs_one_connection_and_is_counted() {
        let origin = Origin::named("a").await;
        let (shard, tasks) = alone(&origin, Arc::<Faulty>::default());
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
