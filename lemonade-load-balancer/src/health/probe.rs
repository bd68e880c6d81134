//! One probe: a connection of its own, a question, an answer.

use crate::config::Probe;
use crate::http1::response::ResponseHead;
use crate::http1::{HeadError, HeadLimits, HeadScan};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const LIMITS: HeadLimits = HeadLimits {
    bytes: 16 << 10,
    fields: 100,
    target: 0,
};

/// Why a probe failed.
#[derive(Debug, Error)]
pub(super) enum ProbeError {
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("no connection: {0}")]
    Connect(io::Error),
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    #[error("the answer is malformed: {0}")]
    Malformed(#[from] HeadError),
    #[error("the answer's status is {0}")]
    Status(u16),
}

/// Asks once. The caller bounds the time.
pub(super) async fn probe(
    probe: &Probe,
    endpoint: SocketAddr,
    host: &str,
) -> Result<(), ProbeError> {
    let mut stream = TcpStream::connect(endpoint)
        .await
        .map_err(ProbeError::Connect)?;
    let Probe::Http { path } = probe else {
        return Ok(());
    };
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: lemonade-health-check\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    match status(&mut stream).await? {
        200..300 => Ok(()),
        status => Err(ProbeError::Status(status)),
    }
}

async fn status(stream: &mut TcpStream) -> Result<u16, ProbeError> {
    let mut received = Vec::with_capacity(1024);
    let mut scan = HeadScan::default();
    loop {
        if let Some(length) = scan.advance(&received)? {
            let status =
                ResponseHead::parse(&received[..length], false, &LIMITS, &mut Vec::new())?.status;
            if status >= 200 {
                return Ok(status);
            }
            received.drain(..length);
            scan = HeadScan::default();
            continue;
        }
        if received.len() > LIMITS.bytes {
            return Err(HeadError::TooLarge.into());
        }
        if stream.read_buf(&mut received).await? == 0 {
            return Err(ProbeError::Io(io::ErrorKind::UnexpectedEof.into()));
        }
    }
}
