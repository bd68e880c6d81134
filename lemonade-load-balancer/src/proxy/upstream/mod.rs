//! Connections to backends: a pool of idle ones for each backend and shard.
//!
//! No lock and no task: a pool belongs to one shard, an idle connection costs its socket and a few bytes, and the shard's
//! sweep closes those that are too old or that the backend closed. Last in, first out, so that the fewest stay warm.

mod connect;

pub(crate) use connect::{ConnectError, connect};

use super::buffer::Buffer;
use crate::access_log::escape::quoted;
use crate::backend::Backend;
use crate::stats::ShardStats;
use std::cell::{Ref, RefCell};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;

/// Idle connections kept per backend and shard; one more is closed.
const MAX_IDLE: usize = 1024;
/// How much sooner than promised (`Keep-Alive: timeout=`) a connection is given up, for the way to the backend.
const MARGIN: Duration = Duration::from_secs(1);

/// One backend as one shard reaches it.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) backend: Arc<Backend>,
    pub(crate) endpoint: SocketAddr,
    /// As the shard's latest view has it; of a backend that is gone, its last one.
    name: RefCell<Name>,
    shard: usize,
    idle: RefCell<Vec<Idle>>,
}

/// What people call it.
#[derive(Debug)]
struct Name {
    text: Arc<str>,
    /// As a line of the access log has it, in quotes.
    json: Box<[u8]>,
}

impl Name {
    fn new(text: &str) -> Self {
        let mut json = Vec::new();
        quoted(text.as_bytes(), &mut json);
        Name {
            text: text.into(),
            json: json.into(),
        }
    }
}

#[derive(Debug)]
struct Idle {
    stream: TcpStream,
    until: Instant,
}

/// A connection in use by one request.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    /// What the backend sent and nobody has dealt with.
    pub(crate) buffer: Buffer,
    /// It served a request before, so the backend may have closed it without our knowing yet.
    pub(crate) reused: bool,
}

impl Upstream {
    pub(crate) fn new(backend: Arc<Backend>, endpoint: SocketAddr, shard: usize) -> Self {
        Upstream {
            backend,
            endpoint,
            name: RefCell::new(Name::new("")),
            shard,
            idle: RefCell::default(),
        }
    }

    pub(crate) fn name(&self) -> Ref<'_, Arc<str>> {
        Ref::map(self.name.borrow(), |name| &name.text)
    }

    /// The same as JSON.
    pub(crate) fn json_name(&self) -> Ref<'_, [u8]> {
        Ref::map(self.name.borrow(), |name| &*name.json)
    }

    /// Takes a name, if it is another.
    pub(crate) fn rename(&self, name: &str) {
        if **self.name() != *name {
            self.name.replace(Name::new(name));
        }
    }

    /// This shard's counters of the backend.
    pub(crate) fn stats(&self) -> &ShardStats {
        &self.backend.stats[self.shard]
    }

    /// The idle connection that was used last, if one is alive and young enough.
    pub(crate) fn take_idle(&self, now: Instant) -> Option<Connection> {
        let mut idle = self.idle.borrow_mut();
        while let Some(mut kept) = idle.pop() {
            if kept.until > now && is_quiet(&mut kept.stream) {
                return Some(Connection {
                    stream: kept.stream,
                    buffer: Buffer::default(),
                    reused: true,
                });
            }
        }
        None
    }

    pub(crate) async fn open(&self, timeout: Duration) -> Result<Connection, ConnectError> {
        let stream = connect(self.endpoint, timeout).await?;
        ShardStats::count(&self.stats().connections);
        Ok(Connection {
            stream,
            buffer: Buffer::default(),
            reused: false,
        })
    }

    /// Keeps a connection for the next request. `promised`: how long the backend said it would keep it.
    pub(crate) fn put_back(
        &self,
        connection: Connection,
        now: Instant,
        idle: Duration,
        promised: Option<u32>,
    ) {
        // Bytes after the end of an answer mean that we and the backend disagree about where it ended.
        if !connection.buffer.is_empty() {
            return;
        }
        let promised =
            promised.map(|seconds| Duration::from_secs(u64::from(seconds)).saturating_sub(MARGIN));
        let until = now + promised.map_or(idle, |promised| promised.min(idle));
        let mut kept = self.idle.borrow_mut();
        if kept.len() < MAX_IDLE && until > now {
            kept.push(Idle {
                stream: connection.stream,
                until,
            });
        }
    }

    /// Closes idle connections that are too old, or on which the backend closed or spoke out of turn.
    pub(crate) fn sweep(&self, now: Instant) {
        self.idle
            .borrow_mut()
            .retain_mut(|kept| kept.until > now && is_quiet(&mut kept.stream));
    }

    /// Closes all idle connections, because the backend is gone or descriptors are; returns how many there were.
    pub(crate) fn clear(&self) -> usize {
        self.idle.borrow_mut().drain(..).count()
    }
}

/// Nothing arrived on it, not even its end. Costs no system call while nothing did: the runtime already knows.
fn is_quiet(stream: &mut TcpStream) -> bool {
    let mut byte = [0];
    let mut context = Context::from_waker(Waker::noop());
    let read = Pin::new(stream).poll_read(&mut context, &mut ReadBuf::new(&mut byte));
    matches!(read, Poll::Pending)
}
