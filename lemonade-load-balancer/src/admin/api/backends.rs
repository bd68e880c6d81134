//! The backends: who is there, and what an operator may do with them.

use super::super::Admin;
use super::super::problem::{Body, Problem};
use super::Persist;
use crate::backend::{BackendId, FULL_SHARE, State as BackendState, UNLIMITED};
use crate::config::{Plan, Source, Tier, WEIGHTS};
use crate::control::Order;
use crate::explain::standing;
use crate::snapshot::Member;
use crate::stats::ShardStats;
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use lemonade_config::{Address, AddressError};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use utoipa::ToSchema;

/// One backend.
#[derive(Serialize, ToSchema)]
pub(super) struct BackendStatus {
    /// For people.
    name: String,
    /// `host:port`: who it is.
    address: String,
    /// Where connections go.
    #[schema(value_type = String)]
    endpoint: SocketAddr,
    /// Its share under the weighted strategies.
    weight: u32,
    /// As much of that as counts now: less in a slow start, or while it is degraded.
    effective_weight: f64,
    /// `primary`, or `backup`.
    #[schema(value_type = String)]
    tier: Tier,
    /// `starting`, `healthy`, `degraded`, `unhealthy`, `ejected` or `draining`.
    #[schema(value_type = String)]
    state: BackendState,
    /// Why it is in that state: `5 failures in a row; for another 2.1 s`. Absent while it may be picked.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    /// Who named it: `file`, `environment`, `command line`, `sql`, `dns NAME` or `api`.
    #[schema(value_type = String)]
    source: Source,
    /// An operator wants it to get no new request.
    drained: bool,
    /// Requests sent to it whose answer has not ended.
    in_flight: u32,
    /// Requests that it takes at once; absent where there is no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_in_flight: Option<u32>,
    /// Average time to first byte over the last answers; absent while there is none of the last 10 s.
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_seconds: Option<f32>,
    /// Answers since it was first met.
    requests: u64,
    /// Answers of 500 and above.
    errors: u64,
    /// Attempts without a usable answer.
    failures: u64,
    /// Attempts that were made again, there or elsewhere.
    retries: u64,
    /// How often it was ejected.
    ejections: u64,
}

fn report(member: &Member, now: Duration) -> BackendStatus {
    let sum = |of: fn(&ShardStats) -> u64| member.live.stats.iter().map(of).sum();
    BackendStatus {
        name: member.config.name.clone(),
        address: member.live.id.to_string(),
        endpoint: member.config.endpoint,
        weight: member.config.weight,
        effective_weight: f64::from(member.config.weight * member.live.share())
            / f64::from(FULL_SHARE),
        tier: member.config.tier,
        state: member.live.state.get(),
        why: standing(member, now),
        source: member.config.source.clone(),
        drained: member.config.drained,
        in_flight: member.live.load.in_flight(),
        max_in_flight: Some(member.live.load.limit()).filter(|limit| *limit != UNLIMITED),
        latency_seconds: member.live.load.latency.seconds(now),
        requests: sum(|shard| {
            let classes = shard.responses.iter();
            classes.map(|count| count.load(Relaxed)).sum()
        }),
        errors: sum(|shard| shard.responses[4].load(Relaxed)),
        failures: sum(|shard| shard.failures.load(Relaxed) + shard.connect_failures.load(Relaxed)),
        retries: sum(|shard| shard.retries.load(Relaxed)),
        ejections: member.live.ejections.load(Relaxed),
    }
}

/// Every backend, in the order of its source.
#[utoipa::path(get, path = "/backends", responses((status = 200, body = [BackendStatus])))]
pub(super) async fn list(State(admin): State<Admin>) -> Json<Vec<BackendStatus>> {
    let now = admin.started.elapsed();
    let snapshot = admin.published.load();
    let members = snapshot.members.iter();
    Json(members.map(|member| report(member, now)).collect())
}

/// One backend, by its name or address.
#[utoipa::path(
    get,
    path = "/backends/{name}",
    params(("name" = String, Path, description = "Its name or address")),
    responses((status = 200, body = BackendStatus), (status = 404, body = Problem))
)]
pub(super) async fn one(
    State(admin): State<Admin>,
    Path(name): Path<String>,
) -> Result<Json<BackendStatus>, Problem> {
    let id = admin.operator.find(&name)?;
    let snapshot = admin.published.load();
    let member = snapshot.member(&id);
    let member = member.ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "it has just gone"))?;
    Ok(Json(report(member, admin.started.elapsed())))
}

/// A backend to add.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewBackend {
    /// `host:port`; a host name is resolved once.
    address: String,
    /// Its address if it is left out.
    name: Option<String>,
    /// 1 to 65535, default 1.
    weight: Option<u32>,
}

