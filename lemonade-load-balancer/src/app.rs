//! Wire, spawn, drain: the only file that knows every service.
//!
//! Threads: one a shard for the proxy, one for control, health and the file watch, one for the admin listener, one for the
//! access log. Each is owned by [`App`] and joined when it has drained.

use crate::admin::{self, Admin};
use crate::config::Config;
use crate::config_watch::{Source, Watch, WatchError};
use crate::control;
use crate::drain::{self, Drain, Phase, Trigger};
use crate::health;
use crate::metrics::{Sources, scrape};
use crate::proxy;
use crate::snapshot::Published;
use crate::stats::RequestStats;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use thiserror::Error;
use tokio::runtime::{Builder, LocalOptions};

/// Connections that the kernel completes before they are accepted, per shard (capped by `net.core.somaxconn`).
const BACKLOG: i32 = 4096;

/// Why the balancer could not start. Nothing runs then.
#[derive(Debug, Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {}", explain(.cause))]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        cause: io::Error,
    },
    /// The access log cannot be written.
    #[error("cannot open the access log: {0}")]
    AccessLog(io::Error),
    /// The configuration file cannot be watched.
    #[error(transparent)]
    Watch(#[from] WatchError),
    /// The system gives no more threads or descriptors.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
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

/// A running balancer.
#[derive(Debug)]
pub struct App {
    listen: SocketAddr,
    admin: Option<SocketAddr>,
    control: control::Handle,
    published: Published,
    trigger: Trigger,
    drain: Drain,
    shards: Vec<JoinHandle<()>>,
    background: Vec<JoinHandle<()>>,
}

impl App {
    /// Starts everything, or nothing. `source`: the file to watch for changes, if there is one.
    pub fn start(config: Config, source: Option<Source>) -> Result<Self, StartError> {
        lemonade_observability::prometheus::install();
        let count = config.runtime.shards;
        let listeners = bind_shards(config.listen, count)?;
        let listen = local(&listeners[0], config.listen)?;
        let admin_listener = config
            .admin
            .map(|address| bind(address, false))
            .transpose()?;
        let admin = admin_listener
            .as_ref()
            .map(|listener| local(listener, listen))
            .transpose()?;
        let access_log =
            proxy::open_access_log(&config.access_log).map_err(StartError::AccessLog)?;
        let watch = source.map(Watch::begin).transpose()?;
        let settle = config.runtime.config_watch_interval;

        let epoch = Instant::now();
        let (task, control, published) = control::new(config);
        let (trigger, drain) = drain::channel();
        let stats: Arc<[Arc<RequestStats>]> = (0..count).map(|_| Arc::default()).collect();
        let shared = proxy::Shared {
            published: published.clone(),
            control: control.clone(),
            drain: drain.clone(),
            connections: Arc::default(),
            access_log: access_log.clone(),
            epoch,
        };
        let sources = Sources {
            published: published.clone(),
            shards: stats.clone(),
            connections: shared.connections.clone(),
            log_dropped: access_log.dropped(),
        };

        let mut background = Vec::new();
        let (probed, reported) = (published.clone(), control.clone());
        let (ordered, mut over) = (control.clone(), drain.clone());
        background.push(spawn("control", move || async move {
            tokio::select! {
                () = task.run() => {}
                () = health::run(probed, reported) => {}
                () = watch_file(watch, ordered, settle) => {}
                () = over.reached(Phase::Over) => {}
            }
        })?);
        if let Some(listener) = admin_listener {
            let admin = Admin {
                published: published.clone(),
                listen,
                connections: shared.connections.clone(),
                scrape: Arc::new(move || scrape(&sources)),
                control: control.clone(),
                drain: drain.clone(),
                started: epoch,
            };
            background.push(spawn("admin", move || async move {
                let served = match tokio::net::TcpListener::from_std(listener) {
                    Ok(listener) => admin::run(listener, admin).await,
                    Err(error) => Err(error),
                };
                if let Err(error) = served {
                    tracing::error!(%error, "the admin listener failed");
                }
            })?);
        }
        let mut shards = Vec::new();
        for (index, (listener, stats)) in listeners.into_iter().zip(stats.iter()).enumerate() {
            let (stats, shared) = (stats.clone(), shared.clone());
            shards.push(spawn(&format!("shard-{index}"), move || async move {
                match tokio::net::TcpListener::from_std(listener) {
                    Ok(listener) => proxy::run(index, listener, stats, shared).await,
                    Err(error) => tracing::error!(%error, "the listener failed"),
                }
            })?);
        }
        Ok(App {
            listen,
            admin,
            control,
            published,
            trigger,
            drain,
            shards,
            background,
        })
    }

    /// Where clients connect, with the port that the kernel chose if the configuration left it open.
    pub fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// Where the admin API listens.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// Where orders are sent.
    pub fn control(&self) -> &control::Handle {
        &self.control
    }

    /// Where the present state is read.
    pub fn published(&self) -> &Published {
        &self.published
    }

    /// The phase of going away, for whoever wants to watch it.
    pub fn drain(&self) -> &Drain {
        &self.drain
    }

    /// Goes away in order: readiness fails, after `drain_delay` nothing more is accepted, requests in flight get
    /// `drain_timeout`, then what is left is cut off. `hurry` completing skips what is left of all that. Returns whether
    /// everything was answered.
    pub async fn shut_down(self, hurry: impl Future<Output = ()>) -> bool {
        let runtime = self.published.load().config.runtime.clone();
        tracing::info!(timeout = ?runtime.drain_timeout, "draining");
        let App {
            trigger,
            shards,
            background,
            ..
        } = self;
        let shards = tokio::task::spawn_blocking(move || join_all(shards));
        let in_order = async {
            trigger.advance(Phase::Unready);
            tokio::time::sleep(runtime.drain_delay).await;
            trigger.advance(Phase::Draining);
        };
        let deadline = runtime.drain_delay + runtime.drain_timeout;
        let mut shards = shards;
        let drained = tokio::select! {
            _ = async { in_order.await; (&mut shards).await } => true,
            () = tokio::time::sleep(deadline) => false,
            () = hurry => false,
        };
        trigger.advance(Phase::Over);
        if !drained {
            tracing::warn!("the drain was cut short: connections are closed");
            let _ = shards.await;
        }
        let _ = tokio::task::spawn_blocking(move || join_all(background)).await;
        tracing::info!(drained, "stopped");
        drained
    }
}

async fn watch_file(watch: Option<Watch>, control: control::Handle, settle: Duration) {
    match watch {
        Some(watch) => watch.run(control, settle).await,
        None => std::future::pending().await,
    }
}

fn join_all(threads: Vec<JoinHandle<()>>) {
    for thread in threads {
        if thread.join().is_err() {
            tracing::error!("a thread panicked");
        }
    }
}

/// A thread with a runtime of its own, which runs `service` to its end and then drops what is left of its tasks.
fn spawn<S, F>(name: &str, service: S) -> Result<JoinHandle<()>, StartError>
where
    S: FnOnce() -> F + Send + 'static,
    F: Future<Output = ()>,
{
    let runtime_name = name.to_owned();
    let run = move || match Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
    {
        Ok(runtime) => runtime.block_on(service()),
        Err(error) => tracing::error!(%error, thread = runtime_name, "no runtime"),
    };
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(run)
        .map_err(StartError::Thread)
}

/// One listener a shard on one address. The kernel lets any process of this user join such a group, so a plain bind first
/// makes sure that nobody is there.
fn bind_shards(address: SocketAddr, count: usize) -> Result<Vec<TcpListener>, StartError> {
    drop(bind(address, false)?);
    let first = bind(address, true)?;
    let chosen = local(&first, address)?;
    let mut listeners = vec![first];
    for _ in 1..count {
        listeners.push(bind(chosen, true)?);
    }
    Ok(listeners)
}

fn bind(address: SocketAddr, shared: bool) -> Result<TcpListener, StartError> {
    let bound = || {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(shared)?;
        // Inherited by accepted connections, which saves a system call on each.
        socket.set_tcp_nodelay(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    };
    bound().map_err(|cause| StartError::Listen { address, cause })
}

fn local(listener: &TcpListener, address: SocketAddr) -> Result<SocketAddr, StartError> {
    listener
        .local_addr()
        .map_err(|cause| StartError::Listen { address, cause })
}
