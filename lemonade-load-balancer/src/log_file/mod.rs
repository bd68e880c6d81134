//! Lines on their way to a file, to standard output or to a syslog, written by a thread of their own so that a slow disk never
//! slows a request.
//!
//! Each shard fills a buffer of its own ([`Lines`]) and hands it over whole, when it is full or when its oldest line has waited
//! for [`PATIENCE`], twice that at most: a line wakes nobody. Handing over never waits. When the writer is behind by
//! [`MOST_WAITING`], further lines are dropped and counted, and so are those that its target does not take. The control task
//! points it elsewhere when the configuration names another target, and has the file opened anew when the old one was renamed by
//! a log rotation.

mod syslog;
mod target;
mod writer;

pub use syslog::{Facility, Syslog, SyslogAddress, UnknownFacility};
pub(crate) use target::{Destination, Target};

use crate::timestamp::Nanos;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

/// How long a line may wait for others in its shard.
pub(crate) const PATIENCE: Duration = Duration::from_millis(100);
/// A buffer with more than this is handed over. No line is longer than what is left of [`BUFFER`], or it grows once.
/// Waking the writer is what a hand-over costs: with buffers of a quarter of the size, whoever is logged pays a tenth of a microsecond more.
const FULL: usize = 480 << 10;
const BUFFER: usize = 512 << 10;
/// Bytes that may wait for the writer, of all shards together.
const MOST_WAITING: usize = 16 << 20;
/// Empty buffers that may wait for a shard to use them again. More of them than are needed would all go through its cache in turn.
const SPARE: usize = 1;

/// How bad what a line tells is, as RFC 5424 6.2.1 counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Severity {
    Error = 3,
    Notice = 5,
    Informational = 6,
}

impl Severity {
    /// How bad a status is: a client's mistakes are nothing that an operator has to repair.
    pub(crate) fn of(status: u16) -> Self {
        match status {
            500.. => Severity::Error,
            400.. => Severity::Notice,
            _ => Severity::Informational,
        }
    }
}

/// What is known of one line beside its text.
#[derive(Clone, Copy, Debug)]
struct Mark {
    /// When it happened, since 1970.
    at: Nanos,
    /// Where in the batch it ends, behind its line feed.
    end: u32,
    severity: Severity,
}

impl Mark {
    fn new(end: usize, severity: Severity, at: Nanos) -> Self {
        let end = end as u32;
        Mark { at, end, severity }
    }

    fn end(&self) -> usize {
        self.end as usize
    }
}

/// Whole lines of one shard.
#[derive(Debug, Default)]
struct Batch {
    text: Vec<u8>,
    marks: Vec<Mark>,
}

impl Batch {
    /// Memory that it holds.
    fn weight(&self) -> usize {
        self.text.capacity() + self.marks.capacity() * size_of::<Mark>()
    }

    fn clear(&mut self) {
        self.text.clear();
        self.marks.clear();
    }

    /// The same lines in no more memory than they need.
    fn fitted(&self) -> Self {
        Batch {
            text: self.text.clone(),
            marks: self.marks.clone(),
        }
    }

    /// Each line without its line feed.
    fn lines(&self) -> impl Iterator<Item = (&[u8], Mark)> {
        let mut begin = 0;
        self.marks.iter().map(move |mark| {
            let line = &self.text[begin..mark.end()];
            begin = mark.end();
            (line.strip_suffix(b"\n").unwrap_or(line), *mark)
        })
    }
}

/// What the writer is told.
#[derive(Debug)]
enum Order {
    Write {
        batch: Batch,
        /// Where the shard looks for buffers to use again, if this is one.
        back: Option<SyncSender<Batch>>,
    },
    /// What comes after this goes here.
    Turn(Target),
}

/// What all shards and the writer know.
#[derive(Debug, Default)]
struct Backlog {
    /// Bytes that wait for the writer.
    waiting: AtomicUsize,
    /// Lines that nobody will read.
    dropped: Arc<AtomicU64>,
    /// Lines are dropped because too much waits, and that has been said.
    behind: AtomicBool,
}

impl Backlog {
    fn drop_lines(&self, count: usize) {
        self.dropped.fetch_add(count as u64, Relaxed);
    }
}

/// Where lines are handed over. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct LogWriter {
    /// Wakes the writer without holding a lock that it wants first, as the standard library's does.
    orders: UnboundedSender<Order>,
    backlog: Arc<Backlog>,
}

