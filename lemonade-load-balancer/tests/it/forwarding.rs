//! One request after another: who gets it, and what comes back on the same connection.

use crate::balancer::{balancer, balancer_with, ok};
use lemonade_test::{Connection, Gate, Origin, until};

#[tokio::test]
async fn requests_of_one_connection_are_balanced_one_by_one() {
    let (a, b, c) = (
        Origin::named("a").await,
        Origin::named("b").await,
        Origin::named("c").await,
    );
    let balancer = balancer(&[&a, &b, &c]);
    let mut client = balancer.client().await;
    let mut served = String::new();
    for _ in 0..9 {
        served += &client.get("/").await.text();
    }
    assert_eq!(served, "abcabcabc");
    assert_eq!((a.connections(), a.requests().len()), (1, 3), "kept alive");
}

#[tokio::test]
async fn rotation_is_exact_over_connections_and_shards() {
    let (a, b) = (Origin::named("a").await, Origin::named("b").await);
    let balancer = balancer(&[&a, &b]);
    for _ in 0..20 {
        assert_eq!(balancer.get("/").await.status(), 200);
    }
    assert_eq!((a.requests().len(), b.requests().len()), (10, 10));
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let echo = async |mut connection: Connection| {
        while let Ok(request) = connection.request().await {
            connection.send(ok(request.target())).await;
        }
    };
    let (a, b) = (Origin::start(echo).await, Origin::start(echo).await);
    let balancer = balancer(&[&a, &b]);
    let mut client = balancer.client().await;
    let mut wire = String::new();
    for index in 0..50 {
        match index % 3 {
            0 => wire.push_str(&format!("GET /{index} HTTP/1.1\r\nHost: t\r\n\r\n")),
            // Without a length there is no body (RFC 9112 6.3).
            1 => wire.push_str(&format!("POST /{index} HTTP/1.1\r\nHost: t\r\n\r\n")),
            _ => wire.push_str(&format!(
                "POST /{index} HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\n\r\nGET "
            )),
        }
    }
    client.send(wire).await;
    for index in 0..50 {
        assert_eq!(client.answer().await.text(), format!("/{index}"));
    }
}

#[tokio::test]
async fn answer_to_head_keeps_its_length_and_has_no_body() {
    let origin = Origin::start(async |mut connection| {
        while let Ok(request) = connection.request().await {
            let answer = match request.method() {
                "HEAD" => "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n".to_owned(),
                _ => ok("next"),
            };
            connection.send(answer).await;
        }
    })
    .await;
    let balancer = balancer(&[&origin]);
    let mut client = balancer.client().await;
    client.send("HEAD / HTTP/1.1\r\nHost: t\r\n\r\n").await;
    let answer = client.answer_to_head().await;
    assert_eq!(answer.field("content-length"), Some("1000"));
    assert_eq!(client.get("/").await.text(), "next");
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn bodiless_statuses_leave_the_connection_usable() {
    for head in [
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 77\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\n\r\n",
        "HTTP/1.1 204\r\n\r\n",
    ] {
        let origin = Origin::answering(head).await;
        let balancer = balancer(&[&origin]);
        let mut client = balancer.client().await;
        for _ in 0..3 {
            let answer = client.get("/").await;
            assert_eq!(answer.status().to_string(), head[9..12]);
            assert!(!answer.has("transfer-encoding"), "{answer:?}");
            assert!(answer.start.ends_with(' ') || answer.start.len() > 13);
        }
        assert_eq!(origin.connections(), 1, "{head}");
    }
}

#[tokio::test]
async fn answers_of_any_status_pass_as_they_are() {
    for status in [
        "200 ",
        "201 Made",
        "301 Moved",
        "404 No",
        "418 Teapot",
        "500 Oh",
        "503 Busy",
        "599 X",
    ] {
        let origin =
            Origin::answering(format!("HTTP/1.1 {status}\r\nContent-Length: 1\r\n\r\nx")).await;
        let balancer = balancer(&[&origin]);
        let answer = balancer.get("/").await;
        assert_eq!(answer.start, format!("HTTP/1.1 {status}"));
        assert_eq!(answer.text(), "x");
    }
}

#[tokio::test]
async fn slow_answer_does_not_hold_up_other_clients() {
    let gate = Gate::shut();
    let held = gate.clone();
    let origin = Origin::start(move |mut connection: Connection| {
        let held = held.clone();
        async move {
            while let Ok(request) = connection.request().await {
                if request.target() == "/slow" {
                    held.passed().await;
                }
                connection.send(ok(request.target())).await;
            }
        }
    })
    .await;
    let balancer = balancer(&[&origin]);
    let mut slow = Vec::new();
    for _ in 0..8 {
        let mut client = balancer.client().await;
        client.send("GET /slow HTTP/1.1\r\nHost: t\r\n\r\n").await;
        slow.push(client);
    }
    origin.request(8).await;
    assert_eq!(balancer.in_flight(0), 8);
    for _ in 0..20 {
        assert_eq!(balancer.get("/fast").await.text(), "/fast");
    }
    gate.open();
    for client in &mut slow {
        assert_eq!(client.answer().await.text(), "/slow");
    }
}

#[tokio::test]
async fn requests_that_arrive_byte_by_byte_are_served() {
    let origin = Origin::start(async |mut connection| {
        while let Ok(request) = connection.request().await {
            connection.send(ok(&request.text())).await;
        }
    })
    .await;
    let balancer = balancer(&[&origin]);
    let mut client = balancer.client().await;
    let request = "\r\nPOST /x HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    for _ in 0..2 {
        for byte in request.as_bytes() {
            client.send([*byte]).await;
            tokio::task::yield_now().await;
        }
        assert_eq!(client.answer().await.text(), "abc");
    }
}

