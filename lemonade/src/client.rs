//! Calls the admin API of a running balancer.

use crate::cli::Reach;
use crate::command::Failure;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use lemonade_config::{Document, Environment};
use lemonade_load_balancer::config::{self, AdminConfig, Secret};
use serde_json::Value;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

/// How long a call may take; the API answers at once, but a change that is kept may wait for a database.
const PATIENCE: Duration = Duration::from_secs(20);

const OFF: &str = "the configuration has `admin: off`: there is nothing to call";

/// Where the API is, and what opens it.
#[derive(Debug)]
pub(crate) struct Client {
    address: String,
    token: Option<Secret>,
}

/// A body and what it is.
pub(crate) struct Body {
    pub(crate) kind: &'static str,
    pub(crate) bytes: Vec<u8>,
}

impl Body {
    pub(crate) fn json(value: &Value) -> Self {
        Body {
            kind: "application/json",
            bytes: value.to_string().into_bytes(),
        }
    }

    pub(crate) fn none() -> Self {
        Body {
            kind: "application/json",
            bytes: Vec::new(),
        }
    }
}

impl Client {
    /// By flag, variable or configuration, in that order.
    pub(crate) fn reach(reach: &Reach) -> Result<Self, Failure> {
        Client::new(reach.admin.as_deref(), reach.config.as_deref())
    }

    pub(crate) fn new(admin: Option<&str>, config: Option<&Path>) -> Result<Self, Failure> {
        let environment = Environment::from_process()?;
        // What `.env` says counts here as it does for the balancer.
        let admin = admin.or_else(|| environment.get("LEMONADE_LB_ADMIN_ADDRESS"));
        let token = environment.get("LEMONADE_ADMIN_TOKEN").map(Secret::new);
        let configured = match config {
            Some(path) => {
                let document = Document::load(path, &environment)?;
                let admin = config::admin(&document, &environment)?;
                admin.ok_or_else(|| Failure::Usage(OFF.to_owned()))?
            }
            None => AdminConfig::default(),
        };
        Ok(Client {
            address: admin.map_or_else(
                || within_reach(configured.listen).to_string(),
                str::to_owned,
            ),
            token: token.or(configured.token),
        })
    }

    /// Where the API is.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// One call; a problem that the API reports is a failure with the API's words.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Body,
    ) -> Result<Value, Failure> {
        let called = timeout(PATIENCE, self.exchange(method, path, body)).await;
        let (status, answer) =
            called.map_err(|_| self.away(&format!("no answer within {PATIENCE:?}")))??;
        let json: Value = match answer.is_empty() {
            true => Value::Null,
            false => serde_json::from_slice(&answer)
                .map_err(|_| self.away("what answers there is no Lemonade"))?,
        };
        match status.is_success() {
            true => Ok(json),
            false => Err(refusal(status, &json)),
        }
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Body,
    ) -> Result<(StatusCode, Bytes), Failure> {
        let away = |error: &dyn std::fmt::Display| self.away(&error.to_string());
        let stream = self.connect().await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| away(&error))?;
        let request = finished(self.request(method, path, &body), body)?;
        let answered = async {
            let response = sender.send_request(request).await?;
            let status = response.status();
            let bytes = response.into_body().collect().await?.to_bytes();
            Ok::<_, hyper::Error>((status, bytes))
        };
        tokio::select! {
            answered = answered => answered.map_err(|error| away(&error)),
            _ = connection => Err(away(&"the connection was closed")),
        }
    }

    /// Hands every event of `feed` to `tell`, until the balancer goes or `tell` fails.
    pub(crate) async fn follow(
        &self,
        feed: &Feed<'_>,
        mut tell: impl FnMut(&Event) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let away = |error: &dyn std::fmt::Display| self.away(&error.to_string());
        let stream = self.in_time(feed, self.connect()).await??;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| away(&error))?;
        let mut request = self.request(Method::GET, feed.path, &Body::none());
        if let Some(last) = feed.after {
            request = request.header("last-event-id", last);
        }
        let request = finished(request, Body::none())?;
        let told = async {
            let response = self.in_time(feed, sender.send_request(request)).await?;
            let response = response.map_err(|error| away(&error))?;
            if !response.status().is_success() {
                return Err(refusal(response.status(), &Value::Null));
            }
            let (mut body, mut events) = (response.into_body(), Events::default());
            while let Some(frame) = self.in_time(feed, body.frame()).await? {
                let frame = frame.map_err(|error| away(&error))?;
                let bytes = frame.data_ref().map_or(&[][..], |bytes| &bytes[..]);
                for event in events.take(bytes) {
                    tell(&event)?;
                }
            }
            Ok(())
        };
        tokio::pin!(told);
        tokio::select! {
            biased;
            told = &mut told => told,
            _ = connection => told.await,
        }
    }

    /// Waits no longer than the feed may be silent.
    async fn in_time<T>(
        &self,
        feed: &Feed<'_>,
        wait: impl Future<Output = T>,
    ) -> Result<T, Failure> {
        match feed.silence {
            None => Ok(wait.await),
            Some(longest) => timeout(longest, wait)
                .await
                .map_err(|_| self.away(&format!("nothing came for {longest:?}"))),
        }
    }

    async fn connect(&self) -> Result<TcpStream, Failure> {
        let away = |error: std::io::Error| self.away(&error.to_string());
        let addresses = lookup_host(&self.address).await.map_err(away)?;
        let addresses: Vec<SocketAddr> = addresses.collect();
        TcpStream::connect(&addresses[..]).await.map_err(away)
    }

    fn request(&self, method: Method, path: &str, body: &Body) -> hyper::http::request::Builder {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("/api/v1{path}"))
            .header(HOST, &self.address)
            .header(CONTENT_TYPE, body.kind);
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {}", token.expose()));
        }
        request
    }

    fn away(&self, why: &str) -> Failure {
        Failure::Failed(format!(
            "the admin API at {} cannot be reached: {why}\n(is the balancer running? `--admin ADDRESS` or `--config FILE` says where)",
            self.address
        ))
    }
}

