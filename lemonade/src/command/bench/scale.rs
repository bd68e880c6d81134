//! A scenario as this machine, and its user's patience, can play it.
//!
//! Fewer requests a second, each of which costs more: the pool is as busy as the scenario says, everything that belongs to single
//! requests takes so many times as long, and events keep their times. Or all events in another time, and requests as they are. Neither
//! touches health checks.

use lemonade_simulation::scenario::{Kind, Scenario};
use std::time::Duration;

/// Requests a second that a processor copes with, with the clients, the balancer and the workers all on it, and time to spare: at
/// more than that they wait for it, and not for the workers. An unoptimised build took 0.34 processors for 582 a second to eight
/// workers, so there is room for slower machines.
const RATE_PER_CORE: f64 = 400.0;

/// Requests a second on average.
pub(super) fn rate(scenario: &Scenario) -> f64 {
    scenario.arrivals.expected(scenario.duration) / scenario.duration.as_secs_f64()
}

/// What this machine may be asked for, if the scenario asks for more.
pub(super) fn affordable(scenario: &Scenario, cores: usize) -> f64 {
    rate(scenario).min(RATE_PER_CORE * cores as f64)
}

/// The scenario at `wanted` requests a second on average; how many times as long its requests take.
pub(super) fn to_rate(mut scenario: Scenario, wanted: f64) -> (Scenario, f64) {
    let times = rate(&scenario) / wanted;
    for step in &mut scenario.arrivals.steps {
        step.rate /= times;
    }
    scenario.cost.mean = scenario.cost.mean.mul_f64(times);
    scenario.timeout = scenario.timeout.mul_f64(times);
    for fault in &mut scenario.faults {
        if let Kind::Fail(failing) = &mut fault.kind {
            failing.after = failing.after.mul_f64(times);
        }
    }
    (scenario, times)
}

/// The scenario with all its events in another time.
pub(super) fn to_duration(mut scenario: Scenario, wanted: Duration) -> Scenario {
    let times = wanted.as_secs_f64() / scenario.duration.as_secs_f64();
    let scale = |time: &mut Duration| *time = time.mul_f64(times);
    scenario.duration = wanted;
    scale(&mut scenario.warm_up);
    for step in &mut scenario.arrivals.steps {
        scale(&mut step.at);
    }
    if let Some(bursts) = &mut scenario.arrivals.bursts {
        scale(&mut bursts.every);
        scale(&mut bursts.lasts);
    }
    for fault in &mut scenario.faults {
        scale(&mut fault.at);
        fault.lasts.as_mut().map(scale);
        fault.every.as_mut().map(scale);
        if let Kind::Cold { over, .. } = &mut fault.kind {
            scale(over);
        }
    }
    scenario
}

#[cfg(test)]
mod tests {
    use super::*;
    use lemonade_config::{Document, Environment, Format};

    fn scenario() -> Scenario {
        let text = "backends: [{ count: 10 }]\narrivals: { rate: 800, steps: [{ at: 30s, rate: 400 }] }\n\
                    cost: { mean: 10ms }\nfaults: [{ at: 1s, backends: 0, fail: { after: 2ms } }]";
        let document = Document::parse("s.yaml", Format::Yaml, text, &Environment::default());
        Scenario::decode(&document.unwrap()).unwrap()
    }

    #[test]
    fn slower_pool_is_as_busy() {
        let before = scenario();
        let (after, times) = to_rate(before.clone(), 150.0);
        assert_eq!(times, 4.0);
        assert_eq!(rate(&after), 150.0);
        assert_eq!(after.cost.mean, Duration::from_millis(40));
        assert_eq!(after.timeout, 4 * before.timeout);
        let busy = |scenario: &Scenario| rate(scenario) / scenario.capacity();
        assert!((busy(&after) - busy(&before)).abs() < 1e-9);
        assert_eq!(after.faults[0].at, before.faults[0].at);
        assert!(
            matches!(after.faults[0].kind, Kind::Fail(f) if f.after == Duration::from_millis(8))
        );
    }

    #[test]
    fn events_keep_their_order_in_another_time() {
        let before = scenario();
        let after = to_duration(before.clone(), before.duration / 20);
        assert_eq!(after, before.shortened(20));
    }

    #[test]
    fn small_machines_are_asked_for_less() {
        assert_eq!(affordable(&scenario(), 1), 400.0);
        assert_eq!(affordable(&scenario(), 64), 600.0);
    }
}
