//! The last quarter of an hour, and each second as it comes.

use super::super::Admin;
use super::super::problem::Problem;
use crate::history::{BackendSeries, FullSample, KEPT, Sample, Totals};
use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::response::sse::{self, KeepAlive, Sse};
use futures_util::stream::{self, Stream};
use serde::{Deserialize, Serialize};
use std::convert::Infallible;
use std::sync::Arc;
use tokio::sync::watch::Receiver;
use utoipa::{IntoParams, ToSchema};

/// How far back.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Back {
    /// The last so many seconds; 900 are kept.
    seconds: Option<usize>,
}

/// How far back, and of whom.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Whose {
    /// The last so many seconds; 900 are kept. 60 unless it is said.
    seconds: Option<usize>,
    /// One backend's name; all if it is left out.
    name: Option<String>,
}

/// The balancer as a whole, second by second.
#[derive(Serialize, ToSchema)]
pub(super) struct History {
    /// The oldest first.
    samples: Vec<Totals>,
}

/// The balancer as a whole, second by second.
#[utoipa::path(
    get,
    path = "/history",
    params(Back),
    responses((status = 200, body = History), (status = 400, body = Problem))
)]
pub(super) async fn totals(
    State(admin): State<Admin>,
    back: Result<Query<Back>, QueryRejection>,
) -> Result<Json<History>, Problem> {
    let Query(Back { seconds }) = back?;
    let samples = admin.history.totals(seconds.unwrap_or(KEPT));
    Ok(Json(History { samples }))
}

/// Backends, second by second; their columns have a value for each sample from `first` to `last`.
#[derive(Serialize, ToSchema)]
pub(super) struct Backends {
    /// The number of the first sample; 0 if there is none yet.
    first: u64,
    /// That of the last.
    last: u64,
    /// All that were there in these seconds.
    backends: Vec<BackendSeries>,
}

/// Each backend, second by second.
#[utoipa::path(
    get,
    path = "/history/backends",
    params(Whose),
    responses((status = 200, body = Backends), (status = 400, body = Problem))
)]
pub(super) async fn backends(
    State(admin): State<Admin>,
    whose: Result<Query<Whose>, QueryRejection>,
) -> Result<Json<Backends>, Problem> {
    let Query(Whose { seconds, name }) = whose?;
    let series = admin.history.series(seconds.unwrap_or(60), name.as_deref());
    Ok(Json(Backends {
        first: series.first,
        last: series.last,
        backends: series.backends,
    }))
}

/// One second of everything.
#[utoipa::path(
    get,
    path = "/history/{id}",
    params(("id" = u64, Path, description = "The sample's number")),
    responses(
        (status = 200, body = FullSample<'static>),
        (status = 400, body = Problem),
        (status = 404, body = Problem)
    )
)]
pub(super) async fn one(
    State(admin): State<Admin>,
    id: Result<Path<u64>, PathRejection>,
) -> Result<impl IntoResponse, Problem> {
    let Path(id) = id?;
    let sample = admin.history.sample(id).ok_or_else(|| {
        let detail = format!("there is no sample {id}: fifteen minutes of them are kept");
        Problem::new(StatusCode::NOT_FOUND, detail)
    })?;
    Ok(([(header::CONTENT_TYPE, "application/json")], json(&sample)))
}

/// The last second, and then each as it is over.
#[utoipa::path(
    get,
    path = "/live",
    responses((
        status = 200,
        body = String,
        content_type = "text/event-stream",
        description = "One event a second: `id`, `event` (`sample`) and `data` (JSON, as of `/history/{id}`). Who reads slowly misses some"
    ))
)]
pub(super) async fn live(
    State(admin): State<Admin>,
) -> Sse<impl Stream<Item = Result<sse::Event, Infallible>>> {
    let mut samples = admin.history.live();
    samples.mark_changed();
    Sse::new(stream::unfold(samples, following)).keep_alive(KeepAlive::default())
}

type Samples = Receiver<Option<Arc<Sample>>>;

async fn following(mut samples: Samples) -> Option<(Result<sse::Event, Infallible>, Samples)> {
    loop {
        samples.changed().await.ok()?;
        let sample = samples.borrow_and_update().clone();
        if let Some(sample) = sample {
            let event = sse::Event::default()
                .id(sample.totals.id.to_string())
                .event("sample")
                .data(json(&sample));
            return Some((Ok(event), samples));
        }
    }
}

/// Strings and numbers always serialize, and their JSON has no line break.
fn json(sample: &Sample) -> String {
    serde_json::to_string(&sample.full()).unwrap_or_default()
}
