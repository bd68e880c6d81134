//! What the engine decided, and why.

use super::super::Admin;
use super::super::problem::Problem;
use super::Limit;
use crate::decision::Decision;
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::Serialize;
use utoipa::ToSchema;

/// Decisions of the engine.
#[derive(Serialize, ToSchema)]
pub(super) struct Decisions {
    /// The newest first.
    decisions: Vec<Decision>,
}

/// What the engine decided since the process began: every switch, and every change of mind about one that was not made.
#[utoipa::path(
    get,
    path = "/decisions",
    params(Limit),
    responses((status = 200, body = Decisions), (status = 400, body = Problem))
)]
pub(super) async fn list(
    State(admin): State<Admin>,
    limit: Result<Query<Limit>, QueryRejection>,
) -> Result<Json<Decisions>, Problem> {
    let Query(Limit { limit }) = limit?;
    let decisions = admin.decisions.newest(limit.unwrap_or(usize::MAX));
    Ok(Json(Decisions { decisions }))
}
