//! Nobody sends faster than the other side reads: a body is in memory only in a bounded part, and never lost.

use crate::balancer::{GET, balancer, ok};
use lemonade_test::{Connection, Gate, Origin};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Larger than all buffers between two programs, the kernel's included.
const LARGE: usize = 200 << 20;
/// What the kernel's and our own buffers on the way may hold at most.
const ON_THE_WAY: usize = 16 << 20;
/// A writer that cannot write for so long is held up.
const HELD_UP: Duration = Duration::from_millis(300);

/// Bytes that repeat every `PERIOD`, which divides no buffer size, so that a lost or doubled piece shows.
struct Stream {
    period: Vec<u8>,
    position: usize,
}

const PERIOD: usize = 65_521;

impl Stream {
    fn new() -> Self {
        let period = (0..2 * PERIOD)
            .map(|index| (index % PERIOD % 251) as u8)
            .collect();
        Stream {
            period,
            position: 0,
        }
    }

    fn piece(&self, most: usize) -> &[u8] {
        let start = self.position % PERIOD;
        &self.period[start..start + most.min(PERIOD)]
    }

    fn check(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let expected = self.piece(bytes.len());
            let (got, rest) = bytes.split_at(expected.len());
            assert!(got == expected, "other bytes at {}", self.position);
            self.position += got.len();
            bytes = rest;
        }
    }

    /// Writes up to `end`; stops early when held up.
    async fn write(&mut self, stream: &mut TcpStream, end: usize) {
        while self.position < end {
            let written = timeout(HELD_UP, stream.write(self.piece(end - self.position))).await;
            match written {
                Ok(count) => self.position += count.expect("the recipient is there"),
                Err(_) => return,
            }
        }
    }
}

#[tokio::test]
async fn client_is_held_up_while_the_backend_does_not_read() {
    let gate = Gate::shut();
    let held = gate.clone();
    let origin = Origin::start(move |mut connection: Connection| {
        let held = held.clone();
        async move {
            if connection.head().await.is_err() {
                return;
            }
            held.passed().await;
            let mut body = Stream::new();
            while body.position < LARGE {
                match connection.some().await {
                    Ok(bytes) if !bytes.is_empty() => body.check(&bytes),
                    _ => return,
                }
            }
            connection.send(ok("whole")).await;
        }
    })
    .await;
    let balancer = balancer(&[&origin]);
    let mut client = balancer.client().await;
    client
        .send(format!(
            "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: {LARGE}\r\n\r\n"
        ))
        .await;
    let mut body = Stream::new();
    body.write(client.stream(), LARGE).await;
    assert!(
        body.position < ON_THE_WAY,
        "{} bytes went nowhere",
        body.position
    );
    gate.open();
    while body.position < LARGE {
        body.write(client.stream(), LARGE).await;
    }
    assert_eq!(client.answer().await.text(), "whole");
}

#[tokio::test]
async fn backend_is_held_up_while_the_client_does_not_read() {
    let (sender, mut blocked_after) = tokio::sync::watch::channel(0);
    let origin = Origin::start(move |mut connection: Connection| {
        let sender = sender.clone();
        async move {
            if connection.request().await.is_err() {
                return;
            }
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n");
            connection.send(head).await;
            let mut body = Stream::new();
            while body.position < LARGE {
                body.write(connection.stream(), LARGE).await;
                // The first time it is held up says how much was buffered.
                sender.send_if_modified(|count| {
                    let first = *count == 0;
                    *count = if first { body.position } else { *count };
                    first
                });
            }
            connection.gone().await;
        }
    })
    .await;
    let balancer = balancer(&[&origin]);
    let mut client = balancer.client().await;
    client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n").await;
    let blocked_after = *blocked_after
        .wait_for(|count| *count > 0)
        .await
        .expect("the origin lives");
    assert!(
        blocked_after < ON_THE_WAY,
        "{blocked_after} bytes went nowhere"
    );
    assert_eq!(client.head().await.status(), 200);
    let mut body = Stream::new();
    while body.position < LARGE {
        let bytes = client.some().await.expect("the body goes on");
        assert!(!bytes.is_empty(), "ended at {}", body.position);
        body.check(&bytes);
    }
}

#[tokio::test]
async fn bodies_stream_both_ways_at_once() {
    const SIZE: usize = 20 << 20;
    let origin = Origin::start(async |mut connection: Connection| {
        if connection.head().await.is_err() {
            return;
        }
        connection
            .send(format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n"))
            .await;
        while let Ok(bytes) = connection.some().await {
            if bytes.is_empty() || !connection.send(bytes).await {
                return;
            }
        }
    })
    .await;
    let balancer = balancer(&[&origin]);
    let mut client = balancer.client().await;
    client
        .send(format!(
            "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: {SIZE}\r\n\r\n"
        ))
        .await;
    assert_eq!(client.head().await.status(), 200);
    let (mut read, mut write) = client.stream().split();
    let sending = async {
        let mut body = Stream::new();
        while body.position < SIZE {
            let count = write.write(body.piece(SIZE - body.position)).await;
            body.position += count.expect("the upload goes on");
        }
    };
    let receiving = async {
        let mut body = Stream::new();
        let mut room = vec![0; 64 << 10];
        while body.position < SIZE {
            let count = read.read(&mut room).await.expect("the answer goes on");
            assert!(count > 0, "ended at {}", body.position);
            body.check(&room[..count]);
        }
    };
    tokio::join!(sending, receiving);
}

#[tokio::test]
async fn early_answer_reaches_a_client_that_still_sends() {
    let origin = Origin::start(async |mut connection: Connection| {
        if connection.head().await.is_ok() {
            connection
                .send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno")
                .await;
            connection.gone().await;
        }
    })
    .await;
    let balancer = balancer(&[&origin]);
    let mut client = balancer.client().await;
    client
        .send(format!(
            "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: {LARGE}\r\n\r\n"
        ))
        .await;
    // Goes on sending until it is told to stop.
    let body = vec![0; 1 << 20];
    let (mut read, mut write) = client.stream().split();
    let mut got = Vec::new();
    let reading = async {
        let mut room = [0; 4096];
        while !got.ends_with(b"\r\n\r\nno") {
            let count = read.read(&mut room).await.expect("an answer, not a reset");
            assert!(count > 0, "a whole answer");
            got.extend_from_slice(&room[..count]);
        }
    };
    tokio::select! {
        () = reading => {}
        _ = async { while write.write_all(&body).await.is_ok() {} std::future::pending::<()>().await } => {}
    }
    let text = String::from_utf8_lossy(&got);
    assert!(text.starts_with("HTTP/1.1 413 "), "{text}");
    assert!(text.contains("\r\nConnection: close\r\n"), "{text}");
}

#[tokio::test]
async fn client_that_asks_without_end_is_held_up() {
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
    let balancer = balancer(&[&origin]);
    let mut client = balancer.client().await;
    let many = GET.repeat(10_000);
    let mut sent = 0;
    while let Ok(count) = timeout(
        Duration::from_millis(300),
        client.stream().write(many.as_bytes()),
    )
    .await
    {
        sent += count.expect("the balancer is there");
        assert!(sent < 16 << 20, "{sent} bytes of requests went nowhere");
    }
    origin.request(1).await;
    assert_eq!(origin.requests().len(), 1, "one at a time");
    gate.open();
    for _ in 0..100 {
        assert_eq!(client.answer().await.text(), "late");
    }
}
