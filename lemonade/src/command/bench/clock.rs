//! Says when each request is due, to within some 0.1 ms.
//!
//! A thread that sleeps, since tokio's timers have a grain of a millisecond: too coarse for requests that are due at times of their
//! own, as what a request is sent late counts as its latency.

use super::load::Planned;
use std::io;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// Starts the clock: it sends the number of each request when that is due, and stops when nobody listens. `requests` are in the
/// order of time.
pub(super) fn start(
    requests: Arc<[Planned]>,
    start: Instant,
) -> io::Result<UnboundedReceiver<usize>> {
    // Unbounded, but no more than there are requests; and who listens does little else.
    let (strike, due) = unbounded_channel();
    let run = move || {
        for (number, planned) in requests.iter().enumerate() {
            let left = (start + planned.due).saturating_duration_since(Instant::now());
            if !left.is_zero() {
                std::thread::sleep(left);
            }
            if strike.send(number).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new()
        .name("clock".to_owned())
        .spawn(run)?;
    Ok(due)
}
