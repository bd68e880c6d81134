//! More requests than backends may have: they wait, in order, not for long, and the rest is told at once.

use crate::balancer::{GET, balancer_with, ok};
use lemonade_load_balancer::config::MaxInFlight;
use lemonade_test::{Client, Connection, Gate, Origin, until};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

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
async fn adaptive_limit_grows_until_a_backend_gets_slower_and_the_rest_is_shed() {
    // Does four things at once, each for 5 ms; whatever else it gets waits.
    let workers = Arc::new(Semaphore::new(4));
    let asked = Arc::new(AtomicU32::new(0));
    let (working, most) = (asked.clone(), Arc::new(AtomicU32::new(0)));
    let peak = most.clone();
    let origin = Origin::start(move |mut connection: Connection| {
        let (workers, working, peak) = (workers.clone(), working.clone(), peak.clone());
        async move {
            while connection.request().await.is_ok() {
                peak.fetch_max(working.fetch_add(1, SeqCst) + 1, SeqCst);
                let turn = workers.acquire().await;
                tokio::time::sleep(Duration::from_millis(5)).await;
                drop(turn);
                working.fetch_sub(1, SeqCst);
                connection.send(ok("done")).await;
            }
        }
    })
    .await;
    let balancer = balancer_with(&[&origin], |config| {
        config.limits.max_in_flight = MaxInFlight::Adaptive;
        config.timeouts.queue = Duration::from_millis(50);
    });
    let listen = balancer.app.listen();
    let crowd: Vec<_> = (0..100)
        .map(|_| {
            tokio::spawn(async move {
                let mut client = Client::connect(listen).await;
                loop {
                    let status = client.ask(GET).await.status();
                    assert!(matches!(status, 200 | 503), "{status}");
                }
            })
        })
        .collect();
    let shed = async || balancer.metric("lemonade_requests_shed_total").await;
    while shed().await < 500.0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(crowd.iter().all(|client| !client.is_finished()));
    crowd.iter().for_each(|client| client.abort());
    let most = most.load(SeqCst);
    assert!((4..=40).contains(&most), "{most} of a hundred at once");
}
