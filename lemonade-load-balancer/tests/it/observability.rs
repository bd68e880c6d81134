//! What is counted, against traffic that is known.

use crate::balancer::{GET, Nobody, balancer, balancer_at, balancer_with};
use lemonade_test::{Connection, Origin};

/// Answers `/404` 404, `/500` 500, anything else 200.
async fn by_path() -> Origin {
    Origin::start(async |mut connection: Connection| {
        while let Ok(request) = connection.request().await {
            let status = match request.target() {
                "/404" => "404 No",
                "/500" => "500 Oh",
                _ => "200 OK",
            };
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
            connection.send(answer).await;
        }
    })
    .await
}

#[tokio::test]
async fn metrics_count_what_was_served() {
    let origin = by_path().await;
    let balancer = balancer_with(&[&origin], |config| {
        config.backends[0].name = "w".to_owned()
    });
    let mut client = balancer.client().await;
    for path in ["/", "/", "/", "/404", "/404", "/500"] {
        client.get(path).await;
    }
    balancer.ask("BAD\r\n\r\n").await;
    for (series, value) in [
        ("lemonade_http_requests_total{class=\"2xx\"}", 3.0),
        ("lemonade_http_requests_total{class=\"4xx\"}", 2.0),
        ("lemonade_http_requests_total{class=\"5xx\"}", 1.0),
        ("lemonade_http_requests_refused_total{class=\"4xx\"}", 1.0),
        ("lemonade_http_request_duration_seconds_count", 6.0),
        (
            "lemonade_http_request_duration_seconds_bucket{le=\"+Inf\"}",
            6.0,
        ),
        (
            "lemonade_backend_requests_total{backend=\"w\",class=\"2xx\"}",
            3.0,
        ),
        (
            "lemonade_backend_requests_total{backend=\"w\",class=\"4xx\"}",
            2.0,
        ),
        (
            "lemonade_backend_requests_total{backend=\"w\",class=\"5xx\"}",
            1.0,
        ),
        (
            "lemonade_backend_request_duration_seconds_count{backend=\"w\"}",
            6.0,
        ),
        ("lemonade_backend_connections_total{backend=\"w\"}", 1.0),
        ("lemonade_backend_in_flight{backend=\"w\"}", 0.0),
        ("lemonade_backend_up{backend=\"w\"}", 1.0),
        (
            "lemonade_backend_state{backend=\"w\",state=\"healthy\"}",
            1.0,
        ),
        ("lemonade_strategy_info{strategy=\"round_robin\"}", 1.0),
        ("lemonade_connections_total", 2.0),
        ("lemonade_connections", 1.0),
    ] {
        balancer.metric_reaches(series, value).await;
    }
}

#[tokio::test]
async fn metrics_count_what_failed() {
    let nobody = Nobody::new();
    let mute = Origin::start(async |mut connection: Connection| {
        let _ = connection.request().await;
    })
    .await;
    let balancer = balancer_at(&[nobody.address(), mute.address()], |config| {
        config.backends[0].name = "nobody".to_owned();
        config.backends[1].name = "mute".to_owned();
    });
    assert_eq!(balancer.get("/").await.status(), 502);
    for (series, value) in [
        ("lemonade_http_requests_total{class=\"5xx\"}", 1.0),
        (
            "lemonade_backend_connect_failures_total{backend=\"nobody\"}",
            1.0,
        ),
        ("lemonade_backend_failures_total{backend=\"mute\"}", 1.0),
        ("lemonade_backend_in_flight{backend=\"mute\"}", 0.0),
        ("lemonade_backend_up{backend=\"nobody\"}", 0.0),
        (
            "lemonade_backend_state{backend=\"nobody\",state=\"ejected\"}",
            1.0,
        ),
    ] {
        balancer.metric_reaches(series, value).await;
    }
}

#[tokio::test]
async fn client_that_left_is_counted_as_499() {
    let origin = Origin::start(
        async |mut connection: Connection| {
            while connection.request().await.is_ok() {}
        },
    )
    .await;
    let balancer = balancer(&[&origin]);
    let mut client = balancer.client().await;
    client.send(GET).await;
    origin.request(1).await;
    drop(client);
    balancer
        .metric_reaches("lemonade_http_requests_total{class=\"4xx\"}", 1.0)
        .await;
    balancer.metric_reaches("lemonade_connections", 0.0).await;
}

#[tokio::test]
async fn exposition_is_well_formed() {
    let a = Origin::named("a").await;
    let balancer = balancer_with(&[&a], |config| {
        config.backends[0].name = "a\"b\\c".to_owned()
    });
    balancer.get("/").await;
    let answer = balancer.admin("GET /metrics", "").await;
    assert!(
        answer
            .field("content-type")
            .unwrap_or_default()
            .starts_with("text/plain; version=0.0.4")
    );
    let text = answer.text();
    assert!(text.contains("backend=\"a\\\"b\\\\c\""));
    let mut families = Vec::new();
    for line in text.lines() {
        if let Some(family) = line.strip_prefix("# TYPE ") {
            assert!(!families.contains(&family), "{family} comes twice");
            families.push(family);
        } else if !line.starts_with('#') && !line.is_empty() {
            let (name, value) = line.rsplit_once(' ').unwrap_or_default();
            assert!(value.parse::<f64>().is_ok(), "{line}");
            let ours = name.starts_with("lemonade_") || name.starts_with("process_");
            assert!(ours, "{line}");
        }
    }
    assert!(families.len() > 15);
}
