//! The configuration: what is in force, what another would change, and reading the file again.

use super::super::Admin;
use super::super::problem::Problem;
use crate::config::{self, Plan};
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, StatusCode, header};
use lemonade_config::{Document, Environment, Format};

/// The configuration in force, every default spelt out, secrets left out. Backends are those of the file; what all sources
/// add up to is at `/backends`.
#[utoipa::path(
    get,
    path = "/config",
    responses((status = 200, body = Object, description = "As a file would say it"))
)]
pub(super) async fn present(State(admin): State<Admin>) -> Json<serde_json::Value> {
    Json(config::view(&admin.published.load().config))
}

/// What a configuration would change if it were the file's: nothing is applied. Without a body, what reading the file again
/// would change. Variables (`${…}`) are not expanded in a body: the environment is not the caller's to read.
#[utoipa::path(
    post,
    path = "/config/check",
    request_body(
        content((String = "application/yaml"), (String = "application/toml"), (String = "application/json")),
        description = "A configuration, YAML if no type is given"
    ),
    responses(
        (status = 200, body = Plan, description = "What it would change, and in `refused` what it cannot"),
        (status = 422, body = Problem, description = "Every fault")
    )
)]
pub(super) async fn check(
    State(admin): State<Admin>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Plan>, Problem> {
    let body = body?;
    if body.is_empty() {
        return Ok(Json(admin.operator.check(None).await?));
    }
    let (format, expanded) = (format(&headers)?, is_expanded(&headers));
    // It may be long, and others are to be answered meanwhile.
    let read = tokio::task::spawn_blocking(move || read(&body, format, expanded));
    let document = read
        .await
        .map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))??;
    Ok(Json(admin.operator.check(Some(document)).await?))
}

fn read(body: &[u8], format: Format, expanded: bool) -> Result<Document, Problem> {
    let text = std::str::from_utf8(body)
        .map_err(|_| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "the body is not UTF-8"))?;
    let mut document = Document::parse("body", format, text, &Environment::default())?;
    if expanded {
        document.loosen();
    }
    Ok(document)
}

/// The caller has expanded variables already, and could not know of which type their values were to be.
fn is_expanded(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().ends_with(b";expanded=true"))
}

fn format(headers: &HeaderMap) -> Result<Format, Problem> {
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .unwrap_or("application/yaml");
    match kind.split(';').next().unwrap_or_default().trim() {
        "application/yaml" | "application/x-yaml" | "text/yaml" | "text/x-yaml" => Ok(Format::Yaml),
        "application/toml" | "text/toml" => Ok(Format::Toml),
        "application/json" => Ok(Format::Json),
        // What `curl --data-binary` says when it is told nothing.
        "application/x-www-form-urlencoded" | "text/plain" => Ok(Format::Yaml),
        other => Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!(
                "expected application/yaml, application/toml or application/json, found `{other}`"
            ),
        )),
    }
}

/// Reads the configuration again and applies it: all of it, or nothing.
#[utoipa::path(
    post,
    path = "/reload",
    responses(
        (status = 200, body = Plan, description = "What it changed"),
        (status = 409, body = Problem, description = "It cannot be run by this process"),
        (status = 422, body = Problem, description = "Every fault")
    )
)]
pub(super) async fn reload(State(admin): State<Admin>) -> Result<Json<Plan>, Problem> {
    Ok(Json(admin.operator.reload().await?))
}
