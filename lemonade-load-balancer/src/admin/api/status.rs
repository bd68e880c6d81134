//! How the balancer is doing as a whole.

use super::super::Admin;
use crate::control::Event;
use crate::snapshot::{Panic, SourceStatus};
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use utoipa::ToSchema;

/// The balancer as a whole.
#[derive(Serialize, ToSchema)]
pub(super) struct Status {
    /// Of the program.
    version: &'static str,
    /// `running`, `unready` or `draining`.
    phase: &'static str,
    /// Of the operating system.
    pid: u32,
    /// Since this process started.
    uptime_seconds: f64,
    /// Rises with every change of what requests see.
    generation: u64,
    /// Where clients connect.
    #[schema(value_type = String)]
    listen: SocketAddr,
    /// Where this API is.
    #[schema(value_type = Option<String>)]
    admin: Option<SocketAddr>,
    /// The file that is watched.
    #[serde(skip_serializing_if = "Option::is_none")]
    config_file: Option<String>,
    /// What was asked for, by the configuration or by hand.
    strategy: &'static str,
    /// Who picks; another than `strategy` only under `adaptive`.
    picks: &'static str,
    /// Client connections open.
    connections: u32,
    /// Backends that some source names.
    backends: usize,
    /// Those that may be picked.
    backends_eligible: usize,
    /// Those that are healthy or degraded.
    backends_usable: usize,
    /// Why backends are picked that are not usable: `few_usable` or `none_trusted`.
    #[serde(skip_serializing_if = "Option::is_none")]
    panic: Option<&'static str>,
    /// Sources of backends besides the file.
    sources: Vec<SourceStatus>,
    /// The last reload, applied or refused, as `/events` tells it; absent if there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    last_reload: Option<Event>,
}

/// How the balancer is doing as a whole.
#[utoipa::path(get, path = "/status", responses((status = 200, body = Status)))]
pub(super) async fn status(State(admin): State<Admin>) -> Json<Status> {
    let snapshot = admin.published.load();
    let file = admin.operator.file();
    Json(Status {
        version: env!("CARGO_PKG_VERSION"),
        phase: admin.drain.phase().name(),
        pid: std::process::id(),
        uptime_seconds: admin.started.elapsed().as_secs_f64(),
        generation: snapshot.generation,
        listen: snapshot.listening.proxy,
        admin: snapshot.listening.admin,
        config_file: file.map(|file| file.display().to_string()),
        strategy: snapshot.strategy_name.as_str(),
        picks: snapshot.picks_by.as_str(),
        connections: admin.connections.load(Relaxed),
        backends: snapshot.members.len(),
        backends_eligible: snapshot.pool.len(),
        backends_usable: snapshot.usable(),
        panic: snapshot.panic.map(Panic::as_str),
        sources: snapshot.sources.to_vec(),
        last_reload: admin.events.last_reload().as_deref().cloned(),
    })
}