impl LogWriter {
    /// Counts the lines that were dropped.
    pub(crate) fn dropped(&self) -> Arc<AtomicU64> {
        self.backlog.dropped.clone()
    }

    /// Never waits.
    fn hand_over(&self, batch: Batch, back: Option<SyncSender<Batch>>) -> Result<(), Batch> {
        let weight = batch.weight();
        let waiting = &self.backlog.waiting;
        if waiting.fetch_add(weight, Relaxed) + weight > MOST_WAITING {
            waiting.fetch_sub(weight, Relaxed);
            return Err(batch);
        }
        match self.orders.send(Order::Write { batch, back }) {
            Ok(()) => Ok(()),
            Err(unsent) => match unsent.0 {
                Order::Write { batch, .. } => Err(batch),
                Order::Turn(_) => Ok(()),
            },
        }
    }
}

/// The lines of one shard that the writer has not got yet. Dropping it hands them over.
#[derive(Debug)]
pub(crate) struct Lines {
    writer: LogWriter,
    batch: Batch,
    times_full: u64,
    /// Both ends of the way that buffers come back.
    back: SyncSender<Batch>,
    spare: Receiver<Batch>,
}

impl Lines {
    pub(crate) fn new(writer: LogWriter) -> Self {
        let (back, spare) = sync_channel(SPARE);
        Lines {
            writer,
            batch: Batch::default(),
            times_full: 0,
            back,
            spare,
        }
    }

    /// Adds the line that `write` writes, with its line feed. Never waits.
    pub(crate) fn add(&mut self, severity: Severity, at: Nanos, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.batch.text);
        let end = self.batch.text.len();
        self.batch.marks.push(Mark::new(end, severity, at));
        if end > FULL {
            self.times_full += 1;
            self.hand_over_all();
        }
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.batch.marks.is_empty()
    }

    /// How often lines were handed over because a buffer was full.
    pub(crate) fn times_full(&self) -> u64 {
        self.times_full
    }

    /// Hands what there is over. A few lines are copied: a large buffer with little in it would wait for the writer with all of
    /// its memory.
    pub(crate) fn hand_over(&mut self) {
        if self.batch.text.len() > BUFFER / 2 {
            return self.hand_over_all();
        }
        if self.batch.marks.is_empty() {
            return;
        }
        let few = self.batch.fitted();
        self.batch.clear();
        self.send(few, None);
    }

    fn hand_over_all(&mut self) {
        let next = self.spare.try_recv().unwrap_or_else(|_| Batch {
            text: Vec::with_capacity(BUFFER),
            marks: Vec::with_capacity(self.batch.marks.len()),
        });
        let full = std::mem::replace(&mut self.batch, next);
        self.send(full, Some(self.back.clone()));
    }

    fn send(&self, batch: Batch, back: Option<SyncSender<Batch>>) {
        let Err(batch) = self.writer.hand_over(batch, back) else {
            return;
        };
        let backlog = &self.writer.backlog;
        backlog.drop_lines(batch.marks.len());
        if !backlog.behind.swap(true, Relaxed) {
            tracing::warn!("the access log is written too slowly: lines are dropped");
        }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.hand_over();
    }
}

/// Where the log goes; owned by the control task.
#[derive(Debug)]
pub(crate) struct LogFile {
    destination: Destination,
    writer: LogWriter,
}

/// Tells when the writer has written everything: when the last [`LogWriter`] is gone, and the [`LogFile`].
#[derive(Debug)]
pub(crate) struct Written(Receiver<()>);

impl Written {
    /// Waits, but no longer than this: a disk that hangs must not keep the process.
    pub(crate) fn wait(&self, patience: Duration) {
        // Nothing is ever sent: the writer's end is dropped.
        let _ = self.0.recv_timeout(patience);
    }
}

