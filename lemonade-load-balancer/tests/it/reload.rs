//! The file changes, and the traffic does not notice.

use crate::balancer::{Balancer, GET, balancer_of_file, ok};
use lemonade_load_balancer::backend::State;
use lemonade_test::{Broken, Client, Connection, Gate, Message, Origin, until};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use tempfile::TempDir;

/// A file for these backends, and further lines.
fn text(origins: &[&Origin], more: &str) -> String {
    let backends: Vec<String> = origins
        .iter()
        .map(|origin| format!("\"{}\"", origin.address()))
        .collect();
    format!(
        "listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\nhealth: off\nruntime: {{ shards: 2, config_watch_interval: 20ms }}\n\
         backends: [{}]\n{more}",
        backends.join(", ")
    )
}

/// A folder with a `lb.yaml` in it.
pub(crate) fn folder(text: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lb.yaml");
    write(&path, text);
    (folder, path)
}

pub(crate) fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
}

async fn backends_are(balancer: &Balancer, origins: &[&Origin]) {
    let wanted: Vec<String> = origins
        .iter()
        .map(|origin| origin.address().to_string())
        .collect();
    until(format!("the backends are {wanted:?}"), || {
        let snapshot = balancer.app.published().load();
        let present = snapshot
            .members
            .iter()
            .map(|member| member.live.id.to_string());
        present.eq(wanted.iter().cloned())
    })
    .await;
}

#[tokio::test]
async fn edit_in_place_is_applied() {
    let (a, b) = (Origin::named("a").await, Origin::named("b").await);
    let (_folder, path) = folder(&text(&[&a], ""));
    let balancer = balancer_of_file(&path);
    let mut client = balancer.client().await;
    assert_eq!(client.get("/").await.text(), "a");
    write(&path, &text(&[&b], ""));
    backends_are(&balancer, &[&b]).await;
    assert_eq!(client.get("/").await.text(), "b");
}

#[tokio::test]
async fn file_renamed_over_the_old_one_is_applied_every_time() {
    let (a, b) = (Origin::named("a").await, Origin::named("b").await);
    let (folder, path) = folder(&text(&[&a], ""));
    let balancer = balancer_of_file(&path);
    for origin in [&b, &a, &b] {
        let new = folder.path().join(".lb.yaml.swp");
        write(&new, &text(&[origin], ""));
        fs::rename(&new, &path).unwrap();
        backends_are(&balancer, &[origin]).await;
    }
    assert_eq!(balancer.get("/").await.text(), "b");
}

/// A symbolic link is swapped as one step: another is renamed over it.
fn point(link: &Path, target: &Path) {
    let new = link.with_file_name("swapped");
    std::os::unix::fs::symlink(target, &new).unwrap();
    fs::rename(&new, link).unwrap();
}

#[tokio::test]
async fn swapped_symbolic_link_of_a_folder_is_applied() {
    // As Kubernetes mounts a ConfigMap: lb.yaml -> ..data/lb.yaml, ..data -> ..1.
    let (a, b) = (Origin::named("a").await, Origin::named("b").await);
    let folder = tempfile::tempdir().unwrap();
    for (name, origin) in [("..1", &a), ("..2", &b), ("..3", &a)] {
        fs::create_dir(folder.path().join(name)).unwrap();
        write(
            &folder.path().join(name).join("lb.yaml"),
            &text(&[origin], ""),
        );
    }
    let (data, path) = (folder.path().join("..data"), folder.path().join("lb.yaml"));
    point(&data, Path::new("..1"));
    point(&path, Path::new("..data/lb.yaml"));
    let balancer = balancer_of_file(&path);
    for (name, origin) in [("..2", &b), ("..3", &a)] {
        point(&data, Path::new(name));
        backends_are(&balancer, &[origin]).await;
    }
}

#[tokio::test]
async fn edit_behind_a_symbolic_link_is_applied() {
    let (a, b) = (Origin::named("a").await, Origin::named("b").await);
    let (_folder, target) = folder(&text(&[&a], ""));
    let links = tempfile::tempdir().unwrap();
    let path = links.path().join("lb.yaml");
    point(&path, &target);
    let balancer = balancer_of_file(&path);
    write(&target, &text(&[&b], ""));
    backends_are(&balancer, &[&b]).await;
}

