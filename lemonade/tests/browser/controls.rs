//! What is pressed is done, after the page has said what it will do.

use crate::page::Page;
use crate::stage::{Balancer, Load, Worker};

const ENTER: &str = "\u{e007}";
const TAB: &str = "\u{e004}";

fn three() -> [Worker; 3] {
    ["w1", "w2", "w3"].map(|name| Worker::start(name, "tokio", "5ms"))
}

#[tokio::test]
async fn drain_is_foretold_confirmed_and_done() {
    let workers = three();
    let balancer = Balancer::of(&workers, "strategy: round_robin");
    let _load = Load::on(balancer.listen, 2);
    let page = Page::open(balancer.admin).await;
    page.until_text("#verdict-text", "All 3 backends are well")
        .await;

    page.press("[aria-label='Drain w2']").await;
    page.until_text(
        "dialog[open] .consequences",
        "w2 gets no new request until it is enabled again",
    )
    .await;
    page.until_text(
        "dialog[open] .consequences",
        "2 of 3 remain: their share rises from 33 % to 50 %",
    )
    .await;
    assert_eq!(
        balancer.get("/api/v1/backends/w2")["drained"],
        false,
        "nothing is done before it is confirmed"
    );
    page.press("dialog[open] .primary").await;
    page.until_text("dialog[open] .outcome", "Done").await;
    assert_eq!(balancer.get("/api/v1/backends/w2")["drained"], true);
    page.press("dialog[open] .buttons button").await;
    page.until("!document.querySelector('dialog[open]')").await;
    page.until_text(&Page::row("w2"), "draining").await;
    page.until_text("#verdict-text", "w2 is drained").await;

    page.press("[aria-label='Enable w2']").await;
    page.press("dialog[open] .primary").await;
    page.until_text("dialog[open] .outcome", "Done").await;
    page.press("dialog[open] .buttons button").await;
    assert_eq!(balancer.get("/api/v1/backends/w2")["drained"], false);

    page.press("[aria-label='Weight of w3']").await;
    page.fill("#new-weight", "4").await;
    page.until_text("dialog[open] .consequences", "pays no heed to weights")
        .await;
    page.press("dialog[open] .primary").await;
    page.until_text("dialog[open] .outcome", "weight 1 to 4")
        .await;
    assert_eq!(balancer.get("/api/v1/backends/w3")["weight"], 4);
    page.assert_clean();
}

#[tokio::test]
async fn strategy_is_switched_and_refusals_are_shown() {
    let workers = three();
    let balancer = Balancer::of(&workers, "strategy: round_robin");
    let page = Page::open(balancer.admin).await;
    page.until_text("#strategy-name", "round robin").await;
    page.press("#change-strategy").await;
    page.choose("#new-strategy", "least connections").await;
    page.until_text(
        "dialog[open] .consequences",
        "picked by least connections instead of round robin",
    )
    .await;
    page.fill("#ttl", "soon").await;
    page.press("dialog[open] .primary").await;
    page.until_text("dialog[open] .outcome", "ttl:").await;
    page.until_text("dialog[open] .outcome", "Not done").await;
    page.fill("#ttl", "10m").await;
    page.until_text(
        "dialog[open] .consequences",
        "After 10m the configuration decides again",
    )
    .await;
    page.press("dialog[open] .primary").await;
    page.until_text(
        "dialog[open] .outcome",
        "least connections picks for the next",
    )
    .await;
    page.press("dialog[open] .buttons button").await;
    page.until_text("#strategy-name", "least connections").await;
    assert_eq!(
        balancer.get("/api/v1/strategy")["picks"],
        "least_connections"
    );

    // The file is changed, and the dialog says what that will do.
    balancer.rewrite(|text| text.replace("interval: 1s", "interval: 2s"));
    page.press("#reload").await;
    page.until("document.querySelector('dialog[open] .consequences')?.innerText.length > 0")
        .await;
    page.press("dialog[open] .primary").await;
    page.until_text("dialog[open] .outcome", "Done").await;
    page.press("dialog[open] .buttons button").await;
    page.until_text("#last-reload", "applied").await;
    page.assert_clean_but_for("network");
}

#[tokio::test]
async fn keyboard_alone_drains_a_backend() {
    let workers = three();
    let balancer = Balancer::of(&workers, "strategy: round_robin");
    let page = Page::open(balancer.admin).await;
    page.until_text("#verdict-text", "All 3 backends are well")
        .await;
    page.key("/").await;
    page.until("document.activeElement.id === 'filter'").await;
    page.key("w3").await;
    page.until("document.querySelectorAll('#backends-body tr:not(.spacer)').length === 1")
        .await;
    page.key_until(
        TAB,
        "document.activeElement.getAttribute('aria-label') === 'Drain w3'",
    )
    .await;
    let outline = page
        .script("return getComputedStyle(document.activeElement).outlineStyle")
        .await;
    assert_eq!(outline, "solid", "the focus can be seen");
    page.key(ENTER).await;
    page.until("document.querySelector('dialog[open]')").await;
    page.key_until(TAB, "document.activeElement.innerText === 'Drain'")
        .await;
    page.key(ENTER).await;
    page.until_text("dialog[open] .outcome", "Done").await;
    assert_eq!(balancer.get("/api/v1/backends/w3")["drained"], true);
    page.key(ENTER).await;
    page.until("!document.querySelector('dialog[open]')").await;
    page.until("document.activeElement.getAttribute('aria-label') === 'Enable w3'")
        .await;
    page.assert_clean();
}