fn finished(
    request: hyper::http::request::Builder,
    body: Body,
) -> Result<Request<Full<Bytes>>, Failure> {
    let body = Full::new(Bytes::from(body.bytes));
    let request = request.body(body);
    request.map_err(|error| Failure::Usage(error.to_string()))
}

/// A stream of server-sent events.
pub(crate) struct Feed<'p> {
    /// Below `/api/v1`.
    pub(crate) path: &'p str,
    /// The number of the last event that is not wanted; without it, all that are kept.
    pub(crate) after: Option<u64>,
    /// How long nothing may come before the balancer counts as gone; without it, for ever.
    pub(crate) silence: Option<Duration>,
}

/// No event has so high a number: after it, those that are past are not wanted.
pub(crate) const FROM_NOW_ON: Option<u64> = Some(u64::MAX);

/// A server-sent event.
#[derive(Debug, Default)]
pub(crate) struct Event {
    pub(crate) kind: String,
    /// JSON.
    pub(crate) data: Vec<u8>,
}

impl Event {
    /// The data; null if it is no JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.data).unwrap_or_default()
    }
}

/// Events as they come in pieces.
#[derive(Default)]
struct Events {
    /// What came of a line that has not ended.
    rest: Vec<u8>,
    /// What came of an event that has not ended.
    event: Event,
}

impl Events {
    /// Takes a piece; the events that are complete with it. Each has one line of data, as the API writes them.
    fn take(&mut self, piece: &[u8]) -> Vec<Event> {
        let mut complete = Vec::new();
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            self.rest.extend_from_slice(part);
            if part.ends_with(b"\n") {
                let line = std::mem::take(&mut self.rest);
                complete.extend(self.line(line.trim_ascii_end()));
            }
        }
        complete
    }

    fn line(&mut self, line: &[u8]) -> Option<Event> {
        if let Some(kind) = line.strip_prefix(b"event:") {
            self.event.kind = String::from_utf8_lossy(kind.trim_ascii()).into_owned();
        } else if let Some(data) = line.strip_prefix(b"data:") {
            self.event.data = data.to_vec();
        }
        let over = line.is_empty() && !self.event.data.is_empty();
        over.then(|| std::mem::take(&mut self.event))
    }
}

/// An address that listens everywhere is called here.
fn within_reach(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

fn refusal(status: StatusCode, problem: &Value) -> Failure {
    let detail = problem["detail"]
        .as_str()
        .map_or_else(|| status.to_string(), str::to_owned);
    match status {
        // What was asked makes no sense, or the configuration does not.
        StatusCode::UNPROCESSABLE_ENTITY | StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND => {
            Failure::Usage(detail)
        }
        StatusCode::UNAUTHORIZED => Failure::Failed(format!(
            "{detail}\n(it is that of LEMONADE_ADMIN_TOKEN, or else of the configuration given by `--config FILE`)"
        )),
        _ => Failure::Failed(detail),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_whole_however_they_arrive() {
        let wire =
            b"id: 1\nevent: x\ndata: {\"type\":\"x\"}\n\n:\n\nevent: y\ndata: {\"type\":\"y\"}\n\n";
        for cut in 0..wire.len() {
            let mut events = Events::default();
            let mut taken = events.take(&wire[..cut]);
            taken.extend(events.take(&wire[cut..]));
            let kinds: Vec<_> = taken.iter().map(|event| event.kind.as_str()).collect();
            assert_eq!(kinds, ["x", "y"], "cut at {cut}");
            assert!(taken.iter().all(|event| event.json()["type"] == event.kind));
        }
    }
}
