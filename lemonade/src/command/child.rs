//! Processes of this very program, for the commands that show it at work.
//!
//! Each ends when its standard input does, which takes even the sudden death of its parent for an order to stop.

use super::Failure;
use std::net::{SocketAddr, TcpListener};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

/// How long several processes may take to listen, on a slow machine under load.
pub(super) const START_TIMEOUT: Duration = Duration::from_secs(20);

/// How long one may take to end once it was told to.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// An address where nobody listens: the wanted one, or, where another program has that, a port of the kernel's choice.
pub(super) fn free(wanted: SocketAddr) -> Result<SocketAddr, Failure> {
    let bound = TcpListener::bind(wanted)
        .or_else(|_| TcpListener::bind(SocketAddr::new(wanted.ip(), 0)))
        .and_then(|listener| listener.local_addr());
    bound.map_err(|error| Failure::Failed(format!("cannot listen on {wanted}: {error}")))
}

/// `lemonade -q COMMAND --until-stdin-ends`, to be added to.
pub(super) fn command(name: &str) -> Result<Command, Failure> {
    let program = std::env::current_exe()
        .map_err(|error| Failure::Failed(format!("cannot find myself: {error}")))?;
    let mut command = Command::new(program);
    command
        .args(["-q", name, "--until-stdin-ends"])
        .stdin(Stdio::piped())
        .kill_on_drop(true)
        // A terminal's Ctrl-C reaches the whole group; the children are to be stopped in order.
        .process_group(0);
    Ok(command)
}

/// A worker.
pub(super) fn worker(framework: &str, address: SocketAddr, name: &str) -> Result<Command, Failure> {
    let mut command = command("worker")?;
    let address = address.to_string();
    command.args([
        "--framework",
        framework,
        "--address",
        &address,
        "--name",
        name,
    ]);
    Ok(command)
}

/// Starts it; `what` it is is for the failure.
pub(super) fn spawn(command: &mut Command, what: &str) -> Result<Child, Failure> {
    let spawned = command.spawn();
    spawned.map_err(|error| Failure::Failed(format!("cannot start {what}: {error}")))
}

/// Waits until the process accepts connections; that it ends instead is a failure.
pub(super) async fn wait_until_listening(
    child: &mut Child,
    name: &str,
    address: SocketAddr,
) -> Result<(), Failure> {
    let deadline = Instant::now() + START_TIMEOUT;
    while TcpStream::connect(address).await.is_err() {
        if let Ok(Some(status)) = child.try_wait() {
            let failed = format!("{name} ended at once ({status})");
            return Err(Failure::Failed(failed));
        }
        if Instant::now() > deadline {
            let failed = format!("{name} does not listen on {address}");
            return Err(Failure::Failed(failed));
        }
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// Has it end: in order, or, if that takes too long, when it is dropped.
pub(super) async fn stop(child: &mut Child) {
    drop(child.stdin.take());
    let _ = timeout(STOP_TIMEOUT, child.wait()).await;
}

/// Ends when standard input does: the child's side of it.
pub(super) async fn stdin_ends() {
    let mut sink = tokio::io::sink();
    let _ = tokio::io::copy(&mut tokio::io::stdin(), &mut sink).await;
    let _ = sink.flush().await;
}
