//! Clients that mean harm, and clients by the thousand: memory and descriptors stay bounded, what a backend sees too, and
//! whoever behaves is served meanwhile.

use crate::apart::Apart;
use crate::balancer::{GET, balancer_with, ok};
use lemonade_test::{Client, Connection, Origin, PATIENCE, until};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const KIB: usize = 1 << 10;

/// Clients that send what `begin` says and then no more, once all of it has been taken note of.
async fn crowd(server: &Apart, count: usize, begin: &str) -> Vec<Client> {
    lemonade_load_balancer::descriptors::raise_limit().unwrap();
    let mut clients = Vec::with_capacity(count);
    for _ in 0..count {
        let mut client = server.client().await;
        client.send(begin).await;
        clients.push(client);
    }
    clients
}

/// Somebody who behaves is served.
async fn is_served(server: &Apart) {
    let mut client = server.client().await;
    for _ in 0..20 {
        assert_eq!(client.get("/").await.status(), 200);
    }
}

/// What each of `count` connections cost since there was `before`.
fn each(server: &Apart, before: usize, count: usize) -> usize {
    server.memory().saturating_sub(before) / count
}

/// Waits until each of `count` connections costs no more than `bound`: what they needed for a moment goes back after a while.
async fn costs_at_most(server: &Apart, before: usize, count: usize, bound: usize, wait: &str) {
    let begun = Instant::now();
    loop {
        let cost = each(server, before, count);
        if cost <= bound {
            return;
        }
        assert!(
            begun.elapsed() < PATIENCE / 2,
            "waiting {wait}: {cost} bytes"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn ten_thousand_trickling_heads_hold_little_memory() {
    lemonade_load_balancer::descriptors::raise_limit().unwrap();
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    // Each is a descriptor here, and one there.
    let count = limit.map_or(10_000, |limit| {
        limit.saturating_sub(200).min(10_000) as usize
    });
    let origin = Origin::named("a").await;
    let patient = "timeouts: { request_header: 5m }\nlimits: { max_connections: 20000 }\n";
    let server = Apart::start(origin.address(), patient, None);
    is_served(&server).await;
    let before = server.memory();
    let mut clients = crowd(&server, count, "GET / HTTP/1.1\r\nHost: trickle\r\n").await;
    is_served(&server).await;
    for client in &mut clients {
        client.send("X-Trickle: a little more\r\n").await;
    }
    is_served(&server).await;
    let cost = each(&server, before, count);
    assert!(cost < 6 * KIB, "{cost} bytes for each");
    // Nobody was forgotten.
    for client in clients.iter_mut().step_by(97) {
        assert_eq!(client.ask("\r\n").await.text(), "a");
    }
}

#[tokio::test]
async fn descriptors_that_run_out_are_taken_from_whoever_is_idle() {
    const LIMIT: u64 = 100;
    const CLIENTS: usize = 150;
    // Closes after each answer, so that every request needs another descriptor for a moment.
    let origin = Origin::start(async |mut connection: Connection| {
        if connection.request().await.is_ok() {
            let answer = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\na";
            connection.send(answer).await;
        }
    })
    .await;
    let server = Apart::start(origin.address(), "", Some(LIMIT));
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        let mut client = server.client().await;
        assert_eq!(client.get("/").await.status(), 200, "client {number}");
        clients.push(client);
    }
    assert_eq!(origin.requests().len(), CLIENTS, "each was asked once");
    let newest = clients.last_mut().unwrap();
    assert_eq!(newest.get("/").await.status(), 200, "the newest stays");
    // Of each shard, those who had been idle longest went.
    for client in &mut clients[..10] {
        client.closed().await;
    }
    let log = server.log();
    let complaints: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("raise the limit on open files (ulimit"))
        .collect();
    assert_eq!(complaints.len(), 1, "{log}");
    assert!(complaints[0].contains("open_files_limit=100"), "{log}");
    assert!(
        log.contains("limit=100 needed=20100"),
        "it was to be seen at the start: {log}"
    );
}

#[tokio::test]
async fn clients_wait_while_descriptors_are_all_in_use_and_none_is_lost() {
    const LIMIT: u64 = 100;
    let origin = Origin::named("a").await;
    let patient = "timeouts: { request_header: 5m }\n";
    let server = Apart::start(origin.address(), patient, Some(LIMIT));
    // Nobody of these can be asked to leave: their requests have begun.
    let mut begun = crowd(&server, LIMIT as usize, "GET / HTTP/1.1\r\nHost: t\r\n").await;
    server
        .has_descriptors(|count| count >= LIMIT as usize - 1)
        .await;
    let mut late = crowd(&server, 10, GET).await;
    // Those who stay leave room for the late ones and their backends, whatever descriptors the process was born with.
    begun.drain(..80);
    for client in &mut late {
        // One that takes the first descriptor that is free finds none for a backend, and is told so.
        let status = client.answer().await.status();
        assert!([200, 503].contains(&status), "{status}");
    }
    for client in &mut begun {
        assert_eq!(client.ask("\r\n").await.status(), 200);
    }
}

#[tokio::test]
async fn header_floods_are_cut_off_at_the_limit_and_no_backend_hears_of_them() {
    const COUNT: usize = 400;
    let origin = Origin::named("a").await;
    let server = Apart::start(origin.address(), "", None);
    is_served(&server).await;
    let before = server.memory();
    let floods = [
        format!("GET / HTTP/1.1\r\nHost: t\r\n{}", "A: b\r\n".repeat(20_000)),
        format!("GET / HTTP/1.1\r\nHost: t\r\nA: {}", "b".repeat(120_000)),
        format!("GET /{}", "b".repeat(120_000)),
    ];
    let mut clients = Vec::new();
    for number in 0..COUNT {
        let mut client = server.client().await;
        client.send(&floods[number % floods.len()]).await;
        clients.push(client);
    }
    is_served(&server).await;
    for (number, client) in clients.iter_mut().enumerate() {
        let status = client.answer().await.status();
        assert_eq!(status, [431, 431, 414][number % floods.len()]);
    }
    let cost = each(&server, before, COUNT);
    assert!(cost < 40 * KIB, "{cost} bytes for each");
    let strange = origin.requests();
    let strange = strange.iter().filter(|request| request.has("a")).count();
    assert_eq!(strange, 0);
}

#[tokio::test]
async fn client_that_pipelines_and_never_reads_is_held_up_then_cut_off() {
    let page = "x".repeat(256 * KIB);
    let origin = Origin::answering(ok(&page)).await;
    let balancer = balancer_with(&[&origin], |config| {
        config.timeouts.idle = Duration::from_millis(300);
    });
    let mut hog = balancer.client().await;
    let flood = GET.repeat(50_000);
    let flooding = async {
        // It ends with a reset, or when it is held up for good.
        while hog.stream().write_all(flood.as_bytes()).await.is_ok() {}
    };
    let mut other = balancer.client().await;
    let watching = async {
        until("its requests have begun", || origin.requests().len() > 1).await;
        for _ in 0..20 {
            assert_eq!(other.get("/").await.status(), 200);
            assert!(balancer.in_flight(0) <= 2, "one at a time of each");
        }
    };
    tokio::join!(flooding, watching);
    until("nothing is in flight", || balancer.in_flight(0) == 0).await;
    // What the kernel's buffers hold, and no more.
    let asked = origin.requests().len();
    assert!(asked < 20 + 100, "{asked} requests reached the backend");
}

#[tokio::test]
async fn clients_that_pipeline_hold_one_buffer_each() {
    const COUNT: usize = 200;
    let origin = Origin::start(async |mut connection: Connection| {
        while let Ok(request) = connection.request().await {
            match request.target() {
                "/hold" => connection.gone().await,
                _ => drop(connection.send(ok("a")).await),
            }
        }
    })
    .await;
    let server = Apart::start(origin.address(), "", None);
    is_served(&server).await;
    let before = server.memory();
    let hold = "GET /hold HTTP/1.1\r\nHost: t\r\n\r\n";
    let flood = format!("{hold}{}", GET.repeat(4_000));
    let clients = crowd(&server, COUNT, &flood).await;
    is_served(&server).await;
    let asked = || origin.requests().len();
    until("the first request of each", || asked() >= COUNT + 40).await;
    is_served(&server).await;
    assert_eq!(asked(), COUNT + 60, "and no other");
    let cost = each(&server, before, COUNT);
    assert!(cost < 100 * KIB, "{cost} bytes for each");
    drop(clients);
}

/// Reads to the end, however long that takes.
async fn end(connection: &mut Connection) {
    let mut room = [0; 1024];
    while matches!(connection.stream().read(&mut room).await, Ok(count) if count > 0) {}
}

/// Answers `/stream` with one event and then rests, `/switch` with another protocol, `/much` with more than anybody buffers,
/// and reads bodies for as long as they come.
async fn patient_origin() -> Origin {
    Origin::start(async |mut connection: Connection| {
        while let Ok(head) = connection.head().await {
            match head.target() {
                "/stream" => {
                    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
                    connection.send(format!("{head}8\r\ndata: 1\n\r\n")).await;
                    return end(&mut connection).await;
                }
                "/switch" => {
                    let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n";
                    connection
                        .send(format!("{head}Upgrade: x\r\n\r\nhello"))
                        .await;
                    return end(&mut connection).await;
                }
                "/much" => {
                    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 1 << 30);
                    connection.send(head).await;
                    while connection.send(vec![b'x'; 1 << 20]).await {}
                }
                _ => {
                    if head.has("content-length") {
                        return end(&mut connection).await;
                    }
                    connection.send(ok("a")).await;
                }
            }
        }
    })
    .await
}

