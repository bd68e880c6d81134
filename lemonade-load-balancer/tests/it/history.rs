//! The last quarter of an hour, second by second, as the admin API tells it.

use crate::balancer::{Balancer, balancer, balancer_with};
use lemonade_test::{Client, Message, Origin};
use serde_json::Value;
use std::time::{Duration, Instant};

fn json(answer: &Message) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}

async fn asked(balancer: &Balancer, path: &str) -> Value {
    let answer = balancer.admin(&format!("GET /api/v1{path}"), "").await;
    assert_eq!(answer.status(), 200, "{path}: {answer:?}");
    json(&answer)
}

fn sum(samples: &Value, of: impl Fn(&Value) -> u64) -> u64 {
    samples.as_array().unwrap().iter().map(of).sum()
}

/// The history, once it has counted so many requests.
async fn counted(balancer: &Balancer, requests: u64) -> Value {
    let begun = Instant::now();
    loop {
        let history = asked(balancer, "/history").await["samples"].clone();
        let seen = sum(&history, |sample| sample["requests"].as_u64().unwrap());
        if seen >= requests {
            return history;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{seen} counted");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn seconds_add_up_to_what_was_served() {
    let (a, b) = (Origin::named("a").await, Origin::named("b").await);
    let broken = Origin::answering("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n").await;
    let balancer = balancer_with(&[&a, &b, &broken], |config| config.outlier = None);
    let mut client = balancer.client().await;
    for _ in 0..30 {
        client.get("/").await;
    }
    let history = counted(&balancer, 30).await;
    let classes = |class: usize| sum(&history, |at| at["classes"][class].as_u64().unwrap());
    assert_eq!((classes(1), classes(4)), (20, 10));
    assert_eq!(sum(&history, |at| at["requests"].as_u64().unwrap()), 30);
    let ids = history.as_array().unwrap().iter();
    let ids: Vec<u64> = ids.map(|at| at["id"].as_u64().unwrap()).collect();
    assert!(ids.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{ids:?}");

    let name = a.address().to_string();
    let series = asked(
        &balancer,
        &format!("/history/backends?name={name}&seconds=900"),
    )
    .await;
    assert_eq!(series["backends"].as_array().unwrap().len(), 1);
    let column = &series["backends"][0]["requests"];
    assert_eq!(sum(column, |at| at.as_u64().unwrap_or(0)), 10);
    let seconds = series["last"].as_u64().unwrap() - series["first"].as_u64().unwrap() + 1;
    assert_eq!(column.as_array().unwrap().len() as u64, seconds);

    let busy = |at: &&Value| at["requests"] != 0;
    let busiest = history.as_array().unwrap().iter().find(busy).unwrap();
    let full = asked(&balancer, &format!("/history/{}", busiest["id"])).await;
    assert_eq!(full["requests"], busiest["requests"]);
    assert!(full["p99_seconds"].as_f64().unwrap() >= full["p50_seconds"].as_f64().unwrap());
    let backends = full["backends"].as_array().unwrap();
    assert_eq!(backends.len(), 3);
    let shares: f64 = backends
        .iter()
        .map(|it| it["share"].as_f64().unwrap())
        .sum();
    assert!((shares - 1.0).abs() < 1e-9, "{shares}");
    assert!(backends[0]["p50_seconds"].as_f64().unwrap() > 0.0);
    let errors = &asked(&balancer, "/history/backends").await["backends"][2]["errors"];
    assert_eq!(sum(errors, |at| at.as_u64().unwrap_or(0)), 10);
}

#[tokio::test]
async fn who_watches_gets_each_second() {
    let a = Origin::named("a").await;
    let balancer = balancer(&[&a]);
    let admin = balancer.app.admin().unwrap();
    let mut watcher = Client::connect(admin).await;
    watcher
        .send(format!(
            "GET /api/v1/live HTTP/1.1\r\nHost: {admin}\r\n\r\n"
        ))
        .await;
    assert_eq!(
        watcher.head().await.field("content-type"),
        Some("text/event-stream")
    );
    let mut text = String::new();
    let samples = loop {
        text.push_str(&String::from_utf8(watcher.some().await.unwrap()).unwrap());
        let lines = text.lines().filter_map(|line| line.strip_prefix("data: "));
        let samples: Vec<Value> = lines
            .filter_map(|data| serde_json::from_str(data).ok())
            .collect();
        if samples.len() == 2 {
            break samples;
        }
    };
    assert!(text.contains("event: sample\n"), "{text}");
    let id = |sample: &Value| sample["id"].as_u64().unwrap();
    assert_eq!(id(&samples[0]) + 1, id(&samples[1]));
    assert_eq!(samples[1]["backends"][0]["name"], a.address().to_string());
    assert_eq!(samples[1]["strategy"], "round_robin");
}

#[tokio::test]
async fn what_is_not_there_is_said() {
    let a = Origin::named("a").await;
    let balancer = balancer(&[&a]);
    for (path, status) in [
        ("/history/99999999", 404),
        ("/history/0", 404),
        ("/history/yesterday", 400),
        ("/history?seconds=-1", 400),
        ("/history?minutes=1", 400),
    ] {
        let answer = balancer.admin(&format!("GET /api/v1{path}"), "").await;
        assert_eq!(answer.status(), status, "{path}");
        assert_eq!(json(&answer)["status"], status, "{path}");
    }
    let none = asked(&balancer, "/history/backends?name=nobody").await;
    assert_eq!(none["backends"], serde_json::json!([]));
}
