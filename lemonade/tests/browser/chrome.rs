//! The browser: a chromedriver of each test's own, with one headless Chromium.

use fantoccini::{Client, ClientBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use lemonade_test::process::request;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

/// Chromium asks nobody anything, and needs no rights of its own.
const FLAGS: [&str; 8] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
];

/// A running browser. It ends with its driver, when this is dropped.
pub(crate) struct Chrome {
    pub(crate) client: Client,
    driver: Driver,
    session: String,
}

struct Driver {
    child: Child,
    address: SocketAddr,
}

impl Driver {
    fn start() -> Driver {
        let started = Command::new("chromedriver")
            .args(["--port=0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut child = started.unwrap_or_else(|error| {
            panic!(
                "chromedriver does not start ({error}): apt-get install chromium chromium-driver"
            )
        });
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = lines
            .map_while(Result::ok)
            .find_map(|line| {
                let rest = line
                    .split_once("started successfully on port ")?
                    .1
                    .to_owned();
                rest.trim_end_matches('.').parse::<u16>().ok()
            })
            .expect("chromedriver says on which port it is");
        Driver {
            child,
            address: ([127, 0, 0, 1], port).into(),
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = request(
            self.address,
            &format!(
                "GET /shutdown HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
                self.address
            ),
        );
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Chrome {
    pub(crate) async fn start() -> Chrome {
        let driver = Driver::start();
        let options = json!({ "args": FLAGS });
        let wanted =
            json!({ "goog:chromeOptions": options, "goog:loggingPrefs": { "browser": "ALL" } });
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(wanted.as_object().unwrap().clone())
            .connect(&format!("http://{}", driver.address))
            .await
            .expect("Chromium starts: apt-get install chromium chromium-driver");
        let session = client.session_id().await.unwrap().unwrap();
        Chrome {
            client,
            driver,
            session,
        }
    }

    /// What the page and the browser wrote to the console since it was asked last.
    pub(crate) fn console(&self) -> Vec<Value> {
        let answer = self.ask("se/log", &json!({ "type": "browser" }));
        answer.as_array().cloned().unwrap_or_default()
    }

    /// A command of the DevTools protocol.
    pub(crate) fn devtools(&self, command: &str, parameters: &Value) -> Value {
        self.ask(
            "goog/cdp/execute",
            &json!({ "cmd": command, "params": parameters }),
        )
    }

    /// A command of chromedriver's own, which WebDriver does not know.
    fn ask(&self, path: &str, body: &Value) -> Value {
        let (address, body) = (self.driver.address, body.to_string());
        let text = format!(
            "POST /session/{}/{path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{body}",
            self.session,
            body.len()
        );
        let (status, answer) = request(address, &text);
        assert_eq!(status, 200, "{path}: {answer}");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        answer["value"].clone()
    }
}
