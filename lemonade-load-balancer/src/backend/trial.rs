//! Whether an ejected backend takes a single request to show that it is well again.

use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// No trial is due.
const CLOSED: u8 = 0;
/// The next request that may be repeated elsewhere is the trial.
const REPEATABLE: u8 = 1;
/// The next request of any kind is: too few came that could be repeated.
const ANY: u8 = 2;
/// One request is on trial.
const TAKEN: u8 = 3;

/// One place for one request, shared by all shards. The control task opens it, a shard takes it.
#[derive(Debug, Default)]
pub struct TrialSlot(AtomicU8);

// Relaxed: the exchange alone decides who has the place; what the trial shows goes through the control task.
impl TrialSlot {
    /// The next request may try. `any`: even one that could not be repeated if it fails.
    pub(crate) fn open(&self, any: bool) {
        self.0.store(if any { ANY } else { REPEATABLE }, Relaxed);
    }

    /// Lets any request try, if none has so far.
    pub(crate) fn widen(&self) {
        let _ = self.0.compare_exchange(REPEATABLE, ANY, Relaxed, Relaxed);
    }

    /// Nobody may try.
    pub(crate) fn close(&self) {
        self.0.store(CLOSED, Relaxed);
    }

    /// Takes the place for one request; `repeatable`: if it fails, another backend can serve it.
    pub(crate) fn take(&self, repeatable: bool) -> bool {
        let open = self.0.load(Relaxed);
        let suits = open == ANY || (open == REPEATABLE && repeatable);
        suits
            && self
                .0
                .compare_exchange(open, TAKEN, Relaxed, Relaxed)
                .is_ok()
    }

    /// Gives the place back: the request that had it showed nothing.
    pub(crate) fn give_back(&self) {
        let _ = self.0.compare_exchange(TAKEN, REPEATABLE, Relaxed, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_request_at_a_time_is_on_trial() {
        let slot = TrialSlot::default();
        assert!(!slot.take(true));
        slot.open(false);
        assert!(!slot.take(false), "it could not be repeated");
        assert!(slot.take(true) && !slot.take(true));
        slot.give_back();
        slot.widen();
        assert!(slot.take(false));
        slot.close();
        slot.give_back();
        assert!(!slot.take(true), "closed meanwhile");
    }
}