#[tokio::test]
async fn edit_behind_a_swapped_symbolic_link_is_applied() {
    let (a, b) = (Origin::named("a").await, Origin::named("b").await);
    let (_one, first) = folder(&text(&[&a], ""));
    let (_two, second) = folder(&text(&[&b], ""));
    let links = tempfile::tempdir().unwrap();
    let path = links.path().join("lb.yaml");
    point(&path, &first);
    let balancer = balancer_of_file(&path);
    point(&path, &second);
    backends_are(&balancer, &[&b]).await;
    write(&second, &text(&[&a], ""));
    backends_are(&balancer, &[&a]).await;
}

#[tokio::test]
async fn file_that_cannot_be_used_changes_nothing() {
    let (a, b) = (Origin::named("a").await, Origin::named("b").await);
    let (_folder, path) = folder(&text(&[&a], ""));
    let balancer = balancer_of_file(&path);
    let moved = text(&[&b], "").replace("shards: 2", "shards: 1");
    for (round, bad) in ["backends: [", "nonsense: true\n", &moved, "backends: []\n"]
        .into_iter()
        .enumerate()
    {
        let generation = balancer.generation();
        write(&path, bad);
        balancer
            .metric_reaches("lemonade_config_last_reload_success", 0.0)
            .await;
        assert_eq!(balancer.get("/").await.text(), "a");
        assert_eq!(balancer.generation(), generation, "{bad}");
        // The next good one is applied, and says so.
        let good = format!("timeouts: {{ idle: {}s }}\n", 50 + round);
        write(&path, &text(&[&a], &good));
        balancer
            .metric_reaches("lemonade_config_last_reload_success", 1.0)
            .await;
        assert_eq!(balancer.generation(), generation + 1);
    }
}

#[tokio::test]
async fn removed_backend_finishes_what_it_has_and_gets_nothing_new() {
    let gate = Gate::shut();
    let held = gate.clone();
    let old = Origin::start(move |mut connection: Connection| {
        let held = held.clone();
        async move {
            while connection.request().await.is_ok() {
                held.passed().await;
                connection.send(ok("old")).await;
            }
        }
    })
    .await;
    let new = Origin::named("new").await;
    let (_folder, path) = folder(&text(&[&old], ""));
    let balancer = balancer_of_file(&path);
    let mut waiting = balancer.client().await;
    waiting.send(GET).await;
    old.request(1).await;
    let before = balancer.app.published().load().members[0].live.clone();
    write(&path, &text(&[&new], ""));
    backends_are(&balancer, &[&new]).await;
    assert_eq!(before.state.get(), State::Draining);
    assert_eq!(before.load.in_flight(), 1);
    for _ in 0..10 {
        assert_eq!(balancer.get("/").await.text(), "new");
    }
    gate.open();
    assert_eq!(waiting.answer().await.text(), "old");
    assert_eq!(
        waiting.get("/").await.text(),
        "new",
        "on the same connection"
    );
    assert_eq!(old.requests().len(), 1);
    until("its kept connections are closed", || old.open() == 0).await;
}

#[tokio::test]
async fn removed_backend_that_does_not_finish_is_cut_off_at_its_deadline() {
    // Begins an answer and never ends it.
    let old = Origin::start(|mut connection: Connection| async move {
        let _ = connection.request().await;
        connection
            .send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ntick\r\n")
            .await;
        connection.gone().await;
    })
    .await;
    let new = Origin::named("new").await;
    let timed = |origins: &[&Origin]| {
        text(origins, "").replace("shards: 2", "shards: 2, drain_timeout: 100ms")
    };
    let (_folder, path) = folder(&timed(&[&old]));
    let balancer = balancer_of_file(&path);
    let mut reading = balancer.client().await;
    reading.send(GET).await;
    assert_eq!(reading.head().await.status(), 200);
    assert_eq!(reading.exactly(9).await, b"4\r\ntick\r\n");
    write(&path, &timed(&[&new]));
    backends_are(&balancer, &[&new]).await;
    assert!(
        matches!(reading.some().await, Err(Broken::Reset(_))),
        "an answer that is cut off cannot look complete"
    );
    until("the backend is let go", || old.open() == 0).await;
    assert_eq!(balancer.get("/").await.text(), "new");
}

