//! Opening a connection, and telling whose fault it is when that fails.

use crate::descriptors::is_exhaustion;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use thiserror::Error;
use tokio::net::TcpStream;

/// Why there is no connection. In every case nothing was sent.
#[derive(Debug, Error)]
pub(crate) enum ConnectError {
    #[error("no connection within {0:?}")]
    Timeout(Duration),
    /// Refused, unreachable, reset: the backend's fault or the network's.
    #[error("no connection")]
    Refused(#[source] io::Error),
    /// No descriptor, port or memory left here. Says nothing about the backend.
    #[error("this machine cannot open a connection")]
    Local(#[source] io::Error),
}

pub(crate) async fn connect(
    endpoint: SocketAddr,
    timeout: Duration,
) -> Result<TcpStream, ConnectError> {
    let stream = match tokio::time::timeout(timeout, TcpStream::connect(endpoint)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) if is_local(&error) => return Err(ConnectError::Local(error)),
        Ok(Err(error)) => return Err(ConnectError::Refused(error)),
        Err(_) => return Err(ConnectError::Timeout(timeout)),
    };
    // A relayed body leaves in several writes; without this, each short one waits for the last one's acknowledgement.
    stream.set_nodelay(true).map_err(ConnectError::Local)?;
    Ok(stream)
}

fn is_local(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::AddrNotAvailable
            | io::ErrorKind::OutOfMemory
            | io::ErrorKind::PermissionDenied
    ) || is_exhaustion(error)
}
