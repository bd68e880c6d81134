//! A real Prometheus with the rules of the repository: its own folder, its own port, gone when it is dropped.

use crate::process::{Running, address, program, request, root};
use serde_json::Value;
use std::fs::{read_to_string, write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long a series may take to appear; reached only by a failure.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) struct Prometheus {
    address: SocketAddr,
    _process: Running,
    _folder: tempfile::TempDir,
}

impl Prometheus {
    /// Runs the shipped configuration on one balancer, faster: it looks twice a second, and alerts wait for a second at most.
    pub(super) fn start(target: SocketAddr) -> Prometheus {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name);
        let shipped = |name: &str| read_to_string(shipped(name)).unwrap();
        let configuration = shipped("prometheus.yaml")
            .replace("15s", "500ms")
            .replace("127.0.0.1:50500", &target.to_string());
        write(place("prometheus.yaml"), configuration).unwrap();
        write(place("recording.yaml"), shipped("recording.yaml")).unwrap();
        write(place("alerts.yaml"), hasty(&shipped("alerts.yaml"))).unwrap();
        let process = Running::start(&mut program(
            "prometheus",
            &[
                &format!("--config.file={}", place("prometheus.yaml").display()),
                &format!("--storage.tsdb.path={}", place("data").display()),
                "--web.listen-address=127.0.0.1:0",
            ],
        ));
        let address = address(&process.line("Listening on"), "address");
        process.line("Server is ready");
        Prometheus {
            address,
            _process: process,
            _folder: folder,
        }
    }

    /// The `data` of an answer, or what is wrong with the question.
    pub(super) fn ask(&self, path: &str) -> Result<Value, String> {
        // In HTTP/1.0, so that the answer comes in one piece.
        let (_, body) = request(self.address, &format!("GET {path} HTTP/1.0\r\n\r\n"));
        let answer: Value =
            serde_json::from_str(&body).map_err(|error| format!("{error}: {body}"))?;
        match answer["status"] == "success" {
            true => Ok(answer["data"].clone()),
            false => Err(answer["error"].to_string()),
        }
    }

    /// How many series a query has now.
    pub(super) fn series(&self, query: &str) -> usize {
        let path = format!("/api/v1/query?query={}", encoded(query));
        let data = self
            .ask(&path)
            .unwrap_or_else(|error| panic!("{query}\n{error}"));
        data["result"].as_array().map_or(0, Vec::len)
    }

    /// Waits until a query has a series.
    pub(super) fn has(&self, query: &str) {
        wait(&format!("a series of {query}"), || self.series(query) > 0);
    }

    /// Names of the alerts that fire, with the backend if they have one: `LemonadeBackendDown w2`.
    pub(super) fn firing(&self) -> Vec<String> {
        let alerts = self.ask("/api/v1/alerts").unwrap();
        let alerts = alerts["alerts"].as_array().unwrap();
        let firing = alerts.iter().filter(|alert| alert["state"] == "firing");
        firing.map(name).collect()
    }

    /// Every rule, as Prometheus understood it.
    pub(super) fn rules(&self) -> Vec<Value> {
        let groups = self.ask("/api/v1/rules").unwrap();
        let groups = groups["groups"].as_array().unwrap();
        let rules = groups
            .iter()
            .map(|group| group["rules"].as_array().unwrap());
        rules.flatten().cloned().collect()
    }
}

/// A file beside the rules.
pub(super) fn shipped(name: &str) -> PathBuf {
    root().join("monitoring/prometheus").join(name)
}

/// Waits for a condition.
pub(super) fn wait(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < until, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn name(alert: &Value) -> String {
    let labels = &alert["labels"];
    let words = [&labels["alertname"], &labels["backend"]];
    let words: Vec<&str> = words.iter().filter_map(|word| word.as_str()).collect();
    for text in ["summary", "description"] {
        let text = alert["annotations"][text].as_str().unwrap();
        assert!(!text.contains("<error"), "{words:?}: {text}");
    }
    words.join(" ")
}

/// The same alerts with little patience.
fn hasty(rules: &str) -> String {
    let lines = rules
        .lines()
        .map(|line| match line.trim_start().starts_with("for: ") {
            true => "        for: 1s\n".to_owned(),
            false => format!("{line}\n"),
        });
    lines.collect()
}

fn encoded(query: &str) -> String {
    let bytes = query.bytes();
    bytes.map(|byte| format!("%{byte:02X}")).collect()
}
