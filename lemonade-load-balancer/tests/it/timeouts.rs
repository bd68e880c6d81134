//! Everyone's patience has an end, and the one who waits is told whose.

use crate::balancer::{GET, balancer_at, balancer_with, ok};
use lemonade_test::{Broken, Client, Connection, Gate, Origin, PATIENCE, until};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

const SHORT: Duration = Duration::from_millis(150);

/// Reads each request and never answers.
async fn asleep() -> Origin {
    Origin::start(
        async |mut connection: Connection| {
            while connection.request().await.is_ok() {}
        },
    )
    .await
}

#[tokio::test]
async fn slow_head_is_408_however_steadily_it_drips() {
    let origin = Origin::named("a").await;
    let balancer = balancer_with(&[&origin], |config| config.timeouts.request_header = SHORT);
    let mut silent = balancer.client().await;
    silent.send("GET / HTTP/1.1\r\nHo").await;
    let answer = silent.answer().await;
    assert_eq!(answer.status(), 408);
    assert_eq!(answer.field("connection"), Some("close"));
    silent.closed().await;

    let mut client = balancer.client().await;
    assert_eq!(client.get("/").await.status(), 200);
    let begun = Instant::now();
    client.send("GET / HTTP/1.1\r\n").await;
    let answer = loop {
        client.send("A: b\r\n").await;
        match timeout(Duration::from_millis(20), client.try_answer()).await {
            Ok(answer) => break answer,
            Err(_) => assert!(begun.elapsed() < PATIENCE, "dripping helps"),
        }
    };
    assert_eq!(answer.expect("an answer, not a reset").status(), 408);
    assert!(begun.elapsed() >= SHORT, "never early");
}

#[tokio::test]
async fn slow_backend_is_504_and_its_connection_is_given_up() {
    let origin = asleep().await;
    let balancer = balancer_with(&[&origin], |config| config.timeouts.response_header = SHORT);
    let mut client = balancer.client().await;
    for round in 1..=2 {
        let begun = Instant::now();
        let answer = client.ask(GET).await;
        assert_eq!(answer.status(), 504);
        assert!(begun.elapsed() >= SHORT, "never early");
        let why = answer.field("proxy-status").unwrap_or_default();
        assert!(why.contains("http_response_timeout"), "{why}");
        until("the backend is let go", || origin.open() == 0).await;
        assert_eq!(origin.connections(), round, "a timeout is not retried");
        assert_eq!(balancer.in_flight(0), 0);
    }
}

#[tokio::test]
async fn total_time_bounds_all_attempts_together() {
    let origin = asleep().await;
    let balancer = balancer_with(&[&origin], |config| config.timeouts.total = SHORT);
    let begun = Instant::now();
    assert_eq!(balancer.get("/").await.status(), 504);
    assert!(begun.elapsed() >= SHORT, "never early");
}

#[tokio::test]
async fn answer_that_has_begun_may_take_longer_than_the_total() {
    let gate = Gate::shut();
    let held = gate.clone();
    let origin = Origin::start(move |mut connection: Connection| {
        let held = held.clone();
        async move {
            if connection.request().await.is_ok() {
                let head = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n";
                connection.send(format!("{head}ha")).await;
                held.passed().await;
                connection.send("lf").await;
            }
        }
    })
    .await;
    let balancer = balancer_with(&[&origin], |config| {
        config.timeouts.total = SHORT;
        config.timeouts.response_header = SHORT;
    });
    let mut client = balancer.client().await;
    let begun = Instant::now();
    client.send(GET).await;
    assert_eq!(client.head().await.status(), 200);
    until("both have passed", || begun.elapsed() > 2 * SHORT).await;
    gate.open();
    assert_eq!(client.exactly(4).await, b"half");
}

/// Takes no connection while this lives: its queue of one is full.
async fn full() -> (TcpListener, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let listener = socket.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut fillers = Vec::new();
    while let Ok(filler) = timeout(SHORT, TcpStream::connect(address)).await {
        fillers.push(filler.unwrap());
    }
    (listener, fillers)
}

#[tokio::test]
async fn connection_that_is_not_made_in_time_is_504_or_another_backend() {
    let (listener, _fillers) = full().await;
    let full = listener.local_addr().unwrap();
    let balancer = balancer_at(&[full], |config| config.timeouts.connect = SHORT);
    let answer = balancer.get("/").await;
    assert_eq!(answer.status(), 504);
    let why = answer.field("proxy-status").unwrap_or_default();
    assert!(why.contains("connection_timeout"), "{why}");

    let origin = Origin::named("alive").await;
    let balancer = balancer_at(&[full, origin.address()], |config| {
        config.timeouts.connect = SHORT
    });
    let mut client = balancer.client().await;
    for _ in 0..4 {
        assert_eq!(client.get("/").await.text(), "alive");
    }
}

