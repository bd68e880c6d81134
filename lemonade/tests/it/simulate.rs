//! `lemonade simulate`: what it prints, and how it refuses.

use crate::process::{root, run};
use serde_json::Value;
use std::path::PathBuf;

const SMALL: &str = "about: Small.\nduration: 2s\nbackends: [{ count: 2 }, { speed: 2 }]\n\
                     faults: [{ at: 1s, backends: 0, fail: on }]\n";

fn file(name: &str, text: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (folder, path)
}

fn simulate(arguments: &[&str]) -> String {
    let arguments = [&["simulate"], arguments].concat();
    let (code, out, error) = run(&arguments);
    assert_eq!(code, 0, "{error}");
    assert_eq!(error, "", "no terminal, no progress");
    out
}

#[track_caller]
fn refused(arguments: &[&str], parts: &[&str]) {
    let arguments = [&["simulate"], arguments].concat();
    let (code, out, error) = run(&arguments);
    assert_eq!((code, out.as_str()), (2, ""), "{error}");
    for part in parts {
        assert!(error.contains(part), "`{part}` in:\n{error}");
    }
}

#[test]
fn every_strategy_stands_beside_the_ideal() {
    let (_folder, path) = file("small.yaml", SMALL);
    let table = simulate(&["--scenario", &path]);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines[0], "small: Small.");
    assert!(lines[2].starts_with("ideal"), "{table}");
    assert!(table.contains("\nleast_connections "), "{table}");
}

#[test]
fn same_seed_prints_the_same_bytes() {
    let (_folder, path) = file("small.yaml", SMALL);
    let told = |seed: &str| {
        let strategies = "ideal,random,power_of_two";
        simulate(&[
            "--scenario",
            &path,
            "--strategy",
            strategies,
            "--seed",
            seed,
            "--json",
        ])
    };
    let once = told("7");
    assert_eq!(once, told("7"));
    assert_ne!(once, told("8"));
    let value: Value = serde_json::from_str(&once).unwrap();
    let run = &value["scenarios"][0]["strategies"][1];
    assert_eq!(run["strategy"], "random");
    assert!(run["latency_seconds"]["p99"].as_f64().unwrap() > 0.0);
}

#[test]
fn several_scenarios_make_one_page() {
    let (folder, path) = file("small.yaml", SMALL);
    let page: PathBuf = folder.path().join("report.html");
    let page_name = page.to_str().unwrap();
    simulate(&[
        "--scenario",
        &path,
        &path,
        "--strategy",
        "ideal,random",
        "--html",
        page_name,
    ]);
    let html = std::fs::read_to_string(page).unwrap();
    assert_eq!(html.matches("<svg").count(), 6);
}

#[test]
fn access_log_is_replayed() {
    let line = |second: u32, backend: &str| {
        format!(
            "{{\"time\":\"2026-11-21T06:44:{second:02}.5Z\",\"status\":200,\"backend\":\"{backend}\",\
             {}\"first_byte_seconds\":0.02,\"total_seconds\":0.03}}\n",
            // Older balancers wrote names; of an only attempt that went well there is nothing.
            match second % 3 {
                0 => format!("\"attempts\":[\"{backend}\"],"),
                1 => format!("\"attempts\":[{{\"backend\":\"{backend}\",\"status\":200}}],"),
                _ => String::new(),
            }
        )
    };
    let log: String = (0..40)
        .map(|second| line(second, ["a", "b"][second as usize % 2]))
        .collect();
    let (_folder, path) = file("access.jsonl", &format!("{log}oops\n"));
    let table = simulate(&["--log", &path, "--strategy", "ideal,least_connections"]);
    assert!(table.contains("\nrecorded "), "{table}");
    assert!(table.contains("line 41 is left out"), "{table}");
}

#[test]
fn configuration_of_a_balancer_is_taken() {
    let (_folder, path) = file("small.yaml", SMALL);
    let config = root().join("config/load-balancer.yaml");
    let config = config.to_str().unwrap();
    let table = simulate(&[
        "--scenario",
        &path,
        "--strategy",
        "ideal",
        "--config",
        config,
    ]);
    assert!(table.contains("ideal"), "{table}");
}

#[test]
fn what_is_wrong_is_told_at_once() {
    let (_folder, path) = file("bad.yaml", "backends: [{ coutn: 2 }]\nduration: 5\n");
    let (_other, second) = file("worse.yaml", "backend: []\n");
    let parts = [
        "3 faults",
        "bad.yaml:1:14",
        "did you mean `count`",
        "worse.yaml:1:1",
    ];
    refused(&["--scenario", &path, &second], &parts);
    refused(
        &["--scenario", "no/such.yaml"],
        &["no/such.yaml: no such file"],
    );
    refused(&["--log", "no/such.jsonl"], &["no/such.jsonl"]);
    let (_log, log) = file("text.log", "GET / 200\n");
    refused(&["--log", &log], &["text.log", "line 1"]);
    let (_good, good) = file("small.yaml", SMALL);
    refused(
        &["--scenario", &good, "--strategy", "rondom"],
        &["did you mean `random`?"],
    );
    refused(&[], &["--scenario", "--log"]);
}
