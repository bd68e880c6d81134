//! The admin API, as its callers meet it.

use crate::balancer::{balancer, balancer_with};
use lemonade_load_balancer::strategy::Name;
use lemonade_test::{Client, Message, Origin};
use serde_json::Value;

fn json(answer: &Message) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}

#[tokio::test]
async fn strategy_is_changed_while_requests_run() {
    let (a, b) = (Origin::named("a").await, Origin::named("b").await);
    let balancer = balancer(&[&a, &b]);
    let mut client = balancer.client().await;
    let before = json(&balancer.admin("GET /api/v1/strategy", "").await);
    assert_eq!(before["name"], "round_robin");
    for name in Name::ALL {
        let order = format!("{{\"name\": \"{}\"}}", name.as_str());
        let answer = balancer.admin("PUT /api/v1/strategy", &order).await;
        assert_eq!(answer.status(), 200);
        let status = json(&answer);
        assert_eq!(status["name"], name.as_str());
        let picks = match name {
            Name::Adaptive => "least_delay",
            other => other.as_str(),
        };
        assert_eq!(status["picks"], picks);
        let info = format!("lemonade_strategy_info{{strategy=\"{picks}\"}}");
        assert_eq!(balancer.metric(&info).await, 1.0);
        for _ in 0..4 {
            assert_eq!(client.get("/").await.status(), 200, "{}", name.as_str());
        }
    }
}

#[tokio::test]
async fn strategy_that_is_none_is_refused_with_those_that_are() {
    let a = Origin::named("a").await;
    let balancer = balancer(&[&a]);
    let answer = balancer
        .admin("PUT /api/v1/strategy", "{\"name\": \"rond_robin\"}")
        .await;
    assert_eq!(answer.status(), 400);
    assert_eq!(
        answer.field("content-type"),
        Some("application/problem+json")
    );
    let problem = json(&answer);
    let detail = problem["detail"].as_str().unwrap_or_default();
    for name in Name::ALL {
        assert!(
            detail.contains(name.as_str()),
            "{} in {detail}",
            name.as_str()
        );
    }
    let answer = balancer
        .admin("PUT /api/v1/strategy", "{\"name\": \"leest_connections\"}")
        .await;
    assert!(answer.text().contains("did you mean `least_connections`"));
    for body in ["", "{", "{}", "[]", "{\"name\": 1}"] {
        let answer = balancer.admin("PUT /api/v1/strategy", body).await;
        assert!((400..500).contains(&answer.status()), "{body}");
        assert_eq!(json(&answer)["status"], answer.status());
    }
    assert_eq!(
        balancer.app.published().load().strategy_name,
        Name::RoundRobin
    );
}

#[tokio::test]
async fn changing_calls_from_another_origin_are_refused() {
    let a = Origin::named("a").await;
    let balancer = balancer(&[&a]);
    let order = "{\"name\": \"random\"}";
    for origin in ["http://evil.example", "null", "https://127.0.0.1"] {
        let line = format!("Origin: {origin}\r\n");
        let answer = balancer
            .admin_with("PUT /api/v1/strategy", &line, order)
            .await;
        assert_eq!(answer.status(), 403, "{origin}");
    }
    assert_eq!(
        balancer.app.published().load().strategy_name,
        Name::RoundRobin
    );
    let own = format!("Origin: http://{}\r\n", balancer.app.admin().unwrap());
    let answer = balancer
        .admin_with("PUT /api/v1/strategy", &own, order)
        .await;
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn calls_by_a_name_that_may_be_anyones_are_refused() {
    let a = Origin::named("a").await;
    let balancer = balancer(&[&a]);
    for (host, status) in [
        ("127.0.0.1", 200),
        ("[::1]:80", 200),
        ("localhost:50500", 200),
        ("evil.example", 403),
        ("localhost.evil.example", 403),
        ("127.0.0.1.evil.example:80", 403),
    ] {
        let call = format!("GET /api/v1/status HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let mut client = Client::connect(balancer.app.admin().unwrap()).await;
        assert_eq!(client.ask(call).await.status(), status, "{host}");
    }
}

#[tokio::test]
async fn status_and_backends_say_what_is() {
    let (a, b) = (Origin::named("a").await, Origin::named("b").await);
    let balancer = balancer_with(&[&a, &b], |config| {
        config.backends[0].name = "first".to_owned();
        config.backends[0].weight = 3;
    });
    for _ in 0..4 {
        balancer.get("/").await;
    }
    let status = json(&balancer.admin("GET /api/v1/status", "").await);
    assert_eq!(status["phase"], "running");
    assert_eq!(status["strategy"], "round_robin");
    assert_eq!(
        (&status["backends"], &status["backends_eligible"]),
        (&2.into(), &2.into())
    );
    let all = json(&balancer.admin("GET /api/v1/backends", "").await);
    assert_eq!(all[0]["name"], "first");
    assert_eq!(all[0]["weight"], 3);
    assert_eq!(all[0]["state"], "healthy");
    assert_eq!(
        (&all[0]["requests"], &all[1]["requests"]),
        (&2.into(), &2.into())
    );
    let one = json(&balancer.admin("GET /api/v1/backends/first", "").await);
    assert_eq!(one["address"], a.address().to_string());
    let none = balancer.admin("GET /api/v1/backends/third", "").await;
    assert_eq!((none.status(), &json(&none)["status"]), (404, &404.into()));
}

#[tokio::test]
async fn status_names_the_address_that_clients_reach() {
    let a = Origin::named("a").await;
    let balancer = balancer(&[&a]);
    let status = json(&balancer.admin("GET /api/v1/status", "").await);
    assert_eq!(status["listen"], balancer.app.listen().to_string());
}

#[tokio::test]
async fn wrong_paths_and_methods_are_problems() {
    let a = Origin::named("a").await;
    let balancer = balancer(&[&a]);
    for (call, status) in [
        ("GET /nowhere", 404),
        ("GET /api/v1/nowhere", 404),
        ("DELETE /api/v1/strategy", 405),
    ] {
        let answer = balancer.admin(call, "").await;
        assert_eq!(answer.status(), status, "{call}");
        let kind = answer.field("content-type");
        assert_eq!(kind, Some("application/problem+json"), "{call}");
        assert_eq!(json(&answer)["status"], status, "{call}");
    }
}
