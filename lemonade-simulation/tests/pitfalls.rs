//! The mistakes that balancing rules are known for, each with the naive rule that makes it and ours, which must not. Where a naive
//! rule did not fail its property, the property would prove nothing.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use lemonade_config::{Document, Environment, Format};
use lemonade_load_balancer::config::Config;
use lemonade_load_balancer::simulated::{Balancer, Setup};
use lemonade_load_balancer::strategy::Name;
use lemonade_simulation::report::{Comparison, Run};
use lemonade_simulation::scenario::Scenario;
use lemonade_simulation::{Case, Contestant, Picker, compare};
use proptest::prelude::{ProptestConfig, any, prop_assert, proptest};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

/// Strategies that look at what a backend does.
const ATTENTIVE: [Name; 6] = [
    Name::LeastConnections,
    Name::FastestResponseTime,
    Name::PowerOfTwo,
    Name::PeakEwma,
    Name::LeastDelay,
    Name::Adaptive,
];

fn scenario(text: &str, seed: u64) -> Scenario {
    let document = Document::parse("pitfall.yaml", Format::Yaml, text, &Environment::default());
    let scenario = Scenario::decode(&document.unwrap()).unwrap();
    Scenario { seed, ..scenario }
}

fn balancer(name: Name, scenario: &Scenario) -> Balancer {
    let weights = scenario.backends.iter().map(|backend| backend.weight);
    Balancer::new(&Setup {
        strategy: name,
        weights: weights.collect(),
        replicas: scenario.replicas,
        shared: scenario.shared,
        seed: scenario.seed,
        config: Config::default(),
    })
}

fn play(scenario: &Scenario, picker: impl Picker) -> Run {
    Case::from(scenario.clone()).play_with("played", picker)
}

fn ours(name: Name, scenario: &Scenario) -> Run {
    play(scenario, balancer(name, scenario))
}

/// Every share by what would be fair.
fn shares(run: &Run) -> Vec<f64> {
    let all: u64 = run.shares.iter().sum();
    let fair = all as f64 / run.shares.len() as f64;
    run.shares
        .iter()
        .map(|share| *share as f64 / fair)
        .collect()
}

fn most(run: &Run) -> f64 {
    shares(run).into_iter().fold(0.0, f64::max)
}

fn least(run: &Run) -> f64 {
    shares(run).into_iter().fold(f64::INFINITY, f64::min)
}

/// The share of one backend between two times, by what would be fair.
fn share_between(run: &Run, backend: usize, from: u64, until: u64) -> f64 {
    let points = run.series.points.iter().enumerate();
    let within = points.filter(|(second, _)| {
        let at = run.series.step * *second as u32;
        at >= Duration::from_secs(from) && at < Duration::from_secs(until)
    });
    let (mut own, mut all, mut count) = (0, 0, 1);
    for (_, point) in within {
        own += point.shares[backend];
        all += point.shares.iter().sum::<u32>();
        count = point.shares.len();
    }
    f64::from(own) * count as f64 / f64::from(all.max(1))
}

/// What a naive rule knows of a backend.
#[derive(Clone, Debug, Default)]
struct Known {
    in_flight: u32,
    /// The mean over everything that came back, errors as well; zero if nothing did.
    seconds: f64,
    count: u32,
    alive: bool,
}

/// A rule that scores each backend by what is known of it; the first of the lowest is picked. Nothing is ejected.
struct Naive {
    score: fn(&Known) -> f64,
    replicas: Vec<Vec<Known>>,
}

impl Naive {
    fn new(scenario: &Scenario, score: fn(&Known) -> f64) -> Self {
        Naive {
            score,
            replicas: vec![vec![Known::default(); scenario.backends.len()]; scenario.replicas],
        }
    }
}

impl Picker for Naive {
    fn alive(&mut self, _: Duration, backends: &[usize]) {
        for replica in &mut self.replicas {
            for (number, known) in replica.iter_mut().enumerate() {
                let alive = backends.contains(&number);
                if alive && !known.alive {
                    (known.seconds, known.count) = (0.0, 0);
                }
                known.alive = alive;
            }
        }
    }

    fn pick(&mut self, replica: usize, _: Duration) -> usize {
        let known = &mut self.replicas[replica];
        let alive = (0..known.len()).filter(|number| known[*number].alive);
        let score = |number: &usize| (self.score)(&known[*number]);
        let picked = alive.min_by(|a, b| score(a).total_cmp(&score(b))).unwrap();
        known[picked].in_flight += 1;
        picked
    }

    fn done(&mut self, replica: usize, backend: usize, _: Duration, latency: Duration, _: bool) {
        let known = &mut self.replicas[replica][backend];
        known.in_flight -= 1;
        known.count += 1;
        known.seconds += (latency.as_secs_f64() - known.seconds) / f64::from(known.count);
    }
}

