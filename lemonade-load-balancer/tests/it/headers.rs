//! Which fields pass, which are rebuilt, and which end at the balancer.

use crate::balancer::{balancer, balancer_with};
use lemonade_load_balancer::config::Network;
use lemonade_test::{Message, Origin};

/// The request as a backend gets it, and the answer as the client does.
async fn passed(lines: &str) -> (Message, Message) {
    let origin = Origin::answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let balancer = balancer(&[&origin]);
    let answer = balancer
        .ask(format!(
            "GET /x?y=1 HTTP/1.1\r\nHost: shop.example:8080\r\n{lines}\r\n"
        ))
        .await;
    assert_eq!(answer.status(), 200);
    (origin.requests()[0].clone(), answer)
}

/// The answer as a client gets it.
async fn answered(lines: &str) -> Message {
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n{lines}\r\n");
    let origin = Origin::answering(answer).await;
    balancer(&[&origin]).get("/").await
}

fn values<'m>(message: &'m Message, name: &str) -> Vec<&'m str> {
    message.all(name).collect()
}

#[tokio::test]
async fn backend_is_told_who_asks_and_for_what() {
    let (request, _) = passed("").await;
    assert_eq!(request.start, "GET /x?y=1 HTTP/1.1");
    assert_eq!(values(&request, "host"), ["shop.example:8080"]);
    assert_eq!(values(&request, "x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(values(&request, "x-forwarded-proto"), ["http"]);
    assert_eq!(values(&request, "x-forwarded-host"), ["shop.example:8080"]);
    assert_eq!(values(&request, "x-real-ip"), ["127.0.0.1"]);
    assert_eq!(values(&request, "via"), ["1.1 lemonade"]);
    assert!(!request.has("forwarded"));
}

#[tokio::test]
async fn backend_is_told_the_port_that_clients_reach() {
    let origin = Origin::named("a").await;
    let balancer = balancer(&[&origin]);
    balancer.get("/").await;
    let port = balancer.app.listen().port().to_string();
    assert_eq!(values(&origin.requests()[0], "x-forwarded-port"), [port]);
}

#[tokio::test]
async fn untrusted_client_cannot_say_who_it_is() {
    let (request, _) = passed(
        "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Port: 6\r\n\
         X-Real-IP: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nx-forwarded-for: 6.6.6.7\r\n",
    )
    .await;
    assert_eq!(values(&request, "x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(values(&request, "x-forwarded-proto"), ["http"]);
    assert_eq!(values(&request, "x-forwarded-host"), ["shop.example:8080"]);
    assert_eq!(values(&request, "x-real-ip"), ["127.0.0.1"]);
    assert!(!request.has("forwarded"));
    assert!(!String::from_utf8_lossy(&request.head).contains("6.6.6"));
}

#[tokio::test]
async fn trusted_proxy_is_believed_and_added() {
    let origin = Origin::named("a").await;
    let balancer = balancer_with(&[&origin], |config| {
        let loopback = Network::new([127, 0, 0, 0].into(), 8).unwrap();
        config.headers.trusted_proxies = vec![loopback];
    });
    balancer
        .ask(
            "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.2.3.4, 5.6.7.8\r\nX-Forwarded-For: 9.9.9.9\r\n\
             X-Forwarded-Proto: https\r\nX-Forwarded-Host: front\r\nX-Forwarded-Port: 443\r\nX-Real-IP: 1.2.3.4\r\n\r\n",
        )
        .await;
    let request = &origin.requests()[0];
    assert_eq!(
        values(request, "x-forwarded-for"),
        ["1.2.3.4, 5.6.7.8, 9.9.9.9, 127.0.0.1"]
    );
    assert_eq!(values(request, "x-forwarded-proto"), ["https"]);
    assert_eq!(values(request, "x-forwarded-host"), ["front"]);
    assert_eq!(values(request, "x-forwarded-port"), ["443"]);
    assert_eq!(values(request, "x-real-ip"), ["1.2.3.4"]);
}

#[tokio::test]
async fn host_and_forwarded_can_be_configured() {
    let origin = Origin::named("a").await;
    let balancer = balancer_with(&[&origin], |config| {
        config.headers.host = Some("inner:81".to_owned());
        config.headers.forwarded = true;
    });
    balancer.ask("GET / HTTP/1.1\r\nHost: outer\r\n\r\n").await;
    let request = &origin.requests()[0];
    assert_eq!(values(request, "host"), ["inner:81"]);
    assert_eq!(values(request, "x-forwarded-host"), ["outer"]);
    assert_eq!(
        values(request, "forwarded"),
        ["for=127.0.0.1;proto=http;host=\"outer\""]
    );
}

#[tokio::test]
async fn request_id_of_the_client_is_kept_and_returned() {
    let (request, answer) = passed("X-Request-Id: abc-123\r\n").await;
    assert_eq!(values(&request, "x-request-id"), ["abc-123"]);
    assert_eq!(values(&answer, "x-request-id"), ["abc-123"]);
}

#[tokio::test]
async fn request_id_is_made_where_there_is_no_usable_one() {
    let long = format!("X-Request-Id: {}\r\n", "x".repeat(200));
    let mut made = Vec::new();
    for lines in ["", "X-Request-Id:\r\n", "X-Request-Id: a b\r\n", &long] {
        let (request, answer) = passed(lines).await;
        let ids = values(&request, "x-request-id");
        assert_eq!(ids.len(), 1, "{lines}");
        assert_eq!(ids[0].len(), 20, "{lines}");
        assert_eq!(values(&answer, "x-request-id"), ids);
        made.push(ids[0].to_owned());
    }
    made.sort();
    made.dedup();
    assert_eq!(made.len(), 4, "ids are unique");
}

#[tokio::test]
async fn connection_cannot_name_our_own_fields_away() {
    let (request, answer) = passed(
        "Connection: close, x-request-id, x-forwarded-for, x-real-ip, host, via\r\nX-Request-Id: abc\r\n",
    )
    .await;
    for name in ["host", "x-forwarded-for", "x-real-ip", "via"] {
        assert_eq!(values(&request, name).len(), 1, "{name}");
    }
    assert_eq!(values(&answer, "x-request-id").len(), 1);
    assert_eq!(
        values(&request, "x-request-id"),
        values(&answer, "x-request-id"),
        "backend and client know the request by one id"
    );
}

#[tokio::test]
async fn hop_by_hop_fields_of_a_request_stop_here() {
    let (request, _) = passed(
        "Connection: keep-alive, X-Secret\r\nConnection: x-second\r\nX-Secret: 1\r\nx-SECOND: 2\r\nKeep-Alive: timeout=9\r\n\
         Proxy-Connection: keep-alive\r\nTE: trailers\r\nUpgrade: websocket\r\nX-Stays: 3\r\n",
    )
    .await;
    for gone in [
        "connection",
        "x-secret",
        "x-second",
        "keep-alive",
        "proxy-connection",
        "te",
        "upgrade",
    ] {
        assert!(!request.has(gone), "{gone}");
    }
    assert_eq!(values(&request, "x-stays"), ["3"]);
}

#[tokio::test]
async fn hop_by_hop_fields_of_an_answer_stop_here() {
    let answer = answered(
        "Connection: X-Secret\r\nX-Secret: 1\r\nKeep-Alive: timeout=9\r\nProxy-Connection: close\r\nUpgrade: h2\r\nX-Stays: 3\r\n",
    )
    .await;
    for gone in [
        "connection",
        "x-secret",
        "keep-alive",
        "proxy-connection",
        "upgrade",
    ] {
        assert!(!answer.has(gone), "{gone}");
    }
    assert_eq!(values(&answer, "x-stays"), ["3"]);
    assert_eq!(values(&answer, "via"), ["1.1 lemonade"]);
}

#[tokio::test]
async fn connection_cannot_name_framing_away() {
    let origin = Origin::answering("HTTP/1.1 200 OK\r\nConnection: content-length, transfer-encoding\r\nContent-Length: 2\r\n\r\nok").await;
    let balancer = balancer(&[&origin]);
    let mut client = balancer.client().await;
    for _ in 0..2 {
        let answer = client
            .ask("POST / HTTP/1.1\r\nHost: a\r\nConnection: content-length, host\r\nContent-Length: 5\r\n\r\nhello")
            .await;
        assert_eq!(answer.text(), "ok");
    }
    assert!(
        origin
            .requests()
            .iter()
            .all(|request| request.text() == "hello")
    );
}

#[tokio::test]
async fn everything_else_passes_byte_for_byte() {
    let lines = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\ntracestate: a=1,b=2\r\n\
                 Cookie: a=1\r\nCookie: b=2\r\naCCept:  text/html ,*/*\r\nX-Empty:\r\nX-High: caf\u{e9}\r\nAuthorization: Basic eDp5\r\n";
    let (request, _) = passed(lines).await;
    let head = String::from_utf8_lossy(&request.head).into_owned();
    assert!(head.contains(lines), "{head}");

    let lines = "Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nServer: x\r\nX-Odd:   y\r\nDate: now\r\n";
    let answer = answered(lines).await;
    let head = String::from_utf8_lossy(&answer.head).into_owned();
    assert!(head.contains(lines), "{head}");
}

#[tokio::test]
async fn via_is_added_to_and_a_backends_request_id_is_kept() {
    let (request, _) = passed("Via: 1.0 front\r\n").await;
    assert_eq!(values(&request, "via"), ["1.0 front", "1.1 lemonade"]);
    let answer = answered("X-Request-Id: theirs\r\n").await;
    assert_eq!(values(&answer, "x-request-id"), ["theirs"]);
}

#[tokio::test]
async fn request_has_one_id_however_many_the_client_sent() {
    let (request, answer) = passed("X-Request-Id: first\r\nX-Request-Id: second\r\n").await;
    assert_eq!(values(&request, "x-request-id"), ["first"]);
    assert_eq!(values(&answer, "x-request-id"), ["first"]);
}

#[tokio::test]
async fn connection_that_names_too_much_is_refused() {
    // Every field is compared with every name: a head full of both would cost milliseconds.
    let origin = Origin::named("a").await;
    let balancer = balancer(&[&origin]);
    let naming = |count: usize| {
        let names = "x, ".repeat(count);
        format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nConnection: {names}\r\n\r\n")
    };
    assert_eq!(balancer.ask(naming(64)).await.status(), 200);
    assert_eq!(balancer.ask(naming(65)).await.status(), 431);
}

#[tokio::test]
async fn names_that_a_backend_may_take_for_ours_stop_here() {
    let (request, _) = passed(
        "X_Forwarded_For: 6.6.6.6\r\nx-forwarded_proto: https\r\nX_Real_IP: 6.6.6.6\r\nContent_Length: 5\r\n\
         Transfer_Encoding: chunked\r\nX_Request-Id: mine\r\n_: 1\r\nX_Own_Name: 2\r\nSec_Forwarded_For: 3\r\n",
    )
    .await;
    let underscored: Vec<&str> = request
        .fields
        .iter()
        .map(|(name, _)| name.as_str())
        .filter(|name| name.contains('_'))
        .collect();
    assert_eq!(underscored, ["_", "X_Own_Name", "Sec_Forwarded_For"]);
    assert_eq!(values(&request, "x-forwarded-for"), ["127.0.0.1"]);
}
