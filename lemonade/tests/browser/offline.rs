//! The support dump opens from a disk, without a network, and shows what was.

use crate::page::Page;
use crate::stage::{Balancer, Load, Worker, call};

#[tokio::test]
async fn dump_opens_from_a_file_and_shows_what_was() {
    let workers = [
        Worker::start("w1", "tokio", "5ms"),
        Worker::start("w2", "tokio", "5ms"),
    ];
    let balancer = Balancer::of(&workers, "strategy: round_robin");
    let load = Load::on(balancer.listen, 2);
    let page = Page::open(balancer.admin).await;
    balancer.change("POST", "/api/v1/backends/w1/drain", "");
    page.until_text(&Page::row("w1"), "draining").await;
    page.until_text(&Page::row("w2"), "100 %").await;
    page.until_text("#events", "By hand").await;
    page.until("Number(scrubber.max) - Number(scrubber.min) >= 3")
        .await;
    let (status, dump) = call(balancer.admin, "GET", "/dump", "");
    assert_eq!(status, 200);
    // The live page complains when its balancer goes.
    page.goto("about:blank").await;
    drop((load, balancer));

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dump.html");
    std::fs::write(&file, &dump).unwrap();
    page.chrome.console();
    page.goto(&format!("file://{}", file.display())).await;
    page.until_text("#connection-text", "Support dump of").await;
    page.until_text(&Page::row("w1"), "draining").await;
    page.until_text(&Page::row("w2"), "100 %").await;
    page.until_text("#verdict-text", "w1 is drained").await;
    page.until_text("#events", "By hand").await;
    page.until_text("#about", "pid").await;
    page.script(
        "document.querySelectorAll('details').forEach((details) => { details.open = true; })",
    )
    .await;
    page.until_text("#config-text", "round_robin").await;
    page.until_text("#metrics-text", "lemonade_http_requests_total")
        .await;
    // Nothing can be pressed that would change anything.
    assert!(
        !page
            .holds("document.querySelector('#change-strategy').checkVisibility()")
            .await
    );
    assert!(
        !page
            .holds("document.querySelector('#backends-body button')?.checkVisibility()")
            .await
    );
    // Earlier seconds are in it too.
    page.key("[").await;
    page.until("document.documentElement.hasAttribute('data-past')")
        .await;
    page.key_until("[", &Page::row_says("w1", "healthy")).await;
    page.picture("dump").await;
    page.assert_clean();
}
