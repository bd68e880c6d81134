//! The demo's own clients: kept-alive connections that ask for `/work` as fast as they are answered.

use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// What the clients have seen.
#[derive(Debug, Default)]
pub(super) struct Load {
    pub(super) answered: AtomicU64,
    /// No answer, or a status of 500 and above.
    pub(super) failed: AtomicU64,
}

/// Drives `connections` clients for ever.
pub(super) async fn drive(address: SocketAddr, connections: u16, load: Arc<Load>) {
    let mut clients = JoinSet::new();
    for _ in 0..connections {
        clients.spawn(client(address, load.clone()));
    }
    clients.join_all().await;
}

async fn client(address: SocketAddr, load: Arc<Load>) {
    loop {
        if requests(address, &load).await.is_err() {
            load.failed.fetch_add(1, Relaxed);
            // Nobody listens: do not spin.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Asks on one connection until it breaks.
async fn requests(
    address: SocketAddr,
    load: &Load,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let result = async {
        loop {
            sender.ready().await?;
            let request = Request::get("/work")
                .header("host", address.to_string())
                .body(Empty::<bytes::Bytes>::new())?;
            let answer = sender.send_request(request).await?;
            let status = answer.status();
            answer.into_body().collect().await?;
            load.answered.fetch_add(1, Relaxed);
            if status.is_server_error() {
                load.failed.fetch_add(1, Relaxed);
            }
        }
    }
    .await;
    connection.abort();
    result
}
