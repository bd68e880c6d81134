//! A disk that is full.

use crate::report::{Bounds, Row};
use crate::stage::{Stage, fault_lasts};
use crate::warnings;
use tokio::time::sleep;

/// Every request is logged, to a device that has no room: clients see nothing, the operator a warning and a count.
pub(crate) async fn of_logs() -> Row {
    let lines = "access_log: { sample: 100%, file: /dev/full }\n";
    let mut stage = Stage::with("disk full for logs", 2, lines).await;
    sleep(fault_lasts()).await;
    let warned = warnings::count("the access log cannot be written");
    stage.check(warned == 1, || format!("{warned} warnings, not one"));
    let dropped = stage.metric("lemonade_access_log_dropped_total").await;
    stage.check(dropped > 0.0, || "no dropped line is counted".to_owned());
    stage.bounds(Bounds::default()).await
}
