//! What the kernel says of this process, for the figures that every Prometheus client exports under the same names.
//!
//! Read when somebody asks, from `/proc`: a few small files, some 50 µs; and before Linux 6.2 what it takes to list the open
//! descriptors. What cannot be read is absent, never 0: elsewhere than on Linux that is all but the limit.

use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};
use std::fs::{metadata, read_dir, read_to_string};
use std::sync::OnceLock;
use std::time::Duration;

/// The figures of one moment.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Processor time, in user and kernel mode, of all threads; in steps of a tick (10 ms).
    pub cpu: Option<Duration>,
    /// Memory that is in RAM, what is shared with other processes included.
    pub resident_bytes: Option<u64>,
    /// Before Linux 6.2 absent when none is left to look with.
    pub open_descriptors: Option<u64>,
    /// The soft limit; absent where there is none.
    pub descriptor_limit: Option<u64>,
    /// Since the Unix epoch, to the second.
    pub started: Option<Duration>,
}

/// The figures of this process, now.
pub fn usage() -> Usage {
    let stat = read_to_string("/proc/self/stat").ok();
    let stat = stat.as_deref().and_then(Stat::parse);
    Usage {
        cpu: stat.as_ref().map(|stat| ticks(stat.cpu)),
        resident_bytes: stat.as_ref().map(|stat| stat.pages * page_size() as u64),
        open_descriptors: open_descriptors(),
        descriptor_limit: getrlimit(Resource::Nofile).current,
        started: stat.and_then(|stat| started(&stat)),
    }
}

/// The fields of `/proc/self/stat` that are of use here (proc_pid_stat(5): 14 and 15, 22, 24).
#[derive(Debug, PartialEq)]
struct Stat {
    /// Ticks.
    cpu: u64,
    /// Ticks since the machine's start.
    started: u64,
    pages: u64,
}

impl Stat {
    fn parse(text: &str) -> Option<Stat> {
        // The second field is the program's name in parentheses, which may hold spaces and parentheses.
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Stat {
            cpu: field(14)? + field(15)?,
            started: field(22)?,
            pages: field(24)?,
        })
    }
}

fn ticks(count: u64) -> Duration {
    Duration::from_secs_f64(count as f64 / clock_ticks_per_second() as f64)
}

/// Looked up once: the kernel derives the machine's start from its present clock, so that each correction of the clock would
/// look like a restart of this process.
fn started(stat: &Stat) -> Option<Duration> {
    static STARTED: OnceLock<Option<Duration>> = OnceLock::new();
    *STARTED.get_or_init(|| Some(boot()? + ticks(stat.started)))
}

/// When the machine started, since the Unix epoch.
fn boot() -> Option<Duration> {
    let stat = read_to_string("/proc/stat").ok()?;
    let line = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    Some(Duration::from_secs(line.trim().parse().ok()?))
}

const DESCRIPTORS: &str = "/proc/self/fd";

fn open_descriptors() -> Option<u64> {
    counted().or_else(listed)
}

/// As Linux counts them since 6.2 (proc_pid_fd(5)), without listing them. Before, the directory has no size.
fn counted() -> Option<u64> {
    let size = metadata(DESCRIPTORS).ok()?.len();
    (size > 0).then_some(size)
}

fn listed() -> Option<u64> {
    let listed = read_dir(DESCRIPTORS).ok()?.count() as u64;
    // One of them is the listing itself.
    Some(listed.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::time::SystemTime;

    #[test]
    fn name_of_the_program_is_skipped_whatever_it_holds() {
        let text =
            "7 (a) 1 (b) S 1 7 7 0 -1 4194304 1 0 0 0 250 50 0 0 20 0 3 0 900 8192 42 99 0\n";
        let expected = Stat {
            cpu: 300,
            started: 900,
            pages: 42,
        };
        assert_eq!(Stat::parse(text), Some(expected));
        assert_eq!(Stat::parse("7 (a) S 1"), None);
    }

    #[test]
    fn figures_are_those_of_this_process() {
        let block = vec![1_u8; 64 << 20];
        let open: Vec<File> = (0..20)
            .map(|_| File::open("/proc/self/stat").unwrap())
            .collect();
        let usage = usage();
        assert!(usage.resident_bytes.unwrap() > block.len() as u64);
        assert!(usage.open_descriptors.unwrap() > open.len() as u64);
        assert!(usage.open_descriptors <= usage.descriptor_limit);
        assert!(listed().unwrap() > open.len() as u64);
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap();
        let age = now.as_secs_f64() - usage.started.unwrap().as_secs_f64();
        assert!((-2.0..3600.0).contains(&age), "{age} s old");
    }

    #[test]
    fn processor_time_rises_with_work() {
        let before = usage().cpu.unwrap();
        let until = before + Duration::from_millis(30);
        while usage().cpu.unwrap() < until {}
    }
}
