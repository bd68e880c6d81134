//! Open files: how many this process may have, and whether they suffice.
//!
//! Every connection is one, and nearly every request needs two connections. The limit that a process is born with (1024, often)
//! is for programs that wait with `select`; the one that it may raise it to is meant for those who know better.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io;

/// What the process needs besides its clients and their backends: listeners, event queues, logs, probes, the admin API.
const RESERVE: u64 = 100;

/// Linux, `errno(3)`: per-process and system-wide descriptors, socket memory. They have no stable `ErrorKind`.
const ENFILE: i32 = 23;
const EMFILE: i32 = 24;
const ENOBUFS: i32 = 105;

/// Whether something could not be opened because descriptors or memory ran out here, which passes. It says nothing about the other
/// end.
pub(crate) fn is_exhaustion(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::OutOfMemory
        || matches!(error.raw_os_error(), Some(EMFILE | ENFILE | ENOBUFS))
}

/// Raises the limit as far as the process may by itself. For the program to call before it starts anything.
pub fn raise_limit() -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        };
        setrlimit(Resource::Nofile, raised)?;
    }
    Ok(())
}

/// The present limit.
pub(crate) fn limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Says so if clients as many as are let in would need more descriptors than there may be.
pub(crate) fn warn_if_short(max_connections: u32) {
    let (limit, needed) = (limit(), needed(max_connections));
    if needed > limit {
        tracing::warn!(
            limit,
            needed,
            "the limit on open files is too low for `limits.max_connections: {max_connections}`: raise it (`ulimit -Hn {needed}`, \
             systemd's `LimitNOFILE={needed}`) or lower `limits.max_connections` to {}",
            affordable(limit)
        );
    }
}

fn needed(max_connections: u32) -> u64 {
    u64::from(max_connections) * 2 + RESERVE
}

fn affordable(limit: u64) -> u64 {
    (limit.saturating_sub(RESERVE) / 2).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_affordable_needs_no_more_than_there_is() {
        for limit in [1024, 20_000, 524_288] {
            let connections = affordable(limit) as u32;
            assert!(needed(connections) <= limit);
            assert!(needed(connections + 1) > limit);
        }
    }
}
