//! What is known of one backend, and the legal moves between its states. Pure: events and the time are arguments.
//!
//! Three sources of knowledge are kept apart, because each may change its mind without the others: what an operator wants,
//! what health checks say, and what requests met with. The [`State`] follows from them, the gravest first: draining,
//! unhealthy, ejected, starting, degraded, healthy. So no order of events can leave a backend in a state that nothing ends.
//!
//! An ejection ends in trials (half-open, as in a circuit breaker): after its time single requests are sent, one at a time;
//! [`TRIALS`] that succeed in a row bring the backend back, one that fails ejects it for twice as long.

use super::{FULL_SHARE, State};
use std::time::Duration;

/// Trials that must succeed before a backend is trusted again.
const TRIALS: u32 = 3;
/// How long a trial waits for a request that could be repeated elsewhere, before any request will do.
const PATIENCE: Duration = Duration::from_secs(1);
/// A degraded backend's share of its weight, in percent.
const DEGRADED_SHARE: u32 = 25;
/// Where a slow start begins, in percent: a backend that gets nothing cannot warm up.
const FIRST_SHARE: u32 = 10;
/// Shares move in steps, so that a slow start is a bounded number of new snapshots.
const SHARE_STEP: u32 = 5;

/// What health checks think of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It answered as often as `rise` asks.
    Up,
    /// Its probes time out as often as `fall` asks, but requests are answered.
    Slow,
    /// It failed as often as `fall` asks.
    Down {
        /// Nothing came back at all: no connection, or no answer to probes nor requests.
        unreachable: bool,
    },
}

impl Verdict {
    /// What it rests on, as the cause of a state.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Up => "health checks succeed",
            Verdict::Slow => "health checks time out, requests do not",
            Verdict::Down { unreachable: true } => "health checks get no answer",
            Verdict::Down { unreachable: false } => "health checks fail",
        }
    }
}

/// Something that happened to a backend, or was found out about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// Health checks changed their mind.
    Probed(Verdict),
    /// There are no health checks (any more) that could say anything.
    Unchecked,
    /// A request could not connect.
    Unreachable,
    /// Requests fail there more than a configuration allows.
    Failing,
    /// A trial succeeded.
    TrialPassed,
    /// A trial failed.
    TrialFailed {
        /// By not even connecting.
        unreachable: bool,
    },
    /// A request that was sent there for want of anything better was answered.
    Answered,
    /// It is to get no new request.
    Drained,
    /// It may get requests again.
    Enabled,
}

/// How long an ejection and a slow start last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The first ejection.
    pub eject: Duration,
    /// No ejection is longer.
    pub max_eject: Duration,
    /// From a return to the full share; zero is at once.
    pub slow_start: Duration,
    /// How long a request may wait for its answer to begin, a trial too.
    pub answer: Duration,
}

/// What health checks said last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Probes {
    Unknown,
    Well,
    Slow,
    Failing { unreachable: bool },
}

/// Whether requests may rely on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trust {
    Trusted,
    Ejected {
        until: Duration,
        unreachable: bool,
    },
    OnTrial {
        since: Duration,
        passed: u32,
        unreachable: bool,
    },
}

/// Everything that is known of one backend.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    drained: bool,
    probes: Probes,
    trust: Trust,
    /// Ejections, less those that good conduct made up for.
    ejections: u32,
    trusted_since: Duration,
    /// When it last became usable, and whether its share rises slowly since.
    back: Option<(Duration, bool)>,
}

impl Standing {
    /// Of a backend that is in `state` and about which nothing else is known.
    pub fn new(state: State) -> Self {
        let unreachable = false;
        Standing {
            drained: state == State::Draining,
            probes: match state {
                State::Starting | State::Draining => Probes::Unknown,
                State::Degraded => Probes::Slow,
                State::Unhealthy => Probes::Failing { unreachable },
                State::Healthy | State::Ejected => Probes::Well,
            },
            trust: match state {
                State::Ejected => Trust::Ejected {
                    until: Duration::ZERO,
                    unreachable,
                },
                _ => Trust::Trusted,
            },
            ejections: u32::from(state == State::Ejected),
            trusted_since: Duration::ZERO,
            back: state.is_usable().then_some((Duration::ZERO, false)),
        }
    }

