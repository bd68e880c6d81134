//! Whoever cannot see the page well, or not at all, can use it: axe finds nothing serious, and nothing is beside the screen.

use crate::page::Page;
use crate::stage::{Balancer, Load, Worker};
use serde_json::Value;

const AXE: &str = include_str!("axe.min.js");

/// What axe finds serious or critical.
async fn faults(page: &Page) -> Vec<String> {
    page.script(AXE).await;
    let run = "const done = arguments[0]; axe.run().then((found) => done(found.violations), (error) => done([{ id: String(error), impact: 'serious', nodes: [] }]))";
    let found = page.client().execute_async(run, vec![]).await.unwrap();
    let grave = |fault: &&Value| matches!(fault["impact"].as_str(), Some("serious" | "critical"));
    let told = |fault: &Value| {
        let nodes = fault["nodes"].as_array().unwrap().iter();
        let where_: Vec<String> = nodes
            .map(|node| format!("{} {}", node["html"], node["failureSummary"]))
            .collect();
        format!("{}: {}", fault["id"], where_.join("\n  "))
    };
    found
        .as_array()
        .unwrap()
        .iter()
        .filter(grave)
        .map(told)
        .collect()
}

async fn assert_fine(page: &Page, state: &str) {
    let found = faults(page).await;
    assert!(found.is_empty(), "{state}:\n{}", found.join("\n"));
}

#[tokio::test]
async fn axe_finds_nothing_serious_in_any_state() {
    let workers = ["w1", "w2", "w3"].map(|name| Worker::start(name, "tokio", "5ms"));
    let balancer = Balancer::of(&workers, "strategy: adaptive");
    let _load = Load::on(balancer.listen, 2);
    workers[0].chaos("{\"error_rate\": \"100%\"}");
    balancer.change("POST", "/api/v1/backends/w2/drain", "");
    let page = Page::open(balancer.admin).await;
    page.until_text("#verdict-text", "w1 ejected").await;
    page.until_text("#verdict-text", "w2 is drained").await;
    // What is folded away is looked at too.
    page.script(
        "document.querySelectorAll('details').forEach((details) => { details.open = true; })",
    )
    .await;
    for theme in ["light", "dark"] {
        page.prefer("prefers-color-scheme", theme);
        assert_fine(&page, theme).await;
        page.press("[aria-label='Drain w3']").await;
        page.until_text("dialog[open] .consequences", "remain")
            .await;
        assert_fine(&page, &format!("{theme}, a dialog open")).await;
        page.press("dialog[open] button[type=button]").await;
        page.until("!document.querySelector('dialog[open]')").await;
    }
    page.size(360, 740, true);
    for theme in ["dark", "light"] {
        page.prefer("prefers-color-scheme", theme);
        assert_fine(&page, &format!("{theme}, on a telephone")).await;
    }
    assert_within(&page).await;
    page.key("[").await;
    page.until("document.documentElement.hasAttribute('data-past')")
        .await;
    assert_fine(&page, "an earlier second").await;
    page.assert_clean();
}

/// No sideways scrolling, and nothing that can be seen ends beside the screen.
async fn assert_within(page: &Page) {
    let beside = "return [...document.querySelectorAll('main *, header *')].filter((element) => {
        const { right, width, height } = element.getBoundingClientRect();
        const inner = element.closest('.u-wrap, .unseen, thead, .inner-scroll, pre, select');
        return width > 1 && height > 1 && !inner && right > innerWidth + 1;
    }).map((element) => element.outerHTML.slice(0, 120))";
    let beside = page.script(beside).await;
    assert_eq!(beside, Value::Array(vec![]));
    assert!(
        page.holds("document.documentElement.scrollWidth <= innerWidth")
            .await
    );
}

#[tokio::test]
async fn theme_follows_the_system_or_the_switch() {
    let balancer = Balancer::alone();
    let page = Page::open(balancer.admin).await;
    let ground = "return getComputedStyle(document.body).backgroundColor";
    page.prefer("prefers-color-scheme", "light");
    let light = page.script(ground).await;
    page.prefer("prefers-color-scheme", "dark");
    let dark = page.script(ground).await;
    assert_ne!(light, dark);
    page.press("#theme").await;
    assert_eq!(
        page.script(ground).await,
        light,
        "switched to light, whatever the system says"
    );
    page.client().refresh().await.unwrap();
    page.until_text("#connection-text", "Live").await;
    assert_eq!(page.script(ground).await, light, "and remembered");
    // Who wants no motion gets none.
    page.prefer("prefers-reduced-motion", "reduce");
    assert!(page.holds("document.getAnimations().length === 0").await);
    page.key("?").await;
    page.until_text("#keys-dialog[open]", "back to live").await;
    page.assert_clean();
}
