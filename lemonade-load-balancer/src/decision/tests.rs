use super::scene::Scene;
use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

const HOME: Name = Name::LeastDelay;
const COUNTING: Name = Name::LeastConnections;
const TURNS: Name = Name::RoundRobin;

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn rule(text: &str, picks: Name) -> Rule {
    Rule {
        name: "own".to_owned(),
        when: text.parse().unwrap(),
        picks,
    }
}

fn inputs(settings: &Settings, regime: Regime) -> Inputs<'_> {
    Inputs {
        settings,
        evidence: Evidence::default(),
        regime,
        regime_held: CALM,
        rule: None,
        weighted: false,
        forbidden: None,
        lately: lately(0.100, 100.0),
    }
}

fn lately(p99: f64, rate: f64) -> Lately {
    Lately {
        answers: 1000,
        rate,
        p99: Some(p99),
    }
}

/// Foretells so many milliseconds for each, in the order of the default candidates.
fn foretell(millis: [f64; 3]) -> impl FnMut(&[Name]) -> Vec<Forecast> {
    move |names: &[Name]| {
        let of = |name: &Name| match *name {
            HOME => millis[0],
            COUNTING => millis[1],
            _ => millis[2],
        };
        let forecast = |name: &Name| Forecast {
            strategy: *name,
            p50: of(name) / 2e3,
            p99: of(name) / 1e3,
            cost: of(name) / 1e3,
            errors: 0.0,
        };
        names.iter().map(forecast).collect()
    }
}

fn suppressed(outcome: &Outcome) -> Option<Why> {
    outcome.decision.as_ref().and_then(|it| it.suppressed)
}

#[test]
fn calm_pool_takes_turns_if_that_is_better_by_a_tenth() {
    let settings = Settings::default();
    let mut state = State::new(HOME);
    let calm = inputs(&settings, Regime::Calm);
    let outcome = decide(&calm, &mut state, at(400), &mut foretell([10.0, 10.0, 9.5]));
    assert_eq!(suppressed(&outcome), Some(Why::NoGain));
    let rejected = &outcome.decision.unwrap().alternatives[0].rejected;
    assert_eq!(
        rejected.as_deref(),
        Some("its p99, with a second for each error, is foretold at 95 % of that of least_delay")
    );
    let again = decide(&calm, &mut state, at(401), &mut foretell([10.0, 10.0, 9.5]));
    assert_eq!(again, Outcome::default(), "said once");
    let outcome = decide(&calm, &mut state, at(411), &mut foretell([10.0, 10.0, 8.5]));
    let decision = outcome.decision.unwrap();
    assert_eq!(
        (decision.suppressed, decision.to, &*decision.rule),
        (None, TURNS, "calm")
    );
    assert!((decision.promised_p99_seconds.unwrap() - 0.085).abs() < 1e-9);
    assert_eq!(state.current, TURNS);
}

#[test]
fn streams_need_no_forecast_and_saturation_five_minutes() {
    let settings = Settings::default();
    let mut state = State::new(HOME);
    let mut saturated = inputs(&settings, Regime::Saturated);
    saturated.regime_held = CALM - at(1);
    let better = &mut foretell([10.0, 5.0, 10.0]);
    assert_eq!(
        decide(&saturated, &mut state, at(1), better),
        Outcome::default()
    );
    let streams = inputs(&settings, Regime::Streams);
    decide(&streams, &mut state, at(2), &mut foretell([1.0, 9.0, 9.0]));
    assert_eq!(state.current, COUNTING);
}

#[test]
fn few_requests_change_nothing() {
    let settings = Settings::default();
    let few = inputs(&settings, Regime::TooFew);
    for current in [HOME, TURNS] {
        let mut state = State::new(current);
        let outcome = decide(&few, &mut state, at(1), &mut foretell([1.0; 3]));
        assert_eq!((outcome, state.current), (Outcome::default(), current));
    }
}

