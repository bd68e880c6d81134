//! Who would get a request, and who got some.

use super::super::Admin;
use super::super::problem::{Body, Problem};
use super::Limit;
use crate::explain::{Asked, Moment, Pick, Report, report};
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use serde::Serialize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{SystemTime, UNIX_EPOCH};
use utoipa::ToSchema;

/// Says who would get such a request now, and why. It is not sent, and asking changes nothing.
#[utoipa::path(
    post,
    path = "/explain",
    request_body = Asked,
    responses(
        (status = 200, body = Report),
        (status = 422, body = Problem, description = "Nobody could send such a request")
    )
)]
pub(super) async fn dry_run(
    State(admin): State<Admin>,
    Body(asked): Body<Asked>,
) -> Result<Json<Report>, Problem> {
    let today = SystemTime::now().duration_since(UNIX_EPOCH);
    let today = today.unwrap_or_default().as_secs();
    let moment = Moment {
        now: admin.started.elapsed(),
        today: u32::try_from(today).unwrap_or(u32::MAX),
        queued: admin.queued.load(Relaxed),
    };
    let snapshot = admin.published.load();
    // Where pairs are weighed, 10,000 backends take seconds: others call meanwhile.
    let explained = tokio::task::spawn_blocking(move || report(&snapshot, &asked, &moment));
    let explained = explained.await.map_err(|error| {
        tracing::error!(%error, "explaining a request failed");
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "it could not be explained",
        )
    })?;
    Ok(Json(explained?))
}

/// Real picks.
#[derive(Serialize, ToSchema)]
pub(super) struct Picks {
    /// The newest first.
    picks: Vec<Pick>,
}

/// A sample of the picks that were made (`engine.trace_sample`), each with what everybody stood for at the time. A pick shows here up to
/// a quarter of a second later.
#[utoipa::path(
    get,
    path = "/explain/picks",
    params(Limit),
    responses((status = 200, body = Picks), (status = 400, body = Problem))
)]
pub(super) async fn picks(
    State(admin): State<Admin>,
    limit: Result<Query<Limit>, QueryRejection>,
) -> Result<Json<Picks>, Problem> {
    let Query(Limit { limit }) = limit?;
    let picks = admin.picks.newest(limit.unwrap_or(usize::MAX));
    Ok(Json(Picks { picks }))
}
