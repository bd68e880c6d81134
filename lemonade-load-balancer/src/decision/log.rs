//! The last decisions, newest last, with what came of them.

use super::{Decision, Effect};
use std::collections::VecDeque;

/// Decisions that are kept.
const KEPT: usize = 256;

/// The last decisions.
#[derive(Debug, Default)]
pub struct Log(VecDeque<Decision>);

impl Log {
    /// Keeps a decision; the oldest goes.
    pub fn record(&mut self, decision: Decision) {
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back(decision);
    }

    /// Writes down what came of a decision, if it is still kept, and gives the whole of it.
    pub fn settle(&mut self, id: u64, effect: &Effect) -> Option<&Decision> {
        let decision = self.0.iter_mut().find(|decision| decision.id == id)?;
        decision.effect = Some(effect.clone());
        Some(decision)
    }

    /// The last so many, newest first.
    pub fn newest(&self, limit: usize) -> impl Iterator<Item = &Decision> {
        self.0.iter().rev().take(limit)
    }
}
