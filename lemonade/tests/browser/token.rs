//! Where there is an admin token, the page asks for it, and this tab alone remembers it.

use crate::page::Page;
use crate::stage::{Balancer, Worker, call};

const TOKEN: &str = "a-token-of-enough-length";

#[tokio::test]
async fn token_is_asked_for_and_kept_for_the_tab_alone() {
    let workers = [Worker::start("w1", "tokio", "5ms")];
    let admin =
        format!("strategy: round_robin\nadmin: {{ listen: \"127.0.0.1:0\", token: {TOKEN} }}");
    let balancer = Balancer::of(&workers, &admin);
    for path in ["/dump", "/api/v1/live", "/api/v1/history"] {
        assert_eq!(call(balancer.admin, "GET", path, "").0, 401, "{path}");
    }
    let page = Page::blank().await;
    page.goto(&format!("http://{}/", balancer.admin)).await;
    page.until("document.querySelector('#token-dialog').open")
        .await;
    page.fill("#token", "another-token-altogether").await;
    page.press("#token-form .primary").await;
    page.until_text("#token-problem", "not the right one").await;
    page.fill("#token", TOKEN).await;
    page.press("#token-form .primary").await;
    page.until_text("#connection-text", "Live").await;
    page.until_text(&Page::row("w1"), "healthy").await;

    page.press("[aria-label='Drain w1']").await;
    page.until_text("dialog[open] .consequences", "No backend remains")
        .await;
    page.press("dialog[open] .primary").await;
    page.until_text("dialog[open] .outcome", "Done").await;

    assert!(
        page.holds(&format!(
            "sessionStorage.getItem('lemonade-token') === {TOKEN:?}"
        ))
        .await
    );
    assert!(
        page.holds(&format!(
            "!Object.values(localStorage).includes({TOKEN:?}) && document.cookie === ''"
        ))
        .await
    );
    assert!(!page.text("html").await.contains(TOKEN));
    page.client().refresh().await.unwrap();
    page.until_text("#connection-text", "Live").await;
    page.assert_clean_but_for("network");
}
