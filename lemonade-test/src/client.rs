//! A client that sends exactly what it is told to.

use crate::message::Message;
use crate::patience::patiently;
use crate::wire::{Broken, Kind, Wire};
use std::net::SocketAddr;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// One connection to a server. Dropping it closes it.
#[derive(Debug)]
pub struct Client(Wire);

impl Client {
    /// Connects. Panics if nobody listens.
    pub async fn connect(server: SocketAddr) -> Self {
        let stream = patiently("a connection", TcpStream::connect(server)).await;
        Client::over(stream.unwrap_or_else(|error| panic!("connecting to {server}: {error}")))
    }

    /// A client on a connection that the test made itself.
    pub fn over(stream: TcpStream) -> Self {
        Client(Wire::new(stream))
    }

    /// Its own address.
    pub fn address(&self) -> SocketAddr {
        self.0
            .stream
            .local_addr()
            .expect("a connected socket has an address")
    }

    /// Sends all of `bytes`, in one write if the kernel takes them. Whether the server closed meanwhile shows in what
    /// is read next.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.send(bytes.as_ref()).await;
    }

    /// The connection, for a test that writes in its own manner.
    pub fn stream(&mut self) -> &mut TcpStream {
        &mut self.0.stream
    }

    /// Reads one answer, interim ones (1xx) counting as one each. Panics if none comes whole.
    pub async fn answer(&mut self) -> Message {
        let answer = self.try_answer().await;
        answer.unwrap_or_else(|broken| panic!("no whole answer: {}", shown(&broken)))
    }

    /// Reads one answer to a HEAD request: a head and nothing after it.
    pub async fn answer_to_head(&mut self) -> Message {
        let answer = self.read(Kind::AnswerToHead).await;
        answer.unwrap_or_else(|broken| panic!("no whole answer: {}", shown(&broken)))
    }

    /// Reads one answer, or tells why there is none.
    pub async fn try_answer(&mut self) -> Result<Message, Broken> {
        self.read(Kind::Answer).await
    }

    /// Reads an answer's head and leaves its body.
    pub async fn head(&mut self) -> Message {
        let head = self.0.head().await;
        head.unwrap_or_else(|broken| panic!("no head of an answer: {}", shown(&broken)))
    }

    async fn read(&mut self, kind: Kind) -> Result<Message, Broken> {
        let mut message = self.0.head().await?;
        self.0.body(&mut message, kind).await?;
        Ok(message)
    }

    /// Sends a request and reads its answer.
    pub async fn ask(&mut self, request: impl AsRef<[u8]>) -> Message {
        self.send(request).await;
        self.answer().await
    }

    /// Sends a request and reads its answer, or tells why there is none.
    pub async fn try_answer_to(&mut self, request: impl AsRef<[u8]>) -> Result<Message, Broken> {
        self.send(request).await;
        self.try_answer().await
    }

    /// Asks for a path as any client would.
    pub async fn get(&mut self, path: &str) -> Message {
        self.ask(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
            .await
    }

    /// The next bytes, whatever they are; none at the end of the stream.
    pub async fn some(&mut self) -> Result<Vec<u8>, Broken> {
        self.0.some().await
    }

    /// Reads exactly so many bytes.
    pub async fn exactly(&mut self, length: usize) -> Vec<u8> {
        let bytes = self.0.exactly(length).await;
        bytes.unwrap_or_else(|broken| panic!("not {length} bytes: {}", shown(&broken)))
    }

    /// Reads to the end: what still came. Panics if the end is a reset.
    pub async fn rest(&mut self) -> Vec<u8> {
        loop {
            match self.0.fill().await {
                Ok(true) => {}
                Ok(false) => return std::mem::take(&mut self.0.buffer),
                Err(broken) => panic!("no clean end: {}", shown(&broken)),
            }
        }
    }

    /// Waits for the server to close. Panics if it resets instead, or sends something first.
    pub async fn closed(&mut self) {
        let rest = self.rest().await;
        assert!(
            rest.is_empty(),
            "expected a close, got `{}`",
            rest.escape_ascii()
        );
    }

    /// Ends the sending direction, as `shutdown(SHUT_WR)` does.
    pub async fn finish(&mut self) {
        // Fails only if the connection is gone, which the next read will tell.
        let _ = self.0.stream.shutdown().await;
    }

    /// Leaves without a word: the server sees a reset.
    pub fn reset(self) {
        // Fails only if the connection is gone.
        let _ = self.0.reset_on_drop();
    }
}

fn shown(broken: &Broken) -> String {
    match broken {
        Broken::Closed(left) => format!("closed after `{}`", left.escape_ascii()),
        Broken::Reset(left) => format!("reset after `{}`", left.escape_ascii()),
        Broken::Malformed(what) => format!("malformed: {what}"),
    }
}