#[test]
fn cooldown_holds_even_for_orders_and_says_so_once() {
    let settings = Settings {
        rules: vec![rule("p99 > 1s", COUNTING)],
        ..Settings::default()
    };
    let mut state = State::new(HOME);
    let mut ordered = inputs(&settings, Regime::Varied);
    ordered.rule = Some((&settings.rules[0], Vec::new()));
    decide(&ordered, &mut state, at(100), &mut foretell([1.0; 3]));
    assert_eq!(state.current, COUNTING);
    let varied = inputs(&settings, Regime::Varied);
    let outcome = decide(&varied, &mut state, at(101), &mut foretell([1.0; 3]));
    let decision = outcome.decision.unwrap();
    assert_eq!(
        (decision.suppressed, decision.cooldown_left_seconds),
        (Some(Why::Cooldown), 59.0)
    );
    for second in 102..160 {
        let outcome = decide(&varied, &mut state, at(second), &mut foretell([1.0; 3]));
        assert_eq!(outcome.decision, None);
    }
    decide(&varied, &mut state, at(160), &mut foretell([1.0; 3]));
    assert_eq!(state.current, HOME);
}

#[test]
fn what_made_things_worse_is_taken_back_and_barred() {
    let settings = Settings::default();
    let mut state = State::new(HOME);
    let calm = inputs(&settings, Regime::Calm);
    let better = &mut foretell([10.0, 10.0, 5.0]);
    decide(&calm, &mut state, at(1000), better);
    assert_eq!(state.current, TURNS);
    let mut worse = inputs(&settings, Regime::Calm);
    worse.lately = lately(0.130, 110.0);
    let outcome = decide(&worse, &mut state, at(1030), better);
    let (id, effect) = outcome.effect.unwrap();
    assert_eq!((id, effect.verdict), (1, Verdict::Broken));
    let wants_back = outcome.decision.unwrap();
    assert_eq!(
        (&*wants_back.rule, wants_back.suppressed),
        ("promise", Some(Why::Cooldown))
    );
    decide(&worse, &mut state, at(1060), better);
    assert_eq!(state.current, HOME);
    let outcome = decide(&calm, &mut state, at(1200), better);
    assert_eq!(suppressed(&outcome), Some(Why::Barred));
    decide(&calm, &mut state, at(1631), better);
    assert_eq!(state.current, TURNS, "ten minutes later");
    decide(&worse, &mut state, at(1661), better);
    let left = state.barred(TURNS, at(1661)).unwrap();
    assert_eq!(left, BAR * 2, "the second time it is twice as long");
}

#[test]
fn another_load_or_too_few_answers_prove_nothing() {
    for (after, verdict) in [
        (lately(0.500, 200.0), Verdict::LoadChanged),
        (lately(0.110, 100.0), Verdict::Kept),
        (Lately::default(), Verdict::TooFew),
    ] {
        let settings = Settings::default();
        let mut state = State::new(HOME);
        let mut calm = inputs(&settings, Regime::Calm);
        decide(
            &calm,
            &mut state,
            at(1000),
            &mut foretell([10.0, 10.0, 5.0]),
        );
        calm.lately = after;
        let outcome = decide(&calm, &mut state, at(1030), &mut foretell([1.0; 3]));
        assert_eq!(outcome.effect.unwrap().1.verdict, verdict);
        assert_eq!(outcome.decision, None);
    }
}

#[test]
fn return_needs_no_gain_but_no_harm() {
    let settings = Settings::default();
    let varied = inputs(&settings, Regime::Varied);
    let mut state = State::new(TURNS);
    let outcome = decide(
        &varied,
        &mut state,
        at(1),
        &mut foretell([12.0, 10.0, 10.0]),
    );
    assert_eq!(suppressed(&outcome), Some(Why::NoGain));
    decide(
        &varied,
        &mut state,
        at(20),
        &mut foretell([10.5, 10.0, 10.0]),
    );
    assert_eq!(state.current, HOME);
}

#[test]
fn adviser_says_what_it_would_do_and_does_nothing() {
    let settings = Settings::default();
    let mut state = State::new(HOME);
    let mut calm = inputs(&settings, Regime::Calm);
    calm.forbidden = Some(Why::Advise);
    let outcome = decide(&calm, &mut state, at(1), &mut foretell([10.0, 10.0, 5.0]));
    let decision = outcome.decision.unwrap();
    assert_eq!(
        (decision.to, decision.suppressed),
        (TURNS, Some(Why::Advise))
    );
    assert!(decision.alternatives[0].p99_seconds.is_some());
    assert_eq!(state.current, HOME);
}

