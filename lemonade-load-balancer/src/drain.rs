//! Going away in order: stop being ready → stop accepting → wait → cut off. What everyone who serves watches.

use tokio::sync::watch;

/// How far the process is on its way out. It only ever moves forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Serving.
    Running,
    /// Still serving, but readiness fails, so that whoever is in front looks elsewhere.
    Unready,
    /// No new connection; requests in flight finish, idle connections close.
    Draining,
    /// Whatever is left is cut off.
    Over,
}

impl Phase {
    /// As the admin API has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Phase::Running => "running",
            Phase::Unready => "unready",
            Phase::Draining | Phase::Over => "draining",
        }
    }
}

/// Moves the phase on. There is one.
#[derive(Debug)]
pub struct Trigger(watch::Sender<Phase>);

/// Sees the phase. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Drain(watch::Receiver<Phase>);

/// Both ends of a process that is running.
pub fn channel() -> (Trigger, Drain) {
    let (sender, receiver) = watch::channel(Phase::Running);
    (Trigger(sender), Drain(receiver))
}

impl Trigger {
    /// Moves on to `phase`; an earlier one than the present is ignored.
    pub fn advance(&self, phase: Phase) {
        self.0.send_if_modified(|present| {
            let later = phase > *present;
            if later {
                *present = phase;
            }
            later
        });
    }
}

impl Drain {
    /// The present phase.
    pub fn phase(&self) -> Phase {
        *self.0.borrow()
    }

    /// Waits until the phase is `phase` or later. A trigger that was dropped counts as over.
    pub async fn reached(&mut self, phase: Phase) {
        let _ = self.0.wait_for(|present| *present >= phase).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn phase_only_moves_forward() {
        let (trigger, mut drain) = channel();
        trigger.advance(Phase::Draining);
        trigger.advance(Phase::Unready);
        assert_eq!(drain.phase(), Phase::Draining);
        drain.reached(Phase::Unready).await;
        drop(trigger);
        drain.reached(Phase::Over).await;
    }
}
