//! Which backends fail in a way that the others do not: passive outlier detection. Pure: counts and the time are arguments.
//!
//! The control task shows each backend's running totals a few times a second, so requests pay nothing for this. Three signs:
//! failures in a row (counted by the proxy itself, which sees them first), the failure rate within a window, and a stall:
//! requests go in and nothing comes out, for much longer than it used to take, while the others answer. The last one no
//! average of response times can show, because a backend that never answers adds no sample to it.
//!
//! A pool that fails as a whole has no outliers: then the fault is elsewhere (a database that all share), and taking backends
//! out would only leave fewer to carry the load.

use std::fmt;
use std::time::Duration;

/// A window's parts: what is older than the window goes part by part.
const SLOTS: usize = 10;
/// No silence shorter than this is a stall, however fast the backend used to be.
const MIN_STALL: Duration = Duration::from_secs(1);
/// How many times its usual response time a silence must last.
const STALL_FACTOR: u32 = 10;
/// So many failures in a row are told early, in case they are beyond chance.
const EARLY: u32 = 3;
/// Fewer requests within the window say too little of how likely failures are.
const ENOUGH: u64 = 500;
/// Never is a failure less likely than this.
const LEAST_RATE: f64 = 0.002;
/// A row that chance would show more often than so many times a window is nothing special.
const BEYOND_CHANCE: f64 = 0.01;

/// When a failing backend is ejected, and for how long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rules {
    /// Failures in a row. Default 5, 1 to 1000. Three are enough where so many are beyond chance: among 500 requests or more
    /// to the others within the window, of which so few failed that less than one row of three would be met in a hundred windows.
    pub consecutive: u32,
    /// The share of failures within the window from which on it is ejected. Default 50 %.
    pub failure_rate: f64,
    /// How far back is looked. Default 10 s, 1 s to 10 min.
    pub window: Duration,
    /// Fewer requests within the window say nothing. Default 20, 1 to 1,000,000.
    pub min_requests: u32,
    /// The first ejection; each further one is twice as long. Default 500 ms, 10 ms to 10 min.
    pub eject: Duration,
    /// No ejection is longer. Default 8 s, `eject` to 1 h.
    pub max_eject: Duration,
    /// The largest share of the backends that may be ejected for failures. Default 50 %; those that cannot be reached do not count.
    pub max_ejected: f64,
}

impl Default for Rules {
    fn default() -> Self {
        Rules {
            consecutive: 5,
            failure_rate: 0.5,
            window: Duration::from_secs(10),
            min_requests: 20,
            eject: Duration::from_millis(500),
            max_eject: Duration::from_secs(8),
            max_ejected: 0.5,
        }
    }
}

impl Rules {
    /// So many failures in a row may be cause for an ejection. Told again after twice as many: what did not lead to one may now,
    /// but thousands a second need not say so.
    pub fn tells(&self, in_a_row: u32) -> bool {
        let due = in_a_row.is_multiple_of(self.consecutive);
        let early = in_a_row == EARLY && in_a_row < self.consecutive;
        early || due && (in_a_row / self.consecutive).is_power_of_two()
    }

    /// Whether so many failures in a row are enough. `rest`: what the others saw within the window.
    pub fn is_enough(&self, in_a_row: u32, rest: Recent) -> bool {
        let expected = (rest.rate() + LEAST_RATE).powf(f64::from(in_a_row)) * rest.ended as f64;
        let beyond_chance = rest.ended >= ENOUGH && expected < BEYOND_CHANCE;
        in_a_row >= self.consecutive || (in_a_row >= EARLY && beyond_chance)
    }
}

/// One backend's totals since it was first met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Requests sent there.
    pub begun: u64,
    /// Attempts that ended in any way but by the client's leaving.
    pub ended: u64,
    /// Those that failed by the backend's fault.
    pub failed: u64,
}

/// Attempts that ended within a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recent {
    /// How many.
    pub ended: u64,
    /// Those that failed.
    pub failed: u64,
}

impl Recent {
    fn rate(self) -> f64 {
        self.failed as f64 / self.ended.max(1) as f64
    }

