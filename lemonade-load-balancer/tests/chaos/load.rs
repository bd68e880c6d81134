//! Clients that keep asking at a steady rate whatever becomes of their requests, and remember what went wrong.

use crate::wire::{Broken, Wire};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

/// Clients.
const CLIENTS: u64 = 24;
/// Each asks so often, whether it has its last answer or not.
const EVERY: Duration = Duration::from_millis(60);
/// One request in so many is a `POST`.
const POST_EVERY: u64 = 5;
/// Longer than the balancer lets any request wait.
const PATIENCE: Duration = Duration::from_secs(12);

/// Of all clients.
pub(crate) fn requests_a_second() -> f64 {
    CLIENTS as f64 / EVERY.as_secs_f64()
}

/// Of these, those that must not be sent twice.
pub(crate) fn posts_a_second() -> f64 {
    requests_a_second() / POST_EVERY as f64
}

/// What is said of a request on a kept connection that ended instead of answering.
pub(crate) const GONE: &str = "an old connection had been closed";

/// A request that did not end well.
#[derive(Clone, Debug)]
pub(crate) struct Mishap {
    pub(crate) begun: Instant,
    pub(crate) idempotent: bool,
    /// The answer broke off after its head: by then nothing else could be said.
    pub(crate) cut: bool,
    pub(crate) what: String,
}

/// What a client thinks of a connection that it has kept.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Kept {
    /// It is there: that it was closed is a mishap.
    IsThere,
    /// A server that needs it for somebody else may close it (RFC 9112, 9.5): whether it did is looked at first, and what may be
    /// repeated is sent once more on a new connection.
    MayBeGone,
}

#[derive(Default)]
struct Tally {
    requests: Cell<u64>,
    mishaps: RefCell<Vec<Mishap>>,
    /// The first good answer since [`Load::listen_for_good`].
    good: Cell<Option<Instant>>,
}

/// The clients at work. Dropping it ends them.
pub(crate) struct Load {
    tally: Rc<Tally>,
    over: Rc<Cell<bool>>,
    clients: JoinSet<()>,
}

impl Load {
    pub(crate) fn begin(balancer: SocketAddr, kept: Kept) -> Self {
        let (tally, over) = (Rc::<Tally>::default(), Rc::<Cell<bool>>::default());
        let mut clients = JoinSet::new();
        for client in 0..CLIENTS {
            clients.spawn_local(ask_for_ever(
                client,
                balancer,
                kept,
                tally.clone(),
                over.clone(),
            ));
        }
        Load {
            tally,
            over,
            clients,
        }
    }

    /// Stops asking and waits for the answers that are still to come.
    pub(crate) async fn end(&mut self) {
        self.over.set(true);
        while self.clients.join_next().await.is_some() {}
    }

    pub(crate) fn requests(&self) -> u64 {
        self.tally.requests.get()
    }

    pub(crate) fn mishaps(&self) -> Vec<Mishap> {
        self.tally.mishaps.borrow().clone()
    }

    pub(crate) fn listen_for_good(&self) {
        self.tally.good.set(None);
    }

    /// When the first good answer came since then.
    pub(crate) fn first_good(&self) -> Option<Instant> {
        self.tally.good.get()
    }
}

/// How often each thing went wrong.
pub(crate) fn summary(mishaps: &[Mishap]) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for mishap in mishaps {
        let kind = if mishap.idempotent { "GET" } else { "POST" };
        *counts
            .entry(format!("{kind}: {}", mishap.what))
            .or_default() += 1;
    }
    counts
}

async fn ask_for_ever(
    client: u64,
    balancer: SocketAddr,
    kept: Kept,
    tally: Rc<Tally>,
    over: Rc<Cell<bool>>,
) {
    let idle = Rc::<RefCell<Vec<Wire>>>::default();
    let mut asking = JoinSet::new();
    // Not all at once.
    tokio::time::sleep(EVERY.mul_f64(client as f64 / CLIENTS as f64)).await;
    let mut tick = interval(EVERY);
    // A machine that was busy elsewhere shall not be made up for by an avalanche.
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut count = client;
    while !over.get() {
        tick.tick().await;
        count += 1;
        let idempotent = !count.is_multiple_of(POST_EVERY);
        asking.spawn_local(ask(balancer, kept, idempotent, idle.clone(), tally.clone()));
        while asking.try_join_next().is_some() {}
    }
    while asking.join_next().await.is_some() {}
}

async fn ask(
    balancer: SocketAddr,
    kept: Kept,
    idempotent: bool,
    idle: Rc<RefCell<Vec<Wire>>>,
    tally: Rc<Tally>,
) {
    let begun = Instant::now();
    tally.requests.set(tally.requests.get() + 1);
    let may_be_gone = kept == Kept::MayBeGone;
    if may_be_gone {
        idle.borrow_mut().retain(Wire::is_open);
    }
    let reused = idle.borrow_mut().pop();
    let answered = async {
        match answer(balancer, idempotent, reused).await {
            Err(Wrong::Gone) if may_be_gone && idempotent => {
                answer(balancer, idempotent, None).await
            }
            answer => answer,
        }
    };
    let (cut, what) = match timeout(PATIENCE, answered).await {
        Ok(Ok(wire)) => {
            idle.borrow_mut().extend(wire);
            if tally.good.get().is_none() {
                tally.good.set(Some(Instant::now()));
            }
            return;
        }
        Ok(Err(Wrong::Gone)) => (false, GONE.to_owned()),
        Ok(Err(Wrong::Cut)) => (true, "cut off".to_owned()),
        Ok(Err(Wrong::Otherwise(what))) => (false, what),
        Err(_) => (false, format!("no answer within {PATIENCE:?}")),
    };
    tally.mishaps.borrow_mut().push(Mishap {
        begun,
        idempotent,
        cut,
        what,
    });
}

enum Wrong {
    /// A kept connection ended without a byte of an answer.
    Gone,
    Cut,
    Otherwise(String),
}

/// Asks, and gives the connection back if it may be used again.
async fn answer(
    balancer: SocketAddr,
    idempotent: bool,
    reused: Option<Wire>,
) -> Result<Option<Wire>, Wrong> {
    let otherwise = |what: String| Err(Wrong::Otherwise(what));
    let old = reused.is_some();
    let mut wire = match reused {
        Some(wire) => wire,
        None => match TcpStream::connect(balancer).await {
            Ok(stream) => Wire::new(stream),
            Err(error) => return otherwise(format!("not connected: {error}")),
        },
    };
    wire.send(match idempotent {
        true => b"GET /work HTTP/1.1\r\nHost: chaos\r\n\r\n".as_slice(),
        false => {
            b"POST /work HTTP/1.1\r\nHost: chaos\r\nContent-Length: 16\r\n\r\nsixteen of bytes"
        }
    })
    .await;
    let message = match wire.read().await {
        Ok(message) => message,
        Err(Broken::BeforeIt) if old => return Err(Wrong::Gone),
        Err(Broken::InItsBody) => return Err(Wrong::Cut),
        Err(broken) => return otherwise(format!("a connection ended {broken:?}")),
    };
    if message.status() != 200 {
        let status = message.status();
        let reason = message.field("proxy-status").unwrap_or("a backend's own");
        return otherwise(format!("{status} ({reason})"));
    }
    if message.body.is_empty() || message.body.iter().any(|byte| *byte != b'x') {
        return otherwise("200 with another body".to_owned());
    }
    let closes = message
        .field("connection")
        .is_some_and(|value| value.eq_ignore_ascii_case("close"));
    Ok((!closes).then_some(wire))
}
