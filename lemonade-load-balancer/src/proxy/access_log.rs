//! The access log: what is remembered of a request, and the line that it becomes.
//!
//! A shard formats the line and hands it to [`crate::log_file`]. Query strings are left out and credentials never read: a log
//! is the first thing that leaks.

use super::forward::Ended;
use super::headers::RequestId;
use super::retry::Attempts;
use crate::config::AccessLogFormat;
use crate::http1::fields::Known;
use crate::http1::request::RequestHead;
use crate::timestamp::rfc3339;
use serde::Serialize;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

/// What is remembered of a request that will be logged.
#[derive(Debug)]
pub(crate) struct Entry {
    client: SocketAddr,
    method: String,
    host: String,
    path: String,
    user_agent: Option<String>,
    trace_id: Option<String>,
}

impl Entry {
    pub(super) fn new(head: &RequestHead<'_>, client: SocketAddr) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let path = head
            .target
            .split(|byte| *byte == b'?')
            .next()
            .unwrap_or_default();
        Entry {
            client,
            method: text(head.method),
            host: text(head.authority.unwrap_or_default()),
            path: text(path),
            user_agent: head.field(Known::UserAgent).map(text),
            trace_id: head.field(Known::Traceparent).and_then(trace_id),
        }
    }
}

/// The trace id of a W3C `traceparent`: `00-<32 hex>-<16 hex>-<2 hex>`.
fn trace_id(traceparent: &[u8]) -> Option<String> {
    let id = std::str::from_utf8(traceparent).ok()?.split('-').nth(1)?;
    (id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| id.to_owned())
}

/// How the request went.
pub(super) struct Finish<'f> {
    pub(super) id: &'f RequestId,
    pub(super) ended: &'f Ended,
    pub(super) strategy: &'static str,
    /// Names of the backends tried, the last being the one that answered.
    pub(super) backends: Vec<&'f str>,
    /// The one that answered, or that was tried last.
    pub(super) backend: Option<&'f str>,
    pub(super) attempts: &'f Attempts,
    pub(super) total: Duration,
    pub(super) bytes_in: u64,
}

/// One line, in the field order of the conventions.
#[derive(Serialize)]
struct Line<'l> {
    time: String,
    request_id: &'l str,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<&'l str>,
    client: SocketAddr,
    method: &'l str,
    host: &'l str,
    path: &'l str,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    flag: Option<&'static str>,
    strategy: &'static str,
    backend: Option<&'l str>,
    attempts: &'l [&'l str],
    queue_seconds: f64,
    connect_seconds: f64,
    first_byte_seconds: f64,
    total_seconds: f64,
    bytes_in: u64,
    bytes_out: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<&'l str>,
}

fn line<'l>(entry: &'l Entry, finish: &'l Finish<'l>) -> Line<'l> {
    Line {
        time: rfc3339(SystemTime::now()),
        request_id: finish.id.as_str(),
        trace_id: entry.trace_id.as_deref(),
        client: entry.client,
        method: &entry.method,
        host: &entry.host,
        path: &entry.path,
        status: finish.ended.status,
        flag: finish.ended.flag,
        strategy: finish.strategy,
        backend: finish.backend,
        attempts: &finish.backends,
        queue_seconds: finish.attempts.queued.as_secs_f64(),
        connect_seconds: finish.attempts.connect.as_secs_f64(),
        first_byte_seconds: finish.attempts.first_byte.as_secs_f64(),
        total_seconds: finish.total.as_secs_f64(),
        bytes_in: finish.bytes_in,
        bytes_out: finish.attempts.bytes_out,
        user_agent: entry.user_agent.as_deref(),
    }
}

impl Line<'_> {
    fn text(&self) -> String {
        format!(
            "{} {} \"{} {}{}\" {} {} {:.6}s {} {}{}\n",
            self.time,
            self.client,
            self.method.escape_default(),
            self.host.escape_default(),
            self.path.escape_default(),
            self.status,
            self.backend.unwrap_or("-"),
            self.total_seconds,
            self.bytes_out,
            self.request_id,
            self.flag.map(|flag| format!(" {flag}")).unwrap_or_default(),
        )
    }
}

/// One line, as `format` has it, with its line feed.
pub(super) fn write(format: AccessLogFormat, entry: &Entry, finish: &Finish<'_>) -> Vec<u8> {
    let line = line(entry, finish);
    match format {
        AccessLogFormat::Text => line.text().into_bytes(),
        AccessLogFormat::Json => {
            // Plain strings and numbers always serialize.
            let mut bytes = serde_json::to_vec(&line).unwrap_or_default();
            bytes.push(b'\n');
            bytes
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trace_id_is_read_from_a_well_formed_traceparent_only() {
        let good = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(
            trace_id(good).as_deref(),
            Some("4bf92f3577b34da6a3ce929d0e0e4736")
        );
        assert_eq!(trace_id(b"00-4bf9-00f067aa0ba902b7-01"), None);
        assert_eq!(trace_id(b"\xff"), None);
    }
}
