//! The access log: which requests are logged, and the line that each of them becomes.
//!
//! Whether a request is in the sample is decided when it begins, whether it has to be logged all the same when it ends. A shard
//! writes the line straight into a buffer of its own ([`crate::log_file`]). Query strings are left out and credentials never
//! read: a log is the first thing that leaks.

mod line;
pub(super) mod text;

use super::asked::Asker;
use super::journal::{Attempt, Journal};
use super::reply::Reason;
use super::shard::Shard;
use super::upstream::Upstream;
use super::view::View;
use crate::config::{AccessLog, AccessLogFormat};
use crate::log_file::{Lines, LogWriter, PATIENCE, Severity};
use crate::timestamp::{Stamp, since_1970};
use line::Line;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

/// How long the wall clock is taken to go as the monotonic one does. Then it is read again: somebody may have set it.
const SAME_PACE: Duration = Duration::from_secs(1);

/// The flag of a request that was dropped: a drain was over, or something panicked.
const CUT_OFF: &str = "cut_off";

/// How a request ended.
#[derive(Debug)]
pub(super) struct Finish {
    pub(super) ended: Instant,
    pub(super) total: Duration,
    pub(super) status: u16,
    pub(super) flag: Option<&'static str>,
    /// Who answered, or was tried last.
    pub(super) backend: Option<Rc<Upstream>>,
    pub(super) queue: Duration,
    pub(super) connect: Duration,
    pub(super) first_byte: Duration,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
}

/// The log as one shard keeps it.
#[derive(Debug)]
pub(super) struct Log {
    lines: Lines,
    wall: Wall,
    stamp: Stamp,
}

impl Log {
    pub(super) fn new(writer: LogWriter) -> Self {
        Log {
            lines: Lines::new(writer),
            wall: Wall::read(),
            stamp: Stamp::default(),
        }
    }
}

/// The wall clock, read once a second: requests have read the other clock anyway.
#[derive(Debug)]
struct Wall {
    read: Instant,
    /// Since 1970.
    time: Duration,
}

impl Wall {
    fn read() -> Self {
        Wall {
            read: Instant::now(),
            time: since_1970(SystemTime::now()),
        }
    }

    fn at(&mut self, at: Instant) -> Duration {
        // What ended before it was read last ended just before.
        let since = at.saturating_duration_since(self.read);
        if since > SAME_PACE {
            *self = Wall::read();
            return self.time;
        }
        self.time + since
    }
}

/// How bad a status is, for a syslog: a client's mistakes are nothing that an operator has to repair.
fn severity(status: u16) -> Severity {
    match status {
        500.. => Severity::Error,
        400.. => Severity::Notice,
        _ => Severity::Informational,
    }
}

impl Shard {
    pub(super) fn is_sampled(&self, config: &AccessLog) -> bool {
        let sample = config.sample;
        sample >= 1.0 || (sample > 0.0 && self.draw() < sample)
    }

    /// Writes a request's line, if it is to have one.
    pub(super) fn log(&self, journal: &mut Journal, finish: &Finish, view: &View) {
        let config = &view.snapshot.config.access_log;
        // It may have been switched off since the request began.
        if config.is_off() {
            return;
        }
        let sampled = journal.sampled;
        journal.name_client(config.truncate_clients);
        let (asked, noted) = journal.read(finish.total, None);
        if !sampled
            && !config
                .always
                .wants(finish.status, finish.total, noted.len())
        {
            return;
        }
        let line = Line {
            asked,
            strategy: Some(view.snapshot.picks_by.as_str()),
            attempts: noted,
            finish,
        };
        self.write_line(config.format, &line);
    }

    /// Writes the line of a request that was refused before it was read whole, with what could be read of it: `unread` is what
    /// came.
    pub(super) fn log_refused(&self, reason: Reason, client: SocketAddr, unread: &[u8]) {
        let view = self.view();
        let config = &view.snapshot.config.access_log;
        if config.is_off() {
            return;
        }
        let status = reason.status();
        if !self.is_sampled(config) && !config.always.wants(status, Duration::ZERO, 0) {
            return;
        }
        let now = Instant::now();
        let asker = Asker {
            address: client,
            truncated: config.truncate_clients,
            usual: &mut None,
        };
        let journal = self.journals.begin_unread(unread, asker, now);
        let finish = Finish {
            ended: now,
            total: Duration::ZERO,
            status,
            flag: Some(reason.flag()),
            backend: None,
            queue: Duration::ZERO,
            connect: Duration::ZERO,
            first_byte: Duration::ZERO,
            bytes_in: 0,
            bytes_out: 0,
        };
        let line = Line {
            asked: journal.asked(),
            strategy: None,
            attempts: &[],
            finish: &finish,
        };
        self.write_line(config.format, &line);
        self.journals.give_back(journal);
    }

    /// Tells of requests that were dropped: their clients were cut off.
    pub(super) fn log_left_behind(&self) {
        let left = self.journals.left_behind();
        if left.is_empty() {
            return;
        }
        let (view, now) = (self.view(), Instant::now());
        for mut journal in left {
            self.log_cut_off(&mut journal, now, &view);
        }
    }

    fn log_cut_off(&self, journal: &mut Journal, now: Instant, view: &View) {
        let total = journal.since(now);
        let present = journal.present();
        let (_, attempts) = journal.read(total, Some(CUT_OFF));
        let present = present.and_then(|place| attempts.get(place));
        let sent = present.map(Attempt::sent);
        let between = |from: Option<Duration>, to: Option<Duration>| {
            from.zip(to)
                .map_or(Duration::ZERO, |(from, to)| to.saturating_sub(from))
        };
        let finish = Finish {
            ended: now,
            total,
            // Of an answer that had begun, its client has seen the status.
            status: present.and_then(|attempt| attempt.status).unwrap_or(503),
            flag: Some(CUT_OFF),
            backend: present.map(|attempt| attempt.upstream.clone()),
            queue: Duration::ZERO,
            connect: between(
                present.map(|attempt| attempt.began),
                present.and_then(|attempt| attempt.connected),
            ),
            first_byte: between(sent, present.and_then(|attempt| attempt.first_byte)),
            bytes_in: 0,
            bytes_out: 0,
        };
        self.log(journal, &finish, view);
        self.trace(journal, view, &finish);
    }

    fn write_line(&self, format: AccessLogFormat, line: &Line<'_>) {
        let Log { lines, wall, stamp } = &mut *self.log.borrow_mut();
        let at = wall.at(line.finish.ended);
        let time = stamp.of(at);
        let is_first = lines.add(severity(line.finish.status), at, |out| match format {
            AccessLogFormat::Json => line.json(time, out),
            AccessLogFormat::Text => line.text(time, out),
        });
        if is_first {
            self.log_begun.notify_one();
        }
    }

    /// Hands lines over that have waited long enough, without end.
    pub(super) async fn hand_lines_over(&self) {
        loop {
            self.log_begun.notified().await;
            tokio::time::sleep(PATIENCE).await;
            self.log_left_behind();
            self.log.borrow_mut().lines.hand_over();
        }
    }
}
