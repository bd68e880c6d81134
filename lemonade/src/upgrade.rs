//! From one process to the next without a moment in which nobody listens.
//!
//! The old process starts the program once more, as it is on disk now, with its listening sockets (systemd's protocol:
//! descriptors from 3 on, `LISTEN_FDS`, `LISTEN_FDNAMES`) and a socket pair as standard input. Through that it tells what it
//! has learned, and the new one answers `ready` when it accepts connections. Both accept for that moment; then the old one
//! drains. If the new one fails or takes too long, the old one goes on as if nothing had been.

use command_fds::{CommandFdExt, FdMapping};
use lemonade_load_balancer::control::{self, Handover};
use lemonade_load_balancer::listen::{Inherited, InheritedSocket, Role};
use listenfd::ListenFd;
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep, timeout};

/// Tells the new process that its standard input is its predecessor.
const MARK: &str = "LEMONADE_UPGRADE";
/// What that says when the sockets are systemd's, which keeps them for whatever comes after.
const HELD: &str = "held";
/// How long the new process may take to be ready.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a process that closed the conversation may take to end.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// The first descriptor that is passed on (`SD_LISTEN_FDS_START`).
const FIRST: i32 = 3;
/// What the new process says when it accepts connections.
const READY: &[u8] = b"ready\n";

/// How this process was started, to be started so again.
#[derive(Debug)]
pub(crate) struct Program {
    /// Found out at the start: once the file is replaced, the kernel calls it deleted.
    path: PathBuf,
    arguments: Vec<OsString>,
}

impl Program {
    pub(crate) fn of_this_process() -> io::Result<Self> {
        let mut arguments = std::env::args_os();
        let name = arguments.next().unwrap_or_default();
        Ok(Program {
            path: found(&name).map_or_else(std::env::current_exe, Ok)?,
            arguments: arguments.collect(),
        })
    }

    /// Starts the next process and returns when it accepts connections. Dropping the future ends an attempt. Nothing may
    /// change meanwhile that the next process has been told.
    pub(crate) async fn replace(&self, control: &control::Handle) -> io::Result<u32> {
        let estate = control.hand_over().await.map_err(io::Error::other)??;
        if estate.sockets.is_empty() {
            return Err(io::Error::other("this process does not listen any more"));
        }
        let mark = if estate.held { HELD } else { "1" };
        let (ours, theirs) = UnixStream::pair()?;
        let mut next = Attempt(Some(self.start(estate.sockets, mark, theirs)?));
        ours.set_nonblocking(true)?;
        let told = converse(tokio::net::UnixStream::from_std(ours)?, &estate.handover);
        match timeout(PATIENCE, told).await {
            Ok(Ok(())) => Ok(next.succeed()),
            Ok(Err(error)) => Err(next.explain(&error).await),
            Err(_) => Err(io::Error::other(format!(
                "the new process was not ready within {PATIENCE:?}"
            ))),
        }
    }

    fn start(
        &self,
        sockets: Vec<(Role, OwnedFd)>,
        mark: &str,
        input: UnixStream,
    ) -> io::Result<Child> {
        let names: Vec<&str> = sockets.iter().map(|(role, _)| role.name()).collect();
        let mut command = Command::new(&self.path);
        command
            .args(&self.arguments)
            .env(MARK, mark)
            .env("LISTEN_FDS", sockets.len().to_string())
            .env("LISTEN_FDNAMES", names.join(":"))
            // A process cannot know the id of its child beforehand; without it, the descriptors are the reader's.
            .env_remove("LISTEN_PID")
            .env_remove("LISTEN_FDS_FIRST_FD")
            // The watchdog is fed by whoever is systemd's main process, which the next one is to be.
            .env_remove("WATCHDOG_PID")
            .stdin(Stdio::from(OwnedFd::from(input)));
        let mappings = sockets.into_iter().zip(FIRST..);
        let mappings = mappings.map(|((_, parent_fd), child_fd)| FdMapping {
            parent_fd,
            child_fd,
        });
        command
            .fd_mappings(mappings.collect())
            .map_err(io::Error::other)?;
        command.spawn()
    }
}