    /// What all of it adds up to.
    pub fn state(&self) -> State {
        match (self.drained, self.probes, self.trust) {
            (true, _, _) => State::Draining,
            (_, Probes::Failing { .. }, _) => State::Unhealthy,
            (_, _, Trust::Ejected { .. } | Trust::OnTrial { .. }) => State::Ejected,
            (_, Probes::Unknown, _) => State::Starting,
            (_, Probes::Slow, _) => State::Degraded,
            (_, Probes::Well, _) => State::Healthy,
        }
    }

    /// Nobody can connect to it, as far as is known: no use in trying while anyone else is left.
    pub fn is_unreachable(&self) -> bool {
        let failing = matches!(self.probes, Probes::Failing { unreachable: true });
        let (Trust::Ejected { unreachable, .. } | Trust::OnTrial { unreachable, .. }) = self.trust
        else {
            return failing;
        };
        failing || unreachable
    }

    /// When its ejection ends, if it is ejected and not on trial.
    pub fn ejected_until(&self) -> Option<Duration> {
        match self.trust {
            Trust::Ejected { until, .. } => Some(until),
            _ => None,
        }
    }

    /// Requests have shown that it is of no use, or nobody can connect to it. Unlike what health checks say this is no matter
    /// of opinion, so not even a panic goes against it while anyone else is left.
    pub fn is_distrusted(&self) -> bool {
        self.trust != Trust::Trusted || self.is_unreachable()
    }

    /// Health checks fail.
    pub fn fails_checks(&self) -> bool {
        matches!(self.probes, Probes::Failing { .. })
    }

    /// Takes account of `what` happened. `chance`, from 0 to 1, spreads the ends of ejections that begin together.
    pub fn apply(&mut self, what: Move, now: Duration, terms: &Terms, chance: f64) {
        match what {
            Move::Probed(verdict) => self.probed(verdict, now),
            Move::Unchecked => self.probes = Probes::Well,
            Move::Drained => self.drained = true,
            Move::Enabled => self.enable(),
            Move::Unreachable => match (&mut self.probes, self.trust) {
                (Probes::Failing { unreachable }, _) => *unreachable = true,
                (_, Trust::Trusted) => self.eject(true, now, terms, chance),
                // It is known already; a trial has its own outcome.
                _ => {}
            },
            Move::Failing => {
                if self.trust == Trust::Trusted {
                    self.eject(false, now, terms, chance);
                }
            }
            Move::TrialPassed => {
                if let Trust::OnTrial { passed, .. } = &mut self.trust {
                    *passed += 1;
                    if *passed >= TRIALS {
                        self.rehabilitate(now);
                    }
                }
            }
            Move::TrialFailed { unreachable } => {
                if matches!(self.trust, Trust::OnTrial { .. }) {
                    self.eject(unreachable, now, terms, chance);
                }
            }
            Move::Answered => {
                if let Probes::Failing { unreachable: true } = self.probes {
                    self.probes = Probes::Unknown;
                }
                if self.is_distrusted() {
                    self.rehabilitate(now);
                }
            }
        }
    }

    /// What health checks said before it was drained is old.
    fn enable(&mut self) {
        if std::mem::take(&mut self.drained) {
            self.probes = Probes::Unknown;
        }
    }

    fn probed(&mut self, verdict: Verdict, now: Duration) {
        self.probes = match verdict {
            Verdict::Up => Probes::Well,
            Verdict::Slow => Probes::Slow,
            Verdict::Down { unreachable } => Probes::Failing { unreachable },
        };
        // A probe has connected, so requests can.
        if verdict == Verdict::Up && self.is_unreachable() {
            self.rehabilitate(now);
        }
    }

    fn eject(&mut self, unreachable: bool, now: Duration, terms: &Terms, chance: f64) {
        if self.trust == Trust::Trusted {
            let conduct = now.saturating_sub(self.trusted_since).as_millis();
            let forgiven = conduct / terms.max_eject.as_millis().max(1);
            self.ejections = self
                .ejections
                .saturating_sub(forgiven.min(u128::from(u32::MAX)) as u32);
        }
        let doubled = 2u32.saturating_pow(self.ejections.min(31));
        self.ejections = self.ejections.saturating_add(1);
        let length = terms.eject.saturating_mul(doubled).min(terms.max_eject);
        self.trust = Trust::Ejected {
            until: now + length.mul_f64(0.9 + 0.2 * chance.clamp(0.0, 1.0)),
            unreachable,
        };
    }

