//! The sockets that the process listens on: bound before anything depends on them, handed to whoever serves them, and let
//! go without losing a connection.
//!
//! Owned by the control task. A move to another address is bound first (`prepare`), so that a failure changes
//! nothing, and handed over after the rest of the change is published (`commit`). Sockets may also come from
//! outside: from systemd, or from the process that this one replaces ([`Inherited`]).

use crate::config::Config;
use socket2::{Domain, Protocol, SockFilter, SockRef, Socket, TcpKeepalive, Type};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::time::Duration;
use thiserror::Error;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Connections that the kernel completes before they are accepted, per shard (capped by `net.core.somaxconn`).
const BACKLOG: i32 = 4096;

/// When the kernel asks a peer that is silent whether it is still there, and for how long: one that lost its power or its
/// network is found out after two minutes. Inherited by the connections that a listener accepts (Linux), which costs them
/// nothing.
pub(crate) const KEEP_ALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_secs(60))
    .with_interval(Duration::from_secs(15))
    .with_retries(4);

/// What serves the sockets gets them here: from each message on, these and no others.
pub(crate) type Feed = UnboundedReceiver<Share>;

/// A server's sockets. None: nothing to serve any more.
#[derive(Debug)]
pub(crate) struct Share {
    pub(crate) sockets: Vec<TcpListener>,
    /// What becomes of those it had.
    pub(crate) old: Old,
}

/// What becomes of sockets that a server is to let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Old {
    /// Nobody else has them. The kernel lets nobody new in any more, so whoever is on the way in is to be waited for, and
    /// accepted: in their clients' eyes they were.
    Closing,
    /// Another process has them too, and goes on with them.
    Held,
}

/// An address cannot be listened on.
#[derive(Debug, Error)]
#[error("cannot listen on {address}: {}", explain(.cause))]
pub struct ListenError {
    /// The address.
    pub address: SocketAddr,
    /// Why.
    pub cause: io::Error,
}

fn explain(cause: &io::Error) -> String {
    match cause.kind() {
        io::ErrorKind::AddrInUse => "the address is in use by another process".to_owned(),
        io::ErrorKind::PermissionDenied => {
            "permission denied (ports below 1024 need CAP_NET_BIND_SERVICE)".to_owned()
        }
        io::ErrorKind::AddrNotAvailable => {
            "no interface of this machine has that address".to_owned()
        }
        _ => cause.to_string(),
    }
}

/// What a socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Clients connect to it.
    Proxy,
    /// The admin API.
    Admin,
}

impl Role {
    /// The name that goes with a socket from process to process (`LISTEN_FDNAMES`; systemd's `FileDescriptorName=`).
    pub fn name(self) -> &'static str {
        match self {
            Role::Proxy => "proxy",
            Role::Admin => "admin",
        }
    }
}

/// Listening sockets that somebody else has bound for us.
#[derive(Debug, Default)]
pub struct Inherited {
    /// The sockets.
    pub sockets: Vec<InheritedSocket>,
    /// Whoever bound them keeps them, for the process after this one: systemd does.
    pub held: bool,
}

/// One of them.
#[derive(Debug)]
pub struct InheritedSocket {
    /// What it was called: a [`Role::name`], or whatever the giver calls it.
    pub name: String,
    /// The socket.
    pub listener: TcpListener,
}

impl Inherited {
    /// Takes out the sockets for `role`: those of that name, or else those bound to the configured address.
    fn take(&mut self, role: Role, configured: SocketAddr) -> Vec<TcpListener> {
        let is_bound_there = |socket: &InheritedSocket| {
            let other = [Role::Proxy, Role::Admin]
                .iter()
                .any(|other| *other != role && socket.name == other.name());
            !other
                && socket
                    .listener
                    .local_addr()
                    .is_ok_and(|address| address == configured)
        };
        let named = |socket: &InheritedSocket| {
            socket.name == role.name()
                && socket
                    .listener
                    .local_addr()
                    .is_ok_and(|address| serves(address, configured))
        };
        let mut taken: Vec<_> = self
            .sockets
            .extract_if(.., |socket| named(socket) || is_bound_there(socket))
            .collect();
        taken.drain(..).map(|socket| socket.listener).collect()
    }

