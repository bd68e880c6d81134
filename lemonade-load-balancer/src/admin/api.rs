//! `/api/v1/…`: JSON in and out, errors as RFC 9457 problems.

use super::Admin;
use crate::backend::{self, Latency};
use crate::drain::Phase;
use crate::strategy::Name;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

pub(super) fn routes() -> Router<Admin> {
    Router::new()
        .route("/status", get(status))
        .route("/backends", get(backends))
        .route("/backends/{name}", get(backend))
        .route("/strategy", get(strategy).put(set_strategy))
        .method_not_allowed_fallback(|| async {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "no such method here")
        })
        .fallback(|| async { Problem::new(StatusCode::NOT_FOUND, "no such path") })
}

/// An error answer (RFC 9457).
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    detail: String,
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Problem {
            status,
            detail: detail.into(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let title = self.status.canonical_reason().unwrap_or("Error");
        let body = serde_json::json!({ "title": title, "status": self.status.as_u16(), "detail": self.detail });
        (
            self.status,
            [(header::CONTENT_TYPE, "application/problem+json")],
            body.to_string(),
        )
            .into_response()
    }
}

#[derive(Serialize)]
struct Status {
    version: &'static str,
    phase: &'static str,
    uptime_seconds: f64,
    generation: u64,
    listen: std::net::SocketAddr,
    strategy: &'static str,
    connections: u32,
    backends: usize,
    backends_eligible: usize,
}

async fn status(State(admin): State<Admin>) -> Json<Status> {
    let snapshot = admin.published.load();
    Json(Status {
        version: env!("CARGO_PKG_VERSION"),
        phase: match admin.drain.phase() {
            Phase::Running => "running",
            Phase::Unready => "unready",
            Phase::Draining | Phase::Over => "draining",
        },
        uptime_seconds: admin.started.elapsed().as_secs_f64(),
        generation: snapshot.generation,
        listen: admin.listen,
        strategy: snapshot.strategy_name.as_str(),
        connections: admin.connections.load(Relaxed),
        backends: snapshot.members.len(),
        backends_eligible: snapshot.pool.len(),
    })
}

#[derive(Serialize)]
struct BackendStatus {
    name: String,
    address: String,
    weight: u32,
    state: backend::State,
    in_flight: u32,
    /// Average time to first byte over the last answers; absent while there is none of the last 10 s.
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_seconds: Option<f32>,
    requests: u64,
    errors: u64,
    failures: u64,
    retries: u64,
}

fn all(admin: &Admin) -> Vec<BackendStatus> {
    let snapshot = admin.published.load();
    let now = admin.started.elapsed();
    let status = |member: &crate::snapshot::Member| {
        let sum = |of: fn(&crate::stats::ShardStats) -> u64| member.live.stats.iter().map(of).sum();
        BackendStatus {
            name: member.config.name.clone(),
            address: member.live.id.to_string(),
            weight: member.config.weight,
            state: member.live.state.get(),
            in_flight: member.live.load.in_flight(),
            latency_seconds: latency(&member.live.load.latency, now),
            requests: sum(|shard| {
                shard
                    .responses
                    .iter()
                    .map(|count| count.load(Relaxed))
                    .sum()
            }),
            errors: sum(|shard| shard.responses[4].load(Relaxed)),
            failures: sum(|shard| {
                shard.failures.load(Relaxed) + shard.connect_failures.load(Relaxed)
            }),
            retries: sum(|shard| shard.retries.load(Relaxed)),
        }
    };
    snapshot.members.iter().map(status).collect()
}

fn latency(latency: &Latency, now: Duration) -> Option<f32> {
    latency.seconds(now)
}

async fn backends(State(admin): State<Admin>) -> Json<Vec<BackendStatus>> {
    Json(all(&admin))
}

async fn backend(
    State(admin): State<Admin>,
    Path(name): Path<String>,
) -> Result<Json<BackendStatus>, Problem> {
    let found = all(&admin)
        .into_iter()
        .find(|backend| backend.name == name || backend.address == name);
    found.map(Json).ok_or_else(|| {
        Problem::new(
            StatusCode::NOT_FOUND,
            format!("no backend is called `{name}`"),
        )
    })
}

#[derive(Serialize)]
struct StrategyStatus {
    name: &'static str,
    known: [&'static str; Name::ALL.len()],
}

async fn strategy(State(admin): State<Admin>) -> Json<StrategyStatus> {
    let name = admin.published.load().strategy_name.as_str();
    Json(StrategyStatus {
        name,
        known: Name::ALL.map(Name::as_str),
    })
}

#[derive(Deserialize)]
struct SetStrategy {
    name: String,
}

/// The run-time switch: `curl -X PUT -H 'content-type: application/json' -d '{"name": "random"}' …/api/v1/strategy`.
async fn set_strategy(
    State(admin): State<Admin>,
    headers: HeaderMap,
    order: Result<Json<SetStrategy>, JsonRejection>,
) -> Result<Json<StrategyStatus>, Problem> {
    refuse_other_origins(&headers)?;
    let Json(order) =
        order.map_err(|rejection| Problem::new(rejection.status(), rejection.body_text()))?;
    let name: Name = order
        .name
        .parse()
        .map_err(|error: crate::strategy::UnknownStrategy| {
            Problem::new(StatusCode::BAD_REQUEST, error.to_string())
        })?;
    let changed = admin.control.set_strategy(name).await;
    changed.map_err(|error| Problem::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string()))?;
    Ok(strategy(State(admin)).await)
}

/// A browser says with a changing request where its page came from; a page from elsewhere has no business here.
fn refuse_other_origins(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(origin) = headers.get(header::ORIGIN) else {
        return Ok(());
    };
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default();
    match origin
        .to_str()
        .ok()
        .and_then(|origin| origin.strip_prefix("http://"))
    {
        Some(origin) if origin == host && is_local(host) => Ok(()),
        _ => Err(Problem::new(
            StatusCode::FORBIDDEN,
            "changing calls from another origin are refused",
        )),
    }
}

/// A name that somebody else's DNS points at us is not ours.
fn is_local(host: &str) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    matches!(name, "localhost" | "127.0.0.1" | "[::1]")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(origin: &str, host: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        headers.insert(header::ORIGIN, origin.parse().unwrap());
        refuse_other_origins(&headers).is_ok()
    }

    #[test]
    fn only_our_own_pages_may_change_things() {
        assert!(allowed("http://127.0.0.1:50500", "127.0.0.1:50500"));
        assert!(!allowed("http://evil.example", "127.0.0.1:50500"));
        assert!(
            !allowed("http://evil.example:50500", "evil.example:50500"),
            "DNS rebinding"
        );
        assert!(!allowed("null", "127.0.0.1:50500"));
        assert!(
            refuse_other_origins(&HeaderMap::new()).is_ok(),
            "not a browser"
        );
    }
}
