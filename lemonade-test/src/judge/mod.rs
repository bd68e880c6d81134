//! Any bytes through a whole proxy, over real sockets, and what must hold of them whatever they are.
//!
//! The judge stands on both sides of a proxy that has this one backend: it is the client that sends the bytes and the origin
//! that gets them, or the other way round. Both sides read with [`crate::strict`] alone. A violation is a panic, so that a
//! property test and a fuzz target can use it alike.
//!
//! One case at a time: what a case leaves behind in the proxy (a connection that it should not have kept) is found by a
//! plain request at its end, which must be answered as if nothing had been.

mod answers;
mod recorder;
mod requests;

pub use answers::Asking;
pub use requests::Sending;

use crate::patience::patiently;
use crate::strict::{self, Answer, Asked, Fields, Stop};
use recorder::Recorder;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Both ends of a proxy.
#[derive(Debug)]
pub struct Judge {
    origin: Recorder,
    plain: std::sync::atomic::AtomicUsize,
}

impl Judge {
    /// Starts the origin. The proxy is to have it as its only backend, one thread and no health checks.
    pub async fn start() -> Self {
        Judge {
            origin: Recorder::start().await,
            plain: 0.into(),
        }
    }

    /// Where the proxy finds the origin.
    pub fn origin(&self) -> SocketAddr {
        self.origin.address
    }

    /// A plain request on a connection of its own, which must be answered as if nothing had been before it.
    async fn plain(&self, proxy: SocketAddr) {
        let mut client = Reader::connect(proxy).await;
        self.plain_on(&mut client).await;
    }

    async fn plain_on(&self, client: &mut Reader) {
        // Relaxed: only the number must differ.
        let number = self
            .plain
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = format!("/plain/{number}");
        client
            .send(format!("GET {path} HTTP/1.1\r\nHost: t\r\n\r\n").as_bytes())
            .await;
        let answer = client.answer(Asked::Other).await;
        let answer = answer.unwrap_or_else(|end| panic!("no answer to a plain request: {end:?}"));
        assert_eq!(answer.status, 200, "a plain request: {answer:?}");
        assert_eq!(
            answer.body,
            path.as_bytes(),
            "another answer than a plain request's"
        );
    }
}

/// Why a client got no whole message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The connection ended in good order.
    Closed,
    /// The connection was reset.
    Reset,
    /// What came is no message.
    Bad(&'static str),
}

/// A connection to the proxy and what has come on it.
struct Reader {
    stream: TcpStream,
    came: Vec<u8>,
    /// Of what came, bytes of messages already read.
    read: usize,
}

impl Reader {
    async fn connect(proxy: SocketAddr) -> Self {
        let stream = patiently("a connection", TcpStream::connect(proxy)).await;
        let stream = stream.unwrap_or_else(|error| panic!("connecting to the proxy: {error}"));
        // Fails only on a connection that is gone.
        let _ = stream.set_nodelay(true);
        Reader {
            stream,
            came: Vec::new(),
            read: 0,
        }
    }

    /// Sends what the proxy will take.
    async fn send(&mut self, bytes: &[u8]) {
        let _ = patiently("the proxy to read", self.stream.write_all(bytes)).await;
    }

    /// Ends the sending direction.
    async fn finish(&mut self) {
        // Fails only if the connection is gone, which the next read will tell.
        let _ = self.stream.shutdown().await;
    }

    fn left(&self) -> &[u8] {
        &self.came[self.read..]
    }

    /// Reads once; why not, at the end.
    async fn fill(&mut self) -> Result<(), End> {
        let read = self.stream.read_buf(&mut self.came);
        match patiently("the proxy to send", read).await {
            Ok(0) => Err(End::Closed),
            Ok(_) => Ok(()),
            Err(_) => Err(End::Reset),
        }
    }

    /// The next answer, interim or final.
    async fn answer(&mut self, asked: Asked) -> Result<Answer, End> {
        let mut ended = None;
        loop {
            let in_order = ended == Some(End::Closed);
            match (strict::answer(self.left(), asked, in_order), ended) {
                (Ok((answer, length)), _) => {
                    self.read += length;
                    return Ok(answer);
                }
                (Err(Stop::Bad(rule)), _) => return Err(End::Bad(rule)),
                (Err(Stop::Partial), Some(end)) => return Err(end),
                (Err(Stop::Partial), None) => ended = self.fill().await.err(),
            }
        }
    }

    /// Reads to the end: in which order it came.
    async fn end(&mut self) -> End {
        loop {
            if let Err(end) = self.fill().await {
                return end;
            }
        }
    }
}

/// The fields that a proxy passes on as they are: those left when the ones that end at each hop, and those in `ours`, are not
/// looked at. `named`: what the sender's `Connection` names.
fn end_to_end(fields: &Fields, named: &[String], ours: &[&str]) -> Fields {
    const HOP_BY_HOP: [&str; 7] = [
        "connection",
        "keep-alive",
        "proxy-connection",
        "te",
        "transfer-encoding",
        "upgrade",
        "via",
    ];
    let passes = |name: &str| {
        let name = name.to_ascii_lowercase();
        !HOP_BY_HOP.contains(&name.as_str())
            && !ours.contains(&name.as_str())
            && !named.contains(&name)
    };
    let fields = fields.iter();
    fields.filter(|(name, _)| passes(name)).cloned().collect()
}

/// Whether `part` is `whole` with some lines left out.
fn is_part(part: &Fields, whole: &Fields) -> bool {
    let mut rest = whole.iter();
    part.iter().all(|field| rest.any(|other| other == field))
}
