//! Backends that answer late.

use crate::backend::{Behaviour, USUAL};
use crate::report::{Bounds, Row};
use crate::stage::{Stage, soon};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long a backend that comes back is slow.
const COLD: Duration = Duration::from_secs(2);

/// Ten times slower than the others is no reason to fail anybody.
pub(crate) async fn ten_times() -> Row {
    let mut stage = Stage::set("ten times slower").await;
    stage.strike(&[0], Behaviour::Slow(10 * USUAL));
    stage.endure(&[0]).await;
    stage.heal(&[0]).await;
    stage.bounds(Bounds::default()).await
}

/// It is killed, and comes back with nothing in its caches: a hundred times slower for its first seconds.
pub(crate) async fn cold_return() -> Row {
    let mut stage = Stage::set("cold return").await;
    stage.strike(&[0], Behaviour::Gone);
    stage.ejects(&[0], Duration::from_secs(1)).await;
    let returned = Instant::now();
    stage.backends[0].behave(Behaviour::Slow(100 * USUAL));
    sleep(COLD).await;
    stage.backends[0].behave(Behaviour::Answer);
    stage.comes_back(&[0], returned, COLD + soon()).await;
    let others = stage.in_flight_at_fault();
    stage
        .bounds(Bounds {
            others,
            ..Bounds::default()
        })
        .await
}
