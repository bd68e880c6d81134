//! What a caller is told when a call comes to nothing: problem details (RFC 9457), in every case.

use crate::control::{OperatorError, OrderError, ReloadFailure};
use crate::explain::Unclear;
use axum::extract::FromRequest;
use axum::extract::rejection::{BytesRejection, JsonRejection, PathRejection, QueryRejection};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use lemonade_config::{Fault, Faults};
use serde::Serialize;
use utoipa::ToSchema;

/// An error answer, `application/problem+json`.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Problem {
    /// The status in words.
    title: String,
    /// The status.
    status: u16,
    /// What is wrong, and what would be right.
    detail: String,
    /// Every fault of a configuration.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    faults: Vec<FaultReport>,
}

/// One fault of a configuration.
#[derive(Debug, Serialize, ToSchema)]
struct FaultReport {
    /// The file, as it was named.
    file: String,
    /// From 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    /// In characters, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<usize>,
    /// The key: `backends[1].weight`.
    path: String,
    /// What is wrong.
    problem: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<String>,
}

impl From<&Fault> for FaultReport {
    fn from(fault: &Fault) -> Self {
        FaultReport {
            file: fault.file.clone(),
            line: fault.position.map(|position| position.line),
            column: fault.position.map(|position| position.column),
            path: fault.path.clone(),
            problem: fault.problem.clone(),
            help: fault.help.clone(),
        }
    }
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Problem {
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            faults: Vec::new(),
        }
    }

    pub(super) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        // Strings and numbers always serialize.
        let body = serde_json::to_string(&self).unwrap_or_default();
        let kind = [(header::CONTENT_TYPE, "application/problem+json")];
        (self.status(), kind, body).into_response()
    }
}

impl From<Faults> for Problem {
    fn from(faults: Faults) -> Self {
        Problem {
            faults: faults.iter().map(FaultReport::from).collect(),
            ..Problem::new(StatusCode::UNPROCESSABLE_ENTITY, faults.to_string())
        }
    }
}

impl From<ReloadFailure> for Problem {
    fn from(failure: ReloadFailure) -> Self {
        match failure {
            ReloadFailure::Faults(faults) => faults.into(),
            ReloadFailure::Refused(refused) => {
                Problem::new(StatusCode::CONFLICT, refused.to_string())
            }
            ReloadFailure::ShuttingDown(error) => {
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
            }
        }
    }
}

impl From<OrderError> for Problem {
    fn from(error: OrderError) -> Self {
        let status = match &error {
            OrderError::UnknownBackend { .. } => StatusCode::NOT_FOUND,
            OrderError::Exists(_) | OrderError::NameTaken(_) => StatusCode::CONFLICT,
            OrderError::OwnAddress(_) => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Problem::new(status, error.to_string())
    }
}

impl From<OperatorError> for Problem {
    fn from(error: OperatorError) -> Self {
        match error {
            OperatorError::Order(error) => error.into(),
            error @ OperatorError::Keep(_) => Problem::new(StatusCode::CONFLICT, error.to_string()),
            OperatorError::ShuttingDown(error) => {
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
            }
        }
    }
}

impl From<Unclear> for Problem {
    fn from(unclear: Unclear) -> Self {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, unclear.to_string())
    }
}

/// A JSON body whose faults are problems too.
#[derive(FromRequest)]
#[from_request(via(axum::Json), rejection(Problem))]
pub(super) struct Body<T>(pub(super) T);

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        Problem::new(rejection.status(), rejection.body_text())
    }
}

impl From<BytesRejection> for Problem {
    fn from(rejection: BytesRejection) -> Self {
        Problem::new(rejection.status(), rejection.body_text())
    }
}

impl From<PathRejection> for Problem {
    fn from(rejection: PathRejection) -> Self {
        Problem::new(rejection.status(), rejection.body_text())
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        Problem::new(rejection.status(), rejection.body_text())
    }
}
