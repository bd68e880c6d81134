//! Which backend gets the next request: the run-time switch.

use super::super::Admin;
use super::super::problem::{Body, Problem};
use super::Persist;
use crate::control::{Order, Preference};
use crate::snapshot::Snapshot;
use crate::strategy::{Name, UnknownStrategy};
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use lemonade_config::RawDuration;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use utoipa::ToSchema;

/// What asks the configuration for the strategy.
const AUTO: &str = "auto";
/// Who sets a strategy for longer means for ever.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// The strategy that picks.
#[derive(Serialize, ToSchema)]
pub(super) struct StrategyStatus {
    /// What was asked for, by the configuration or by hand.
    name: &'static str,
    /// Who picks; another than `name` only under `adaptive`.
    picks: &'static str,
    /// What the configuration names; another one was set by hand if it differs.
    configured: &'static str,
    /// How long what was set by hand still holds, in seconds, if that has an end.
    #[serde(skip_serializing_if = "Option::is_none")]
    override_left_seconds: Option<f64>,
    /// How long until the engine may switch again, in seconds; absent where it has no say.
    #[serde(skip_serializing_if = "Option::is_none")]
    cooldown_left_seconds: Option<f64>,
    /// Every name that can be set.
    known: Vec<&'static str>,
}

/// The strategy that picks, and those that could.
#[utoipa::path(get, path = "/strategy", responses((status = 200, body = StrategyStatus)))]
pub(super) async fn present(State(admin): State<Admin>) -> Json<StrategyStatus> {
    let snapshot = admin.published.load();
    let now = admin.started.elapsed();
    let left = snapshot
        .override_until
        .map(|until| until.saturating_sub(now));
    Json(StrategyStatus {
        name: snapshot.strategy_name.as_str(),
        picks: snapshot.picks_by.as_str(),
        configured: snapshot.config.strategy.as_str(),
        override_left_seconds: left.map(|left| left.as_secs_f64()),
        cooldown_left_seconds: cooldown_left(&snapshot, now),
        known: Name::ALL.map(Name::as_str).to_vec(),
    })
}

fn cooldown_left(snapshot: &Snapshot, now: Duration) -> Option<f64> {
    let cooldown = snapshot.config.engine.settings.cooldown;
    let since = snapshot.switched.map(|at| now.saturating_sub(at));
    let left = since.map_or(Duration::ZERO, |since| cooldown.saturating_sub(since));
    (snapshot.strategy_name == Name::Adaptive).then_some(left.as_secs_f64())
}

/// A strategy to set.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewStrategy {
    /// Its name, or `auto` for what the configuration says.
    name: String,
    /// For how long, such as `10m`; then the configuration has its say again. Up to 7 days.
    #[serde(default)]
    ttl: Option<String>,
}

impl NewStrategy {
    fn preference(&self, persist: bool) -> Result<Preference, Problem> {
        let bad = |detail: String| Problem::new(StatusCode::BAD_REQUEST, detail);
        let ttl = match &self.ttl {
            None => None,
            Some(text) => {
                let ttl: RawDuration =
                    text.parse().map_err(|error| bad(format!("ttl: {error}")))?;
                Some(ttl.or_seconds())
            }
        };
        if ttl.is_some_and(|ttl| ttl.is_zero() || ttl > LONGEST) {
            return Err(bad("ttl: expected more than 0, up to 168h".to_owned()));
        }
        if ttl.is_some() && (persist || self.name == AUTO) {
            let detail = "a `ttl` is of a strategy that is set for a time: not of `auto`, nor of one that is kept";
            return Err(bad(detail.to_owned()));
        }
        let unknown = |error: UnknownStrategy| bad(error.to_string());
        let name = match self.name.as_str() {
            AUTO => None,
            name => Some(name.parse().map_err(unknown)?),
        };
        Ok(Preference { name, ttl })
    }
}

/// Switches the strategy; requests on their way keep the one they began with. It holds until the configuration names another
/// than it does now, or for `ttl`. Under `adaptive` the engine only advises while it does.
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
    let order = Order::Strategy(new.preference(persist)?);
    admin.operator.order(order, persist).await?;
    Ok(present(State(admin)).await)
}
