//! 1xx answers: passed on, counted, and never mistaken for the answer.

use crate::balancer::{balancer, ok};
use lemonade_test::{Connection, Origin, until};

const EXPECTING: &str =
    "POST / HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
const HINTS: &str = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n";

#[tokio::test]
async fn expectation_is_met_by_the_backend() {
    let origin = Origin::start(async |mut connection: Connection| {
        while let Ok(mut request) = connection.head().await {
            assert_eq!(request.field("expect"), Some("100-continue"));
            connection.send("HTTP/1.1 100 Continue\r\n\r\n").await;
            if connection.body(&mut request).await.is_ok() {
                connection.send(ok(&request.text())).await;
            }
        }
    })
    .await;
    let balancer = balancer(&[&origin]);
    let mut client = balancer.client().await;
    for _ in 0..3 {
        client.send(EXPECTING).await;
        assert_eq!(client.answer().await.status(), 100);
        client.send("hello").await;
        let answer = client.answer().await;
        assert_eq!((answer.status(), answer.text().as_str()), (200, "hello"));
    }
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn expectation_refused_by_the_backend_ends_the_connection_cleanly() {
    for status in ["417 Expectation Failed", "413 Content Too Large"] {
        let origin = Origin::start(move |mut connection: Connection| async move {
            if connection.head().await.is_ok() {
                let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nno");
                connection.send(answer).await;
                connection.gone().await;
            }
        })
        .await;
        let balancer = balancer(&[&origin]);
        let mut client = balancer.client().await;
        client.send(EXPECTING).await;
        let answer = client.answer().await;
        assert_eq!(answer.start, format!("HTTP/1.1 {status}"));
        assert_eq!(answer.text(), "no");
        // The body was not sent, so nothing on this connection can be told apart from it.
        assert_eq!(answer.field("connection"), Some("close"));
        client.closed().await;
        drop(client);
        assert_eq!(balancer.get("/").await.text(), "no");
        assert_eq!(origin.connections(), 2, "nor can it on the backend's");
    }
}

#[tokio::test]
async fn client_that_does_not_wait_for_an_ignored_expectation_is_served() {
    let origin = Origin::start(async |mut connection: Connection| {
        while let Ok(request) = connection.request().await {
            connection.send(ok(&request.text())).await;
        }
    })
    .await;
    let balancer = balancer(&[&origin]);
    let mut client = balancer.client().await;
    client.send(EXPECTING).await;
    until("the backend is asked", || origin.connections() == 1).await;
    client.send("hello").await;
    assert_eq!(client.answer().await.text(), "hello");
    // And one that sends all at once.
    client.send(format!("{EXPECTING}hello")).await;
    assert_eq!(client.answer().await.text(), "hello");
}

#[tokio::test]
async fn early_hints_pass_and_are_not_the_answer() {
    let origin = Origin::answering(format!("{HINTS}{HINTS}{}", ok("final"))).await;
    let balancer = balancer(&[&origin]);
    let mut client = balancer.client().await;
    for _ in 0..3 {
        client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n").await;
        for _ in 0..2 {
            let hints = client.answer().await;
            assert_eq!(hints.status(), 103);
            assert_eq!(hints.field("link"), Some("</a.css>"));
            assert!(!hints.has("content-length") && !hints.has("connection"));
        }
        assert_eq!(client.answer().await.text(), "final");
    }
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn hints_reach_the_client_before_the_answer_is_ready() {
    let gate = lemonade_test::Gate::shut();
    let held = gate.clone();
    let origin = Origin::start(move |mut connection: Connection| {
        let held = held.clone();
        async move {
            if connection.request().await.is_ok() {
                connection.send(HINTS).await;
                held.passed().await;
                connection.send(ok("final")).await;
            }
        }
    })
    .await;
    let balancer = balancer(&[&origin]);
    let mut client = balancer.client().await;
    client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n").await;
    assert_eq!(client.answer().await.status(), 103);
    gate.open();
    assert_eq!(client.answer().await.text(), "final");
}

#[tokio::test]
async fn http_1_0_client_gets_no_interim_answer() {
    let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n";
    let origin = Origin::answering(format!("{interim}{HINTS}{}", ok("final"))).await;
    let balancer = balancer(&[&origin]);
    let answer = balancer.ask("GET / HTTP/1.0\r\n\r\n").await;
    assert_eq!((answer.status(), answer.text().as_str()), (200, "final"));
}

#[tokio::test]
async fn endless_interim_answers_are_cut_short() {
    let origin = Origin::start(async |mut connection: Connection| {
        if connection.request().await.is_ok() {
            while connection.send(HINTS).await {
                tokio::task::yield_now().await;
            }
        }
    })
    .await;
    let balancer = balancer(&[&origin]);
    let mut client = balancer.client().await;
    client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n").await;
    let mut hints = 0;
    loop {
        let answer = client.answer().await;
        match answer.status() {
            103 => hints += 1,
            status => {
                assert_eq!(status, 502);
                break;
            }
        }
    }
    assert!(hints <= 100, "{hints}");
    let unseen = balancer.ask("GET / HTTP/1.0\r\n\r\n").await;
    assert_eq!(unseen.status(), 502);
    until("the backend is let go", || origin.open() == 0).await;
}

#[tokio::test]
async fn backend_that_closes_after_an_interim_answer_is_not_waited_for() {
    let origin = Origin::start(async |mut connection: Connection| {
        if connection.request().await.is_ok() {
            connection.send(HINTS).await;
        }
    })
    .await;
    let balancer = balancer(&[&origin]);
    let mut client = balancer.client().await;
    client
        .send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n")
        .await;
    assert_eq!(client.answer().await.status(), 103);
    assert_eq!(client.answer().await.status(), 502);
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn expectation_of_an_http_1_0_client_is_ignored() {
    let origin = Origin::named("a").await;
    let balancer = balancer(&[&origin]);
    let answer = balancer
        .ask("POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello")
        .await;
    assert_eq!(answer.status(), 200);
    // RFC 9110 10.1.1. It goes up as HTTP/1.1, where the field would mean something.
    assert!(!origin.requests()[0].has("expect"));
}

#[tokio::test]
async fn interim_answer_says_nothing_of_a_body() {
    let interim = "HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\nConnection: X-Hop\r\nX-Hop: 1\r\nUpgrade: x\r\nLink: </a>\r\n\r\n";
    let origin = Origin::answering(format!("{interim}{}", ok("final"))).await;
    let balancer = balancer(&[&origin]);
    let mut client = balancer.client().await;
    let hints = client.get("/").await;
    for gone in ["content-length", "connection", "x-hop", "upgrade"] {
        assert!(!hints.has(gone), "{gone}");
    }
    assert!(hints.has("link"));
    assert_eq!(client.answer().await.text(), "final");
}
