//! A server that does what a test's script says, and remembers what it was sent.

use crate::message::Message;
use crate::patience::{Gate, until};
use crate::wire::{Broken, Kind, Wire};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// A listener with a script for every connection. Dropping it closes the listener and every connection at once, as a
/// killed process does.
#[derive(Debug)]
pub struct Origin {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    accepting: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Seen {
    connections: usize,
    open: usize,
    requests: Vec<Message>,
    /// Every byte of every connection.
    bytes: Vec<Vec<u8>>,
}

impl Origin {
    /// Listens on a free port and runs `script` on each connection; when it returns, the connection closes.
    pub async fn start<S, F>(script: S) -> Self
    where
        S: Fn(Connection) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        Origin::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), script).await
    }

    /// The same on a given address: a server that comes back where it was.
    pub async fn start_at<S, F>(address: SocketAddr, script: S) -> Self
    where
        S: Fn(Connection) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind(address).await;
        let listener = listener.unwrap_or_else(|error| panic!("listening on {address}: {error}"));
        let seen = Arc::<Mutex<Seen>>::default();
        Origin {
            address: listener.local_addr().expect("a listener has an address"),
            seen: seen.clone(),
            accepting: tokio::spawn(accept(listener, seen, script)),
        }
    }

    /// Answers every request with these bytes and keeps its connections open.
    pub async fn answering(answer: impl Into<Vec<u8>>) -> Self {
        let answer = Arc::<[u8]>::from(answer.into());
        Origin::start(move |connection| repeat(connection, answer.clone())).await
    }

    /// Answers every request 200 with `name` as the body.
    pub async fn named(name: &str) -> Self {
        Origin::answering(ok(name)).await
    }

    /// [`Self::named`] on a given address.
    pub async fn named_at(address: SocketAddr, name: &str) -> Self {
        let answer = Arc::<[u8]>::from(ok(name).into_bytes());
        Origin::start_at(address, move |connection| {
            repeat(connection, answer.clone())
        })
        .await
    }

    /// [`Self::named`], but no answer goes before the gate is open.
    pub async fn behind(gate: &Gate, name: &str) -> Self {
        let (gate, answer) = (gate.clone(), ok(name));
        Origin::start(move |mut connection: Connection| {
            let (gate, answer) = (gate.clone(), answer.clone());
            async move {
                while connection.request().await.is_ok() {
                    gate.passed().await;
                    connection.send(&answer).await;
                }
            }
        })
        .await
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.seen().connections
    }

    /// Connections whose script still runs.
    pub fn open(&self) -> usize {
        self.seen().open
    }

    /// The requests that came whole, or of which a script read the head alone, in their order.
    pub fn requests(&self) -> Vec<Message> {
        self.seen().requests.clone()
    }

    /// Every byte that scripts have read, connection by connection.
    pub fn bytes(&self) -> Vec<Vec<u8>> {
        self.seen().bytes.clone()
    }

    /// Waits until `count` requests have come; returns the last of them.
    pub async fn request(&self, count: usize) -> Message {
        until(format!("request {count} has come"), || {
            self.seen().requests.len() >= count
        })
        .await;
        self.seen().requests[count - 1].clone()
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        lock(&self.seen)
    }

    /// Closes the listener and every connection, and waits until they are closed.
    pub async fn kill(mut self) {
        self.accepting.abort();
        // Aborted, so it ends with an error by design.
        let _ = (&mut self.accepting).await;
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// An answer 200 with this body.
fn ok(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

async fn repeat(mut connection: Connection, answer: Arc<[u8]>) {
    while connection.request().await.is_ok() {
        connection.send(&answer).await;
    }
}

async fn accept<S, F>(listener: TcpListener, seen: Arc<Mutex<Seen>>, script: S)
where
    S: Fn(Connection) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    // Dropped with this task, and every connection with it.
    let mut scripts = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => if let Ok((stream, _)) = accepted {
                scripts.spawn(script(Connection::new(stream, seen.clone())));
            },
            // A script that panicked has closed its connection, which its client will notice.
            Some(_) = scripts.join_next() => {}
        }
    }
}

/// A connection that was accepted, in the hands of a script. Dropping it closes it.
#[derive(Debug)]
pub struct Connection {
    wire: Wire,
    index: usize,
    seen: Arc<Mutex<Seen>>,
}

impl Connection {
    fn new(stream: TcpStream, seen: Arc<Mutex<Seen>>) -> Self {
        let mut all = lock(&seen);
        let index = all.connections;
        all.connections += 1;
        all.open += 1;
        all.bytes.push(Vec::new());
        drop(all);
        Connection {
            wire: Wire::new(stream),
            index,
            seen,
        }
    }

    /// Which connection of its origin this is, from 0.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Reads one request, body included.
    pub async fn request(&mut self) -> Result<Message, Broken> {
        let mut message = self.wire.head().await.map_err(|broken| self.note(broken))?;
        let body = self.wire.body(&mut message, Kind::Request).await;
        self.keep(&message.head);
        self.keep(&message.body);
        body.map_err(|broken| self.note(broken))?;
        lock(&self.seen).requests.push(message.clone());
        Ok(message)
    }

    /// Reads one request's head and leaves its body.
    pub async fn head(&mut self) -> Result<Message, Broken> {
        let message = self.wire.head().await.map_err(|broken| self.note(broken))?;
        self.keep(&message.head);
        lock(&self.seen).requests.push(message.clone());
        Ok(message)
    }

    /// Reads the body that a head announced.
    pub async fn body(&mut self, message: &mut Message) -> Result<(), Broken> {
        let body = self.wire.body(message, Kind::Request).await;
        self.keep(&message.body);
        body.map_err(|broken| self.note(broken))
    }

    /// The next bytes, whatever they are; none at the end of the stream. They are not remembered.
    pub async fn some(&mut self) -> Result<Vec<u8>, Broken> {
        self.wire.some().await
    }

    /// Reads exactly so many bytes.
    pub async fn exactly(&mut self, length: usize) -> Result<Vec<u8>, Broken> {
        self.wire.exactly(length).await
    }

    /// Sends all of `bytes`; whether the other side would have them.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.wire.send(bytes.as_ref()).await
    }

    /// The connection, for a script that writes in its own manner.
    pub fn stream(&mut self) -> &mut TcpStream {
        &mut self.wire.stream
    }

    /// Waits until the other side has closed or reset.
    pub async fn gone(&mut self) {
        while let Ok(true) = self.wire.fill().await {}
    }

    /// Ends the sending direction, as `shutdown(SHUT_WR)` does.
    pub async fn finish(&mut self) {
        // Fails only if the connection is gone, which the next read will tell.
        let _ = self.wire.stream.shutdown().await;
    }

    /// Closes so that the other side sees a reset.
    pub fn reset(self) {
        // Takes effect when `self` drops; fails only if the connection is gone.
        let _ =
            socket2::SockRef::from(&self.wire.stream).set_linger(Some(std::time::Duration::ZERO));
    }

    fn keep(&self, bytes: &[u8]) {
        lock(&self.seen).bytes[self.index].extend_from_slice(bytes);
    }

    /// Remembers the bytes of a request that did not come whole.
    fn note(&self, broken: Broken) -> Broken {
        if let Broken::Closed(left) | Broken::Reset(left) = &broken {
            self.keep(left);
        }
        broken
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        lock(&self.seen).open -= 1;
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    // Never poisoned: nothing panics while it is held.
    seen.lock().expect("no holder panics")
}