#[tokio::test]
async fn file_that_vanishes_for_a_moment_is_no_fault() {
    let (a, b) = (Origin::named("a").await, Origin::named("b").await);
    let (_folder, path) = folder(&text(&[&a], ""));
    let balancer = balancer_of_file(&path);
    // As editors do: out of the way, empty, then with its content; with pauses that are longer than the watch's.
    fs::rename(&path, path.with_extension("old")).unwrap();
    tokio::time::sleep(Duration::from_millis(60)).await;
    write(&path, "");
    tokio::time::sleep(Duration::from_millis(60)).await;
    write(&path, &text(&[&b], ""));
    backends_are(&balancer, &[&b]).await;
    let metrics = balancer.admin("GET /metrics", "").await.text();
    assert!(
        metrics.contains("lemonade_config_reloads_total{result=\"refused\"} 0\n"),
        "nothing was complained of: {metrics}"
    );
}

#[tokio::test]
async fn reload_under_load_loses_no_request() {
    let (a, b, c) = (
        Origin::named("a").await,
        Origin::named("b").await,
        Origin::named("c").await,
    );
    let (_folder, path) = folder(&text(&[&a, &b], ""));
    let balancer = balancer_of_file(&path);
    let listen = balancer.app.listen();
    let stop = Gate::shut();
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let stop = stop.clone();
            tokio::spawn(async move {
                let mut client = Client::connect(listen).await;
                let post = "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\n\r\nx";
                let (mut count, mut failed) = (0, Vec::<Message>::new());
                while tokio::time::timeout(std::time::Duration::ZERO, stop.passed())
                    .await
                    .is_err()
                {
                    let answer = client.ask(post).await;
                    count += 1;
                    if answer.status() != 200 {
                        failed.push(answer);
                    }
                }
                (count, failed)
            })
        })
        .collect();
    for origins in [[&b, &c], [&c, &a], [&a, &b], [&b, &c], [&a, &c], [&a, &b]] {
        write(&path, &text(&origins, ""));
        backends_are(&balancer, &origins).await;
    }
    stop.open();
    for client in clients {
        let (count, failed) = client.await.unwrap();
        assert!(count > 0);
        assert!(failed.is_empty(), "{failed:?}");
    }
}

#[tokio::test]
async fn live_state_outlives_a_reload() {
    let (a, b) = (Origin::named("a").await, Origin::named("b").await);
    let (_folder, path) = folder(&text(&[&a], ""));
    let balancer = balancer_of_file(&path);
    let mut client = balancer.client().await;
    for _ in 0..5 {
        client.get("/").await;
    }
    let before = balancer.app.published().load().members[0].live.clone();
    write(&path, &text(&[&b, &a], "strategy: least_connections\n"));
    backends_are(&balancer, &[&b, &a]).await;
    let snapshot = balancer.app.published().load();
    assert!(std::sync::Arc::ptr_eq(&before, &snapshot.members[1].live));
    for _ in 0..6 {
        client.get("/").await;
    }
    assert_eq!(a.connections(), 1, "kept connections are kept");
    let strategy = balancer.admin("GET /api/v1/strategy", "").await.text();
    assert!(
        strategy.contains("\"name\":\"least_connections\""),
        "{strategy}"
    );
}

#[tokio::test]
async fn changed_limits_hold_for_connections_that_are_open() {
    let a = Origin::named("a").await;
    let (_folder, path) = folder(&text(&[&a], ""));
    let balancer = balancer_of_file(&path);
    let mut client = balancer.client().await;
    let long = format!("GET /{} HTTP/1.1\r\nHost: t\r\n\r\n", "x".repeat(200));
    assert_eq!(client.ask(&long).await.status(), 200);
    write(&path, &text(&[&a], "limits: { uri_bytes: 100 }\n"));
    until("the limit is new", || {
        balancer.app.published().load().config.limits.uri_bytes == 100
    })
    .await;
    // The one already waiting may have been promised the old limit; the next one is not.
    client.get("/").await;
    assert_eq!(client.ask(&long).await.status(), 414);
}

