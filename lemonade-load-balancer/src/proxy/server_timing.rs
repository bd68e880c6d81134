//! What an answer's time was spent on, as its client is told where `headers.server_timing` is on (W3C Server Timing).

use super::retry::Attempts;
use crate::decimal::milliseconds;
use std::time::{Duration, Instant};

/// What is known of a request's time when its attempt has been sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timing {
    started: Instant,
    queue: Duration,
    retry: Duration,
    connect: Duration,
    sent: Instant,
}

impl Timing {
    pub(super) fn new(started: Instant, sent: Instant, attempts: &Attempts) -> Self {
        Timing {
            started,
            queue: attempts.queued,
            retry: attempts.lost,
            connect: attempts.connecting,
            sent,
        }
    }

    /// The same when the answer's head has come. It goes to the client at once: the clock is not read again.
    pub(super) fn spent(&self, first_byte: Instant) -> Spent {
        let elsewhere = self.queue + self.retry + self.connect;
        let before = self.sent.saturating_duration_since(self.started);
        Spent {
            queue: self.queue,
            retry: self.retry,
            connect: self.connect,
            backend: first_byte.saturating_duration_since(self.sent),
            own: before.saturating_sub(elsewhere),
        }
    }
}

/// The time from a request's head to its answer's, in parts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spent {
    /// Waiting for a backend with room.
    queue: Duration,
    /// On attempts that brought no answer.
    retry: Duration,
    connect: Duration,
    /// From the request's sending to its answer's head.
    backend: Duration,
    /// The rest until it was sent: reading, picking, and writing it anew.
    own: Duration,
}

impl Spent {
    /// Writes the field; of what most answers need none of, only what took time. A backend's own field stays beside it: it is a
    /// list.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"Server-Timing: ");
        for (name, spent) in [
            (b"queue;dur=".as_slice(), self.queue),
            (b"retry;dur=", self.retry),
            (b"connect;dur=", self.connect),
        ] {
            if !spent.is_zero() {
                out.extend_from_slice(name);
                milliseconds(spent, out);
                out.extend_from_slice(b", ");
            }
        }
        out.extend_from_slice(b"backend;dur=");
        milliseconds(self.backend, out);
        out.extend_from_slice(b", lemonade;dur=");
        milliseconds(self.own, out);
        out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_add_up_to_the_whole() {
        let started = Instant::now();
        let after = |millis| started + Duration::from_millis(millis);
        let timing = Timing {
            started,
            queue: Duration::from_millis(5),
            retry: Duration::ZERO,
            connect: Duration::from_millis(2),
            sent: after(8),
        };
        let written = |timing: &Timing| {
            let mut out = Vec::new();
            timing.spent(after(20)).write(&mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            written(&timing),
            "Server-Timing: queue;dur=5.000, connect;dur=2.000, backend;dur=12.000, lemonade;dur=1.000\r\n"
        );
        let retried = Timing {
            retry: Duration::from_micros(1001),
            ..timing
        };
        assert!(written(&retried).contains(", retry;dur=1.001, connect"));
        assert!(written(&retried).contains("lemonade;dur=0.000"));
        let at_once = Timing {
            queue: Duration::ZERO,
            connect: Duration::ZERO,
            ..timing
        };
        assert_eq!(
            written(&at_once),
            "Server-Timing: backend;dur=12.000, lemonade;dur=8.000\r\n"
        );
    }
}
