//! The admin listener: `/live`, `/ready`, `/metrics` and `/api/v1/…`, on a thread and runtime of its own, so that it answers
//! while the proxy is saturated and a scrape never delays a request.
//!
//! Loopback only. Changing calls refuse browsers that come from another origin.

mod api;

use crate::control;
use crate::drain::{Drain, Phase};
use crate::snapshot::Published;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Instant;
use tokio::net::TcpListener;

/// Writes `/metrics`.
pub(crate) type Scrape = Arc<dyn Fn() -> String + Send + Sync>;

/// What the API reads and commands.
#[derive(Clone)]
pub(crate) struct Admin {
    pub(crate) published: Published,
    /// Where clients connect, with the port that the kernel chose if none was named.
    pub(crate) listen: SocketAddr,
    /// Client connections open.
    pub(crate) connections: Arc<AtomicU32>,
    pub(crate) scrape: Scrape,
    pub(crate) control: control::Handle,
    pub(crate) drain: Drain,
    pub(crate) started: Instant,
}

/// Serves until the drain is over: whoever watches wants to see the drain.
pub(crate) async fn run(listener: TcpListener, admin: Admin) -> io::Result<()> {
    let mut drain = admin.drain.clone();
    let router = Router::new()
        .route("/live", get(|| async { "live\n" }))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .nest("/api/v1", api::routes())
        .fallback(|| async { api::Problem::new(StatusCode::NOT_FOUND, "no such path") })
        .with_state(admin);
    tokio::select! {
        served = axum::serve(listener, router).into_future() => served,
        () = drain.reached(Phase::Over) => Ok(()),
    }
}

/// 200 while requests are welcome: not leaving, and some backend may be picked.
async fn ready(State(admin): State<Admin>) -> (StatusCode, &'static str) {
    let pool = &admin.published.load().pool;
    let healthy = pool
        .backends()
        .iter()
        .any(|backend| backend.state.get() == crate::backend::State::Healthy);
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
