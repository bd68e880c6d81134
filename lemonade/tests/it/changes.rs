//! The promise that the reload is there for: whatever is changed, however often, no request is lost or sent astray.

use crate::process::{Running, address, lemonade};
use crate::traffic::Traffic;
use lemonade_test::{Client, Origin, until};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

/// Backends that come and go; the one before them is always there, and carries the long-lived streams.
const COMING: std::ops::Range<usize> = 1..5;

/// A balancer under change, with its backends.
struct Stage {
    origins: Vec<(String, Origin)>,
    /// An address at which nobody answers.
    dead: SocketAddr,
    /// Which of the origins the file names, and with which weight.
    listed: Vec<usize>,
    weight: u32,
    listen: SocketAddr,
    file: PathBuf,
    admin: SocketAddr,
    pid: u32,
    _process: Running,
    _folder: tempfile::TempDir,
}

impl Drop for Stage {
    fn drop(&mut self) {
        // After an upgrade it is no child of ours.
        let _ = kill(self.pid, "KILL");
    }
}

fn kill(pid: u32, signal: &str) -> bool {
    let pid = pid.to_string();
    let sent = Command::new("kill").args(["-s", signal, &pid]).status();
    sent.is_ok_and(|status| status.success())
}

fn free_address() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

impl Stage {
    async fn set() -> Stage {
        let mut origins = vec![("staying".to_owned(), staying().await)];
        for place in COMING {
            let name = format!("o{place}");
            origins.push((name.clone(), Origin::named(&name).await));
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("load-balancer.yaml");
        let mut stage = Stage {
            origins,
            dead: free_address(),
            listed: vec![0, 1, 2, 3, 4],
            weight: 1,
            listen: free_address(),
            admin: free_address(),
            pid: 0,
            _process: Running::start(&mut lemonade(&["--version"])),
            _folder: folder,
            file,
        };
        stage.write();
        let path = stage.file.to_str().unwrap().to_owned();
        let process = Running::start(&mut lemonade(&["-q", "-q", "lb", "-v", "-v", "-c", &path]));
        assert_eq!(
            address(&process.line("load balancer started"), "listen"),
            stage.listen
        );
        stage._process = process;
        stage.pid = stage.status().await["pid"].as_u64().unwrap() as u32;
        stage
    }

    fn text(&self) -> String {
        let backends: Vec<String> = self
            .listed
            .iter()
            .map(|place| {
                let (name, origin) = &self.origins[*place];
                let weight = self.weight;
                format!(
                    "{{ name: {name}, address: \"{}\", weight: {weight} }}",
                    origin.address()
                )
            })
            .collect();
        format!(
            "listen: {}\nadmin: {}\nhealth: {{ interval: 200ms }}\nruntime: {{ shards: 2, drain_timeout: 4s, config_watch_interval: 20ms }}\n\
             backends: [{}, {{ name: dead, address: \"{}\" }}]\n",
            self.listen,
            self.admin,
            backends.join(", "),
            self.dead
        )
    }

    fn write(&self) {
        std::fs::write(&self.file, self.text()).unwrap();
    }

    /// As editors do it: a new file over the old one.
    fn replace_file(&self) {
        let new = self.file.with_extension("new");
        std::fs::write(&new, self.text()).unwrap();
        std::fs::rename(&new, &self.file).unwrap();
    }

    async fn call(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = format!(
            "{method} /api/v1{path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        let answer = Client::connect(self.admin).await.ask(request).await;
        let json = serde_json::from_str(&answer.text()).unwrap_or(Value::Null);
        (answer.status(), json)
    }

    async fn order(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let (status, answer) = self.call(method, path, body).await;
        assert!((200..300).contains(&status), "{method} {path}: {answer}");
        answer
    }

    async fn status(&self) -> Value {
        self.order("GET", "/status", None).await
    }

    async fn eligible(&self) -> u64 {
        self.status().await["backends_eligible"].as_u64().unwrap()
    }

    async fn backend(&self, name: &str) -> Option<Value> {
        let (status, backend) = self.call("GET", &format!("/backends/{name}"), None).await;
        (status == 200).then_some(backend)
    }

    async fn until_listed(&self) {
        let mut wanted: Vec<String> = self
            .listed
            .iter()
            .map(|place| self.origins[*place].0.clone())
            .collect();
        wanted.push("dead".to_owned());
        loop {
            let backends = self.order("GET", "/backends", None).await;
            let present = backends.as_array().unwrap();
            let matches = present.len() == wanted.len()
                && present.iter().zip(&wanted).all(|(backend, name)| {
                    backend["name"] == **name
                        && (*name == "dead" || backend["weight"] == self.weight)
                });
            if matches {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    /// What every change must leave alone.
    async fn check_learned(&self, requests: &mut u64) {
        let dead = self.backend("dead").await.unwrap();
        assert_eq!(dead["state"], "unhealthy", "what was learned of it is kept");
        let staying = self.backend("staying").await.unwrap();
        assert_eq!(staying["state"], "healthy");
        let counted = staying["requests"].as_u64().unwrap();
        assert!(counted >= *requests, "{counted} after {requests}");
        *requests = counted;
    }
}

/// Answers with its name; an upgrade becomes an echo, `/stream` a body without end.
async fn staying() -> Origin {
    Origin::start(|mut connection| async move {
        while let Ok(request) = connection.request().await {
            if request.field("upgrade").is_some() {
                connection
                    .send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
                    .await;
                while let Ok(bytes) = connection.some().await {
                    if bytes.is_empty() || !connection.send(bytes).await {
                        return;
                    }
                }
                return;
            }
            if request.target() == "/stream" {
                connection
                    .send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                    .await;
                while connection.send("4\r\ntick\r\n").await {
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                }
                return;
            }
            connection
                .send("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nstaying")
                .await;
        }
    })
    .await
}

/// Connections that are to outlive every change but the end of their process.
struct LongLived {
    socket: Client,
    stream: Client,
}

impl LongLived {
    async fn open(stage: &Stage) -> LongLived {
        // Only one backend speaks these protocols; ask until it is its turn.
        let socket = loop {
            let mut client = Client::connect(stage.listen).await;
            let request =
                "GET /echo HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
            if client.ask(request).await.status() == 101 {
                break client;
            }
        };
        let stream = loop {
            let mut client = Client::connect(stage.listen).await;
            client
                .send("GET /stream HTTP/1.1\r\nHost: test\r\n\r\n")
                .await;
            if client.head().await.has("transfer-encoding") {
                break client;
            }
        };
        LongLived { socket, stream }
    }

    async fn check(&mut self) {
        self.socket.send("ping").await;
        assert_eq!(self.socket.exactly(4).await, b"ping");
        assert_eq!(self.stream.exactly(9).await, b"4\r\ntick\r\n");
    }
}

/// The kinds of change, in the order in which they come round.
const KINDS: usize = 11;

/// Makes one change and waits until the balancer says that it holds.
async fn change(stage: &mut Stage, traffic: &Traffic, round: usize) {
    let one = 1 + round / KINDS % COMING.len();
    let name = stage.origins[one].0.clone();
    match round % KINDS {
        0 => {
            // The file no longer names it; the watch sees to it.
            stage.listed.retain(|place| *place != one);
            stage.write();
            stage.until_listed().await;
            traffic.forbid(&name);
        }
        1 => {
            let address = stage.origins[one].1.address().to_string();
            traffic.allow(&name);
            let new = json!({ "address": address, "name": name });
            stage.order("POST", "/backends", Some(&new)).await;
        }
        2 => {
            stage
                .order("DELETE", &format!("/backends/{name}"), None)
                .await;
            traffic.forbid(&name);
        }
        3 => {
            traffic.allow(&name);
            stage.listed.push(one);
            stage.listed.sort_unstable();
            stage.weight = 1 + round as u32 % 7;
            stage.replace_file();
            stage.until_listed().await;
        }
        4 => {
            let path = format!("/backends/{name}/weight");
            let plan = stage
                .order("PUT", &path, Some(&json!({ "weight": 50 })))
                .await;
            assert_eq!(plan["changed"][0]["name"], *name);
            let back = json!({ "weight": stage.weight });
            stage.order("PUT", &path, Some(&back)).await;
        }
        5 => {
            let names = ["random", "least_connections", "power_of_two", "round_robin"];
            let strategy = names[round / KINDS % names.len()];
            let order = json!({ "name": strategy });
            stage.order("PUT", "/strategy", Some(&order)).await;
            assert_eq!(stage.status().await["strategy"], strategy);
        }
        6 => {
            stage
                .order("POST", &format!("/backends/{name}/drain"), None)
                .await;
            traffic.forbid(&name);
        }
        7 => {
            traffic.allow(&name);
            stage
                .order("POST", &format!("/backends/{name}/enable"), None)
                .await;
        }
        8 => {
            // A bad file changes nothing.
            std::fs::write(&stage.file, "listen: nonsense\nbackens: []\n").unwrap();
            let (status, problem) = stage.call("POST", "/reload", None).await;
            assert_eq!(
                (status, problem["faults"].as_array().unwrap().len()),
                (422, 2)
            );
            stage.write();
            stage.order("POST", "/reload", None).await;
        }
        9 => {
            stage.listen = free_address();
            stage.write();
            stage.order("POST", "/reload", None).await;
            traffic.redirect(stage.listen);
        }
        _ => {
            let before = stage.status().await["generation"].as_u64().unwrap();
            stage.admin = free_address();
            std::fs::write(&stage.file, stage.text()).unwrap();
            assert!(kill(stage.pid, "HUP"));
            let moved = || std::net::TcpStream::connect(stage.admin).is_ok();
            until("the admin listener has moved", moved).await;
            assert!(stage.status().await["generation"].as_u64().unwrap() > before);
        }
    }
}

async fn upgrade(stage: &mut Stage) {
    let old = stage.pid;
    assert!(kill(old, "USR2"));
    loop {
        // In the moment of the change, either process may answer, or the old one closes over the call.
        if let Ok(stream) = tokio::net::TcpStream::connect(stage.admin).await {
            let request =
                "GET /api/v1/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
            if let Ok(answer) = Client::over(stream).try_answer_to(request).await {
                let status: Value = serde_json::from_str(&answer.text()).unwrap();
                let pid = status["pid"].as_u64().unwrap() as u32;
                if pid != old {
                    stage.pid = pid;
                    return;
                }
            }
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn two_hundred_changes_lose_no_request_and_nothing_learned() {
    const CHANGES: usize = 200;
    const UPGRADES: usize = 4;
    let mut stage = Stage::set().await;
    while stage.backend("dead").await.unwrap()["state"] != "unhealthy" {
        tokio::task::yield_now().await;
    }
    let traffic = Traffic::start(stage.listen, 32, 4);
    let mut long_lived = LongLived::open(&stage).await;
    let mut requests = 0;
    for round in 0..CHANGES - UPGRADES {
        change(&mut stage, &traffic, round).await;
        traffic.more(20).await;
        stage.check_learned(&mut requests).await;
        long_lived.check().await;
    }
    for round in 0..UPGRADES {
        let known = stage.eligible().await;
        upgrade(&mut stage).await;
        assert!(
            stage.eligible().await >= known,
            "the new process knows who is well"
        );
        requests = 0;
        traffic.more(200).await;
        change(&mut stage, &traffic, 4 + round).await;
        stage.check_learned(&mut requests).await;
    }
    let (answered, failures) = traffic.stop().await;
    assert_eq!(failures, [""; 0], "of {answered} requests");
    assert!(answered > 10_000, "{answered} requests are no load");
}
