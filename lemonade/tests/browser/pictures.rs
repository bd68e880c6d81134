//! Pictures for the documents: a stand on a busy day, and the same with one window in trouble.

use crate::page::Page;
use crate::stage::{Balancer, Load, Worker};
use std::net::SocketAddr;
use std::path::Path;

/// The operator's own rule has something to decide within a picture's minute.
const ENGINE: &str = "strategy: adaptive\nengine: { cooldown: 20s, rules: [{ name: rush, when: request_rate > 320 for 3s, use: least_connections }] }";

const STAFF: [(&str, &str, &str); 5] = [
    ("web-1", "actix", "30ms"),
    ("web-2", "axum", "36ms"),
    ("web-3", "hyper", "40ms"),
    ("web-4", "rocket", "46ms"),
    ("web-5", "tokio", "52ms"),
];

/// Pictures of the documents are of a minute and a half; those of every test of a moment.
fn seconds() -> u32 {
    match for_documents() {
        true => 90,
        false => 3,
    }
}

fn for_documents() -> bool {
    std::env::var_os("LEMONADE_SCREENSHOTS").is_some_and(|value| value == "1")
}

async fn take(page: &Page, name: &str) {
    let path = page.picture(name).await;
    if for_documents() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/images");
        std::fs::copy(path, folder.join(format!("{name}.png"))).unwrap();
    }
}

/// An hour of lemonade in a minute and a half: more and more come, and go again.
async fn rush(page: &Page, listen: SocketAddr) {
    let parts = 6;
    let mut guests: Vec<Load> = Vec::new();
    for part in 1..=parts {
        match part * 2 <= parts {
            true => guests.push(Load::on(listen, 4)),
            false => drop(guests.pop()),
        }
        let reached = format!("Number(scrubber.max) >= {}", seconds() * part / parts);
        page.until_long(&reached).await;
    }
}

#[tokio::test]
async fn pictures_show_a_calm_day_and_an_incident() {
    let workers = STAFF.map(|(name, framework, delay)| Worker::start(name, framework, delay));
    let balancer = Balancer::of(&workers, ENGINE);
    let _load = Load::on(balancer.listen, 10);
    let page = Page::open(balancer.admin).await;
    page.size(1440, 1130, false);
    let hidden = serde_json::json!({ "hidden": true });
    page.chrome
        .devtools("Emulation.setScrollbarsHidden", &hidden);
    page.prefer("prefers-color-scheme", "light");
    page.until_text("#verdict-text", "All 5 backends are well")
        .await;
    rush(&page, balancer.listen).await;
    take(&page, "dashboard-light").await;
    page.prefer("prefers-color-scheme", "dark");
    take(&page, "dashboard-dark").await;

    workers[2].chaos("{\"error_rate\": \"100%\"}");
    page.until_text("#verdict-text", "web-3 ejected").await;
    page.prefer("prefers-color-scheme", "light");
    let now = page.script("return scrubber.max").await;
    page.until_long(&format!(
        "Number(scrubber.max) >= Number({now}) + {}",
        seconds() / 4
    ))
    .await;
    page.until_text("#verdict-text", "web-3 ejected").await;
    take(&page, "dashboard-incident").await;
    page.size(360, 760, true);
    take(&page, "dashboard-phone").await;
    page.assert_clean();
}