    /// Says which sockets nobody wants; they are closed.
    fn refuse_rest(self) {
        for socket in self.sockets {
            let address = socket.listener.local_addr().ok();
            tracing::warn!(
                name = socket.name,
                address = address.map(tracing::field::display),
                "closing an inherited socket: neither `listen` nor `admin` is its address"
            );
        }
    }
}

/// A socket bound to `address` is what `configured` asks for; a configured port 0 is any.
fn serves(address: SocketAddr, configured: SocketAddr) -> bool {
    address == configured || (configured.port() == 0 && address.ip() == configured.ip())
}

/// Where the process listens, with the ports that the kernel chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listening {
    /// Where clients connect.
    pub proxy: SocketAddr,
    /// Where the admin API is.
    pub admin: Option<SocketAddr>,
}

/// The sockets of one role, and what their address was asked for.
#[derive(Debug)]
struct Group {
    asked: SocketAddr,
    address: SocketAddr,
    sockets: Vec<TcpListener>,
    /// Somebody else keeps them too.
    held: bool,
}

/// Owns the sockets. Dropping it does not close those that were handed over.
#[derive(Debug)]
pub(crate) struct Listeners {
    proxy: Group,
    admin: Option<Group>,
    shards: Vec<UnboundedSender<Share>>,
    admin_feed: UnboundedSender<Share>,
}

/// Sockets that are bound and not yet in use, with what each server is to get of them. Dropping it lets them go again.
#[derive(Debug, Default)]
pub(crate) struct Prepared {
    proxy: Option<(Group, Vec<Vec<TcpListener>>)>,
    /// Without a group, the admin listener is to close.
    admin: Option<(Option<Group>, Vec<TcpListener>)>,
}

/// The sockets for `config`, and the feeds from which the shards and the admin service get them.
pub(crate) fn open(
    config: &Config,
    mut inherited: Inherited,
) -> Result<(Listeners, Vec<Feed>, Feed), ListenError> {
    let proxy = Group::open(Role::Proxy, config.listen, config, &mut inherited)?;
    let admin = config
        .admin
        .as_ref()
        .map(|admin| Group::open(Role::Admin, admin.listen, config, &mut inherited))
        .transpose()?;
    inherited.refuse_rest();
    let (shards, feeds) = (0..config.runtime.shards)
        .map(|_| unbounded_channel())
        .unzip();
    let (admin_feed, admin_receiver) = unbounded_channel();
    let listeners = Listeners {
        proxy,
        admin,
        shards,
        admin_feed,
    };
    listeners.feed_shards(listeners.proxy.shares(config.runtime.shards)?, Old::Held);
    listeners.feed_admin(shares_of(listeners.admin.as_ref())?, Old::Held);
    Ok((listeners, feeds, admin_receiver))
}

impl Prepared {
    /// Where the process will listen, which listens at `present`.
    pub(crate) fn listening(&self, present: Listening) -> Listening {
        let (proxy, admin) = (self.proxy.as_ref(), self.admin.as_ref());
        Listening {
            proxy: proxy.map_or(present.proxy, |(group, _)| group.address),
            admin: admin.map_or(present.admin, |(group, _)| {
                group.as_ref().map(|group| group.address)
            }),
        }
    }
}

impl Listeners {
    pub(crate) fn listening(&self) -> Listening {
        Listening {
            proxy: self.proxy.address,
            admin: self.admin.as_ref().map(|group| group.address),
        }
    }

    /// Binds what `config` asks for and is not there yet.
    pub(crate) fn prepare(&self, config: &Config) -> Result<Prepared, ListenError> {
        let mut prepared = Prepared::default();
        if config.listen != self.proxy.asked {
            let shards = self.shards.len();
            let group = Group::bind(config.listen, shards, Some(&self.proxy))?;
            let shares = group.shares(shards)?;
            prepared.proxy = Some((group, shares));
        }
        let asked = config.admin.as_ref().map(|admin| admin.listen);
        if asked != self.admin.as_ref().map(|group| group.asked) {
            let bound = asked.map(|address| Group::bind(address, 1, self.admin.as_ref()));
            let group = bound.transpose()?;
            let shares = shares_of(group.as_ref())?;
            prepared.admin = Some((group, shares));
        }
        Ok(prepared)
    }

