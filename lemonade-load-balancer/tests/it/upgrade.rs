//! Connections that leave HTTP behind.

use crate::balancer::{GET, balancer, ok};
use lemonade_test::{Connection, Origin, until};

const UPGRADE: &str = "GET /chat HTTP/1.1\r\nHost: t\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n";
const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: y\r\n\r\n";

/// Switches, with a greeting in the same write, then echoes until the client ends.
async fn switching(mut connection: Connection) {
    if connection.request().await.is_err() {
        return;
    }
    connection.send(format!("{SWITCHED}hello ")).await;
    while let Ok(bytes) = connection.some().await {
        if bytes.is_empty() || !connection.send(bytes).await {
            return;
        }
    }
}

#[tokio::test]
async fn upgraded_connection_carries_bytes_both_ways() {
    let origin = Origin::start(switching).await;
    let balancer = balancer(&[&origin]);
    let mut client = balancer.client().await;
    // Bytes sent together with the head belong to the new protocol.
    client.send(format!("{UPGRADE}early ")).await;
    let answer = client.head().await;
    assert_eq!(answer.status(), 101);
    assert_eq!(answer.field("upgrade"), Some("websocket"));
    assert_eq!(answer.field("connection"), Some("upgrade"));
    assert_eq!(answer.field("sec-websocket-accept"), Some("y"));
    assert_eq!(client.exactly(12).await, b"hello early ");
    for round in 0..20 {
        let ping = vec![round; 5000];
        client.send(&ping).await;
        assert_eq!(client.exactly(5000).await, ping);
    }
    let request = &origin.requests()[0];
    assert_eq!(request.field("upgrade"), Some("websocket"));
    assert_eq!(request.field("connection"), Some("upgrade"));
    assert_eq!(balancer.in_flight(0), 1);
    client.finish().await;
    client.closed().await;
    until("nothing is in flight", || balancer.in_flight(0) == 0).await;
}

#[tokio::test]
async fn backend_that_ends_an_upgraded_connection_ends_the_clients() {
    let origin = Origin::start(async |mut connection: Connection| {
        if connection.request().await.is_ok() {
            connection.send(format!("{SWITCHED}bye")).await;
        }
    })
    .await;
    let balancer = balancer(&[&origin]);
    let mut client = balancer.client().await;
    client.send(UPGRADE).await;
    assert_eq!(client.head().await.status(), 101);
    assert_eq!(client.rest().await, b"bye");
}

#[tokio::test]
async fn refused_upgrade_stays_http() {
    let origin = Origin::named("plain").await;
    let balancer = balancer(&[&origin]);
    let mut client = balancer.client().await;
    for _ in 0..3 {
        let answer = client.ask(UPGRADE).await;
        assert_eq!((answer.status(), answer.text().as_str()), (200, "plain"));
        assert_eq!(client.get("/").await.text(), "plain");
    }
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn switch_that_nobody_asked_for_is_502() {
    let origin = Origin::answering(format!("{SWITCHED}{}", ok("evil"))).await;
    let balancer = balancer(&[&origin]);
    let mut client = balancer.client().await;
    for round in 1..=2 {
        assert_eq!(client.ask(GET).await.status(), 502);
        assert_eq!(origin.connections(), round);
    }
}

#[tokio::test]
async fn http_2_upgrades_are_not_passed_on() {
    let origin = Origin::named("plain").await;
    let balancer = balancer(&[&origin]);
    for protocol in ["h2c", "H2C", "websocket, h2c", "h2c, websocket"] {
        let answer = balancer
            .ask(format!(
                "GET / HTTP/1.1\r\nHost: t\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: {protocol}\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
            ))
            .await;
        assert_eq!(answer.status(), 200);
    }
    for request in origin.requests() {
        for gone in ["upgrade", "http2-settings", "connection"] {
            assert!(!request.has(gone), "{gone} in {request:?}");
        }
    }
    assert_eq!(origin.requests().len(), 4);
}

#[tokio::test]
async fn upgrade_field_without_the_connection_option_is_no_upgrade() {
    let origin = Origin::named("plain").await;
    let balancer = balancer(&[&origin]);
    balancer
        .ask("GET / HTTP/1.1\r\nHost: t\r\nUpgrade: websocket\r\n\r\n")
        .await;
    balancer
        .ask("GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
        .await;
    assert_eq!(origin.requests().len(), 2);
    assert!(
        origin
            .requests()
            .iter()
            .all(|request| !request.has("upgrade"))
    );
}

#[tokio::test]
async fn body_of_an_upgrade_request_is_not_sent_twice() {
    let origin = Origin::start(switching).await;
    let balancer = balancer(&[&origin]);
    let mut client = balancer.client().await;
    client
        .send("POST / HTTP/1.1\r\nHost: t\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 4\r\n\r\nbodyframe")
        .await;
    assert_eq!(client.head().await.status(), 101);
    assert_eq!(client.exactly(11).await, b"hello frame");
    client.finish().await;
    client.closed().await;
    assert_eq!(origin.requests()[0].text(), "body");
}

/// What becomes of an upgrade that is answered like this.
async fn refused_switch(request: &str, answer: &'static str) {
    let origin = Origin::start(move |mut connection: Connection| async move {
        if connection.head().await.is_ok() {
            connection.send(answer).await;
            connection.gone().await;
        }
    })
    .await;
    let balancer = balancer(&[&origin]);
    let mut client = balancer.client().await;
    assert_eq!(client.ask(request).await.status(), 502, "{request:?}");
    until("the backend is let go", || origin.open() == 0).await;
}

#[tokio::test]
async fn switch_that_does_not_say_to_what_is_502() {
    refused_switch(UPGRADE, "HTTP/1.1 101 Switching Protocols\r\n\r\nevil").await;
    refused_switch(
        UPGRADE,
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: \r\n\r\nevil",
    )
    .await;
}

#[tokio::test]
async fn switch_in_the_middle_of_the_request_is_502() {
    // What is left of the body would be read as the new protocol.
    let begun = "POST / HTTP/1.1\r\nHost: t\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 10\r\n\r\nhalf";
    refused_switch(begun, SWITCHED).await;
}

#[tokio::test]
async fn upgrade_to_nothing_is_no_upgrade() {
    let origin = Origin::named("plain").await;
    let balancer = balancer(&[&origin]);
    for protocol in ["", ",", " , ,"] {
        let answer = balancer
            .ask(format!(
                "GET / HTTP/1.1\r\nHost: t\r\nConnection: upgrade\r\nUpgrade: {protocol}\r\n\r\n"
            ))
            .await;
        assert_eq!(answer.text(), "plain");
    }
    for request in origin.requests() {
        assert!(!request.has("upgrade") && !request.has("connection"));
    }
}

#[tokio::test]
async fn upgrade_that_is_required_is_said_with_its_option() {
    let origin = Origin::answering(
        "HTTP/1.1 426 Upgrade Required\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n",
    )
    .await;
    let balancer = balancer(&[&origin]);
    let mut client = balancer.client().await;
    for _ in 0..2 {
        let answer = client.ask(GET).await;
        assert_eq!(answer.field("upgrade"), Some("websocket"));
        // RFC 9110 7.8: a sender of Upgrade also sends this option.
        assert_eq!(answer.field("connection"), Some("upgrade"));
    }
    let closing = "GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n";
    let answer = client.ask(closing).await;
    assert_eq!(
        answer.all("connection").collect::<Vec<_>>(),
        ["upgrade", "close"]
    );
}
