//! Requests are balanced one by one, and pass with the right header fields.

use crate::balancer::{Balancer, get};
use lemonade_test::Origin;

#[tokio::test]
async fn requests_of_one_connection_are_balanced_one_by_one() {
    let (a, b, c) = (
        Origin::named("a").await,
        Origin::named("b").await,
        Origin::named("c").await,
    );
    let balancer = Balancer::over(&[&a, &b, &c], "").await;
    let mut client = balancer.client().await;
    let mut served = String::new();
    for _ in 0..9 {
        served += &client.get("/").await.text();
    }
    assert_eq!(served, "abcabcabc");
    assert_eq!((a.connections(), a.requests().len()), (1, 3), "kept alive");
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let a = Origin::start(async |mut connection| {
        while let Ok(request) = connection.request().await {
            let body = request.target().to_owned();
            connection
                .send(format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                ))
                .await;
        }
    })
    .await;
    let balancer = Balancer::over(&[&a], "").await;
    let mut client = balancer.client().await;
    client
        .send(format!("{}{}{}", get("/1"), get("/2"), get("/3")))
        .await;
    for path in ["/1", "/2", "/3"] {
        assert_eq!(client.answer().await.text(), path);
    }
}

#[tokio::test]
async fn backend_gets_the_request_with_our_fields_and_without_hop_by_hop_ones() {
    let a = Origin::named("a").await;
    let balancer = Balancer::over(&[&a], "").await;
    let answer = balancer
        .ask(
            "GET /x?y=1 HTTP/1.1\r\nHost: example.org\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\n\
             TE: trailers\r\nX-Forwarded-For: 6.6.6.6\r\ntraceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n\
             X-Request-Id: mine\r\n\r\n",
        )
        .await;
    assert_eq!(answer.field("x-request-id"), Some("mine"));
    assert_eq!(answer.field("via"), Some("1.1 lemonade"));
    let request = a.request(1).await;
    assert_eq!((request.method(), request.target()), ("GET", "/x?y=1"));
    assert_eq!(request.field("host"), Some("example.org"));
    assert_eq!(
        request.field("x-forwarded-for"),
        Some("127.0.0.1"),
        "the client's own word is not taken"
    );
    assert_eq!(request.field("x-forwarded-host"), Some("example.org"));
    assert_eq!(request.field("x-forwarded-proto"), Some("http"));
    assert_eq!(request.field("x-real-ip"), Some("127.0.0.1"));
    let port = balancer.app.listen().port().to_string();
    assert_eq!(request.field("x-forwarded-port"), Some(port.as_str()));
    assert!(
        request
            .field("traceparent")
            .unwrap()
            .starts_with("00-4bf92f")
    );
    for gone in ["connection", "x-hop", "keep-alive", "te"] {
        assert!(!request.has(gone), "{gone}");
    }
}

#[tokio::test]
async fn answer_loses_hop_by_hop_fields_too() {
    let a = Origin::answering(
        "HTTP/1.1 200 OK\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nX-Kept: 1\r\nContent-Length: 0\r\n\r\n",
    )
    .await;
    let answer = Balancer::over(&[&a], "").await.ask(&get("/")).await;
    assert!(answer.has("x-kept") && answer.has("x-request-id"));
    assert!(!answer.has("x-hop") && !answer.has("keep-alive") && !answer.has("connection"));
}

#[tokio::test]
async fn http_1_0_closes_unless_asked_to_stay() {
    let a = Origin::named("a").await;
    let balancer = Balancer::over(&[&a], "").await;
    let mut client = balancer.client().await;
    let answer = client.ask("GET / HTTP/1.0\r\n\r\n").await;
    assert_eq!(answer.field("connection"), Some("close"));
    client.closed().await;
    assert!(
        a.request(1).await.has("host"),
        "HTTP/1.1 to the backend needs one"
    );
    let mut client = balancer.client().await;
    for _ in 0..2 {
        let answer = client
            .ask("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            .await;
        assert_eq!(answer.field("connection"), Some("keep-alive"));
    }
}

#[tokio::test]
async fn answer_to_head_has_its_length_and_no_body() {
    let a = Origin::answering("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n").await;
    let balancer = Balancer::over(&[&a], "").await;
    let mut client = balancer.client().await;
    for _ in 0..2 {
        client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let answer = client.answer_to_head().await;
        assert_eq!(
            (answer.status(), answer.field("content-length")),
            (200, Some("5"))
        );
    }
    assert_eq!(a.connections(), 1);
}

#[tokio::test]
async fn upgrade_passes_bytes_both_ways() {
    let a = Origin::start(async |mut connection| {
        let request = connection.request().await.unwrap();
        assert_eq!(request.field("upgrade"), Some("websocket"));
        connection.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello").await;
        while let Ok(bytes) = connection.some().await {
            connection.send(bytes).await;
        }
    })
    .await;
    let balancer = Balancer::over(&[&a], "").await;
    let mut client = balancer.client().await;
    client
        .send("GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nfirst")
        .await;
    let head = client.head().await;
    assert_eq!(
        (head.status(), head.field("upgrade")),
        (101, Some("websocket"))
    );
    assert_eq!(client.exactly(10).await, b"hellofirst");
    client.send("echo").await;
    assert_eq!(client.exactly(4).await, b"echo");
    assert_eq!(balancer.in_flight(0), 1);
}

#[tokio::test]
async fn refused_upgrade_stays_http_and_unasked_one_is_a_bad_answer() {
    let a = Origin::named("no").await;
    let balancer = Balancer::over(&[&a], "").await;
    let mut client = balancer.client().await;
    let upgrade = "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    assert_eq!(client.ask(upgrade).await.text(), "no");
    assert_eq!(client.get("/").await.text(), "no");

    let a = Origin::answering(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    )
    .await;
    assert_eq!(
        Balancer::over(&[&a], "")
            .await
            .ask(&get("/"))
            .await
            .status(),
        502
    );
}