    fn rehabilitate(&mut self, now: Duration) {
        self.trust = Trust::Trusted;
        self.trusted_since = now;
    }

    /// Moves on what time alone moves on: an ejection whose time has come is on trial. One that no request comes to try, and
    /// that health checks say nothing against, is trusted again; so is one whose trial is `under_way` beyond all measure, because
    /// it is a stream.
    pub fn pass_time(&mut self, now: Duration, terms: &Terms, under_way: bool) {
        let unused = terms.max_eject.max(2 * PATIENCE);
        let longest = if under_way {
            unused + terms.answer
        } else {
            unused
        };
        match self.trust {
            // While health checks agree that it is ill, there is no use in trying.
            Trust::Ejected { until, .. } if until <= now && !self.fails_checks() => {
                self.put_on_trial(now);
            }
            Trust::OnTrial { since, .. } if now.saturating_sub(since) > longest => {
                self.rehabilitate(now);
            }
            _ => {}
        }
    }

    fn put_on_trial(&mut self, now: Duration) {
        let unreachable = self.is_unreachable();
        self.trust = Trust::OnTrial {
            since: now,
            passed: 0,
            unreachable,
        };
    }

    /// Whether single requests may try it now; if so, whether any kind of request may.
    pub fn trial(&self, now: Duration) -> Option<bool> {
        let Trust::OnTrial {
            since, unreachable, ..
        } = self.trust
        else {
            return None;
        };
        // A connection that cannot be made costs no request anything: nothing was sent.
        let any = unreachable || now.saturating_sub(since) >= PATIENCE;
        (self.state() == State::Ejected).then_some(any)
    }

    /// It became usable. `slowly`: others are warm and can carry the load meanwhile.
    pub fn come_back(&mut self, now: Duration, slowly: bool) {
        self.back = Some((now, slowly));
    }

    /// It has had its full share for as long as a slow start takes.
    pub fn is_warm(&self, now: Duration, terms: &Terms) -> bool {
        let Some((since, slowly)) = self.back.filter(|_| self.state().is_usable()) else {
            return false;
        };
        let needed = terms.slow_start * if slowly { 2 } else { 1 };
        now.saturating_sub(since) >= needed
    }

    /// How much of its weight counts, in percent.
    pub fn share(&self, now: Duration, terms: &Terms) -> u32 {
        let most = match self.state() {
            State::Degraded => DEGRADED_SHARE,
            _ => FULL_SHARE,
        };
        match self.back {
            Some((since, true)) => ramp(now.saturating_sub(since), terms.slow_start).min(most),
            _ => most,
        }
    }
}