    /// The rest of a pool that together saw this, without one backend that saw `own`.
    pub fn without(self, own: Recent) -> Recent {
        Recent {
            ended: self.ended.saturating_sub(own.ended),
            failed: self.failed.saturating_sub(own.failed),
        }
    }

    /// Whether these fail as a whole, so that one more that fails is no outlier.
    pub fn fails(self, rules: &Rules) -> bool {
        self.ended >= u64::from(rules.min_requests) && self.rate() >= rules.failure_rate
    }
}

impl std::ops::AddAssign for Recent {
    fn add_assign(&mut self, other: Recent) {
        self.ended += other.ended;
        self.failed += other.failed;
    }
}

/// Why a backend is an outlier.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sign {
    /// So many failures in a row.
    InARow(u32),
    /// Failures within the window.
    Rate(Recent),
    /// Requests that nothing came back for.
    Stalled {
        /// How many, at least.
        waiting: u64,
        /// Since when nothing came.
        silence: Duration,
    },
}

impl fmt::Display for Sign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sign::InARow(count) => write!(f, "{count} failures in a row"),
            Sign::Rate(recent) => {
                write!(f, "{} of {} requests failed", recent.failed, recent.ended)
            }
            Sign::Stalled { waiting, silence } => {
                let seconds = silence.as_secs_f64();
                write!(f, "{waiting} requests and no answer for {seconds:.1} s")
            }
        }
    }
}

/// What is watched of one backend.
#[derive(Clone, Debug)]
pub struct Watch {
    slots: [Recent; SLOTS],
    /// The slot that is being filled, counted from the beginning of time in tenths of the window.
    slot: u64,
    /// How long it was when it was last looked at, and when that was.
    window: Duration,
    looked: Duration,
    last: Totals,
    usual: Option<Duration>,
    silence: Silence,
}

/// A time in which a backend answered nothing.
#[derive(Clone, Copy, Debug, Default)]
struct Silence {
    since: Duration,
    /// What had been begun there when it began.
    begun: u64,
    /// What all backends together had answered then.
    answered_by_all: u64,
}

/// What else is known at the time of looking.
#[derive(Clone, Copy, Debug)]
pub struct Glance {
    /// Since the process began.
    pub now: Duration,
    /// Requests in flight there.
    pub in_flight: u32,
    /// How long it takes to begin an answer, if that was measured lately.
    pub usual: Option<Duration>,
    /// Attempts that ended at any backend, since the process began.
    pub ended_by_all: u64,
}

impl Watch {
    /// Begins at these totals.
    pub fn new(totals: Totals) -> Self {
        Watch {
            slots: [Recent::default(); SLOTS],
            slot: 0,
            window: Duration::ZERO,
            looked: Duration::ZERO,
            last: totals,
            usual: None,
            silence: Silence::default(),
        }
    }

    /// Takes in what has been counted since the last look.
    pub fn look(&mut self, totals: Totals, glance: &Glance, rules: &Rules) {
        let gap = glance.now.saturating_sub(self.looked) > rules.window;
        if gap || self.window != rules.window {
            // Another window, or nobody looked for longer than that: what was counted meanwhile has no time.
            self.begin(totals, glance.now, rules);
        }
        self.looked = glance.now;
        self.turn_to(slot_at(glance.now, rules));
        let place = (self.slot % SLOTS as u64) as usize;
        self.slots[place] += Recent {
            ended: totals.ended.saturating_sub(self.last.ended),
            failed: totals.failed.saturating_sub(self.last.failed),
        };
        if totals.ended != self.last.ended || glance.in_flight == 0 || self.silence.since.is_zero()
        {
            self.usual = glance.usual.or(self.usual);
            self.silence = Silence {
                since: glance.now,
                begun: totals.begun,
                answered_by_all: glance.ended_by_all,
            };
        }
        self.last = totals;
    }

    fn begin(&mut self, totals: Totals, now: Duration, rules: &Rules) {
        self.forget();
        self.window = rules.window;
        self.slot = slot_at(now, rules);
        self.last = totals;
    }

    fn turn_to(&mut self, slot: u64) {
        let passed = slot.saturating_sub(self.slot).min(SLOTS as u64);
        for ahead in 1..=passed {
            self.slots[((self.slot + ahead) % SLOTS as u64) as usize] = Recent::default();
        }
        self.slot = self.slot.max(slot);
    }

