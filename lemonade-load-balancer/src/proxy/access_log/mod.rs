//! The access log: which requests are logged, and the line that each of them becomes.
//!
//! Whether a request is in the sample is decided when it begins, whether it has to be logged all the same when it ends. A shard
//! writes the line straight into a buffer of its own ([`crate::log_file`]). Query strings are left out and credentials never
//! read: a log is the first thing that leaks.

pub(super) mod client;
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

impl Finish {
    /// It was answered at once, and by nobody but us.
    pub(super) fn at_once(ended: Instant, status: u16, flag: Option<&'static str>) -> Self {
        Finish {
            ended,
            total: Duration::ZERO,
            status,
            flag,
            backend: None,
            queue: Duration::ZERO,
            connect: Duration::ZERO,
            first_byte: Duration::ZERO,
            bytes_in: 0,
            bytes_out: 0,
        }
    }
}

/// How a request's line is to be written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form {
    format: AccessLogFormat,
    truncate_clients: bool,
}

impl Form {
    fn of(config: &AccessLog) -> Self {
        Form {
            format: config.format,
            truncate_clients: config.truncate_clients,
        }
    }

    /// The one that is wanted of a request that ended so; `None` if it is not to be logged. The log may have been switched off, and
    /// on, since it began.
    pub(super) fn wanted(
        config: &AccessLog,
        sampled: bool,
        journal: &Journal,
        finish: &Finish,
    ) -> Option<Self> {
        if config.is_off() {
            return None;
        }
        let wanted = sampled
            || config
                .always
                .wants(finish.status, finish.total, journal.attempts_made());
        wanted.then(|| Form::of(config))
    }
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

    /// The time at a moment of the other clock, of this second or just before.
    fn at(&mut self, at: Instant) -> Duration {
        if let Some(since) = at.checked_duration_since(self.read) {
            if since <= SAME_PACE {
                return self.time + since;
            }
            *self = Wall::read();
        }
        // Told late, or at the very moment: the clock was read since.
        self.time
            .saturating_sub(self.read.saturating_duration_since(at))
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

    /// Writes a request's line. Returns whether it is the first that waits.
    pub(super) fn log(
        &self,
        form: Form,
        journal: &mut Journal,
        finish: &Finish,
        strategy: &'static str,
    ) -> bool {
        let (asked, attempts) = journal.read(finish.total, None);
        self.write_line(&Line {
            asked,
            strategy: Some(strategy),
            attempts,
            finish,
            form,
        })
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
        // Those that ended before it are told of before it.
        self.tell();
        let now = Instant::now();
        let asker = Asker {
            address: client,
            truncated: config.truncate_clients,
            name: &mut None,
        };
        let journal = self.journals.begin_unread(unread, asker, now);
        let finish = Finish::at_once(now, status, Some(reason.flag()));
        let line = Line {
            asked: journal.asked(),
            strategy: None,
            attempts: &[],
            finish: &finish,
            form: Form::of(config),
        };
        if self.write_line(&line) {
            self.log_begun.notify_one();
        }
        self.journals.give_back(journal);
    }

    /// Tells of requests that were dropped: their clients were cut off.
    pub(super) fn log_left_behind(&self) {
        let left = self.journals.left_behind();
        if left.is_empty() {
            return;
        }
        self.tell();
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
        let strategy = view.snapshot.picks_by.as_str();
        let config = &view.snapshot.config.access_log;
        if let Some(form) = Form::wanted(config, journal.sampled, journal, &finish)
            && self.log(form, journal, &finish, strategy)
        {
            self.log_begun.notify_one();
        }
        self.trace(journal, &finish, strategy);
    }

    fn write_line(&self, line: &Line<'_>) -> bool {
        let Log { lines, wall, stamp } = &mut *self.log.borrow_mut();
        let at = wall.at(line.finish.ended);
        lines.add(severity(line.finish.status), at, |out| {
            match line.form.format {
                AccessLogFormat::Json => line.json(at, stamp, out),
                AccessLogFormat::Text => line.text(at, stamp, out),
            }
        })
    }

    /// Hands lines over that have waited long enough, without end.
    pub(super) async fn hand_lines_over(&self) {
        loop {
            self.log_begun.notified().await;
            loop {
                let times_full = self.log.borrow().lines.times_full();
                tokio::time::sleep(PATIENCE).await;
                self.tell();
                self.log_left_behind();
                let lines = &mut self.log.borrow_mut().lines;
                // Others went meanwhile: what is there is younger, and where so much comes its buffer will be full as soon.
                if lines.times_full() == times_full {
                    lines.hand_over();
                    break;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_before_the_clock_was_read_are_before_what_it_said() {
        let millis = Duration::from_millis;
        let mut wall = Wall::read();
        let Wall { read, time } = wall;
        assert_eq!(wall.at(read + millis(300)), time + millis(300));
        assert_eq!(wall.at(read), time);
        let Some(before) = read.checked_sub(millis(80)) else {
            return;
        };
        assert_eq!(wall.at(before), time - millis(80));
    }

    #[test]
    fn clock_is_read_anew_when_it_is_a_second_old() {
        let Some(read) = Instant::now().checked_sub(Duration::from_secs(5)) else {
            return;
        };
        // Somebody has set it since.
        let mut wall = Wall {
            read,
            time: Duration::from_secs(7),
        };
        let told = wall.at(read + Duration::from_secs(3));
        assert_eq!(
            told,
            wall.time - (wall.read - read - Duration::from_secs(3))
        );
        assert!(wall.read > read && told > Duration::from_secs(1_000_000_000));
    }
}
