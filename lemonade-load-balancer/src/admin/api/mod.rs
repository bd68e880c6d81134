//! `/api/v1/…`: JSON in and out. Every path is declared together with its description, so that the OpenAPI document at
//! `/api/v1/openapi.json` cannot miss one.

mod backends;
mod config;
mod decisions;
mod dump;
mod events;
mod explain;
mod history;
mod process;
mod status;
mod strategy;

use super::Admin;
use super::problem::Problem;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use utoipa::{IntoParams, OpenApi};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// The document's frame; paths and schemas are collected from the routes.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Lemonade admin API",
        description = "Reads and changes a running load balancer. Errors are problem details (RFC 9457).",
        license(name = "MIT")
    ),
    components(schemas(Problem))
)]
struct Document;

/// Whether a change by hand outlives the process.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct Persist {
    /// Keep the change: in the database that the backend came from, else in a file beside the configuration.
    #[serde(default)]
    persist: bool,
}

/// How many.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Limit {
    /// The most that are wanted; 256 are kept.
    limit: Option<usize>,
}

pub(super) fn routes() -> Router<Admin> {
    let described = OpenApiRouter::with_openapi(Document::openapi()).nest(
        "/api/v1",
        OpenApiRouter::new()
            .routes(routes!(status::status))
            .routes(routes!(backends::list, backends::add))
            .routes(routes!(backends::one, backends::remove))
            .routes(routes!(backends::drain))
            .routes(routes!(backends::enable))
            .routes(routes!(backends::weight))
            .routes(routes!(strategy::present, strategy::set))
            .routes(routes!(decisions::list))
            .routes(routes!(explain::dry_run))
            .routes(routes!(explain::picks))
            .routes(routes!(config::present))
            .routes(routes!(config::check))
            .routes(routes!(config::reload))
            .routes(routes!(events::follow))
            .routes(routes!(history::totals))
            .routes(routes!(history::backends))
            .routes(routes!(history::one))
            .routes(routes!(history::live))
            .routes(routes!(process::drain))
            .routes(routes!(process::upgrade)),
    );
    // The file is for people: its address is short.
    let described = described.routes(routes!(dump::dump));
    let (router, document) = described.split_for_parts();
    // It does not change while the process runs.
    let document = serde_json::to_value(document).unwrap_or_default();
    router
        .route(
            "/api/v1/openapi.json",
            get(move || std::future::ready(Json(document.clone()))),
        )
        .method_not_allowed_fallback(|| async {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "no such method here")
        })
}
