//! The writer's thread: takes batches, writes them, and says once when that fails and once when it succeeds again.

use super::target::{Lost, Target};
use super::{Backlog, Batch, MOST_WAITING, Order};
use std::io;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::SyncSender;
use tokio::sync::mpsc::UnboundedReceiver;

/// Writes what is queued until nobody can queue anything more.
pub(super) fn run(queue: &mut UnboundedReceiver<Order>, target: Target, backlog: &Backlog) {
    let mut writer = Writer {
        target,
        backlog,
        failing: false,
    };
    while let Some(order) = queue.blocking_recv() {
        match order {
            Order::Write { batch, back } => writer.write(batch, back),
            Order::Turn(target) => writer.target = target,
        }
    }
}

struct Writer<'b> {
    target: Target,
    backlog: &'b Backlog,
    /// The last write failed, and that has been said.
    failing: bool,
}

impl Writer<'_> {
    fn write(&mut self, mut batch: Batch, back: Option<SyncSender<Batch>>) {
        let written = self.target.write(&batch);
        self.tell(written);
        let weight = batch.weight();
        let left = self.backlog.waiting.fetch_sub(weight, Relaxed) - weight;
        // Well below where it began, so that it is not told anew with every batch.
        if left < MOST_WAITING / 2 && self.backlog.behind.swap(false, Relaxed) {
            tracing::info!("the access log is written as fast as it comes again");
        }
        if let Some(back) = back {
            batch.clear();
            // A shard that has enough of them, or is gone, needs none.
            let _ = back.try_send(batch);
        }
    }

    fn tell(&mut self, written: Result<(), Lost>) {
        match written {
            Ok(()) if self.failing => {
                self.failing = false;
                tracing::info!("the access log is written again");
            }
            Ok(()) => {}
            Err(Lost { lines, cause }) => {
                self.backlog.drop_lines(lines);
                self.complain(&cause);
            }
        }
    }

    fn complain(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.failing, true) {
            tracing::warn!(%error, "the access log cannot be written");
        }
    }
}
