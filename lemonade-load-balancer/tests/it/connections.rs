//! How connections are kept, on either side, and how they end.

use crate::balancer::{GET, balancer, balancer_with, ok};
use lemonade_load_balancer::backend::State;
use lemonade_test::{Client, Connection, Origin, until};
use std::time::Duration;

const SHORT: Duration = Duration::from_millis(150);
const POST: &str = "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\n\r\nbody";

#[tokio::test]
async fn http_1_0_client_gets_one_answer_and_a_close() {
    let origin = Origin::named("a").await;
    let balancer = balancer(&[&origin]);
    let mut client = balancer.client().await;
    let answer = client.ask("GET / HTTP/1.0\r\n\r\n").await;
    assert_eq!((answer.status(), answer.text().as_str()), (200, "a"));
    assert_eq!(answer.field("connection"), Some("close"));
    client.closed().await;
    let request = &origin.requests()[0];
    assert_eq!(request.start, "GET / HTTP/1.1");
    assert_eq!(request.all("host").count(), 1, "HTTP/1.1 requires a Host");
}

#[tokio::test]
async fn http_1_0_client_that_asks_to_keep_its_connection_may() {
    let origin = Origin::named("a").await;
    let balancer = balancer(&[&origin]);
    let mut client = balancer.client().await;
    for _ in 0..3 {
        let answer = client
            .ask("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            .await;
        assert_eq!(answer.field("connection"), Some("keep-alive"));
        assert_eq!(answer.text(), "a");
    }
}

#[tokio::test]
async fn connection_close_of_the_client_is_obeyed_and_stays_between_the_two() {
    let origin = Origin::named("a").await;
    let balancer = balancer(&[&origin]);
    for _ in 0..2 {
        let mut client = balancer.client().await;
        let answer = client
            .ask("GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n")
            .await;
        assert_eq!(answer.field("connection"), Some("close"));
        client.closed().await;
    }
    assert!(
        origin
            .requests()
            .iter()
            .all(|request| !request.has("connection"))
    );
}

#[tokio::test]
async fn connection_close_of_a_backend_does_not_reach_the_client() {
    let origin = Origin::start(async |mut connection: Connection| {
        if connection.request().await.is_ok() {
            let answer = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\na";
            connection.send(answer).await;
        }
    })
    .await;
    let balancer = balancer(&[&origin]);
    let mut client = balancer.client().await;
    for _ in 0..5 {
        let answer = client.get("/").await;
        assert_eq!((answer.status(), answer.has("connection")), (200, false));
    }
    assert_eq!(origin.connections(), 5);
}

#[tokio::test]
async fn client_that_hangs_up_frees_the_backend() {
    let origin = Origin::start(async |mut connection: Connection| {
        if connection.request().await.is_ok() {
            connection.gone().await;
        }
    })
    .await;
    let balancer = balancer(&[&origin]);
    let leave: [fn(Client); 2] = [drop, Client::reset];
    for (round, leave) in leave.into_iter().enumerate() {
        let mut client = balancer.client().await;
        client.send(GET).await;
        origin.request(round + 1).await;
        assert_eq!(balancer.in_flight(0), 1);
        leave(client);
        until("nothing is in flight", || balancer.in_flight(0) == 0).await;
        until("the backend's connection is closed", || origin.open() == 0).await;
    }
}

#[tokio::test]
async fn unused_backend_connections_are_closed() {
    let origin = Origin::named("a").await;
    let balancer = balancer_with(&[&origin], |config| config.timeouts.upstream_idle = SHORT);
    assert_eq!(balancer.get("/").await.status(), 200);
    until("the backend is let go", || origin.open() == 0).await;
}

#[tokio::test]
async fn client_that_never_speaks_is_closed_in_silence() {
    let origin = Origin::named("a").await;
    let balancer = balancer_with(&[&origin], |config| {
        config.timeouts.request_header = SHORT;
        config.timeouts.idle = SHORT;
    });
    let mut client = balancer.client().await;
    client.closed().await;

    let mut client = balancer.client().await;
    for _ in 0..3 {
        assert_eq!(client.get("/").await.status(), 200);
    }
    client.closed().await;
}

#[tokio::test]
async fn idle_connection_that_a_backend_closed_is_never_an_error() {
    // Answers as a server whose keep-alive ends just now: no `Connection: close`, and gone.
    let origin = Origin::start(async |mut connection: Connection| {
        if let Ok(request) = connection.request().await {
            connection.send(ok(&request.text())).await;
        }
    })
    .await;
    let balancer = balancer(&[&origin]);
    let mut client = balancer.client().await;
    for round in 1..=200 {
        // Its close may be on its way while we ask: GET must not notice.
        assert_eq!(client.get("/").await.status(), 200, "round {round}");
    }
    for round in 1..=100 {
        // Its close has arrived before we ask: POST must not notice either.
        until("the backend has closed", || origin.open() == 0).await;
        assert_eq!(client.ask(POST).await.text(), "body", "round {round}");
    }
    assert_eq!(balancer.states(), [State::Healthy], "nobody is blamed");
}

#[tokio::test]
async fn backend_that_closes_just_before_the_next_request_is_never_an_error() {
    let close = tokio::sync::watch::Sender::new(0);
    let orders = close.clone();
    let origin = Origin::start(move |mut connection: Connection| {
        let mut orders = orders.subscribe();
        async move {
            loop {
                tokio::select! {
                    request = connection.request() => match request {
                        Ok(request) => drop(connection.send(ok(&request.text())).await),
                        Err(_) => return,
                    },
                    _ = orders.changed() => return,
                }
            }
        }
    })
    .await;
    let balancer = balancer(&[&origin]);
    let mut client = balancer.client().await;
    for round in 0..100 {
        assert_eq!(client.ask(POST).await.text(), "body", "round {round}");
        close.send_replace(round);
        until("the backend has closed", || origin.open() == 0).await;
    }
    assert_eq!(origin.connections(), 100);
}
