#![doc = include_str!("../README.md")]

mod body;
mod connection;

use std::io;
use std::net::TcpListener as StdListener;

use lemonade_service::{Worker, each, listener};
use tokio::sync::watch;

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
    let serving = each(listener, stopped, |stream, stopped| {
        connection::serve(stream, worker.clone(), stopped)
    });
    worker.serve(serving, shutdown, || drop(stop)).await
}
