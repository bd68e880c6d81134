//! Requests that may go only so far, and requests that go round in a circle.

use crate::balancer::{Balancer, balancer, balancer_at, balancer_with, ok};
use lemonade_load_balancer::config::AccessLog;
use lemonade_test::{Connection, Origin, until};

/// An origin that answers with the `Max-Forwards` that it was sent.
async fn telling() -> Origin {
    Origin::start(async |mut connection: Connection| {
        while let Ok(request) = connection.request().await {
            let told: Vec<&str> = request.all("max-forwards").collect();
            connection.send(ok(&told.join("|"))).await;
        }
    })
    .await
}

async fn ask(balancer: &Balancer, method: &str, lines: &str) -> lemonade_test::Message {
    let request = format!("{method} /x HTTP/1.1\r\nHost: t\r\n{lines}\r\n");
    balancer.ask(request).await
}

#[tokio::test]
async fn trace_that_goes_no_further_gets_its_request_without_credentials() {
    let origin = telling().await;
    let balancer = balancer(&[&origin]);
    let mut client = balancer.client().await;
    for _ in 0..2 {
        let answer = client
            .ask(
                "TRACE /x?y HTTP/1.1\r\nHost: t\r\nMax-Forwards: 0\r\nCookie: a=1\r\nX-Odd:  b\r\nauthorization: Basic eDp5\r\n\
                 Proxy-Authorization: Basic eDp5\r\n\r\n",
            )
            .await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.field("content-type"), Some("message/http"));
        assert_eq!(
            answer.text(),
            "TRACE /x?y HTTP/1.1\r\nHost: t\r\nMax-Forwards: 0\r\nX-Odd:  b\r\n\r\n"
        );
        assert!(answer.has("x-request-id"));
    }
    let bare = balancer
        .ask("TRACE / HTTP/1.0\r\nMax-Forwards: 00\r\n\r\n")
        .await;
    assert_eq!(bare.text(), "TRACE / HTTP/1.0\r\nMax-Forwards: 00\r\n\r\n");
    assert_eq!(bare.field("connection"), Some("close"));
    assert_eq!(origin.connections(), 0);
}

#[tokio::test]
async fn options_that_goes_no_further_is_told_what_passes_here() {
    let origin = telling().await;
    let balancer = balancer(&[&origin]);
    let mut client = balancer.client().await;
    for target in ["*", "/x", "http://t"] {
        let answer = client
            .ask(format!(
                "OPTIONS {target} HTTP/1.1\r\nHost: t\r\nMax-Forwards: 0\r\n\r\n"
            ))
            .await;
        assert_eq!(answer.status(), 204);
        assert!(answer.field("allow").unwrap().contains("OPTIONS"));
        assert!(!answer.has("content-length"));
    }
    assert_eq!(origin.connections(), 0);
}

