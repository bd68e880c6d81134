//! Programs under test as processes of their own, what they print, and one-off requests to them.

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// How long anything may take here; reached only by a failure.
const PATIENCE: Duration = Duration::from_secs(30);

/// A program that is run in `folder`, with nothing of the tester's environment that would configure it.
pub fn program(path: &str, arguments: &[&str], folder: &Path) -> Command {
    let mut command = Command::new(path);
    command.args(arguments).current_dir(folder).env_clear();
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// A running process, killed when it is dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    lines: Receiver<String>,
    /// Lines that came and were not asked for yet.
    seen: RefCell<Vec<String>>,
}

impl Running {
    /// Starts it.
    pub fn start(command: &mut Command) -> Running {
        let mut child = command.spawn().expect("the binary starts");
        let (sender, lines) = channel();
        let stderr = child.stderr.take().expect("standard error is piped");
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Running {
            child,
            lines,
            seen: RefCell::default(),
        }
    }

    /// Waits for a log line that holds `part`; each line is found once, in whatever order they came.
    pub fn line(&self, part: &str) -> String {
        let until = Instant::now() + PATIENCE;
        let mut seen = self.seen.borrow_mut();
        loop {
            if let Some(index) = seen.iter().position(|line| line.contains(part)) {
                return seen.remove(index);
            }
            let left = until.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => seen.push(line),
                Err(_) => panic!("no line with `{part}` in:\n{}", seen.join("\n")),
            }
        }
    }

    /// Sends it a signal, as `kill -s` names them.
    pub fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill")
            .args(["-s", name, &id])
            .status()
            .expect("kill runs");
        assert!(sent.success());
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if let Some(status) = self
                .child
                .try_wait()
                .expect("the process can be waited for")
            {
                return status;
            }
            std::thread::yield_now();
        }
        panic!("the process does not end");
    }

    /// All of standard output; call it once the process has ended.
    pub fn output(&mut self) -> String {
        let mut text = String::new();
        let stdout = self
            .child
            .stdout
            .as_mut()
            .expect("standard output is piped");
        stdout.read_to_string(&mut text).expect("it is text");
        text
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The address after `key=` in a log line.
pub fn address(line: &str, key: &str) -> SocketAddr {
    let plain: String = line.replace('"', "");
    let rest = plain
        .split_once(&format!("{key}="))
        .unwrap_or_else(|| panic!("no {key} in {line}"))
        .1;
    rest.split_whitespace()
        .next()
        .unwrap_or_default()
        .parse()
        .unwrap_or_else(|_| panic!("no address in {line}"))
}

/// One request on a connection of its own: status and body.
pub fn get(address: SocketAddr, path: &str) -> (u16, String) {
    request(
        address,
        &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"),
    )
}

/// The same, as it is written.
pub fn request(address: SocketAddr, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("something listens");
    stream
        .set_read_timeout(Some(PATIENCE))
        .expect("a timeout can be set");
    stream
        .write_all(request.as_bytes())
        .expect("the request is sent");
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .expect("the answer is text");
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("no head in {answer:?}"));
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .expect("a status");
    (status, body.to_owned())
}
