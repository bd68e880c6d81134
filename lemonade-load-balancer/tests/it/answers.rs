//! Answers that two readers could read differently are refused, and one answer is never taken for another.

use crate::balancer::{GET, balancer, ok};
use lemonade_test::Origin;

/// Answers that are refused: the client gets 502, the backend's connection is not used again.
async fn bad_answers(answers: &[&str]) {
    for answer in answers {
        let origin = Origin::answering(*answer).await;
        let balancer = balancer(&[&origin]);
        let mut client = balancer.client().await;
        for round in 1..=2 {
            let got = client.try_answer_to(GET).await;
            let got = got.unwrap_or_else(|broken| panic!("{broken:?} for {answer:?}"));
            assert_eq!(got.status(), 502, "{answer:?}");
            let why = got.field("proxy-status").unwrap_or_default();
            assert!(why.contains("http_protocol_error"), "{why} for {answer:?}");
            assert_eq!(origin.connections(), round, "{answer:?}");
        }
    }
}

#[tokio::test]
async fn ambiguous_answers_become_502_and_end_their_connection() {
    bad_answers(&[
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX : y\r\n\r\n",
        "HTTP/1.1 200 OK\r\nBad Name: 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: y\r\n folded\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: \0\r\n\r\n",
        "HTTP/1.1 200 O\rK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 99 X\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 600 X\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 999 X\r\nContent-Length: 0\r\n\r\n",
        "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        "SSH-2.0-OpenSSH_9.6\r\n\r\n",
        "\r\n\r\n",
    ])
    .await;
}

#[tokio::test]
async fn answer_whose_first_chunk_is_malformed_becomes_502() {
    // Nothing of it has been passed on, so the client can still be told.
    bad_answers(&[
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnone\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloX\r\n0\r\n\r\n",
    ])
    .await;
}

#[tokio::test]
async fn answer_with_a_head_too_large_becomes_502() {
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(101));
    let long = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nA: {}\r\n\r\n",
        "b".repeat(40_000)
    );
    bad_answers(&[&many, &long]).await;
}

#[tokio::test]
async fn bytes_after_an_answer_never_become_the_next_answer() {
    let origin = Origin::answering(format!("{}{}", ok("real"), ok("evil"))).await;
    let balancer = balancer(&[&origin]);
    let mut client = balancer.client().await;
    for round in 1..=3 {
        assert_eq!(client.get("/").await.text(), "real");
        assert_eq!(origin.connections(), round);
    }
}

#[tokio::test]
async fn bytes_between_two_answers_never_become_the_next_answer() {
    let origin = Origin::start(async |mut connection| {
        while let Ok(request) = connection.request().await {
            connection.send(ok("real")).await;
            if request.target() == "/poison" {
                // Read by nobody while the connection idles.
                connection.send(ok("evil")).await;
            }
        }
    })
    .await;
    let balancer = balancer(&[&origin]);
    let mut client = balancer.client().await;
    for _ in 0..20 {
        assert_eq!(client.get("/poison").await.text(), "real");
        assert_eq!(client.get("/").await.text(), "real");
    }
}

#[tokio::test]
async fn body_after_a_bodiless_answer_never_becomes_the_next_answer() {
    let origin = Origin::answering("HTTP/1.1 204 No Content\r\nContent-Length: 38\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let balancer = balancer(&[&origin]);
    let mut client = balancer.client().await;
    for _ in 0..2 {
        let answer = client.get("/").await;
        assert_eq!(answer.status(), 204);
        // RFC 9110 8.6: a 204 has no Content-Length; a client that believed it would wait for a body.
        assert!(!answer.has("content-length"), "{answer:?}");
    }
}

#[tokio::test]
async fn body_after_an_answer_to_head_never_becomes_the_next_answer() {
    let origin = Origin::answering(ok("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")).await;
    let balancer = balancer(&[&origin]);
    let mut client = balancer.client().await;
    for round in 1..=3 {
        client.send("HEAD / HTTP/1.1\r\nHost: t\r\n\r\n").await;
        let answer = client.answer_to_head().await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.field("content-length"), Some("42"));
        assert_eq!(origin.connections(), round);
    }
}
