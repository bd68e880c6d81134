//! Just enough HTTP/1 for both sides of the balancer: a head, a `Content-Length`, a body.

use std::io::ErrorKind;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// One connection, and what was read of it and not yet looked at.
pub(crate) struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// A request or an answer.
pub(crate) struct Message {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

/// How far a message had come when its connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    BeforeIt,
    InItsHead,
    InItsBody,
}

impl Wire {
    pub(crate) fn new(stream: TcpStream) -> Self {
        // Fails only on a connection that is gone, which the next read tells.
        let _ = stream.set_nodelay(true);
        Wire {
            stream,
            buffer: Vec::with_capacity(4096),
        }
    }

    /// Whether the other side has them shows in what is read next.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
    }

    pub(crate) async fn read(&mut self) -> Result<Message, Broken> {
        let end = loop {
            if let Some(end) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            if !self.fill().await {
                return Err(match self.buffer.is_empty() {
                    true => Broken::BeforeIt,
                    false => Broken::InItsHead,
                });
            }
        };
        let head: Vec<u8> = self.buffer.drain(..end).collect();
        let mut message = Message {
            head: String::from_utf8_lossy(&head).into_owned(),
            body: Vec::new(),
        };
        let length = message.field("content-length");
        let length = length.and_then(|length| length.parse().ok()).unwrap_or(0);
        while self.buffer.len() < length {
            if !self.fill().await {
                return Err(Broken::InItsBody);
            }
        }
        message.body = self.buffer.drain(..length).collect();
        Ok(message)
    }

    async fn fill(&mut self) -> bool {
        matches!(self.stream.read_buf(&mut self.buffer).await, Ok(1..))
    }

    /// Whether the other side has closed it, as far as is known; between two messages.
    pub(crate) fn is_open(&self) -> bool {
        let read = self.stream.try_read(&mut [0]);
        matches!(read, Err(error) if error.kind() == ErrorKind::WouldBlock)
    }

    /// Reads until the other side has had enough.
    pub(crate) async fn ignore(&mut self) {
        while self.fill().await {
            self.buffer.clear();
        }
    }

    /// Has the kernel reset the connection.
    pub(crate) fn reset(self) {
        // Fails only on a connection that is gone.
        let _ = socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
    }
}

impl Message {
    /// The first field of this name, which is in lower case.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (own, value) = line.split_once(':')?;
            own.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// An answer's status; 0 if its first line has none.
    pub(crate) fn status(&self) -> u16 {
        let word = self.head.split(' ').nth(1);
        word.and_then(|word| word.parse().ok()).unwrap_or(0)
    }
}
