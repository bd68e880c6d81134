//! The world against queueing theory, and fault by fault.

use crate::compare::Case;
use crate::picker::Picker;
use crate::report::{IDEAL, Run};
use crate::scenario::Scenario;
use crate::{Contestant, compare};
use lemonade_config::{Document, Environment, Format};
use lemonade_load_balancer::config::Config;
use std::time::Duration;

fn case(text: &str) -> Case {
    let environment = Environment::default();
    let document = Document::parse("s.yaml", Format::Yaml, text, &environment).unwrap();
    Case::from(Scenario::decode(&document).unwrap())
}

fn ideal(text: &str) -> Run {
    let config = Config::default();
    let comparison = compare(&case(text), &[Contestant::Ideal], &config, &mut |_| {});
    comparison.runs.into_iter().next().unwrap()
}

/// Sends everything to one backend.
struct Always(usize);

impl Picker for Always {
    fn alive(&mut self, _: Duration, _: &[usize]) {}

    fn pick(&mut self, _: usize, _: Duration) -> usize {
        self.0
    }

    fn done(&mut self, _: usize, _: usize, _: Duration, _: Duration, _: bool) {}
}

/// Anyone, with equal chance.
struct Dice(fastrand::Rng, usize);

impl Picker for Dice {
    fn alive(&mut self, _: Duration, _: &[usize]) {}

    fn pick(&mut self, _: usize, _: Duration) -> usize {
        self.0.usize(0..self.1)
    }

    fn done(&mut self, _: usize, _: usize, _: Duration, _: Duration, _: bool) {}
}

/// In turn over who is alive; remembers what it is told.
#[derive(Default)]
struct InTurn {
    alive: Vec<usize>,
    count: usize,
    in_flight: i64,
    failed: u64,
}

impl Picker for &mut InTurn {
    fn alive(&mut self, _: Duration, backends: &[usize]) {
        self.alive = backends.to_vec();
    }

    fn pick(&mut self, _: usize, _: Duration) -> usize {
        self.count += 1;
        self.in_flight += 1;
        self.alive[self.count % self.alive.len()]
    }

    fn done(&mut self, _: usize, _: usize, _: Duration, _: Duration, ok: bool) {
        self.in_flight -= 1;
        self.failed += u64::from(!ok);
    }
}

fn assert_near(what: &str, found: f64, wanted: f64, tolerance: f64) {
    let off = (found / wanted - 1.0).abs();
    assert!(off < tolerance, "{what}: {found}, expected {wanted}");
}

/// The chance that an arrival finds all `k` workers busy, for an offered load of `a` workers (Erlang's C formula).
fn erlang_c(k: u32, a: f64) -> f64 {
    let mut term = 1.0;
    let mut sum = 1.0;
    for n in 1..k {
        term *= a / f64::from(n);
        sum += term;
    }
    let last = term * a / f64::from(k) * f64::from(k) / (f64::from(k) - a);
    last / (sum + last)
}

#[test]
fn one_backend_waits_as_theory_says() {
    // Mean 10 ms, so a load of rho means a response of 10 ms / (1 - rho) (M/M/1).
    for load in [30.0, 50.0, 80.0] {
        let text = format!(
            "duration: 1h\nwarm_up: 1m\ntimeout: 10m\narrivals: {{ load: {load}% }}\nbackends: [{{}}]"
        );
        let mean = case(&text).play_with("x", Always(0)).mean().as_secs_f64();
        assert_near("M/M/1", mean, 0.01 / (1.0 - load / 100.0), 0.05);
    }
}

#[test]
fn several_workers_wait_as_theory_says() {
    for (workers, load, minutes) in [(2, 0.7, 30), (4, 0.7, 15), (16, 0.8, 15)] {
        let text = format!(
            "duration: {minutes}m\nwarm_up: 1m\ntimeout: 10m\narrivals: {{ load: {}% }}\nbackends: [{{ workers: {workers} }}]",
            load * 100.0
        );
        let mean = case(&text).play_with("x", Always(0)).mean().as_secs_f64();
        let servers = f64::from(workers);
        let wait = erlang_c(workers, load * servers) * 0.01 / (servers * (1.0 - load));
        assert_near("M/M/k", mean - 0.01, wait, 0.05);
    }
}

#[test]
fn equal_requests_wait_half_as_long() {
    let text = "duration: 1h\ntimeout: 10m\narrivals: { load: 80% }\ncost: { distribution: constant }\nbackends: [{}]";
    let mean = case(text).play_with("x", Always(0)).mean().as_secs_f64();
    // Pollaczek and Khinchine for M/D/1: rho / (2 mu (1 - rho)).
    assert_near("M/D/1", mean - 0.01, 0.8 * 0.01 / (2.0 * 0.2), 0.05);
}

