//! A real balancer over real workers, with traffic and faults, so that every metric has something to say.

use crate::process::{Running, address, get, lemonade, request};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::JoinHandle;

/// What clients ask for, over and over: answers, an error of the application, a slow one that is hedged. Errors are retried, so
/// that there are more attempts that fail than requests; they stay well below the half that would eject a backend.
const TARGETS: [&str; 8] = [
    "/work",
    "/work?status=503",
    "/work",
    "/work?delay=60ms",
    "/work",
    "/work",
    "/work?status=404",
    "/work",
];

/// The balancer's file but for its backends. The database and the telemetry servers are away, which nothing here minds; the rule makes the engine switch, which nothing else does within seconds.
const REST: &str = "
listen: 127.0.0.1:0
admin: 127.0.0.1:0
discovery: { sql: 'sqlite:/nowhere/workers.db' }
metrics: { interval: 1s, otlp: 'http://127.0.0.1:1', statsd: '127.0.0.1:1' }
tracing: { otlp: 'http://127.0.0.1:1', sample: 100% }
strategy: adaptive
sticky: on
health: { interval: 200ms, timeout: 1s, fall: 2 }
limits: { max_in_flight: 8 }
hedge: { after: 20ms }
outlier: { consecutive: 100, failure_rate: 80% }
engine: { cooldown: 1s, rules: [{ name: busy, when: request_rate > 1, use: round_robin }] }
";

/// Everything that runs; it ends when this is dropped.
pub(super) struct Stage {
    pub(super) listen: SocketAddr,
    pub(super) admin: SocketAddr,
    /// `w1`, `w2` and `w3`, each with its address; None once it was killed.
    workers: Vec<Option<(Running, SocketAddr)>>,
    folder: tempfile::TempDir,
    over: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
    _balancer: Running,
}

impl Stage {
    /// Returns when clients are being served.
    pub(super) fn start() -> Stage {
        let workers: Vec<_> = (1..=3).map(|number| Some(worker(number))).collect();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("lb.yaml");
        std::fs::write(&file, configuration(&workers)).unwrap();
        let mut command = lemonade(&["lb", "-c", file.to_str().unwrap()]);
        let balancer = Running::start(&mut command);
        let started = balancer.line("load balancer started");
        let mut stage = Stage {
            listen: address(&started, "listen"),
            admin: address(&started, "admin"),
            workers,
            folder,
            over: Arc::default(),
            clients: Vec::new(),
            _balancer: balancer,
        };
        for _ in 0..3 {
            stage._balancer.line("to=healthy");
        }
        let clients = (0..3).map(|_| client(stage.listen, stage.over.clone()));
        stage.clients = clients.collect();
        stage
    }

    pub(super) fn metrics(&self) -> String {
        get(self.admin, "/metrics").1
    }

    /// A worker that answers health checks and fails every request, so that it is ejected and stays so.
    pub(super) fn fail(&self, number: usize) {
        let (_, worker) = self.workers[number - 1].as_ref().unwrap();
        let body = "{\"error_rate\": \"100%\"}";
        let put = format!(
            "PUT /v1/chaos HTTP/1.1\r\nHost: worker\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        assert_eq!(request(*worker, &put).0, 200);
    }

    pub(super) fn kill(&mut self, number: usize) {
        self.workers[number - 1] = None;
    }

    /// Writes a file with a fault.
    pub(super) fn break_configuration(&self) {
        std::fs::write(self.file(), "listne: nowhere\n").unwrap();
    }

    /// Writes one without, that differs from the first.
    pub(super) fn mend_configuration(&self) {
        let text = configuration(&self.workers);
        std::fs::write(self.file(), format!("{text}slow_start: 1s\n")).unwrap();
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("lb.yaml")
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.over.store(true, SeqCst);
        for client in self.clients.drain(..) {
            let _ = client.join();
        }
    }
}

fn worker(number: usize) -> (Running, SocketAddr) {
    let name = format!("w{number}");
    let arguments = ["worker", "--framework", "tokio", "--address", "127.0.0.1:0"];
    let more = ["--name", &name, "--delay", "2ms"];
    let running = Running::start(&mut lemonade(&[&arguments[..], &more].concat()));
    let listen = address(&running.line("worker started"), "address");
    (running, listen)
}

/// Who was killed keeps a place, at a port where nobody listens.
fn configuration(workers: &[Option<(Running, SocketAddr)>]) -> String {
    let backends = workers.iter().zip(1..).map(|(worker, number)| {
        let address = worker.as_ref().map(|(_, address)| address.to_string());
        let address = address.unwrap_or_else(|| "127.0.0.1:1".to_owned());
        format!("  - {{ name: w{number}, address: \"{address}\" }}\n")
    });
    format!("{REST}backends:\n{}", backends.collect::<String>())
}

/// Asks without pause, whatever the answers are, until it is over.
fn client(target: SocketAddr, over: Arc<AtomicBool>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for path in TARGETS.iter().cycle() {
            if over.load(SeqCst) {
                return;
            }
            get(target, path);
        }
    })
}