/// The fewest in flight.
fn fewest(known: &Known) -> f64 {
    f64::from(known.in_flight)
}

/// The lowest average.
fn fastest(known: &Known) -> f64 {
    known.seconds
}

/// Notes the longest time for which a backend that is eligible got nothing.
struct Watched<P> {
    picker: P,
    last: Vec<Duration>,
    alive: Vec<bool>,
    longest: Rc<RefCell<Duration>>,
}

impl<P: Picker> Picker for Watched<P> {
    fn alive(&mut self, now: Duration, backends: &[usize]) {
        for number in 0..self.alive.len() {
            let alive = backends.contains(&number);
            if alive && !self.alive[number] {
                self.last[number] = now;
            }
            self.alive[number] = alive;
        }
        self.picker.alive(now, backends);
    }

    fn pick(&mut self, replica: usize, now: Duration) -> usize {
        let picked = self.picker.pick(replica, now);
        self.last[picked] = now;
        let alive = self
            .last
            .iter()
            .zip(&self.alive)
            .filter(|(_, alive)| **alive);
        let longest = alive.map(|(last, _)| now - *last).max().unwrap();
        let mut known = self.longest.borrow_mut();
        *known = longest.max(*known);
        picked
    }

    fn done(&mut self, replica: usize, backend: usize, now: Duration, latency: Duration, ok: bool) {
        self.picker.done(replica, backend, now, latency, ok);
    }
}

fn longest_gap(name: Name, scenario: &Scenario) -> Duration {
    let longest = Rc::new(RefCell::new(Duration::ZERO));
    let size = scenario.backends.len();
    play(
        scenario,
        Watched {
            picker: balancer(name, scenario),
            last: vec![Duration::ZERO; size],
            alive: vec![false; size],
            longest: longest.clone(),
        },
    );
    longest.take()
}

