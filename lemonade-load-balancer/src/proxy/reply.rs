//! Every failure → its status, here and nowhere else; and the answers that the proxy gives by itself.
//!
//! Clients get the status and a short reason; the log gets the cause.

use super::forward::Failure;
use super::headers::RequestId;
use super::upstream::ConnectError;
use crate::http1::{HeadError, Version};
use std::io::Write;

/// Why the proxy answers instead of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    BadHead(HeadError),
    BadBody,
    RequestTimeout,
    TooManyConnections,
    /// Of one client.
    TooManyOfClient,
    NoHealthyBackend,
    /// Every backend has all the requests that it may have, and so has the queue.
    QueueFull,
    QueueTimeout,
    /// Every backend that was tried said that it cannot serve now, the last one with 429 or 503.
    Busy,
    /// The same with another status.
    Failing,
    ConnectFailed,
    ConnectTimeout,
    /// The backend closed or reset its connection before an answer.
    Unanswered,
    BadAnswer,
    AnswerTimeout,
    /// It has been here too often: the backends' way leads back to us.
    Loop,
    /// A fault of this machine (no descriptors, no ports), not of a backend.
    OutOfResources,
}

/// What the client is told.
struct Told {
    status: &'static str,
    detail: &'static str,
    /// The error type of RFC 9209 section 2.3, where it has one.
    proxy_status: &'static str,
    /// For the access log.
    flag: &'static str,
}

impl Reason {
    /// What the client of a failed request is told; `None` if it has left. No failure at all means there was no backend to
    /// try.
    pub(super) fn of(failure: Option<&Failure>) -> Option<Self> {
        Some(match failure {
            None => Reason::NoHealthyBackend,
            Some(Failure::Connect(ConnectError::Timeout(_))) => Reason::ConnectTimeout,
            Some(Failure::Connect(ConnectError::Refused(_))) => Reason::ConnectFailed,
            Some(Failure::Connect(ConnectError::Local(_))) => Reason::OutOfResources,
            Some(Failure::Unanswered) => Reason::Unanswered,
            Some(Failure::BadAnswer) => Reason::BadAnswer,
            Some(Failure::AnswerTimeout | Failure::TotalTimeout) => Reason::AnswerTimeout,
            Some(Failure::Refused(429 | 503)) => Reason::Busy,
            Some(Failure::Refused(_)) => Reason::Failing,
            Some(Failure::QueueFull) => Reason::QueueFull,
            Some(Failure::QueueTimeout) => Reason::QueueTimeout,
            Some(Failure::BadBody) => Reason::BadBody,
            Some(Failure::RequestTimeout) => Reason::RequestTimeout,
            Some(Failure::ClientGone | Failure::SlowClient | Failure::Broken | Failure::Cut) => {
                return None;
            }
        })
    }

