//! A thousand backends stay usable.

use crate::page::Page;
use crate::stage::{Balancer, Load, Worker, call};
use std::net::SocketAddr;
use std::time::Instant;

const BACKENDS: u16 = 1_000;

/// One worker that a thousand addresses of this machine lead to.
fn thousand(worker: &Worker) -> Vec<(String, SocketAddr)> {
    let address = |number: u16| {
        let [high, low] = number.to_be_bytes();
        ([127, 1, high, low], worker.address.port()).into()
    };
    (1..=BACKENDS)
        .map(|number| (format!("w{number}"), address(number)))
        .collect()
}

/// Seconds that the page's scripts, its layout and its styles took so far.
fn spent(page: &Page, name: &str) -> f64 {
    let answer = page
        .chrome
        .devtools("Performance.getMetrics", &serde_json::json!({}));
    let metrics = answer["metrics"].as_array().unwrap();
    let metric = metrics
        .iter()
        .find(|metric| metric["name"] == name)
        .unwrap();
    metric["value"].as_f64().unwrap()
}

#[tokio::test]
async fn thousand_backends_stay_usable() {
    let worker = Worker::at("many", "0.0.0.0:0", "tokio", "1ms");
    let balancer = Balancer::before(&thousand(&worker), "strategy: round_robin\nhealth: off");
    let _load = Load::on(balancer.listen, 2);
    let page = Page::open(balancer.admin).await;
    page.chrome
        .devtools("Performance.enable", &serde_json::json!({}));
    page.until_text("#verdict-text", "All 1,000 backends are well")
        .await;
    let rows = "document.querySelectorAll('#backends-body tr:not(.spacer)').length";
    assert!(page.holds(&format!("{rows} > 5 && {rows} <= 60")).await);

    // The rows that one second touches, and what five of them cost.
    page.script(
        "window.touched = new Set(); window.most = 0;
         new MutationObserver((changes) => { for (const { target } of changes) touched.add((target.closest ?? target.parentElement.closest).call(target.closest ? target : target.parentElement, 'tr')); })
           .observe(document.querySelector('#backends-body'), { subtree: true, childList: true, characterData: true, attributes: true });
         new MutationObserver(() => { most = Math.max(most, touched.size); touched.clear(); }).observe(document.querySelector('#scrub-time'), { childList: true, characterData: true, subtree: true });",
    )
    .await;
    let names = [
        "ScriptDuration",
        "LayoutDuration",
        "RecalcStyleDuration",
        "TaskDuration",
    ];
    let before = names.map(|name| spent(&page, name));
    let first = page.script("return scrubber.max").await;
    page.until(&format!("Number(scrubber.max) >= Number({first}) + 5"))
        .await;
    for (name, before) in names.iter().zip(before) {
        println!(
            "{name}: {:.1} ms a second",
            (spent(&page, name) - before) * 200.0
        );
    }
    println!(
        "rows touched in a second: {}",
        page.script("return most").await
    );
    assert!(page.holds("most > 0 && most <= 60").await);

    let begun = Instant::now();
    let (status, dump) = call(balancer.admin, "GET", "/dump", "");
    let megabytes = dump.len() as f64 / 1e6;
    println!("dump: {megabytes:.1} MB in {:?}", begun.elapsed());
    assert!(status == 200 && megabytes < 8.0, "{status}, {megabytes} MB");

    // All can be reached: by scrolling, by filtering, by sorting.
    page.choose_by_script("#sort-by", "name").await;
    page.script(
        "const box = document.querySelector('#backends-scroll'); box.scrollTop = box.scrollHeight",
    )
    .await;
    page.until_text("#backends-body", "w1000").await;
    assert!(page.holds(&format!("{rows} <= 60")).await);
    page.fill("#filter", "w77").await;
    page.until_text("#filter-count", "11 of 1,000").await;
    page.until(&format!("{rows} === 11")).await;
    page.press("[aria-label='Drain w777']").await;
    page.until_text("dialog[open] .consequences", "999 of 1,000 remain")
        .await;
    page.press("dialog[open] .primary").await;
    page.until_text("dialog[open] .outcome", "Done").await;
    assert_eq!(balancer.get("/api/v1/backends/w777")["drained"], true);
    page.assert_clean();
}