    /// What ended within the window.
    pub fn recent(&self) -> Recent {
        let mut sum = Recent::default();
        self.slots.iter().for_each(|slot| sum += *slot);
        sum
    }

    /// Forgets failures, after an ejection: what led to it must not lead to the next one.
    pub fn forget(&mut self) {
        self.slots = [Recent::default(); SLOTS];
        self.silence = Silence::default();
    }

    /// Whether this backend fails by itself. `rest`: what the others saw.
    pub fn sign(&self, glance: &Glance, rest: Recent, rules: &Rules) -> Option<Sign> {
        let recent = self.recent();
        if recent.fails(rules) && !rest.fails(rules) {
            return Some(Sign::Rate(recent));
        }
        self.stall(glance, rules)
    }

    fn stall(&self, glance: &Glance, rules: &Rules) -> Option<Sign> {
        let least = u64::from(rules.consecutive);
        let silence = glance.now.saturating_sub(self.silence.since);
        let waiting = self.last.begun.saturating_sub(self.silence.begun);
        let answered = glance
            .ended_by_all
            .saturating_sub(self.silence.answered_by_all);
        let long = MIN_STALL.max(self.usual? * STALL_FACTOR);
        let stalled = silence >= long
            && waiting >= least
            && u64::from(glance.in_flight) >= least
            && answered >= least;
        stalled.then_some(Sign::Stalled { waiting, silence })
    }
}

