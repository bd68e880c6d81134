//! Backends that refuse, vanish or never answer, and what a client notices of it.

use crate::balancer::{GET, Nobody, balancer, balancer_at, balancer_with, ok};
use lemonade_load_balancer::backend::State;
use lemonade_load_balancer::outlier::Rules;
use lemonade_test::{Broken, Connection, Origin, until};
use std::time::Duration;

const POST: &str = "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\n\r\nbody";

/// Reads each request and closes without an answer.
async fn mute() -> Origin {
    Origin::start(async |mut connection: Connection| {
        // Whatever came of it, the connection closes now.
        let _ = connection.request().await;
    })
    .await
}

/// Reads each request and resets.
async fn rude() -> Origin {
    Origin::start(async |mut connection: Connection| {
        let _ = connection.request().await;
        connection.reset();
    })
    .await
}

#[tokio::test]
async fn refused_connection_is_healed_by_another_backend_and_taken_out_at_once() {
    let nobody = Nobody::new();
    let origin = Origin::named("alive").await;
    let balancer = balancer_at(&[nobody.address(), origin.address()], |config| {
        config.outlier = Some(Rules {
            eject: Duration::from_secs(600),
            max_eject: Duration::from_secs(600),
            ..Rules::default()
        });
    });
    let mut client = balancer.client().await;
    for request in [POST, GET, POST, GET] {
        assert_eq!(client.ask(request).await.text(), "alive");
    }
    balancer.reaches(&[State::Ejected, State::Healthy]).await;
    let failures = format!(
        "lemonade_backend_connect_failures_total{{backend=\"{}\"}}",
        nobody.address()
    );
    let before = balancer.metric(&failures).await;
    for _ in 0..10 {
        assert_eq!(client.get("/").await.text(), "alive");
    }
    assert_eq!(
        balancer.metric(&failures).await,
        before,
        "nobody asks it any more"
    );
}

#[tokio::test]
async fn backend_that_refused_comes_back_without_health_checks() {
    let nobody = Nobody::new();
    let other = Origin::named("other").await;
    let balancer = balancer_at(&[nobody.address(), other.address()], |_| {});
    let mut client = balancer.client().await;
    for _ in 0..2 {
        assert_eq!(client.get("/").await.text(), "other");
    }
    balancer.reaches(&[State::Ejected, State::Healthy]).await;
    let address = nobody.address();
    drop(nobody);
    let back = Origin::named_at(address, "back").await;
    while balancer.states() != [State::Healthy, State::Healthy] {
        assert_eq!(client.get("/").await.status(), 200);
    }
    assert_eq!(back.requests().len(), 3, "trials, one at a time");
    let mut got = [client.get("/").await.text(), client.get("/").await.text()];
    got.sort();
    assert_eq!(got, ["back", "other"]);
}

#[tokio::test]
async fn unanswered_get_is_tried_elsewhere_and_post_is_not() {
    for silent in [mute().await, rude().await] {
        let origin = Origin::named("alive").await;
        let balancer = balancer_with(&[&silent, &origin], |config| config.outlier = None);
        let mut client = balancer.client().await;
        for _ in 0..10 {
            assert_eq!(client.get("/").await.text(), "alive");
        }
        let mut statuses = Vec::new();
        for _ in 0..10 {
            let asked = silent.requests().len() + origin.requests().len();
            let answer = client.ask(POST).await;
            statuses.push(answer.status());
            let asks = silent.requests().len() + origin.requests().len() - asked;
            assert_eq!(asks, 1, "a POST is sent once");
        }
        assert!(
            statuses.contains(&200) && statuses.contains(&502),
            "{statuses:?}"
        );
        assert!(statuses.iter().all(|status| matches!(status, 200 | 502)));
    }
}

#[tokio::test]
async fn body_of_a_repeated_request_is_sent_whole_again() {
    let (silent, origin) = (mute().await, Origin::named("alive").await);
    let balancer = balancer(&[&silent, &origin]);
    let mut client = balancer.client().await;
    for round in 0..10 {
        let answer = client
            .ask(format!(
                "PUT /{round} HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nbody{round}"
            ))
            .await;
        assert_eq!(answer.status(), 200);
    }
    assert_eq!(origin.requests().len(), 10);
    assert!(silent.requests().len() >= 5, "some were sent twice");
    for request in silent.requests().iter().chain(&origin.requests()) {
        assert_eq!(request.text(), format!("body{}", &request.target()[1..]));
    }
}

#[tokio::test]
async fn failing_backend_is_asked_no_more_often_than_its_turn() {
    let (silent, origin) = (mute().await, Origin::named("alive").await);
    let balancer = balancer(&[&silent, &origin]);
    let mut client = balancer.client().await;
    for _ in 0..10 {
        assert_eq!(client.get("/").await.status(), 200);
    }
    // Failing fast does not attract traffic.
    assert_eq!((silent.requests().len(), origin.requests().len()), (5, 10));
}

