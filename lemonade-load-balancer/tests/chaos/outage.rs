//! Nobody is left.

use crate::backend::Behaviour;
use crate::report::Row;
use crate::stage::Stage;
use std::time::Duration;
use tokio::time::Instant;

/// How soon after the return the first request is served, and from when on none fails any more.
const SOON: Duration = Duration::from_millis(1_200);
const CALM_AGAIN: Duration = Duration::from_secs(2);

/// All die and return. While they are gone every request fails, and that is all that may.
pub(crate) async fn all() -> Row {
    let mut stage = Stage::set("all die and return").await;
    let all = [0, 1, 2, 3];
    stage.strike(&all, Behaviour::Gone);
    stage.ejects(&all, Duration::from_secs(1)).await;
    let returned = Instant::now();
    stage.heal(&all).await;
    let first = stage.first_good(returned);
    stage.check(first.is_some_and(|first| first <= SOON), || {
        format!("the first request was served {first:?} after the return, not within {SOON:?}")
    });
    tokio::time::sleep(CALM_AGAIN).await;
    stage.well_since(returned + CALM_AGAIN).await
}
