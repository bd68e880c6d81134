//! The access log: which requests are logged, and the line that each of them becomes.
//!
//! Whether a request is in the sample is decided when it begins, whether it has to be logged all the same when it ends. A shard
//! writes the line straight into a buffer of its own ([`crate::log_file`]). Query strings are left out and credentials never
//! read: a log is the first thing that leaks.

mod line;
mod text;

use super::headers::RequestId;
use super::journal::Journal;
use super::retry::Attempts;
use super::shard::{Shard, View};
use crate::config::AccessLogFormat;
use crate::timestamp::Stamp;
use line::Line;
use std::time::{Duration, Instant, SystemTime};

/// How long the wall clock is taken to go as the monotonic one does. Then it is read again: somebody may have set it.
const SAME_PACE: Duration = Duration::from_secs(1);

/// How a request ended.
pub(super) struct Finish<'f> {
    pub(super) ended: Instant,
    pub(super) total: Duration,
    pub(super) id: &'f RequestId,
    pub(super) status: u16,
    pub(super) flag: Option<&'static str>,
    pub(super) attempts: &'f Attempts,
    pub(super) bytes_in: u64,
}

/// The log as one shard keeps it.
#[derive(Debug)]
pub(super) struct Log {
    wall: Wall,
    stamp: Stamp,
}

impl Log {
    pub(super) fn new() -> Self {
        Log {
            wall: Wall::read(),
            stamp: Stamp::default(),
        }
    }
}

/// The wall clock, read once a second: requests have read the other clock anyway.
#[derive(Debug)]
struct Wall {
    read: Instant,
    time: SystemTime,
}

impl Wall {
    fn read() -> Self {
        Wall {
            read: Instant::now(),
            time: SystemTime::now(),
        }
    }

    fn at(&mut self, at: Instant) -> SystemTime {
        if at.saturating_duration_since(self.read) > SAME_PACE {
            *self = Wall::read();
        }
        // What ended before it was read last ended just before.
        self.time + at.saturating_duration_since(self.read)
    }
}

impl Shard {
    /// Writes a request's line.
    pub(super) fn log(&self, journal: &mut Journal, finish: &Finish<'_>, view: &View) {
        let mut log = self.log.borrow_mut();
        let log = &mut *log;
        let attempts = finish.attempts;
        let (asked, noted) = journal.read(finish.total);
        let line = Line {
            time: log.stamp.of(log.wall.at(finish.ended)),
            request_id: Some(finish.id.as_bytes()),
            asked,
            truncate_client: false,
            status: finish.status,
            flag: finish.flag,
            strategy: Some(view.snapshot.picks_by.as_str()),
            backend: attempts.served_by().map(|upstream| &*upstream.backend),
            attempts: noted,
            snapshot: &view.snapshot,
            queue: attempts.queued,
            connect: attempts.connect,
            first_byte: attempts.first_byte,
            total: finish.total,
            bytes_in: finish.bytes_in,
            bytes_out: attempts.bytes_out,
        };
        let mut out = Vec::with_capacity(512);
        match view.snapshot.config.access_log.format {
            AccessLogFormat::Json => line.json(&mut out),
            AccessLogFormat::Text => line.text(&mut out),
        }
        self.shared.access_log.write(out);
    }
}
