//! A request's body, read as it is wanted.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A longer line of chunked framing is no chunk's.
const MAX_LINE: usize = 1 << 10;
/// Trailers are read and dropped up to this many lines.
const MAX_TRAILERS: usize = 100;

/// How the body's end is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// So many bytes are left.
    Length(u64),
    Chunked,
}

/// What is to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// A chunk's size line.
    Size,
    /// Data: so many bytes of it. Behind a chunk's comes a line end.
    Data {
        left: u64,
        chunk: bool,
    },
    Done,
}

pub(crate) struct Body<'c> {
    stream: &'c mut TcpStream,
    /// Read and not used yet.
    received: &'c mut Vec<u8>,
    next: Next,
    /// The client waits for a word before it sends.
    expects_continue: bool,
}

impl<'c> Body<'c> {
    pub(crate) fn new(
        stream: &'c mut TcpStream,
        received: &'c mut Vec<u8>,
        framing: Framing,
        expects_continue: bool,
    ) -> Self {
        let next = match framing {
            Framing::Length(0) => Next::Done,
            Framing::Length(left) => Next::Data { left, chunk: false },
            Framing::Chunked => Next::Size,
        };
        Body {
            stream,
            received,
            next,
            expects_continue,
        }
    }

    /// All of it was read, so that what follows is the next request.
    pub(crate) fn is_done(&self) -> bool {
        self.next == Next::Done
    }

    /// The next piece of data; `None` at the end.
    pub(crate) async fn piece(&mut self) -> io::Result<Option<Vec<u8>>> {
        if std::mem::take(&mut self.expects_continue) && !self.is_done() && self.received.is_empty()
        {
            self.stream
                .write_all(b"HTTP/1.1 100 Continue\r\n\r\n")
                .await?;
        }
        loop {
            match self.next {
                Next::Done => return Ok(None),
                Next::Size => self.size().await?,
                Next::Data { left, chunk } => return self.data(left, chunk).await.map(Some),
            }
        }
    }

    async fn data(&mut self, left: u64, chunk: bool) -> io::Result<Vec<u8>> {
        if self.received.is_empty() {
            self.fill().await?;
        }
        let count = left.min(self.received.len() as u64);
        // At most what was received.
        let piece: Vec<u8> = self.received.drain(..count as usize).collect();
        let left = left - count;
        self.next = match (left, chunk) {
            (0, false) => Next::Done,
            (0, true) => {
                if !self.line().await?.is_empty() {
                    return Err(malformed("a chunk does not end in CRLF"));
                }
                Next::Size
            }
            _ => Next::Data { left, chunk },
        };
        Ok(piece)
    }

    async fn size(&mut self) -> io::Result<()> {
        let line = self.line().await?;
        let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
        let plain =
            !digits.is_empty() && digits.len() <= 15 && digits.iter().all(u8::is_ascii_hexdigit);
        let text = std::str::from_utf8(digits).ok().filter(|_| plain);
        let size = text.and_then(|text| u64::from_str_radix(text, 16).ok());
        self.next = match size.ok_or_else(|| malformed("a chunk without a size"))? {
            0 => {
                self.trailers().await?;
                Next::Done
            }
            left => Next::Data { left, chunk: true },
        };
        Ok(())
    }

    async fn trailers(&mut self) -> io::Result<()> {
        for _ in 0..MAX_TRAILERS {
            if self.line().await?.is_empty() {
                return Ok(());
            }
        }
        Err(malformed("too many trailers"))
    }

    /// The next line, without its CRLF.
    async fn line(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
                let mut line: Vec<u8> = self.received.drain(..=end).collect();
                line.pop();
                return match line.pop() {
                    Some(b'\r') => Ok(line),
                    _ => Err(malformed("a line ends in a bare LF")),
                };
            }
            if self.received.len() > MAX_LINE {
                return Err(malformed("a line of chunked framing is too long"));
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> io::Result<()> {
        self.received.reserve(16 << 10);
        match self.stream.read_buf(self.received).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

fn malformed(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
