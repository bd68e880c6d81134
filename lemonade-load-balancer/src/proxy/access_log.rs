//! The access log: one line a request, written by a thread of its own so that a slow disk never slows a request.
//!
//! A shard formats the line and hands it over without waiting; when the writer is behind by [`QUEUE`] lines, further ones
//! are dropped and counted. Query strings are left out and credentials never read: a log is the first thing that leaks.

use super::forward::Ended;
use super::headers::RequestId;
use super::retry::Attempts;
use crate::config::{AccessLog, AccessLogFormat};
use crate::http1::fields::Known;
use crate::http1::request::RequestHead;
use serde::Serialize;
use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Lines that may wait for the writer.
const QUEUE: usize = 8192;

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
        backend: finish.backends.last().copied(),
        attempts: &finish.backends,
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

/// `2026-11-21T06:44:12.123456Z`, by Howard Hinnant's days-to-civil algorithm.
fn rfc3339(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:06}Z",
        second / 3600,
        second / 60 % 60,
        second % 60,
        since.subsec_micros()
    )
}

/// Where shards hand over their lines.
#[derive(Clone, Debug)]
pub(crate) struct AccessLogWriter {
    lines: SyncSender<Vec<u8>>,
    format: AccessLogFormat,
    dropped: Arc<AtomicU64>,
}

impl AccessLogWriter {
    pub(super) fn write(&self, entry: &Entry, finish: &Finish<'_>) {
        let line = line(entry, finish);
        let bytes = match self.format {
            AccessLogFormat::Text => line.text().into_bytes(),
            AccessLogFormat::Json => {
                // Plain strings and numbers always serialize.
                let mut bytes = serde_json::to_vec(&line).unwrap_or_default();
                bytes.push(b'\n');
                bytes
            }
        };
        if self.lines.try_send(bytes).is_err() {
            self.dropped.fetch_add(1, Relaxed);
        }
    }

    /// Counts the lines that were dropped because the writer was behind.
    pub(crate) fn dropped(&self) -> Arc<AtomicU64> {
        self.dropped.clone()
    }
}

/// Opens the log and starts its writer, which ends when the last [`AccessLogWriter`] is dropped.
pub(crate) fn open(config: &AccessLog) -> io::Result<AccessLogWriter> {
    let sink: Box<dyn Write + Send> = match &config.file {
        Some(path) => Box::new(OpenOptions::new().create(true).append(true).open(path)?),
        None => Box::new(io::stdout()),
    };
    let (lines, queue) = sync_channel(QUEUE);
    std::thread::Builder::new()
        .name("access-log".to_owned())
        .spawn(move || write_lines(&queue, sink))?;
    Ok(AccessLogWriter {
        lines,
        format: config.format,
        dropped: Arc::default(),
    })
}

/// Writes what is queued, flushing whenever the queue is empty. A failed write (a full disk) is said once, and the log goes
/// on when there is room again.
fn write_lines(queue: &Receiver<Vec<u8>>, sink: Box<dyn Write + Send>) {
    let mut sink = BufWriter::with_capacity(64 << 10, sink);
    let mut failing = false;
    while let Ok(line) = queue.recv() {
        let mut written = sink.write_all(&line);
        while let Ok(line) = queue.try_recv() {
            written = written.and_then(|()| sink.write_all(&line));
        }
        match written.and_then(|()| sink.flush()) {
            Ok(()) if failing => {
                failing = false;
                tracing::info!("the access log is written again");
            }
            Err(error) if !failing => {
                failing = true;
                tracing::warn!(%error, "the access log cannot be written");
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_written_as_rfc_3339() {
        let at = |seconds| rfc3339(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00.000000Z");
        assert_eq!(at(1_795_243_452), "2026-11-21T06:44:12.000000Z");
    }

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
