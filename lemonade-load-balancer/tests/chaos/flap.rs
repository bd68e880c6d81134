//! A backend that is well every other moment.

use crate::backend::Behaviour;
use crate::load::posts_a_second;
use crate::report::{Bounds, Row};
use crate::stage::{Stage, fault_lasts};
use std::time::Duration;
use tokio::time::{Instant, sleep};

const MOMENT: Duration = Duration::from_millis(100);

/// It alternates between answering and resetting connections.
pub(crate) async fn resetting() -> Row {
    flap("flap every 100 ms (reset)", Behaviour::ResetAtOnce).await
}

/// It crashes and comes back.
pub(crate) async fn crashing() -> Row {
    flap("flap every 100 ms (crash)", Behaviour::Gone).await
}

async fn flap(fault: &str, behaviour: Behaviour) -> Row {
    let mut stage = Stage::set(fault).await;
    let until = Instant::now() + fault_lasts();
    let mut in_flight = 0;
    while Instant::now() < until {
        stage.strike(&[0], behaviour);
        in_flight += stage.in_flight_at_fault();
        sleep(MOMENT).await;
        stage.backends[0].behave(Behaviour::Answer);
        sleep(MOMENT).await;
    }
    stage.heal(&[0]).await;
    // Whether it is out is a matter of the moment, so the bound supposes that it never is: half of its time it fails.
    let others = in_flight + stage.exposed(0.25, posts_a_second()) / 2;
    stage
        .bounds(Bounds {
            others,
            ..Bounds::default()
        })
        .await
}
