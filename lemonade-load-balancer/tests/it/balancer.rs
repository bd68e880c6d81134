//! A balancer in the test's own process, on free ports, and what a test wants to know of it.

use lemonade_config::Environment;
use lemonade_load_balancer::app::{App, Start};
use lemonade_load_balancer::backend::State;
use lemonade_load_balancer::config::{Config, Inputs, Tier};
use lemonade_load_balancer::snapshot::Member;
use lemonade_test::{Client, Message, Origin, PATIENCE, until};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

/// A balancer on free ports. Dropping it ends it at once.
pub(crate) struct Balancer {
    pub(crate) app: App,
}

/// In front of `origins`, without health checks and with two shards.
pub(crate) fn balancer(origins: &[&Origin]) -> Balancer {
    balancer_with(origins, |_| {})
}

/// The same, after `change`.
pub(crate) fn balancer_with(origins: &[&Origin], change: impl FnOnce(&mut Config)) -> Balancer {
    let addresses: Vec<SocketAddr> = origins.iter().map(|origin| origin.address()).collect();
    balancer_at(&addresses, change)
}

/// In front of addresses at which somebody may listen or not.
pub(crate) fn balancer_at(backends: &[SocketAddr], change: impl FnOnce(&mut Config)) -> Balancer {
    let addresses: Vec<String> = backends.iter().map(SocketAddr::to_string).collect();
    let inputs = Inputs {
        environment: Environment::from_pairs([
            ("LEMONADE_LB_LISTEN_ADDRESS", "127.0.0.1:0"),
            ("LEMONADE_LB_ADMIN_ADDRESS", "127.0.0.1:0"),
            ("LEMONADE_LB_BACKEND_ADDRESSES", &addresses.join(",")),
        ]),
        ..Inputs::default()
    };
    let mut config = loaded(&inputs);
    config.health = None;
    config.runtime.shards = 2;
    change(&mut config);
    started(config, Inputs::default())
}

/// Run by a file, which is watched.
pub(crate) fn balancer_of_file(path: &Path) -> Balancer {
    let inputs = Inputs {
        path: Some(path.to_owned()),
        ..Inputs::default()
    };
    started(loaded(&inputs), inputs)
}

fn loaded(inputs: &Inputs) -> Config {
    let loaded = inputs.load().unwrap_or_else(|faults| panic!("{faults}"));
    loaded.config
}

fn started(config: Config, inputs: Inputs) -> Balancer {
    let start = Start {
        config,
        inputs,
        ..Start::default()
    };
    Balancer {
        app: App::start(start).unwrap(),
    }
}

impl Balancer {
    pub(crate) async fn client(&self) -> Client {
        Client::connect(self.app.listen()).await
    }

    /// One request on a connection of its own.
    pub(crate) async fn get(&self, path: &str) -> Message {
        self.client().await.get(path).await
    }

    /// One request on a connection of its own.
    pub(crate) async fn ask(&self, request: impl AsRef<[u8]>) -> Message {
        self.client().await.ask(request).await
    }

    /// Calls the admin API: `method target`, and a JSON body if there is one.
    pub(crate) async fn admin(&self, call: &str, body: &str) -> Message {
        self.admin_with(call, "", body).await
    }

    /// The same with further header lines, each with its line end.
    pub(crate) async fn admin_with(&self, call: &str, lines: &str, body: &str) -> Message {
        let address = self.app.admin().unwrap();
        let request = format!(
            "{call} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n{lines}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        Client::connect(address).await.ask(request).await
    }

    /// One sample of `/metrics`, its labels included in `series`; 0 if there is none.
    pub(crate) async fn metric(&self, series: &str) -> f64 {
        let text = self.admin("GET /metrics", "").await.text();
        let value = text.lines().find_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            (name == series).then(|| value.parse().ok())?
        });
        value.unwrap_or(0.0)
    }

    /// Waits until `/metrics` has this sample: a request counts a moment after its client has the answer.
    pub(crate) async fn metric_reaches(&self, series: &str, value: f64) {
        let begun = Instant::now();
        loop {
            let now = self.metric(series).await;
            if now == value {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{series} is {now}, not {value}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) fn in_flight(&self, backend: usize) -> u32 {
        let snapshot = self.app.published().load();
        snapshot.members[backend].live.load.in_flight()
    }

    /// Requests in flight at all backends together.
    pub(crate) fn total_in_flight(&self) -> u32 {
        let snapshot = self.app.published().load();
        let members = snapshot.members.iter();
        members.map(|member| member.live.load.in_flight()).sum()
    }

    pub(crate) fn states(&self) -> Vec<State> {
        let snapshot = self.app.published().load();
        snapshot
            .members
            .iter()
            .map(|member| member.live.state.get())
            .collect()
    }

    /// The pool is the one that follows from the states: a state is written a moment before that is published.
    fn is_published(&self) -> bool {
        let snapshot = self.app.published().load();
        let picked = snapshot.pool.backends();
        let usable = picked
            .iter()
            .filter(|backend| backend.state.get().is_usable());
        let primary = |member: &&Member| {
            member.live.state.get().is_usable() && member.config.tier == Tier::Primary
        };
        let all = snapshot.members.iter().filter(primary).count();
        let usable = usable.count();
        let nobody = !self.states().iter().any(|state| state.is_usable());
        usable >= all && (usable == picked.len() || nobody || snapshot.panic.is_some())
    }

    /// Waits until the backends are in these states.
    pub(crate) async fn reaches(&self, states: &[State]) {
        until(format!("the states are {states:?}"), || {
            self.states() == states && self.is_published()
        })
        .await;
    }

    pub(crate) fn generation(&self) -> u64 {
        self.app.published().load().generation
    }
}

/// Waits until nobody listens there any more.
pub(crate) async fn until_refused(address: SocketAddr) {
    let begun = Instant::now();
    // A listener that is closing drops what comes in, and the kernel repeats that a second later: we ask anew instead.
    let refused = async || {
        let connecting = timeout(Duration::from_millis(50), TcpStream::connect(address));
        matches!(connecting.await, Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused)
    };
    while !refused().await {
        assert!(begun.elapsed() < PATIENCE, "{address} is still listened on");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// An answer 200 with this body.
pub(crate) fn ok(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A request for `/` that a test has nothing to say about.
pub(crate) const GET: &str = "GET / HTTP/1.1\r\nHost: test\r\n\r\n";

/// An address at which nobody listens, kept from others while this lives.
pub(crate) struct Nobody(TcpSocket);

impl Nobody {
    pub(crate) fn new() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        Nobody(socket)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }
}