#[tokio::test]
async fn every_kind_of_wait_holds_what_the_documents_say() {
    lemonade_load_balancer::descriptors::raise_limit().unwrap();
    let origin = patient_origin().await;
    let patient = "timeouts: { idle: 5m, request_header: 5m, total: 5m, upstream_idle: 100ms }\n";
    let request = |line: &str, fields: &str| format!("{line} HTTP/1.1\r\nHost: t\r\n{fields}\r\n");
    let half = |text: &str| text[..text.len() - 2].to_owned();
    let body = "Content-Length: 1000000\r\n";
    let upgrade = "Connection: upgrade\r\nUpgrade: x\r\n";
    // Who waits, how many of them, what they send, and what each may cost in KiB. A slow reader costs the kernel megabytes, so
    // there are few of them: each holds one buffer of 256 KiB, and bears a share of what the process needed beside.
    let waits = [
        ("after an answer", 1000, request("GET /", ""), 8),
        ("in a head", 1000, half(&request("GET /", "")), 8),
        ("in a body", 1000, request("POST /", body) + "half", 8),
        ("for an event", 1000, request("GET /stream", ""), 8),
        ("in a tunnel", 1000, request("GET /switch", upgrade), 8),
        ("to be read", 24, request("GET /much", ""), 400),
    ];
    for (wait, count, begin, bound) in waits {
        let server = Apart::start(origin.address(), patient, None);
        is_served(&server).await;
        let before = server.memory();
        let mut clients = Vec::new();
        for number in 0..count {
            let mut client = server.client().await;
            client.send(&begin).await;
            match wait {
                "in a head" => {}
                // So few at once that what they need for a moment is little beside what they keep.
                "in a body" if number % 10 == 9 => {
                    until("it reaches the backend", || origin.open() > number).await;
                }
                "in a body" => {}
                "after an answer" => drop(client.answer().await),
                _ => drop(client.head().await),
            }
            clients.push(client);
        }
        is_served(&server).await;
        costs_at_most(&server, before, count, bound * KIB, wait).await;
        drop(clients);
        drop(server);
        until("the backend is let go", || origin.open() == 0).await;
    }
}
