//! A server that takes OTLP over HTTP: one request at a time, on a connection that is kept.
//!
//! What its answers mean is the OpenTelemetry Protocol's (1.x, "OTLP/HTTP Response", "Retryable Response Codes").

use crate::config::OtlpConfig;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use prost::DecodeError;
use std::error::Error;
use std::time::Duration;
use thiserror::Error;
use tokio::time::timeout;

/// An answer is a few bytes, or a sentence.
const MAX_ANSWER: usize = 64 << 10;
/// Of a sentence that comes from there, for a log.
const MAX_SENTENCE: usize = 200;
const PROTOBUF: &str = "application/x-protobuf";
/// A connection that is idle for longer has often been forgotten on the way.
const IDLE: Duration = Duration::from_secs(60);

/// Where one signal is pushed to.
#[derive(Debug)]
pub(super) struct Server {
    client: Transport,
    uri: Uri,
    headers: HeaderMap,
    timeout: Duration,
}

#[derive(Debug)]
enum Transport {
    Plain(Client<HttpConnector, Full<Bytes>>),
    Secure(Client<HttpsConnector<HttpConnector>, Full<Bytes>>),
}

/// Why a push came to nothing.
#[derive(Debug, Error)]
pub(super) enum PushError {
    /// There was no answer: it may be tried again.
    #[error("{0}")]
    NoAnswer(String),
    /// The server says that it may be tried again, and when, if it does.
    #[error("its answer was {status}")]
    Busy {
        status: StatusCode,
        after: Option<Duration>,
    },
    /// It must not be tried again.
    #[error("its answer was {0}")]
    Refused(String),
}

impl PushError {
    /// When the server wants to be asked again.
    pub(super) fn asked(&self) -> Option<Duration> {
        match self {
            PushError::Busy { after, .. } => *after,
            PushError::NoAnswer(_) | PushError::Refused(_) => None,
        }
    }
}

impl From<DecodeError> for PushError {
    /// What was taken must not be sent again, whatever the answer says of it.
    fn from(error: DecodeError) -> Self {
        PushError::Refused(format!("no OTLP: {error}"))
    }
}

impl Server {
    /// `path`: the signal's, such as `/v1/traces`. Does not connect, but reads the system's root certificates for `https`.
    pub(super) fn new(config: &OtlpConfig, path: &str) -> Result<Self, PushError> {
        let uri = format!("{}{path}", config.endpoint);
        let never = |error: &dyn Error| PushError::NoAnswer(format!("never asked: {error}"));
        let uri: Uri = uri.parse().map_err(|error| never(&error))?;
        let client = match config.endpoint.is_secure() {
            true => Transport::secure().map_err(|error| never(&error))?,
            false => Transport::plain(),
        };
        Ok(Server {
            client,
            uri,
            headers: headers(config),
            timeout: config.timeout,
        })
    }

    /// Pushes one message. The answer's body, if the server took it.
    pub(super) async fn push(&self, message: Bytes) -> Result<Bytes, PushError> {
        match timeout(self.timeout, self.exchange(message)).await {
            Ok(answer) => answer,
            Err(_) => {
                let waited = self.timeout;
                Err(PushError::NoAnswer(format!("no answer within {waited:?}")))
            }
        }
    }

    async fn exchange(&self, message: Bytes) -> Result<Bytes, PushError> {
        let mut request = Request::new(Full::new(message));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        let answer = match &self.client {
            Transport::Plain(client) => client.request(request).await,
            Transport::Secure(client) => client.request(request).await,
        };
        let answer = answer.map_err(|error| PushError::NoAnswer(whole(&error)))?;
        let (status, after) = (answer.status(), retry_after(answer.headers()));
        let is_protobuf = is_protobuf(answer.headers());
        let body = read(answer).await;
        match status {
            _ if status.is_success() && is_protobuf => body,
            // Taken, by a server that says no more.
            _ if status.is_success() => body.map(|_| Bytes::new()),
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => Err(PushError::Busy { status, after }),
            _ => Err(PushError::Refused(status.to_string())),
        }
    }
}

impl Transport {
    fn plain() -> Self {
        Transport::Plain(builder().build_http())
    }

    fn secure() -> std::io::Result<Self> {
        let connector = HttpsConnectorBuilder::new().with_native_roots()?;
        let connector = connector.https_only().enable_http1().build();
        Ok(Transport::Secure(builder().build(connector)))
    }
}

fn builder() -> hyper_util::client::legacy::Builder {
    let mut builder = Client::builder(TokioExecutor::new());
    builder
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(1);
    builder
}

/// The configuration's, which are valid, and ours.
fn headers(config: &OtlpConfig) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let agent = concat!("lemonade/", env!("CARGO_PKG_VERSION"));
    headers.insert(USER_AGENT, HeaderValue::from_static(agent));
    for (name, value) in &config.headers {
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(mut value)) =
            (name, HeaderValue::from_bytes(value.expose().as_bytes()))
        {
            value.set_sensitive(true);
            headers.insert(name, value);
        }
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROTOBUF));
    headers
}

async fn read(answer: Response<hyper::body::Incoming>) -> Result<Bytes, PushError> {
    let body = Limited::new(answer.into_body(), MAX_ANSWER);
    match body.collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) => Err(PushError::NoAnswer(error.to_string())),
    }
}

fn is_protobuf(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    kind.is_some_and(|kind| kind.starts_with(PROTOBUF.as_bytes()))
}

/// Seconds. A date is as good as none: then the wait is our own.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?;
    seconds.trim().parse().ok().map(Duration::from_secs)
}

/// An error with all its causes: the outermost says "client error".
fn whole(error: &dyn Error) -> String {
    let mut sentence = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        sentence = format!("{sentence}: {error}");
        cause = error.source();
    }
    shortened(&sentence)
}

/// What somebody else wrote, fit for a log.
pub(super) fn shortened(sentence: &str) -> String {
    let plain = sentence.chars().filter(|c| !c.is_control());
    plain.take(MAX_SENTENCE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_over_tls_can_be_made() {
        let url = crate::config::OtlpUrl::parse("https://localhost").unwrap();
        Server::new(&OtlpConfig::at(url), "/v1/traces").unwrap();
    }

    #[test]
    fn only_seconds_are_waited_for() {
        let after = |value: &str| {
            let value = HeaderValue::from_str(value).unwrap();
            retry_after(&HeaderMap::from_iter([(RETRY_AFTER, value)]))
        };
        assert_eq!(after("7"), Some(Duration::from_secs(7)));
        assert_eq!(after("Wed, 21 Oct 2026 07:28:00 GMT"), None);
        assert_eq!(after("-1"), None);
    }

    #[test]
    fn sentences_of_others_are_fit_for_a_log() {
        assert_eq!(shortened("a\nb\x1b[31m"), "ab[31m");
        assert_eq!(shortened(&"x".repeat(1000)).len(), MAX_SENTENCE);
    }
}
