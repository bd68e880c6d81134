//! The way in: which connections are accepted, which of them find a place, and what becomes of those that wait when a listening
//! socket is let go.

use super::admission::Place;
use super::downstream::{self, Client};
use super::reply::Reason;
use super::shard::Shard;
use crate::config::WhenFull;
use crate::descriptors::is_exhaustion;
use crate::listen::{Feed, Old, Share};
use crate::stats::ShardStats;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

/// How long a handshake that has begun may take to its end when its socket is to close.
const HANDSHAKE: Duration = Duration::from_secs(1);
/// How long a socket that is to close waits for descriptors, for those in its queue.
const MAKING_ROOM: Duration = Duration::from_secs(2);
/// Connections beyond the limit that are given time to read why they are turned away, per shard: those are beyond every
/// other bound.
const MAX_TURNED_AWAY: usize = 256;
/// A client connection that counts as open until this drops.
pub(super) struct OpenConnection {
    shard: Rc<Shard>,
    /// None: it is being turned away.
    place: Option<Place>,
}

impl OpenConnection {
    fn new(shard: &Rc<Shard>, place: Option<Place>) -> Self {
        shard.open.set(shard.open.get() + 1);
        if place.is_none() {
            shard.turned_away.set(shard.turned_away.get() + 1);
        }
        OpenConnection {
            shard: shard.clone(),
            place,
        }
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        let shard = &self.shard;
        // The runtime catches a panic where it polls the task, after everything that the connection held has been dropped: it
        // costs this one connection. Seen from here it costs the others nothing.
        if std::thread::panicking() {
            ShardStats::count(&shard.stats.panics);
        }
        shard.open.set(shard.open.get() - 1);
        match &self.place {
            Some(place) => shard.shared.admission.leave(place),
            None => shard.turned_away.set(shard.turned_away.get() - 1),
        }
        if shard.open.get() == 0 {
            shard.all_closed.notify_one();
        }
    }
}

/// A connection that was accepted and is not yet served. It waits here, outside of whatever may be cancelled: dropping it
/// would lose it without a word.
struct Accepted {
    stream: TcpStream,
    peer: SocketAddr,
    /// Where the client found us.
    local: SocketAddr,
}

/// Accepts on whatever sockets there are, until there are none; then waits for the last connection to close.
pub(super) async fn serve(shard: Rc<Shard>, mut feed: Feed) {
    let mut accepting = JoinSet::new();
    let mut present = watch::Sender::new(Old::Held);
    loop {
        let fed = tokio::select! {
            fed = feed.recv() => fed,
            Some(ended) = accepting.join_next() => {
                shard.accepting_ended(ended);
                continue;
            }
        };
        let Some(Share { sockets, old }) = fed else {
            break;
        };
        let draining = sockets.is_empty();
        // The new ones are served before the old ones are let go.
        let next = watch::Sender::new(Old::Held);
        for socket in sockets {
            accepting.spawn_local(serve_socket(shard.clone(), socket, next.subscribe()));
        }
        present.send_replace(old);
        present = next;
        if draining {
            break;
        }
    }
    shard.draining.set(true);
    shard.timers.wake_all();
    drop(present);
    while let Some(ended) = accepting.join_next().await {
        shard.accepting_ended(ended);
    }
    while shard.open.get() > 0 {
        shard.all_closed.notified().await;
    }
}

/// Accepts on one socket until `present` says what is to become of it.
async fn serve_socket(
    shard: Rc<Shard>,
    socket: std::net::TcpListener,
    mut present: watch::Receiver<Old>,
) {
    let listener = socket
        .local_addr()
        .and_then(|local| Ok((TcpListener::from_std(socket)?, local)));
    let (listener, local) = match listener {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "a listening socket cannot be used"),
    };
    let mut waiting = None;
    tokio::select! {
        () = accept(&shard, &listener, local, &mut waiting) => {}
        _ = present.changed() => {}
    }
    let old = *present.borrow();
    if old == Old::Closing {
        // Whoever had been let in when the filter was put on has this long to arrive.
        let arriving = accept(&shard, &listener, local, &mut waiting);
        let _ = tokio::time::timeout(HANDSHAKE, arriving).await;
        accept_queued(&shard, listener, local).await;
    }
    if let Some(accepted) = waiting {
        let place = shard.shared.admission.enter_anyway();
        admit(&shard, accepted, Ok(place));
    }
}

