//! Waiting for conditions: every wait of a test goes through here, so that a test that would hang fails instead.

use std::fmt::Display;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

/// How long anything may take; only a failing test ever waits so long.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// How often [`until`] looks.
const LOOK: Duration = Duration::from_millis(2);

/// Waits until `condition` holds. Panics with `what` if it never does.
#[track_caller]
pub fn until(what: impl Display, mut condition: impl FnMut() -> bool) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        let begun = Instant::now();
        while !condition() {
            assert!(
                begun.elapsed() < PATIENCE,
                "waited in vain until {what} ({caller})"
            );
            sleep(LOOK).await;
        }
    }
}

/// Bounds `future` by [`PATIENCE`].
pub(crate) async fn patiently<F: Future>(what: &str, future: F) -> F::Output {
    match timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("waited in vain for {what}"),
    }
}

/// Shut at first; whoever waits at it passes once it is opened, and from then on at once until it is closed again.
#[derive(Clone, Debug)]
pub struct Gate(watch::Sender<bool>);

impl Gate {
    /// A shut gate.
    pub fn shut() -> Self {
        Gate(watch::Sender::new(false))
    }

    /// Lets everyone pass.
    pub fn open(&self) {
        self.0.send_replace(true);
    }

    /// Holds back whoever comes from now on.
    pub fn close(&self) {
        self.0.send_replace(false);
    }

    /// Waits until the gate is open.
    pub async fn passed(&self) {
        let mut open = self.0.subscribe();
        patiently("a gate to open", async {
            // The sender is `self`, which outlives this.
            let _ = open.wait_for(|open| *open).await;
        })
        .await;
    }
}
