//! The clock jumps: nobody gets any time for a while, as when a virtual machine is moved.

use crate::backend::Behaviour;
use crate::load::posts_a_second;
use crate::report::{Bounds, Row};
use crate::stage::{Stage, fault_lasts};
use std::process::Command;
use std::time::Duration;
use tokio::time::sleep;

/// Long enough for whatever was due meanwhile.
const AFTERMATH: Duration = Duration::from_secs(2);

/// How long an answer takes at that time.
const WORK: Duration = Duration::from_millis(100);

/// Balancer, backends and clients are stopped, and go on. Every deadline has passed meanwhile, and no backend is to blame; then
/// one hangs, which takes deadlines and probes that are still counted.
pub(crate) async fn of_everybody() -> Row {
    let mut stage = Stage::set("pause of the whole process, then a hang").await;
    for backend in &stage.backends {
        backend.behave(Behaviour::Slow(WORK));
    }
    // So that every backend owes answers.
    sleep(2 * WORK).await;
    stage.stopped(pause).await;
    stage.stays_in(AFTERMATH).await;
    for backend in &stage.backends {
        backend.behave(Behaviour::Answer);
    }
    let mishaps = stage.mishaps();
    stage.check(mishaps.is_empty(), || {
        format!("the pause cost requests: {mishaps:?}")
    });
    stage.strike(&[0], Behaviour::Hang);
    stage.ejects(&[0], Duration::from_secs(2)).await;
    stage.heal(&[0]).await;
    let others = stage.exposed(0.25, posts_a_second());
    stage
        .bounds(Bounds {
            others,
            ..Bounds::default()
        })
        .await
}

/// Stops this process; a child has it go on when the fault's time is over.
fn pause() {
    let (own, seconds) = (std::process::id(), fault_lasts().as_secs());
    let script = format!("kill -STOP {own}; sleep {seconds}; kill -CONT {own}");
    let ended = Command::new("sh").args(["-c", &script]).status().unwrap();
    assert!(ended.success(), "{ended}");
}
