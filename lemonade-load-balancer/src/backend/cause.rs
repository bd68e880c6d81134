//! Why a backend is in its state, in words: written by the control task, read by whoever asks.

use super::State;
use arc_swap::ArcSwapOption;
use std::sync::Arc;
use std::time::Duration;

/// What brought a state about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// The state.
    pub state: State,
    /// `5 failures in a row`.
    pub text: String,
    /// Since the process began.
    pub at: Duration,
}

/// The last one, if there was any: who begins in a state is in it without a cause.
#[derive(Debug, Default)]
pub struct CauseCell(ArcSwapOption<Cause>);

impl CauseCell {
    /// What brought `state` about; `None` if it began in that, or somebody wants it so.
    pub fn of(&self, state: State) -> Option<Arc<Cause>> {
        self.0.load_full().filter(|cause| cause.state == state)
    }

    /// For the control task.
    pub(crate) fn set(&self, state: State, text: impl Into<String>, at: Duration) {
        let text = text.into();
        self.0.store(Some(Arc::new(Cause { state, text, at })));
    }
}
