//! When single probes add up to a verdict: `rise` successes in a row, or `fall` failures.

use crate::backend::State;
use crate::control::Verdict;

/// How one probe ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Probed {
    /// As it should.
    Well,
    /// A connection, and no answer in time.
    TimedOut,
    /// A connection, and another answer than the one expected, or its end.
    Wrong,
    /// No connection.
    Unreachable,
}

/// Counts one backend's probes. Pure: what happened is an argument.
///
/// A backend whose probes time out while requests are answered is busy, not gone: taking it out would move its load to the
/// others and make them the next. It is [`Verdict::Slow`] for as long as there are answers, and down once there are none.
#[derive(Debug)]
pub(super) struct Threshold {
    rise: u32,
    fall: u32,
    /// The state that the count below is about.
    state: Option<State>,
    /// Probes in a row that contradict the state.
    in_a_row: u32,
    /// The probe before failed.
    failed: bool,
    /// What was last said of a backend that is down.
    unreachable: Option<bool>,
}

impl Threshold {
    pub(super) fn new(rise: u32, fall: u32) -> Self {
        Threshold {
            rise,
            fall,
            state: None,
            in_a_row: 0,
            failed: false,
            unreachable: None,
        }
    }

    /// Adds one probe. `answered`: since the probe before, the backend has answered requests well. `state` is its present
    /// state, which others may have changed meanwhile. In a new backend the first probe decides: there is no record yet that
    /// it would contradict. That a backend is down is said once, and again when it is found that it can be reached now, or
    /// no longer.
    pub(super) fn observe(
        &mut self,
        probed: Probed,
        answered: bool,
        state: State,
    ) -> Option<Verdict> {
        if self.state.replace(state) != Some(state) {
            self.in_a_row = 0;
        }
        if state != State::Unhealthy {
            self.unreachable = None;
        }
        let failed_before = std::mem::replace(&mut self.failed, probed != Probed::Well);
        let verdict = match (state, probed) {
            (State::Starting, Probed::Well) => self.after(1, Verdict::Up),
            (State::Starting, _) => self.after(1, of_failure(probed, answered)),
            (State::Unhealthy | State::Degraded, Probed::Well) => {
                self.after(self.rise, Verdict::Up)
            }
            (State::Unhealthy, _) => self.of_unhealthy(probed, answered),
            // Requests failed there. That a probe does not is no proof against them, but shows that it can be reached.
            (State::Ejected, Probed::Well) => self.after(1, Verdict::Up),
            (State::Ejected, _) => self.after(self.fall, of_failure(probed, answered)),
            (State::Degraded, _) => self.of_degraded(probed, answered, failed_before),
            (State::Healthy, Probed::Well) | (State::Draining, _) => {
                self.in_a_row = 0;
                None
            }
            (State::Healthy, _) => self.after(self.fall, of_failure(probed, answered)),
        };
        if let Some(Verdict::Down { unreachable }) = verdict {
            self.unreachable = Some(unreachable);
        }
        verdict
    }

    /// Counts a probe that contradicts the state; `needed` of them in a row are a verdict.
    fn after(&mut self, needed: u32, verdict: Verdict) -> Option<Verdict> {
        self.in_a_row += 1;
        (self.in_a_row >= needed).then_some(verdict)
    }

    /// It was slow: one more failure changes nothing while requests are answered. Where they are not, two in a row do.
    fn of_degraded(
        &mut self,
        probed: Probed,
        answered: bool,
        failed_before: bool,
    ) -> Option<Verdict> {
        self.in_a_row = 0;
        let verdict = of_failure(probed, answered);
        (failed_before && verdict != Verdict::Slow).then_some(verdict)
    }

    fn of_unhealthy(&mut self, probed: Probed, answered: bool) -> Option<Verdict> {
        self.in_a_row = 0;
        let unreachable = is_silent(probed, answered);
        let said = self.unreachable == Some(unreachable);
        (!said).then_some(Verdict::Down { unreachable })
    }
}

/// What the last of enough failures says.
fn of_failure(probed: Probed, answered: bool) -> Verdict {
    match probed {
        Probed::TimedOut if answered => Verdict::Slow,
        _ => Verdict::Down {
            unreachable: is_silent(probed, answered),
        },
    }
}

/// Nothing comes back at all: no connection, or no answer to probes nor requests.
fn is_silent(probed: Probed, answered: bool) -> bool {
    match probed {
        Probed::Unreachable => true,
        Probed::TimedOut => !answered,
        Probed::Well | Probed::Wrong => false,
    }
}

#[cfg(test)]
mod tests {
    use super::Probed::{TimedOut, Unreachable, Well, Wrong};
    use super::*;
    use proptest::prelude::*;

