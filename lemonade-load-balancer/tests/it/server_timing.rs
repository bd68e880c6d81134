//! Clients that are told what their answer's time was spent on.

use crate::balancer::{GET, Nobody, balancer, balancer_at, balancer_with};
use lemonade_load_balancer::config::Hedge;
use lemonade_test::{Connection, Gate, Message, Origin, PATIENCE, until};
use std::time::{Duration, Instant};

/// The parts that an answer tells, in milliseconds.
fn told(answer: &Message) -> Vec<(String, f64)> {
    let field = answer.all("server-timing").last().unwrap().to_owned();
    let part = |part: &str| {
        let (name, time) = part.split_once(";dur=").unwrap();
        (name.to_owned(), time.parse().unwrap())
    };
    field.split(", ").map(part).collect()
}

fn of(answer: &Message, name: &str) -> f64 {
    let told = told(answer);
    let found = told.iter().find(|(part, _)| part == name);
    found.unwrap_or_else(|| panic!("no {name} in {told:?}")).1
}

#[tokio::test]
async fn clients_are_told_where_the_time_went_if_they_are_to_be() {
    let interim = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    let answer = "HTTP/1.1 200 OK\r\nServer-Timing: db;dur=1\r\nContent-Length: 0\r\n\r\n";
    let origin = Origin::answering(format!("{interim}{answer}")).await;
    let silent = balancer(&[&origin]);
    let mut client = silent.client().await;
    client.send(GET).await;
    client.head().await;
    assert_eq!(client.answer().await.all("server-timing").count(), 1);

    let telling = balancer_with(&[&origin], |config| config.headers.server_timing = true);
    let mut client = telling.client().await;
    let begun = Instant::now();
    client.send(GET).await;
    assert!(!client.head().await.has("server-timing"), "not on 103");
    let answer = client.answer().await;
    let waited = begun.elapsed().as_secs_f64() * 1e3;
    assert_eq!(answer.all("server-timing").next(), Some("db;dur=1"));
    let told = told(&answer);
    let names: Vec<&str> = told.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["connect", "lemonade", "backend"]);
    let all: f64 = told.iter().map(|(_, time)| time).sum();
    assert!(all <= waited && of(&answer, "connect") > 0.0, "{told:?}");

    // Over the connection that is kept, it was sent on at once.
    client.send(GET).await;
    client.head().await;
    let names = self::told(&client.answer().await);
    assert_eq!(names.len(), 1, "{names:?}");
}

#[tokio::test]
async fn time_in_the_queue_and_of_lost_attempts_is_told_apart() {
    let gate = Gate::shut();
    let origin = Origin::behind(&gate, "late").await;
    let balancer = balancer_with(&[&origin], |config| {
        config.headers.server_timing = true;
        config.backends[0].max_in_flight = Some(1);
        config.timeouts.queue = PATIENCE;
    });
    let (mut first, mut second) = (balancer.client().await, balancer.client().await);
    first.send(GET).await;
    origin.request(1).await;
    second.send(GET).await;
    until("one waits", || balancer.app.queued() == 1).await;
    gate.open();
    let first = told(&first.answer().await);
    assert!(first.iter().all(|(name, _)| name != "queue"), "{first:?}");
    assert!(of(&second.answer().await, "queue") > 0.0);

    let (nobody, good) = (Nobody::new(), Origin::named("good").await);
    let addresses = [nobody.address(), good.address()];
    let balancer = balancer_at(&addresses, |config| config.headers.server_timing = true);
    assert!(of(&balancer.get("/").await, "retry") > 0.0);
}

#[tokio::test]
async fn wait_for_a_copy_that_won_is_no_overhead() {
    let gate = Gate::shut();
    let passed = gate.clone();
    let late = Origin::start(move |mut connection: Connection| {
        let gate = passed.clone();
        async move {
            let _ = connection.request().await;
            gate.passed().await;
        }
    })
    .await;
    let quick = Origin::named("quick").await;
    let balancer = balancer_with(&[&late, &quick], |config| {
        config.headers.server_timing = true;
        config.hedge = Some(Hedge {
            after: Duration::from_millis(50),
            budget: 1.0,
        });
    });
    let answer = balancer.get("/").await;
    assert_eq!(answer.text(), "quick");
    assert!(of(&answer, "retry") >= 49.0, "{:?}", told(&answer));
    gate.open();
}
