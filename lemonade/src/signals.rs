//! What the process is told from outside by signals.

use std::io;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that ask for a stop: TERM, INT and QUIT. The first is graceful; whoever awaits a second one knows that it is
/// meant.
#[derive(Debug)]
pub(crate) struct Signals {
    term: Signal,
    interrupt: Signal,
    quit: Signal,
}

impl Signals {
    /// From here on these signals no longer end the process by themselves.
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Signals {
            term: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
        })
    }

    /// Waits for the next one.
    pub(crate) async fn stop(&mut self) {
        let name = tokio::select! {
            _ = self.term.recv() => "TERM",
            _ = self.interrupt.recv() => "INT",
            _ = self.quit.recv() => "QUIT",
        };
        tracing::info!(signal = name, "asked to stop");
    }
}

/// What an operator asks of a running balancer by a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// HUP: read the configuration again.
    Reload,
    /// USR1: the logs were renamed.
    ReopenLogs,
    /// USR2: a new process is to take over.
    Upgrade,
}

/// The signals that ask for something else than a stop.
#[derive(Debug)]
pub(crate) struct Requests {
    hangup: Signal,
    user1: Signal,
    user2: Signal,
}

impl Requests {
    /// From here on these signals no longer end the process.
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Requests {
            hangup: signal(SignalKind::hangup())?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
        })
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) -> Request {
        tokio::select! {
            _ = self.hangup.recv() => Request::Reload,
            _ = self.user1.recv() => Request::ReopenLogs,
            _ = self.user2.recv() => Request::Upgrade,
        }
    }
}
