//! One probe: a connection of its own, a question, an answer, and how the answer is to be understood.

use super::threshold::Probed;
use super::{grpc, http};
use crate::config::{HealthConfig, Probe, Statuses};
use crate::descriptors::is_exhaustion;
use crate::http1::HeadError;
use crate::http1::chunked::BadChunk;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

/// Why a probe failed.
#[derive(Debug, Error)]
pub(super) enum ProbeError {
    #[error("no connection within {0:?}")]
    ConnectTimeout(Duration),
    #[error("no connection: {0}")]
    Connect(io::Error),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    #[error("the answer is malformed: {0}")]
    Malformed(#[from] HeadError),
    #[error("the answer's body is malformed: {0}")]
    Body(#[from] BadChunk),
    #[error("the answer's status is {found}, not {expected}")]
    Status { found: u16, expected: Statuses },
    #[error("the answer's body lacks `{0}`")]
    Lacks(String),
    #[error("no HTTP/2: {0}")]
    Http2(String),
    #[error("the call failed with gRPC status {code}{message}")]
    Grpc { code: String, message: String },
    #[error("the answer is no HealthCheckResponse")]
    NoHealth,
    #[error("the service is {0}")]
    NotServing(&'static str),
}

impl ProbeError {
    /// What it says of the backend; `None` if it is this machine that could not open a connection.
    pub(super) fn probed(&self) -> Option<Probed> {
        Some(match self {
            ProbeError::Connect(error) if is_exhaustion(error) => return None,
            ProbeError::Connect(_) | ProbeError::ConnectTimeout(_) => Probed::Unreachable,
            ProbeError::Timeout(_) => Probed::TimedOut,
            _ => Probed::Wrong,
        })
    }
}

/// Asks once, within the timeout. `host` is what the backend is called in the question.
pub(super) async fn probe(
    config: &HealthConfig,
    endpoint: SocketAddr,
    host: &str,
) -> Result<(), ProbeError> {
    let allowed = config.timeout;
    let deadline = Instant::now() + allowed;
    let stream = timeout_at(deadline, TcpStream::connect(endpoint))
        .await
        .map_err(|_| ProbeError::ConnectTimeout(allowed))?
        .map_err(ProbeError::Connect)?;
    let question = async {
        match &config.probe {
            Probe::Tcp => Ok(()),
            Probe::Http(probe) => http::ask(probe, stream, host).await,
            Probe::Grpc { service } => grpc::ask(service, stream, host).await,
        }
    };
    let answer = timeout_at(deadline, question).await;
    answer.unwrap_or(Err(ProbeError::Timeout(allowed)))
}