#[test]
fn candidates_that_are_no_longer_named_are_left() {
    let settings = Settings {
        candidates: vec![COUNTING],
        ..Settings::default()
    };
    let mut state = State::new(TURNS);
    let calm = inputs(&settings, Regime::Calm);
    decide(&calm, &mut state, at(1), &mut foretell([1.0; 3]));
    assert_eq!(state.current, COUNTING);
    let outcome = decide(&calm, &mut state, at(100), &mut foretell([1.0; 3]));
    assert_eq!(suppressed(&outcome), Some(Why::NotACandidate));
}

/// The engine over a stage, with what it decided.
struct Played {
    engine: Engine,
    scene: Scene,
    decisions: Vec<Decision>,
}

impl Played {
    fn new(backends: usize) -> Self {
        Played {
            engine: Engine::new(HOME),
            scene: Scene::new(backends),
            decisions: Vec::new(),
        }
    }

    fn seconds(&mut self, settings: &Settings, seconds: usize, mut each: impl FnMut(&mut Scene)) {
        for _ in 0..seconds {
            each(&mut self.scene);
            self.scene.now += at(1);
            let orders = Orders {
                settings,
                external: &BTreeMap::new(),
                by_hand: false,
            };
            let outcome = self
                .engine
                .tick(&self.scene.sample, &orders, self.scene.now, 7);
            self.decisions.extend(outcome.decision);
        }
    }
}

#[test]
fn rule_of_ones_own_wins_and_gives_way_when_it_is_over() {
    let settings = Settings {
        cooldown: at(5),
        rules: vec![rule("error_rate > 5% for 3s", COUNTING)],
        ..Settings::default()
    };
    let mut played = Played::new(3);
    let well = |scene: &mut Scene| {
        (0..3).for_each(|place| scene.answer(place, 50, 20 + place as u64 * 20))
    };
    let failing = |scene: &mut Scene| {
        well(scene);
        scene.fail(1, 30);
    };
    played.seconds(&settings, 20, well);
    assert_eq!(played.decisions, []);
    played.seconds(&settings, 10, failing);
    assert_eq!(played.engine.current(), COUNTING);
    let decision = &played.decisions[0];
    assert_eq!((&*decision.rule, decision.suppressed), ("own", None));
    let fact = &decision.evidence[0];
    assert_eq!(
        (&*fact.what, &*fact.threshold),
        ("error_rate", "> 5% for 3s")
    );
    played.seconds(&settings, 30, well);
    assert_eq!(played.engine.current(), HOME, "{:#?}", played.decisions);
    assert_eq!(played.decisions.last().unwrap().rule, "rule_over");
}

#[test]
fn varied_traffic_never_leaves_home() {
    let settings = Settings::default();
    let mut played = Played::new(3);
    played.seconds(&settings, 900, |scene| {
        (0..3).for_each(|place| scene.answer(place, 50, 20 + place as u64 * 20));
    });
    assert_eq!(played.decisions, []);
}

#[test]
fn log_keeps_the_last_and_what_came_of_them() {
    let settings = Settings::default();
    let mut state = State::new(HOME);
    let calm = inputs(&settings, Regime::Calm);
    let outcome = decide(&calm, &mut state, at(400), &mut foretell([10.0, 10.0, 5.0]));
    let first = outcome.decision.unwrap();
    let mut log = Log::default();
    for id in 0..300 {
        log.record(Decision {
            id,
            ..first.clone()
        });
    }
    let outcome = decide(&calm, &mut state, at(430), &mut foretell([1.0; 3]));
    let (_, effect) = outcome.effect.unwrap();
    assert!(log.settle(299, &effect).is_some());
    assert!(log.settle(43, &effect).is_none(), "gone");
    let newest: Vec<_> = log.newest(2).collect();
    assert_eq!((newest[0].id, newest[1].id), (299, 298));
    assert_eq!(newest[0].effect.as_ref(), Some(&effect));
    assert_eq!(log.newest(999).count(), 256);
}

/// Inputs of one tick, and how the clock stepped before it.
#[derive(Clone, Debug)]
struct Step {
    after: i64,
    regime: Regime,
    held: u64,
    rule: Option<usize>,
    forbidden: Option<Why>,
    weighted: bool,
    p99: Option<f64>,
    rate: f64,
    foretold: [f64; 3],
}

