//! The queue between the shards and the exporter: bounded in traces and in bytes.

use super::Trace;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use tokio::sync::{Notify, mpsc};

/// So many are worth being told of at once: the exporter is woken.
pub(crate) const BATCH: usize = 512;
/// Traces that may wait.
const TRACES: usize = 4096;
/// What they may hold together: clients choose how long a path is.
const BYTES: usize = 16 << 20;

/// Where shards hand over what they traced. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Traces {
    queue: mpsc::Sender<Box<Trace>>,
    shared: Arc<Shared>,
}

/// Where the exporter finds it. There is one.
#[derive(Debug)]
pub(crate) struct Receiver {
    queue: mpsc::Receiver<Box<Trace>>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    waiting_bytes: AtomicUsize,
    dropped: AtomicU64,
    /// A batch waits, or did.
    batch: Notify,
}

/// Both ends of an empty queue.
pub(crate) fn channel() -> (Traces, Receiver) {
    let (sender, receiver) = mpsc::channel(TRACES);
    let shared = Arc::<Shared>::default();
    let traces = Traces {
        queue: sender,
        shared: shared.clone(),
    };
    let queue = receiver;
    (traces, Receiver { queue, shared })
}

impl Traces {
    /// Never waits, and wakes nobody but where a batch waits. Without room, or without an exporter, the trace is dropped and counted.
    pub(crate) fn send(&self, trace: Box<Trace>) {
        let weight = trace.weight();
        let shared = &self.shared;
        // Relaxed: a bound on memory, over which two shards at once may go by a trace each.
        let fits = shared.waiting_bytes.fetch_add(weight, Relaxed) + weight <= BYTES;
        if !fits || self.queue.try_send(trace).is_err() {
            shared.waiting_bytes.fetch_sub(weight, Relaxed);
            shared.dropped.fetch_add(1, Relaxed);
        }
        if self.queue.max_capacity() - self.queue.capacity() >= BATCH {
            shared.batch.notify_one();
        }
    }
}

impl Receiver {
    /// Waits until there is a batch.
    pub(crate) async fn batch(&self) {
        while self.queue.len() < BATCH {
            self.shared.batch.notified().await;
        }
    }

    /// The oldest that waits, if one does.
    pub(crate) fn next(&mut self) -> Option<Box<Trace>> {
        let trace = self.queue.try_recv().ok()?;
        let weight = trace.weight();
        self.shared.waiting_bytes.fetch_sub(weight, Relaxed);
        Some(trace)
    }

    /// How many were dropped since this was asked last.
    pub(crate) fn dropped(&self) -> u64 {
        self.shared.dropped.swap(0, Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use super::*;
    use std::pin::pin;
    use std::task::{Context, Waker};

    #[test]
    fn what_finds_no_room_is_dropped_and_counted() {
        let (traces, mut receiver) = channel();
        for _ in 0..TRACES + 3 {
            traces.send(Box::new(example()));
        }
        assert_eq!((receiver.dropped(), receiver.dropped()), (3, 0));
        let waiting = std::iter::from_fn(|| receiver.next()).count();
        assert_eq!(waiting, TRACES);
        traces.send(Box::new(example()));
        assert!(receiver.next().is_some());
    }

    #[tokio::test]
    async fn whoever_waits_for_a_batch_is_woken_by_one() {
        let (traces, mut receiver) = channel();
        for _ in 1..BATCH {
            traces.send(Box::new(example()));
        }
        let mut context = Context::from_waker(Waker::noop());
        {
            let mut waiting = pin!(receiver.batch());
            assert!(waiting.as_mut().poll(&mut context).is_pending());
            traces.send(Box::new(example()));
            waiting.await;
        }
        // One that was there, and that nobody waited for, is none.
        traces.send(Box::new(example()));
        while receiver.next().is_some() {}
        traces.send(Box::new(example()));
        assert!(pin!(receiver.batch()).poll(&mut context).is_pending());
    }

    #[test]
    fn long_paths_do_not_fill_the_memory() {
        let (traces, mut receiver) = channel();
        let long = Trace {
            path: "x".repeat(64 << 10).into(),
            ..example()
        };
        for _ in 0..1000 {
            traces.send(Box::new(long.clone()));
        }
        let waiting = std::iter::from_fn(|| receiver.next());
        let bytes: usize = waiting.map(|trace| trace.path.len()).sum();
        assert!(bytes <= BYTES && bytes > BYTES / 2, "{bytes}");
        assert!(receiver.dropped() > 700);
        assert_eq!(receiver.shared.waiting_bytes.load(Relaxed), 0);
    }

    #[test]
    fn without_an_exporter_everything_is_dropped() {
        let (traces, receiver) = channel();
        let shared = receiver.shared.clone();
        drop(receiver);
        traces.send(Box::new(example()));
        assert_eq!(shared.dropped.load(Relaxed), 1);
        assert_eq!(shared.waiting_bytes.load(Relaxed), 0);
    }
}
