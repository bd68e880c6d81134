//! How many connections, how they are kept, and how they end.

use crate::balancer::{Balancer, get};
use lemonade_test::{Gate, Origin, until};
use std::sync::Arc;

#[tokio::test]
async fn connection_too_many_is_told_so() {
    let a = Origin::named("a").await;
    let balancer = Balancer::over(&[&a], "limits: { max_connections: 2 }").await;
    let mut first = balancer.client().await;
    let mut second = balancer.client().await;
    first.get("/").await;
    second.get("/").await;
    let mut third = balancer.client().await;
    third.send(get("/")).await;
    let answer = third.answer().await;
    assert_eq!(
        (answer.status(), answer.field("retry-after")),
        (503, Some("1"))
    );
    third.closed().await;
    drop((first, third));
    // A place is free as soon as the balancer has seen the first one leave.
    loop {
        if balancer.ask(&get("/")).await.status() == 200 {
            break;
        }
    }
}

#[tokio::test]
async fn drain_finishes_what_is_in_flight_and_closes_what_is_idle() {
    let gate = Arc::new(Gate::shut());
    let passed = gate.clone();
    let a = Origin::start(move |mut connection| {
        let gate = passed.clone();
        async move {
            while let Ok(request) = connection.request().await {
                if request.target() == "/slow" {
                    gate.passed().await;
                }
                connection
                    .send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na")
                    .await;
            }
        }
    })
    .await;
    let balancer = Balancer::over(&[&a], "").await;
    let (listen, admin) = (balancer.app.listen(), balancer.app.admin().unwrap());
    let mut idle = balancer.client().await;
    idle.get("/").await;
    let mut busy = balancer.client().await;
    busy.send(get("/slow")).await;
    a.request(2).await;
    let stopping = tokio::spawn(balancer.app.shut_down(std::future::pending()));
    idle.closed().await;
    let ready = lemonade_test::Client::connect(admin)
        .await
        .get("/ready")
        .await;
    assert_eq!(ready.status(), 503);
    until("nobody is let in", || {
        std::net::TcpStream::connect(listen).is_err()
    })
    .await;
    gate.open();
    let answer = busy.answer().await;
    assert_eq!(
        (answer.text().as_str(), answer.field("connection")),
        ("a", Some("close"))
    );
    assert!(stopping.await.unwrap(), "drained");
}

#[tokio::test]
async fn second_signal_cuts_the_drain_short() {
    let a = Origin::start(async |mut connection| {
        let _ = connection.request().await;
        connection.gone().await;
    })
    .await;
    let balancer = Balancer::over(&[&a], "").await;
    let mut client = balancer.client().await;
    client.send(get("/")).await;
    a.request(1).await;
    assert!(!balancer.app.shut_down(std::future::ready(())).await);
    assert!(client.try_answer().await.is_err());
}
