//! The admin listener: `/live`, `/ready`, `/metrics`, `/api/v1/…`, and the dashboard at `/`, on a thread and runtime of its own, so that
//! it answers while the proxy is saturated and a scrape never delays a request.
//!
//! [`guard`] decides who may call; [`api`] is what they may call, described by an OpenAPI document that it is served with;
//! [`dashboard`] is the page that does so.

mod api;
mod dashboard;
mod guard;
mod listener;
mod problem;

use crate::control::Errand;
use crate::control::{Decisions, Events, Operator, Picks};
use crate::drain::{Drain, Phase};
use crate::history::History;
use crate::listen::{Feed, Share};
use crate::snapshot::Published;
use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::middleware;
use axum::response::IntoResponse;
use axum::routing::get;
use listener::{Leaving, Peer};
use problem::Problem;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How long a connection that was accepted before its socket was let go may take to ask.
const GRACE: Duration = Duration::from_secs(1);
/// The largest body of a call: a configuration file of the largest size, and a little more.
const MAX_BODY: usize = (4 << 20) + 1024;

/// Writes `/metrics`.
pub(crate) type Scrape = Arc<dyn Fn() -> String + Send + Sync>;

/// Has the process do something as a whole; `false` if it is busy with such a thing already.
pub(crate) type RunErrand = Arc<dyn Fn(Errand) -> bool + Send + Sync>;

/// What the API reads and commands.
#[derive(Clone)]
pub(crate) struct Admin {
    pub(crate) published: Published,
    /// Client connections open.
    pub(crate) connections: Arc<AtomicU32>,
    pub(crate) scrape: Scrape,
    pub(crate) operator: Operator,
    pub(crate) events: Events,
    pub(crate) decisions: Decisions,
    pub(crate) picks: Picks,
    pub(crate) history: History,
    /// Requests that wait for a backend with room.
    pub(crate) queued: Arc<AtomicU32>,
    pub(crate) errand: RunErrand,
    pub(crate) drain: Drain,
    pub(crate) started: Instant,
}

/// Serves whatever sockets it is fed until the drain is over: whoever watches wants to see the drain.
pub(crate) async fn run(mut feed: Feed, admin: Admin) {
    let mut drain = admin.drain.clone();
    let router = router(admin);
    let mut serving = JoinSet::new();
    let mut present = watch::Sender::new(());
    loop {
        let share = tokio::select! {
            share = feed.recv() => share,
            () = drain.reached(Phase::Over) => return,
        };
        let Some(Share { sockets, .. }) = share else {
            break;
        };
        let next = watch::Sender::new(());
        for socket in sockets {
            serving.spawn(serve(socket, router.clone(), next.subscribe()));
        }
        // Calls on the old sockets finish, the one that moved the address among them.
        drop(std::mem::replace(&mut present, next));
        while serving.try_join_next().is_some() {}
    }
    drain.reached(Phase::Over).await;
}

/// Serves one socket until the other end of `present` is dropped and the calls under way have been answered.
async fn serve(socket: TcpListener, router: Router, mut present: watch::Receiver<()>) {
    let listening = present.clone();
    let gone = async move {
        let _ = present.changed().await;
        tokio::time::sleep(GRACE).await;
    };
    let served: io::Result<()> = async {
        let listener = Leaving::new(socket, listening)?;
        let service = router.into_make_service_with_connect_info::<Peer>();
        axum::serve(listener, service)
            .with_graceful_shutdown(gone)
            .await
    }
    .await;
    if let Err(error) = served {
        tracing::error!(%error, "the admin listener failed");
    }
}

fn router(admin: Admin) -> Router {
    let guard = middleware::from_fn_with_state(admin.clone(), guard::guard);
    Router::new()
        .route("/live", get(|| async { "live\n" }))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .merge(api::routes())
        .merge(dashboard::routes())
        .fallback(|| async { Problem::new(StatusCode::NOT_FOUND, "no such path") })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(guard)
        .with_state(admin)
}

/// 200 while requests are welcome: not leaving, and some backend may be picked.
async fn ready(State(admin): State<Admin>) -> (StatusCode, &'static str) {
    let pool = &admin.published.load().pool;
    let healthy = pool
        .backends()
        .iter()
        .any(|backend| backend.state.get().is_usable());
    match (admin.drain.phase(), healthy) {
        (Phase::Running, true) => (StatusCode::OK, "ready\n"),
        (Phase::Running, false) => (StatusCode::SERVICE_UNAVAILABLE, "no healthy backend\n"),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
    }
}

async fn metrics(State(admin): State<Admin>) -> impl IntoResponse {
    (
        [(
            header::CONTENT_TYPE,
            "text/plain; version=0.0.4; charset=utf-8",
        )],
        (admin.scrape)(),
    )
}
