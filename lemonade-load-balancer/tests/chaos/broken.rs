//! Backends that answer, and wrongly: reset connections, garbage, errors.

use crate::backend::Behaviour;
use crate::load::{posts_a_second, requests_a_second};
use crate::report::{Bounds, Row};
use crate::stage::Stage;
use std::time::Duration;
use tokio::time::sleep;

/// Five failures in a row are enough.
const AT_ONCE: Duration = Duration::from_secs(1);

/// Connections are reset before any byte of an answer.
pub(crate) async fn reset_at_once() -> Row {
    broken("reset before any byte", Behaviour::ResetAtOnce).await
}

pub(crate) async fn garbage() -> Row {
    broken("garbage", Behaviour::Garbage).await
}

/// It fails fast, so it is the least busy and the fastest of all: it must not attract traffic. A 500 is an answer, which is
/// not asked for again unless the configuration says so.
pub(crate) async fn fail_fast() -> Row {
    let mut stage = Stage::set("fail fast (500)").await;
    stage.strike(&[0], Behaviour::Fail);
    stage.ejects(&[0], AT_ONCE).await;
    stage.heal(&[0]).await;
    let (all, others) = (requests_a_second(), posts_a_second());
    let most = Bounds {
        idempotent: stage.exposed(0.25, all - others),
        others: stage.exposed(0.25, others),
        cut: 0,
    };
    stage.bounds(most).await
}

/// The same where the configuration says so.
pub(crate) async fn fail_fast_retried() -> Row {
    let lines = "retries: { on: [connect_failure, reset, timeout, 500, 502, 503] }\n";
    let stage = Stage::with("fail fast (500, retried)", 4, lines).await;
    spoil(stage, Behaviour::Fail, AT_ONCE).await
}

/// It says that it is too busy, and when to come again. That is no fault for which it would be ejected; its health checks are
/// told the same, and take it out.
pub(crate) async fn busy() -> Row {
    let stage = Stage::set("503 with Retry-After").await;
    spoil(stage, Behaviour::Busy, Duration::from_secs(2)).await
}

async fn broken(fault: &str, behaviour: Behaviour) -> Row {
    spoil(Stage::set(fault).await, behaviour, AT_ONCE).await
}

async fn spoil(mut stage: Stage, behaviour: Behaviour, out_within: Duration) -> Row {
    stage.strike(&[0], behaviour);
    stage.ejects(&[0], out_within).await;
    stage.heal(&[0]).await;
    let others = stage.exposed(0.25, posts_a_second());
    stage
        .bounds(Bounds {
            others,
            ..Bounds::default()
        })
        .await
}

/// Every answer is reset half way. What was passed on can only be cut off; so as many are as it takes to see it, which is no
/// more than what the other faults cost requests that cannot be repeated.
pub(crate) async fn reset_midway() -> Row {
    let mut stage = Stage::set("reset midway").await;
    // That it has served well for a while must not hide that it no longer does.
    sleep(Duration::from_secs(3)).await;
    stage.strike(&[0], Behaviour::ResetMidway);
    stage.ejects(&[0], AT_ONCE).await;
    stage.heal(&[0]).await;
    let cut = stage.exposed(0.25, requests_a_second());
    stage
        .bounds(Bounds {
            cut,
            ..Bounds::default()
        })
        .await
}
