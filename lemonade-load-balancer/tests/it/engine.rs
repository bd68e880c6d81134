//! The engine at work: rules, orders by hand, advice, the switch that kills it, a source outside.

use crate::balancer::{Balancer, balancer_of_file, balancer_with, ok};
use lemonade_load_balancer::config::{Config, PrometheusConfig, PrometheusUrl};
use lemonade_load_balancer::decision::{Mode, Rule};
use lemonade_load_balancer::strategy::Name;
use lemonade_test::{Client, Message, Origin, until};
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use tokio::task::JoinHandle;

fn json(answer: &Message) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}

/// `adaptive` with the shortest cool-down and one rule.
fn adaptive(config: &mut Config, when: &str, picks: Name) {
    config.strategy = Name::Adaptive;
    config.outlier = None;
    config.engine.settings.cooldown = Duration::from_secs(1);
    config.engine.settings.rules = vec![Rule {
        name: "own".to_owned(),
        when: when.parse().unwrap(),
        picks,
    }];
}

fn picks(balancer: &Balancer) -> Name {
    balancer.app.published().load().picks_by
}

async fn until_picks(balancer: &Balancer, name: Name) {
    until(format!("{name} picks"), || picks(balancer) == name).await;
}

async fn decisions(balancer: &Balancer) -> Vec<Value> {
    let answer = json(&balancer.admin("GET /api/v1/decisions", "").await);
    answer["decisions"].as_array().unwrap().clone()
}

