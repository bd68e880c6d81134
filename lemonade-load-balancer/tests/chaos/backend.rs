//! A server that can be told to misbehave while it runs, and to stop.

use crate::wire::Wire;
use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// What a backend does with a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Behaviour {
    /// Answers at once.
    Answer,
    /// Answers after this time.
    Slow(Duration),
    /// Begins its answer at once, and ends it after this time.
    Stream(Duration),
    /// Reads and never answers.
    Hang,
    /// Listens and never accepts; what was accepted before is not answered.
    Stopped,
    /// Is not there: its port is closed, and so is every connection.
    Gone,
    /// As if packets to it were lost: nothing answers who wants to connect, and its connections are closed.
    Lost,
    /// Resets the connection half way through its answer.
    ResetMidway,
    /// Resets the connection before any byte of an answer.
    ResetAtOnce,
    /// Answers what is no HTTP.
    Garbage,
    /// Answers 500 at once.
    Fail,
    /// Answers 503 and when to come again.
    Busy,
}

/// How long an ordinary answer takes; ten times slower is ten times this.
pub(crate) const USUAL: Duration = Duration::from_millis(5);

/// Connections that the kernel makes for a backend that does not accept.
const BACKLOG: u32 = 1024;

/// Long enough for half of it to be on its way when a connection ends.
const BODY: [u8; 2048] = [b'x'; 2048];

/// A backend. Dropping it ends it.
pub(crate) struct Backend {
    address: SocketAddr,
    behaviour: watch::Sender<Behaviour>,
    served: Rc<Cell<u64>>,
    /// Bound and not listening: nobody else gets the port while the backend is gone.
    _port: TcpSocket,
    _life: JoinSet<()>,
}

impl Backend {
    pub(crate) fn start() -> Self {
        let port = bound(([127, 0, 0, 1], 0).into());
        let address = port.local_addr().unwrap();
        let behaviour = watch::Sender::new(Behaviour::Answer);
        let served = Rc::<Cell<u64>>::default();
        // Here, so that it is there for the first probe.
        let listener = bound(address).listen(BACKLOG).unwrap();
        let mut life = JoinSet::new();
        life.spawn_local(live(listener, behaviour.subscribe(), served.clone()));
        Backend {
            address,
            behaviour,
            served,
            _port: port,
            _life: life,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// From the next request on; [`Behaviour::Gone`] and [`Behaviour::Lost`] at once.
    pub(crate) fn behave(&self, behaviour: Behaviour) {
        self.behaviour.send_replace(behaviour);
    }

    /// Requests that it answered 200.
    pub(crate) fn served(&self) -> u64 {
        self.served.get()
    }
}

fn bound(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    // So that the listener may be bound beside the socket that keeps the port.
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap();
    socket
}

/// Comes and goes on its port.
async fn live(
    mut listener: TcpListener,
    mut behaviour: watch::Receiver<Behaviour>,
    served: Rc<Cell<u64>>,
) {
    let address = listener.local_addr().unwrap();
    let told = behaviour.clone();
    loop {
        tokio::select! {
            () = accept(listener, &told, &served) => {}
            _ = behaviour.wait_for(|behaviour| is_away(*behaviour)) => {}
        }
        // Here the listener and its connections are gone.
        let lost = *behaviour.borrow() == Behaviour::Lost;
        let full = if lost {
            Some(fill(address).await)
        } else {
            None
        };
        let back = behaviour.wait_for(|behaviour| !is_away(*behaviour));
        if back.await.is_err() {
            return;
        }
        drop(full);
        listener = bound(address).listen(BACKLOG).unwrap();
    }
}

fn is_away(behaviour: Behaviour) -> bool {
    matches!(behaviour, Behaviour::Gone | Behaviour::Lost)
}

/// A listener whose queue is full: the kernel drops what else comes in.
async fn fill(address: SocketAddr) -> (TcpListener, JoinSet<()>) {
    let listener = bound(address).listen(1).unwrap();
    let mut waiting = JoinSet::new();
    for _ in 0..4 {
        waiting.spawn_local(async move {
            let _connection = TcpStream::connect(address).await;
            std::future::pending::<()>().await;
        });
    }
    sleep(USUAL).await;
    (listener, waiting)
}

async fn accept(
    listener: TcpListener,
    behaviour: &watch::Receiver<Behaviour>,
    served: &Rc<Cell<u64>>,
) {
    let mut connections = JoinSet::new();
    let mut waits = behaviour.clone();
    loop {
        // Fails only when the backend is dropped, which ends this too.
        let _ = waits.wait_for(|now| *now != Behaviour::Stopped).await;
        tokio::select! {
            accepted = listener.accept() => if let Ok((stream, _)) = accepted {
                connections.spawn_local(serve(Wire::new(stream), behaviour.clone(), served.clone()));
            },
            _ = waits.wait_for(|now| *now == Behaviour::Stopped) => {}
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(mut wire: Wire, behaviour: watch::Receiver<Behaviour>, served: Rc<Cell<u64>>) {
    while wire.read().await.is_ok() {
        let now = *behaviour.borrow();
        match now {
            Behaviour::Answer => sleep(USUAL).await,
            Behaviour::Slow(time) => sleep(time).await,
            Behaviour::Stream(time) => {
                let answer = answer("200 OK", &BODY);
                let (begin, end) = answer.split_at(answer.len() / 2);
                wire.send(begin).await;
                sleep(time).await;
                wire.send(end).await;
                served.set(served.get() + 1);
                continue;
            }
            Behaviour::Hang | Behaviour::Stopped | Behaviour::Gone | Behaviour::Lost => {
                return wire.ignore().await;
            }
            Behaviour::ResetMidway => {
                let answer = answer("200 OK", &BODY);
                wire.send(&answer[..answer.len() / 2]).await;
                // The reset must not overtake what was sent before it.
                sleep(USUAL).await;
                return wire.reset();
            }
            Behaviour::ResetAtOnce => return wire.reset(),
            Behaviour::Garbage => {
                wire.send(b"\x16\x03\x01 so much for HTTP\r\n\r\n").await;
                return;
            }
            Behaviour::Fail => {
                wire.send(&answer("500 Internal Server Error", b"")).await;
                continue;
            }
            Behaviour::Busy => {
                let busy = "503 Service Unavailable\r\nRetry-After: 1";
                wire.send(&answer(busy, b"")).await;
                continue;
            }
        }
        wire.send(&answer("200 OK", &BODY)).await;
        served.set(served.get() + 1);
    }
}

fn answer(status: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}
