//! Going away without anyone being dropped who need not be.

use crate::balancer::{Balancer, GET, balancer, balancer_with, until_refused};
use lemonade_load_balancer::drain::Phase;
use lemonade_test::{Broken, Client, Connection, Gate, Origin, until};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// Begins the drain; `hurry` is the second signal.
fn shut_down(balancer: Balancer, hurry: &Gate) -> JoinHandle<bool> {
    let hurry = hurry.clone();
    tokio::spawn(balancer.app.shut_down(async move { hurry.passed().await }))
}

#[tokio::test]
async fn readiness_fails_first_while_serving_goes_on() {
    let origin = Origin::named("a").await;
    let balancer = balancer_with(&[&origin], |config| {
        config.runtime.drain_delay = Duration::from_secs(600);
    });
    let (listen, admin) = (balancer.app.listen(), balancer.app.admin().unwrap());
    let mut kept = balancer.client().await;
    kept.get("/").await;
    let ready = format!("GET /ready HTTP/1.1\r\nHost: {admin}\r\n\r\n");
    assert_eq!(Client::connect(admin).await.ask(&ready).await.status(), 200);

    let mut drain = balancer.app.drain().clone();
    let hurry = Gate::shut();
    let ended = shut_down(balancer, &hurry);
    drain.reached(Phase::Unready).await;
    let answer = Client::connect(admin).await.ask(&ready).await;
    assert_eq!(
        (answer.status(), answer.text().as_str()),
        (503, "draining\n")
    );
    let live = ready.replace("/ready", "/live");
    assert_eq!(Client::connect(admin).await.ask(&live).await.status(), 200);
    assert_eq!(Client::connect(listen).await.get("/").await.status(), 200);
    assert_eq!(kept.get("/").await.status(), 200);
    hurry.open();
    assert!(!ended.await.unwrap());
}

#[tokio::test]
async fn idle_connections_close_and_nobody_else_comes_in() {
    let origin = Origin::named("a").await;
    let balancer = balancer(&[&origin]);
    let listen = balancer.app.listen();
    let mut idle = Vec::new();
    for _ in 0..8 {
        let mut client = balancer.client().await;
        client.get("/").await;
        idle.push(client);
    }
    let hurry = Gate::shut();
    let ended = shut_down(balancer, &hurry);
    for client in &mut idle {
        client.closed().await;
    }
    until_refused(listen).await;
    assert!(ended.await.unwrap(), "everyone was served");
}

#[tokio::test]
async fn answer_given_during_a_drain_says_that_it_is_the_last() {
    let gate = Gate::shut();
    let origin = Origin::behind(&gate, "late").await;
    let balancer = balancer(&[&origin]);
    let listen = balancer.app.listen();
    let mut clients = Vec::new();
    for _ in 0..8 {
        let mut client = balancer.client().await;
        client.send(GET).await;
        clients.push(client);
    }
    origin.request(8).await;
    let hurry = Gate::shut();
    let ended = shut_down(balancer, &hurry);
    until_refused(listen).await;
    assert!(!ended.is_finished());
    gate.open();
    for client in &mut clients {
        let answer = client.answer().await;
        assert_eq!((answer.status(), answer.text().as_str()), (200, "late"));
        assert_eq!(answer.field("connection"), Some("close"));
        client.closed().await;
    }
    assert!(ended.await.unwrap(), "everyone was served");
}

#[tokio::test]
async fn connection_that_is_about_to_ask_is_served() {
    let origin = Origin::named("a").await;
    let balancer = balancer(&[&origin]);
    let listen = balancer.app.listen();
    let mut early = balancer.client().await;
    early.send("GET / HTTP/1.1\r\nHo").await;
    // Accepted before the drain begins: a later connection on every shard has been served.
    for _ in 0..20 {
        balancer.get("/").await;
    }
    let hurry = Gate::shut();
    let ended = shut_down(balancer, &hurry);
    until_refused(listen).await;
    early.send("st: t\r\n\r\n").await;
    let answer = early.answer().await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.field("connection"), Some("close"));
    assert!(ended.await.unwrap());
}

#[tokio::test]
async fn deadline_cuts_off_what_is_left() {
    let gate = Gate::shut();
    let origin = Origin::behind(&gate, "late").await;
    let balancer = balancer_with(&[&origin], |config| {
        config.runtime.drain_timeout = Duration::from_millis(200);
    });
    let mut client = balancer.client().await;
    client.send(GET).await;
    origin.request(1).await;
    let hurry = Gate::shut();
    let begun = Instant::now();
    let ended = shut_down(balancer, &hurry);
    assert!(client.try_answer().await.is_err());
    assert!(!ended.await.unwrap(), "someone was cut off");
    assert!(begun.elapsed() >= Duration::from_millis(200));
    gate.open();
    until("the backend is let go", || origin.open() == 0).await;
}

#[tokio::test]
async fn second_signal_ends_it_at_once() {
    let gate = Gate::shut();
    let origin = Origin::behind(&gate, "late").await;
    let balancer = balancer_with(&[&origin], |config| {
        config.runtime.drain_timeout = Duration::from_secs(600);
        config.runtime.drain_delay = Duration::from_secs(600);
    });
    let mut client = balancer.client().await;
    client.send(GET).await;
    origin.request(1).await;
    let hurry = Gate::shut();
    let ended = shut_down(balancer, &hurry);
    hurry.open();
    assert!(client.try_answer().await.is_err());
    assert!(!ended.await.unwrap());
}

#[tokio::test]
async fn answer_cut_off_by_the_deadline_is_never_a_clean_end() {
    let origin = Origin::start(async |mut connection: Connection| {
        if connection.request().await.is_ok() {
            connection.send("HTTP/1.1 200 OK\r\n\r\nhalf").await;
            connection.gone().await;
        }
    })
    .await;
    let balancer = balancer(&[&origin]);
    // For an HTTP/1.0 client a close is the end of the answer.
    let mut client = balancer.client().await;
    client.send("GET / HTTP/1.0\r\n\r\n").await;
    assert_eq!(client.head().await.status(), 200);
    assert_eq!(client.exactly(4).await, b"half");
    let hurry = Gate::shut();
    hurry.open();
    assert!(!shut_down(balancer, &hurry).await.unwrap());
    let end = client.some().await;
    assert!(matches!(end, Err(Broken::Reset(_))), "{end:?}");
}
