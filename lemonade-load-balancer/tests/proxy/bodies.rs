//! Bodies stream both ways, in every framing, with backpressure; interim answers pass.

use crate::balancer::{Balancer, get};
use lemonade_test::{Gate, Origin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

#[tokio::test]
async fn bodies_arrive_whole_in_either_framing() {
    let a = Origin::named("a").await;
    let balancer = Balancer::over(&[&a], "").await;
    let body = "x".repeat(100_000);
    let mut client = balancer.client().await;
    client
        .send(format!(
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))
        .await;
    assert_eq!(client.answer().await.status(), 200);
    assert_eq!(a.request(1).await.text(), body);
}

#[tokio::test]
async fn chunks_and_trailers_pass_and_extensions_do_not() {
    let wire = "5\r\nhello\r\n1\r\n!\r\n0\r\nX-Sum: 7\r\n\r\n";
    let a = Origin::start(move |mut connection| async move {
        connection.head().await.unwrap();
        let got = connection.exactly(wire.len()).await.unwrap();
        let status = if got == wire.as_bytes() {
            "200 OK"
        } else {
            "400 Bad Request"
        };
        connection
            .send(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n"))
            .await;
    })
    .await;
    let balancer = Balancer::over(&[&a], "").await;
    let mut client = balancer.client().await;
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    client.send("5;ext=1\r\nhello\r\n").await;
    client
        .send("1\r\n!\r\n0\r\nX-Sum: 7\r\nContent-Length: 3\r\n\r\n")
        .await;
    assert_eq!(client.answer().await.status(), 200);
}

#[tokio::test]
async fn chunked_answer_passes_to_1_1_and_is_unwrapped_for_1_0() {
    let a = Origin::answering(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nX-T: 1\r\n\r\n",
    )
    .await;
    let balancer = Balancer::over(&[&a], "").await;
    assert_eq!(balancer.ask(&get("/")).await.text(), "abcde");
    let mut client = balancer.client().await;
    client.send("GET / HTTP/1.0\r\n\r\n").await;
    let head = client.head().await;
    assert!(!head.has("transfer-encoding"));
    assert_eq!(client.rest().await, b"abcde");
}

#[tokio::test]
async fn answer_that_ends_with_its_connection_is_chunked_for_the_client() {
    let a = Origin::start(async |mut connection| {
        connection.request().await.unwrap();
        connection.send("HTTP/1.1 200 OK\r\n\r\nuntil").await;
        connection.send(" the end").await;
    })
    .await;
    let balancer = Balancer::over(&[&a], "").await;
    let mut client = balancer.client().await;
    for _ in 0..2 {
        let answer = client.get("/").await;
        assert_eq!(answer.field("transfer-encoding"), Some("chunked"));
        assert_eq!(
            answer.text(),
            "until the end",
            "and the client's connection stays"
        );
    }
}

#[tokio::test]
async fn truncated_answers_never_look_complete() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nshort",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n0\r\n",
    ] {
        let a = Origin::start(move |mut connection| async move {
            connection.request().await.unwrap();
            connection.send(answer).await;
        })
        .await;
        let balancer = Balancer::over(&[&a], "").await;
        let mut client = balancer.client().await;
        client.send(get("/")).await;
        assert!(client.try_answer().await.is_err(), "{answer:?}");
    }
}

#[tokio::test]
async fn sender_waits_for_a_recipient_that_does_not_read() {
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = sent.clone();
    let total = 200 << 20;
    let a = Origin::start(move |mut connection| {
        let sent = counted.clone();
        async move {
            connection.request().await.unwrap();
            connection
                .send(format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {total}\r\n\r\n"
                ))
                .await;
            let piece = vec![b'x'; 1 << 20];
            while sent.load(Relaxed) < total && connection.send(&piece).await {
                sent.fetch_add(piece.len(), Relaxed);
            }
        }
    })
    .await;
    let balancer = Balancer::over(&[&a], "").await;
    let mut client = balancer.client().await;
    client.send(get("/")).await;
    client.head().await;
    // The origin comes to a halt: what it has sent lies in the kernel's buffers and one of ours.
    let mut before = usize::MAX;
    loop {
        let now = sent.load(Relaxed);
        if now == before {
            break;
        }
        before = now;
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    assert!(
        before < 64 << 20,
        "{before} bytes are on their way to nobody"
    );
    let mut received = 0;
    while received < total {
        received += client.some().await.unwrap().len();
    }
    assert_eq!(received, total);
}