#[tokio::test]
async fn body_too_large_to_keep_is_sent_once() {
    let (silent, origin) = (mute().await, Origin::named("alive").await);
    let balancer = balancer(&[&silent, &origin]);
    let body = vec![b'x'; 300_000];
    let head = format!(
        "PUT / HTTP/1.1\r\nHost: t\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut statuses = Vec::new();
    for _ in 0..4 {
        let mut client = balancer.client().await;
        client.send(&head).await;
        let answer = client.ask(&body).await;
        statuses.push(answer.status());
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 502, 502]);
    assert_eq!((silent.requests().len(), origin.requests().len()), (2, 2));
}

#[tokio::test]
async fn exhausted_retries_are_a_502_with_a_reason() {
    let origins = [mute().await, mute().await, mute().await, mute().await];
    let balancer = balancer_with(
        &[&origins[0], &origins[1], &origins[2], &origins[3]],
        |config| {
            config.retries.attempts = 2;
        },
    );
    let mut client = balancer.client().await;
    let answer = client.get("/").await;
    assert_eq!(answer.status(), 502);
    let why = answer.field("proxy-status").unwrap_or_default();
    assert!(why.contains("connection_terminated"), "{why}");
    assert!(
        answer
            .text()
            .contains(answer.field("x-request-id").unwrap())
    );
    let tried: usize = origins.iter().map(Origin::connections).sum();
    assert_eq!(tried, 3, "the first attempt and two more");
    assert_eq!(
        client.get("/").await.status(),
        502,
        "the connection goes on"
    );
}

#[tokio::test]
async fn retries_can_be_switched_off() {
    let (silent, origin) = (mute().await, Origin::named("alive").await);
    let balancer = balancer_with(&[&silent, &origin], |config| config.retries.attempts = 0);
    let mut client = balancer.client().await;
    let mut statuses = [
        client.get("/").await.status(),
        client.get("/").await.status(),
    ];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 502]);
}

#[tokio::test]
async fn without_any_backend_clients_are_told_when_to_come_back() {
    let (one, two) = (Nobody::new(), Nobody::new());
    let balancer = balancer_at(&[one.address(), two.address()], |_| {});
    let mut client = balancer.client().await;
    let first = client.get("/").await;
    assert_eq!(first.status(), 502);
    assert!(
        first
            .field("proxy-status")
            .unwrap_or_default()
            .contains("connection_refused")
    );
    balancer.reaches(&[State::Ejected, State::Ejected]).await;
    let plain = client.get("/").await;
    assert_eq!(plain.status(), 503);
    assert_eq!(plain.field("retry-after"), Some("1"));
    assert!(
        plain
            .field("content-type")
            .unwrap_or_default()
            .starts_with("text/plain")
    );
    let why = plain.field("proxy-status").unwrap_or_default();
    assert!(
        why.starts_with("lemonade; error=destination_unavailable"),
        "{why}"
    );
    let json = client
        .ask("GET / HTTP/1.1\r\nHost: t\r\nAccept: application/json\r\nX-Request-Id: me\r\n\r\n")
        .await;
    assert_eq!(json.status(), 503);
    assert_eq!(json.field("content-type"), Some("application/json"));
    let body: serde_json::Value = serde_json::from_slice(&json.body).unwrap();
    assert_eq!(body["request_id"], "me");
    assert_eq!(body["status"], 503);
    client.send("HEAD / HTTP/1.1\r\nHost: t\r\n\r\n").await;
    assert_eq!(client.answer_to_head().await.status(), 503);
    assert_eq!(
        client.get("/").await.status(),
        503,
        "HEAD left no body behind"
    );
}

#[tokio::test]
async fn backend_killed_under_load_costs_no_get() {
    let slow = async |mut connection: Connection| {
        while connection.request().await.is_ok() {
            tokio::task::yield_now().await;
            connection.send(ok("fine")).await;
        }
    };
    let (doomed, a, b) = (
        Origin::start(slow).await,
        Origin::start(slow).await,
        Origin::start(slow).await,
    );
    let balancer = balancer(&[&doomed, &a, &b]);
    let listen = balancer.app.listen();
    let clients: Vec<_> = (0..16)
        .map(|_| {
            tokio::spawn(async move {
                let mut client = lemonade_test::Client::connect(listen).await;
                for round in 0..100 {
                    let answer = client.try_answer_to(GET).await;
                    match answer {
                        Ok(answer) if answer.text() == "fine" => {}
                        other => return Err((round, other)),
                    }
                }
                Ok::<(), (usize, Result<lemonade_test::Message, Broken>)>(())
            })
        })
        .collect();
    until("traffic flows", || doomed.requests().len() > 100).await;
    doomed.kill().await;
    for client in clients {
        let ended = client.await.unwrap();
        assert!(ended.is_ok(), "{ended:?}");
    }
    assert_eq!(
        balancer
            .metric("lemonade_http_requests_total{class=\"5xx\"}")
            .await,
        0.0
    );
}
