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
pub(crate) async fn all_die() -> Row {
    all(Stage::set("all die and return").await, Behaviour::Gone).await
}

/// All hang, and answer again: what was sent meanwhile must not come back as an avalanche.
pub(crate) async fn all_hang() -> Row {
    all(Stage::set("all hang and return").await, Behaviour::Hang).await
}

/// All fail, and do not any more.
pub(crate) async fn all_fail() -> Row {
    all(
        Stage::set("all fail (500) and return").await,
        Behaviour::Fail,
    )
    .await
}

async fn all(mut stage: Stage, behaviour: Behaviour) -> Row {
    let all = [0, 1, 2, 3];
    stage.strike(&all, behaviour);
    stage.endure(&all).await;
    let returned = Instant::now();
    stage.heal(&all).await;
    let first = stage.first_good(returned);
    stage.check(first.is_some_and(|first| first <= SOON), || {
        format!("the first request was served {first:?} after the return, not within {SOON:?}")
    });
    tokio::time::sleep(CALM_AGAIN).await;
    stage.well_since(returned + CALM_AGAIN).await
}
