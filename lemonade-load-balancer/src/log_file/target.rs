//! Where lines end up: a file, standard output, or a syslog.

use super::Batch;
use super::syslog::{self, Syslog};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

/// Where the log is to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    StandardOutput,
    File(PathBuf),
    Syslog(Syslog),
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Destination::StandardOutput => f.write_str("standard output"),
            Destination::File(path) => path.display().fmt(f),
            Destination::Syslog(syslog) => write!(f, "syslog at {}", syslog.address),
        }
    }
}

/// A place to write to, open already.
#[derive(Debug)]
pub(crate) struct Target(Kind);

#[derive(Debug)]
enum Kind {
    Stream(Stream),
    Syslog(Box<syslog::Sender>),
}

/// Lines that could not be written.
#[derive(Debug)]
pub(super) struct Lost {
    pub(super) lines: usize,
    pub(super) cause: io::Error,
}

impl Target {
    /// Opens the file for appending. A syslog is sought when there is something for it: that it is away is no reason not to
    /// start.
    pub(crate) fn open(destination: &Destination) -> io::Result<Self> {
        let stream = |sink| {
            Kind::Stream(Stream {
                sink,
                inside_a_line: false,
            })
        };
        Ok(Target(match destination {
            Destination::StandardOutput => stream(Sink::StandardOutput),
            Destination::File(path) => stream(Sink::File(open(path)?)),
            Destination::Syslog(syslog) => Kind::Syslog(Box::new(syslog::Sender::new(syslog))),
        }))
    }

    /// Writes all lines, and waits for as long as that takes.
    pub(super) fn write(&mut self, batch: &Batch) -> Result<(), Lost> {
        match &mut self.0 {
            Kind::Stream(stream) => stream.write(batch),
            Kind::Syslog(sender) => sender.write(batch),
        }
    }
}

/// Opening a pipe that nobody reads would wait for a reader, in the control task: it is refused instead. Writing may wait.
fn open(path: &PathBuf) -> io::Result<File> {
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .custom_flags(OFlags::NONBLOCK.bits() as i32)
        .open(path)?;
    let flags = fcntl_getfl(&file)?;
    fcntl_setfl(&file, flags - OFlags::NONBLOCK)?;
    Ok(file)
}

/// A file or a pipe, which takes bytes and may take only some of them.
#[derive(Debug)]
struct Stream {
    sink: Sink,
    /// The last write ended in the middle of a line: the next line must not become its end.
    inside_a_line: bool,
}

#[derive(Debug)]
enum Sink {
    StandardOutput,
    File(File),
}

impl Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Sink::StandardOutput => {
                let mut output = io::stdout().lock();
                let count = output.write(bytes)?;
                output.flush()?;
                Ok(count)
            }
            Sink::File(file) => file.write(bytes),
        }
    }

    /// Writes as much as can be written; how much that was, and why not all of it.
    fn write_all(&mut self, bytes: &[u8]) -> (usize, io::Result<()>) {
        let mut done = 0;
        while done < bytes.len() {
            match self.write(&bytes[done..]) {
                Ok(0) => return (done, Err(io::ErrorKind::WriteZero.into())),
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return (done, Err(error)),
            }
        }
        (done, Ok(()))
    }
}

impl Stream {
    fn write(&mut self, batch: &Batch) -> Result<(), Lost> {
        let lost = |lines, cause| Lost { lines, cause };
        if self.inside_a_line {
            let (_, ended) = self.sink.write_all(b"\n");
            ended.map_err(|cause| lost(batch.marks.len(), cause))?;
            self.inside_a_line = false;
        }
        let (done, written) = self.sink.write_all(&batch.text);
        written.map_err(|cause| {
            let whole = batch.marks.partition_point(|mark| mark.end() <= done);
            let end = whole
                .checked_sub(1)
                .map_or(0, |last| batch.marks[last].end());
            self.inside_a_line = done > end;
            lost(batch.marks.len() - whole, cause)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log_file::{Mark, Severity};
    use crate::timestamp::Nanos;
    use std::io::Read;

    fn batch(lines: &[&str]) -> Batch {
        let mut batch = Batch::default();
        for line in lines {
            batch.text.extend_from_slice(line.as_bytes());
            let end = batch.text.len();
            let mark = Mark::new(end, Severity::Notice, Nanos::default());
            batch.marks.push(mark);
        }
        batch
    }

    #[test]
    fn line_that_was_cut_short_does_not_spoil_the_next() {
        // A pipe that does not wait takes 64 KiB, and no more until somebody reads.
        let (mut reader, writer) = io::pipe().unwrap();
        let file = File::from(std::os::fd::OwnedFd::from(writer));
        fcntl_setfl(&file, OFlags::NONBLOCK).unwrap();
        let mut stream = Stream {
            sink: Sink::File(file),
            inside_a_line: false,
        };
        let long = format!("{}\n", "x".repeat(29_999));
        let lost = stream.write(&batch(&[long.as_str(); 4])).unwrap_err();
        assert_eq!(
            (lost.lines, lost.cause.kind()),
            (2, io::ErrorKind::WouldBlock)
        );
        let mut taken = vec![0; 64 << 10];
        reader.read_exact(&mut taken).unwrap();
        stream.write(&batch(&["next\n"])).unwrap();
        drop(stream);
        let mut rest = String::new();
        reader.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "\nnext\n");
    }

    #[test]
    fn log_is_appended_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        std::fs::write(&path, "a\nb\n").unwrap();
        let mut target = Target::open(&Destination::File(path.clone())).unwrap();
        target.write(&batch(&["c\n"])).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "a\nb\nc\n");
    }

    #[test]
    fn lines_that_a_full_disk_does_not_take_are_counted() {
        let full = Destination::File("/dev/full".into());
        let mut target = Target::open(&full).unwrap();
        let lost = target.write(&batch(&["a\n", "b\n"])).unwrap_err();
        assert_eq!(
            (lost.lines, lost.cause.kind()),
            (2, io::ErrorKind::StorageFull)
        );
    }

    #[test]
    fn pipe_that_nobody_reads_is_refused_and_does_not_wait() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.unwrap().success());
        assert!(Target::open(&Destination::File(path)).is_err());
    }
}
