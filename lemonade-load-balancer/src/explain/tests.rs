//! Explanations of snapshots that were made up.

use super::asked::tests::asked;
use super::*;
use crate::backend::{BackendId, State};
use crate::config::{BackendConfig, Config, Key, Source, Sticky, Tier};
use crate::listen::Listening;
use crate::seal::MadeKey;
use crate::snapshot::{Carried, Member, Members, Parts, Snapshot, Steered};
use crate::strategy::{Cursor, Name, PickContext};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// What a snapshot is made of: w0, w1, … in these states.
struct Stage {
    config: Config,
    members: Vec<Member>,
    cursor: Arc<Cursor>,
    /// Places of those on trial.
    trials: Vec<usize>,
    queued: u32,
}

impl Stage {
    fn of(strategy: Name, states: &[State]) -> Stage {
        let member = |(place, state): (usize, &State)| {
            let port = 10_000 + place as u16;
            let id = BackendId::new(format!("127.0.0.1:{port}").parse().unwrap());
            let live = crate::backend::Backend::new(id.clone(), 1);
            live.state.set(*state);
            let config = BackendConfig {
                id,
                endpoint: ([127, 0, 0, 1], port).into(),
                name: format!("w{place}"),
                weight: 1,
                tier: Tier::Primary,
                max_in_flight: None,
                source: Source::File,
                drained: false,
            };
            Member { config, live }
        };
        Stage {
            config: Config {
                strategy,
                ..Config::default()
            },
            members: states.iter().enumerate().map(member).collect(),
            cursor: Arc::default(),
            trials: Vec::new(),
            queued: 0,
        }
    }

    fn snapshot(&self) -> Snapshot {
        let name = self.config.strategy;
        let trials = self
            .trials
            .iter()
            .map(|place| self.members[*place].live.clone());
        let parts = Parts {
            config: Arc::new(self.config.clone()),
            members: Members::new(self.members.clone().into()),
            strategy_name: name,
            steered: Steered::plainly(match name {
                Name::Adaptive => Name::LeastDelay,
                other => other,
            }),
            listening: Listening {
                proxy: ([127, 0, 0, 1], 1).into(),
                admin: None,
            },
            sources: Arc::default(),
            lapsed: Arc::default(),
            trials: trials.collect(),
            carried: Carried {
                key: Some(MadeKey::new()),
                built: None,
            },
        };
        Snapshot::new(1, parts, &self.cursor)
    }

    fn ask(&self, headers: &[(&str, &str)]) -> Value {
        self.ask_of(&self.snapshot(), headers)
    }

    fn ask_of(&self, snapshot: &Snapshot, headers: &[(&str, &str)]) -> Value {
        let moment = Moment {
            now: Duration::from_secs(100),
            today: 1,
            queued: self.queued,
        };
        let told = report(snapshot, &asked("/a", headers), &moment).unwrap();
        serde_json::to_value(told).unwrap()
    }
}

fn why<'r>(report: &'r Value, name: &str) -> &'r str {
    of(report, name)["why"].as_str().unwrap_or_default()
}

fn of<'r>(report: &'r Value, name: &str) -> &'r Value {
    let mut backends = report["backends"].as_array().unwrap().iter();
    backends.find(|backend| backend["name"] == name).unwrap()
}

const WELL: State = State::Healthy;

#[test]
fn asking_a_thousand_times_moves_nothing() {
    for name in Name::ALL {
        let stage = Stage::of(name, &[WELL; 3]);
        let snapshot = stage.snapshot();
        let first = stage.ask_of(&snapshot, &[]);
        for _ in 0..1000 {
            assert_eq!(stage.ask_of(&snapshot, &[]), first, "{name}");
        }
        assert_eq!(stage.cursor.place(), 0, "{name}");
    }
}

#[test]
fn who_is_foretold_is_who_is_picked() {
    for name in Name::ALL {
        let stage = Stage::of(name, &[WELL; 3]);
        let snapshot = stage.snapshot();
        for (member, in_flight) in stage.members.iter().zip([4, 2, 7]) {
            member.live.load.set_in_flight(in_flight);
        }
        let foretold = stage.ask_of(&snapshot, &[]);
        let Some(picked) = foretold["picked"].as_str() else {
            assert!(
                foretold["why"].as_str().unwrap().contains("chance"),
                "{foretold}"
            );
            continue;
        };
        let mut rng = fastrand::Rng::with_seed(1);
        // The key of a client at 127.0.0.1.
        let mut context = PickContext {
            now: Duration::from_secs(100),
            rng: &mut rng,
            key: Some(crate::strategy::key(&[127, 0, 0, 1])),
        };
        let place = snapshot.strategy.pick(&snapshot.pool, &mut context);
        assert_eq!(picked, format!("w{place}"), "{name}");
        assert_eq!(of(&foretold, picked)["picked"], true);
    }
}

