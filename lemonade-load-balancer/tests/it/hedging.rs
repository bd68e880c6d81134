//! A second copy of a slow request.

use crate::balancer::{GET, balancer_with, ok};
use lemonade_load_balancer::config::Hedge;
use lemonade_test::{Connection, Gate, Origin, until};
use serde_json::Value;
use std::time::Duration;

const POST: &str = "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\n\r\nbody";

fn hedge(budget: f64) -> Option<Hedge> {
    Some(Hedge {
        after: Duration::from_millis(30),
        budget,
    })
}

#[tokio::test]
async fn backend_that_pauses_costs_no_wait() {
    let gate = Gate::shut();
    let (paused, quick) = (
        Origin::behind(&gate, "paused").await,
        Origin::named("quick").await,
    );
    let balancer = balancer_with(&[&paused, &quick], |config| config.hedge = hedge(1.0));
    let mut client = balancer.client().await;
    for _ in 0..6 {
        assert_eq!(client.get("/").await.text(), "quick");
    }
    assert_eq!(paused.requests().len(), 3, "every other began there");
    until("the slow copies were hung up on", || {
        balancer.in_flight(0) == 0
    })
    .await;
    balancer.metric_reaches("lemonade_hedges_total", 3.0).await;
    balancer
        .metric_reaches("lemonade_hedges_won_total", 3.0)
        .await;
    gate.open();
}

#[tokio::test]
async fn first_copy_is_heard_if_it_answers_first() {
    let gates = [Gate::shut(), Gate::shut()];
    let (first, second) = (
        Origin::behind(&gates[0], "paused").await,
        Origin::behind(&gates[1], "paused").await,
    );
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.log");
    let balancer = balancer_with(&[&first, &second], |config| {
        config.hedge = hedge(1.0);
        config.access_log.sample = 1.0;
        config.access_log.file = Some(log.clone());
    });
    let mut client = balancer.client().await;
    client.send(GET).await;
    // The rotation begins with the first.
    first.request(1).await;
    second.request(1).await;
    gates[0].open();
    assert_eq!(client.answer().await.text(), "paused");
    balancer.metric_reaches("lemonade_hedges_total", 1.0).await;
    assert!(balancer.metric("lemonade_hedges_won_total").await < 0.5);
    until("the second was hung up on", || balancer.in_flight(1) == 0).await;
    let written = || std::fs::read_to_string(&log).unwrap_or_default();
    until("a line is written", || written().ends_with('\n')).await;
    let line: Value = serde_json::from_str(written().lines().next().unwrap()).unwrap();
    let names = [first.address(), second.address()].map(|address| address.to_string());
    assert_eq!(line["backend"], names[0], "who answered");
    let asked = |place: usize| line["attempts"][place]["backend"].clone();
    assert_eq!([asked(0), asked(1)], names, "who was asked");
    let (won, lost) = (&line["attempts"][0], &line["attempts"][1]);
    assert_eq!((&won["status"], &won["hedge"]), (&200.into(), &Value::Null));
    assert_eq!(lost["error"], "overtaken");
    assert_eq!(lost["hedge"], true);
    gates[1].open();
    for _ in 0..4 {
        assert_eq!(client.get("/").await.text(), "paused");
    }
}

#[tokio::test]
async fn second_copy_that_fails_leaves_the_first_alone() {
    let gate = Gate::shut();
    let slow = Origin::behind(&gate, "paused").await;
    let broken = Origin::answering("HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n").await;
    let balancer = balancer_with(&[&slow, &broken], |config| {
        config.hedge = hedge(1.0);
        config.outlier = None;
    });
    let mut client = balancer.client().await;
    client.send(GET).await;
    let other = broken.request(1);
    other.await;
    gate.open();
    let answer = client.answer().await;
    assert_eq!((answer.status(), answer.text().as_str()), (200, "paused"));
}

#[tokio::test]
async fn requests_that_must_not_be_repeated_are_sent_once() {
    let gate = Gate::shut();
    let (a, b) = (
        Origin::behind(&gate, "paused").await,
        Origin::behind(&gate, "paused").await,
    );
    let balancer = balancer_with(&[&a, &b], |config| config.hedge = hedge(1.0));
    let mut client = balancer.client().await;
    client.send(POST).await;
    until("one has it", || {
        a.requests().len() + b.requests().len() == 1
    })
    .await;
    // One that may be repeated comes later and is sent twice: so there was time enough to send the first twice as well.
    let mut other = balancer.client().await;
    other.send(GET).await;
    let count = |method: &str| {
        let requests = [a.requests(), b.requests()].concat();
        let these = requests.iter().filter(|request| request.method() == method);
        these.count()
    };
    until("the other is sent twice", || count("GET") == 2).await;
    assert_eq!(count("POST"), 1);
    gate.open();
    assert_eq!(client.answer().await.status(), 200);
}

#[tokio::test]
async fn budget_bounds_what_is_sent_twice() {
    let slow = async |mut connection: Connection| {
        while connection.request().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(45)).await;
            connection.send(ok("slow")).await;
        }
    };
    let (a, b) = (Origin::start(slow).await, Origin::start(slow).await);
    let balancer = balancer_with(&[&a, &b], |config| {
        config.hedge = hedge(0.1);
        config.runtime.shards = 1;
    });
    let mut client = balancer.client().await;
    for _ in 0..20 {
        assert_eq!(client.get("/").await.text(), "slow");
    }
    let hedges = balancer.metric("lemonade_hedges_total").await;
    assert!((1.0..=2.0).contains(&hedges), "{hedges} of 20 at 10 %");
}

#[tokio::test]
async fn body_is_in_both_copies() {
    let gate = Gate::shut();
    let (paused, quick) = (
        Origin::behind(&gate, "paused").await,
        Origin::named("quick").await,
    );
    let balancer = balancer_with(&[&paused, &quick], |config| config.hedge = hedge(1.0));
    let mut client = balancer.client().await;
    let put = "PUT / HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\n\r\nbody";
    for _ in 0..2 {
        assert_eq!(client.ask(put).await.text(), "quick");
    }
    for request in paused.requests().iter().chain(&quick.requests()) {
        assert_eq!(request.text(), "body");
    }
    assert_eq!(paused.requests().len(), 1);
    gate.open();
}
