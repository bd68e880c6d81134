//! Who would get a request, foretold and then tried; and a sample of the picks that were made.

use crate::balancer::{Balancer, balancer_with, ok};
use lemonade_load_balancer::backend::State;
use lemonade_load_balancer::config::{Key, Sticky};
use lemonade_load_balancer::outlier::Rules;
use lemonade_load_balancer::strategy::Name;
use lemonade_test::{Connection, Message, Origin, PATIENCE};
use serde_json::{Value, json};
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

fn json_of(answer: &Message) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}

async fn explain(balancer: &Balancer, asked: Value) -> Value {
    let answer = balancer
        .admin("POST /api/v1/explain", &asked.to_string())
        .await;
    assert_eq!(answer.status(), 200, "{answer:?}");
    json_of(&answer)
}

/// Asks until the answer is as it should be.
async fn explain_until(balancer: &Balancer, asked: Value, is_so: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let told = explain(balancer, asked.clone()).await;
        if is_so(&told) {
            return told;
        }
        assert!(begun.elapsed() < PATIENCE, "{told}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn of<'r>(report: &'r Value, origin: &Origin) -> &'r Value {
    let name = origin.address().to_string();
    let mut backends = report["backends"].as_array().unwrap().iter();
    backends
        .find(|backend| backend["name"] == name.as_str())
        .unwrap()
}

/// Answers with its status and name, each time after `takes`.
async fn origin(name: &'static str, status: u16, takes: Duration) -> Origin {
    Origin::start(move |mut connection: Connection| async move {
        while connection.request().await.is_ok() {
            tokio::time::sleep(takes).await;
            connection
                .send(ok(name).replace("200", &status.to_string()))
                .await;
        }
    })
    .await
}

#[tokio::test]
async fn slow_backend_is_ranked_behind_the_fast_one() {
    let fast = origin("fast", 200, Duration::ZERO).await;
    let slow = origin("slow", 200, Duration::from_millis(60)).await;
    let balancer = balancer_with(&[&slow, &fast], |config| config.strategy = Name::LeastDelay);
    let mut client = balancer.client().await;
    for _ in 0..20 {
        assert_eq!(client.get("/").await.status(), 200);
    }
    let told = explain_until(&balancer, json!({ "url": "/" }), |told| {
        of(told, &slow)["score"].as_f64() > of(told, &fast)["score"].as_f64()
    })
    .await;
    assert_eq!(told["picked"], fast.address().to_string());
    assert_eq!(
        (&of(&told, &fast)["rank"], &of(&told, &slow)["rank"]),
        (&1.into(), &2.into())
    );
    assert!(
        told["why"]
            .as_str()
            .unwrap()
            .starts_with("the lowest of 2, "),
        "{told}"
    );
    let terms = of(&told, &slow)["terms"].as_array().unwrap();
    assert!(terms.iter().any(|term| term["name"] == "cost_seconds"));
}

#[tokio::test]
async fn ejected_backend_says_why_and_for_how_long() {
    let bad = origin("bad", 500, Duration::ZERO).await;
    let good = origin("good", 200, Duration::ZERO).await;
    let balancer = balancer_with(&[&bad, &good], |config| {
        config.outlier = Some(Rules {
            eject: Duration::from_secs(600),
            max_eject: Duration::from_secs(600),
            ..Rules::default()
        });
    });
    let mut client = balancer.client().await;
    for _ in 0..10 {
        client.get("/").await;
    }
    balancer.reaches(&[State::Ejected, State::Healthy]).await;
    let told = explain(&balancer, json!({ "url": "/" })).await;
    let why = of(&told, &bad)["why"].as_str().unwrap().to_owned();
    assert!(
        why.starts_with("5 failures in a row; for another "),
        "{why}"
    );
    assert_eq!(of(&told, &bad)["eligible"], false);
    assert_eq!(told["picked"], good.address().to_string());
    let listed = json_of(&balancer.admin("GET /api/v1/backends", "").await);
    let listed = listed[0]["why"].as_str().unwrap();
    assert!(listed.starts_with("5 failures in a row"), "{listed}");
}

#[tokio::test]
async fn key_leads_where_the_request_then_goes() {
    let [a, b, c] = [
        Origin::named("a").await,
        Origin::named("b").await,
        Origin::named("c").await,
    ];
    for strategy in [Name::ConsistentHash, Name::Maglev] {
        let balancer = balancer_with(&[&a, &b, &c], |config| {
            config.strategy = strategy;
            config.affinity.key = Key::Header("X-User".to_owned());
        });
        for user in 0..20 {
            let headers = json!({ "x-user": user.to_string() });
            let told = explain(
                &balancer,
                json!({ "url": "http://h/x", "headers": headers }),
            )
            .await;
            assert_eq!(told["key"], "header X-User");
            let request = format!("GET /x HTTP/1.1\r\nHost: t\r\nX-User: {user}\r\n\r\n");
            let answered = balancer.ask(request).await.text();
            let by = [&a, &b, &c].into_iter().zip(["a", "b", "c"]);
            let by = by
                .filter(|(_, name)| *name == answered)
                .map(|(origin, _)| origin);
            let by: Vec<String> = by.map(|origin| origin.address().to_string()).collect();
            assert_eq!(told["picked"], by[0], "{strategy}, user {user}");
        }
    }
}

#[tokio::test]
async fn sticky_cookie_leads_where_the_request_then_goes() {
    let [a, b] = [Origin::named("a").await, Origin::named("b").await];
    let balancer = balancer_with(&[&a, &b], |config| config.sticky = Some(Sticky::default()));
    for (origin, name) in [(&a, "a"), (&b, "b")] {
        let answer = balancer.get("/").await;
        assert_eq!(answer.text(), name);
        let cookie = answer.field("set-cookie").unwrap();
        let cookie = cookie.split(';').next().unwrap();
        let told = explain(
            &balancer,
            json!({ "url": "/", "headers": { "Cookie": cookie } }),
        )
        .await;
        assert_eq!(told["picked"], origin.address().to_string());
        assert_eq!(told["why"], "its sticky cookie leads there");
    }
}

#[tokio::test]
async fn asking_does_not_move_the_rotation() {
    let [a, b, c] = [
        Origin::named("a").await,
        Origin::named("b").await,
        Origin::named("c").await,
    ];
    let balancer = balancer_with(&[&a, &b, &c], |config| config.strategy = Name::RoundRobin);
    assert_eq!(balancer.get("/").await.text(), "a");
    for _ in 0..100 {
        let told = explain(&balancer, json!({ "url": "/" })).await;
        assert_eq!(told["picked"], b.address().to_string());
    }
    assert_eq!(balancer.get("/").await.text(), "b");
}

async fn picks(balancer: &Balancer, limit: usize) -> Vec<Value> {
    let call = format!("GET /api/v1/explain/picks?limit={limit}");
    let answer = json_of(&balancer.admin(&call, "").await);
    answer["picks"].as_array().unwrap().clone()
}

#[tokio::test]
async fn sampled_picks_are_kept_newest_first_with_what_they_went_by() {
    let [a, b] = [Origin::named("a").await, Origin::named("b").await];
    let balancer = balancer_with(&[&a, &b], |config| {
        config.strategy = Name::RoundRobin;
        config.runtime.shards = 1;
        config.engine.trace_sample = NonZeroU32::new(1);
    });
    for name in ["a", "b", "a"] {
        assert_eq!(balancer.get("/").await.text(), name);
    }
    let begun = Instant::now();
    let kept = loop {
        let kept = picks(&balancer, 10).await;
        if kept.len() == 3 {
            break kept;
        }
        assert!(begun.elapsed() < PATIENCE, "{kept:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    let [first, second] = [&a, &b].map(|origin| origin.address().to_string());
    let picked: Vec<&str> = kept
        .iter()
        .map(|pick| pick["picked"].as_str().unwrap())
        .collect();
    assert_eq!(picked, [&first, &second, &first]);
    let newest = &kept[0];
    assert_eq!(
        (&newest["of"], &newest["why"]),
        (&2.into(), &"its turn".into())
    );
    let best = &newest["candidates"][0];
    assert_eq!(
        (&best["picked"], &best["terms"][0]["name"]),
        (&true.into(), &"turns_until".into())
    );
    assert_eq!(best["terms"][0]["value"], 0.0, "as it was, not as it is");
    assert!(kept[0]["time"].as_str() > kept[1]["time"].as_str());
    assert_eq!(picks(&balancer, 1).await[..], kept[..1]);
}

#[tokio::test]
async fn more_samples_than_there_is_room_for_are_dropped_and_counted() {
    let a = Origin::named("a").await;
    let balancer = balancer_with(&[&a], |config| {
        config.runtime.shards = 1;
        config.engine.trace_sample = NonZeroU32::new(1);
    });
    let mut client = balancer.client().await;
    let begun = Instant::now();
    while balancer.metric("lemonade_pick_traces_dropped_total").await == 0.0 {
        for _ in 0..500 {
            assert_eq!(client.get("/").await.status(), 200);
        }
        assert!(begun.elapsed() < PATIENCE);
    }
    assert!(picks(&balancer, 1000).await.len() <= 256);
}
