//! Taking connections, for the adapters that own their accept loop.

use std::io;
use std::net::TcpListener as StdListener;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
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
pub async fn accept(listener: &TcpListener) -> TcpStream {
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