#[tokio::test]
async fn continue_is_asked_of_the_backend() {
    let a = Origin::start(async |mut connection| {
        let mut request = connection.head().await.unwrap();
        assert_eq!(request.field("expect"), Some("100-continue"));
        connection.send("HTTP/1.1 100 Continue\r\n\r\n").await;
        connection.body(&mut request).await.unwrap();
        connection
            .send(format!(
                "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n{}",
                request.text()
            ))
            .await;
    })
    .await;
    let balancer = Balancer::over(&[&a], "").await;
    let mut client = balancer.client().await;
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
        .await;
    assert_eq!(client.head().await.status(), 100);
    client.send("body").await;
    assert_eq!(client.answer().await.text(), "body");
}

#[tokio::test]
async fn refusal_comes_before_the_body_was_sent() {
    let a = Origin::start(async |mut connection| {
        connection.head().await.unwrap();
        connection
            .send(
                "HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            )
            .await;
    })
    .await;
    let balancer = Balancer::over(&[&a], "").await;
    let mut client = balancer.client().await;
    client
        .send(
            "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1000000\r\n\r\n",
        )
        .await;
    let answer = client.answer().await;
    assert_eq!(
        (answer.status(), answer.field("connection")),
        (413, Some("close"))
    );
}

#[tokio::test]
async fn interim_answers_pass_and_are_never_the_final_one() {
    let a = Origin::answering(
        "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    )
    .await;
    let balancer = Balancer::over(&[&a], "").await;
    let mut client = balancer.client().await;
    client.send(get("/")).await;
    let hints = client.head().await;
    assert_eq!(
        (hints.status(), hints.field("link")),
        (103, Some("</a.css>"))
    );
    assert_eq!(client.answer().await.text(), "ok");
    let answer = balancer.ask("GET / HTTP/1.0\r\n\r\n").await;
    assert_eq!(answer.status(), 200, "HTTP/1.0 knows no interim answers");
}

#[tokio::test]
async fn endless_interim_answers_are_a_bad_answer() {
    let a = Origin::answering("HTTP/1.1 102 Processing\r\n\r\n".repeat(100)).await;
    let balancer = Balancer::over(&[&a], "").await;
    let mut client = balancer.client().await;
    client.send("GET / HTTP/1.0\r\n\r\n").await;
    assert_eq!(client.answer().await.status(), 502);
}

#[tokio::test]
async fn answer_may_begin_while_the_request_still_comes() {
    let gate = Arc::new(Gate::shut());
    let passed = gate.clone();
    let a = Origin::start(move |mut connection| {
        let gate = passed.clone();
        async move {
            let mut request = connection.head().await.unwrap();
            connection
                .send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nearly\r\n")
                .await;
            gate.passed().await;
            connection.body(&mut request).await.unwrap();
            connection
                .send(format!("4\r\n{}\r\n0\r\n\r\n", request.text()))
                .await;
        }
    })
    .await;
    let balancer = Balancer::over(&[&a], "").await;
    let mut client = balancer.client().await;
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n")
        .await;
    client.head().await;
    client.exactly("5\r\nearly\r\n".len()).await;
    client.send("late").await;
    gate.open();
    assert_eq!(
        client.exactly("4\r\nlate\r\n0\r\n\r\n".len()).await,
        b"4\r\nlate\r\n0\r\n\r\n"
    );
}
