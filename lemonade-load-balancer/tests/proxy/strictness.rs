//! What two parsers could read differently is refused, in requests and in answers.

use crate::balancer::{Balancer, get};
use lemonade_test::Origin;

#[tokio::test]
async fn ambiguous_requests_are_refused_and_no_backend_sees_them() {
    let a = Origin::named("a").await;
    let balancer = Balancer::over(&[&a], "").await;
    for request in [
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n",
        "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
        "GET / HTTP/1.1\nHost: a\n\n",
        "GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
        "GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        let mut client = balancer.client().await;
        client.send(request).await;
        let answer = client.answer().await;
        assert_eq!(answer.status(), 400, "{request:?}");
        assert_eq!(answer.field("connection"), Some("close"), "{request:?}");
        client.closed().await;
    }
    assert_eq!(a.connections(), 0);
}

#[tokio::test]
async fn bad_chunks_are_refused() {
    for chunks in [
        "x\r\n",
        "-1\r\n",
        "5\nhello\r\n",
        "5\r\nhelloX\r\n",
        "fffffffffffffffff\r\n",
    ] {
        let a = Origin::start(async |mut connection| {
            let _ = connection.request().await;
        })
        .await;
        let balancer = Balancer::over(&[&a], "").await;
        let mut client = balancer.client().await;
        client
            .send(format!(
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"
            ))
            .await;
        assert_eq!(client.answer().await.status(), 400, "{chunks:?}");
        client.closed().await;
        let seen = a.bytes().concat();
        assert!(!seen.ends_with(chunks.as_bytes()), "{chunks:?}");
    }
}

#[tokio::test]
async fn limits_have_their_statuses() {
    let a = Origin::named("a").await;
    let more = "limits: { header_bytes: 4KiB, header_fields: 10, uri_bytes: 128 }";
    let balancer = Balancer::over(&[&a], more).await;
    let long = "x".repeat(5000);
    for (request, status) in [
        (get(&format!("/{}", &long[..200])), 414),
        (get(&format!("/{long}")), 414),
        (
            format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n"),
            431,
        ),
        (
            format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "A: b\r\n".repeat(10)),
            431,
        ),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n".to_owned(), 505),
        ("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n".to_owned(), 501),
    ] {
        assert_eq!(
            balancer.ask(&request).await.status(),
            status,
            "{request:.60}"
        );
    }
    assert_eq!(balancer.ask(&get("/")).await.status(), 200);
}

#[tokio::test]
async fn malformed_answers_are_502_and_their_connection_is_thrown_away() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        "HTTP/1.1 200 OK\r\nBad Name: 1\r\n\r\n",
        "garbage\r\n\r\n",
        "HTTP/1.1 999 No\r\n\r\n",
    ] {
        let a = Origin::answering(answer).await;
        let balancer = Balancer::over(&[&a], "").await;
        let mut client = balancer.client().await;
        for _ in 0..2 {
            let reply = client.get("/").await;
            assert_eq!(reply.status(), 502, "{answer:?}");
            assert!(
                reply
                    .field("proxy-status")
                    .unwrap()
                    .contains("http_protocol_error"),
                "{answer:?}"
            );
        }
        assert_eq!(a.connections(), 2, "{answer:?}");
    }
}

#[tokio::test]
async fn bytes_behind_an_answer_are_nobodys_answer() {
    let a = Origin::answering("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison").await;
    let balancer = Balancer::over(&[&a], "").await;
    let mut client = balancer.client().await;
    for _ in 0..3 {
        assert_eq!(client.get("/").await.text(), "1");
    }
    assert_eq!(a.connections(), 3);
}