#[tokio::test]
async fn client_that_stays_is_hidden_from_when_that_is_asked_for() {
    let origin = Origin::named("a").await;
    let logs = tempfile::tempdir().unwrap();
    let log = logs.path().join("access.log");
    let clients = || -> Vec<String> {
        let lines = fs::read_to_string(&log).unwrap_or_default();
        let line = |line: &str| serde_json::from_str::<Value>(line).unwrap()["client"].to_string();
        lines.lines().map(line).collect()
    };
    let more = |redact: &str| format!("access_log: {{ file: {}{redact} }}\n", log.display());
    let (_folder, path) = folder(&text(&[&origin], &more("")));
    let balancer = balancer_of_file(&path);
    let mut client = balancer.client().await;
    for (count, redact) in [(1, ""), (2, ", redact: { client: truncate }"), (3, "")] {
        write(&path, &text(&[&origin], &more(redact)));
        until("clients are named as they shall be", || {
            let published = balancer.app.published().load();
            published.config.access_log.truncate_clients != redact.is_empty()
        })
        .await;
        client.get("/").await;
        until("it is logged", || clients().len() == count).await;
    }
    let clients = clients();
    assert!(
        clients[0].starts_with("\"127.0.0.1:") && clients[0] == clients[2],
        "{clients:?}"
    );
    assert_eq!(clients[1], "\"127.0.0.0\"");
}

/// A request is logged as the configuration has it by then, whatever it was when the request came.
#[tokio::test]
async fn client_of_a_request_under_way_is_hidden_when_that_is_asked_for() {
    let (gate, sulks) = (Gate::shut(), Arc::new(AtomicBool::new(true)));
    let (at_gate, in_script) = (gate.clone(), sulks.clone());
    let script = move |mut connection: Connection| {
        let (gate, sulks) = (at_gate.clone(), in_script.clone());
        async move {
            while connection.request().await.is_ok() {
                if sulks.swap(false, Relaxed) {
                    return gate.passed().await;
                }
                connection.send(ok("a")).await;
            }
        }
    };
    let (a, b) = (
        Origin::start(script.clone()).await,
        Origin::start(script).await,
    );
    let logs = tempfile::tempdir().unwrap();
    let log = logs.path().join("access.log");
    let more = |redact: &str| format!("access_log: {{ file: {}{redact} }}\n", log.display());
    let (_folder, path) = folder(&text(&[&a, &b], &more("")));
    let balancer = balancer_of_file(&path);
    let mut client = balancer.client().await;
    let edit = async {
        until("a backend was asked", || !sulks.load(Relaxed)).await;
        write(
            &path,
            &text(&[&a, &b], &more(", redact: { client: truncate }")),
        );
        until("clients are to be hidden", || {
            balancer
                .app
                .published()
                .load()
                .config
                .access_log
                .truncate_clients
        })
        .await;
        gate.open();
    };
    let (answer, ()) = tokio::join!(client.get("/"), edit);
    assert_eq!(answer.text(), "a");
    until("it is logged", || {
        fs::read_to_string(&log).is_ok_and(|it| !it.is_empty())
    })
    .await;
    let line: Value = serde_json::from_slice(&fs::read(&log).unwrap()).unwrap();
    assert_eq!(line["client"], "127.0.0.0");
    assert_eq!(line["attempts"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn series_of_a_removed_backend_go() {
    let (stays, goes) = (Origin::named("a").await, Origin::named("b").await);
    let (_folder, path) = folder(&text(&[&stays, &goes], ""));
    let balancer = balancer_of_file(&path);
    for _ in 0..2 {
        balancer.get("/").await;
    }
    let (kept, gone) = (stays.address().to_string(), goes.address().to_string());
    let before = balancer.admin("GET /metrics", "").await.text();
    assert!(before.contains(&kept) && before.contains(&gone), "{before}");
    write(&path, &text(&[&stays], ""));
    backends_are(&balancer, &[&stays]).await;
    let after = balancer.admin("GET /metrics", "").await.text();
    assert!(after.contains(&kept) && !after.contains(&gone), "{after}");
}