/// The program of this name as a shell finds it: by its path, or along `PATH`. What the kernel says would be where a link led
/// when the process was started, and a link that is turned to a new release is how many replace a program.
fn found(name: &OsStr) -> Option<PathBuf> {
    let path = Path::new(name);
    if path.components().count() > 1 {
        return std::path::absolute(path).ok().filter(|path| path.is_file());
    }
    let folders = std::env::var_os("PATH")?;
    let mut candidates = std::env::split_paths(&folders).map(|folder| folder.join(name));
    candidates.find(|path| path.is_file())
}

/// Tells what was learned and waits for the answer.
async fn converse(mut next: tokio::net::UnixStream, handover: &Handover) -> io::Result<()> {
    next.write_all(&serde_json::to_vec(handover)?).await?;
    next.shutdown().await?;
    let mut answer = Vec::new();
    next.take(READY.len() as u64)
        .read_to_end(&mut answer)
        .await?;
    match answer == READY {
        true => Ok(()),
        false => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// A process that is stopped unless it succeeds.
struct Attempt(Option<Child>);

impl Attempt {
    fn succeed(&mut self) -> u32 {
        self.0.take().map_or(0, |child| child.id())
    }

    /// Why it does not answer: it has ended, or is about to.
    async fn explain(&mut self, error: &io::Error) -> io::Error {
        let until = Instant::now() + LAST_WORDS;
        while let Some(child) = &mut self.0
            && Instant::now() < until
        {
            if let Ok(Some(status)) = child.try_wait() {
                return io::Error::other(format!("the new process ended ({status})"));
            }
            sleep(Duration::from_millis(10)).await;
        }
        io::Error::other(format!("the new process does not answer: {error}"))
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let Some(mut child) = self.0.take() else {
            return;
        };
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        // It may have accepted connections already, which it is to answer before it goes.
        let stopped = kill_process(Pid::from_child(&child), Signal::TERM);
        if stopped.is_err() {
            let _ = child.kill();
        }
        std::thread::spawn(move || child.wait());
    }
}

/// What a process was given at its start: by systemd, or by the process that it replaces.
#[derive(Debug, Default)]
pub(crate) struct Legacy {
    pub(crate) inherited: Inherited,
    pub(crate) handover: Option<Handover>,
    predecessor: Option<UnixStream>,
}

impl Legacy {
    /// Takes what there is. Call it before any thread is started: it takes `LISTEN_FDS` out of the environment.
    pub(crate) fn take() -> io::Result<Self> {
        let mark = std::env::var(MARK).ok();
        let sockets = sockets()?;
        let inherited = Inherited {
            held: mark.as_deref().is_none_or(|mark| mark == HELD),
            sockets,
        };
        if mark.is_none() || inherited.sockets.is_empty() {
            return Ok(Legacy {
                inherited,
                ..Legacy::default()
            });
        }
        let input = std::io::stdin().as_fd().try_clone_to_owned()?;
        let mut predecessor = UnixStream::from(input);
        // All of it, whatever it is: a predecessor that cannot tell to the end would think us dead.
        let mut told = Vec::new();
        predecessor.read_to_end(&mut told)?;
        // What another release wrote may not be understood; then its learning is lost, and nothing else.
        let handover = serde_json::from_slice(&told)
            .inspect_err(|error| tracing::warn!(%error, "the old process is not understood"))
            .ok();
        Ok(Legacy {
            inherited,
            handover,
            predecessor: Some(predecessor),
        })
    }

    /// Tells the predecessor, if there is one, that it can go.
    pub(crate) fn ready(self) -> io::Result<()> {
        match self.predecessor {
            Some(mut predecessor) => io::Write::write_all(&mut predecessor, READY),
            None => Ok(()),
        }
    }
}

fn sockets() -> io::Result<Vec<InheritedSocket>> {
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':').map(str::to_owned);
    let mut given = ListenFd::from_env();
    let mut sockets = Vec::new();
    for index in 0..given.len() {
        let name = names.next().unwrap_or_default();
        let explain = |error| {
            io::Error::other(format!(
                "the inherited socket `{name}` is not a listening TCP socket: {error}"
            ))
        };
        if let Some(listener) = given.take_tcp_listener(index).map_err(explain)? {
            sockets.push(InheritedSocket { name, listener });
        }
    }
    Ok(sockets)
}
