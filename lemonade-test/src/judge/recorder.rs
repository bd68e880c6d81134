//! The judge's origin: reads strictly, remembers all, and answers what it is told to.

use crate::patience::patiently;
use crate::strict::{self, Request, Stop};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// What the origin does with requests whose path does not begin with `/plain/`; those are always answered with their path.
#[derive(Clone, Debug)]
pub(super) enum Manner {
    /// Answers 200 with a number, the request's place in what was seen. `closing`: the proxy is told not to keep the
    /// connection.
    Count { closing: bool },
    /// Answers the first with these bytes; any other as a plain one. `closing`: and ends the connection after them.
    Script { bytes: Vec<u8>, closing: bool },
}

#[derive(Clone, Debug)]
pub(super) struct Seen {
    manner: Manner,
    pub(super) requests: Vec<Request>,
    /// What no request could be read from.
    pub(super) bad: Vec<String>,
    /// Connections that have brought something since their last answer, or are to be closed after it.
    busy: usize,
}

#[derive(Debug)]
pub(super) struct Recorder {
    pub(super) address: SocketAddr,
    state: State,
    accepting: JoinHandle<()>,
}

/// What the connections share.
#[derive(Clone, Debug)]
struct State {
    seen: Arc<Mutex<Seen>>,
    /// A connection is busy no more.
    quiet: Arc<Notify>,
}

impl State {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        // Never poisoned: nothing panics while it is held.
        self.seen.lock().expect("no holder panics")
    }
}

impl Recorder {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await;
        let listener = listener.unwrap_or_else(|error| panic!("listening: {error}"));
        let address = listener.local_addr().expect("a listener has an address");
        let seen = Seen {
            manner: Manner::Count { closing: false },
            requests: Vec::new(),
            bad: Vec::new(),
            busy: 0,
        };
        let state = State {
            seen: Arc::new(Mutex::new(seen)),
            quiet: Arc::default(),
        };
        Recorder {
            address,
            state: state.clone(),
            accepting: tokio::spawn(accept(listener, state)),
        }
    }

    /// Forgets what was seen and does from now on as told.
    pub(super) fn begin(&self, manner: Manner) {
        let mut seen = self.state.seen();
        seen.manner = manner;
        seen.requests.clear();
        seen.bad.clear();
    }

    /// What came since [`Self::begin`].
    pub(super) fn seen(&self) -> Seen {
        self.state.seen().clone()
    }

    /// Waits until the proxy has closed every connection that it is not to keep.
    pub(super) async fn until_quiet(&self) {
        loop {
            let quiet = self.state.quiet.notified();
            if self.state.seen().busy == 0 {
                return;
            }
            patiently("the proxy to let its connections go", quiet).await;
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, state: State) {
    while let Ok((stream, _)) = listener.accept().await {
        let busy = Busy {
            state: state.clone(),
            is_busy: false,
        };
        tokio::spawn(serve(stream, busy));
    }
}

/// Counts one connection while it is busy.
struct Busy {
    state: State,
    is_busy: bool,
}

impl Busy {
    fn set(&mut self, is_busy: bool) {
        if self.is_busy == is_busy {
            return;
        }
        self.is_busy = is_busy;
        match is_busy {
            true => self.state.seen().busy += 1,
            false => {
                self.state.seen().busy -= 1;
                self.state.quiet.notify_waiters();
            }
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.set(false);
    }
}

async fn serve(mut stream: TcpStream, mut busy: Busy) {
    // Fails only on a connection that is gone.
    let _ = stream.set_nodelay(true);
    let mut came = Vec::new();
    loop {
        match strict::request(&came) {
            Ok((request, length)) => {
                came.drain(..length);
                let reply = busy.state.seen().reply(request);
                if stream.write_all(&reply.bytes).await.is_err() {
                    return;
                }
                if reply.ends {
                    // Fails only if the connection is gone.
                    let _ = stream.shutdown().await;
                }
                busy.set(!reply.keeps || !came.is_empty());
            }
            Err(Stop::Bad(rule)) => {
                let bad = format!("{rule} in `{}`", came.escape_ascii());
                return busy.state.seen().bad.push(bad);
            }
            Err(Stop::Partial) => match stream.read_buf(&mut came).await {
                Ok(count) if count > 0 => busy.set(true),
                _ => return,
            },
        }
    }
}

/// What a request is answered with.
struct Reply {
    bytes: Vec<u8>,
    /// The connection ends with it.
    ends: bool,
    /// The proxy may keep the connection.
    keeps: bool,
}

impl Seen {
    fn reply(&mut self, request: Request) -> Reply {
        let keeping = |bytes| Reply {
            bytes,
            ends: false,
            keeps: true,
        };
        let to_head = request.method == "HEAD";
        if request.target.starts_with(b"/plain/") {
            return keeping(ok("X-Plain: 1", &request.target, to_head));
        }
        self.requests.push(request);
        let number = self.requests.len().to_string();
        match &mut self.manner {
            Manner::Count { closing: false } => {
                keeping(ok("X-Seen: 1", number.as_bytes(), to_head))
            }
            Manner::Count { closing: true } => Reply {
                bytes: ok("X-Seen: 1\r\nConnection: close", number.as_bytes(), to_head),
                ends: false,
                keeps: false,
            },
            Manner::Script { bytes, .. } if bytes.is_empty() => {
                keeping(ok("X-Plain: 1", b"again", to_head))
            }
            Manner::Script { bytes, closing } => Reply {
                bytes: std::mem::take(bytes),
                ends: *closing,
                keeps: !*closing,
            },
        }
    }
}

fn ok(lines: &str, body: &[u8], to_head: bool) -> Vec<u8> {
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\n{lines}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    if !to_head {
        answer.extend_from_slice(body);
    }
    answer
}