/// Rises in a straight line, in steps.
fn ramp(age: Duration, slow_start: Duration) -> u32 {
    if age >= slow_start {
        return FULL_SHARE;
    }
    let risen = age.as_secs_f64() / slow_start.as_secs_f64() * f64::from(FULL_SHARE);
    (risen as u32 / SHARE_STEP * SHARE_STEP).clamp(FIRST_SHARE, FULL_SHARE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TERMS: Terms = Terms {
        eject: Duration::from_millis(500),
        max_eject: Duration::from_secs(8),
        slow_start: Duration::from_secs(10),
        answer: Duration::from_secs(15),
    };

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    fn after(state: State, moves: &[Move]) -> Standing {
        let mut standing = Standing::new(state);
        for what in moves {
            standing.apply(*what, Duration::ZERO, &TERMS, 0.5);
        }
        standing
    }

    /// How long the ejection takes that a failure at `now` brings.
    fn ejected_for(standing: &mut Standing, now: Duration) -> Duration {
        match standing.trust {
            Trust::Trusted => standing.apply(Move::Failing, now, &TERMS, 0.5),
            _ => {
                let unreachable = false;
                standing.apply(Move::TrialFailed { unreachable }, now, &TERMS, 0.5);
            }
        }
        match standing.trust {
            Trust::Ejected { until, .. } => until - now,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn gravest_knowledge_decides() {
        let down = Move::Probed(Verdict::Down { unreachable: false });
        assert_eq!(after(State::Starting, &[]).state(), State::Starting);
        let healthy = |moves: &[Move]| after(State::Healthy, moves).state();
        assert_eq!(healthy(&[Move::Failing]), State::Ejected);
        assert_eq!(healthy(&[Move::Failing, down]), State::Unhealthy);
        assert_eq!(
            healthy(&[Move::Failing, down, Move::Drained]),
            State::Draining
        );
        assert_eq!(healthy(&[Move::Probed(Verdict::Slow)]), State::Degraded);
        let recovered = [Move::Failing, down, Move::Probed(Verdict::Up)];
        assert_eq!(healthy(&recovered), State::Ejected, "requests failed too");
        let connected = [Move::Unreachable, Move::Probed(Verdict::Up)];
        assert_eq!(healthy(&connected), State::Healthy);
    }

    #[test]
    fn ejections_grow_with_every_failed_trial_and_are_forgiven_with_time() {
        let mut standing = Standing::new(State::Healthy);
        let mut now = seconds(1.0);
        for expected in [0.5, 1.0, 2.0, 4.0, 8.0, 8.0] {
            let length = ejected_for(&mut standing, now);
            assert_eq!(length, seconds(expected));
            now += length;
            standing.pass_time(now, &TERMS, false);
            assert_eq!(standing.trial(now), Some(false));
        }
        for _ in 0..TRIALS {
            assert_eq!(standing.state(), State::Ejected);
            standing.apply(Move::TrialPassed, now, &TERMS, 0.5);
        }
        assert_eq!(standing.state(), State::Healthy);
        let soon = now + seconds(1.0);
        assert_eq!(ejected_for(&mut standing.clone(), soon), seconds(8.0));
        let later = now + seconds(8.0 * 6.0);
        assert_eq!(ejected_for(&mut standing, later), seconds(0.5));
    }

    #[test]
    fn trial_waits_a_while_for_a_request_that_can_be_repeated() {
        let mut standing = after(State::Healthy, &[Move::Failing]);
        standing.pass_time(seconds(0.4), &TERMS, false);
        assert_eq!(standing.trial(seconds(0.4)), None);
        standing.pass_time(seconds(0.6), &TERMS, false);
        assert_eq!(standing.trial(seconds(0.7)), Some(false));
        assert_eq!(standing.trial(seconds(1.6)), Some(true));
        let mut refused = after(State::Healthy, &[Move::Unreachable]);
        refused.pass_time(seconds(0.6), &TERMS, false);
        assert_eq!(refused.trial(seconds(0.6)), Some(true));
    }

    #[test]
    fn backend_that_nobody_tries_is_trusted_again() {
        let mut standing = after(State::Healthy, &[Move::Failing]);
        standing.pass_time(seconds(0.6), &TERMS, false);
        standing.pass_time(seconds(8.0), &TERMS, false);
        assert_eq!(standing.state(), State::Ejected);
        let mut hanging = standing.clone();
        hanging.pass_time(seconds(20.0), &TERMS, true);
        assert_eq!(hanging.state(), State::Ejected, "its trial has not ended");
        hanging.pass_time(seconds(24.0), &TERMS, true);
        assert_eq!(hanging.state(), State::Healthy);
        standing.pass_time(seconds(9.0), &TERMS, false);
        assert_eq!(standing.state(), State::Healthy);
    }

    #[test]
    fn answer_of_the_unreachable_is_believed() {
        let down = Move::Probed(Verdict::Down { unreachable: true });
        let standing = after(State::Healthy, &[down, Move::Answered]);
        assert_eq!(standing.state(), State::Starting, "until the next probe");
        let standing = after(State::Healthy, &[Move::Unreachable, Move::Answered]);
        assert_eq!(standing.state(), State::Healthy);
        let sick = Move::Probed(Verdict::Down { unreachable: false });
        let standing = after(State::Healthy, &[sick, Move::Answered]);
        assert_eq!(standing.state(), State::Unhealthy);
    }

    #[test]
    fn slow_start_rises_to_the_full_share() {
        let mut standing = Standing::new(State::Healthy);
        standing.come_back(seconds(100.0), true);
        let share = |after: f64| standing.share(seconds(100.0 + after), &TERMS);
        assert_eq!([0.0, 5.0, 9.9, 10.0].map(share), [10, 50, 95, 100]);
        assert!(!standing.is_warm(seconds(115.0), &TERMS));
        assert!(standing.is_warm(seconds(120.0), &TERMS));
        standing.come_back(seconds(200.0), false);
        assert_eq!(standing.share(seconds(200.0), &TERMS), 100);
        standing.apply(Move::Probed(Verdict::Slow), seconds(200.0), &TERMS, 0.5);
        assert_eq!(standing.share(seconds(300.0), &TERMS), 25);
    }

    fn moves() -> impl Strategy<Value = Option<Move>> {
        let verdict = prop_oneof![
            Just(Verdict::Up),
            Just(Verdict::Slow),
            any::<bool>().prop_map(|unreachable| Verdict::Down { unreachable }),
        ];
        let what = prop_oneof![
            verdict.prop_map(Move::Probed),
            Just(Move::Unchecked),
            Just(Move::Unreachable),
            Just(Move::Failing),
            Just(Move::TrialPassed),
            any::<bool>().prop_map(|unreachable| Move::TrialFailed { unreachable }),
            Just(Move::Answered),
            Just(Move::Drained),
            Just(Move::Enabled),
        ];
        prop_oneof![4 => what.prop_map(Some), 1 => Just(None)]
    }

    /// What may move a backend from one state to another; `None` is time.
    fn is_legal(from: State, to: State, what: Option<Move>) -> bool {
        let Some(what) = what else {
            return (from, to) == (State::Ejected, State::Healthy)
                || (from, to) == (State::Ejected, State::Degraded)
                || (from, to) == (State::Ejected, State::Starting);
        };
        match what {
            Move::Drained => to == State::Draining,
            Move::Enabled => from == State::Draining,
            Move::Failing | Move::Unreachable => to == State::Ejected,
            Move::TrialPassed | Move::Answered => {
                matches!(from, State::Ejected | State::Unhealthy) && to != State::Draining
            }
            Move::TrialFailed { .. } => false,
            Move::Probed(Verdict::Down { .. }) => to == State::Unhealthy,
            Move::Probed(_) | Move::Unchecked => {
                matches!(to, State::Healthy | State::Degraded | State::Ejected)
            }
        }
    }

    proptest! {
        #[test]
        fn every_move_is_legal_and_every_ejection_ends(
            first in prop::sample::select(State::ALL.to_vec()),
            steps in prop::collection::vec((moves(), 0u64..3000, 0.0f64..1.0), 0..120),
        ) {
            let mut standing = Standing::new(first);
            prop_assert_eq!(standing.state(), first);
            let mut now = Duration::ZERO;
            for (what, wait, chance) in steps {
                now += Duration::from_millis(wait);
                let before = standing.clone();
                match what {
                    Some(what) => standing.apply(what, now, &TERMS, chance),
                    None => standing.pass_time(now, &TERMS, false),
                }
                let (from, to) = (before.state(), standing.state());
                prop_assert!(from == to || is_legal(from, to, what), "{from} to {to} by {what:?}");
                if let Trust::Ejected { until, .. } = standing.trust {
                    prop_assert!(until <= now.max(Duration::from_secs(1)) + TERMS.max_eject.mul_f64(1.1));
                }
                prop_assert!((1..=100).contains(&standing.share(now, &TERMS)));
                prop_assert!(standing.trial(now).is_none() || to == State::Ejected);
            }
            // Whatever happened: checks that succeed and time that passes bring it back.
            standing.apply(Move::Enabled, now, &TERMS, 0.5);
            standing.apply(Move::Probed(Verdict::Up), now, &TERMS, 0.5);
            for _ in 0..20 {
                now += Duration::from_secs(2);
                standing.pass_time(now, &TERMS, false);
                if standing.trial(now).is_some() {
                    standing.apply(Move::TrialPassed, now, &TERMS, 0.5);
                }
            }
            prop_assert_eq!(standing.state(), State::Healthy);
        }
    }
}