    const GONE: Verdict = Verdict::Down { unreachable: true };
    const WRONG: Verdict = Verdict::Down { unreachable: false };

    /// What the control task makes of a verdict.
    fn state_after(verdict: Verdict) -> State {
        match verdict {
            Verdict::Up => State::Healthy,
            Verdict::Slow => State::Degraded,
            Verdict::Down { .. } => State::Unhealthy,
        }
    }

    /// The verdicts on a backend in this state; each changes it.
    fn verdicts(mut state: State, probes: &[(Probed, bool)]) -> Vec<Option<Verdict>> {
        let mut threshold = Threshold::new(2, 3);
        let observe = |(probed, answered): &(Probed, bool)| {
            let verdict = threshold.observe(*probed, *answered, state);
            state = verdict.map_or(state, state_after);
            verdict
        };
        probes.iter().map(observe).collect()
    }

    #[test]
    fn first_probe_decides_about_a_new_backend() {
        for (probed, answered, verdict) in [
            (Well, false, Verdict::Up),
            (Wrong, true, WRONG),
            (Unreachable, true, GONE),
            (TimedOut, false, GONE),
            (TimedOut, true, Verdict::Slow),
        ] {
            let first = verdicts(State::Starting, &[(probed, answered)]);
            assert_eq!(first, [Some(verdict)]);
        }
    }

    #[test]
    fn change_by_others_starts_the_count_over() {
        let mut threshold = Threshold::new(2, 2);
        assert_eq!(threshold.observe(Wrong, false, State::Healthy), None);
        // A request could not connect meanwhile; one success must not be the second of two.
        assert_eq!(threshold.observe(Well, false, State::Unhealthy), None);
        let second = threshold.observe(Well, false, State::Unhealthy);
        assert_eq!(second, Some(Verdict::Up));
    }

    #[test]
    fn busy_backend_is_slow_until_it_answers_nobody() {
        let slow = Some(Verdict::Slow);
        let probes = [
            (TimedOut, true),
            (Wrong, true),
            (TimedOut, true),
            // No real answer, but the probe before was one.
            (Well, false),
            (TimedOut, false),
            (TimedOut, true),
            (TimedOut, false),
        ];
        let down = Some(GONE);
        let expected = [None, None, slow, None, None, None, down];
        assert_eq!(verdicts(State::Healthy, &probes), expected);
        let recovers = [(TimedOut, true), (Well, true), (Well, true)];
        let expected = [None, None, Some(Verdict::Up)];
        assert_eq!(verdicts(State::Degraded, &recovers), expected);
    }

    #[test]
    fn backend_that_is_down_is_said_to_be_back_within_reach() {
        let probes = [
            (Unreachable, false),
            (Unreachable, false),
            (Wrong, false),
            (Wrong, false),
            (Well, false),
            (TimedOut, false),
        ];
        let expected = [Some(GONE), None, Some(WRONG), None, None, Some(GONE)];
        assert_eq!(verdicts(State::Unhealthy, &probes), expected);
    }

    fn probed() -> impl Strategy<Value = Probed> {
        prop::sample::select(vec![Well, Well, TimedOut, Wrong, Unreachable])
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
                let verdict = threshold.observe(if success { Well } else { Wrong }, true, state);
                prop_assert_eq!(verdict.is_some(), contrary == needed);
                if let Some(verdict) = verdict {
                    state = state_after(verdict);
                    contrary = 0;
                }
            }
        }

        #[test]
        fn verdict_is_what_its_last_probe_shows(
            rise in 1u32..5,
            fall in 1u32..5,
            probes in prop::collection::vec((probed(), any::<bool>()), 0..200),
        ) {
            let mut threshold = Threshold::new(rise, fall);
            let mut state = State::Starting;
            let mut failed_before = false;
            for (probed, answered) in probes {
                let verdict = threshold.observe(probed, answered, state);
                let slow = probed == TimedOut && answered;
                match verdict {
                    Some(Verdict::Up) => prop_assert_eq!(probed, Well),
                    Some(Verdict::Slow) => prop_assert!(slow),
                    Some(Verdict::Down { unreachable }) => {
                        prop_assert_eq!(unreachable, probed == Unreachable || (probed == TimedOut && !answered));
                        prop_assert!(probed != Well && (!slow || state == State::Unhealthy));
                    }
                    None => {}
                }
                if state == State::Degraded {
                    let down = probed != Well && !slow && failed_before;
                    prop_assert_eq!(matches!(verdict, Some(Verdict::Down { .. })), down);
                }
                failed_before = probed != Well;
                state = verdict.map_or(state, state_after);
            }
        }
    }
}
