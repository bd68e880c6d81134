//! From what was written to what can be played: the only way to a [`Scenario`], and the one place that knows every bound.

use super::raw::{
    RawArrivals, RawBursts, RawCold, RawCost, RawDistribution, RawFail, RawFault, RawGroup,
    RawHealth, RawProcess, RawScenario, RawStep,
};
use super::{
    Arrivals, Backend, Bursts, Cost, Distribution, Failing, Fault, Health, Kind, MAX_BACKENDS,
    MAX_REQUESTS, Process, Scenario, Step,
};
use lemonade_config::{
    Document, Fault as Mistake, Faults as Mistakes, Located, Percent, RawDuration, Switch,
    format_duration,
};
use std::collections::HashSet;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const RATES: RangeInclusive<f64> = 1e-3..=1e7;
const TIMES: RangeInclusive<f64> = 0.001..=10_000.0;

/// Beyond that a file with a slip of `every` would fill the memory.
const MAX_CHANGES: f64 = 200_000.0;

pub(super) fn scenario(document: &Document) -> Result<Scenario, Mistakes> {
    let (raw, mistakes) = document.decode::<RawScenario>();
    let mut check = Check { document, mistakes };
    let scenario = check.scenario(raw.unwrap_or_default());
    Mistakes::check(check.mistakes)?;
    Ok(scenario)
}

/// A check under way: what it has found so far.
struct Check<'d> {
    document: &'d Document,
    mistakes: Vec<Mistake>,
}

