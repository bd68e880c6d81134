//! A balancer in a process of its own, whose descriptors are its own too: this program, started once more.

use crate::{runtime, stage, warnings};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

/// Names the file that this process is to balance by.
const FILE: &str = "LEMONADE_CHAOS_APART";
/// How many descriptors it may open beyond those that it starts with.
const ROOM: &str = "LEMONADE_CHAOS_ROOM";

/// Ends when it is dropped.
pub(crate) struct Apart {
    process: Child,
    output: BufReader<ChildStdout>,
    pub(crate) listen: SocketAddr,
    /// How many descriptors it may have.
    pub(crate) limit: usize,
}

impl Apart {
    pub(crate) fn start(file: &Path, room: usize) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .env(FILE, file)
            .env(ROOM, room.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let mut line = || {
            let mut line = String::new();
            output.read_line(&mut line).unwrap();
            line.trim_end().to_owned()
        };
        let (listen, limit) = (line().parse().unwrap(), line().parse().unwrap());
        Apart {
            process,
            output,
            listen,
            limit,
        }
    }

    /// How many descriptors it has open.
    pub(crate) fn open(&self) -> usize {
        open(&self.proc(""))
    }

    /// How long its shards have run together (proc(5): nanoseconds come first).
    pub(crate) fn shards_ran(&self) -> Duration {
        let nanos = fs::read_dir(self.proc("task")).unwrap().map(|task| {
            let path = task.unwrap().path();
            // A thread may have ended meanwhile; no shard does.
            let name = fs::read_to_string(path.join("comm")).unwrap_or_default();
            if !name.starts_with("shard") {
                return 0;
            }
            let text = fs::read_to_string(path.join("schedstat")).unwrap();
            text.split(' ').next().unwrap().parse::<u64>().unwrap()
        });
        Duration::from_nanos(nanos.sum())
    }

    pub(crate) fn peak_rss(&self) -> u64 {
        stage::peak_rss(&self.proc(""))
    }

    /// Has it stop, and tells what it has warned of.
    pub(crate) fn stop(mut self) -> Vec<String> {
        drop(self.process.stdin.take());
        let mut said = String::new();
        self.output.read_to_string(&mut said).unwrap();
        said.lines().map(str::to_owned).collect()
    }

    fn proc(&self, file: &str) -> PathBuf {
        format!("/proc/{}/{file}", self.process.id()).into()
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to do.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What the other process does, until its standard input ends; false in any other.
pub(crate) fn is_played() -> bool {
    let Some(file) = std::env::var_os(FILE) else {
        return false;
    };
    warnings::keep();
    let app = stage::begin(file.into());
    let room: usize = std::env::var(ROOM).unwrap().parse().unwrap();
    let limit = open(Path::new("/proc/self")) + room;
    let before = getrlimit(Resource::Nofile);
    let lowered = Rlimit {
        current: Some(limit as u64),
        ..before
    };
    setrlimit(Resource::Nofile, lowered).unwrap();
    println!("{}\n{limit}", app.listen());
    // Its end is all that comes.
    let _ = std::io::stdin().read(&mut [0]);
    runtime().block_on(app.shut_down(std::future::ready(())));
    for line in warnings::all() {
        println!("{line}");
    }
    true
}

fn open(process: &Path) -> usize {
    fs::read_dir(process.join("fd")).unwrap().count()
}