#[test]
fn random_split_is_as_many_single_backends() {
    let text = "duration: 10m\ntimeout: 10m\narrivals: { load: 70% }\nbackends: [{ count: 8 }]";
    let dice = Dice(fastrand::Rng::with_seed(3), 8);
    let mean = case(text).play_with("x", dice).mean().as_secs_f64();
    assert_near("8 x M/M/1", mean, 0.01 / 0.3, 0.05);
}

#[test]
fn ideal_over_one_backend_each_is_as_good_as_theory_allows() {
    // No rule that does not know costs is better than one queue for all (M/M/4), and random is far worse.
    let run =
        ideal("duration: 5m\ntimeout: 10m\narrivals: { load: 80% }\nbackends: [{ count: 4 }]");
    let mean = run.mean().as_secs_f64();
    let central = 0.01 + erlang_c(4, 3.2) * 0.01 / (4.0 * 0.2);
    assert!(
        mean > central && mean < 1.35 * central,
        "{mean}, one queue: {central}"
    );
}

#[test]
fn ideal_shares_by_speed_and_keeps_equals_even() {
    let run =
        ideal("arrivals: { load: 95% }\nbackends: [{ speed: 1 }, { speed: 2 }, { speed: 4 }]");
    let all: u64 = run.shares.iter().sum();
    for (share, fair) in run.shares.iter().zip([1.0, 2.0, 4.0]) {
        assert_near("share", *share as f64 / all as f64, fair / 7.0, 0.12);
    }
    // With little to do everything goes to the fastest.
    let run =
        ideal("arrivals: { load: 10% }\nbackends: [{ speed: 1 }, { speed: 2 }, { speed: 4 }]");
    let all: u64 = run.shares.iter().sum();
    assert!(run.shares[2] * 10 > all * 8, "{:?}", run.shares);
    let run = ideal("arrivals: { load: 5% }\nbackends: [{ count: 4 }]");
    let (least, most) = (run.shares.iter().min(), run.shares.iter().max());
    assert!(most.unwrap() - least.unwrap() < 40, "{:?}", run.shares);
}

#[test]
fn ideal_avoids_every_fault_that_it_can() {
    for fault in ["fail: on", "crash: true", "hang: true", "pause: true"] {
        let run = ideal(&format!(
            "arrivals: {{ load: 40% }}\nbackends: [{{ count: 4 }}]\nfaults: [{{ at: 10s, for: 20s, backends: 0, {fault} }}]"
        ));
        // What was in flight when it began could not know.
        assert!(run.counts.errors() <= 10, "{fault}: {:?}", run.counts);
        let meanwhile = &run.series.points[11..30];
        let picked: u32 = meanwhile.iter().map(|point| point.shares[0]).sum();
        assert_eq!(picked, 0, "{fault}");
    }
}

#[test]
fn ideal_waits_for_the_end_of_a_pause_rather_than_fail() {
    let run = ideal(
        "arrivals: { load: 10% }\nbackends: [{ count: 2 }]\n\
         faults: [{ at: 10s, for: 1s, backends: 0, pause: true }, { at: 10s, for: 1s, backends: 1, fail: on }]",
    );
    assert_eq!(run.counts.errors(), 0);
    assert!(run.max() > Duration::from_millis(950), "{:?}", run.max());
}

const STEADY: &str =
    "cost: { distribution: constant }\narrivals: { rate: 10, process: constant }\nduration: 20s\n";

#[test]
fn failing_backend_answers_at_once_without_working() {
    let text = format!(
        "{STEADY}backends: [{{}}]\nfaults: [{{ at: 10s, backends: 0, fail: {{ after: 3ms }} }}]"
    );
    let run = case(&text).play_with("x", Always(0));
    assert_eq!((run.counts.requests, run.counts.failed), (199, 100));
    assert_eq!(run.latency.len(), 99);
}

#[test]
fn some_fail_where_some_should() {
    let text = "backends: [{}]\nduration: 5m\nfaults: [{ backends: 0, fail: { rate: 30% } }]\nbackground_errors: 10%";
    let run = case(text).play_with("x", Always(0));
    assert_near("errors", run.counts.error_rate(), 0.37, 0.03);
}

