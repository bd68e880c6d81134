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
    let picked = || balancer.app.published().load().pool.len();
    while picked() < 2 {
        assert_eq!(client.get("/").await.status(), 200);
    }
    assert_eq!(balancer.states(), [State::Healthy, State::Healthy]);
    assert!(back.requests().len() >= 3, "trials");
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

#[tokio::test]
async fn chosen_statuses_are_tried_elsewhere() {
    let down = Origin::answering("HTTP/1.1 503 Down\r\nContent-Length: 4\r\n\r\ndown").await;
    let gone = Origin::answering("HTTP/1.1 404 Gone\r\nContent-Length: 4\r\n\r\ngone").await;
    let alive = Origin::named("alive").await;
    let balancer = balancer_with(&[&down, &alive], |config| config.outlier = None);
    let mut client = balancer.client().await;
    for _ in 0..10 {
        assert_eq!(client.get("/").await.text(), "alive");
    }
    assert_eq!(down.requests().len(), 5);
    assert_eq!(down.connections(), 1, "the answer was read to its end");
    let post = client.ask(POST).await;
    let other = client.ask(POST).await;
    let mut statuses = [post.status(), other.status()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 503], "a POST is sent once");
    let balancer = balancer_with(&[&gone, &alive], |_| {});
    let mut client = balancer.client().await;
    let statuses = [
        client.get("/").await.status(),
        client.get("/").await.status(),
    ];
    assert!(statuses.contains(&404), "{statuses:?}");
}

#[tokio::test]
async fn last_answer_is_passed_on_when_no_backend_is_left() {
    let down = "HTTP/1.1 503 Down\r\nX-Who: me\r\nContent-Length: 4\r\n\r\ndown";
    let (a, b) = (Origin::answering(down).await, Origin::answering(down).await);
    let balancer = balancer_with(&[&a, &b], |config| config.outlier = None);
    let answer = balancer.get("/").await;
    assert_eq!((answer.status(), answer.text().as_str()), (503, "down"));
    assert_eq!(answer.field("x-who"), Some("me"));
    assert_eq!(a.requests().len() + b.requests().len(), 2);
}

#[tokio::test]
async fn garbage_and_silence_are_healed_by_another_backend() {
    let garbage = Origin::answering("SSH-2.0-OpenSSH_9.2\r\n").await;
    let silent = Origin::start(async |mut connection: Connection| connection.gone().await).await;
    for bad in [garbage, silent] {
        let alive = Origin::named("alive").await;
        let balancer = balancer_with(&[&bad, &alive], |config| {
            config.timeouts.response_header = Duration::from_millis(60);
        });
        let mut client = balancer.client().await;
        for _ in 0..4 {
            assert_eq!(client.get("/").await.text(), "alive");
        }
        assert_eq!(bad.connections(), 2);
    }
}

#[tokio::test]
async fn budget_bounds_retries_and_the_floor_is_always_there() {
    let (silent, alive) = (mute().await, Origin::named("alive").await);
    let balancer = balancer_with(&[&silent, &alive], |config| {
        config.outlier = None;
        config.runtime.shards = 1;
        config.retries.budget = 0.1;
        config.retries.min_per_second = 0;
    });
    let mut client = balancer.client().await;
    let mut failed = 0;
    for _ in 0..200 {
        failed += u32::from(client.get("/").await.status() == 502);
    }
    // Every other request meets the silent one: a hundred retries were wanted, twenty are allowed.
    assert!((75..=90).contains(&failed), "{failed}");
    let refused = balancer
        .metric("lemonade_retry_budget_exhausted_total")
        .await;
    assert!((refused - f64::from(failed)).abs() < 1.0, "{refused}");

    let balancer = balancer_with(&[&silent, &alive], |config| {
        config.outlier = None;
        config.retries.budget = 0.0;
        config.retries.min_per_second = 1;
    });
    let mut client = balancer.client().await;
    let mut statuses = Vec::new();
    for _ in 0..60 {
        statuses.push(client.get("/").await.status());
    }
    let healed = statuses.iter().take_while(|status| **status == 200).count();
    assert!(
        (18..=24).contains(&healed),
        "ten retries are saved up: {healed}"
    );
}

#[tokio::test]
async fn failed_connections_cost_no_budget() {
    let nobody = [Nobody::new(), Nobody::new()];
    let alive = Origin::named("alive").await;
    let addresses = [nobody[0].address(), nobody[1].address(), alive.address()];
    let balancer = balancer_at(&addresses, |config| {
        config.retries.budget = 0.0;
        config.retries.min_per_second = 0;
    });
    let mut client = balancer.client().await;
    for _ in 0..10 {
        assert_eq!(client.get("/").await.text(), "alive");
    }
}

#[tokio::test]
async fn post_is_repeated_where_it_is_allowed() {
    let (silent, alive) = (mute().await, Origin::named("alive").await);
    let balancer = balancer_with(&[&silent, &alive], |config| {
        config.retries.non_idempotent = true;
    });
    let mut client = balancer.client().await;
    for _ in 0..4 {
        assert_eq!(client.ask(POST).await.text(), "alive");
    }
    assert_eq!(silent.requests().len(), 2);
}

#[tokio::test]
async fn backend_that_breaks_answers_off_is_ejected() {
    let torn = Origin::start(async |mut connection: Connection| {
        let _ = connection.request().await;
        connection
            .send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
            .await;
    })
    .await;
    let alive = Origin::named("alive").await;
    let balancer = balancer_with(&[&torn, &alive], |_| {});
    while balancer.states()[0] != State::Ejected {
        let mut client = balancer.client().await;
        let _ = client.try_answer_to(GET).await;
    }
    assert!(torn.requests().len() >= 5);
}