#[tokio::test]
async fn body_of_a_request_that_goes_no_further_is_never_the_next_request() {
    let origin = telling().await;
    let balancer = balancer(&[&origin]);
    let mut client = balancer.client().await;
    let body = "GET /evil HTTP/1.1\r\nHost: t\r\n\r\n";
    client
        .send(format!(
            "OPTIONS / HTTP/1.1\r\nHost: t\r\nMax-Forwards: 0\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))
        .await;
    let answer = client.answer().await;
    assert_eq!(answer.field("connection"), Some("close"));
    client.closed().await;
    assert_eq!(origin.connections(), 0);
}

#[tokio::test]
async fn forwards_that_are_left_are_counted_down() {
    let origin = telling().await;
    let balancer = balancer(&[&origin]);
    for (method, sent, passed) in [
        ("TRACE", "1", "0"),
        ("OPTIONS", "10", "9"),
        ("OPTIONS", "007", "6"),
        // The largest that we know.
        ("TRACE", "99999999999999999999999", "4294967294"),
        // Other methods may ignore it, whatever it says.
        ("GET", "0", "0"),
        ("POST", "x", "x"),
        ("options", "0", "0"),
    ] {
        let answer = ask(&balancer, method, &format!("Max-Forwards: {sent}\r\n")).await;
        assert_eq!((answer.status(), answer.text().as_str()), (200, passed));
    }
    assert_eq!(ask(&balancer, "OPTIONS", "").await.text(), "");
}

#[tokio::test]
async fn forwards_that_are_no_number_are_refused() {
    let origin = telling().await;
    let balancer = balancer(&[&origin]);
    for lines in [
        "Max-Forwards:\r\n",
        "Max-Forwards: x\r\n",
        "Max-Forwards: -1\r\n",
        "Max-Forwards: 0, 0\r\n",
        "Max-Forwards: 1\r\nMax-Forwards: 1\r\n",
    ] {
        let answer = ask(&balancer, "TRACE", lines).await;
        assert_eq!(answer.status(), 400, "{lines}");
    }
    assert_eq!(origin.connections(), 0);
}

#[tokio::test]
async fn request_that_goes_in_a_circle_ends() {
    // Two balancers that are each other's only backend.
    let far = balancer_at(&["127.0.0.1:1".parse().unwrap()], |_| {});
    let near = balancer_at(&[far.app.listen()], |_| {});
    let add = format!("{{\"address\": \"{}\"}}", near.app.listen());
    let added = far.admin("POST /api/v1/backends", &add).await;
    assert!(added.status() < 300, "{added:?}");
    let first = far.admin("DELETE /api/v1/backends/127.0.0.1:1", "").await;
    assert!(first.status() < 300, "{first:?}");
    let answer = near.get("/").await;
    assert_eq!(answer.status(), 508);
    let why = answer.field("proxy-status").unwrap();
    assert!(why.contains("error=proxy_loop_detected"), "{why}");
}

#[tokio::test]
async fn chain_of_balancers_is_no_circle() {
    let origin = Origin::named("end").await;
    let mut chain = vec![balancer(&[&origin])];
    for _ in 0..4 {
        let next = chain[chain.len() - 1].app.listen();
        chain.push(balancer_at(&[next], |_| {}));
    }
    assert_eq!(chain[4].get("/").await.text(), "end");
    assert_eq!(origin.requests()[0].all("via").count(), 5);
}

#[tokio::test]
async fn only_our_own_name_counts_however_it_is_written() {
    let origin = Origin::named("a").await;
    let balancer = balancer(&[&origin]);
    let five = "1.1 lemonade, 1.0 lemonade, HTTP/1.1 lemonade (edge),1.1\tlemonade,, 1.1 lemonade";
    let others = "1.1 lemonade.example, 1.1 other (lemonade), lemonade 1.1, 1.1 xlemonade";
    let lines = format!("Via: {five}\r\nX: y\r\nvia: {others}\r\n");
    let mut client = balancer.client().await;
    let request = |lines: &str| format!("GET / HTTP/1.1\r\nHost: t\r\n{lines}\r\n");
    assert_eq!(client.ask(request(&lines)).await.status(), 200);
    let six = format!("{lines}Via: 1.1 lemonade\r\n");
    assert_eq!(client.ask(request(&six)).await.status(), 508);
    // The connection is a proxy's, with other clients' requests to come.
    assert_eq!(client.ask(request("")).await.status(), 200);
    assert_eq!(origin.requests().len(), 2);
}

#[tokio::test]
async fn circle_is_logged_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let origin = Origin::named("a").await;
    let balancer = balancer_with(&[&origin], |config| {
        config.access_log = AccessLog {
            file: Some(path.clone()),
            sample: 1.0,
            ..config.access_log.clone()
        };
    });
    let via = "Via: 1.1 lemonade\r\n".repeat(6);
    assert_eq!(ask(&balancer, "GET", &via).await.status(), 508);
    let logged = || std::fs::read_to_string(&path).unwrap_or_default();
    until("a line is logged", || {
        logged().contains("\"flag\":\"loop\"")
    })
    .await;
    assert!(logged().contains("\"status\":508"), "{}", logged());
}
