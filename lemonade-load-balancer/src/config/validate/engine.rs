//! The checks of `engine`.

use super::super::engine::{EngineConfig, PrometheusConfig, PrometheusUrl};
use super::super::raw::{RawEngine, RawMode, RawPrometheus, RawRule, RawStrategyName};
use super::Check;
use crate::decision::rules::is_source_name;
use crate::decision::{BUILT_IN, Mode, Rule, Settings};
use crate::strategy::Name;
use lemonade_config::{Located, RawDuration, ShortOr, Switch};
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// More rules, or sources, are no configuration.
const MOST: usize = 100;
const TRACE_SAMPLES: RangeInclusive<u32> = 1..=1_000_000;
const LONGEST_QUERY: usize = 4096;

impl Check<'_> {
    pub(super) fn engine(&mut self, raw: Option<Switch<ShortOr<RawEngine>>>) -> EngineConfig {
        let raw = match raw {
            None | Some(Switch::On) => return EngineConfig::default(),
            Some(Switch::Off) => {
                let mut engine = EngineConfig::default();
                engine.settings.mode = Mode::Off;
                return engine;
            }
            Some(Switch::Set(ShortOr(raw))) => raw,
        };
        let default = Settings::default();
        let cooldown = raw.cooldown.map(RawDuration::or_millis);
        let engine = EngineConfig {
            settings: Settings {
                mode: match raw.mode {
                    None | Some(Switch::On) => Mode::On,
                    Some(Switch::Off) => Mode::Off,
                    Some(Switch::Set(RawMode::Advise)) => Mode::Advise,
                },
                cooldown: self.duration(
                    "engine.cooldown",
                    cooldown,
                    &(SECOND..=DAY),
                    default.cooldown,
                ),
                candidates: self.candidates(raw.candidates.0, default.candidates),
                rules: self.rules(raw.rules.0),
            },
            prometheus: self.prometheus(raw.prometheus.0),
            trace_sample: self.trace_sample(raw.trace_sample),
        };
        self.externals(&engine);
        engine
    }

    fn trace_sample(&mut self, raw: Option<Switch<u32>>) -> Option<NonZeroU32> {
        let default = EngineConfig::default().trace_sample;
        match raw {
            None | Some(Switch::On) => default,
            Some(Switch::Off) => None,
            Some(Switch::Set(every)) if TRACE_SAMPLES.contains(&every) => NonZeroU32::new(every),
            Some(Switch::Set(every)) => {
                let [from, to] = [TRACE_SAMPLES.start(), TRACE_SAMPLES.end()];
                let problem = format!("expected {from} to {to}, or `off`, found {every}");
                self.fault("engine.trace_sample", problem);
                default
            }
        }
    }

    fn candidates(
        &mut self,
        written: Vec<Located<RawStrategyName>>,
        default: Vec<Name>,
    ) -> Vec<Name> {
        if written.is_empty() {
            return default;
        }
        let mut names = Vec::new();
        for Located { path, value } in written {
            let name = self.real(&path, value.0);
            if names.contains(&name) {
                self.fault(&path, format!("`{name}` is named twice"));
            }
            names.push(name);
        }
        names
    }

    /// A strategy that picks itself.
    fn real(&mut self, path: &str, name: Name) -> Name {
        if name == Name::Adaptive {
            self.fault(path, "`adaptive` chooses between the others");
        }
        name
    }

    fn rules(&mut self, written: Vec<Located<RawRule>>) -> Vec<Rule> {
        if written.len() > MOST {
            self.fault("engine.rules", format!("at most {MOST} rules"));
        }
        let mut rules = Vec::<Rule>::new();
        for (place, Located { path, value }) in written.into_iter().take(MOST).enumerate() {
            let name = value.name.unwrap_or_else(|| format!("rule_{place}"));
            let plain = !name.chars().any(char::is_control);
            if !(1..=50).contains(&name.chars().count()) || !plain {
                let path = format!("{path}.name");
                let problem = "expected 1 to 50 characters without control characters";
                self.fault(&path, problem);
            }
            if BUILT_IN.contains(&name.as_str()) {
                let problem = format!("`{name}` is a rule of the engine's own");
                self.fault(&format!("{path}.name"), problem);
            }
            if rules.iter().any(|other| other.name == name) {
                self.fault(&format!("{path}.name"), format!("`{name}` is named twice"));
            }
            let (Some(when), Some(picks)) = (value.when, value.picks) else {
                self.fault(&path, "expected `when` and `use`: `{ when: \"error_rate > 5% for 10s\", use: least_connections }`");
                continue;
            };
            let picks = self.real(&format!("{path}.use"), picks.0);
            match when.parse() {
                Ok(when) => rules.push(Rule { name, when, picks }),
                Err(error) => self.fault(&format!("{path}.when"), error.to_string()),
            }
        }
        rules
    }

    fn prometheus(&mut self, written: Vec<Located<RawPrometheus>>) -> Vec<PrometheusConfig> {
        if written.len() > MOST {
            self.fault("engine.prometheus", format!("at most {MOST} sources"));
        }
        let mut sources = Vec::<PrometheusConfig>::new();
        for Located { path, value } in written.into_iter().take(MOST) {
            let Some(source) = self.source(&path, value) else {
                continue;
            };
            if sources.iter().any(|other| other.name == source.name) {
                let problem = format!("`{}` is named twice", source.name);
                self.fault(&format!("{path}.name"), problem);
            }
            sources.push(source);
        }
        sources
    }

    fn source(&mut self, path: &str, raw: RawPrometheus) -> Option<PrometheusConfig> {
        let (Some(name), Some(url), Some(query)) = (raw.name, raw.url, raw.query) else {
            self.fault(path, "expected `name`, `url` and `query`");
            return None;
        };
        if !is_source_name(&name) {
            let problem = "expected 1 to 50 letters, digits and `_`";
            self.fault(&format!("{path}.name"), problem);
        }
        if query.trim().is_empty() || query.len() > LONGEST_QUERY {
            let problem = format!("expected 1 to {LONGEST_QUERY} bytes");
            self.fault(&format!("{path}.query"), problem);
        }
        let url = match PrometheusUrl::parse(&url) {
            Ok(url) => url,
            Err(problem) => {
                self.fault(&format!("{path}.url"), problem);
                return None;
            }
        };
        let mut time = |key: &str, written: Option<RawDuration>, bounds, default| {
            let written = written.map(RawDuration::or_millis);
            self.duration(&format!("{path}.{key}"), written, &bounds, default)
        };
        Some(PrometheusConfig {
            interval: time("interval", raw.interval, SECOND..=HOUR, SECOND * 10),
            timeout: time(
                "timeout",
                raw.timeout,
                Duration::from_millis(10)..=SECOND * 60,
                SECOND * 2,
            ),
            stale: time("stale", raw.stale, SECOND..=DAY, SECOND * 60),
            name,
            url,
            query,
        })
    }

    /// A rule that asks for what nobody says would never apply.
    fn externals(&mut self, engine: &EngineConfig) {
        for (place, rule) in engine.settings.rules.iter().enumerate() {
            for name in rule.when.externals() {
                if !engine.prometheus.iter().any(|source| source.name == name) {
                    let problem = format!("no source in `engine.prometheus` is called `{name}`");
                    self.fault(&format!("engine.rules[{place}].when"), problem);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{faults, good};
    use super::*;

    #[test]
    fn engine_is_written_short_or_in_full() {
        let engine = |text: &str| {
            let text = format!("backends: [\"127.0.0.1:2\"]\nengine: {text}\n");
            good(&text).engine
        };
        assert_eq!(engine("on"), crate::config::EngineConfig::default());
        assert_eq!(engine("off").settings.mode, Mode::Off);
        assert_eq!(engine("advise").settings.mode, Mode::Advise);
        let full = engine(
            "{mode: advise, cooldown: 1s, candidates: random, rules: [{when: p99 > 1s, use: round_robin}]}",
        );
        assert_eq!(full.settings.mode, Mode::Advise);
        assert_eq!(full.settings.candidates, [Name::Random]);
        assert_eq!(full.settings.rules[0].name, "rule_0");
    }

    #[test]
    fn engine_that_could_not_work_is_refused() {
        for (engine, expected) in [
            ("fast", "`on`, `advise`, `off` or a table"),
            (
                "{trace_sample: 0}",
                "engine.trace_sample: expected 1 to 1000000, or `off`, found 0",
            ),
            ("{cooldown: 10ms}", "engine.cooldown: expected 1s to 24h"),
            (
                "{candidates: [adaptive]}",
                "engine.candidates[0]: `adaptive` chooses",
            ),
            ("{candidates: [random, random]}", "named twice"),
            (
                "{rules: [{when: p99 > 1s}]}",
                "engine.rules[0]: expected `when` and `use`",
            ),
            (
                "{rules: [{when: p98 > 1s, use: random}]}",
                "engine.rules[0].when: column 1: unknown metric `p98` (did you mean",
            ),
            (
                "{rules: [{name: calm, when: p99 > 1s, use: random}]}",
                "a rule of the engine's own",
            ),
            (
                "{rules: [{when: external.age > 1, use: random}]}",
                "no source in `engine.prometheus` is called `age`",
            ),
            (
                "{prometheus: [{name: age}]}",
                "expected `name`, `url` and `query`",
            ),
            (
                "{prometheus: [{name: age, url: \"https://a:1\", query: up}]}",
                "engine.prometheus[0].url: expected a URL that begins with `http://`",
            ),
        ] {
            let found = faults(&format!("backends: [\"127.0.0.1:2\"]\nengine: {engine}\n"));
            assert!(found.contains(expected), "{engine}: {found}");
        }
    }
}
