//! The browser: a chromedriver of each test's own, with one headless Chromium.

use fantoccini::{Client, ClientBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
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
        let address = self.address;
        // Killed, it would leave the browser behind.
        let _ = answer(
            address,
            &format!("GET /shutdown HTTP/1.1\r\nHost: {address}\r\n\r\n"),
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
        let answer = answer(address, &text).expect("chromedriver answers");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        answer["value"].clone()
    }
}

/// The body of the answer to a request. chromedriver leaves connections open, so its length has to be minded.
fn answer(address: SocketAddr, request: &str) -> io::Result<String> {
    let mut stream = BufReader::new(TcpStream::connect(address)?);
    stream.get_mut().write_all(request.as_bytes())?;
    let mut length = 0;
    let mut line = String::new();
    while stream.read_line(&mut line)? > 2 {
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap_or(0);
        }
        line.clear();
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(String::from_utf8_lossy(&body).into_owned())
}