fn step() -> impl Strategy<Value = Step> {
    let regimes = [
        Regime::TooFew,
        Regime::Streams,
        Regime::Calm,
        Regime::Saturated,
        Regime::Varied,
    ];
    let forbidden =
        prop_oneof![8 => Just(None), 1 => Just(Some(Why::ByHand)), 1 => Just(Some(Why::Advise))];
    let forecast = [0.0f64..100.0, 0.0f64..100.0, 0.0f64..100.0];
    (
        -20_000i64..60_000,
        0usize..5,
        0u64..600,
        prop::option::of(0usize..3),
        forbidden,
        any::<bool>(),
        prop::option::of(0.0f64..1.0),
        0.0f64..200.0,
        forecast,
    )
        .prop_map(
            move |(after, regime, held, rule, forbidden, weighted, p99, rate, foretold)| Step {
                after,
                regime: regimes[regime],
                held,
                rule,
                forbidden,
                weighted,
                p99,
                rate,
                foretold,
            },
        )
}

proptest! {
    /// Whatever it is shown, and however the clock steps: at most one switch in any cool-down.
    #[test]
    fn two_switches_are_never_closer_than_the_cooldown(
        steps in prop::collection::vec(step(), 1..200),
        cooldown in 1u64..120_000,
    ) {
        let settings = Settings {
            cooldown: Duration::from_millis(cooldown),
            rules: [HOME, COUNTING, TURNS].map(|picks| rule("p99 > 1s", picks)).to_vec(),
            ..Settings::default()
        };
        let mut state = State::new(HOME);
        let mut now = 1_000_000i64;
        let mut switches = Vec::new();
        let mut picks = HOME;
        for step in steps {
            now += step.after;
            let mut inputs = inputs(&settings, step.regime);
            inputs.regime_held = at(step.held);
            inputs.rule = step.rule.map(|place| (&settings.rules[place], Vec::new()));
            inputs.forbidden = step.forbidden;
            inputs.weighted = step.weighted;
            inputs.lately = Lately { answers: 1000, rate: step.rate, p99: step.p99 };
            let time = Duration::from_millis(now.max(0) as u64);
            let outcome = decide(&inputs, &mut state, time, &mut foretell(step.foretold));
            let switched = outcome.decision.as_ref().is_some_and(|decision| decision.suppressed.is_none());
            prop_assert_eq!(switched, state.current != picks, "a switch is a decision, and the other way round");
            picks = state.current;
            if switched {
                prop_assert!(step.forbidden.is_none());
                switches.push(time);
            }
        }
        for pair in switches.windows(2) {
            prop_assert!(pair[1].saturating_sub(pair[0]) >= settings.cooldown, "{switches:?}");
        }
    }

    /// The same through all of it: arbitrary totals, at an arbitrary pace.
    #[test]
    fn engine_keeps_its_limit_under_any_traffic(
        ticks in prop::collection::vec((0u64..2000, prop::collection::vec((0u64..200, 0u64..400, 0u64..100, 0u32..50), 3)), 1..120),
        cooldown in 1u64..60,
    ) {
        let settings = Settings {
            cooldown: at(cooldown),
            rules: vec![
                rule("error_rate > 20%", COUNTING),
                rule("p99 > 200ms", TURNS),
                rule("in_flight > 60", Name::Random),
            ],
            ..Settings::default()
        };
        let mut played = Played::new(3);
        let mut switches: Vec<Duration> = Vec::new();
        for (millis, each) in ticks {
            played.scene.now += Duration::from_millis(millis);
            let before = played.decisions.len();
            played.seconds(&settings, 1, |scene| {
                for (place, (count, millis, failed, in_flight)) in each.iter().enumerate() {
                    scene.answer(place, *count, *millis);
                    scene.fail(place, *failed);
                    scene.sample.backends[place].in_flight = *in_flight;
                }
            });
            let made = played.decisions[before..].iter().filter(|decision| decision.suppressed.is_none());
            switches.extend(made.map(|_| played.scene.now));
        }
        for pair in switches.windows(2) {
            prop_assert!(pair[1] - pair[0] >= settings.cooldown, "{switches:?}");
        }
    }
}
