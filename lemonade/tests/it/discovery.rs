//! Backends out of a database, as the older instructions have it and with what came after them.

use crate::process::{Running, address, get, lemonade, program, run};
use lemonade_test::postgres::Postgres;
use serde_json::Value;
use std::net::SocketAddr;

/// A worker of its own process, on a free port.
fn worker(name: &str) -> (Running, SocketAddr) {
    let arguments = [
        "w",
        "-f",
        "tokio",
        "-n",
        name,
        "-a",
        "127.0.0.1:0",
        "-d",
        "0",
    ];
    let worker = Running::start(&mut lemonade(&arguments));
    let address = address(&worker.line("worker started"), "address");
    (worker, address)
}

/// Waits until the balancer's list of backends has these addresses and weights.
fn until_listed(admin: &str, wanted: &[(SocketAddr, u64)]) {
    let wanted: Vec<(String, u64)> = wanted
        .iter()
        .map(|(address, weight)| (address.to_string(), *weight))
        .collect();
    let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
    loop {
        let (_, output, _) = run(&["backends", "--json", "--admin", admin]);
        let backends: Value = serde_json::from_str(&output).unwrap();
        let mut present: Vec<(String, u64)> = backends
            .as_array()
            .unwrap()
            .iter()
            .map(|backend| {
                let address = backend["address"].as_str().unwrap().to_owned();
                (address, backend["weight"].as_u64().unwrap())
            })
            .collect();
        present.sort();
        let mut sorted = wanted.clone();
        sorted.sort();
        if present == sorted {
            return;
        }
        assert!(
            std::time::Instant::now() < until,
            "{present:?} is not {sorted:?}"
        );
    }
}

#[test]
fn load_balancer_of_the_older_instructions_runs_from_a_table() {
    let mut postgres = Postgres::start();
    let (one, first) = worker("one");
    let (two, second) = worker("two");
    // The table of seed 002 as it stands, made by its own migration.
    postgres.sql(&format!(
        "CREATE TABLE IF NOT EXISTS workers(worker_address VARCHAR(255) NOT NULL PRIMARY KEY);
         INSERT INTO workers(worker_address) VALUES ('{first}');"
    ));
    let folder = tempfile::tempdir().unwrap();
    let url = postgres.url();
    std::fs::write(
        folder.path().join(".env"),
        format!("DATABASE_URL={url}\nLEMONADE_LB_LISTEN_ADDRESS=127.0.0.1:0\nLEMONADE_LB_ADMIN_ADDRESS=127.0.0.1:0\n"),
    )
    .unwrap();
    let mut command = program(env!("CARGO_BIN_EXE_load_balancer"), &[]);
    command.current_dir(folder.path());
    let balancer = Running::start(&mut command);
    let started = balancer.line("load balancer started");
    let (listen, admin) = (
        address(&started, "listen"),
        address(&started, "admin").to_string(),
    );
    balancer.line("to=healthy");
    assert!(get(listen, "/work").1.contains("one"));

    // Ours adds what the table lacks, and keeps its rows.
    let migrate = || run(&["db", "migrate", "--url", &url]);
    let (code, output, error) = migrate();
    assert!(
        code == 0 && output.contains("applied workers, worker options"),
        "{output}{error}"
    );
    assert!(!output.contains("s3cr3t"), "{output}");
    assert!(migrate().1.contains("up to date"));

    postgres.sql(&format!(
        "INSERT INTO workers VALUES ('{second}', 'two', 3)"
    ));
    until_listed(&admin, &[(first, 1), (second, 3)]);
    // A change that is kept is kept there.
    let weigh = [
        "backends",
        "weight",
        "two",
        "7",
        "--persist",
        "--admin",
        &admin,
    ];
    assert_eq!(run(&weigh).0, 0);
    balancer.line("kept=true");
    let stored = postgres.sql("SELECT weight FROM workers WHERE name = 'two'");
    assert_eq!(stored.trim(), "7");
    until_listed(&admin, &[(first, 1), (second, 7)]);

    // The database is gone, and its workers serve on.
    postgres.kill();
    balancer.line("source of backends away");
    assert_eq!(get(listen, "/work").0, 200);
    let (_, status, _) = run(&["status", "--admin", &admin]);
    assert!(
        status.contains("2 backends; away:") && !status.contains("s3cr3t"),
        "{status}"
    );
    postgres.restart();
    postgres.sql(&format!(
        "DELETE FROM workers WHERE worker_address = '{first}'"
    ));
    until_listed(&admin, &[(second, 7)]);
    assert!(get(listen, "/work").1.contains("two"));
    drop((one, two));
}

#[test]
fn sqlite_file_is_a_database_too() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("workers.db").display());
    let (code, _, error) = run(&["db", "migrate", "--url", &url]);
    assert_eq!(code, 0, "{error}");
    let (_one, first) = worker("one");
    let file = folder.path().join("lb.yaml");
    let text =
        format!("listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\ndiscovery: {{ sql: \"{url}\" }}\n");
    std::fs::write(&file, text).unwrap();
    let balancer = Running::start(&mut lemonade(&["lb", "-c", file.to_str().unwrap()]));
    let started = balancer.line("load balancer started");
    let admin = address(&started, "admin").to_string();
    assert_eq!(get(address(&started, "listen"), "/").0, 503);
    let add = [
        "backends",
        "add",
        &first.to_string(),
        "--persist",
        "--admin",
        &admin,
    ];
    assert_eq!(run(&add).0, 0);
    until_listed(&admin, &[(first, 1)]);
    balancer.line("to=healthy");
    assert!(get(address(&started, "listen"), "/work").1.contains("one"));
    let remove = [
        "backends",
        "remove",
        &first.to_string(),
        "--persist",
        "--admin",
        &admin,
    ];
    assert_eq!(run(&remove).0, 0);
    until_listed(&admin, &[]);
}

#[test]
fn database_that_is_no_database_is_refused_without_its_password() {
    let (code, _, error) = run(&["db", "migrate", "--url", "mysql://u:hush@h/d"]);
    assert_eq!(code, 1);
    assert!(
        error.contains("expected `postgres://…`") && !error.contains("hush"),
        "{error}"
    );
    let (code, _, error) = run(&["db", "migrate"]);
    assert!(code == 2 && error.contains("DATABASE_URL"), "{error}");
}
