//! `lemonade bench`: real workers, real faults, and reports that show them.

use crate::process::{Running, lemonade, run};
use serde_json::Value;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Reached only by a failure.
const PATIENCE: Duration = Duration::from_secs(30);

/// Four backends, each with a fault of its own, which even a busy machine cannot hide.
const SCENARIO: &str = "\
about: everything goes wrong at once
duration: 4s
arrivals: { rate: 80, process: constant }
cost: { mean: 4ms, distribution: constant }
backends: [{ count: 4 }]
health: { interval: 100ms }
faults:
  - { at: 500ms, for: 1s, backends: [0], slow: 100 }
  - { at: 500ms, for: 1s, backends: [1], fail: { after: 2ms } }
  - { at: 500ms, for: 1s, backends: [2], pause: true }
  - { at: 500ms, for: 1s, backends: [3], crash: true }
";

fn scenario(folder: &Path, text: &str) -> String {
    let path = folder.join("all-ill.yaml");
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// What the balancer wrote of requests to a backend.
fn lines(access_log: &Path, backend: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(access_log).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    lines
        .filter(|line: &Value| line["backend"] == backend)
        .collect()
}

fn longest(lines: &[Value]) -> f64 {
    let seconds = lines
        .iter()
        .filter_map(|line| line["first_byte_seconds"].as_f64());
    seconds.fold(0.0, f64::max)
}

#[test]
fn faults_leave_their_marks_on_every_strategy() {
    let folder = tempfile::tempdir().unwrap();
    let path = scenario(folder.path(), SCENARIO);
    let (html, work) = (
        folder.path().join("report.html"),
        folder.path().join("work"),
    );
    let (code, output, errors) = run(&[
        "bench",
        "--scenario",
        &path,
        "--strategy",
        "round_robin,least_connections",
        "--ideal",
        "--json",
        "--html",
        html.to_str().unwrap(),
        "--work-dir",
        work.to_str().unwrap(),
    ]);
    assert_eq!(code, 0, "{errors}");
    let report: Value = serde_json::from_str(&output).unwrap();
    let scenario = &report["scenarios"][0];
    assert_eq!(scenario["name"], "all-ill");
    assert_eq!(
        scenario["offered_requests_per_second"].as_f64(),
        Some(79.75)
    );
    let strategies = scenario["strategies"].as_array().unwrap();
    let names: Vec<&Value> = strategies.iter().map(|one| &one["strategy"]).collect();
    assert_eq!(names, ["ideal", "round_robin", "least_connections"]);
    for strategy in strategies {
        // A constant rate of 80 a second; the last of 320 would come with the end.
        assert_eq!(strategy["requests"], 319, "{strategy}");
    }
    assert_eq!(strategies[0]["machine"], Value::Null);
    for strategy in &strategies[1..] {
        let errors = &strategy["errors"];
        assert!(errors["failed"].as_u64() > Some(0), "{errors}");
        let lost = ["refused", "broken"].map(|kind| errors[kind].as_u64().unwrap());
        assert!(lost.iter().sum::<u64>() > 0, "{errors}");
        let machine = &strategy["machine"];
        assert!(machine["worker_cores"].as_f64() > Some(0.0), "{machine}");
        assert!(
            machine["late_seconds"]["max"].as_f64() > Some(0.0),
            "{machine}"
        );

        let name = strategy["strategy"].as_str().unwrap();
        let log = work
            .join("all-ill")
            .join(name)
            .join("balancer-0.access.jsonl");
        let slow = longest(&lines(&log, "b0"));
        assert!(slow >= 0.4, "4 ms a hundred times: {slow}");
        let paused = longest(&lines(&log, "b2"));
        assert!(paused >= 0.2, "most of a second: {paused}");
        for backend in ["b0", "b1", "b2", "b3"] {
            let last = lines(&log, backend).pop().unwrap();
            assert_eq!(last["status"], 200, "well again: {last}");
        }
    }
    let html = std::fs::read_to_string(html).unwrap();
    for part in ["<svg", "all-ill", "round_robin", "least_connections"] {
        assert!(html.contains(part), "{part}");
    }
}

#[test]
fn rate_and_time_may_be_others_than_the_scenarios() {
    let folder = tempfile::tempdir().unwrap();
    let path = scenario(folder.path(), "backends: [{ count: 2 }]\nduration: 1m\n");
    let (code, output, errors) = run(&[
        "bench",
        "-s",
        &path,
        "--strategy",
        "random",
        "--rate",
        "50",
        "--seconds",
        "1",
    ]);
    assert_eq!(code, 0, "{errors}");
    for part in [
        "50 requests a second instead of 160; each takes 3.20 times as long",
        "all events in 1s instead of 60s",
        "p99.9",
        "random",
        "sent late",
    ] {
        assert!(output.contains(part), "{part}\n{output}");
    }
}

#[test]
fn what_cannot_be_played_is_a_matter_of_usage() {
    let folder = tempfile::tempdir().unwrap();
    let good = scenario(folder.path(), "backends: [{}]\n");
    for (arguments, message) in [
        (&["--strategy", "randon"][..], "did you mean `random`?"),
        (&["--framework", "axun"][..], "did you mean `axum`?"),
        (&["--rate", "0"][..], "expected a number from 1 to 100000"),
    ] {
        let (code, _, errors) = run(&[&["bench", "-s", &good][..], arguments].concat());
        assert_eq!(code, 2, "{errors}");
        assert!(errors.contains(message), "{errors}");
    }
    let bad = scenario(folder.path(), "backnds: [{}]\n");
    let (code, _, errors) = run(&["bench", "-s", &bad]);
    assert_eq!(code, 2, "{errors}");
    assert!(errors.contains("did you mean `backends`?"), "{errors}");
}

#[test]
fn interrupt_stops_every_process() {
    let mut bench = Begun::new();
    bench.running.signal("INT");
    bench.running.line("stopped before the end");
    assert_eq!(bench.running.wait().code(), Some(1));
    bench.nobody_listens();
}

#[test]
fn processes_do_not_outlive_a_bench_that_is_killed() {
    let bench = Begun::new();
    bench.running.signal("KILL");
    bench.nobody_listens();
}

/// A bench that would take an hour, in the midst of its first run. One of its workers is stopped.
struct Begun {
    running: Running,
    /// Of two workers, a balancer and its admin API.
    addresses: Vec<SocketAddr>,
    _folder: tempfile::TempDir,
}

impl Begun {
    fn new() -> Begun {
        let folder = tempfile::tempdir().unwrap();
        let text =
            "duration: 1h\nbackends: [{ count: 2 }]\nfaults: [{ backends: [1], pause: true }]\n";
        let path = scenario(folder.path(), text);
        let work = folder.path().join("work");
        let run: PathBuf = work.join("all-ill/random");
        let running = Running::start(&mut lemonade(&[
            "bench",
            "-s",
            &path,
            "--strategy",
            "random",
            "--work-dir",
            work.to_str().unwrap(),
        ]));
        let access_log = run.join("balancer-0.access.jsonl");
        until("requests are answered", || {
            std::fs::metadata(&access_log).is_ok_and(|file| file.len() > 0)
        });
        let addresses = addresses(&run.join("balancer-0.yaml"));
        assert_eq!(addresses.len(), 4);
        Begun {
            running,
            addresses,
            _folder: folder,
        }
    }

    fn nobody_listens(&self) {
        until("nobody listens any more", || {
            let mut addresses = self.addresses.iter();
            addresses.all(|address| TcpStream::connect(address).is_err())
        });
    }
}

fn addresses(config: &Path) -> Vec<SocketAddr> {
    let text = std::fs::read_to_string(config).unwrap();
    let words = text.split(|c: char| c.is_whitespace() || matches!(c, '"' | ','));
    words.filter_map(|word| word.parse().ok()).collect()
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::yield_now();
    }
}