#[tokio::test]
async fn request_after_one_that_closes_is_not_served() {
    let origin = Origin::named("a").await;
    let balancer = balancer(&[&origin]);
    for last in [
        "GET /last HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n",
        "GET /last HTTP/1.0\r\n\r\n",
    ] {
        let mut client = balancer.client().await;
        client
            .send(format!("{last}GET /after HTTP/1.1\r\nHost: t\r\n\r\n"))
            .await;
        let answer = client.answer().await;
        assert_eq!(answer.field("connection"), Some("close"));
        client.closed().await;
    }
    let requests = origin.requests();
    assert!(requests.iter().all(|request| request.target() == "/last"));
    assert_eq!(requests.len(), 2);
}

#[tokio::test]
async fn http_1_0_client_keeps_its_connection_if_it_asks_to() {
    let origin = Origin::named("a").await;
    let balancer = balancer(&[&origin]);
    let mut client = balancer.client().await;
    for _ in 0..3 {
        let answer = client
            .ask("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n")
            .await;
        assert_eq!(answer.field("connection"), Some("keep-alive"));
        assert_eq!(answer.text(), "a");
    }
    assert_eq!(client.ask("GET / HTTP/1.0\r\n\r\n").await.text(), "a");
    client.closed().await;
    assert_eq!(origin.requests()[0].start, "GET / HTTP/1.1");
}

#[tokio::test]
async fn chunks_that_are_only_declared_leave_the_connection_usable() {
    // RFC 9112 6.1: what the body of the same request by GET would have had.
    let origin = Origin::start(async |mut connection: Connection| {
        while let Ok(request) = connection.request().await {
            let answer = match request.target() {
                "/304" => {
                    "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned()
                }
                "/head" => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(),
                _ => ok("next"),
            };
            connection.send(answer).await;
        }
    })
    .await;
    // One shard, so that all clients share its connections.
    let balancer = balancer_with(&[&origin], |config| config.runtime.shards = 1);
    let mut client = balancer.client().await;
    for request in ["HEAD /head", "GET /304"] {
        client
            .send(format!("{request} HTTP/1.1\r\nHost: t\r\n\r\n"))
            .await;
        assert!(client.answer_to_head().await.has("transfer-encoding"));
        assert_eq!(client.get("/").await.text(), "next");
    }
    let mut old = balancer.client().await;
    old.send("HEAD /head HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        .await;
    assert!(!old.answer_to_head().await.has("transfer-encoding"));
    assert_eq!(old.get("/").await.text(), "next");
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn client_that_ends_its_sending_direction_has_left() {
    let gate = Gate::shut();
    let held = gate.clone();
    let origin = Origin::start(move |mut connection: Connection| {
        let held = held.clone();
        async move {
            if connection.request().await.is_ok() {
                connection.gone().await;
                held.open();
            }
        }
    })
    .await;
    let balancer = balancer(&[&origin]);
    let mut client = balancer.client().await;
    client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n").await;
    origin.request(1).await;
    client.finish().await;
    gate.passed().await;
    until("nothing is in flight", || balancer.in_flight(0) == 0).await;
}

#[tokio::test]
async fn client_that_ends_after_its_answer_is_closed_in_good_order() {
    let origin = Origin::named("a").await;
    let balancer = balancer(&[&origin]);
    let mut client = balancer.client().await;
    client.get("/").await;
    client.finish().await;
    client.closed().await;
    assert_eq!(origin.open(), 1, "the backend's connection is kept");
}
