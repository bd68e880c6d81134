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