#[test]
fn pause_delays_work_by_its_length_and_loses_none() {
    // At 9.995 s a request of 10 ms begins that a pause interrupts half done.
    let text = "cost: { distribution: constant }\nduration: 20s\nbackends: [{}]\n\
                arrivals: { rate: 0.1000500250125, process: constant }\n\
                faults: [{ at: 10s, for: 2s, backends: 0, pause: true }]";
    let run = case(text).play_with("x", Always(0));
    assert_eq!((run.counts.requests, run.counts.errors()), (2, 0));
    assert_eq!(run.max().as_millis(), 2010);
    // Those that come meanwhile are begun after it.
    let text = format!(
        "{STEADY}backends: [{{}}]\nfaults: [{{ at: 10s, for: 2s, backends: 0, pause: true }}]"
    );
    let run = case(&text).play_with("x", Always(0));
    assert_eq!(run.counts.errors(), 0);
    assert_eq!(run.max().as_millis(), 2010);
}

#[test]
fn crash_breaks_what_is_in_flight_and_refuses_the_rest() {
    let text = "cost: { mean: 1s, distribution: constant }\narrivals: { rate: 4, process: constant }\nduration: 20s\n\
                backends: [{ workers: 2 }]\nhealth: off\nfaults: [{ at: 10100ms, for: 5s, backends: 0, crash: true }]";
    let run = case(text).play_with("x", Always(0));
    assert!(run.counts.broken > 2, "{:?}", run.counts);
    assert_eq!(run.counts.refused, 20);
    assert_eq!(run.counts.failed, 0);
}

#[test]
fn hanging_backend_answers_nobody_and_clients_give_up() {
    let text = format!(
        "{STEADY}timeout: 1s\nhealth: off\nbackends: [{{}}]\nfaults: [{{ at: 10s, for: 5s, backends: 0, hang: true }}]"
    );
    let run = case(&text).play_with("x", Always(0));
    assert_eq!(run.counts.timed_out, 50);
    assert_eq!(run.max().as_millis(), 1000);
}

#[test]
fn who_gave_up_is_still_worked_for() {
    // Twice as much as it can do: without patience nearly nobody is answered in the end.
    let text = "cost: { mean: 100ms, distribution: constant }\narrivals: { rate: 20, process: constant }\nduration: 60s\n\
                timeout: 1s\nbackends: [{}]";
    let run = case(text).play_with("x", Always(0));
    assert!(run.counts.error_rate() > 0.95, "{:?}", run.counts);
}

#[test]
fn health_checks_see_crashed_and_hanging_backends_only() {
    for (fault, seen) in [
        ("crash: true", true),
        ("hang: true", true),
        ("fail: on", false),
    ] {
        let text = format!(
            "{STEADY}backends: [{{ count: 2 }}]\nfaults: [{{ at: 5s, backends: 0, {fault} }}]"
        );
        let mut picker = InTurn::default();
        let run = case(&text).play_with("x", &mut picker);
        let late: u32 = run.series.points[8..]
            .iter()
            .map(|point| point.shares[0])
            .sum();
        assert_eq!(late == 0, seen, "{fault}: {late}");
        assert_eq!(picker.in_flight, 0, "{fault}: every pick has its end");
        assert_eq!(picker.failed, run.counts.errors(), "{fault}");
    }
}

#[test]
fn slow_and_cold_backends_take_as_long_as_they_should() {
    let run = |fault: &str| {
        let text =
            format!("{STEADY}backends: [{{}}]\nfaults: [{{ at: 10s, backends: 0, {fault} }}]");
        let run = case(&text).play_with("x", Always(0));
        let points = run.series.points.iter();
        points
            .map(|point| point.p99.unwrap().as_millis())
            .collect::<Vec<_>>()
    };
    let slow = run("slow: 5");
    let near = |wanted: u128| move |p99: &u128| p99.abs_diff(wanted) <= 1;
    assert!(
        slow[..10].iter().all(near(10)) && slow[10..].iter().all(near(50)),
        "{slow:?}"
    );
    let cold = run("cold: { from: 9, over: 5s }");
    assert!(
        cold[10] > 80 && cold[12] < 70 && cold[14] > 11 && cold[16] == 10,
        "{cold:?}"
    );
}

#[test]
fn every_strategy_meets_the_same_requests() {
    let case = case(
        "duration: 10s\nbackends: [{ count: 3 }]\nbackground_errors: 5%\ncost: { distribution: { lognormal: { cv: 2 } } }",
    );
    let comparison = compare(&case, &Contestant::all(), &Config::default(), &mut |_| {});
    assert_eq!(comparison.runs[0].strategy, IDEAL);
    for run in &comparison.runs {
        assert_eq!(run.counts, comparison.runs[0].counts, "{}", run.strategy);
    }
}
