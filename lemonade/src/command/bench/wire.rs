//! One kept-alive connection of the load's clients, at a small cost per request: what the generator spends the balancer lacks.
//!
//! It understands what the balancer sends: answers with a length, or without a body, or ended by the connection's end.

use std::io;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A worker's answers and the balancer's own are far smaller.
const MAX_ANSWER: usize = 1 << 20;

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoAnswer {
    /// No connection.
    Refused,
    /// The connection ended before a byte of an answer. One that was used before may have been closed for its idleness.
    Unanswered,
    /// It ended within the answer, or that was no HTTP.
    Broken,
}

/// A connection between two requests.
#[derive(Debug)]
pub(super) struct Wire {
    stream: TcpStream,
    received: Vec<u8>,
}

/// An answer that came whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answered {
    pub(super) status: u16,
    /// Another request may follow on the connection.
    pub(super) kept: bool,
}

impl Wire {
    pub(super) async fn connect(server: SocketAddr) -> Result<Self, NoAnswer> {
        let stream = TcpStream::connect(server).await;
        let stream = stream.map_err(|_| NoAnswer::Refused)?;
        // Without it small requests still leave at once, as each is one write on a quiet connection.
        let _ = stream.set_nodelay(true);
        Ok(Wire {
            stream,
            received: Vec::with_capacity(1024),
        })
    }

    /// Sends a request and reads its answer to the end. Dropping the future leaves a connection that is of no more use.
    pub(super) async fn ask(&mut self, request: &[u8]) -> Result<Answered, NoAnswer> {
        self.received.clear();
        // That the other side closed meanwhile shows in what is read.
        let _ = self.stream.write_all(request).await;
        let head = loop {
            if let Some(head) = Head::parse(&self.received)? {
                break head;
            }
            if self.read().await? == 0 {
                return Err(match self.received.is_empty() {
                    true => NoAnswer::Unanswered,
                    false => NoAnswer::Broken,
                });
            }
        };
        match head.length {
            Some(length) => {
                while self.received.len() < head.end + length {
                    if self.read().await? == 0 {
                        return Err(NoAnswer::Broken);
                    }
                }
            }
            None => while self.read().await? > 0 {},
        }
        Ok(Answered {
            status: head.status,
            kept: head.kept && head.length.is_some(),
        })
    }

    async fn read(&mut self) -> Result<usize, NoAnswer> {
        if self.received.len() > MAX_ANSWER {
            return Err(NoAnswer::Broken);
        }
        let read = self.stream.read_buf(&mut self.received).await;
        read.or_else(|error: io::Error| match self.received.is_empty() {
            true if error.kind() == io::ErrorKind::ConnectionReset => Ok(0),
            _ => Err(NoAnswer::Broken),
        })
    }
}

/// What of an answer's head says how it goes on.
#[derive(Debug, PartialEq)]
struct Head {
    status: u16,
    /// Where the body begins.
    end: usize,
    /// `None`: up to the connection's end.
    length: Option<usize>,
    kept: bool,
}

impl Head {
    /// `None` while it is incomplete.
    fn parse(bytes: &[u8]) -> Result<Option<Head>, NoAnswer> {
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            return Ok(None);
        };
        let text = std::str::from_utf8(&bytes[..end]).map_err(|_| NoAnswer::Broken)?;
        let mut lines = text.split("\r\n");
        let status = lines.next().and_then(status).ok_or(NoAnswer::Broken)?;
        let mut head = Head {
            status,
            end: end + 4,
            length: matches!(status, 204 | 304).then_some(0),
            kept: true,
        };
        for line in lines {
            let (name, value) = line.split_once(':').ok_or(NoAnswer::Broken)?;
            let value = value.trim();
            if name.eq_ignore_ascii_case("content-length") {
                head.length = Some(value.parse().map_err(|_| NoAnswer::Broken)?);
            } else if name.eq_ignore_ascii_case("connection") {
                head.kept &= !value.eq_ignore_ascii_case("close");
            }
        }
        Ok(Some(head))
    }
}

fn status(line: &str) -> Option<u16> {
    line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_say_how_answers_go_on() {
        let head = |text: &str| Head::parse(text.as_bytes());
        assert_eq!(head("HTTP/1.1 200 OK\r\nContent-Le"), Ok(None));
        assert_eq!(
            head("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc"),
            Ok(Some(Head {
                status: 200,
                end: 38,
                length: Some(3),
                kept: true
            }))
        );
        let closing = head("HTTP/1.1 502 Bad\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
        assert!(matches!(
            closing,
            Ok(Some(Head {
                status: 502,
                kept: false,
                ..
            }))
        ));
        for broken in [
            "HTTP/1.0 200 OK\r\n\r\n",
            "x\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
            "HTTP/1.1 200 OK\r\nno field\r\n\r\n",
        ] {
            assert_eq!(head(broken), Err(NoAnswer::Broken), "{broken}");
        }
    }
}