fn compared(scenario: Scenario, name: Name) -> Comparison {
    let contestants = [Contestant::Ideal, Contestant::Strategy(name)];
    compare(
        &Case::from(scenario),
        &contestants,
        &Config::default(),
        &mut |_| {},
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, max_shrink_iters: 0, ..ProptestConfig::default() })]

    /// At light load nearly all is a tie. Whoever gives ties to the first sends everything there.
    #[test]
    fn ties_go_round(seed in any::<u64>()) {
        let scenario = scenario("{duration: 20s, arrivals: {load: 10%}, cost: {mean: 10ms, distribution: constant}, backends: [{count: 8}]}", seed);
        prop_assert!(most(&play(&scenario, Naive::new(&scenario, fewest))) > 3.0);
        for name in ATTENTIVE {
            let most = most(&ours(name, &scenario));
            prop_assert!(most < 1.35, "{name}: {most}");
        }
    }

    /// A bad beginning, and whoever goes by averages alone never asks there again. Mostly that is the backend that was slow; now and
    /// then its first answer was quick by chance, and the others are forgotten.
    #[test]
    fn bad_beginning_starves_nobody(seed in any::<u64>()) {
        let scenario = scenario("{duration: 60s, arrivals: {load: 5%}, backends: [{count: 8}], faults: [{at: 0s, for: 3s, backends: 5, slow: 10}]}", seed);
        let naive = play(&scenario, Naive::new(&scenario, fastest));
        let naive = (0..8).map(|backend| share_between(&naive, backend, 30, 60)).fold(f64::INFINITY, f64::min);
        prop_assert!(naive < 0.01, "{naive}");
        for name in ATTENTIVE {
            let share = share_between(&ours(name, &scenario), 5, 30, 60);
            prop_assert!(share > 0.04, "{name}: {share}");
        }
    }

    /// However even backends are, chance makes some look worse for a while.
    #[test]
    fn equal_backends_get_half_of_their_share_at_least(seed in any::<u64>(), load in 40u32..95) {
        let scenario = scenario(&format!("{{duration: 60s, arrivals: {{load: {load}%}}, backends: [{{count: 8}}]}}"), seed);
        for name in Name::ALL {
            let least = least(&ours(name, &scenario));
            prop_assert!(least > 0.5 || name.wants_key(), "{name}: {least}");
        }
    }

    /// With a request now and then everybody is idle and was left out for long.
    #[test]
    fn few_requests_go_round(seed in any::<u64>(), rate in 1u32..8) {
        let scenario = scenario(&format!("{{duration: 200s, arrivals: {{rate: {rate}}}, backends: [{{count: 8}}]}}"), seed);
        prop_assert!(most(&play(&scenario, Naive::new(&scenario, fewest))) > 3.0);
        for name in [Name::LeastDelay, Name::Adaptive] {
            let least = least(&ours(name, &scenario));
            prop_assert!(least > 0.5, "{name}: {least}");
        }
    }

    /// A backend that fails at once looks fast and free.
    #[test]
    fn fast_failures_do_not_attract(seed in any::<u64>()) {
        let scenario = scenario("{duration: 40s, arrivals: {load: 60%}, backends: [{count: 8}], faults: [{at: 5s, for: 30s, backends: 3, fail: {after: 1ms}}]}", seed);
        prop_assert!(play(&scenario, Naive::new(&scenario, fewest)).counts.errors() > 1000);
        for name in ATTENTIVE {
            let errors = ours(name, &scenario).counts.errors();
            let most = if name == Name::Adaptive { 12 } else { 20 };
            prop_assert!(errors <= most, "{name}: {errors}");
        }
    }

    /// Whoever was away comes back cold, and nobody knows how fast it is: it must not be flooded for that.
    #[test]
    fn who_comes_back_cold_is_not_flooded(seed in any::<u64>()) {
        let scenario = scenario("{duration: 20s, arrivals: {load: 60%}, backends: [{count: 8}], health: {interval: 1s, fall: 1, rise: 1}, \
            faults: [{at: 3s, for: 3s, backends: 0, crash: true}, {at: 6s, backends: 0, cold: {from: 10, over: 5s}}]}", seed);
        let flooded = share_between(&play(&scenario, Naive::new(&scenario, fastest)), 0, 6, 8);
        prop_assert!(flooded > 1.4, "{flooded}");
        for name in ATTENTIVE {
            let share = share_between(&ours(name, &scenario), 0, 6, 8);
            prop_assert!(share < 1.3, "{name}: {share}");
        }
    }

    /// Proxies that know nothing of each other all run to the one that looked best a moment ago.
    #[test]
    fn replicas_do_not_run_in_a_herd(seed in any::<u64>()) {
        let scenario = scenario("{duration: 15s, replicas: 8, arrivals: {load: 70%}, backends: [{count: 8}]}", seed);
        let case = Case::from(scenario.clone());
        let naive = case.play_with("naive", Naive::new(&scenario, fastest)).latency(0.99);
        for name in [Name::LeastDelay, Name::Adaptive] {
            let comparison = compared(scenario.clone(), name);
            let ratio = comparison.ratio_to_ideal(&comparison.runs[1]).unwrap();
            prop_assert!(ratio < 2.0, "{name}: {ratio}");
            let ideal = comparison.runs[0].latency(0.99);
            prop_assert!(naive > ideal * 4, "{naive:?}, {ideal:?}");
        }
    }

    /// However slow it is: what is known of a backend must not be older than 5 s.
    #[test]
    fn nobody_eligible_is_left_out_for_long(seed in any::<u64>()) {
        let scenario = scenario("{duration: 30s, arrivals: {load: 40%}, backends: [{count: 4, speed: 4}, {count: 4}], faults: [{at: 10s, for: 5s, backends: 1, slow: 10}]}", seed);
        for name in [Name::FastestResponseTime, Name::LeastDelay, Name::Adaptive] {
            let gap = longest_gap(name, &scenario);
            prop_assert!(gap < Duration::from_secs(5), "{name}: {gap:?}");
        }
    }

    /// Whatever was wrong: 20 s after its end a backend carries its part again.
    #[test]
    fn who_is_well_again_carries_its_part(seed in any::<u64>(), fault in 0usize..5, workers in 1u32..5) {
        let fault = ["crash: true", "hang: true", "fail: {after: 1ms}", "slow: 10", "pause: true"][fault];
        let scenario = scenario(&format!("{{duration: 60s, arrivals: {{load: 60%}}, backends: [{{count: 8, workers: {workers}}}], faults: [{{at: 5s, for: 15s, backends: 2, {fault}}}]}}"), seed);
        for name in [Name::LeastDelay, Name::Adaptive] {
            let run = ours(name, &scenario);
            // Four fifths, less what chance makes of equal backends within 20 s.
            let share = share_between(&run, 2, 40, 60);
            prop_assert!(share > 0.7, "{name} after {fault}: {share}");
        }
    }

    /// The shards of one process are one balancer, not several that are blind for each other.
    #[test]
    fn shards_balance_as_one(seed in any::<u64>()) {
        let text = |rest: &str| format!("{{duration: 30s, arrivals: {{load: 80%}}, backends: [{{count: 6}}, {{count: 2, speed: 3}}]{rest}}}");
        let p99 = |rest: &str| {
            let scenario = scenario(&text(rest), seed);
            ours(Name::Adaptive, &scenario).latency(0.99).as_secs_f64()
        };
        let (one, shards, apart) = (p99(""), p99(", replicas: 8, shared: true"), p99(", replicas: 8"));
        prop_assert!(shards < one * 1.1 && apart > one * 1.15, "{one} {shards} {apart}");
    }
}
