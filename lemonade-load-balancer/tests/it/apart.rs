//! A balancer in a process of its own, so that its memory and its descriptors are its own: this binary, started once more.

use lemonade_test::{Client, until};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

const FILE: &str = "LEMONADE_TEST_APART_FILE";
const DESCRIPTORS: &str = "LEMONADE_TEST_APART_DESCRIPTORS";
const LISTENING: &str = "listening at ";

/// Ends when it is dropped.
pub(crate) struct Apart {
    process: Child,
    pub(crate) listen: SocketAddr,
    folder: TempDir,
}

impl Apart {
    /// In front of `backend`; `more` is further lines of its configuration. `descriptors`: its limit, if not the usual.
    pub(crate) fn start(backend: SocketAddr, more: &str, descriptors: Option<u64>) -> Apart {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("lb.yaml");
        let text = format!(
            "listen: 127.0.0.1:0\nadmin: off\nhealth: off\nruntime: {{ shards: 2 }}\nbackends: [\"{backend}\"]\n{more}"
        );
        fs::write(&file, text).unwrap();
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "apart::other_process",
                "--ignored",
                "--nocapture",
            ])
            .env(FILE, &file)
            .env(DESCRIPTORS, descriptors.unwrap_or(u64::MAX).to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        // After whatever the test harness has to say.
        let listen = output.lines().find_map(|line| {
            let line = line.unwrap();
            let (_, address) = line.split_once(LISTENING)?;
            address.parse().ok()
        });
        Apart {
            process,
            listen: listen.expect("the other process has started"),
            folder,
        }
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(self.listen).await
    }

    /// Bytes of memory that it holds: of its own, not what of the program's file has been read by now.
    pub(crate) fn memory(&self) -> usize {
        // proc(5): counted page by page, while `statm` may be a hundred pages off on each processor.
        let sizes = fs::read_to_string(self.proc("smaps_rollup")).unwrap();
        let own = sizes
            .lines()
            .find_map(|line| line.strip_prefix("Anonymous:"));
        let kibibytes: usize = own.unwrap().trim().trim_end_matches(" kB").parse().unwrap();
        kibibytes * 1024
    }

    /// Descriptors that it has open.
    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(self.proc("fd")).unwrap().count()
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// Waits until it has as many descriptors open as `count` says.
    pub(crate) async fn has_descriptors(&self, count: impl Fn(usize) -> bool) {
        until("its descriptors are as many", || count(self.descriptors())).await;
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

/// What the other process runs, until its standard input ends.
#[test]
#[ignore = "a part of other tests"]
fn other_process() {
    let Some(file) = std::env::var_os(FILE) else {
        return;
    };
    let limit: u64 = std::env::var(DESCRIPTORS).unwrap().parse().unwrap();
    lemonade_load_balancer::descriptors::raise_limit().unwrap();
    let resource = rustix::process::Resource::Nofile;
    let mut limits = rustix::process::getrlimit(resource);
    limits.current = limits.current.map(|current| current.min(limit));
    rustix::process::setrlimit(resource, limits).unwrap();
    lemonade_observability::logging::init(Default::default(), 0).unwrap();
    let balancer = crate::balancer::balancer_of_file(file.as_ref());
    let mut output = std::io::stdout();
    writeln!(output, "{LISTENING}{}", balancer.app.listen()).unwrap();
    output.flush().unwrap();
    // The end of the process that wanted this one.
    let _ = std::io::stdin().read(&mut [0]);
    drop(balancer);
}
