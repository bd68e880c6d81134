//! What the worker answers, in a form every framework can send.
//!
//! Made by the worker; each adapter turns it into its framework's own response. Promise: `Content-Type`,
//! `Content-Length` and `Allow` are set where they belong, so adapters add nothing.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;
use http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use lemonade_config::Faults;
use serde::Serialize;
use serde_json::{Value, json};

/// How a request ends.
#[derive(Debug)]
pub enum Answer {
    /// With a response.
    Reply(Response<Payload>),
    /// The connection is to be closed without a byte of a response.
    Close,
}

/// A body that is made while it is sent: JSON, and blanks after it up to a size.
///
/// As a stream its pieces are at most 64 KiB, so a large body costs no memory.
#[derive(Debug, Clone)]
pub struct Payload {
    text: Bytes,
    padding: u64,
}

/// JSON allows blanks at the end (RFC 8259, section 2), so a padded answer still parses.
static BLANKS: [u8; 64 << 10] = [b' '; 64 << 10];

impl Payload {
    /// Bytes that are still to come.
    pub fn length(&self) -> u64 {
        self.text.len() as u64 + self.padding
    }

    /// The next piece; never empty.
    pub fn next_piece(&mut self) -> Option<Bytes> {
        if !self.text.is_empty() {
            return Some(std::mem::take(&mut self.text));
        }
        let length = self.padding.min(BLANKS.len() as u64);
        self.padding -= length;
        let piece = Bytes::from_static(&BLANKS[..usize::try_from(length).ok()?]);
        (!piece.is_empty()).then_some(piece)
    }
}

impl Stream for Payload {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Infallible>>> {
        Poll::Ready(self.next_piece().map(Ok))
    }
}

/// `content` as JSON, padded to `size` bytes; statuses that have no body get none.
pub(crate) fn reply(status: StatusCode, content: &impl Serialize, size: u64) -> Answer {
    respond(status, "application/json", content, size)
}

/// An error as RFC 9457 wants it.
pub(crate) fn problem(status: StatusCode, detail: &str) -> Answer {
    respond(
        status,
        "application/problem+json",
        &members(status, detail),
        0,
    )
}

/// A 400 that lists every fault.
pub(crate) fn faulty(faults: &Faults) -> Answer {
    let status = StatusCode::BAD_REQUEST;
    let mut members = members(status, &faults.to_string());
    let list = faults
        .iter()
        .map(|fault| json!({ "field": fault.path, "problem": fault.problem, "help": fault.help }));
    members["faults"] = list.collect();
    respond(status, "application/problem+json", &members, 0)
}

/// A 405 with what would be allowed.
pub(crate) fn not_allowed(allow: &'static str) -> Answer {
    let mut answer = problem(
        StatusCode::METHOD_NOT_ALLOWED,
        &format!("expected one of {allow}"),
    );
    if let Answer::Reply(response) = &mut answer {
        response
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static(allow));
    }
    answer
}

fn members(status: StatusCode, detail: &str) -> Value {
    json!({
        "title": status.canonical_reason().unwrap_or("Error"),
        "status": status.as_u16(),
        "detail": detail,
    })
}

fn respond(status: StatusCode, kind: &'static str, content: &impl Serialize, size: u64) -> Answer {
    if matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        let mut response = Response::new(Payload {
            text: Bytes::new(),
            padding: 0,
        });
        *response.status_mut() = status;
        return Answer::Reply(response);
    }
    // Our own types have string keys and finite numbers, which is all that could fail.
    let text = Bytes::from(serde_json::to_vec(content).unwrap_or_default());
    let payload = Payload {
        padding: size.saturating_sub(text.len() as u64),
        text,
    };
    let length = payload.length();
    let mut response = Response::new(payload);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    Answer::Reply(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(answer: Answer) -> Response<Payload> {
        match answer {
            Answer::Reply(response) => response,
            Answer::Close => panic!("closed"),
        }
    }

    #[test]
    fn padded_reply_has_its_length_and_still_parses() {
        for size in [0, 20, 70_000, 200_000] {
            let content = json!({ "worker": "w" });
            let mut response = response(reply(StatusCode::OK, &content, size));
            let length = response.headers()[CONTENT_LENGTH]
                .to_str()
                .unwrap()
                .to_owned();
            let mut body = Vec::new();
            while let Some(piece) = response.body_mut().next_piece() {
                assert!(!piece.is_empty() && piece.len() <= BLANKS.len());
                body.extend_from_slice(&piece);
            }
            assert_eq!(body.len().to_string(), length);
            assert!(body.len() as u64 >= size);
            assert_eq!(serde_json::from_slice::<Value>(&body).unwrap(), content);
            assert_eq!(response.body().length(), 0);
        }
    }

    #[test]
    fn statuses_without_a_body_get_none() {
        for status in [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED] {
            let response = response(reply(status, &json!({}), 1000));
            assert_eq!(response.body().length(), 0);
            assert!(response.headers().is_empty());
        }
    }
}
