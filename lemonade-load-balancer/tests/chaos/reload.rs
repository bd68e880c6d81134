//! Changes of configuration while backends fail.

use crate::backend::Behaviour;
use crate::report::{Bounds, Row};
use crate::stage::{Stage, fault_lasts};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How often the file changes; the watch makes one reload of what comes close together.
const CHANGE: Duration = Duration::from_millis(50);
/// For how long each backend fails in its turn.
const TURN: Duration = Duration::from_millis(500);

/// The file changes all the while, and one backend after another is killed and comes back.
pub(crate) async fn storm() -> Row {
    let mut stage = Stage::set("reload storm under crashes").await;
    let until = Instant::now() + fault_lasts();
    let (mut turn, mut in_flight, mut weight) = (0, 0, 1);
    while Instant::now() < until {
        stage.strike(&[turn % 4], Behaviour::Gone);
        in_flight += stage.in_flight_at_fault();
        let over = Instant::now() + TURN;
        while Instant::now() < over {
            weight = weight % 9 + 1;
            stage.reload(weight, "");
            sleep(CHANGE).await;
        }
        stage.backends[turn % 4].behave(Behaviour::Answer);
        turn += 1;
    }
    stage.heal(&[0, 1, 2, 3]).await;
    let applied = "lemonade_config_reloads_total{result=\"applied\"}";
    let applied = stage.metric(applied).await;
    let least = fault_lasts().as_secs_f64() / CHANGE.as_secs_f64() / 4.0;
    stage.check(applied >= least, || {
        format!("{applied} reloads, not the {least} that make a storm")
    });
    stage
        .bounds(Bounds {
            others: in_flight,
            ..Bounds::default()
        })
        .await
}
