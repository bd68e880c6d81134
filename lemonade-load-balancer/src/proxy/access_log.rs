//! The access log as the proxy keeps it: which requests are logged, and what there is to tell of them.
//!
//! Whether a request is in the sample is decided when it begins, whether it has to be logged all the same when it ends. Then a record of
//! it is made; of some records at once a shard makes lines, in a buffer of its own ([`crate::log_file`]).

use super::journal::{Attempt, Journal, LeftBehind, Waited};
use super::reply::Reason;
use super::shard::Shard;
use super::upstream::Upstream;
use super::view::View;
use crate::access_log::fields::{number, time, word};
use crate::access_log::{self, Record, Records};
use crate::config::{AccessLog, AccessLogFormat};
use crate::log_file::{Lines, LogWriter, PATIENCE, Severity};
use crate::timestamp::{Stamp, since_1970};
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

    /// Its client was cut off at this moment. How much had been passed on nobody knows any more.
    fn cut_off(journal: &mut Journal, at: Instant) -> Self {
        let total = journal.since(at);
        let present = journal.present();
        let first_byte = present.as_ref().and_then(|attempt| {
            let came = attempt.first_byte?;
            Some(came.saturating_sub(attempt.sent()))
        });
        let latest = || journal.latest();
        let Waited { queue, connect } = journal.waited.get();
        let finish = Finish {
            ended: at,
            total,
            // Of an answer that had begun, its client has seen the status.
            status: present
                .as_ref()
                .and_then(|attempt| attempt.status)
                .unwrap_or(503),
            flag: Some(CUT_OFF),
            backend: present.or_else(latest).map(|attempt| attempt.upstream),
            queue,
            connect,
            first_byte: first_byte.unwrap_or_default(),
            bytes_in: 0,
            bytes_out: 0,
        };
        journal.read(total, Some(CUT_OFF));
        finish
    }

    /// Whether what became of every attempt can be seen from it: there was none, or one, which went well.
    fn tells_of(&self, attempts: &[Attempt]) -> bool {
        match attempts {
            [] => true,
            [only] => only.error.is_none() && only.status == Some(self.status),
            [..] => false,
        }
    }
}

/// Writes a JSON array of attempts.
fn json(attempts: &[Attempt], out: &mut Vec<u8>) {
    for (place, attempt) in attempts.iter().enumerate() {
        out.push(if place == 0 { b'[' } else { b',' });
        attempt.json(out);
    }
    out.push(b']');
}

impl Attempt {
    fn json(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"backend\":");
        out.extend_from_slice(&self.upstream.json_name());
        if let Some(status) = self.status {
            number(b",\"status\":", u64::from(status), out);
        }
        word(b",\"error\":\"", self.error, out);
        time(b",\"began_seconds\":", self.began, out);
        let sent = self.sent();
        if self.connected.is_some() {
            let took = sent.saturating_sub(self.began);
            time(b",\"connect_seconds\":", took, out);
        }
        if let Some(came) = self.first_byte {
            time(b",\"first_byte_seconds\":", came.saturating_sub(sent), out);
        }
        if let Some(ended) = self.ended {
            let took = ended.saturating_sub(self.began);
            time(b",\"total_seconds\":", took, out);
        }
        if self.reused {
            out.extend_from_slice(b",\"reused\":true");
        }
        if self.hedge {
            out.extend_from_slice(b",\"hedge\":true");
        }
        out.push(b'}');
    }
}

/// Whether a line is wanted of a request that ended so. The log may have been switched off, and on, since it began.
fn is_wanted(config: &AccessLog, journal: &Journal, finish: &Finish) -> bool {
    let Finish { status, total, .. } = *finish;
    !config.is_off()
        && (journal.sampled || config.always.wants(status, total, journal.attempts_made()))
}

/// The log as one shard keeps it.
#[derive(Debug)]
pub(super) struct Log {
    /// Of requests that ended lately.
    records: Records,
    lines: Lines,
    wall: Wall,
    stamp: Stamp,
    /// Only storage, for the attempts of the request that is logged.
    attempts: Vec<u8>,
}

/// So many records become lines at once: told of one by one, each would cost the requests around it more. Fewer wait for [`PATIENCE`] at
/// most.
const TOGETHER: usize = 32;

impl Log {
    pub(super) fn new(writer: LogWriter) -> Self {
        Log {
            records: Records::default(),
            lines: Lines::new(writer),
            wall: Wall::read(),
            stamp: Stamp::default(),
            attempts: Vec::new(),
        }
    }

