//! A connection with what was read of it and not yet looked at; the reading half of [`crate::Client`] and
//! [`crate::Connection`].

use crate::message::{self, Message};
use crate::patience::patiently;
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Why there is no whole message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The other side closed in good order; these bytes were left over.
    Closed(Vec<u8>),
    /// The other side reset the connection, after these bytes.
    Reset(Vec<u8>),
    /// What came is no message.
    Malformed(String),
}

/// How an answer's body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Request,
    Answer,
    AnswerToHead,
}

#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) stream: TcpStream,
    pub(crate) buffer: Vec<u8>,
}

impl Wire {
    pub(crate) fn new(stream: TcpStream) -> Self {
        // What a test sends in one piece shall arrive in one piece. Fails only on a connection that is gone.
        let _ = stream.set_nodelay(true);
        Wire {
            stream,
            buffer: Vec::new(),
        }
    }

    /// Writes all of `bytes`; whether the other side would have them.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> bool {
        let write = self.stream.write_all(bytes);
        patiently("the other side to read", write).await.is_ok()
    }

    /// Reads once; `false` at the end of the stream.
    pub(crate) async fn fill(&mut self) -> Result<bool, Broken> {
        self.buffer.reserve(64 << 10);
        let read = self.stream.read_buf(&mut self.buffer);
        match patiently("the other side to send", read).await {
            Ok(count) => Ok(count > 0),
            Err(_) => Err(Broken::Reset(std::mem::take(&mut self.buffer))),
        }
    }

    /// Reads once more for the sake of a message that is not complete.
    async fn more(&mut self) -> Result<(), Broken> {
        match self.fill().await? {
            true => Ok(()),
            false => Err(Broken::Closed(std::mem::take(&mut self.buffer))),
        }
    }

    pub(crate) async fn head(&mut self) -> Result<Message, Broken> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                return Ok(Message::of_head(self.buffer.drain(..end + 4).collect()));
            }
            self.more().await?;
        }
    }

    /// Reads the body that `message`'s head announces.
    pub(crate) async fn body(&mut self, message: &mut Message, kind: Kind) -> Result<(), Broken> {
        let bodiless = match kind {
            Kind::Request => false,
            Kind::Answer => matches!(message.status(), 100..200 | 204 | 304),
            Kind::AnswerToHead => true,
        };
        if bodiless {
            return Ok(());
        }
        if message.is_chunked() {
            return self.chunks(message).await;
        }
        match (message.length(), kind) {
            (Some(length), _) => message.body = self.exactly(length).await?,
            (None, Kind::Request) => {}
            (None, _) => {
                while self.fill().await? {}
                message.body = std::mem::take(&mut self.buffer);
            }
        }
        Ok(())
    }

    pub(crate) async fn exactly(&mut self, length: usize) -> Result<Vec<u8>, Broken> {
        while self.buffer.len() < length {
            self.more().await?;
        }
        Ok(self.buffer.drain(..length).collect())
    }

    async fn chunks(&mut self, message: &mut Message) -> Result<(), Broken> {
        loop {
            let line = self.line().await?;
            let digits = line.split(';').next().unwrap_or_default();
            let size = usize::from_str_radix(digits, 16)
                .map_err(|_| Broken::Malformed(format!("chunk size `{line}`")))?;
            if size == 0 {
                break;
            }
            message.body.extend(self.exactly(size).await?);
            let end = self.exactly(2).await?;
            if end != b"\r\n" {
                return Err(Broken::Malformed(format!("a chunk that ends in {end:?}")));
            }
        }
        loop {
            let line = self.line().await?;
            match message::field(&line) {
                _ if line.is_empty() => return Ok(()),
                Some(field) => message.trailers.push(field),
                None => return Err(Broken::Malformed(format!("trailer `{line}`"))),
            }
        }
    }

    async fn line(&mut self) -> Result<String, Broken> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..end + 2).collect();
                return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            self.more().await?;
        }
    }

    /// The next bytes, whatever they are; none at the end of the stream.
    pub(crate) async fn some(&mut self) -> Result<Vec<u8>, Broken> {
        if self.buffer.is_empty() {
            self.fill().await?;
        }
        Ok(std::mem::take(&mut self.buffer))
    }

    /// Has the kernel reset the connection when it is dropped.
    pub(crate) fn reset_on_drop(&self) -> io::Result<()> {
        socket2::SockRef::from(&self.stream).set_linger(Some(std::time::Duration::ZERO))
    }
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}
