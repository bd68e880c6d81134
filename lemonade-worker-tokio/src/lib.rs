#![doc = include_str!("../README.md")]

mod body;
mod connection;

use std::io;
use std::net::TcpListener as StdListener;

use lemonade_service::{Worker, accept, listener};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Serves until `shutdown`, then until the requests in flight are answered or the drain timeout is over; connections
/// that are left then are dropped.
///
/// Runs on the tokio runtime it is called in, of either flavour.
pub async fn run(
    listener: StdListener,
    worker: Worker,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let listener = self::listener(listener)?;
    let (stop, stopped) = watch::channel(());
    let serving = serve(listener, worker.clone(), stopped);
    worker.serve(serving, shutdown, || drop(stop)).await
}

/// `stopped` is when its sender is gone.
async fn serve(
    listener: TcpListener,
    worker: Worker,
    mut stopped: watch::Receiver<()>,
) -> io::Result<()> {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            stream = accept(&listener) => {
                connections.spawn(connection::serve(stream, worker.clone(), stopped.clone()));
            }
            // The pattern keeps an empty set from being polled in vain.
            Some(_) = connections.join_next() => {}
            _ = stopped.changed() => break,
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
    Ok(())
}
