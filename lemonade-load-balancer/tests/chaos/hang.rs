//! Backends that are there and do not answer.

use crate::backend::Behaviour;
use crate::load::posts_a_second;
use crate::report::{Bounds, Row};
use crate::stage::Stage;
use std::time::Duration;

/// It accepts, reads, and never answers: requests wait for `timeouts.response_header`, and are sent elsewhere.
pub(crate) async fn answering() -> Row {
    hang("hang", Behaviour::Hang).await
}

/// It is stopped: the kernel still makes connections for it.
pub(crate) async fn accepting() -> Row {
    hang("hang in accept", Behaviour::Stopped).await
}

async fn hang(fault: &str, behaviour: Behaviour) -> Row {
    let mut stage = Stage::set(fault).await;
    stage.strike(&[0], behaviour);
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

/// All but one hang. At first most requests fail, since no budget allows so many to be sent again; from when on it is known who
/// hangs, all are served by the one that does not.
pub(crate) async fn all_but_one() -> Row {
    let mut stage = Stage::set("hang of three in four").await;
    stage.strike(&[0, 1, 2], Behaviour::Hang);
    stage.ejects(&[0, 1, 2], Duration::from_secs(3)).await;
    stage.well_from_ejection_on().await
}

/// All but one hang. Nearly every request has to be sent again, so the configuration allows that.
pub(crate) async fn all_but_one_retried() -> Row {
    let lines = "retries: { attempts: 3, budget: 100% }\n";
    let mut stage = Stage::with("hang of three in four (all retried)", 4, lines).await;
    stage.strike(&[0, 1, 2], Behaviour::Hang);
    stage.ejects(&[0, 1, 2], Duration::from_secs(3)).await;
    stage.heal(&[0, 1, 2]).await;
    let others = stage.exposed(0.75, posts_a_second());
    stage
        .bounds(Bounds {
            others,
            ..Bounds::default()
        })
        .await
}