    fn told(self) -> Told {
        let told = |status, detail, proxy_status, flag| Told {
            status,
            detail,
            proxy_status,
            flag,
        };
        match self {
            Reason::BadHead(HeadError::Malformed(rule)) => {
                told("400 Bad Request", rule, "http_request_error", "bad_request")
            }
            Reason::BadHead(HeadError::TargetTooLong) => told(
                "414 URI Too Long",
                "the request target is too long",
                "http_request_error",
                "bad_request",
            ),
            Reason::BadHead(HeadError::TooLarge) => told(
                "431 Request Header Fields Too Large",
                "the header section is too large",
                "http_request_error",
                "bad_request",
            ),
            Reason::BadHead(HeadError::Version) => told(
                "505 HTTP Version Not Supported",
                "only HTTP/1.0 and HTTP/1.1 are spoken here",
                "http_request_error",
                "bad_request",
            ),
            Reason::BadHead(HeadError::NotImplemented(rule)) => told(
                "501 Not Implemented",
                rule,
                "http_request_denied",
                "bad_request",
            ),
            Reason::BadBody => told(
                "400 Bad Request",
                "the request body is malformed",
                "http_request_error",
                "bad_request",
            ),
            Reason::RequestTimeout => told(
                "408 Request Timeout",
                "the request did not arrive in time",
                "http_request_error",
                "timeout",
            ),
            Reason::TooManyConnections => told(
                "503 Service Unavailable",
                "too many connections",
                "connection_limit_reached",
                "overflow",
            ),
            Reason::TooManyOfClient => told(
                "429 Too Many Requests",
                "too many connections of one client",
                "http_request_denied",
                "rate_limited",
            ),
            Reason::NoHealthyBackend => told(
                "503 Service Unavailable",
                "no healthy backend",
                "destination_unavailable",
                "no_healthy_backend",
            ),
            Reason::QueueFull => told(
                "503 Service Unavailable",
                "every backend is busy and the queue is full",
                "destination_unavailable",
                "overflow",
            ),
            Reason::QueueTimeout => told(
                "503 Service Unavailable",
                "no backend had room in time",
                "destination_unavailable",
                "overflow",
            ),
            Reason::Busy => told(
                "503 Service Unavailable",
                "every backend that was tried is busy",
                "destination_unavailable",
                "retries_exhausted",
            ),
            Reason::Failing => told(
                "502 Bad Gateway",
                "every backend that was tried failed",
                "destination_unavailable",
                "retries_exhausted",
            ),
            Reason::ConnectFailed => told(
                "502 Bad Gateway",
                "no connection to a backend",
                "connection_refused",
                "connect_failed",
            ),
            Reason::ConnectTimeout => told(
                "504 Gateway Timeout",
                "no connection to a backend in time",
                "connection_timeout",
                "timeout",
            ),
            Reason::Unanswered => told(
                "502 Bad Gateway",
                "the backend closed its connection without an answer",
                "connection_terminated",
                "retries_exhausted",
            ),
            Reason::BadAnswer => told(
                "502 Bad Gateway",
                "the backend's answer is malformed",
                "http_protocol_error",
                "bad_answer",
            ),
            Reason::AnswerTimeout => told(
                "504 Gateway Timeout",
                "the backend did not answer in time",
                "http_response_timeout",
                "timeout",
            ),
            Reason::Loop => told(
                "508 Loop Detected",
                "the request has passed through here too often",
                "proxy_loop_detected",
                "loop",
            ),
            Reason::OutOfResources => told(
                "503 Service Unavailable",
                "the proxy has no resources left for a connection to a backend",
                "proxy_internal_error",
                "overflow",
            ),
        }
    }

    /// The status as a number.
    pub(crate) fn status(self) -> u16 {
        self.told()
            .status
            .split_once(' ')
            .and_then(|(code, _)| code.parse().ok())
            .unwrap_or(500)
    }

    /// The access log's word for it.
    pub(crate) fn flag(self) -> &'static str {
        self.told().flag
    }
}

/// How a reply is to be written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style<'s> {
    pub(crate) version: Version,
    pub(crate) keep_alive: bool,
    pub(crate) json: bool,
    /// The request was HEAD: everything but the body.
    pub(crate) head_only: bool,
    /// `None` where no request was read.
    pub(crate) id: Option<&'s RequestId>,
}

impl Style<'_> {
    /// For a connection whose request could not be read.
    pub(crate) const UNREAD: Style<'static> = Style {
        version: Version::Http11,
        keep_alive: false,
        json: false,
        head_only: false,
        id: None,
    };
}

/// Writes a complete reply.
pub(crate) fn write(reason: Reason, style: Style<'_>, out: &mut Vec<u8>) {
    let told = reason.told();
    let id = style.id.map(RequestId::as_str);
    let body = match (style.json, id) {
        (true, Some(id)) => {
            // Neither text needs more escaping than this: a detail is ours, an id may hold quotes and backslashes.
            let id = id.replace('\\', "\\\\").replace('"', "\\\"");
            format!(
                "{{\"status\":{},\"error\":\"{}\",\"request_id\":\"{id}\"}}\n",
                reason.status(),
                told.detail
            )
        }
        (_, Some(id)) => format!("{}: {}\nrequest id: {id}\n", told.status, told.detail),
        (_, None) => format!("{}: {}\n", told.status, told.detail),
    };
    let content_type = if style.json {
        "application/json"
    } else {
        "text/plain; charset=utf-8"
    };
    // Writing to a `Vec` cannot fail, here and below.
    let _ = write!(
        out,
        "HTTP/1.1 {}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\nProxy-Status: lemonade; error={}; details=\"{}\"\r\n",
        told.status,
        body.len(),
        told.proxy_status,
        // Our details hold no quote or backslash, which alone would need escaping (RFC 8941 3.3.3).
        told.detail,
    );
    write_id(style, out);
    if matches!(reason.status(), 429 | 503) {
        out.extend_from_slice(b"Retry-After: 1\r\n");
    }
    end_head(style, out);
    if !style.head_only {
        out.extend_from_slice(body.as_bytes());
    }
}