#[tokio::test]
async fn body_that_stops_coming_is_408() {
    let origin = Origin::named("a").await;
    let balancer = balancer_with(&[&origin], |config| config.timeouts.idle = SHORT);
    let mut client = balancer.client().await;
    client
        .send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r\nhello")
        .await;
    let answer = client.answer().await;
    assert_eq!(answer.status(), 408);
    client.closed().await;
    until("the backend is let go", || origin.open() == 0).await;
    assert!(origin.requests().is_empty());
}

#[tokio::test]
async fn backend_that_stops_reading_is_504() {
    let gate = Gate::shut();
    let held = gate.clone();
    let origin = Origin::start(move |mut connection: Connection| {
        let held = held.clone();
        async move {
            if connection.head().await.is_ok() {
                held.passed().await;
            }
        }
    })
    .await;
    let balancer = balancer_with(&[&origin], |config| config.timeouts.idle = SHORT);
    let mut client = balancer.client().await;
    let length = 100 << 20;
    client
        .send(format!(
            "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: {length}\r\n\r\n"
        ))
        .await;
    let (mut read, mut write) = client.stream().split();
    let body = vec![0; 1 << 20];
    let mut first = [0; 12];
    tokio::select! {
        read = read.read_exact(&mut first) => { read.expect("an answer, not a reset"); }
        () = async { while write.write_all(&body).await.is_ok() {} std::future::pending().await } => {}
    }
    assert_eq!(&first, b"HTTP/1.1 504");
    gate.open();
}

#[tokio::test]
async fn answer_that_stops_coming_is_cut() {
    let origin = Origin::start(async |mut connection: Connection| {
        if connection.request().await.is_ok() {
            connection
                .send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
                .await;
            connection.gone().await;
        }
    })
    .await;
    let balancer = balancer_with(&[&origin], |config| config.timeouts.idle = SHORT);
    let got = balancer.client().await.try_answer_to(GET).await;
    assert!(matches!(got, Err(Broken::Reset(_))), "{got:?}");
    until("the backend is let go", || origin.open() == 0).await;
}

