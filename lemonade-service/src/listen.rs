//! Taking connections, for the adapters that own their accept loop.

use std::io;
use std::net::TcpListener as StdListener;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{debug, warn};

/// How long an idle connection is kept, by the frameworks that let us say. Longer than the balancer's 60 s: whoever
/// closes first must not be the one that cannot know whether a request is under way.
pub const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// After an accept that failed for want of something, such as descriptors, which time may bring back.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// The bound listener for the runtime this is called in.
pub fn listener(listener: StdListener) -> io::Result<TcpListener> {
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// The next connection, without Nagle's delay. Errors are logged and outlived. Dropping the future loses none.
async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                prompt(&stream);
                return stream;
            }
            // accept(2): the peer left while it queued; the next may be there.
            Err(error) if is_of_one_connection(&error) => debug!(%error, "connection lost"),
            Err(error) => {
                warn!(%error, again = ?ACCEPT_AGAIN, "cannot accept");
                tokio::time::sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}

/// Runs `connection` for each connection that comes, until `stopped`, whose sender is then gone; then waits for those that
/// are open. Each is handed `stopped` too, to end after the request it has.
pub async fn each<F>(
    listener: TcpListener,
    mut stopped: watch::Receiver<()>,
    connection: impl Fn(TcpStream, watch::Receiver<()>) -> F,
) -> io::Result<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            stream = accept(&listener) => {
                connections.spawn(connection(stream, stopped.clone()));
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

/// Small answers leave at once; a peer that is gone already will be noticed later.
pub fn prompt(stream: &TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "cannot set TCP_NODELAY");
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    let kinds = [
        ConnectionAborted,
        ConnectionRefused,
        ConnectionReset,
        Interrupted,
    ];
    kinds.contains(&error.kind())
}
