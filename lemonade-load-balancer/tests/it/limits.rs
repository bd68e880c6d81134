//! Too many at once, or too much of one.

use crate::balancer::{Balancer, GET, balancer, balancer_of_file, balancer_with};
use crate::reload::{folder, write};
use lemonade_load_balancer::config::WhenFull;
use lemonade_test::{Client, Origin, PATIENCE};
use std::future::pending;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::net::TcpSocket;
use tokio::time::timeout;

/// Who gets no answer for so long is kept waiting.
const KEPT_WAITING: Duration = Duration::from_millis(150);

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

/// A client whose address is `from`, on the loopback network.
async fn client_from(from: [u8; 4], server: SocketAddr) -> Client {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((from, 0))).unwrap();
    Client::over(socket.connect(server).await.unwrap())
}

#[tokio::test]
async fn client_with_too_many_connections_is_429_and_others_are_not() {
    let origin = Origin::named("a").await;
    let balancer = balancer_with(&[&origin], |config| {
        config.limits.max_connections_per_client = Some(2);
    });
    let server = balancer.app.listen();
    let greedy = [127, 0, 0, 2];
    let mut kept = Vec::new();
    for _ in 0..2 {
        let mut client = client_from(greedy, server).await;
        assert_eq!(client.get("/").await.status(), 200);
        kept.push(client);
    }
    for _ in 0..20 {
        let mut client = client_from(greedy, server).await;
        let answer = client.ask(GET).await;
        assert_eq!(answer.status(), 429);
        assert_eq!(answer.field("retry-after"), Some("1"));
        assert_eq!(answer.field("connection"), Some("close"));
        client.closed().await;
        assert_eq!(balancer.get("/").await.status(), 200, "another client");
    }
    let series = "lemonade_connections_over_client_limit_total";
    balancer.metric_reaches(series, 20.0).await;
    drop(kept.pop());
    let begun = Instant::now();
    while client_from(greedy, server).await.get("/").await.status() != 200 {
        assert!(begun.elapsed() < PATIENCE, "the place is lost");
    }
    drop(kept);
    balancer.metric_reaches("lemonade_connections", 0.0).await;
}

/// Full, with two connections; others wait.
async fn full(origin: &Origin) -> (Balancer, Vec<Client>) {
    let balancer = balancer_with(&[origin], |config| {
        config.limits.max_connections = 2;
        config.limits.when_full = WhenFull::Wait;
    });
    let mut inside = Vec::new();
    for _ in 0..2 {
        let mut client = balancer.client().await;
        assert_eq!(client.get("/").await.status(), 200);
        inside.push(client);
    }
    (balancer, inside)
}

/// Clients that have asked and get no answer.
async fn kept_waiting(balancer: &Balancer, count: usize) -> Vec<Client> {
    let mut clients = Vec::new();
    for _ in 0..count {
        let mut client = balancer.client().await;
        client.send(GET).await;
        clients.push(client);
    }
    for client in &mut clients {
        let answer = timeout(KEPT_WAITING / 10, client.try_answer()).await;
        assert!(answer.is_err(), "{answer:?}");
    }
    clients
}

#[tokio::test]
async fn whoever_waits_comes_in_when_another_leaves() {
    let origin = Origin::named("a").await;
    let (balancer, mut inside) = full(&origin).await;
    // On both shards, most probably, so that one has to wake the other.
    let mut waiting = kept_waiting(&balancer, 20).await;
    assert_eq!(origin.requests().len(), 2);
    let mut served = 0;
    while !waiting.is_empty() {
        drop(inside.pop());
        let begun = Instant::now();
        let place = loop {
            assert!(begun.elapsed() < PATIENCE, "{served} served, and no more");
            let mut answered = None;
            for (place, client) in waiting.iter_mut().enumerate() {
                if let Ok(answer) = timeout(Duration::from_millis(2), client.try_answer()).await {
                    assert_eq!(answer.expect("an answer").text(), "a");
                    answered = Some(place);
                    break;
                }
            }
            if let Some(place) = answered {
                break place;
            }
        };
        inside.push(waiting.remove(place));
        served += 1;
        // Never more inside than there may be.
        assert!(balancer.metric("lemonade_connections").await <= 2.0);
        assert_eq!(origin.requests().len(), served + 2);
    }
    let away = "lemonade_connections_turned_away_total";
    assert_eq!(balancer.metric(away).await, 0.0, "nobody was turned away");
}

#[tokio::test]
async fn whoever_waits_comes_in_when_the_limit_is_raised() {
    let origin = Origin::named("a").await;
    let file = |limit: u32| {
        format!(
            "listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\nhealth: off\nruntime: {{ shards: 2 }}\n\
             limits: {{ max_connections: {limit}, when_full: wait }}\nbackends: [\"{}\"]\n",
            origin.address()
        )
    };
    let (_folder, path) = folder(&file(1));
    let balancer = balancer_of_file(&path);
    let mut inside = balancer.client().await;
    assert_eq!(inside.get("/").await.status(), 200);
    let mut waiting = kept_waiting(&balancer, 4).await;
    write(&path, &file(5));
    balancer.app.operator().reload().await.unwrap();
    for client in &mut waiting {
        assert_eq!(client.answer().await.status(), 200);
    }
    assert_eq!(inside.get("/").await.status(), 200);
}

#[tokio::test]
async fn whoever_waits_is_served_when_another_process_takes_over() {
    let origin = Origin::named("a").await;
    let balancer = balancer_with(&[&origin], |config| {
        config.limits.max_connections = 1;
        config.limits.when_full = WhenFull::Wait;
        config.runtime.shards = 1;
    });
    let mut inside = balancer.client().await;
    assert_eq!(inside.get("/").await.status(), 200);
    // In nobody's queue any more, so no other process can serve it.
    let mut waiting = kept_waiting(&balancer, 1).await.remove(0);
    let left = tokio::spawn(balancer.app.step_down(pending()));
    assert_eq!(waiting.answer().await.status(), 200);
    inside.closed().await;
    drop((waiting, inside));
    assert!(left.await.unwrap(), "in time");
}

#[tokio::test]
async fn drain_answers_everyone_who_still_waits() {
    let origin = Origin::named("a").await;
    let (balancer, mut inside) = full(&origin).await;
    let waiting = kept_waiting(&balancer, 10).await;
    let drained = tokio::spawn(balancer.app.shut_down(pending()));
    let mut statuses = Vec::new();
    for mut client in waiting {
        let answer = client.try_answer().await.expect("an answer, not a reset");
        assert_eq!(answer.field("connection"), Some("close"));
        statuses.push(answer.status());
    }
    assert!(
        statuses.iter().all(|status| [200, 503].contains(status)),
        "{statuses:?}"
    );
    for client in &mut inside {
        client.closed().await;
    }
    drop(inside);
    assert!(drained.await.unwrap(), "in time");
}
