//! Too many at once, or too much of one.

use crate::balancer::{Balancer, GET, balancer, balancer_with};
use lemonade_test::{Client, Origin, PATIENCE};
use std::time::{Duration, Instant};

async fn of_two(origin: &Origin) -> (Balancer, Vec<Client>) {
    let balancer = balancer_with(&[origin], |config| config.limits.max_connections = 2);
    let mut clients = Vec::new();
    for _ in 0..2 {
        let mut client = balancer.client().await;
        assert_eq!(client.get("/").await.status(), 200);
        clients.push(client);
    }
    (balancer, clients)
}

#[tokio::test]
async fn connection_too_many_is_told_so() {
    let origin = Origin::named("a").await;
    let (balancer, mut clients) = of_two(&origin).await;
    for _ in 0..50 {
        let mut client = balancer.client().await;
        let answer = client.ask(GET).await;
        assert_eq!(answer.status(), 503);
        assert_eq!(answer.field("retry-after"), Some("1"));
        assert_eq!(answer.field("connection"), Some("close"));
        let why = answer.field("proxy-status").unwrap_or_default();
        assert!(why.contains("connection_limit_reached"), "{why}");
        client.closed().await;
    }
    // One that says nothing is told as well.
    let answer = balancer.client().await.answer().await;
    assert_eq!(answer.status(), 503);
    for client in &mut clients {
        assert_eq!(
            client.get("/").await.status(),
            200,
            "those who are in stay in"
        );
    }
    assert_eq!(origin.requests().len(), 4);
}

#[tokio::test]
async fn slot_that_is_given_up_is_given_out_again() {
    let origin = Origin::named("a").await;
    let (balancer, mut clients) = of_two(&origin).await;
    for _ in 0..20 {
        assert_eq!(balancer.client().await.ask(GET).await.status(), 503);
        drop(clients.pop());
        let begun = Instant::now();
        let client = loop {
            let mut client = balancer.client().await;
            if client.get("/").await.status() == 200 {
                break client;
            }
            assert!(begun.elapsed() < PATIENCE, "the slot is lost");
            tokio::time::sleep(Duration::from_millis(2)).await;
        };
        clients.push(client);
    }
    drop(clients);
    balancer.metric_reaches("lemonade_connections", 0.0).await;
}

#[tokio::test]
async fn limits_have_their_own_statuses() {
    let origin = Origin::named("a").await;
    let balancer = balancer_with(&[&origin], |config| {
        config.limits.uri_bytes = 100;
        config.limits.header_bytes = 2048;
        config.limits.header_fields = 10;
    });
    let path = |length: usize| format!("/{}", "x".repeat(length - 1));
    let request =
        |target: &str, lines: &str| format!("GET {target} HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
    let fields = |count: usize| "A: b\r\n".repeat(count);
    for (status, request) in [
        (200, request(&path(100), "")),
        (414, request(&path(101), "")),
        (414, request(&path(5000), "")),
        (414, format!("GET {}", path(5000))),
        (200, request("/", &fields(9))),
        (431, request("/", &fields(10))),
        (200, request("/", &format!("A: {}\r\n", "b".repeat(1900)))),
        (431, request("/", &format!("A: {}\r\n", "b".repeat(2100)))),
        (431, format!("GET / HTTP/1.1\r\nA: {}", "b".repeat(60_000))),
    ] {
        let shown = request.chars().take(40).collect::<String>();
        let answer = balancer.ask(request).await;
        assert_eq!(answer.status(), status, "{shown}");
    }
    assert_eq!(origin.requests().len(), 3);
}

#[tokio::test]
async fn endless_first_line_is_cut_off() {
    let origin = Origin::named("a").await;
    let balancer = balancer(&[&origin]);
    let mut client = balancer.client().await;
    let endless = vec![b'G'; 200_000];
    client.send(&endless).await;
    assert_eq!(client.answer().await.status(), 414);
    assert!(client.rest().await.is_empty());
    assert_eq!(balancer.get("/").await.status(), 200);
}
