//! Which backend gets the next request: the run-time switch.

use super::super::Admin;
use super::super::problem::{Body, Problem};
use super::Persist;
use crate::control::Order;
use crate::strategy::{Name, UnknownStrategy};
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The strategy that picks.
#[derive(Serialize, ToSchema)]
pub(super) struct StrategyStatus {
    /// Its name.
    name: &'static str,
    /// What the configuration names; another one was set by hand if it differs.
    configured: &'static str,
    /// Every name that can be set.
    known: Vec<&'static str>,
}

/// The strategy that picks, and those that could.
#[utoipa::path(get, path = "/strategy", responses((status = 200, body = StrategyStatus)))]
pub(super) async fn present(State(admin): State<Admin>) -> Json<StrategyStatus> {
    let snapshot = admin.published.load();
    Json(StrategyStatus {
        name: snapshot.strategy_name.as_str(),
        configured: snapshot.config.strategy.as_str(),
        known: Name::ALL.map(Name::as_str).to_vec(),
    })
}

/// A strategy to set.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewStrategy {
    /// Its name.
    name: String,
}

/// Switches the strategy; requests on their way keep the one they began with. It holds until the configuration names another
/// than it does now.
#[utoipa::path(
    put,
    path = "/strategy",
    params(Persist),
    request_body = NewStrategy,
    responses((status = 200, body = StrategyStatus), (status = 400, body = Problem))
)]
pub(super) async fn set(
    State(admin): State<Admin>,
    persist: Result<Query<Persist>, QueryRejection>,
    Body(new): Body<NewStrategy>,
) -> Result<Json<StrategyStatus>, Problem> {
    let Query(Persist { persist }) = persist?;
    let unknown = |error: UnknownStrategy| Problem::new(StatusCode::BAD_REQUEST, error.to_string());
    let name: Name = new.name.parse().map_err(unknown)?;
    admin.operator.order(Order::Strategy(name), persist).await?;
    Ok(present(State(admin)).await)
}