impl Check<'_> {
    fn mistake(&mut self, path: &str, problem: impl Into<String>) {
        self.mistakes.push(self.document.fault(path, problem));
    }

    fn scenario(&mut self, raw: RawScenario) -> Scenario {
        let duration = self.duration("duration", raw.duration, SECOND..=HOUR, MINUTE);
        let warm_up = raw.warm_up.map_or(Duration::ZERO, RawDuration::or_millis);
        if warm_up >= duration {
            self.mistake("warm_up", "expected less than `duration`");
        }
        let backends = self.backends(raw.backends);
        let cost = self.cost(raw.cost);
        let pool: f64 = backends.iter().map(Backend::capacity).sum();
        let capacity = pool / cost.mean.as_secs_f64();
        let arrivals = self.arrivals(raw.arrivals, capacity);
        // `expected` walks from burst to burst: not before the bounds of their lengths are known to hold.
        if self.mistakes.is_empty() && arrivals.expected(duration) > MAX_REQUESTS {
            let problem = format!("more than {MAX_REQUESTS} requests in all");
            self.mistake("arrivals", problem);
        }
        let faults = self.faults(raw.faults, backends.len(), duration);
        let patience = MILLISECOND..=10 * MINUTE;
        Scenario {
            name: stem(self.document.name()),
            about: raw.about.unwrap_or_default(),
            seed: raw.seed.unwrap_or(1),
            duration,
            warm_up,
            timeout: self.duration("timeout", raw.timeout, patience, 5 * SECOND),
            arrivals,
            cost,
            replicas: self.within("replicas", raw.replicas, 1..=1000, 1) as usize,
            shared: raw.shared,
            backends,
            health: self.health(raw.health),
            faults,
            background_errors: raw.background_errors.map_or(0.0, Percent::fraction),
        }
    }

    fn backends(&mut self, groups: Vec<Located<RawGroup>>) -> Vec<Backend> {
        let mut backends = Vec::new();
        for Located { path, value: raw } in groups {
            let within = |key: &str| format!("{path}.{key}");
            let count = self.within(&within("count"), raw.count, 1..=1000, 1) as usize;
            if backends.len() + count > MAX_BACKENDS {
                let problem = format!("more than {MAX_BACKENDS} backends in all");
                self.mistake(&path, problem);
                break;
            }
            let speed = self.within(&within("speed"), raw.speed, 0.001..=1000.0, 1.0);
            let workers = self.within(&within("workers"), raw.workers, 1..=10_000, 1) as usize;
            let weight = self.within(&within("weight"), raw.weight, 1..=65_535, 1);
            for number in 0..count {
                let name = match &raw.name {
                    None => format!("b{}", backends.len()),
                    Some(name) if count == 1 => name.clone(),
                    Some(name) => format!("{name}-{number}"),
                };
                backends.push(Backend {
                    name,
                    speed,
                    workers,
                    weight,
                });
            }
        }
        if backends.is_empty() && self.mistakes.is_empty() {
            self.mistake("backends", "expected at least one group of backends");
        }
        let mut names = HashSet::new();
        if let Some(twice) = backends.iter().find(|backend| !names.insert(&backend.name)) {
            self.mistake("backends", format!("two are called `{}`", twice.name));
        }
        backends
    }

    fn cost(&mut self, raw: RawCost) -> Cost {
        let bounds = Duration::from_micros(1)..=MINUTE;
        let mean = self.duration("cost.mean", raw.mean, bounds, 10 * MILLISECOND);
        let distribution = match raw.distribution {
            None | Some(RawDistribution::Exponential) => Distribution::Exponential,
            Some(RawDistribution::Constant) => Distribution::Constant,
            Some(RawDistribution::Lognormal(raw)) => Distribution::Lognormal {
                cv: self.within("cost.distribution.lognormal.cv", raw.cv, 0.01..=20.0, 1.0),
            },
            Some(RawDistribution::Pareto(raw)) => Distribution::Pareto {
                shape: self.within(
                    "cost.distribution.pareto.shape",
                    raw.shape,
                    1.01..=100.0,
                    2.1,
                ),
            },
            Some(RawDistribution::Bimodal(raw)) => Distribution::Bimodal {
                share: raw.share.unwrap_or(Percent::whole(5)).fraction(),
                times: self.within("cost.distribution.bimodal.times", raw.times, TIMES, 20.0),
            },
        };
        Cost { mean, distribution }
    }

    fn arrivals(&mut self, raw: RawArrivals, capacity: f64) -> Arrivals {
        let default = 0.8 * capacity;
        let rate = self.rate("arrivals", raw.load, raw.rate, capacity);
        let mut steps = vec![Step {
            at: Duration::ZERO,
            rate: rate.unwrap_or(default),
        }];
        for Located { path, value } in raw.steps {
            let step = self.step(&path, &value, capacity);
            if steps.last().is_some_and(|last| step.at <= last.at) {
                let problem = "expected later than the step before, and than the beginning";
                self.mistake(&format!("{path}.at"), problem);
            }
            steps.push(step);
        }
        Arrivals {
            process: match raw.process {
                None | Some(RawProcess::Poisson) => Process::Poisson,
                Some(RawProcess::Constant) => Process::Constant,
            },
            steps,
            bursts: raw.bursts.map(|raw| self.bursts(&raw)),
        }
    }

    fn step(&mut self, path: &str, raw: &RawStep, capacity: f64) -> Step {
        if raw.at.is_none() {
            self.missing(path, "at");
        }
        let rate = self.rate(path, raw.load, raw.rate, capacity);
        let written = ["load", "rate"].map(|key| self.document.has(&format!("{path}.{key}")));
        if rate.is_none() && written == [false, false] {
            self.mistake(path, "expected `load` or `rate`");
        }
        Step {
            at: raw.at.map_or(Duration::ZERO, RawDuration::or_millis),
            rate: rate.unwrap_or(1.0),
        }
    }

    /// Requests a second, however they were written.
    fn rate(
        &mut self,
        path: &str,
        load: Option<Percent>,
        rate: Option<f64>,
        capacity: f64,
    ) -> Option<f64> {
        if load.is_some() && rate.is_some() {
            let problem = "both `load` and `rate`: one says how many requests come";
            self.mistake(path, problem);
        }
        if load.is_some_and(|load| load.fraction() == 0.0) {
            self.mistake(&format!("{path}.load"), "expected more than 0%");
        }
        let rate = rate.map(|rate| self.within(&format!("{path}.rate"), Some(rate), RATES, 1.0));
        rate.or(load.map(|load| load.fraction() * capacity))
    }

    fn bursts(&mut self, raw: &RawBursts) -> Bursts {
        let every = self.duration(
            "arrivals.bursts.every",
            raw.every,
            10 * MILLISECOND..=HOUR,
            10 * SECOND,
        );
        let lasts = self.duration(
            "arrivals.bursts.for",
            raw.lasts,
            MILLISECOND..=HOUR,
            every / 10,
        );
        if lasts >= every {
            self.mistake("arrivals.bursts", "expected `for` to be less than `every`");
        }
        Bursts {
            every,
            lasts,
            times: self.within("arrivals.bursts.times", raw.times, 0.001..=1000.0, 3.0),
        }
    }

    fn health(&mut self, raw: Option<Switch<RawHealth>>) -> Option<Health> {
        let default = Health::default();
        let raw = raw.unwrap_or(Switch::On).or(RawHealth::default())?;
        let bounds = 10 * MILLISECOND..=10 * MINUTE;
        Some(Health {
            interval: self.duration("health.interval", raw.interval, bounds, default.interval),
            fall: self.within("health.fall", raw.fall, 1..=100, default.fall),
            rise: self.within("health.rise", raw.rise, 1..=100, default.rise),
        })
    }

    fn faults(
        &mut self,
        raw: Vec<Located<RawFault>>,
        backends: usize,
        duration: Duration,
    ) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut changes = 0.0;
        for Located { path, value } in raw {
            let Some(fault) = self.fault(&path, value, backends) else {
                continue;
            };
            let times = fault.every.map_or(1.0, |every| {
                1.0 + duration.as_secs_f64() / every.as_secs_f64()
            });
            changes += 2.0 * times * fault.backends.len() as f64;
            if changes > MAX_CHANGES {
                self.mistake(&path, "comes back too often");
                break;
            }
            faults.push(fault);
        }
        faults
    }

    fn fault(&mut self, path: &str, raw: RawFault, backends: usize) -> Option<Fault> {
        let whom = self.befallen(path, &raw.backends.0, backends);
        let at = raw.at.map_or(Duration::ZERO, RawDuration::or_millis);
        let lasts = self.positive(&format!("{path}.for"), raw.lasts);
        let every = self.positive(&format!("{path}.every"), raw.every);
        let kind = self.kind(path, raw)?;
        let lasts = match kind {
            Kind::Cold { over, .. } if lasts.is_none() => Some(over),
            Kind::Cold { .. } => {
                let problem = "a cold start lasts as long as its `over`";
                self.mistake(&format!("{path}.for"), problem);
                None
            }
            _ => lasts,
        };
        if let Some(every) = every
            && lasts.is_none_or(|lasts| lasts >= every)
        {
            let problem = "expected `for`, less than `every`: it must end to come back";
            self.mistake(path, problem);
        }
        Some(Fault {
            at,
            lasts,
            every,
            backends: whom,
            kind,
        })
    }

    fn befallen(&mut self, path: &str, written: &[u32], backends: usize) -> Vec<usize> {
        let path = format!("{path}.backends");
        let mut whom: Vec<usize> = written.iter().map(|index| *index as usize).collect();
        whom.sort_unstable();
        whom.dedup();
        if whom.is_empty() && self.mistakes.is_empty() {
            self.mistake(&path, "expected the numbers of backends, from 0");
        }
        if let Some(unknown) = whom.iter().find(|index| **index >= backends)
            && backends > 0
        {
            let last = backends - 1;
            let problem = format!("there is no backend {unknown}: they are numbered 0 to {last}");
            self.mistake(&path, problem);
        }
        whom
    }

    fn kind(&mut self, path: &str, raw: RawFault) -> Option<Kind> {
        let within = |key: &str| format!("{path}.{key}");
        let fail = raw.fail.and_then(|fail| fail.or(RawFail::default()));
        let cold = raw.cold.and_then(|cold| cold.or(RawCold::default()));
        let kinds = [
            raw.slow
                .map(|times| Kind::Slow(self.within(&within("slow"), Some(times), TIMES, 1.0))),
            fail.map(|raw| Kind::Fail(self.failing(path, &raw))),
            raw.pause.then_some(Kind::Pause),
            raw.crash.then_some(Kind::Crash),
            raw.hang.then_some(Kind::Hang),
            cold.map(|raw| self.cold(path, &raw)),
        ];
        let mut kinds = kinds.into_iter().flatten();
        match (kinds.next(), kinds.next()) {
            (Some(kind), None) => Some(kind),
            (None, _) if self.has_inside(path) => None,
            _ => {
                let problem = "expected one of `slow`, `fail`, `pause`, `crash`, `hang`, `cold`";
                self.mistake(path, problem);
                None
            }
        }
    }

    fn failing(&mut self, path: &str, raw: &RawFail) -> Failing {
        let rate = raw.rate.map_or(1.0, Percent::fraction);
        if rate == 0.0 {
            self.mistake(&format!("{path}.fail.rate"), "expected more than 0%");
        }
        let bounds = Duration::ZERO..=MINUTE;
        let after = self.duration(
            &format!("{path}.fail.after"),
            raw.after,
            bounds,
            MILLISECOND,
        );
        Failing { rate, after }
    }

    fn cold(&mut self, path: &str, raw: &RawCold) -> Kind {
        let from = format!("{path}.cold.from");
        let over = format!("{path}.cold.over");
        Kind::Cold {
            from: self.within(&from, raw.from, 1.0..=10_000.0, 10.0),
            over: self.duration(&over, raw.over, 10 * MILLISECOND..=HOUR, 10 * SECOND),
        }
    }

    fn within<T: PartialOrd + Display + Copy>(
        &mut self,
        path: &str,
        written: Option<T>,
        bounds: RangeInclusive<T>,
        default: T,
    ) -> T {
        match written {
            Some(value) if !bounds.contains(&value) => {
                let (least, most) = (bounds.start(), bounds.end());
                self.mistake(path, format!("expected {least} to {most}, found {value}"));
                default
            }
            Some(value) => value,
            None => default,
        }
    }

    fn duration(
        &mut self,
        path: &str,
        written: Option<RawDuration>,
        bounds: RangeInclusive<Duration>,
        default: Duration,
    ) -> Duration {
        let value = written.map_or(default, RawDuration::or_millis);
        if bounds.contains(&value) || written.is_none() {
            return value;
        }
        let [least, most, found] = [*bounds.start(), *bounds.end(), value].map(format_duration);
        self.mistake(path, format!("expected {least} to {most}, found {found}"));
        default
    }

    fn positive(&mut self, path: &str, written: Option<RawDuration>) -> Option<Duration> {
        let value = written?.or_millis();
        if value.is_zero() {
            self.mistake(path, "expected more than 0s");
            return None;
        }
        Some(value)
    }

    /// A key that must be there. One that is there and is not has a mistake of its own.
    fn missing(&mut self, path: &str, key: &str) {
        if !self.document.has(&format!("{path}.{key}")) {
            self.mistake(path, format!("the key `{key}` is missing"));
        }
    }

    fn has_inside(&self, path: &str) -> bool {
        self.mistakes.iter().any(|mistake| {
            let rest = mistake.path.strip_prefix(path);
            rest.is_some_and(|rest| rest.starts_with('.'))
        })
    }
}

