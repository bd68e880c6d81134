//! Backends fail; users see as little of it as can be.

use crate::balancer::{Balancer, file, get};
use lemonade_test::{Client, Origin, until};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// An address on which nobody listens.
async fn nobody() -> std::net::SocketAddr {
    let origin = Origin::named("x").await;
    let address = origin.address();
    origin.kill().await;
    address
}

#[tokio::test]
async fn refusing_backend_is_out_at_once_and_costs_no_request() {
    let a = Origin::named("a").await;
    let balancer = Balancer::with(&file(&[nobody().await, a.address()], ""), false).await;
    for _ in 0..10 {
        // Nothing was sent, so the method does not matter.
        let answer = balancer
            .ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
            .await;
        assert_eq!(answer.text(), "a");
    }
    balancer.until_eligible(1).await;
    balancer.until_eligible(2).await;
}

#[tokio::test]
async fn no_backend_left_is_503_with_a_reason() {
    let balancer = Balancer::with(&file(&[nobody().await], ""), false).await;
    assert_eq!(
        balancer.ask(&get("/")).await.status(),
        502,
        "the first one finds out"
    );
    balancer.until_eligible(0).await;
    let answer = balancer
        .ask("GET / HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\n\r\n")
        .await;
    assert_eq!(
        (answer.status(), answer.field("retry-after")),
        (503, Some("1"))
    );
    assert!(
        answer.text().contains("\"request_id\""),
        "{}",
        answer.text()
    );
    assert!(
        answer
            .field("proxy-status")
            .unwrap()
            .contains("destination_unavailable")
    );
}

#[tokio::test]
async fn unanswered_request_is_repeated_only_if_it_may_be() {
    let silent = Origin::start(async |mut connection| drop(connection.request().await)).await;
    let a = Origin::named("a").await;
    let balancer = Balancer::over(&[&silent, &a], "").await;
    for _ in 0..4 {
        assert_eq!(balancer.ask(&get("/")).await.text(), "a");
    }
    let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi";
    let mut statuses = vec![
        balancer.ask(post).await.status(),
        balancer.ask(post).await.status(),
    ];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 502]);
    let put = "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi";
    for _ in 0..2 {
        assert_eq!(balancer.ask(put).await.status(), 200);
    }
    assert_eq!(a.requests().last().unwrap().text(), "hi", "with its body");
}

#[tokio::test]
async fn stale_connections_never_surface() {
    // Says it will stay, and closes.
    let a = Origin::start(async |mut connection| {
        if connection.request().await.is_ok() {
            connection
                .send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na")
                .await;
        }
    })
    .await;
    let balancer = Balancer::over(&[&a], "").await;
    let mut client = balancer.client().await;
    for round in 0..50 {
        assert_eq!(client.get("/").await.text(), "a", "round {round}");
    }
    // Once the close has arrived, not even a request that may not be repeated is lost.
    for _ in 0..10 {
        until("the connection has closed", || a.open() == 0).await;
        tokio::task::yield_now().await;
        let post = client
            .ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx")
            .await;
        assert!([200, 502].contains(&post.status()));
    }
    assert_eq!(balancer.eligible(), 1, "and its backend is not blamed");
}

#[tokio::test]
async fn killing_a_backend_under_load_fails_no_request() {
    let mut origins = vec![
        Origin::named("a").await,
        Origin::named("b").await,
        Origin::named("c").await,
    ];
    let addresses: Vec<_> = origins.iter().map(Origin::address).collect();
    let balancer = Arc::new(Balancer::with(&file(&addresses, ""), false).await);
    let clients: Vec<_> = (0..16)
        .map(|_| {
            let balancer = balancer.clone();
            tokio::spawn(async move {
                let mut client = balancer.client().await;
                for _ in 0..200 {
                    assert_eq!(client.get("/").await.status(), 200);
                }
            })
        })
        .collect();
    let victim = origins.remove(1);
    victim.request(300).await;
    victim.kill().await;
    for client in clients {
        client.await.unwrap();
    }
}

#[tokio::test]
async fn slow_backend_is_504_and_a_slow_client_408() {
    let a = Origin::start(async |mut connection| {
        let _ = connection.request().await;
        connection.gone().await;
    })
    .await;
    let more = "timeouts: { response_header: 100ms, request_header: 100ms, idle: 100ms }";
    let balancer = Balancer::over(&[&a], more).await;
    let answer = balancer.ask(&get("/")).await;
    assert_eq!(answer.status(), 504);
    assert!(
        answer
            .field("proxy-status")
            .unwrap()
            .contains("http_response_timeout")
    );

    let mut client = balancer.client().await;
    client.send("GET / HTT").await;
    assert_eq!(client.answer().await.status(), 408);
    let mut client = balancer.client().await;
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nshort")
        .await;
    assert_eq!(client.answer().await.status(), 408);
    let mut silent = balancer.client().await;
    silent.closed().await;
}

#[tokio::test]
async fn total_bounds_all_attempts() {
    let a = Origin::start(async |mut connection| {
        let _ = connection.request().await;
        connection.gone().await;
    })
    .await;
    let balancer = Balancer::over(&[&a], "timeouts: { total: 150ms }").await;
    let began = Instant::now();
    assert_eq!(balancer.ask(&get("/")).await.status(), 504);
    assert!(began.elapsed() >= Duration::from_millis(150));
}

#[tokio::test]
async fn client_that_leaves_frees_its_backend() {
    let a = Origin::start(async |mut connection| {
        let _ = connection.request().await;
        connection.gone().await;
    })
    .await;
    let balancer = Balancer::over(&[&a], "").await;
    let mut client = balancer.client().await;
    client.send(get("/")).await;
    a.request(1).await;
    assert_eq!(balancer.in_flight(0), 1);
    drop(client);
    until("nothing is in flight", || balancer.in_flight(0) == 0).await;
    until("the backend was let go", || a.open() == 0).await;
}

#[tokio::test]
async fn health_checks_take_out_and_bring_back() {
    let a = Origin::named("a").await;
    let b = Origin::named("b").await;
    let health = "health: { interval: 30ms, timeout: 500ms, rise: 2, fall: 2 }";
    let balancer = Balancer::over(&[&a, &b], health).await;
    balancer.until_eligible(2).await;
    let address = a.address();
    a.kill().await;
    balancer.until_eligible(1).await;
    for _ in 0..5 {
        assert_eq!(balancer.ask(&get("/")).await.text(), "b");
    }
    let _back = Origin::named_at(address, "a").await;
    balancer.until_eligible(2).await;
    assert!(
        b.requests()
            .iter()
            .any(|request| request.target() == "/health")
    );
}

#[tokio::test]
async fn failing_health_answer_takes_out_too() {
    let a = Origin::answering("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n").await;
    let b = Origin::named("b").await;
    let balancer = Balancer::over(&[&a, &b], "health: { interval: 30ms, path: /up }").await;
    balancer.until_eligible(1).await;
    assert_eq!(balancer.ask(&get("/")).await.text(), "b");
    let ready = balancer.admin("/ready").await;
    assert_eq!(ready.status(), 200);
    let _ = Client::connect(b.address()).await;
}