/// Accepts and admits without end. Who is accepted and has to wait for a place is in `waiting`, whatever becomes of this.
async fn accept(
    shard: &Rc<Shard>,
    listener: &TcpListener,
    local: SocketAddr,
    waiting: &mut Option<Accepted>,
) {
    loop {
        if let Some(peer) = waiting.as_ref().map(|accepted| accepted.peer) {
            let place = shard.place(peer).await;
            if let Some(accepted) = waiting.take() {
                admit(shard, accepted, place);
            }
        }
        shard.until_not_short().await;
        match listener.accept().await {
            Ok((stream, peer)) => {
                *waiting = Some(Accepted {
                    stream,
                    peer,
                    local,
                });
            }
            Err(error) if is_exhaustion(&error) => shard.run_short(&error).await,
            // The client gave up while it was queued.
            Err(error) => tracing::debug!(%error, "accepting a connection failed"),
        }
    }
}

/// Closes the listener, but not over connections that the kernel has queued: in their clients' eyes they were accepted.
/// Those for whom there is no room are told so, since nobody will be there to let them in later.
async fn accept_queued(shard: &Rc<Shard>, listener: TcpListener, local: SocketAddr) {
    let Ok(listener) = listener.into_std() else {
        return;
    };
    let begun = Instant::now();
    loop {
        let (stream, peer) = match listener.accept() {
            Ok(accepted) => accepted,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(error) if is_exhaustion(&error) && begun.elapsed() < MAKING_ROOM => {
                shard.run_short(&error).await;
                continue;
            }
            Err(error) if is_exhaustion(&error) => {
                return tracing::error!(%error, "connections that wait to be accepted are lost");
            }
            // One client gave up while it was queued; the next may not have.
            Err(_) => continue,
        };
        let ready = stream
            .set_nonblocking(true)
            .and_then(|()| TcpStream::from_std(stream));
        match ready {
            Ok(stream) => {
                let place = shard.try_place(peer);
                let accepted = Accepted {
                    stream,
                    peer,
                    local,
                };
                admit(shard, accepted, place);
            }
            Err(error) => tracing::debug!(%error, "accepting a connection failed"),
        }
    }
}

/// Serves a connection in its place, or tells it why it has none.
fn admit(shard: &Rc<Shard>, accepted: Accepted, place: Result<Place, Reason>) {
    let Accepted {
        stream,
        peer,
        local,
    } = accepted;
    ShardStats::count(&shard.stats.connections);
    let client = Client::new(stream, peer, local, shard);
    let reason = match place {
        Ok(place) => {
            let open = OpenConnection::new(shard, Some(place));
            tokio::task::spawn_local(downstream::serve(client, shard.clone(), open));
            return;
        }
        Err(reason) => reason,
    };
    ShardStats::count(match reason {
        Reason::TooManyOfClient => &shard.stats.over_client_limit,
        _ => &shard.stats.turned_away,
    });
    let open = OpenConnection::new(shard, None);
    tokio::task::spawn_local(downstream::turn_away(client, shard.clone(), open, reason));
}

impl Shard {
    fn accepting_ended(&self, ended: Result<(), JoinError>) {
        // One that was let go has ended as it should.
        if let Err(error) = ended {
            self.ended_early("accepting", &error);
        }
    }

    /// A place for a client, or why there is none.
    fn try_place(&self, peer: SocketAddr) -> Result<Place, Reason> {
        let view = self.view();
        let admission = &self.shared.admission;
        admission.enter(peer.ip(), &view.snapshot.config)
    }

    /// The same, but where the configuration says so, a client waits for somebody to leave.
    async fn place(&self, peer: SocketAddr) -> Result<Place, Reason> {
        let place = self.try_place(peer);
        if !self.shall_wait(&place) {
            return place;
        }
        let mut published = self.shared.published.clone();
        let watch = self.shared.admission.watch();
        loop {
            let mut left = pin!(watch.left());
            left.as_mut().enable();
            // Somebody may have left before it was watched for.
            let place = self.try_place(peer);
            if !self.shall_wait(&place) {
                return place;
            }
            tokio::select! {
                () = left => {}
                // The limit may be another now.
                changed = published.changed() => if !changed {
                    return place;
                },
            }
        }
    }

    fn shall_wait(&self, place: &Result<Place, Reason>) -> bool {
        matches!(place, Err(Reason::TooManyConnections))
            && self.view().snapshot.config.limits.when_full == WhenFull::Wait
    }

    /// So many are being turned away that they cannot all be waited for.
    pub(super) fn is_crowded(&self) -> bool {
        self.turned_away.get() > MAX_TURNED_AWAY
    }
}