/// Waits for the first decision.
async fn decision(balancer: &Balancer) -> Value {
    let begun = std::time::Instant::now();
    loop {
        if let Some(newest) = decisions(balancer).await.first() {
            return newest.clone();
        }
        assert!(begun.elapsed() < lemonade_test::PATIENCE, "no decision");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Answers 500 for as long as it is told to, then 200.
async fn failing(fails: &Arc<AtomicBool>) -> Origin {
    let fails = fails.clone();
    Origin::start(move |mut connection| {
        let fails = fails.clone();
        async move {
            while connection.request().await.is_ok() {
                let answer = match fails.load(Relaxed) {
                    true => "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n".to_owned(),
                    false => ok("well"),
                };
                connection.send(answer).await;
            }
        }
    })
    .await
}

/// Requests one after the other until it is aborted.
fn load(balancer: &Balancer) -> JoinHandle<()> {
    let address = balancer.app.listen();
    tokio::spawn(async move {
        let mut client = Client::connect(address).await;
        loop {
            client.get("/").await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
}

#[tokio::test]
async fn rule_on_errors_switches_and_is_explained() {
    let fails = Arc::new(AtomicBool::new(true));
    let origin = failing(&fails).await;
    let balancer = balancer_with(&[&origin], |config| {
        adaptive(config, "error_rate > 5%", Name::LeastConnections);
    });
    assert_eq!(picks(&balancer), Name::LeastDelay);
    let load = load(&balancer);
    until_picks(&balancer, Name::LeastConnections).await;
    let decision = decision(&balancer).await;
    assert_eq!(decision["from"], "least_delay");
    assert_eq!(decision["to"], "least_connections");
    assert_eq!(decision["rule"], "own");
    assert_eq!(decision["evidence"][0]["what"], "error_rate");
    assert_eq!(decision["evidence"][0]["value"], "100.0%");
    assert_eq!(decision["evidence"][0]["threshold"], "> 5%");
    assert!(decision["suppressed"].is_null() && decision["time"].is_string());
    let others = decision["alternatives"].as_array().unwrap();
    assert_eq!(others[1]["rejected"], "`own` calls for least_connections");
    let counted =
        "lemonade_decisions_total{from=\"least_delay\",to=\"least_connections\",rule=\"own\"}";
    balancer.metric_reaches(counted, 1.0).await;
    let info = "lemonade_strategy_info{strategy=\"least_connections\"}";
    assert_eq!(balancer.metric(info).await, 1.0);
    let status = json(&balancer.admin("GET /api/v1/strategy", "").await);
    assert_eq!(
        (&status["name"], &status["picks"]),
        (&"adaptive".into(), &"least_connections".into())
    );

    fails.store(false, Relaxed);
    until_picks(&balancer, Name::LeastDelay).await;
    assert_eq!(decisions(&balancer).await[0]["rule"], "rule_over");
    load.abort();
}

#[tokio::test]
async fn order_by_hand_holds_at_once_and_ends_with_its_time() {
    let origin = Origin::named("a").await;
    let balancer = balancer_with(&[&origin], |config| {
        adaptive(config, "usable >= 1", Name::RoundRobin);
        config.engine.settings.cooldown = Duration::from_secs(3600);
    });
    until_picks(&balancer, Name::RoundRobin).await;
    let order = "{\"name\": \"random\", \"ttl\": \"1h\"}";
    let status = json(&balancer.admin("PUT /api/v1/strategy", order).await);
    assert_eq!(
        (&status["name"], &status["picks"]),
        (&"random".into(), &"random".into())
    );
    assert_eq!(status["configured"], "adaptive");
    assert!(status["override_left_seconds"].as_f64().unwrap() > 3500.0);
    balancer
        .metric_reaches("lemonade_decisions_suppressed_total{why=\"by_hand\"}", 1.0)
        .await;
    assert_eq!(picks(&balancer), Name::Random);

    let order = "{\"name\": \"random\", \"ttl\": \"200ms\"}";
    balancer.admin("PUT /api/v1/strategy", order).await;
    until_picks(&balancer, Name::LeastDelay).await;
    let status = json(&balancer.admin("GET /api/v1/strategy", "").await);
    assert_eq!(status["name"], "adaptive");
    assert!(status["override_left_seconds"].is_null());
    let left = status["cooldown_left_seconds"].as_f64().unwrap();
    assert!(left > 3500.0, "the cool-down begins anew: {left}");

    balancer
        .admin("PUT /api/v1/strategy", "{\"name\": \"random\"}")
        .await;
    assert_eq!(picks(&balancer), Name::Random);
    balancer
        .admin("PUT /api/v1/strategy", "{\"name\": \"auto\"}")
        .await;
    assert_eq!(picks(&balancer), Name::LeastDelay);
}

#[tokio::test]
async fn time_that_makes_no_sense_is_refused() {
    let origin = Origin::named("a").await;
    let balancer = balancer_with(&[&origin], |_| {});
    for (call, body) in [
        (
            "PUT /api/v1/strategy",
            "{\"name\": \"random\", \"ttl\": \"soon\"}",
        ),
        (
            "PUT /api/v1/strategy",
            "{\"name\": \"random\", \"ttl\": \"0\"}",
        ),
        (
            "PUT /api/v1/strategy",
            "{\"name\": \"auto\", \"ttl\": \"1m\"}",
        ),
        (
            "PUT /api/v1/strategy?persist=true",
            "{\"name\": \"random\", \"ttl\": \"1m\"}",
        ),
    ] {
        let answer = balancer.admin(call, body).await;
        assert_eq!(answer.status(), 400, "{body}: {}", answer.text());
    }
}

#[tokio::test]
async fn adviser_says_what_it_would_do() {
    let origin = Origin::named("a").await;
    let balancer = balancer_with(&[&origin], |config| {
        adaptive(config, "usable >= 1", Name::RoundRobin);
        config.engine.settings.mode = Mode::Advise;
    });
    let decision = decision(&balancer).await;
    assert_eq!(decision["to"], "round_robin");
    assert_eq!(decision["suppressed"], "advise");
    assert_eq!(picks(&balancer), Name::LeastDelay);
}

#[tokio::test]
async fn engine_is_switched_off_by_the_configuration() {
    let origin = Origin::named("a").await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lb.yaml");
    let write = |engine: &str| {
        let address = origin.address();
        let text = format!(
            "listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\nhealth: off\nstrategy: adaptive\nbackends: [\"{address}\"]\nengine: {engine}\n"
        );
        std::fs::write(&path, text).unwrap();
    };
    write("{ cooldown: 1s, rules: [{ when: usable >= 1, use: random }] }");
    let balancer = balancer_of_file(&path);
    until_picks(&balancer, Name::Random).await;
    write("off");
    assert_eq!(
        balancer.admin("POST /api/v1/reload", "").await.status(),
        200
    );
    assert_eq!(picks(&balancer), Name::LeastDelay);
    assert_eq!(
        balancer.app.published().load().strategy_name,
        Name::Adaptive
    );
}

#[tokio::test]
async fn figure_from_outside_feeds_a_rule_until_it_is_stale() {
    let fails = Arc::new(AtomicBool::new(false));
    let told = fails.clone();
    let prometheus = Origin::start(move |mut connection| {
        let fails = told.clone();
        async move {
            while connection.request().await.is_ok() && !fails.load(Relaxed) {
                let body = r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"42"]}]}}"#;
                connection.send(ok(body)).await;
            }
        }
    })
    .await;
    let origin = Origin::named("a").await;
    let balancer = balancer_with(&[&origin], |config| {
        adaptive(config, "external.age > 30", Name::PowerOfTwo);
        config.engine.prometheus = vec![PrometheusConfig {
            name: "age".to_owned(),
            url: PrometheusUrl::parse(&format!("http://{}/p", prometheus.address())).unwrap(),
            query: "max(age)".to_owned(),
            interval: Duration::from_millis(100),
            timeout: Duration::from_secs(1),
            stale: Duration::from_secs(1),
        }];
    });
    until_picks(&balancer, Name::PowerOfTwo).await;
    let asked = prometheus.request(1).await;
    assert!(asked.target() == "/p/api/v1/query?query=max%28age%29");
    let decision = decision(&balancer).await;
    assert_eq!(decision["evidence"][0]["value"], "42");
    fails.store(true, Relaxed);
    until_picks(&balancer, Name::LeastDelay).await;
}