/// Answers a TRACE that goes no further with `request`, the head that came (RFC 9110 9.3.8). Returns the status.
pub(super) fn write_echo(request: &[u8], style: Style<'_>, out: &mut Vec<u8>) -> u16 {
    let _ = write!(
        out,
        "HTTP/1.1 200 OK\r\nContent-Type: message/http\r\nContent-Length: {}\r\n",
        request.len()
    );
    write_id(style, out);
    end_head(style, out);
    out.extend_from_slice(request);
    200
}

/// Answers an OPTIONS that goes no further: what passes through here, since nobody knows the target (RFC 9110 9.3.7). Returns
/// the status.
pub(super) fn write_options(style: Style<'_>, out: &mut Vec<u8>) -> u16 {
    out.extend_from_slice(
        b"HTTP/1.1 204 No Content\r\nAllow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, TRACE\r\n",
    );
    write_id(style, out);
    end_head(style, out);
    204
}

fn write_id(style: Style<'_>, out: &mut Vec<u8>) {
    if let Some(id) = style.id {
        let _ = write!(out, "X-Request-Id: {}\r\n", id.as_str());
    }
}

/// The last fields of a head: what becomes of the connection.
fn end_head(style: Style<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(match (style.keep_alive, style.version) {
        (true, Version::Http11) => b"\r\n".as_slice(),
        (true, Version::Http10) => b"Connection: keep-alive\r\n\r\n",
        (false, _) => b"Connection: close\r\n\r\n",
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reply_says_status_reason_and_request_id() {
        let id = RequestId::Kept(b"r\"1".as_slice().into());
        let mut out = Vec::new();
        let style = Style {
            version: Version::Http11,
            keep_alive: true,
            json: true,
            head_only: false,
            id: Some(&id),
        };
        write(Reason::NoHealthyBackend, style, &mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.starts_with("HTTP/1.1 503 Service Unavailable\r\n"),
            "{text}"
        );
        assert!(text.contains("Retry-After: 1\r\n"), "{text}");
        assert!(
            text.contains("Proxy-Status: lemonade; error=destination_unavailable"),
            "{text}"
        );
        let (_, body) = text.split_once("\r\n\r\n").unwrap();
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["request_id"], "r\"1");
        assert_eq!(body["status"], 503);
    }

    #[test]
    fn every_flag_is_documented() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/access-log.md");
        let text = std::fs::read_to_string(path).unwrap();
        let flags = text.split("\n## Flags\n").nth(1).unwrap();
        let flags = flags.split("\n## ").next().unwrap();
        for reason in [
            Reason::BadHead(HeadError::TooLarge),
            Reason::BadBody,
            Reason::RequestTimeout,
            Reason::TooManyConnections,
            Reason::TooManyOfClient,
            Reason::NoHealthyBackend,
            Reason::QueueFull,
            Reason::QueueTimeout,
            Reason::Busy,
            Reason::Failing,
            Reason::ConnectFailed,
            Reason::ConnectTimeout,
            Reason::Unanswered,
            Reason::BadAnswer,
            Reason::AnswerTimeout,
            Reason::Loop,
            Reason::OutOfResources,
        ] {
            let row = format!("\n| `{}` | ", reason.flag());
            let (_, row) = flags.split_once(&row).unwrap();
            let row = row.lines().next().unwrap();
            let status = reason.status().to_string();
            assert!(
                row.contains(&status),
                "{reason:?}: {status} is not in {row}"
            );
        }
    }

    #[test]
    fn answer_to_head_has_no_body_but_its_length() {
        let mut out = Vec::new();
        write(
            Reason::ConnectFailed,
            Style {
                head_only: true,
                ..Style::UNREAD
            },
            &mut out,
        );
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.ends_with("Connection: close\r\n\r\n") && !text.contains("Content-Length: 0"),
            "{text}"
        );
    }
}