    /// Hands the prepared sockets over and lets go of those that they replace.
    pub(crate) fn commit(&mut self, prepared: Prepared) {
        if let Some((group, shares)) = prepared.proxy {
            let old = std::mem::replace(&mut self.proxy, group).retire();
            self.feed_shards(shares, old);
        }
        if let Some((group, shares)) = prepared.admin {
            let old = std::mem::replace(&mut self.admin, group);
            let old = old.map_or(Old::Held, Group::retire);
            self.feed_admin(shares, old);
        }
    }

    /// Lets go of every socket. Those that another process took over stay open in its hands.
    pub(crate) fn close(mut self, taken_over: bool) {
        let nothing = || self.shards.iter().map(|_| Vec::new()).collect();
        if taken_over {
            self.feed_shards(nothing(), Old::Held);
            // A call would reach either process.
            self.feed_admin(Vec::new(), Old::Held);
        } else {
            let nothing = nothing();
            // The admin API goes on: whoever watches wants to see the drain.
            let old = self.proxy.retire_in_place();
            self.feed_shards(nothing, old);
        }
    }

    /// The sockets are kept by whoever bound them, for the process after this one.
    pub(crate) fn are_held(&self) -> bool {
        self.proxy.held
    }

    /// Every socket once more, for a process that is to take over.
    pub(crate) fn share(&self) -> io::Result<Vec<(Role, OwnedFd)>> {
        let proxy = self
            .proxy
            .sockets
            .iter()
            .map(|socket| (Role::Proxy, socket));
        let admin = self.admin.iter().flat_map(|group| &group.sockets);
        let admin = admin.map(|socket| (Role::Admin, socket));
        proxy
            .chain(admin)
            .map(|(role, socket)| Ok((role, socket.try_clone()?.into())))
            .collect()
    }

    // A server that is gone needs no sockets.
    fn feed_shards(&self, shares: Vec<Vec<TcpListener>>, old: Old) {
        for (feed, sockets) in self.shards.iter().zip(shares) {
            let _ = feed.send(Share { sockets, old });
        }
    }

    fn feed_admin(&self, sockets: Vec<TcpListener>, old: Old) {
        let _ = self.admin_feed.send(Share { sockets, old });
    }
}

fn shares_of(group: Option<&Group>) -> Result<Vec<TcpListener>, ListenError> {
    let shares = group.map(|group| group.shares(1)).transpose()?;
    Ok(shares.into_iter().flatten().flatten().collect())
}

impl Group {
    fn open(
        role: Role,
        asked: SocketAddr,
        config: &Config,
        inherited: &mut Inherited,
    ) -> Result<Self, ListenError> {
        let sockets = inherited.take(role, asked);
        if sockets.is_empty() {
            let count = match role {
                Role::Proxy => config.runtime.shards,
                Role::Admin => 1,
            };
            return Group::bind(asked, count, None);
        }
        for socket in &sockets {
            // An older process may have left its filter; without one there is nothing to take off.
            let _ = SockRef::from(socket).detach_filter();
            socket
                .set_nonblocking(true)
                .and_then(|()| inherited_by_connections(&SockRef::from(socket)))
                .map_err(|cause| ListenError {
                    address: asked,
                    cause,
                })?;
        }
        tracing::info!(
            role = role.name(),
            sockets = sockets.len(),
            "sockets inherited"
        );
        Ok(Group {
            asked,
            address: local(&sockets[0], asked)?,
            sockets,
            held: inherited.held,
        })
    }

    /// So many sockets on one address, between which the kernel spreads connections. It lets any process of this user join
    /// such a group, so a plain bind first makes sure that nobody is there but `present`, our own.
    fn bind(asked: SocketAddr, count: usize, present: Option<&Group>) -> Result<Self, ListenError> {
        if !present.is_some_and(|present| overlap(present.address, asked)) {
            drop(bound(asked, false)?);
        }
        let first = bind(asked, true)?;
        let address = local(&first, asked)?;
        let mut sockets = vec![first];
        for _ in 1..count {
            sockets.push(bind(address, true)?);
        }
        Ok(Group {
            asked,
            address,
            sockets,
            held: false,
        })
    }