    /// Makes lines of all records.
    #[inline(never)]
    fn write(&mut self) {
        // Taken first: whatever comes between, none is written twice.
        let mut records = std::mem::take(&mut self.records);
        for line in records.lines() {
            let severity = Severity::of(line.record.status);
            self.lines.add(severity, line.record.ended, |out| {
                line.write(&mut self.stamp, out);
            });
        }
        records.clear();
        self.records = records;
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.write();
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

impl Shard {
    pub(super) fn is_sampled(&self, config: &AccessLog) -> bool {
        let sample = config.sample;
        sample >= 1.0 || (sample > 0.0 && self.draw() < sample)
    }

    /// Has the log and the traces told of a request, if they want to know of it.
    pub(super) fn tell_of(&self, mut journal: Box<Journal>, finish: &Finish, view: &View) {
        self.tell(&mut journal, finish, view);
        self.journals.give_back(journal);
    }

    fn tell(&self, journal: &mut Journal, finish: &Finish, view: &View) {
        let strategy = view.snapshot.picks_by.as_str();
        let config = &view.snapshot.config.access_log;
        if is_wanted(config, journal, finish) {
            self.log(config, journal, finish, Some(strategy));
        }
        if journal.traced.is_some() {
            self.trace(journal, finish, strategy);
        }
    }

    fn log(
        &self,
        config: &AccessLog,
        journal: &mut Journal,
        finish: &Finish,
        strategy: Option<&'static str>,
    ) {
        let (asked, noted) = journal.read(finish.total, None);
        let log = &mut *self.log.borrow_mut();
        let record = Record {
            ended: log.wall.at(finish.ended).into(),
            total: finish.total.into(),
            queue: finish.queue.into(),
            connect: finish.connect.into(),
            first_byte: finish.first_byte.into(),
            bytes_in: finish.bytes_in,
            bytes_out: finish.bytes_out,
            client: asked.client,
            truncate_client: config.truncate_clients,
            flag: finish.flag,
            strategy,
            status: finish.status,
            version: asked.version,
            format: config.format,
        };
        log.attempts.clear();
        if config.format == AccessLogFormat::Json && !finish.tells_of(noted) {
            json(noted, &mut log.attempts);
        }
        let attempts = access_log::Attempts {
            made: noted.len(),
            json: &log.attempts,
        };
        if log.records.is_empty() && log.lines.is_empty() {
            self.log_begun.notify_one();
        }
        let (records, texts) = (&mut log.records, &asked.texts);
        match &finish.backend {
            Some(backend) => records.push(record, texts, &backend.json_name(), attempts),
            None => records.push(record, texts, b"", attempts),
        }
        if log.records.len() >= TOGETHER {
            log.write();
        }
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
        let mut journal = self.journals.begin_unread(unread, client, now);
        let finish = Finish::at_once(now, status, Some(reason.flag()));
        self.log(config, &mut journal, &finish, None);
        self.journals.give_back(journal);
    }

    /// Tells of requests that were dropped: their clients were cut off.
    pub(super) fn log_left_behind(&self) {
        let left = self.journals.left_behind();
        if left.is_empty() {
            return;
        }
        let view = self.view();
        for LeftBehind { mut journal, at } in left {
            let finish = Finish::cut_off(&mut journal, at);
            self.tell(&mut journal, &finish, &view);
        }
    }

    /// Hands lines over that have waited long enough, without end.
    pub(super) async fn hand_lines_over(&self) {
        loop {
            self.log_begun.notified().await;
            loop {
                let times_full = self.log.borrow().lines.times_full();
                tokio::time::sleep(PATIENCE).await;
                self.log_left_behind();
                let log = &mut *self.log.borrow_mut();
                log.write();
                // Others went meanwhile: what is there is younger, and where so much comes its buffer will be full as soon.
                if log.lines.times_full() == times_full {
                    log.lines.hand_over();
                    break;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::shard::tests::idle;
    use lemonade_test::Origin;
    use std::net::Ipv4Addr;

    #[tokio::test]
    async fn status_of_an_attempt_that_is_over_is_not_what_a_client_saw() {
        let origin = Origin::named("a").await;
        let (shard, _around) = idle(&origin, |_| {});
        let upstream = shard.upstreams.borrow()[0].clone();
        let began = Instant::now();
        let client = (Ipv4Addr::LOCALHOST, 1).into();
        let mut journal = shard.journals.begin_unread(b"", client, began);
        journal.began(&upstream, began, true, false);
        journal.refused(&upstream, 502);
        let finish = Finish::cut_off(&mut journal, Instant::now());
        assert_eq!((finish.status, finish.flag), (503, Some(CUT_OFF)));
        assert!(Rc::ptr_eq(&finish.backend.unwrap(), &upstream));

        journal.began(&upstream, Instant::now(), true, false);
        journal.answered(&upstream, 200, Duration::from_millis(1));
        let finish = Finish::cut_off(&mut journal, Instant::now());
        assert_eq!(finish.status, 200);
        assert_eq!(finish.first_byte, Duration::from_millis(1));
        shard.journals.give_back(journal);
    }

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
