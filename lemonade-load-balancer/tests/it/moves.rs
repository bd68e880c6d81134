//! A listener or the access log moves while requests run, and nobody is cut off.

use crate::balancer::{balancer_of_file, until_refused};
use crate::reload::{folder, write};
use lemonade_test::{Origin, until};
use std::path::Path;

fn text(listen: &str, admin: &str, origin: &Origin, log: Option<&Path>) -> String {
    let log = log.map_or_else(String::new, |file| {
        format!("access_log: {{ file: {} }}\n", file.display())
    });
    format!(
        "listen: {listen}\nadmin: {admin}\nhealth: off\nruntime: {{ shards: 2 }}\nbackends: [\"{}\"]\n{log}",
        origin.address()
    )
}

const HERE: &str = "127.0.0.1:0";
const THERE: &str = "127.0.0.2:0";

#[tokio::test]
async fn listener_moves_and_those_who_came_before_stay() {
    let origin = Origin::named("a").await;
    let (_folder, path) = folder(&text(HERE, HERE, &origin, None));
    let balancer = balancer_of_file(&path);
    let old = balancer.app.listen();
    let mut early = balancer.client().await;
    assert_eq!(early.get("/").await.text(), "a");
    write(&path, &text(THERE, HERE, &origin, None));
    balancer.app.operator().reload().await.unwrap();
    assert_ne!(balancer.app.listen().ip(), old.ip());
    assert_eq!(balancer.get("/").await.text(), "a");
    until_refused(old).await;
    assert_eq!(early.get("/").await.text(), "a");
}

#[tokio::test]
async fn admin_listener_moves() {
    let origin = Origin::named("a").await;
    let (_folder, path) = folder(&text(HERE, HERE, &origin, None));
    let balancer = balancer_of_file(&path);
    let old = balancer.app.admin().unwrap();
    write(&path, &text(HERE, THERE, &origin, None));
    balancer.app.operator().reload().await.unwrap();
    until_refused(old).await;
    assert_eq!(balancer.admin("GET /live", "").await.status(), 200);
}

#[tokio::test]
async fn listener_that_cannot_move_stays() {
    let (origin, other) = (Origin::named("a").await, Origin::named("b").await);
    let (_folder, path) = folder(&text(HERE, HERE, &origin, None));
    let balancer = balancer_of_file(&path);
    let old = balancer.app.listen();
    let taken = other.address().to_string();
    write(&path, &text(&taken, HERE, &origin, None));
    assert!(balancer.app.operator().reload().await.is_err());
    assert_eq!(balancer.app.listen(), old);
    assert_eq!(balancer.get("/").await.text(), "a");
}

#[tokio::test]
async fn access_log_moves_and_loses_no_line() {
    let origin = Origin::named("a").await;
    let logs = tempfile::tempdir().unwrap();
    let (first, second) = (logs.path().join("first"), logs.path().join("second"));
    let (_folder, path) = folder(&text(HERE, HERE, &origin, Some(&first)));
    let balancer = balancer_of_file(&path);
    for _ in 0..3 {
        balancer.get("/").await;
    }
    write(&path, &text(HERE, HERE, &origin, Some(&second)));
    balancer.app.operator().reload().await.unwrap();
    balancer.get("/").await;
    let lines = |file| {
        std::fs::read_to_string(file)
            .unwrap_or_default()
            .lines()
            .count()
    };
    until("each line is written", || {
        lines(&first) + lines(&second) == 4
    })
    .await;
    assert!(lines(&second) >= 1);
}
