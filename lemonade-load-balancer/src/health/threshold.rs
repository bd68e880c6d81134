//! When single probes add up to a verdict: `rise` successes in a row, or `fall` failures.

use crate::backend::State;
use crate::control::Verdict;

/// Counts one backend's probes. Pure: what happened is an argument.
#[derive(Debug)]
pub(super) struct Threshold {
    rise: u32,
    fall: u32,
    /// The state that the counts below are about.
    state: Option<State>,
    in_a_row: u32,
}

impl Threshold {
    pub(super) fn new(rise: u32, fall: u32) -> Self {
        Threshold {
            rise,
            fall,
            state: None,
            in_a_row: 0,
        }
    }

    /// Adds one probe; `state` is the backend's present state, which others may have changed since the last one. In a new
    /// backend the first probe decides: there is no record yet that it would contradict.
    pub(super) fn observe(&mut self, success: bool, state: State) -> Option<Verdict> {
        if self.state.replace(state) != Some(state) {
            self.in_a_row = 0;
        }
        let (contradicts, needed, verdict) = match (state, success) {
            (State::Starting, true) => (true, 1, Verdict::Up),
            (State::Starting, false) => (true, 1, Verdict::Down { unreachable: false }),
            (State::Unhealthy, true) => (true, self.rise, Verdict::Up),
            (State::Healthy, false) => (true, self.fall, Verdict::Down { unreachable: false }),
            _ => (false, 0, Verdict::Up),
        };
        self.in_a_row = if contradicts { self.in_a_row + 1 } else { 0 };
        (contradicts && self.in_a_row >= needed).then_some(verdict)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn first_probe_decides_about_a_new_backend() {
        assert_eq!(
            Threshold::new(2, 3).observe(true, State::Starting),
            Some(Verdict::Up)
        );
        assert_eq!(
            Threshold::new(2, 3).observe(false, State::Starting),
            Some(Verdict::Down { unreachable: false })
        );
    }

    #[test]
    fn change_by_others_starts_the_count_over() {
        let mut threshold = Threshold::new(2, 2);
        assert_eq!(threshold.observe(false, State::Healthy), None);
        // A request could not connect meanwhile; one success must not be the second of two.
        assert_eq!(threshold.observe(true, State::Unhealthy), None);
        assert_eq!(threshold.observe(true, State::Unhealthy), Some(Verdict::Up));
    }

    proptest! {
        #[test]
        fn verdict_needs_its_probes_in_a_row(
            rise in 1u32..5,
            fall in 1u32..5,
            probes in prop::collection::vec(any::<bool>(), 0..200),
        ) {
            let mut threshold = Threshold::new(rise, fall);
            let mut state = State::Healthy;
            let mut contrary = 0;
            for success in probes {
                contrary = if success == (state == State::Healthy) { 0 } else { contrary + 1 };
                let needed = if state == State::Healthy { fall } else { rise };
                let verdict = threshold.observe(success, state);
                prop_assert_eq!(verdict.is_some(), contrary == needed);
                if let Some(verdict) = verdict {
                    state = if verdict == Verdict::Up { State::Healthy } else { State::Unhealthy };
                    contrary = 0;
                }
            }
        }
    }
}
