//! A listening socket that is let go before the connections that came over it: whoever was accepted a moment before has yet to
//! ask, and is to be answered.

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use std::io;
use std::net::SocketAddr;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Accepts until the other end of `present` is dropped, then closes the socket and accepts nothing more.
pub(super) struct Leaving {
    listener: Option<TcpListener>,
    local: SocketAddr,
    present: watch::Receiver<()>,
}

impl Leaving {
    pub(super) fn new(
        socket: std::net::TcpListener,
        present: watch::Receiver<()>,
    ) -> io::Result<Self> {
        Ok(Leaving {
            local: socket.local_addr()?,
            listener: Some(TcpListener::from_std(socket)?),
            present,
        })
    }
}

impl Listener for Leaving {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        if let Some(listener) = &mut self.listener {
            tokio::select! {
                // axum's own: it waits when descriptors have run out.
                accepted = Listener::accept(listener) => return accepted,
                _ = self.present.changed() => self.listener = None,
            }
        }
        std::future::pending().await
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }
}

/// Who calls.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) SocketAddr);

impl Connected<IncomingStream<'_, Leaving>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Leaving>) -> Self {
        Peer(*stream.remote_addr())
    }
}
