//! What an answer's time was spent on, as its client is told where `headers.server_timing` is on (W3C Server Timing).

use super::retry::Attempts;
use crate::digits::{few_milliseconds, milliseconds};
use std::time::{Duration, Instant};

/// Where the time of a request went until its attempt was sent; nowhere, if it was sent at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timing(Option<Before>);

#[derive(Clone, Copy, Debug)]
struct Before {
    /// Waiting for a backend with room.
    queue: Duration,
    /// On attempts that brought no answer.
    retry: Duration,
    connect: Duration,
    /// The rest: reading, picking, and writing it anew. Only known where the clock was read in between: what needs neither room
    /// nor a connection is sent on within microseconds, without a pause.
    own: Duration,
}

impl Timing {
    pub(super) fn new(started: Instant, sent: Instant, attempts: &Attempts) -> Self {
        // As most are: the first attempt, over a kept connection.
        if sent == started {
            return Timing(None);
        }
        let (queue, retry, connect) = (attempts.queued, attempts.lost, attempts.connecting);
        let before = sent.saturating_duration_since(started);
        Timing(Some(Before {
            queue,
            retry,
            connect,
            own: before.saturating_sub(queue + retry + connect),
        }))
    }
}

/// The time from a request's head to its answer's, in parts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spent {
    pub(super) before: Timing,
    /// From the request's sending to its answer's head, which goes to the client at once.
    pub(super) backend: Duration,
}

impl Spent {
    /// Writes the field; of what most answers need none of, only what took time. A backend's own field stays beside it: it is a
    /// list.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match (self.before, few_milliseconds(self.backend)) {
            // Written at once.
            (Timing(None), Some(backend)) => {
                let mut line = *b"Server-Timing: backend;dur=0.000\r\n";
                line[27..32].copy_from_slice(&backend);
                out.extend_from_slice(&line);
            }
            (Timing(before), _) => self.write_parts(before, out),
        }
    }

    fn write_parts(&self, before: Option<Before>, out: &mut Vec<u8>) {
        out.extend_from_slice(b"Server-Timing: ");
        if let Some(before) = before {
            for (name, spent) in [
                (b"queue;dur=".as_slice(), before.queue),
                (b"retry;dur=", before.retry),
                (b"connect;dur=", before.connect),
                (b"lemonade;dur=", before.own),
            ] {
                if !spent.is_zero() {
                    out.extend_from_slice(name);
                    milliseconds(spent, out);
                    out.extend_from_slice(b", ");
                }
            }
        }
        out.extend_from_slice(b"backend;dur=");
        milliseconds(self.backend, out);
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
        let written = |queued, lost, connecting, sent| {
            let mut attempts = Attempts::new(0, None);
            (attempts.queued, attempts.lost) = (millis(queued), lost);
            attempts.connecting = millis(connecting);
            let mut out = Vec::new();
            let spent = Spent {
                before: Timing::new(started, started + millis(sent), &attempts),
                backend: millis(20 - sent),
            };
            spent.write(&mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            written(5, Duration::ZERO, 2, 8),
            "Server-Timing: queue;dur=5.000, connect;dur=2.000, lemonade;dur=1.000, backend;dur=12.000\r\n"
        );
        assert_eq!(
            written(5, Duration::from_micros(1001), 2, 8),
            "Server-Timing: queue;dur=5.000, retry;dur=1.001, connect;dur=2.000, backend;dur=12.000\r\n"
        );
        assert_eq!(
            written(0, Duration::ZERO, 0, 0),
            "Server-Timing: backend;dur=20.000\r\n"
        );
    }

    #[test]
    fn answer_that_came_soon_is_told_as_every_other() {
        let started = Instant::now();
        let before = Timing::new(started, started, &Attempts::new(0, None));
        for micros in [0, 182, 9999, 10_000] {
            let backend = Duration::from_micros(micros);
            let (mut at_once, mut in_parts) = (Vec::new(), Vec::new());
            let spent = Spent { before, backend };
            spent.write(&mut at_once);
            spent.write_parts(None, &mut in_parts);
            assert_eq!(at_once, in_parts);
        }
    }
}