/// Adds a backend. It stays until it is removed by hand, or the process ends.
#[utoipa::path(
    post,
    path = "/backends",
    params(Persist),
    request_body = NewBackend,
    responses(
        (status = 201, body = Plan, description = "What it changed"),
        (status = 409, body = Problem, description = "It is there already"),
        (status = 422, body = Problem, description = "It cannot be a backend")
    )
)]
pub(super) async fn add(
    State(admin): State<Admin>,
    persist: Result<Query<Persist>, QueryRejection>,
    Body(new): Body<NewBackend>,
) -> Result<(StatusCode, Json<Plan>), Problem> {
    let Query(Persist { persist }) = persist?;
    let address: Address = new
        .address
        .parse()
        .map_err(|error: AddressError| unprocessable(error.to_string()))?;
    let order = Order::Add {
        endpoint: resolve(&address).await?,
        name: new.name.map(valid_name).transpose()?,
        weight: valid_weight(new.weight.unwrap_or(1))?,
        address,
    };
    let plan = admin.operator.order(order, persist).await?;
    Ok((StatusCode::CREATED, Json(plan)))
}

async fn resolve(address: &Address) -> Result<SocketAddr, Problem> {
    let found = tokio::net::lookup_host((address.host(), address.port())).await;
    let first = found.ok().and_then(|mut found| found.next());
    first.ok_or_else(|| unprocessable(format!("`{}` does not resolve", address.host())))
}

fn valid_name(name: String) -> Result<String, Problem> {
    let plain = !name.chars().any(char::is_control) && !name.contains("${");
    match (1..=100).contains(&name.len()) && plain {
        true => Ok(name),
        false => Err(unprocessable(
            "expected a name of 1 to 100 characters without control characters and `${`",
        )),
    }
}

fn valid_weight(weight: u32) -> Result<u32, Problem> {
    match WEIGHTS.contains(&weight) {
        true => Ok(weight),
        false => Err(unprocessable(format!(
            "expected a weight of 1 to 65535, found {weight}"
        ))),
    }
}

fn unprocessable(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
}

/// Removes a backend: it gets no new request, those in flight finish. One that a source names is hidden for as long as it
/// does.
#[utoipa::path(
    delete,
    path = "/backends/{name}",
    params(("name" = String, Path, description = "Its name or address"), Persist),
    responses((status = 200, body = Plan), (status = 404, body = Problem))
)]
pub(super) async fn remove(
    State(admin): State<Admin>,
    Path(name): Path<String>,
    persist: Result<Query<Persist>, QueryRejection>,
) -> Result<Json<Plan>, Problem> {
    change(&admin, persist, Order::Remove(admin.operator.find(&name)?)).await
}

/// Has a backend get no new request until it is enabled again; those in flight finish.
#[utoipa::path(
    post,
    path = "/backends/{name}/drain",
    params(("name" = String, Path, description = "Its name or address"), Persist),
    responses((status = 200, body = Plan), (status = 404, body = Problem))
)]
pub(super) async fn drain(
    State(admin): State<Admin>,
    Path(name): Path<String>,
    persist: Result<Query<Persist>, QueryRejection>,
) -> Result<Json<Plan>, Problem> {
    change(&admin, persist, Order::Drain(admin.operator.find(&name)?)).await
}

/// Takes a drain back.
#[utoipa::path(
    post,
    path = "/backends/{name}/enable",
    params(("name" = String, Path, description = "Its name or address"), Persist),
    responses((status = 200, body = Plan), (status = 404, body = Problem))
)]
pub(super) async fn enable(
    State(admin): State<Admin>,
    Path(name): Path<String>,
    persist: Result<Query<Persist>, QueryRejection>,
) -> Result<Json<Plan>, Problem> {
    let id = match (admin.operator.find(&name), name.parse::<Address>()) {
        (Ok(id), _) => id,
        // It may be a row of the database that is not enabled, and so is no backend now.
        (Err(_), Ok(address)) => BackendId::new(address),
        (Err(unknown), Err(_)) => return Err(unknown.into()),
    };
    change(&admin, persist, Order::Enable(id)).await
}

/// A weight to set.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewWeight {
    /// 1 to 65535.
    weight: u32,
}

/// Sets a backend's weight. It holds until its source names another than it does now.
#[utoipa::path(
    put,
    path = "/backends/{name}/weight",
    params(("name" = String, Path, description = "Its name or address"), Persist),
    request_body = NewWeight,
    responses(
        (status = 200, body = Plan),
        (status = 404, body = Problem),
        (status = 422, body = Problem)
    )
)]
pub(super) async fn weight(
    State(admin): State<Admin>,
    Path(name): Path<String>,
    persist: Result<Query<Persist>, QueryRejection>,
    Body(new): Body<NewWeight>,
) -> Result<Json<Plan>, Problem> {
    let id = admin.operator.find(&name)?;
    change(
        &admin,
        persist,
        Order::Weight(id, valid_weight(new.weight)?),
    )
    .await
}

async fn change(
    admin: &Admin,
    persist: Result<Query<Persist>, QueryRejection>,
    order: Order,
) -> Result<Json<Plan>, Problem> {
    let Query(Persist { persist }) = persist?;
    Ok(Json(admin.operator.order(order, persist).await?))
}