#[test]
fn adaptive_says_who_picks_for_it() {
    let report = Stage::of(Name::Adaptive, &[WELL; 2]).ask(&[]);
    assert_eq!(
        (&report["strategy"], &report["picks_by"]),
        (&"adaptive".into(), &"least_delay".into())
    );
    assert!(report["rule"].as_str().unwrap().contains("lowest"));
    assert_eq!(report["backends"][0]["rank"], 1);
}

#[test]
fn everybody_who_is_out_is_told_why() {
    let mut stage = Stage::of(
        Name::RoundRobin,
        &[
            WELL,
            State::Ejected,
            State::Unhealthy,
            State::Draining,
            WELL,
            State::Starting,
            WELL,
            State::Ejected,
        ],
    );
    let live = |place: usize| stage.members[place].live.clone();
    let (ejected, unhealthy, full) = (live(1), live(2), live(6));
    ejected
        .cause
        .set(State::Ejected, "5 failures in a row", Duration::ZERO);
    ejected.set_ejected_until(Some(Duration::from_millis(102_500)));
    unhealthy.cause.set(
        State::Unhealthy,
        "health checks get no answer",
        Duration::ZERO,
    );
    full.load.set_limit(200);
    full.load.set_in_flight(200);
    stage.members[3].config.drained = true;
    stage.members[4].config.tier = Tier::Backup;
    // One well in two is enough here.
    stage.config.panic_threshold = 0.1;
    let report = stage.ask(&[]);
    for (name, expected) in [
        ("w1", "5 failures in a row; for another 2.5 s"),
        ("w2", "health checks get no answer"),
        ("w3", "drained by hand"),
        ("w4", "a backup, and enough primaries are usable"),
        ("w5", "no health check has answered yet"),
        ("w6", "full: 200 of 200 in flight"),
        (
            "w7",
            "requests failed there; to be tried by single requests",
        ),
    ] {
        assert_eq!(why(&report, name), expected);
        assert_eq!(of(&report, name)["eligible"], false, "{name}");
    }
    let first = &report["backends"][0];
    assert_eq!(
        (&first["name"], &first["eligible"]),
        (&"w0".into(), &true.into())
    );
    assert_eq!(of(&report, "w6")["max_in_flight"], 200);
    assert!(of(&report, "w1")["rank"].is_null());
}

#[test]
fn cause_of_another_state_is_not_told() {
    let stage = Stage::of(Name::RoundRobin, &[WELL, State::Unhealthy]);
    let stale = &stage.members[1].live.cause;
    stale.set(State::Ejected, "5 failures in a row", Duration::ZERO);
    assert_eq!(why(&stage.ask(&[]), "w1"), "health checks fail");
}

#[test]
fn panic_says_why_the_unwell_are_picked() {
    let report = Stage::of(
        Name::RoundRobin,
        &[WELL, State::Unhealthy, State::Unhealthy],
    )
    .ask(&[]);
    assert_eq!(report["panic"], "few_usable");
    assert_eq!(of(&report, "w1")["eligible"], true);
    assert!(why(&report, "w1").contains("too few are usable; health checks fail"));
}

#[test]
fn full_one_is_passed_over_and_where_all_are_full_it_queues() {
    let mut stage = Stage::of(Name::RoundRobin, &[WELL; 2]);
    let full = |place: usize| {
        stage.members[place].live.load.set_limit(1);
        stage.members[place].live.load.set_in_flight(1);
    };
    full(0);
    let report = stage.ask(&[]);
    assert_eq!(report["picked"], "w1");
    assert_eq!(
        report["why"],
        "w0 is picked, but full; next along with room"
    );
    full(1);
    let report = stage.ask(&[]);
    assert!(report["picked"].is_null());
    assert_eq!(
        report["why"],
        "every backend is full: it would queue for room"
    );
    stage.queued = 3;
    assert!(stage.ask(&[])["why"].as_str().unwrap().contains("behind 3"));
}

#[test]
fn nobody_at_all_is_said() {
    let report = Stage::of(Name::LeastDelay, &[State::Draining]).ask(&[]);
    assert_eq!(report["why"], "no backend may be picked: 503");
    assert!(report["rule"].is_null());
}

