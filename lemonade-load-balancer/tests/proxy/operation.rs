//! What an operator does: reload, switch, look.

use crate::balancer::{Balancer, file, get};
use lemonade_test::{Client, Gate, Origin, until};
use std::sync::Arc;

#[tokio::test]
async fn changed_file_is_applied_and_a_bad_one_is_not() {
    let (a, b) = (Origin::named("a").await, Origin::named("b").await);
    let balancer = Balancer::with(&file(&[a.address()], ""), true).await;
    assert_eq!(balancer.ask(&get("/")).await.text(), "a");
    std::fs::write(&balancer.file, file(&[b.address()], "")).unwrap();
    until("the file is applied", || {
        balancer.app.published().load().generation > 1
    })
    .await;
    assert_eq!(balancer.ask(&get("/")).await.text(), "b");

    std::fs::write(&balancer.file, "listen: nonsense\n").unwrap();
    loop {
        if balancer
            .admin("/metrics")
            .await
            .text()
            .contains("lemonade_config_last_reload_success 0")
        {
            break;
        }
    }
    assert_eq!(balancer.ask(&get("/")).await.text(), "b");

    // As editors do: a new file over the old one.
    let new = balancer.file.with_extension("new");
    std::fs::write(&new, file(&[a.address(), b.address()], "")).unwrap();
    std::fs::rename(&new, &balancer.file).unwrap();
    balancer.until_eligible(2).await;
    assert!(
        balancer
            .admin("/metrics")
            .await
            .text()
            .contains("lemonade_config_last_reload_success 1")
    );
}

#[tokio::test]
async fn removed_backend_finishes_its_request_and_kept_one_its_state() {
    let gate = Arc::new(Gate::shut());
    let passed = gate.clone();
    let slow = Origin::start(move |mut connection| {
        let gate = passed.clone();
        async move {
            let _ = connection.request().await;
            gate.passed().await;
            connection
                .send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow")
                .await;
        }
    })
    .await;
    let b = Origin::named("b").await;
    let balancer = Balancer::with(&file(&[slow.address(), b.address()], ""), true).await;
    let mut client = balancer.client().await;
    client.send(get("/")).await;
    slow.request(1).await;
    let kept = balancer.app.published().load().members[1].live.clone();
    std::fs::write(&balancer.file, file(&[b.address()], "")).unwrap();
    balancer.until_eligible(1).await;
    assert!(Arc::ptr_eq(
        &kept,
        &balancer.app.published().load().members[0].live
    ));
    assert_eq!(balancer.ask(&get("/")).await.text(), "b");
    gate.open();
    assert_eq!(client.answer().await.text(), "slow");
}

#[tokio::test]
async fn strategy_is_switched_while_running() {
    let a = Origin::named("a").await;
    let balancer = Balancer::over(&[&a], "").await;
    let admin = balancer.app.admin().unwrap();
    let put = |body: &str, more: &str| {
        format!(
            "PUT /api/v1/strategy HTTP/1.1\r\nHost: {admin}\r\nContent-Type: application/json\r\n{more}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let mut client = Client::connect(admin).await;
    let answer = client
        .ask(put("{\"name\": \"least_connections\"}", ""))
        .await;
    assert_eq!(answer.status(), 200);
    assert!(
        client
            .get("/api/v1/strategy")
            .await
            .text()
            .contains("\"name\":\"least_connections\"")
    );
    let answer = client
        .ask(put("{\"name\": \"leest_connections\"}", ""))
        .await;
    assert_eq!(
        (answer.status(), answer.field("content-type")),
        (400, Some("application/problem+json"))
    );
    assert!(
        answer.text().contains("did you mean `least_connections`"),
        "{}",
        answer.text()
    );
    let answer = client
        .ask(put(
            "{\"name\": \"random\"}",
            "Origin: http://evil.example\r\n",
        ))
        .await;
    assert_eq!(answer.status(), 403);
    assert!(
        client
            .get("/metrics")
            .await
            .text()
            .contains("lemonade_strategy_info{strategy=\"least_connections\"} 1")
    );
}

#[tokio::test]
async fn numbers_are_those_of_the_traffic() {
    let (a, b) = (Origin::named("a").await, Origin::named("b").await);
    let balancer = Balancer::with(&file(&[a.address(), b.address()], ""), true).await;
    let mut client = balancer.client().await;
    for _ in 0..10 {
        client.get("/").await;
    }
    client.ask("POST / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut refused = balancer.client().await;
    refused.ask("GET / HTTP/1.1\r\n\r\n").await;
    let text = balancer.admin("/metrics").await.text();
    for line in [
        "lemonade_http_requests_total{class=\"2xx\"} 11".to_owned(),
        "lemonade_http_request_duration_seconds_count 11".to_owned(),
        "lemonade_http_requests_refused_total{class=\"4xx\"} 1".to_owned(),
        format!(
            "lemonade_backend_requests_total{{backend=\"{}\",class=\"2xx\"}} 6",
            a.address()
        ),
        format!(
            "lemonade_backend_requests_total{{backend=\"{}\",class=\"2xx\"}} 5",
            b.address()
        ),
        format!("lemonade_backend_up{{backend=\"{}\"}} 1", a.address()),
        format!(
            "lemonade_backend_in_flight{{backend=\"{}\"}} 0",
            a.address()
        ),
        "lemonade_connections_total 2".to_owned(),
    ] {
        assert!(text.contains(&format!("{line}\n")), "{line} in\n{text}");
    }
    std::fs::write(&balancer.file, file(&[b.address()], "")).unwrap();
    balancer.until_eligible(1).await;
    let text = balancer.admin("/metrics").await.text();
    assert!(
        !text.contains(&a.address().to_string()),
        "series of removed backends go"
    );
}

#[tokio::test]
async fn access_log_has_a_line_for_each_request() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.log");
    let a = Origin::named("a").await;
    let more = format!("access_log: {{ file: {} }}", log.display());
    let balancer = Balancer::over(&[&a], &more).await;
    balancer
        .ask("GET /path?secret=1 HTTP/1.1\r\nHost: example.org\r\nX-Request-Id: one\r\nUser-Agent: test\r\n\r\n")
        .await;
    let read = || std::fs::read_to_string(&log).unwrap_or_default();
    until("the line is written", || read().ends_with("}\n")).await;
    let text = read();
    for part in [
        "\"request_id\":\"one\"",
        "\"path\":\"/path\"",
        "\"host\":\"example.org\"",
        "\"status\":200",
        "\"user_agent\":\"test\"",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(!text.contains("secret"), "queries are left out");
}

#[tokio::test]
async fn admin_says_what_it_does_not_know() {
    let a = Origin::named("a").await;
    let balancer = Balancer::over(&[&a], "").await;
    assert_eq!(balancer.admin("/live").await.status(), 200);
    assert_eq!(balancer.admin("/api/v1/status").await.status(), 200);
    let known = balancer
        .admin(&format!("/api/v1/backends/{}", a.address()))
        .await;
    assert!(
        known.text().contains("\"state\":\"healthy\""),
        "{}",
        known.text()
    );
    let unknown = balancer.admin("/api/v1/backends/nobody").await;
    assert_eq!(
        (unknown.status(), unknown.field("content-type")),
        (404, Some("application/problem+json"))
    );
    assert_eq!(balancer.admin("/nowhere").await.status(), 404);
}
