//! Runs a watch and waits for what it reports.

use std::time::Duration;

use crate::discovery::found::{Found, Report};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::timeout;

/// Longer than any timeout of the watch and the slowest machine need.
const DEADLINE: Duration = Duration::from_secs(30);

/// A running watch; dropping this ends it.
pub(crate) struct Reports {
    receiver: UnboundedReceiver<Report>,
    watch: JoinHandle<()>,
}

impl Reports {
    /// `watch` is given the function that takes the reports.
    pub(crate) fn of<W: Future<Output = ()> + 'static>(
        watch: impl FnOnce(Box<dyn FnMut(Report)>) -> W,
    ) -> Reports {
        let (sender, receiver): (UnboundedSender<Report>, _) = unbounded_channel();
        let watch = watch(Box::new(move |report| {
            let _ = sender.send(report);
        }));
        Reports {
            receiver,
            watch: spawn_local(watch),
        }
    }

    pub(crate) async fn next(&mut self) -> Report {
        let next = timeout(DEADLINE, self.receiver.recv()).await;
        next.expect("no report in time")
            .expect("the watch has ended")
    }

    /// The next report, which must be a set.
    pub(crate) async fn set(&mut self) -> (Vec<Found>, Vec<String>) {
        match self.next().await {
            Report::Set { found, left_out } => (found, left_out),
            Report::Away { error, .. } => panic!("away: {error}"),
        }
    }

    /// The addresses of the next report, which must be a set of nothing but valid entries.
    pub(crate) async fn addresses(&mut self) -> Vec<String> {
        let (found, left_out) = self.set().await;
        assert!(left_out.is_empty(), "{left_out:?}");
        found
            .iter()
            .map(|found| found.address.to_string())
            .collect()
    }

    /// The sentence of the next report, which must be that the source is away.
    pub(crate) async fn away(&mut self) -> String {
        match self.next().await {
            Report::Away { error, .. } => error,
            Report::Set { found, .. } => panic!("a set: {found:?}"),
        }
    }

    /// The next set, however often the source is away until then.
    pub(crate) async fn set_at_last(&mut self) -> (Vec<Found>, Vec<String>) {
        loop {
            if let Report::Set { found, left_out } = self.next().await {
                return (found, left_out);
            }
        }
    }

    /// Nothing was reported that the test has not seen.
    pub(crate) fn nothing(&mut self) {
        assert!(self.receiver.try_recv().is_err());
    }
}

impl Drop for Reports {
    fn drop(&mut self) {
        self.watch.abort();
    }
}
