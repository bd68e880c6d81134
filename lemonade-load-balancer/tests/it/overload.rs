//! More requests than backends may have: they wait, in order, not for long, and the rest is told at once.

use crate::balancer::{GET, balancer_with, ok};
use lemonade_load_balancer::config::MaxInFlight;
use lemonade_test::{Client, Connection, Gate, Origin, until};
use std::time::{Duration, Instant};

/// Answers once the gate is open, or is opened for one request.
async fn gated(gate: &Gate) -> Origin {
    let gate = gate.clone();
    Origin::start(move |mut connection: Connection| {
        let gate = gate.clone();
        async move {
            while let Ok(request) = connection.request().await {
                gate.passed().await;
                connection.send(ok(request.target())).await;
            }
        }
    })
    .await
}

async fn asking(listen: std::net::SocketAddr, path: &str) -> Client {
    let mut client = Client::connect(listen).await;
    client
        .send(format!("GET {path} HTTP/1.1\r\nHost: t\r\n\r\n"))
        .await;
    client
}

#[tokio::test]
async fn backend_gets_no_more_than_it_may_and_the_others_wait_in_order() {
    let gate = Gate::shut();
    let origin = gated(&gate).await;
    let balancer = balancer_with(&[&origin], |config| {
        config.backends[0].max_in_flight = Some(1);
        // Who is woken first need not run first if it is on another core.
        config.runtime.shards = 1;
        config.timeouts.queue = Duration::from_secs(20);
    });
    let listen = balancer.app.listen();
    let depth = |depth: usize| format!("{depth} wait");
    let mut clients = Vec::new();
    for number in 0..8usize {
        clients.push(asking(listen, &format!("/{number}")).await);
        // One after the other, so that their order is known.
        match number {
            0 => drop(origin.request(1).await),
            _ => until(depth(number), || balancer.app.queued() == number as u32).await,
        }
    }
    assert_eq!(balancer.in_flight(0), 1);
    gate.open();
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.answer().await.text(), format!("/{number}"));
    }
    let order = origin.requests();
    let order: Vec<&str> = order.iter().map(|request| request.target()).collect();
    assert_eq!(order, ["/0", "/1", "/2", "/3", "/4", "/5", "/6", "/7"]);
    assert_eq!(balancer.app.queued(), 0);
}

#[tokio::test]
async fn request_that_waits_too_long_is_told_when_to_come_back() {
    let gate = Gate::shut();
    let origin = gated(&gate).await;
    let balancer = balancer_with(&[&origin], |config| {
        config.backends[0].max_in_flight = Some(1);
        config.timeouts.queue = Duration::from_millis(100);
    });
    let mut first = asking(balancer.app.listen(), "/first").await;
    origin.request(1).await;
    let began = Instant::now();
    let told = balancer.get("/second").await;
    assert_eq!(told.status(), 503);
    assert!(told.has("retry-after"));
    let text = told.text();
    assert!(text.contains("no backend had room in time"), "{text}");
    assert!(began.elapsed() >= Duration::from_millis(100));
    gate.open();
    assert_eq!(first.answer().await.text(), "/first");
    assert_eq!(origin.requests().len(), 1);
    balancer
        .metric_reaches("lemonade_requests_shed_total", 1.0)
        .await;
}

#[tokio::test]
async fn queue_is_bounded() {
    let gate = Gate::shut();
    let origin = gated(&gate).await;
    let balancer = balancer_with(&[&origin], |config| {
        config.limits.max_in_flight = MaxInFlight::Fixed(1);
        config.limits.max_queued = 2;
        config.timeouts.queue = Duration::from_secs(20);
    });
    let listen = balancer.app.listen();
    let mut served = vec![asking(listen, "/0").await];
    origin.request(1).await;
    served.push(asking(listen, "/1").await);
    served.push(asking(listen, "/2").await);
    until("two wait", || balancer.app.queued() == 2).await;
    let told = balancer.get("/3").await;
    assert_eq!(told.status(), 503);
    assert!(told.text().contains("the queue is full"), "{}", told.text());
    gate.open();
    for client in &mut served {
        assert_eq!(client.answer().await.status(), 200);
    }
}

#[tokio::test]
async fn client_that_leaves_the_queue_leaves_its_place() {
    let gate = Gate::shut();
    let origin = gated(&gate).await;
    let balancer = balancer_with(&[&origin], |config| {
        config.backends[0].max_in_flight = Some(1);
        config.timeouts.queue = Duration::from_secs(20);
    });
    let listen = balancer.app.listen();
    let mut first = asking(listen, "/first").await;
    origin.request(1).await;
    let left = asking(listen, "/left").await;
    until("one waits", || balancer.app.queued() == 1).await;
    drop(left);
    until("nobody waits", || balancer.app.queued() == 0).await;
    let mut last = asking(listen, "/last").await;
    until("one waits", || balancer.app.queued() == 1).await;
    gate.open();
    assert_eq!(first.answer().await.text(), "/first");
    assert_eq!(last.answer().await.text(), "/last");
    assert_eq!(origin.requests().len(), 2);
}

#[tokio::test]
async fn full_backend_is_passed_over_for_one_with_room() {
    let (shut, open) = (Gate::shut(), Gate::shut());
    open.open();
    let (small, large) = (gated(&shut).await, gated(&open).await);
    let balancer = balancer_with(&[&small, &large], |config| {
        config.backends[0].max_in_flight = Some(1);
    });
    let listen = balancer.app.listen();
    let _stuck = asking(listen, "/stuck").await;
    small.request(1).await;
    let mut client = balancer.client().await;
    for _ in 0..20 {
        assert_eq!(client.get("/").await.status(), 200);
    }
    assert_eq!((small.requests().len(), large.requests().len()), (1, 20));
    shut.open();
}

#[tokio::test]
async fn room_that_a_reload_makes_is_used_by_those_who_wait() {
    let gate = Gate::shut();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lb.yaml");
    let origin = gated(&gate).await;
    let write = |limit: u32| {
        let text = format!(
            "listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\nhealth: off\ntimeouts: {{queue: 20s}}\n\
             backends: [{{address: \"{}\", max_in_flight: {limit}}}]\n",
            origin.address()
        );
        std::fs::write(&path, text).unwrap();
    };
    write(1);
    let balancer = crate::balancer::balancer_of_file(&path);
    let listen = balancer.app.listen();
    let _clients = [
        asking(listen, "/0").await,
        asking(listen, "/1").await,
        asking(listen, "/2").await,
    ];
    until("two wait", || balancer.app.queued() == 2).await;
    write(3);
    origin.request(3).await;
    gate.open();
}

#[tokio::test]
async fn adaptive_limit_is_there_and_holds() {
    let origin = Origin::named("fine").await;
    let balancer = balancer_with(&[&origin], |config| {
        config.limits.max_in_flight = MaxInFlight::Adaptive;
    });
    let mut client = balancer.client().await;
    for _ in 0..50 {
        assert_eq!(client.ask(GET).await.status(), 200);
    }
    let limit = format!(
        "lemonade_backend_in_flight_limit{{backend=\"{}\"}}",
        origin.address()
    );
    let limit = balancer.metric(&limit).await;
    assert!((4.0..=100.0).contains(&limit), "{limit}");
}
