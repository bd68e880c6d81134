//! Whether an ejected backend takes a single request to show that it is well again.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// No trial is due.
const CLOSED: u32 = 0;
/// The next request that may be repeated elsewhere is the trial.
const REPEATABLE: u32 = 1;
/// The next request of any kind is: too few came that could be repeated.
const ANY: u32 = 2;
/// One request is on trial.
const TAKEN: u32 = 3;
/// The bits that say which of these it is; the others count how often it was opened.
const STATE: u32 = 3;
const ROUND: u32 = STATE + 1;

/// One place for one request, shared by all shards. The control task opens it, a shard takes it.
#[derive(Debug, Default)]
pub struct TrialSlot(AtomicU32);

/// The place, taken: what gives it back. One from an earlier round gives nothing back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken(u32);

// Relaxed: the exchange alone decides who has the place; what the trial shows goes through the control task.
impl TrialSlot {
    /// The next request may try. `any`: even one that could not be repeated if it fails.
    pub(crate) fn open(&self, any: bool) {
        let round = (self.0.load(Relaxed) & !STATE).wrapping_add(ROUND);
        self.0
            .store(round | if any { ANY } else { REPEATABLE }, Relaxed);
    }

    /// Lets any request try, if none does so far.
    pub(crate) fn widen(&self) {
        let now = self.0.load(Relaxed);
        if now & STATE == REPEATABLE {
            self.exchange(now, ANY);
        }
    }

    /// Nobody may try.
    pub(crate) fn close(&self) {
        self.0.fetch_and(!STATE, Relaxed);
    }

    /// A request is on trial now.
    pub(crate) fn is_taken(&self) -> bool {
        self.0.load(Relaxed) & STATE == TAKEN
    }

    /// A request would be the trial; `repeatable`: if it fails, another backend can serve it.
    pub(crate) fn would_take(&self, repeatable: bool) -> bool {
        suits(self.0.load(Relaxed), repeatable)
    }

    /// Takes the place for one request; `repeatable`: if it fails, another backend can serve it.
    pub(crate) fn take(&self, repeatable: bool) -> Option<Taken> {
        let open = self.0.load(Relaxed);
        (suits(open, repeatable) && self.exchange(open, TAKEN)).then_some(Taken(open & !STATE))
    }

    /// Gives the place back: the request that had it showed nothing.
    pub(crate) fn give_back(&self, taken: Taken) {
        self.exchange(taken.0 | TAKEN, REPEATABLE);
    }

    fn exchange(&self, from: u32, state: u32) -> bool {
        let to = (from & !STATE) | state;
        self.0.compare_exchange(from, to, Relaxed, Relaxed).is_ok()
    }
}

fn suits(slot: u32, repeatable: bool) -> bool {
    match slot & STATE {
        ANY => true,
        REPEATABLE => repeatable,
        CLOSED | TAKEN.. => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_request_at_a_time_is_on_trial() {
        let slot = TrialSlot::default();
        assert_eq!(slot.take(true), None);
        slot.open(false);
        assert_eq!(slot.take(false), None, "it could not be repeated");
        let first = slot.take(true).unwrap();
        assert!(slot.is_taken() && slot.take(true).is_none());
        slot.give_back(first);
        slot.widen();
        assert!(slot.take(false).is_some());
    }

    #[test]
    fn place_of_an_earlier_round_is_not_given_back() {
        let slot = TrialSlot::default();
        slot.open(true);
        let late = slot.take(true).unwrap();
        slot.close();
        slot.give_back(late);
        assert_eq!(slot.take(true), None, "closed meanwhile");
        slot.open(true);
        assert!(slot.take(true).is_some());
        slot.give_back(late);
        assert!(slot.is_taken(), "another has it now");
    }
}