#[test]
fn trial_goes_first_for_what_may_be_repeated() {
    let mut stage = Stage::of(Name::RoundRobin, &[WELL, State::Ejected]);
    stage.trials = vec![1];
    let slot = &stage.members[1].live.trial;
    slot.open(false);
    let report = stage.ask(&[]);
    assert_eq!(
        (&report["picked"], &report["trials"][0]),
        (&"w1".into(), &"w1".into())
    );
    assert!(why(&report, "w1").contains("on trial"));
    // A body that may not have arrived whole cannot be sent again.
    let upload = stage.ask(&[("Transfer-Encoding", "chunked")]);
    assert_eq!(upload["picked"], "w0");
    assert_eq!(slot.take(true).map(|_| ()), Some(()), "asking took nothing");
}

#[test]
fn key_says_where_it_comes_from() {
    let mut stage = Stage::of(Name::Maglev, &[WELL; 3]);
    stage.config.affinity.key = Key::Header("X-User".to_owned());
    let report = stage.ask(&[("x-user", "ann")]);
    assert_eq!(report["key"], "header X-User");
    assert_eq!(
        stage.ask(&[])["key"],
        "client address 127.0.0.1, because the request has no header X-User"
    );
    let homes: std::collections::BTreeSet<String> = (0..40)
        .map(|user| stage.ask(&[("X-User", &user.to_string())])["picked"].to_string())
        .collect();
    assert_eq!(homes.len(), 3, "the key decides");
    stage.config.strategy = Name::RoundRobin;
    assert!(stage.ask(&[])["key"].is_null());
}

#[test]
fn sticky_cookie_has_its_say() {
    let mut stage = Stage::of(Name::RoundRobin, &[WELL; 3]);
    stage.config.sticky = Some(Sticky::default());
    let snapshot = stage.snapshot();
    let backend = &stage.members[2].live;
    let value = snapshot.stickiness.as_ref().unwrap().value(backend, 0);
    let cookie = format!("lemonade={}", String::from_utf8_lossy(&value));
    let report = stage.ask_of(&snapshot, &[("Cookie", &cookie)]);
    assert_eq!(
        (&report["picked"], &report["why"]),
        (&"w2".into(), &"its sticky cookie leads there".into())
    );
    assert_eq!(report["sticky"], "cookie lemonade names w2");
    backend.load.set_limit(0);
    let report = stage.ask_of(&snapshot, &[("Cookie", &cookie)]);
    assert_eq!(report["picked"], "w0");
    let forged = stage.ask_of(&snapshot, &[("Cookie", "lemonade=abc")]);
    assert!(forged["sticky"].as_str().unwrap().contains("ignored"));
    let none = stage.ask_of(&snapshot, &[]);
    assert!(none["sticky"].as_str().unwrap().contains("no cookie"));
}

fn sketched(strategy: Name, size: usize, picked: usize) -> Value {
    let stage = Stage::of(strategy, &vec![WELL; size]);
    // The later, the better.
    for (place, member) in stage.members.iter().enumerate() {
        member.live.load.set_in_flight((size - place) as u32);
    }
    let snapshot = Arc::new(stage.snapshot());
    let mut rng = fastrand::Rng::with_seed(1);
    let context = PickContext {
        now: Duration::from_secs(100),
        rng: &mut rng,
        key: None,
    };
    let terms = snapshot.strategy.terms(&snapshot.pool, &context);
    let sketch = Sketch::new(snapshot, context.now, terms, picked);
    serde_json::to_value(sketch.told("now".to_owned())).unwrap()
}

#[test]
fn pick_keeps_the_best_and_the_one_that_was_picked() {
    let pick = sketched(Name::LeastConnections, 1000, 3);
    let candidates = pick["candidates"].as_array().unwrap();
    assert_eq!((candidates.len(), &pick["of"]), (17, &1000.into()));
    assert_eq!(
        (&candidates[0]["name"], &candidates[0]["rank"]),
        (&"w999".into(), &1.into())
    );
    let last = &candidates[16];
    assert_eq!((&last["name"], &last["rank"]), (&"w3".into(), &997.into()));
    assert_eq!(
        (&last["picked"], &pick["picked"]),
        (&true.into(), &"w3".into())
    );
    let small = sketched(Name::Random, 2, 0);
    assert_eq!(small["candidates"].as_array().unwrap().len(), 2);
    assert!(small["candidates"][0]["rank"].is_null());
}