    /// What each of `servers` gets: a socket of its own; where there are fewer, several share one; where there are more, one
    /// gets several.
    fn shares(&self, servers: usize) -> Result<Vec<Vec<TcpListener>>, ListenError> {
        let sockets = &self.sockets;
        let share = |server| {
            let own = (0..sockets.len().max(servers)).filter(|place| place % servers == server);
            own.map(|place| sockets[place % sockets.len()].try_clone())
                .collect::<io::Result<_>>()
        };
        (0..servers)
            .map(share)
            .collect::<io::Result<_>>()
            .map_err(|cause| ListenError {
                address: self.address,
                cause,
            })
    }

    fn retire(mut self) -> Old {
        self.retire_in_place()
    }

    /// Lets go of sockets that the servers still have. If nobody else keeps them, the kernel drops the first packet of whoever
    /// knocks from here on, as if it were lost, so that nobody is accepted between a server's last look at its queue and the
    /// close, only to be reset. Handshakes that have begun go on to their end.
    fn retire_in_place(&mut self) -> Old {
        /// Classic BPF over the TCP header: load the flags; if SYN is set, keep nothing of the packet, else all of it.
        const DROP_SYN: [SockFilter; 4] = [
            SockFilter::new(0x30, 0, 0, 13),
            SockFilter::new(0x45, 0, 1, 0x02),
            SockFilter::new(0x06, 0, 0, 0),
            SockFilter::new(0x06, 0, 0, u32::MAX),
        ];
        let sockets = std::mem::take(&mut self.sockets);
        if self.held {
            return Old::Held;
        }
        for socket in &sockets {
            if let Err(error) = SockRef::from(socket).attach_filter(&DROP_SYN) {
                tracing::debug!(%error, address = %self.address, "no filter before closing");
            }
        }
        Old::Closing
    }
}

/// Two addresses of one port that the kernel takes for one: the same, or one of them all of the machine's.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    one.port() == other.port()
        && (one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified())
}

fn bind(address: SocketAddr, shared: bool) -> Result<TcpListener, ListenError> {
    let socket = bound(address, shared)?;
    socket
        .listen(BACKLOG)
        .map_err(|cause| ListenError { address, cause })?;
    Ok(socket.into())
}

/// A socket that has the address and does not listen yet.
fn bound(address: SocketAddr, shared: bool) -> Result<Socket, ListenError> {
    let bound = || {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(shared)?;
        inherited_by_connections(&SockRef::from(&socket))?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        Ok(socket)
    };
    bound().map_err(|cause| ListenError { address, cause })
}

/// Sets on a listener what its connections are to have, which saves the system calls on each.
fn inherited_by_connections(socket: &SockRef<'_>) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&KEEP_ALIVE)
}

fn local(listener: &TcpListener, address: SocketAddr) -> Result<SocketAddr, ListenError> {
    listener
        .local_addr()
        .map_err(|cause| ListenError { address, cause })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    #[test]
    fn connections_inherit_what_their_listener_has() {
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let own = bind(anywhere, true).unwrap();
        let given = TcpListener::bind(anywhere).unwrap();
        let inherited = Inherited {
            sockets: vec![InheritedSocket {
                name: Role::Proxy.name().to_owned(),
                listener: given.try_clone().unwrap(),
            }],
            held: false,
        };
        let config = Config {
            listen: given.local_addr().unwrap(),
            admin: None,
            ..Config::default()
        };
        let opened = open(&config, inherited).unwrap();
        own.set_nonblocking(false).unwrap();
        given.set_nonblocking(false).unwrap();
        for listener in [own, given] {
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (accepted, _) = listener.accept().unwrap();
            let accepted = SockRef::from(&accepted);
            assert!(accepted.tcp_nodelay().unwrap());
            assert!(accepted.keepalive().unwrap());
            assert_eq!(
                accepted.tcp_keepalive_time().unwrap(),
                Duration::from_secs(60)
            );
            assert_eq!(
                accepted.tcp_keepalive_interval().unwrap(),
                Duration::from_secs(15)
            );
            assert_eq!(accepted.tcp_keepalive_retries().unwrap(), 4);
            drop(client);
        }
        drop(opened);
    }
}
