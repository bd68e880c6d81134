//! The dashboard as a person uses it: looks, presses, types, and waits until something is there.

use crate::chrome::Chrome;
use fantoccini::{Client, Locator};
use serde_json::{Value, json};
use std::fmt::Display;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long anything may take to be seen; reached only by a failure.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often the page is looked at.
const LOOK: Duration = Duration::from_millis(50);

pub(crate) struct Page {
    pub(crate) chrome: Chrome,
}

impl Page {
    /// The dashboard of this admin listener, once it is live.
    pub(crate) async fn open(admin: SocketAddr) -> Page {
        let page = Page::blank().await;
        page.goto(&format!("http://{admin}/")).await;
        page.until_text("#connection-text", "Live").await;
        page
    }

    /// A browser with nothing in it, as wide as a desk's screen.
    pub(crate) async fn blank() -> Page {
        let page = Page {
            chrome: Chrome::start().await,
        };
        page.size(1440, 1024, false);
        page
    }

    pub(crate) fn client(&self) -> &Client {
        &self.chrome.client
    }

    pub(crate) async fn goto(&self, url: &str) {
        self.client().goto(url).await.unwrap();
    }

    /// The size of what is seen; a telephone scales nothing and has touch.
    pub(crate) fn size(&self, width: u32, height: u32, telephone: bool) {
        let scale = if telephone { 2 } else { 1 };
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": scale, "mobile": telephone });
        self.chrome
            .devtools("Emulation.setDeviceMetricsOverride", &metrics);
    }

    /// What the system is said to prefer.
    pub(crate) fn prefer(&self, feature: &str, value: &str) {
        let features = json!({ "features": [{ "name": feature, "value": value }] });
        self.chrome
            .devtools("Emulation.setEmulatedMedia", &features);
    }

    pub(crate) async fn script(&self, script: &str) -> Value {
        self.client().execute(script, vec![]).await.unwrap()
    }

    /// Whether something holds in the page, now.
    pub(crate) async fn holds(&self, expression: &str) -> bool {
        self.script(&format!("return Boolean({expression})")).await == Value::Bool(true)
    }

    /// Waits until something holds in the page.
    pub(crate) async fn until(&self, expression: &str) {
        let begun = Instant::now();
        while !self.holds(expression).await {
            assert!(
                begun.elapsed() < PATIENCE,
                "waited in vain until {expression}\n{}",
                self.told().await
            );
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits for what takes as long as it takes: pictures of a minute.
    pub(crate) async fn until_long(&self, expression: &str) {
        while !self.holds(expression).await {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Chooses an option of a list that is shown on telephones only.
    pub(crate) async fn choose_by_script(&self, selector: &str, value: &str) {
        let script = format!(
            "const list = document.querySelector({selector:?}); list.value = {value:?}; list.dispatchEvent(new Event('change'))"
        );
        self.script(&script).await;
    }

    async fn told(&self) -> String {
        let text = self.script("return document.body.innerText").await;
        format!(
            "{}\n{:?}",
            text.as_str().unwrap_or_default(),
            self.chrome.console()
        )
    }

    /// Waits until the first element of that selector shows this among other text.
    pub(crate) async fn until_text(&self, selector: &str, part: &str) {
        self.until(&format!(
            "document.querySelector({selector:?})?.innerText.replaceAll('\\u00a0', ' ').includes({part:?})"
        ))
        .await;
    }

    pub(crate) async fn text(&self, selector: &str) -> String {
        let text = self
            .script(&format!(
                "return document.querySelector({selector:?})?.innerText ?? ''"
            ))
            .await;
        // Numbers and their units are kept together by a space of their own kind.
        text.as_str().unwrap_or_default().replace('\u{a0}', " ")
    }

    /// Presses with the mouse.
    pub(crate) async fn press(&self, selector: &str) {
        let element = self.client().find(Locator::Css(selector)).await;
        let element = element.unwrap_or_else(|error| panic!("{selector}: {error}"));
        element
            .click()
            .await
            .unwrap_or_else(|error| panic!("{selector}: {error}"));
    }

    /// Puts text into a field in place of what it holds.
    pub(crate) async fn fill(&self, selector: &str, text: &str) {
        let element = self.client().find(Locator::Css(selector)).await.unwrap();
        element.clear().await.unwrap();
        element.send_keys(text).await.unwrap();
    }

    /// Chooses an option as with the keyboard: by typing what it says.
    pub(crate) async fn choose(&self, selector: &str, option: &str) {
        let element = self.client().find(Locator::Css(selector)).await.unwrap();
        element.send_keys(option).await.unwrap();
    }

    /// Presses a key on whatever has the focus.
    pub(crate) async fn key(&self, key: impl Display) {
        let focused = self.client().active_element().await.unwrap();
        focused.send_keys(&key.to_string()).await.unwrap();
    }

    /// Presses a key again and again until something holds in the page.
    pub(crate) async fn key_until(&self, key: impl Display, expression: &str) {
        let begun = Instant::now();
        while !self.holds(expression).await {
            assert!(
                begun.elapsed() < PATIENCE,
                "pressed {key} in vain until {expression}\n{}",
                self.told().await
            );
            self.key(&key).await;
        }
    }

    /// What holds once a row says this.
    pub(crate) fn row_says(name: &str, part: &str) -> String {
        format!(
            "document.querySelector({:?})?.innerText.includes({part:?})",
            Page::row(name)
        )
    }

    /// The row of a backend.
    pub(crate) fn row(name: &str) -> String {
        format!("tr[data-name='{name}']")
    }

    /// A picture of what is seen, in `target/screenshots/`.
    pub(crate) async fn picture(&self, name: &str) -> PathBuf {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/screenshots");
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join(format!("{name}.png"));
        let png = self.client().screenshot().await.unwrap();
        std::fs::write(&path, png).unwrap();
        path
    }

    /// The console is empty: no error, no warning, no violation of the policy.
    pub(crate) fn assert_clean(&self) {
        self.assert_clean_but_for("nothing");
    }

    /// The same, where answers or connections that fail are part of the test: the browser logs them as of `source`.
    pub(crate) fn assert_clean_but_for(&self, source: &str) {
        let mut entries = self.chrome.console();
        entries.retain(|entry| entry["source"] != source);
        assert!(entries.is_empty(), "{entries:#?}");
    }
}