fn slot_at(now: Duration, rules: &Rules) -> u64 {
    let length = (rules.window / SLOTS as u32).as_millis().max(1);
    (now.as_millis() / length) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TICK: Duration = Duration::from_millis(250);

    /// A backend that sees the same in every tick.
    struct Scene {
        watch: Watch,
        totals: Totals,
        now: Duration,
        all: u64,
    }

    impl Scene {
        fn new() -> Self {
            let mut scene = Scene {
                watch: Watch::new(Totals::default()),
                totals: Totals::default(),
                now: Duration::from_secs(100),
                all: 0,
            };
            scene.tick(0, 0, 0, 0);
            scene
        }

        fn tick(&mut self, begun: u64, ended: u64, failed: u64, others: u64) -> Glance {
            self.now += TICK;
            self.totals.begun += begun;
            self.totals.ended += ended;
            self.totals.failed += failed;
            self.all += others + ended;
            let glance = Glance {
                now: self.now,
                in_flight: (self.totals.begun - self.totals.ended) as u32,
                usual: Some(Duration::from_millis(20)),
                ended_by_all: self.all,
            };
            self.watch.look(self.totals, &glance, &Rules::default());
            glance
        }

        fn sign(&self, glance: &Glance, rest: Recent) -> Option<Sign> {
            self.watch.sign(glance, rest, &Rules::default())
        }
    }

    fn well(ended: u64) -> Recent {
        Recent { ended, failed: 0 }
    }

    #[test]
    fn half_of_enough_requests_failing_is_a_sign() {
        let mut scene = Scene::new();
        let glance = scene.tick(18, 18, 18, 100);
        assert_eq!(scene.sign(&glance, well(100)), None, "too few to tell");
        let glance = scene.tick(18, 18, 0, 100);
        let sign = scene.sign(&glance, well(200)).unwrap();
        assert_eq!(sign.to_string(), "18 of 36 requests failed");
        let glance = scene.tick(1, 1, 0, 0);
        assert_eq!(scene.sign(&glance, well(200)), None);
    }

    #[test]
    fn fewer_failures_in_a_row_are_enough_where_they_are_beyond_chance() {
        let rules = Rules::default();
        let rest = |ended, failed| Recent { ended, failed };
        assert!(rules.is_enough(5, rest(0, 0)) && !rules.is_enough(4, rest(0, 0)));
        assert!(rules.is_enough(3, rest(2000, 0)) && !rules.is_enough(2, rest(2000, 0)));
        assert!(!rules.is_enough(3, rest(2000, 100)), "5 % fail anyway");
        assert!(!rules.is_enough(3, rest(100, 0)), "too little is known");
        assert!(rules.tells(3) && !rules.tells(4) && rules.tells(5) && rules.tells(10));
        let one = Rules {
            consecutive: 1,
            ..rules
        };
        assert!(one.tells(1) && !one.tells(3) && one.is_enough(1, rest(0, 0)));
    }

    #[test]
    fn pool_that_fails_as_a_whole_has_no_outlier() {
        let mut scene = Scene::new();
        let glance = scene.tick(40, 40, 30, 100);
        let rest = Recent {
            ended: 100,
            failed: 60,
        };
        assert_eq!(scene.sign(&glance, rest), None);
        assert!(scene.sign(&glance, well(100)).is_some());
    }

    #[test]
    fn what_was_counted_while_nobody_looked_does_not_count() {
        let mut scene = Scene::new();
        scene.now += Duration::from_secs(3600);
        scene.tick(400, 400, 400, 0);
        assert_eq!(scene.watch.recent(), Recent::default());
        scene.tick(40, 40, 40, 0);
        assert_eq!(scene.watch.recent().failed, 40);
        let longer = Rules {
            window: Duration::from_secs(60),
            ..Rules::default()
        };
        let glance = scene.tick(0, 0, 0, 0);
        scene.watch.look(scene.totals, &glance, &longer);
        assert_eq!(scene.watch.recent(), Recent::default(), "another window");
    }

    #[test]
    fn failures_grow_old() {
        let mut scene = Scene::new();
        scene.tick(40, 40, 40, 0);
        for _ in 0..44 {
            scene.tick(0, 0, 0, 0);
        }
        assert_eq!(scene.watch.recent(), Recent::default());
    }

    #[test]
    fn silence_while_others_answer_is_a_stall() {
        let mut scene = Scene::new();
        scene.tick(10, 10, 0, 30);
        let mut glance = scene.tick(10, 5, 0, 30);
        for _ in 0..4 {
            glance = scene.tick(10, 0, 0, 30);
        }
        let sign = scene.sign(&glance, well(100)).unwrap();
        assert_eq!(sign.to_string(), "40 requests and no answer for 1.0 s");
        let glance = scene.tick(10, 1, 0, 30);
        assert_eq!(scene.sign(&glance, well(100)), None, "it answers again");
    }

    #[test]
    fn silence_of_all_and_few_long_requests_are_no_stall() {
        let mut scene = Scene::new();
        scene.tick(10, 10, 0, 30);
        let mut glance = scene.tick(10, 5, 0, 30);
        for _ in 0..8 {
            glance = scene.tick(10, 0, 0, 0);
        }
        assert_eq!(scene.sign(&glance, well(100)), None, "nobody answers");
        let mut scene = Scene::new();
        scene.tick(10, 10, 0, 30);
        for _ in 0..8 {
            glance = scene.tick(0, 0, 0, 30);
        }
        let glance = Glance {
            in_flight: 4,
            ..glance
        };
        assert_eq!(scene.sign(&glance, well(100)), None, "four long polls");
    }

    proptest! {
        /// The window holds what a list of everything would.
        #[test]
        fn window_is_the_sum_of_its_last_slots(steps in prop::collection::vec((0u64..5000, 0u64..9, 0u64..9), 1..80)) {
            let rules = Rules::default();
            let mut watch = Watch::new(Totals::default());
            let mut totals = Totals::default();
            let mut all: Vec<(u64, u64)> = Vec::new();
            let mut now = Duration::ZERO;
            let begun = Glance { now, in_flight: 0, usual: None, ended_by_all: 0 };
            watch.look(totals, &begun, &rules);
            for (wait, well, failed) in steps {
                now += Duration::from_millis(wait);
                totals.ended += well + failed;
                totals.failed += failed;
                let glance = Glance { now, in_flight: 0, usual: None, ended_by_all: 0 };
                watch.look(totals, &glance, &rules);
                all.push((slot_at(now, &rules), failed));
                let oldest = slot_at(now, &rules).saturating_sub(SLOTS as u64 - 1);
                let expected: u64 = all.iter().filter(|(slot, _)| *slot >= oldest).map(|(_, failed)| failed).sum();
                prop_assert_eq!(watch.recent().failed, expected);
            }
        }
    }
}
