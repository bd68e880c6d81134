//! The process as a whole: going away, and being replaced.

use super::super::Admin;
use super::super::problem::Problem;
use crate::control::Errand;
use axum::extract::State;
use axum::http::StatusCode;

/// Goes away as on TERM: readiness fails, nothing new is accepted, what is in flight finishes.
#[utoipa::path(
    post,
    path = "/drain",
    responses((status = 202, description = "It has begun"), (status = 409, body = Problem))
)]
pub(super) async fn drain(State(admin): State<Admin>) -> Result<StatusCode, Problem> {
    run(&admin, Errand::Stop)
}

/// Hands over to a new process of the same program, as on USR2. Nothing is refused in between; this API is the new
/// process's as soon as it is ready.
#[utoipa::path(
    post,
    path = "/upgrade",
    responses((status = 202, description = "It has begun"), (status = 409, body = Problem))
)]
pub(super) async fn upgrade(State(admin): State<Admin>) -> Result<StatusCode, Problem> {
    run(&admin, Errand::Upgrade)
}

fn run(admin: &Admin, errand: Errand) -> Result<StatusCode, Problem> {
    match (admin.errand)(errand) {
        true => Ok(StatusCode::ACCEPTED),
        false => Err(Problem::new(
            StatusCode::CONFLICT,
            "it is going away or being replaced already",
        )),
    }
}
