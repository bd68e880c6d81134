//! Constant traffic of many connections, and what went wrong with it.

use lemonade_test::Client;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Instant;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Requests that a kept connection carries before its client opens another.
const PER_CONNECTION: usize = 200;

/// What clients and the test share.
#[derive(Debug)]
struct Shared {
    began: Instant,
    /// Where clients connect now.
    target: Mutex<SocketAddr>,
    /// From when on a backend must not be reached, in nanoseconds since `began`; by name.
    forbidden: Mutex<HashMap<String, u64>>,
    answered: AtomicU64,
    failures: Mutex<Vec<String>>,
    over: AtomicBool,
}

/// Clients that ask without pause until they are stopped.
#[derive(Debug)]
pub(crate) struct Traffic {
    shared: Arc<Shared>,
    clients: JoinSet<()>,
}

impl Traffic {
    /// `kept`: clients that keep their connections; `fresh`: those that open one for each request. Every backend answers with
    /// its name.
    pub(crate) fn start(target: SocketAddr, kept: usize, fresh: usize) -> Traffic {
        let shared = Arc::new(Shared {
            began: Instant::now(),
            target: Mutex::new(target),
            forbidden: Mutex::default(),
            answered: AtomicU64::default(),
            failures: Mutex::default(),
            over: AtomicBool::default(),
        });
        let mut clients = JoinSet::new();
        for requests in
            std::iter::repeat_n(PER_CONNECTION, kept).chain(std::iter::repeat_n(1, fresh))
        {
            clients.spawn(ask(shared.clone(), requests));
        }
        Traffic { shared, clients }
    }

    /// New connections go there from now on.
    pub(crate) fn redirect(&self, target: SocketAddr) {
        *self.shared.target.lock().unwrap() = target;
    }

    /// This backend may be reached. Call it before it is.
    pub(crate) fn allow(&self, backend: &str) {
        self.shared.forbidden.lock().unwrap().remove(backend);
    }

    /// Requests that begin from now on must not reach this backend. Call it when the balancer has said that they will not.
    pub(crate) fn forbid(&self, backend: &str) {
        let now = self.shared.now();
        let mut forbidden = self.shared.forbidden.lock().unwrap();
        forbidden.entry(backend.to_owned()).or_insert(now);
    }

    /// Requests that were answered so far.
    pub(crate) fn answered(&self) -> u64 {
        self.shared.answered.load(SeqCst)
    }

    /// Waits until so many more requests have been answered.
    pub(crate) async fn more(&self, count: u64) {
        let until = self.answered() + count;
        lemonade_test::until(format!("{count} more requests"), || {
            self.answered() >= until || !self.shared.failures.lock().unwrap().is_empty()
        })
        .await;
    }

    /// Stops the clients: how many requests were answered, and what failed.
    pub(crate) async fn stop(mut self) -> (u64, Vec<String>) {
        self.shared.over.store(true, SeqCst);
        while let Some(client) = self.clients.join_next().await {
            client.unwrap();
        }
        let failures = self.shared.failures.lock().unwrap().clone();
        (self.answered(), failures)
    }
}

impl Shared {
    fn now(&self) -> u64 {
        self.began.elapsed().as_nanos() as u64
    }

    fn fail(&self, what: &str) {
        let at = self.began.elapsed();
        self.failures
            .lock()
            .unwrap()
            .push(format!("{at:?}: {what}"));
    }
}

/// One client: connections, one after the other.
async fn ask(shared: Arc<Shared>, requests: usize) {
    while !shared.over.load(SeqCst) {
        let target = *shared.target.lock().unwrap();
        match TcpStream::connect(target).await {
            Ok(stream) => converse(&shared, Client::over(stream), requests).await,
            // Nobody listens there any more because the address has moved: no request was lost.
            Err(_) if *shared.target.lock().unwrap() != target => {}
            Err(error) => {
                // The move may be a moment older than our knowledge of it.
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                if *shared.target.lock().unwrap() == target {
                    shared.fail(&format!("connecting to {target}: {error}"));
                }
            }
        }
    }
}

async fn converse(shared: &Shared, mut client: Client, requests: usize) {
    let close = if requests == 1 {
        "Connection: close\r\n"
    } else {
        ""
    };
    let request = format!("GET /work HTTP/1.1\r\nHost: test\r\n{close}\r\n");
    for _ in 0..requests {
        let began = shared.now();
        let answer = match client.try_answer_to(&request).await {
            Ok(answer) => answer,
            Err(broken) => return shared.fail(&format!("no answer: {broken:?}")),
        };
        let (status, backend) = (answer.status(), answer.text());
        if status != 200 {
            return shared.fail(&format!("{status}: {backend}"));
        }
        let forbidden = shared.forbidden.lock().unwrap().get(&backend).copied();
        if forbidden.is_some_and(|since| began > since) {
            shared.fail(&format!("{backend} answered, which was gone"));
        }
        shared.answered.fetch_add(1, SeqCst);
        let closing = answer
            .field("connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("close"));
        if closing || shared.over.load(SeqCst) {
            return;
        }
    }
}
