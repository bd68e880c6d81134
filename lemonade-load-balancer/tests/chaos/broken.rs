//! Backends that answer, and wrongly: reset connections, garbage, errors.

use crate::backend::Behaviour;
use crate::report::Row;
use crate::stage::Stage;
use std::time::Duration;

/// Connections are reset before any byte of an answer.
pub(crate) async fn reset_at_once() -> Row {
    broken("reset before any byte", Behaviour::ResetAtOnce).await
}

pub(crate) async fn garbage() -> Row {
    broken("garbage", Behaviour::Garbage).await
}

/// It fails fast, so it is the least busy and the fastest of all: it must not attract traffic.
pub(crate) async fn fail_fast() -> Row {
    broken("fail fast (500)", Behaviour::Fail).await
}

/// It says that it is too busy, and when to come again.
pub(crate) async fn busy() -> Row {
    broken("503 with Retry-After", Behaviour::Busy).await
}

async fn broken(fault: &str, behaviour: Behaviour) -> Row {
    let mut stage = Stage::set(fault).await;
    stage.strike(&[0], behaviour);
    stage.ejects(&[0], Duration::from_secs(1)).await;
    stage.heal(&[0], Duration::from_secs(4)).await;
    let others = stage.bound_of_others(Some(0.25));
    stage.bounds(others, 0).await
}

/// Every answer is reset half way. What was passed on can only be cut off; so as many are as it takes to see it, which is no
/// more than what the other faults cost requests that cannot be repeated.
pub(crate) async fn reset_midway() -> Row {
    let mut stage = Stage::set("reset midway").await;
    stage.strike(&[0], Behaviour::ResetMidway);
    stage.ejects(&[0], Duration::from_secs(1)).await;
    stage.heal(&[0], Duration::from_secs(4)).await;
    // Of every kind of request, where the bound counts one in five.
    let cut = 5 * stage.bound_of_others(Some(0.25));
    stage.bounds(0, cut).await
}
