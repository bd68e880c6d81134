//! What an answer's time was spent on, as its client is told where `headers.server_timing` is on (W3C Server Timing).

use super::retry::Attempts;
use crate::decimal::{few_milliseconds, milliseconds};
use std::time::{Duration, Instant};

/// What is known of a request's time when its attempt has been sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timing {
    queue: Duration,
    retry: Duration,
    connect: Duration,
    own: Duration,
    /// How long after its attempt had begun on its connection.
    delay: Duration,
}

impl Timing {
    /// `began`: when the attempt began on its connection; `sent`: when it was sent, no sooner.
    pub(super) fn new(
        started: Instant,
        began: Instant,
        sent: Instant,
        attempts: &Attempts,
    ) -> Self {
        let delay = sent.saturating_duration_since(began);
        // Most attempts begin with their request.
        let before = match began == started {
            true => delay,
            false => sent.saturating_duration_since(started),
        };
        let elsewhere = attempts.queued + attempts.lost + attempts.connecting;
        Timing {
            queue: attempts.queued,
            retry: attempts.lost,
            connect: attempts.connecting,
            own: before.saturating_sub(elsewhere),
            delay,
        }
    }

    /// The same when the answer's head has come, so long after the attempt began. It goes to the client at once: the clock is not
    /// read again.
    pub(super) fn spent(&self, took: Duration) -> Spent {
        Spent {
            queue: self.queue,
            retry: self.retry,
            connect: self.connect,
            backend: took.saturating_sub(self.delay),
            own: self.own,
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
        match self.ordinary() {
            Some(line) => out.extend_from_slice(&line),
            None => self.write_parts(out),
        }
    }

    /// The line of an answer that came soon, and needed nothing else: written at once.
    fn ordinary(&self) -> Option<[u8; 54]> {
        let elsewhere = self.queue + self.retry + self.connect;
        if !elsewhere.is_zero() {
            return None;
        }
        let mut line = *b"Server-Timing: backend;dur=0.000, lemonade;dur=0.000\r\n";
        line[27..32].copy_from_slice(&few_milliseconds(self.backend)?);
        line[47..52].copy_from_slice(&few_milliseconds(self.own)?);
        Some(line)
    }

    fn write_parts(&self, out: &mut Vec<u8>) {
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
        let millis = Duration::from_millis;
        let written = |queued, lost, connecting, began| {
            let mut attempts = Attempts::new(0, None);
            (attempts.queued, attempts.lost) = (millis(queued), lost);
            attempts.connecting = millis(connecting);
            let (began, sent) = (started + millis(began), started + millis(8));
            let timing = Timing::new(started, began, sent, &attempts);
            let took = started + millis(20) - began;
            let mut out = Vec::new();
            timing.spent(took).write(&mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            written(5, Duration::ZERO, 2, 7),
            "Server-Timing: queue;dur=5.000, connect;dur=2.000, backend;dur=12.000, lemonade;dur=1.000\r\n"
        );
        let retried = written(5, Duration::from_micros(1001), 2, 8);
        assert!(retried.contains(", retry;dur=1.001, connect"));
        assert!(retried.contains("backend;dur=12.000, lemonade;dur=0.000"));
        assert_eq!(
            written(0, Duration::ZERO, 0, 0),
            "Server-Timing: backend;dur=12.000, lemonade;dur=8.000\r\n"
        );
    }

    #[test]
    fn ordinary_answer_is_told_as_every_other() {
        for [backend, own] in [
            [0, 0],
            [1, 9999],
            [9999, 1],
            [182, 3],
            [10_000, 3],
            [182, 10_000],
        ] {
            let spent = Spent {
                queue: Duration::ZERO,
                retry: Duration::ZERO,
                connect: Duration::ZERO,
                backend: Duration::from_micros(backend),
                own: Duration::from_micros(own),
            };
            let (mut at_once, mut in_parts) = (Vec::new(), Vec::new());
            spent.write(&mut at_once);
            spent.write_parts(&mut in_parts);
            assert_eq!(at_once, in_parts);
            assert_eq!(spent.ordinary().is_some(), backend < 10_000 && own < 10_000);
        }
    }
}