impl LogFile {
    /// Opens the destination and starts the writer, which ends when the last [`LogWriter`] is gone.
    pub(crate) fn open(destination: Destination) -> io::Result<(Self, Written)> {
        let target = Target::open(&destination)?;
        let (orders, mut queue) = unbounded_channel();
        let (ending, ended) = sync_channel(0);
        let backlog = Arc::<Backlog>::default();
        let seen = backlog.clone();
        std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || {
                writer::run(&mut queue, target, &seen);
                drop(ending);
            })?;
        let log = LogFile {
            destination,
            writer: LogWriter { orders, backlog },
        };
        Ok((log, Written(ended)))
    }

    pub(crate) fn writer(&self) -> LogWriter {
        self.writer.clone()
    }

    /// Opens `destination` if it is another than the present one.
    pub(crate) fn prepare(&self, destination: &Destination) -> io::Result<Option<Target>> {
        match *destination == self.destination {
            true => Ok(None),
            false => Target::open(destination).map(Some),
        }
    }

    /// What is handed over from now on goes to `destination`, which is open as `target`. Never waits: a writer that is stuck
    /// in a write turns when it is through.
    pub(crate) fn turn_to(&mut self, destination: Destination, target: Target) {
        self.destination = destination;
        // The writer is there for as long as this is.
        let _ = self.writer.orders.send(Order::Turn(target));
    }

    /// Opens the present file once more: the one that is open was renamed.
    pub(crate) fn reopen(&mut self) -> io::Result<()> {
        let target = Target::open(&self.destination)?;
        self.turn_to(self.destination.clone(), target);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use std::time::Instant;

    fn until_holds(path: &Path, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while std::fs::read_to_string(path).unwrap_or_default() != text {
            assert!(
                Instant::now() < deadline,
                "{} never holds {text:?}",
                path.display()
            );
            std::thread::yield_now();
        }
    }

    fn file(path: &Path) -> Destination {
        Destination::File(path.to_owned())
    }

    fn write(lines: &mut Lines, line: &str) {
        lines.add(Severity::Informational, Nanos::default(), |out| {
            out.extend_from_slice(line.as_bytes());
        });
        lines.hand_over();
    }

    #[test]
    fn lines_go_where_the_log_was_turned_to_when_they_were_handed_over() {
        let folder = tempfile::tempdir().unwrap();
        let [a, b, c] = ["a", "b", "c"].map(|name| folder.path().join(name));
        let (mut log, written) = LogFile::open(file(&a)).unwrap();
        let mut lines = Lines::new(log.writer());
        write(&mut lines, "1\n");
        assert!(log.prepare(&file(&a)).unwrap().is_none());
        let target = log.prepare(&file(&b)).unwrap().unwrap();
        write(&mut lines, "2\n");
        log.turn_to(file(&b), target);
        write(&mut lines, "3\n");
        until_holds(&a, "1\n2\n");
        until_holds(&b, "3\n");

        std::fs::rename(&b, &c).unwrap();
        log.reopen().unwrap();
        write(&mut lines, "4\n");
        until_holds(&b, "4\n");
        until_holds(&c, "3\n");
        assert!(log.prepare(&file(Path::new("/nowhere/log"))).is_err());

        lines.add(Severity::Error, Nanos::default(), |out| {
            out.extend_from_slice(b"5\n");
        });
        drop((lines, log));
        written.wait(Duration::from_secs(20));
        assert_eq!(std::fs::read_to_string(&b).unwrap(), "4\n5\n");
    }

    #[test]
    fn buffers_are_handed_over_when_they_are_full_and_used_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let (log, written) = LogFile::open(file(&path)).unwrap();
        let mut lines = Lines::new(log.writer());
        let line = [b"x".repeat(999), b"\n".to_vec()].concat();
        let mut expected = Vec::new();
        for _ in 0..1000 {
            lines.add(Severity::Notice, Nanos::default(), |out| {
                out.extend_from_slice(&line);
            });
            assert!(lines.batch.text.len() <= FULL);
            expected.extend_from_slice(&line);
        }
        drop((lines, log));
        written.wait(Duration::from_secs(20));
        assert!(std::fs::read(&path).unwrap() == expected);
    }

    #[test]
    fn what_a_stuck_writer_leaves_is_bounded_and_counted() {
        let (orders, mut queue) = unbounded_channel();
        let backlog = Arc::<Backlog>::default();
        let writer = LogWriter {
            orders,
            backlog: backlog.clone(),
        };
        let mut lines = Lines::new(writer.clone());
        let line = b"x".repeat(9_999);
        // Nobody looks at the queue.
        for _ in 0..2_000 {
            lines.add(Severity::Notice, Nanos::default(), |out| {
                out.extend_from_slice(&line);
            });
        }
        drop(lines);
        assert!(backlog.waiting.load(Relaxed) <= MOST_WAITING);
        let queued = std::iter::from_fn(|| queue.try_recv().ok()).map(|order| match order {
            Order::Write { batch, .. } => batch.marks.len() as u64,
            Order::Turn(_) => 0,
        });
        let dropped = writer.dropped().load(Relaxed);
        assert!(dropped > 0);
        assert_eq!(queued.sum::<u64>() + dropped, 2_000);
    }
}
