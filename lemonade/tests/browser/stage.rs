//! A real balancer before real workers, with traffic.

use lemonade_test::process::{Running, address, program, request};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::JoinHandle;

const LOCAL: &str = "127.0.0.1:0";

/// The binary.
pub(crate) fn lemonade(arguments: &[&str]) -> Running {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    Running::start(&mut program(
        env!("CARGO_BIN_EXE_lemonade"),
        arguments,
        folder,
    ))
}

/// One worker.
pub(crate) struct Worker {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    _running: Running,
}

impl Worker {
    /// `delay`: how long it takes for each answer, such as `5ms`.
    pub(crate) fn start(name: &str, framework: &str, delay: &str) -> Worker {
        Worker::at(name, LOCAL, framework, delay)
    }

    pub(crate) fn at(name: &str, listen: &str, framework: &str, delay: &str) -> Worker {
        let flags = [
            "--framework",
            framework,
            "--address",
            listen,
            "--name",
            name,
            "--delay",
            delay,
        ];
        let running = lemonade(&[&["worker"], &flags[..]].concat());
        Worker {
            name: name.to_owned(),
            address: address(&running.line("address="), "address"),
            _running: running,
        }
    }

    /// Has it misbehave: `{"error_rate": "100%"}`.
    pub(crate) fn chaos(&self, fault: &str) {
        let (status, answer) = call(self.address, "PUT", "/v1/chaos", fault);
        assert_eq!(status, 200, "{answer}");
    }
}

/// A balancer, and its configuration.
pub(crate) struct Balancer {
    pub(crate) listen: SocketAddr,
    pub(crate) admin: SocketAddr,
    file: PathBuf,
    _folder: tempfile::TempDir,
    running: Option<Running>,
}

impl Balancer {
    /// `more`: lines of configuration.
    pub(crate) fn before(backends: &[(String, SocketAddr)], more: &str) -> Balancer {
        let entry = |(name, address): &(String, SocketAddr)| {
            format!("  - {{ name: {name}, address: \"{address}\" }}\n")
        };
        let list: String = backends.iter().map(entry).collect();
        Balancer::configured(&format!("{more}\nbackends:\n{list}"), LOCAL, LOCAL)
    }

    /// Before nobody who answers.
    pub(crate) fn alone() -> Balancer {
        Balancer::before(
            &[("nobody".to_owned(), ([127, 0, 0, 1], 1).into())],
            "health: off",
        )
    }

    pub(crate) fn of(workers: &[Worker], more: &str) -> Balancer {
        let backends: Vec<_> = workers
            .iter()
            .map(|worker| (worker.name.clone(), worker.address))
            .collect();
        Balancer::before(&backends, more)
    }

    fn configured(text: &str, listen: &str, admin: &str) -> Balancer {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("load-balancer.yaml");
        let mut fixed = format!("listen: {listen}\n");
        for (key, value) in [
            ("admin", admin),
            ("health", "{ interval: 1s, timeout: 500ms }"),
        ] {
            if !text.contains(&format!("{key}:")) {
                fixed += &format!("{key}: {value}\n");
            }
        }
        fixed += text;
        std::fs::write(&file, fixed).unwrap();
        let mut balancer = Balancer {
            listen: ([127, 0, 0, 1], 0).into(),
            admin: ([127, 0, 0, 1], 0).into(),
            file,
            _folder: folder,
            running: None,
        };
        balancer.start();
        balancer
    }

    fn start(&mut self) {
        let running = lemonade(&["lb", "-c", self.file.to_str().unwrap()]);
        let line = running.line("load balancer started");
        self.listen = address(&line, "listen");
        self.admin = address(&line, "admin");
        self.running = Some(running);
    }

    /// Ends it, at once.
    pub(crate) fn crash(&mut self) {
        self.running = None;
    }

    /// Starts another process in its place.
    pub(crate) fn restart(&mut self) {
        let text = std::fs::read_to_string(&self.file).unwrap();
        let text = text.replacen(LOCAL, &self.listen.to_string(), 1);
        std::fs::write(&self.file, text.replacen(LOCAL, &self.admin.to_string(), 1)).unwrap();
        self.start();
    }

    /// What the file says from now on.
    pub(crate) fn rewrite(&self, change: impl Fn(&str) -> String) {
        let text = std::fs::read_to_string(&self.file).unwrap();
        std::fs::write(&self.file, change(&text)).unwrap();
    }

    pub(crate) fn get(&self, path: &str) -> Value {
        let (status, answer) = call(self.admin, "GET", path, "");
        assert_eq!(status, 200, "{answer}");
        serde_json::from_str(&answer).unwrap()
    }

    pub(crate) fn change(&self, method: &str, path: &str, body: &str) {
        let (status, answer) = call(self.admin, method, path, body);
        assert_eq!(status, 200, "{answer}");
    }
}

/// One call with a JSON body: status and body.
pub(crate) fn call(address: SocketAddr, method: &str, path: &str, body: &str) -> (u16, String) {
    let text = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    request(address, &text)
}

/// Clients that ask without pause, each on a connection of its own, until this is dropped.
pub(crate) struct Load {
    over: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    pub(crate) fn on(target: SocketAddr, clients: usize) -> Load {
        let over = Arc::new(AtomicBool::new(false));
        let client = |_| {
            let over = over.clone();
            std::thread::spawn(move || {
                while !over.load(SeqCst) {
                    // Whatever went wrong is the balancer's to count.
                    let _ = ask(target, &over);
                }
            })
        };
        Load {
            clients: (0..clients).map(client).collect(),
            over,
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.over.store(true, SeqCst);
        for client in self.clients.drain(..) {
            let _ = client.join();
        }
    }
}

/// Asks on one connection for as long as it holds.
fn ask(target: SocketAddr, over: &AtomicBool) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(target)?;
    let mut answer = [0; 4096];
    while !over.load(SeqCst) {
        stream.write_all(b"GET /work HTTP/1.1\r\nHost: stand.example\r\n\r\n")?;
        // Answers are small: each comes in one piece.
        if stream.read(&mut answer)? == 0 {
            return Ok(());
        }
    }
    Ok(())
}
