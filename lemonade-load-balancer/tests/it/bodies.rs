//! Bodies in both directions and every framing: whole, or visibly not.

use crate::balancer::{balancer, ok};
use lemonade_test::{Broken, Connection, Gate, Origin, until};

#[tokio::test]
async fn chunked_bodies_pass_both_ways_with_their_trailers() {
    let origin = Origin::start(async |mut connection: Connection| {
        while let Ok(request) = connection.request().await {
            let answer = format!(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n{:x};ext=1\r\n{}\r\n0\r\nX-Sum: 7\r\nContent-Length: 9\r\n\r\n",
                request.body.len(),
                request.text()
            );
            connection.send(answer).await;
        }
    })
    .await;
    let balancer = balancer(&[&origin]);
    let mut client = balancer.client().await;
    for _ in 0..3 {
        let answer = client
            .ask("POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nhel\r\n002\r\nlo\r\n0\r\nX-Up: 1\r\nHost: evil\r\n\r\n")
            .await;
        assert_eq!(answer.text(), "hello");
        assert_eq!(answer.trailers, [("X-Sum".to_owned(), "7".to_owned())]);
        assert_eq!(answer.field("trailer"), Some("X-Sum"));
    }
    let request = &origin.requests()[0];
    assert_eq!(request.trailers, [("X-Up".to_owned(), "1".to_owned())]);
    assert!(!request.has("content-length"));
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn chunk_extensions_stop_here() {
    let wire = "5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n";
    let origin = Origin::start(async |mut connection: Connection| {
        if connection.head().await.is_ok()
            && let Ok(got) = connection.exactly(wire.len()).await
        {
            connection.send(ok(&got.escape_ascii().to_string())).await;
        }
    })
    .await;
    let balancer = balancer(&[&origin]);
    let answer = balancer
        .ask("POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n5;ext=1\r\nhello\r\n1;x\r\n!\r\n0;y\r\n\r\n")
        .await;
    assert_eq!(answer.text(), wire.as_bytes().escape_ascii().to_string());
}

#[tokio::test]
async fn pieces_of_a_body_pass_as_they_come() {
    let gates = [Gate::shut(), Gate::shut()];
    let held = gates.clone();
    let origin = Origin::start(move |mut connection: Connection| {
        let held = held.clone();
        async move {
            while connection.request().await.is_ok() {
                connection
                    .send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                    .await;
                held[0].passed().await;
                connection.send("3\r\none\r\n").await;
                held[1].passed().await;
                connection.send("0\r\n\r\n").await;
            }
        }
    })
    .await;
    let balancer = balancer(&[&origin]);
    let mut client = balancer.client().await;
    client.send("GET / HTTP/1.1\r\nHost: t\r\n\r\n").await;
    assert_eq!(client.head().await.status(), 200, "the head alone");
    gates[0].open();
    assert_eq!(client.exactly(8).await, b"3\r\none\r\n");
    assert_eq!(balancer.in_flight(0), 1, "in flight until the last byte");
    gates[1].open();
    assert_eq!(client.exactly(5).await, b"0\r\n\r\n");
    until("nothing is in flight", || balancer.in_flight(0) == 0).await;
}

#[tokio::test]
async fn answer_that_ends_by_closing_becomes_chunked() {
    for head in [
        "HTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.0 200 OK\r\nServer: old\r\n\r\n",
    ] {
        let origin = Origin::start(move |mut connection: Connection| async move {
            if connection.request().await.is_ok() {
                connection.send(head).await;
                connection.send("hello ").await;
                connection.send("world").await;
            }
        })
        .await;
        let balancer = balancer(&[&origin]);
        let mut client = balancer.client().await;
        for _ in 0..3 {
            let answer = client.get("/").await;
            assert_eq!(answer.field("transfer-encoding"), Some("chunked"));
            assert_eq!(answer.text(), "hello world");
        }
        assert_eq!(origin.connections(), 3);

        let mut old = balancer.client().await;
        let answer = old
            .ask("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            .await;
        assert!(!answer.has("transfer-encoding"));
        assert_eq!(answer.field("connection"), Some("close"));
        assert_eq!(answer.text(), "hello world");
    }
}

#[tokio::test]
async fn http_1_0_client_gets_a_chunked_answer_without_chunks() {
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x\r\n world\r\n0\r\nX-T: 1\r\n\r\n",
    )
    .await;
    let balancer = balancer(&[&origin]);
    let answer = balancer.ask("GET / HTTP/1.0\r\n\r\n").await;
    assert!(!answer.has("transfer-encoding"));
    assert_eq!(answer.text(), "hello world");
}

/// An origin that sends this and closes.
async fn closing_after(bytes: &'static str) -> Origin {
    Origin::start(move |mut connection: Connection| async move {
        if connection.request().await.is_ok() {
            connection.send(bytes).await;
        }
    })
    .await
}

const CUT: [&str; 5] = [
    "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\nhello",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
];

#[tokio::test]
async fn answer_that_broke_off_is_never_a_clean_end() {
    for answer in CUT {
        let origin = closing_after(answer).await;
        let balancer = balancer(&[&origin]);
        let got = balancer
            .client()
            .await
            .try_answer_to("GET / HTTP/1.1\r\nHost: t\r\n\r\n")
            .await;
        assert!(
            matches!(got, Err(Broken::Reset(_))),
            "{got:?} for {answer:?}"
        );
        // Where the end is told by closing, only a reset tells the difference.
        let got = balancer
            .client()
            .await
            .try_answer_to("GET / HTTP/1.0\r\n\r\n")
            .await;
        assert!(
            matches!(got, Err(Broken::Reset(_))),
            "{got:?} for {answer:?}"
        );
    }
}

#[tokio::test]
async fn close_delimited_answer_that_is_reset_is_never_a_clean_end() {
    let gate = Gate::shut();
    let held = gate.clone();
    let origin = Origin::start(move |mut connection: Connection| {
        let held = held.clone();
        async move {
            if connection.request().await.is_ok() {
                connection.send("HTTP/1.1 200 OK\r\n\r\nhalf").await;
                held.passed().await;
                connection.reset();
            }
        }
    })
    .await;
    let balancer = balancer(&[&origin]);
    let mut clients = Vec::new();
    for version in ["1.1", "1.0"] {
        let mut client = balancer.client().await;
        client
            .send(format!("GET / HTTP/{version}\r\nHost: t\r\n\r\n"))
            .await;
        assert_eq!(client.head().await.status(), 200);
        clients.push(client);
    }
    gate.open();
    for client in &mut clients {
        let end = loop {
            match client.some().await {
                Ok(bytes) if bytes.is_empty() => break Ok(()),
                Ok(_) => {}
                Err(broken) => break Err(broken),
            }
        };
        assert!(matches!(end, Err(Broken::Reset(_))), "{end:?}");
    }
}

#[tokio::test]
async fn request_body_that_breaks_off_is_never_whole_at_the_backend() {
    let origin = Origin::named("a").await;
    let balancer = balancer(&[&origin]);
    for (round, request) in [
        "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
    ]
    .into_iter()
    .enumerate()
    {
        let mut client = balancer.client().await;
        client.send(request).await;
        until("the backend is asked", || origin.connections() == round + 1).await;
        drop(client);
        until("the backend is let go", || origin.open() == 0).await;
    }
    assert!(origin.requests().is_empty());
    until("nothing is in flight", || balancer.in_flight(0) == 0).await;
}

#[tokio::test]
async fn backend_that_answers_and_closes_without_reading_is_heard() {
    let origin = Origin::start(async |mut connection: Connection| {
        if connection.head().await.is_ok() {
            connection
                .send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
                .await;
            connection.finish().await;
            connection.gone().await;
        }
    })
    .await;
    let balancer = balancer(&[&origin]);
    for _ in 0..10 {
        let mut client = balancer.client().await;
        client
            .send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 500000\r\n\r\n")
            .await;
        let answer = client.try_answer_to(vec![0; 500_000]).await;
        let answer = answer.unwrap_or_else(|broken| panic!("{broken:?}"));
        assert_eq!((answer.status(), answer.text().as_str()), (403, "no"));
    }
}

#[tokio::test]
async fn answer_that_goes_bad_after_its_beginning_is_never_a_clean_end() {
    for rest in ["none\r\n0\r\n\r\n", "0\r\nbad trailer\r\n\r\n"] {
        let gate = Gate::shut();
        let held = gate.clone();
        let origin = Origin::start(move |mut connection: Connection| {
            let held = held.clone();
            async move {
                if connection.request().await.is_ok() {
                    connection
                        .send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
                        .await;
                    held.passed().await;
                    connection.send(rest).await;
                    connection.gone().await;
                }
            }
        })
        .await;
        let balancer = balancer(&[&origin]);
        let mut clients = Vec::new();
        for version in ["1.1", "1.0"] {
            let mut client = balancer.client().await;
            client
                .send(format!("GET / HTTP/{version}\r\nHost: t\r\n\r\n"))
                .await;
            assert_eq!(client.head().await.status(), 200);
            clients.push(client);
        }
        gate.open();
        for client in &mut clients {
            let end = loop {
                match client.some().await {
                    Ok(bytes) if bytes.is_empty() => break Ok(()),
                    Ok(_) => {}
                    Err(broken) => break Err(broken),
                }
            };
            assert!(
                matches!(end, Err(Broken::Reset(_))),
                "{end:?} after {rest:?}"
            );
        }
        until("the backend is let go", || origin.open() == 0).await;
    }
}

#[tokio::test]
async fn trailers_that_could_change_how_a_message_is_read_stop_here() {
    const TRAILERS: &str = "Content-Length: 9\r\nTransfer-Encoding: chunked\r\nHost: evil\r\nConnection: close\r\n\
        Trailer: X\r\nContent-Type: text/html\r\nContent-Encoding: gzip\r\nContent-Range: bytes 0-1/2\r\n\
        Authorization: Basic eDp5\r\ncookie: a=1\r\nSet-Cookie: b=2\r\nProxy-Authorization: x\r\nMax-Forwards: 1\r\n\
        Cache-Control: public\r\nExpires: 0\r\nLocation: http://evil/\r\nIf-Match: x\r\nRange: bytes=0-\r\n\
        X-Forwarded-For: 6.6.6.6\r\nX-Sum: 7\r\ngrpc-status: 0\r\nETag: \"e\"\r\n";
    let origin = Origin::start(async |mut connection: Connection| {
        while connection.request().await.is_ok() {
            let answer =
                format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n{TRAILERS}\r\n");
            connection.send(answer).await;
        }
    })
    .await;
    let balancer = balancer(&[&origin]);
    let answer = balancer
        .ask(format!(
            "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n{TRAILERS}\r\n"
        ))
        .await;
    let names = |trailers: &[(String, String)]| -> Vec<String> {
        trailers.iter().map(|(name, _)| name.clone()).collect()
    };
    assert_eq!(names(&answer.trailers), ["X-Sum", "grpc-status", "ETag"]);
    assert_eq!(
        names(&origin.requests()[0].trailers),
        ["X-Sum", "grpc-status", "ETag"]
    );
}