fn stem(name: &str) -> String {
    let stem = Path::new(name).file_stem();
    stem.map_or_else(
        || name.to_owned(),
        |stem| stem.to_string_lossy().into_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use lemonade_config::{Environment, Format};
    use proptest::prelude::*;

    fn scenario(text: &str) -> Result<Scenario, Mistakes> {
        let document =
            Document::parse("s.yaml", Format::Yaml, text, &Environment::default()).unwrap();
        Scenario::decode(&document)
    }

    #[test]
    fn backends_alone_are_a_scenario() {
        let scenario = scenario("backends: [{ count: 4 }]").unwrap();
        assert_eq!(scenario.name, "s");
        assert_eq!(scenario.backends.len(), 4);
        assert_eq!(scenario.backends[3].name, "b3");
        assert_eq!(scenario.capacity(), 400.0);
        assert_eq!(scenario.arrivals.rate(Duration::ZERO), 320.0);
        assert_eq!(scenario.duration, MINUTE);
        assert_eq!(scenario.health, Some(Health::default()));
    }

    #[test]
    fn everything_that_may_be_written_is_read() {
        let scenario = scenario(
            "about: all of it\nseed: 7\nduration: 2m\nwarm_up: 10s\ntimeout: 1s\nreplicas: 3\nshared: true\n\
             arrivals:\n  rate: 500\n  process: constant\n  bursts: { every: 10s, for: 1s, times: 3 }\n\
             \x20 steps: [{ at: 20s, load: 95% }, { at: 30s, rate: 10 }]\n\
             cost: { mean: 20ms, distribution: { bimodal: { share: 5%, times: 20 } } }\n\
             backends: [{ count: 2, speed: 2, workers: 4, weight: 3, name: fast }, {}]\n\
             health: { interval: 500ms, fall: 3, rise: 2 }\n\
             faults:\n\
             - { at: 10s, for: 5s, every: 30s, backends: [2, 0], slow: 10 }\n\
             - { backends: 1, fail: on }\n\
             - { at: 1s, backends: 1, fail: { rate: 30%, after: 2ms } }\n\
             - { at: 1s, for: 1s, backends: 1, pause: true }\n\
             - { at: 1s, for: 1s, backends: 1, crash: true }\n\
             - { at: 1s, for: 1s, backends: 1, hang: true }\n\
             - { at: 1s, backends: 1, cold: { from: 5, over: 3s } }\n\
             background_errors: 1%\n",
        )
        .unwrap();
        let names: Vec<_> = scenario.backends.iter().map(|b| b.name.as_str()).collect();
        assert_eq!(names, ["fast-0", "fast-1", "b2"]);
        let rates = [0, 10, 11, 20, 25, 30].map(|at| scenario.arrivals.rate(SECOND * at));
        assert_eq!(rates, [500.0, 1500.0, 500.0, 2422.5, 807.5, 30.0]);
        assert_eq!(scenario.faults[0].backends, [0, 2]);
        let kinds: Vec<_> = scenario.faults.iter().map(|f| f.kind.as_str()).collect();
        let written = ["slow", "fail", "fail", "pause", "crash", "hang", "cold"];
        assert_eq!(kinds, written);
        assert_eq!(scenario.faults[6].lasts, Some(3 * SECOND));
        assert_eq!(scenario.background_errors, 0.01);
    }

    #[test]
    fn every_mistake_has_its_place() {
        let mistakes = scenario(
            "abuot: x\n\
             duration: 0s\n\
             arrivals: { load: 50%, rate: 5, steps: [{ at: 1s }, { load: 10% }] }\n\
             cost: { distribution: { paretto: {} } }\n\
             backends: [{ count: 2, speed: 0 }]\n\
             faults:\n\
             - { backends: [2], slow: 2, hang: true }\n\
             - { backends: [1], every: 1s, pause: true }\n\
             - { backends: [1], slow: ten }\n",
        );
        assert_eq!(
            mistakes.unwrap_err().to_string(),
            "12 faults\n\
             s.yaml:1:1: abuot: unknown key (did you mean `about`?)\n\
             s.yaml:2:11: duration: expected 1s to 1h, found 0s\n\
             s.yaml:3:11: arrivals: both `load` and `rate`: one says how many requests come\n\
             s.yaml:3:41: arrivals.steps[0]: expected `load` or `rate`\n\
             s.yaml:3:53: arrivals.steps[1]: the key `at` is missing\n\
             s.yaml:3:53: arrivals.steps[1].at: expected later than the step before, and than the beginning\n\
             s.yaml:4:25: cost.distribution.paretto: unknown value `paretto`, expected one of `constant`, `exponential`, `lognormal`, `pareto`, `bimodal` (did you mean `pareto`?)\n\
             s.yaml:5:31: backends[0].speed: expected 0.001 to 1000, found 0\n\
             s.yaml:7:3: faults[0]: expected one of `slow`, `fail`, `pause`, `crash`, `hang`, `cold`\n\
             s.yaml:7:15: faults[0].backends: there is no backend 2: they are numbered 0 to 1\n\
             s.yaml:8:3: faults[1]: expected `for`, less than `every`: it must end to come back\n\
             s.yaml:9:26: faults[2].slow: expected a number, found the string `ten`"
        );
    }

    #[test]
    fn what_would_fill_the_memory_is_refused() {
        for text in [
            "backends: [{ count: 1000 }, {}]",
            "backends: [{}]\narrivals: { rate: 1e7 }",
            "backends: [{}]\nfaults: [{ for: 1us, every: 2us, backends: 0, pause: true }]",
            "",
        ] {
            assert!(scenario(text).is_err(), "{text}");
        }
    }

    proptest! {
        /// Whatever numbers are written, a scenario that is accepted can be asked for its rates and changes.
        #[test]
        fn accepted_scenarios_can_be_played(
            rate in 0.0..1e8f64,
            every in 0u64..20_000,
            lasts in 0u64..20_000,
            at in 0u64..20_000,
        ) {
            let text = format!(
                "backends: [{{ count: 2 }}]\narrivals: {{ rate: {rate}, bursts: {{ every: {every}ms, for: {lasts}ms }}, \
                 steps: [{{ at: {at}ms, rate: 7 }}] }}\n\
                 faults: [{{ at: {at}ms, for: {lasts}ms, every: {every}ms, backends: [0, 1], slow: 2 }}]"
            );
            if let Ok(scenario) = scenario(&text) {
                let changes = scenario.changes();
                prop_assert!(changes.windows(2).all(|pair| pair[0].at <= pair[1].at));
                prop_assert!(changes.iter().all(|change| change.at <= scenario.duration));
                prop_assert!(scenario.arrivals.expected(scenario.duration) <= MAX_REQUESTS);
            }
        }
    }
}
