//! Backends that are killed, or out of reach.

use crate::backend::Behaviour;
use crate::report::{Bounds, Row};
use crate::stage::{Stage, fault_lasts};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// One of four is killed, with requests under way, and comes back.
pub(crate) async fn one() -> Row {
    let mut stage = Stage::set("crash").await;
    stage.strike(&[0], Behaviour::Gone);
    stage.ejects(&[0], Duration::from_secs(1)).await;
    stage.heal(&[0]).await;
    let others = stage.in_flight_at_fault();
    stage
        .bounds(Bounds {
            others,
            ..Bounds::default()
        })
        .await
}

/// Packets to it are lost: each connection takes `timeouts.connect` to fail.
pub(crate) async fn lost() -> Row {
    let mut stage = Stage::set("no connection (packets lost)").await;
    stage.strike(&[0], Behaviour::Lost);
    stage.ejects(&[0], Duration::from_secs(1)).await;
    stage.heal(&[0]).await;
    let others = stage.in_flight_at_fault();
    stage
        .bounds(Bounds {
            others,
            ..Bounds::default()
        })
        .await
}

/// All but one are killed at once.
pub(crate) async fn all_but_one() -> Row {
    let mut stage = Stage::set("crash of three in four").await;
    stage.strike(&[0, 1, 2], Behaviour::Gone);
    stage.ejects(&[0, 1, 2], Duration::from_secs(1)).await;
    stage.heal(&[0, 1, 2]).await;
    let others = stage.in_flight_at_fault();
    stage
        .bounds(Bounds {
            others,
            ..Bounds::default()
        })
        .await
}

/// Killed in the middle of answers: those whose head was passed on can only be cut off.
pub(crate) async fn midway() -> Row {
    let mut stage = Stage::set("crash in the middle of answers").await;
    let streaming = Behaviour::Stream(Duration::from_millis(40));
    stage.strike(&[0], streaming);
    sleep(Duration::from_millis(200)).await;
    stage.strike(&[0], Behaviour::Gone);
    stage.ejects(&[0], Duration::from_secs(1)).await;
    stage.heal(&[0]).await;
    let in_flight = stage.in_flight_at_fault();
    stage
        .bounds(Bounds {
            others: in_flight,
            cut: in_flight,
            ..Bounds::default()
        })
        .await
}

/// Three of four are killed and come back; as soon as they are there, the fourth is killed. Somebody is there all the while.
pub(crate) async fn handing_over() -> Row {
    let mut stage = Stage::set("crash of the last, when the others are back").await;
    stage.strike(&[0, 1, 2], Behaviour::Gone);
    stage.endure(&[0, 1, 2]).await;
    for back in &stage.backends[..3] {
        back.behave(Behaviour::Answer);
    }
    sleep(GONE).await;
    let crash = Instant::now();
    stage.strike(&[3], Behaviour::Gone);
    sleep(CALM_AGAIN).await;
    let others = stage.in_flight_at_fault();
    stage.only_after(crash);
    stage
        .bounds(Bounds {
            others,
            ..Bounds::default()
        })
        .await
}

/// For how long each is gone, and how long it has before the next one goes.
const GONE: Duration = Duration::from_millis(300);
const BETWEEN: Duration = Duration::from_millis(400);
/// Long enough for whatever a crash may cost.
const CALM_AGAIN: Duration = Duration::from_secs(2);

/// One after the other is restarted, and then all of them again, as often as a fault lasts seconds: there is never more than one
/// that is not there.
pub(crate) async fn rolling_restart() -> Row {
    let mut stage = Stage::set("rolling restart, again and again").await;
    let mut others = 0;
    let rounds = fault_lasts().as_secs() as usize;
    for backend in (0..4).cycle().take(4 * rounds) {
        stage.strike(&[backend], Behaviour::Gone);
        others += stage.in_flight_at_fault();
        sleep(GONE).await;
        stage.backends[backend].behave(Behaviour::Answer);
        sleep(BETWEEN).await;
    }
    stage.heal(&[0, 1, 2, 3]).await;
    stage
        .bounds(Bounds {
            others,
            ..Bounds::default()
        })
        .await
}
