//! Lines on their way to a file or to standard output, written by a thread of their own so that a slow disk never slows a
//! request.
//!
//! Shards hand lines over without waiting; when the writer is behind by [`QUEUE`] lines, further ones are dropped and
//! counted, and so are those for which the disk has no room. The control task points it elsewhere when the configuration names another file, and has it opened anew when the
//! old one was renamed by a log rotation.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Lines that may wait for the writer.
const QUEUE: usize = 8192;

/// What the writer is told.
enum Order {
    Line(Vec<u8>),
    /// What comes after this goes to the next target.
    Turn,
}

/// The target that the writer is to turn to, if it is to.
#[derive(Debug, Default)]
struct Next {
    target: Option<Target>,
    /// The queue was full, so the writer was not told, and is to look by itself.
    untold: bool,
}

type Sink = BufWriter<Box<dyn Write + Send>>;

/// A place to write to, open already.
#[derive(Debug)]
pub(crate) struct Target(Option<File>);

impl Target {
    /// Opens the file for appending; `None` is standard output.
    pub(crate) fn open(path: Option<&Path>) -> io::Result<Self> {
        let open = |path| OpenOptions::new().create(true).append(true).open(path);
        path.map(open).transpose().map(Target)
    }

    fn writer(self) -> Sink {
        let sink: Box<dyn Write + Send> = match self.0 {
            Some(file) => Box::new(file),
            None => Box::new(io::stdout()),
        };
        BufWriter::with_capacity(64 << 10, sink)
    }
}

/// Where shards hand over their lines. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct LogWriter {
    orders: SyncSender<Order>,
    dropped: Arc<AtomicU64>,
}

/// Where the log goes; owned by the control task.
#[derive(Debug)]
pub(crate) struct LogFile {
    path: Option<PathBuf>,
    writer: LogWriter,
    next: Arc<Mutex<Next>>,
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

impl std::fmt::Debug for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Order::Line(_) => "Line",
            Order::Turn => "Turn",
        })
    }
}

impl LogWriter {
    /// Never waits. `line` ends in a line feed.
    pub(crate) fn write(&self, line: Vec<u8>) {
        if self.orders.try_send(Order::Line(line)).is_err() {
            self.dropped.fetch_add(1, Relaxed);
        }
    }

    /// Counts the lines that were dropped because the writer was behind.
    pub(crate) fn dropped(&self) -> Arc<AtomicU64> {
        self.dropped.clone()
    }
}

impl LogFile {
    /// Opens the file and starts the writer, which ends when the last [`LogWriter`] is gone.
    pub(crate) fn open(path: Option<&Path>) -> io::Result<(Self, Written)> {
        let target = Target::open(path)?;
        let (orders, queue) = sync_channel(QUEUE);
        let (ending, ended) = sync_channel(0);
        let next = Arc::<Mutex<Next>>::default();
        let (slot, dropped) = (next.clone(), Arc::<AtomicU64>::default());
        let lost = dropped.clone();
        std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || {
                write_lines(&queue, target, &slot, &lost);
                drop(ending);
            })?;
        let log = LogFile {
            path: path.map(Path::to_owned),
            writer: LogWriter { orders, dropped },
            next,
        };
        Ok((log, Written(ended)))
    }

    pub(crate) fn writer(&self) -> LogWriter {
        self.writer.clone()
    }

    /// Opens `path` if it is another than the present one.
    pub(crate) fn prepare(&self, path: Option<&Path>) -> io::Result<Option<Target>> {
        if path == self.path.as_deref() {
            return Ok(None);
        }
        Target::open(path).map(Some)
    }

    /// What comes from now on goes to `path`, which is open as `target`. Never waits: a writer that is stuck in a write turns
    /// when it is through.
    pub(crate) fn turn_to(&mut self, path: Option<&Path>, target: Target) {
        self.path = path.map(Path::to_owned);
        let mut next = lock(&self.next);
        next.target = Some(target);
        next.untold = self.writer.orders.try_send(Order::Turn).is_err();
    }

    /// Opens the present file once more: the one that is open was renamed.
    pub(crate) fn reopen(&mut self) -> io::Result<()> {
        let path = self.path.clone();
        let target = Target::open(path.as_deref())?;
        self.turn_to(path.as_deref(), target);
        Ok(())
    }
}

fn lock(next: &Mutex<Next>) -> MutexGuard<'_, Next> {
    // Nothing panics while it is held.
    next.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes what is queued, flushing whenever the queue is empty. A failed write (a full disk) is said once, and the log goes
/// on when there is room again.
fn write_lines(queue: &Receiver<Order>, target: Target, next: &Mutex<Next>, lost: &AtomicU64) {
    let mut sink = target.writer();
    let mut failing = false;
    let mut waiting = queue.recv().ok();
    while let Some(order) = waiting.take() {
        let mut written = write(&mut sink, order, next, lost);
        while let Ok(order) = queue.try_recv() {
            written = written.and(write(&mut sink, order, next, lost));
        }
        if lock(next).untold {
            written = written.and(turn(&mut sink, next));
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
        waiting = queue.recv().ok();
    }
}

fn write(sink: &mut Sink, order: Order, next: &Mutex<Next>, lost: &AtomicU64) -> io::Result<()> {
    match order {
        // What failed to be written stays in the buffer, so the line that finds no room there is the one that is lost.
        Order::Line(line) => sink.write_all(&line).inspect_err(|_| {
            lost.fetch_add(1, Relaxed);
        }),
        Order::Turn => turn(sink, next),
    }
}

/// What was written so far goes to the old target.
fn turn(sink: &mut Sink, next: &Mutex<Next>) -> io::Result<()> {
    let target = {
        let mut next = lock(next);
        next.untold = false;
        next.target.take()
    };
    // Two turns that come together are one.
    let Some(target) = target else { return Ok(()) };
    let flushed = sink.flush();
    // What could not be written there is not written elsewhere: `BufWriter` would try again when it drops.
    let old = std::mem::replace(sink, target.writer());
    drop(old.into_parts());
    flushed
}

#[cfg(test)]
mod tests {
    use super::*;
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

    #[test]
    fn lines_go_where_the_log_was_turned_to_when_they_were_written() {
        let folder = tempfile::tempdir().unwrap();
        let [a, b, c] = ["a", "b", "c"].map(|name| folder.path().join(name));
        let (mut log, written) = LogFile::open(Some(&a)).unwrap();
        let writer = log.writer();
        writer.write(b"1\n".to_vec());
        assert!(log.prepare(Some(&a)).unwrap().is_none());
        let target = log.prepare(Some(&b)).unwrap().unwrap();
        writer.write(b"2\n".to_vec());
        log.turn_to(Some(&b), target);
        writer.write(b"3\n".to_vec());
        until_holds(&a, "1\n2\n");
        until_holds(&b, "3\n");

        std::fs::rename(&b, &c).unwrap();
        log.reopen().unwrap();
        writer.write(b"4\n".to_vec());
        until_holds(&b, "4\n");
        until_holds(&c, "3\n");
        assert!(log.prepare(Some(Path::new("/nowhere/log"))).is_err());

        writer.write(b"5\n".to_vec());
        drop((writer, log));
        written.wait(Duration::from_secs(20));
        assert_eq!(std::fs::read_to_string(&b).unwrap(), "4\n5\n");
    }
}
