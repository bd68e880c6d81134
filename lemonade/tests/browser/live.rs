//! It loads, it follows, it goes back in time, and it comes back after the balancer did.

use crate::page::Page;
use crate::stage::{Balancer, Load, Worker, call};
use lemonade_test::process::request;
use std::net::SocketAddr;

fn head(admin: SocketAddr, path: &str) -> String {
    let text = format!("HEAD {path} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
    let mut stream = std::net::TcpStream::connect(admin).unwrap();
    std::io::Write::write_all(&mut stream, text.as_bytes()).unwrap();
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
    answer
}

#[tokio::test]
async fn page_loads_and_follows_every_second() {
    let workers = [
        Worker::start("w1", "tokio", "5ms"),
        Worker::start("w2", "axum", "5ms"),
    ];
    let balancer = Balancer::of(&workers, "strategy: round_robin");
    let _load = Load::on(balancer.listen, 2);
    let page = Page::open(balancer.admin).await;
    page.until_text("#verdict-text", "All 2 backends are well")
        .await;
    page.until_text("#strategy-name", "round robin").await;
    page.until_text(&format!("{} .share", Page::row("w1")), "50 %")
        .await;
    page.until_text("#events", "starting → healthy").await;
    let first = page.text("#scrub-time").await;
    page.until(&format!(
        "document.querySelector('#scrub-time').innerText !== {first:?}"
    ))
    .await;
    page.until("Number(document.querySelector('#figure-rate').innerText.replace(',', '')) > 10")
        .await;
    page.until("document.querySelectorAll('.chart canvas').length === 3")
        .await;

    // A worker that fails is the first row, and the first words.
    workers[1].chaos("{\"error_rate\": \"100%\"}");
    page.until_text("#verdict-text", "1 of 2 backends is out: w2 ejected")
        .await;
    page.until("document.querySelector('#backends-body tr:not(.spacer)').dataset.name === 'w2'")
        .await;
    page.until_text("#verdict-points", "Drain w2").await;
    page.until_text("#events", "failures in a row").await;

    // A reload that is refused says why.
    balancer.rewrite(|text| text.replace("round_robin", "rond_robin"));
    let (status, _) = call(balancer.admin, "POST", "/api/v1/reload", "");
    assert_eq!(status, 422);
    page.until_text("#verdict-text", "The last reload was refused")
        .await;
    page.until_text("#last-reload", "did you mean `round_robin`")
        .await;
    page.assert_clean();
}

#[tokio::test]
async fn files_are_sent_with_a_strict_policy() {
    let balancer = Balancer::alone();
    let answer = head(balancer.admin, "/");
    let policy = answer
        .lines()
        .find_map(|line| line.strip_prefix("content-security-policy: "))
        .unwrap();
    assert!(
        policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"),
        "{policy}"
    );
    assert!(!policy.contains("unsafe"), "{policy}");
    for field in [
        "x-content-type-options: nosniff",
        "referrer-policy: no-referrer",
        "cross-origin-opener-policy: same-origin",
        "cache-control: no-cache",
    ] {
        assert!(answer.contains(field), "{field} in {answer}");
    }
    assert!(answer.ends_with("\r\n\r\n"), "a body after HEAD");
    let tag = answer
        .lines()
        .find_map(|line| line.strip_prefix("etag: "))
        .unwrap();
    let again = format!(
        "GET / HTTP/1.1\r\nHost: {0}\r\nIf-None-Match: {tag}\r\nConnection: close\r\n\r\n",
        balancer.admin
    );
    assert_eq!(request(balancer.admin, &again).0, 304);
}

#[tokio::test]
async fn earlier_seconds_are_shown_as_they_were() {
    let workers = [
        Worker::start("w1", "tokio", "5ms"),
        Worker::start("w2", "tokio", "5ms"),
    ];
    let balancer = Balancer::of(&workers, "strategy: round_robin");
    let _load = Load::on(balancer.listen, 2);
    let page = Page::open(balancer.admin).await;
    page.until_text("#verdict-text", "All 2 backends are well")
        .await;
    page.until("Number(scrubber.max) - Number(scrubber.min) >= 2")
        .await;
    balancer.change("POST", "/api/v1/backends/w1/drain", "");
    page.until_text(&Page::row("w1"), "draining").await;
    page.until_text("#events", "By hand").await;

    // Back by the slider's own keys until the drain had not happened.
    page.script("document.querySelector('#scrubber').focus()")
        .await;
    page.key('\u{e012}').await;
    page.until("document.documentElement.hasAttribute('data-past')")
        .await;
    page.key_until('\u{e012}', &Page::row_says("w1", "healthy"))
        .await;
    page.until_text("#connection-text", "not now").await;
    page.until_text("#verdict-text", "All 2 backends are well")
        .await;
    assert!(!page.text("#events").await.contains("By hand"));
    assert!(page.text("#go-live").await.contains("Back to live"));
    // What happens meanwhile is not shown. The last key may have gone further back than was waited for: a second later that is shown.
    second_passes(&page).await;
    let shown = page.text("#figure-rate").await;
    second_passes(&page).await;
    assert_eq!(page.text("#figure-rate").await, shown);

    page.key('l').await;
    page.until_text("#connection-text", "Live").await;
    page.until_text(&Page::row("w1"), "draining").await;
    page.assert_clean();
}

async fn second_passes(page: &Page) {
    let newest = page.script("return scrubber.max").await;
    page.until(&format!("Number(scrubber.max) > Number({newest})"))
        .await;
}

#[tokio::test]
async fn page_comes_back_with_the_balancer() {
    let workers = [Worker::start("w1", "tokio", "5ms")];
    let mut balancer = Balancer::of(&workers, "strategy: round_robin");
    let page = Page::open(balancer.admin).await;
    page.until_text("#about", "pid").await;
    let before = balancer.get("/api/v1/status")["pid"].to_string();
    page.until_text("#about", &before).await;

    balancer.crash();
    page.until_text("#connection-text", "Not connected: what is shown is")
        .await;
    page.until_text(&Page::row("w1"), "healthy").await;

    balancer.restart();
    page.until_text("#connection-text", "Live").await;
    let after = balancer.get("/api/v1/status")["pid"].to_string();
    assert_ne!(before, after);
    page.until_text("#about", &after).await;
    let newest = page.script("return scrubber.max").await;
    page.until(&format!("Number(scrubber.max) > Number({newest})"))
        .await;
    page.assert_clean_but_for("network");
}