#[tokio::test]
async fn idle_tunnel_is_closed() {
    let origin = Origin::start(async |mut connection: Connection| {
        if connection.request().await.is_ok() {
            connection
                .send(
                    "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
                )
                .await;
            connection.gone().await;
        }
    })
    .await;
    let balancer = balancer_with(&[&origin], |config| config.timeouts.tunnel = SHORT);
    let mut client = balancer.client().await;
    client
        .send("GET / HTTP/1.1\r\nHost: t\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
        .await;
    assert_eq!(client.head().await.status(), 101);
    client.closed().await;
    until("the backend is let go", || origin.open() == 0).await;
}

#[tokio::test]
async fn request_that_waits_for_its_turn_is_not_idle() {
    let gate = Gate::shut();
    let held = gate.clone();
    let origin = Origin::start(move |mut connection: Connection| {
        let held = held.clone();
        async move {
            while connection.request().await.is_ok() {
                held.passed().await;
                connection.send(ok("late")).await;
            }
        }
    })
    .await;
    let balancer = balancer_with(&[&origin], |config| {
        config.timeouts.idle = Duration::from_millis(20);
        config.timeouts.request_header = Duration::from_millis(20);
    });
    let mut client: Client = balancer.client().await;
    client.send(GET).await;
    origin.request(1).await;
    // Neither timeout is about waiting for an answer.
    let begun = Instant::now();
    until("both have passed", || begun.elapsed() > SHORT).await;
    gate.open();
    assert_eq!(client.answer().await.text(), "late");
}

/// Sends an endless answer as fast as it is taken.
async fn endless() -> Origin {
    Origin::start(async |mut connection: Connection| {
        if connection.request().await.is_ok() {
            let head = "HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n";
            connection.send(head).await;
            while connection.send(vec![b'x'; 1 << 20]).await {}
        }
    })
    .await
}

/// Reads `piece` bytes now and again until `long` has passed; whether it was let.
async fn reads_slowly(client: &mut Client, piece: usize, long: Duration) -> bool {
    let begun = Instant::now();
    let mut room = vec![0; piece];
    while begun.elapsed() < long {
        if client.stream().read_exact(&mut room).await.is_err() {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    true
}

#[tokio::test]
async fn client_that_takes_its_answer_too_slowly_is_reset() {
    let origin = endless().await;
    // Larger than the steps in which the kernel tells that a buffer empties.
    const PIECE: usize = 2 << 20;
    for (min_rate, let_be) in [(10 << 30, false), (0, true)] {
        let balancer = balancer_with(&[&origin], |config| {
            config.timeouts.idle = SHORT;
            config.limits.min_rate = min_rate;
        });
        let mut client = balancer.client().await;
        client.send(GET).await;
        let long = if let_be { 5 * SHORT } else { PATIENCE };
        let let_through = reads_slowly(&mut client, PIECE, long).await;
        assert_eq!(let_through, let_be, "{min_rate} bytes a second");
        drop(client);
        until("the backend is let go", || origin.open() == 0).await;
    }
}

#[tokio::test]
async fn client_that_takes_nothing_is_reset() {
    let origin = endless().await;
    let balancer = balancer_with(&[&origin], |config| config.timeouts.idle = SHORT);
    let mut client = balancer.client().await;
    client.send(GET).await;
    until("an answer has begun", || origin.open() == 1).await;
    until("the backend is let go", || origin.open() == 0).await;
    until("nothing is in flight", || balancer.in_flight(0) == 0).await;
    let mut room = vec![0; 1 << 20];
    let end = loop {
        match client.stream().read(&mut room).await {
            Ok(count) if count > 0 => {}
            end => break end,
        }
    };
    assert!(
        end.is_err(),
        "a broken answer must not end like a whole one"
    );
}

#[tokio::test]
async fn slow_backend_is_no_slow_client() {
    let origin = Origin::start(async |mut connection: Connection| {
        if connection.request().await.is_ok() {
            let head = "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n";
            connection.send(head).await;
            while connection.send("x").await {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    })
    .await;
    let balancer = balancer_with(&[&origin], |config| {
        config.timeouts.idle = SHORT;
        config.limits.min_rate = 1 << 30;
    });
    let mut client = balancer.client().await;
    client.send(GET).await;
    client.head().await;
    assert!(reads_slowly(&mut client, 1, 5 * SHORT).await);
}

#[tokio::test]
async fn body_that_trickles_is_408() {
    let origin = Origin::named("a").await;
    let balancer = balancer_with(&[&origin], |config| {
        config.timeouts.idle = SHORT;
        config.limits.min_rate = 10_000;
    });
    let mut client = balancer.client().await;
    client
        .send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 100000\r\n\r\n")
        .await;
    let begun = Instant::now();
    let answer = loop {
        client.send("x").await;
        match timeout(Duration::from_millis(10), client.try_answer()).await {
            Ok(answer) => break answer,
            Err(_) => assert!(begun.elapsed() < PATIENCE, "trickling helps"),
        }
    };
    assert_eq!(answer.expect("an answer, not a reset").status(), 408);
    assert!(begun.elapsed() >= SHORT, "never early");
    until("the backend is let go", || origin.open() == 0).await;
}

#[tokio::test]
async fn request_whose_time_is_over_is_held_against_nobody_else() {
    let silent = asleep().await;
    let (a, b) = (Origin::named("a").await, Origin::named("b").await);
    let balancer = balancer_with(&[&silent, &a, &b], |config| {
        config.timeouts.total = Duration::from_millis(150);
    });
    let answer = balancer.get("/").await;
    assert_eq!(answer.status(), 504);
    let snapshot = balancer.app.published().load();
    let faults = snapshot.members.iter();
    let faults = faults.map(|member| member.live.sum(|shard| &shard.faults));
    assert_eq!(faults.collect::<Vec<_>>(), [1, 0, 0]);
    assert_eq!(a.requests().len() + b.requests().len(), 0);
}

#[tokio::test]
async fn upload_may_take_longer_than_the_total() {
    let origin = Origin::named("took it").await;
    let balancer = balancer_with(&[&origin], |config| {
        config.timeouts.total = Duration::from_millis(200);
    });
    let mut client = balancer.client().await;
    client
        .send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 6\r\n\r\n")
        .await;
    for _ in 0..6 {
        tokio::time::sleep(Duration::from_millis(80)).await;
        client.send("x").await;
    }
    assert_eq!(client.answer().await.text(), "took it");
}

#[tokio::test]
async fn connecting_is_part_of_the_total() {
    let (listener, _fillers) = full().await;
    let balancer = balancer_at(&[listener.local_addr().unwrap()], |config| {
        config.timeouts.connect = Duration::from_secs(15);
        config.timeouts.total = Duration::from_millis(150);
    });
    let began = Instant::now();
    assert_eq!(balancer.get("/").await.status(), 504);
    assert!(began.elapsed() < Duration::from_secs(5));
}
