//! How a worker is configured: flags over environment over file over defaults.
//!
//! The binary fills [`WorkerOptions`] from its command line and resolves them. Promise: a [`WorkerConfig`] can be
//! run; whatever is wrong in any of its sources is reported at once, each fault under the flag, the variable or the
//! place in the file that it came from.

use std::fmt::Display;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use lemonade_config::{Document, Environment, Fault, Faults, ListenAddress, Percent, ShortOr};
use serde::Deserialize;
use thiserror::Error;

use crate::chaos::Capacity;
use crate::delay::Delay;
use crate::framework::Framework;
use crate::scenario::Scenario;
use crate::speed::Speed;
use crate::wait::Wait;

/// What `lemonade worker` was started with, unparsed; None is a flag that was not given.
#[derive(Debug, Clone, Default)]
pub struct WorkerOptions {
    /// `--framework`
    pub framework: Option<String>,
    /// `--address`
    pub address: Option<String>,
    /// `--name`
    pub name: Option<String>,
    /// `--delay`
    pub delay: Option<String>,
    /// `--jitter`
    pub jitter: Option<String>,
    /// `--speed`
    pub speed: Option<String>,
    /// `--error-rate`
    pub error_rate: Option<String>,
    /// `--capacity`
    pub capacity: Option<String>,
    /// `--drain-timeout`
    pub drain_timeout: Option<String>,
    /// `--scenario`
    pub scenario: Option<PathBuf>,
    /// `--config`
    pub config: Option<PathBuf>,
}

/// A worker that can be run.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// Which framework serves. There is no default.
    pub framework: Framework,
    /// Where to listen. Default: 127.0.0.1:50510.
    pub address: ListenAddress,
    /// What replies call the worker, 1 to 64 letters. Default: `worker-` and the framework.
    pub name: String,
    /// How long `/work` takes. Default: 10 ms.
    pub delay: Delay,
    /// How much more or less than `delay`, as likely each. Default: none.
    pub jitter: Duration,
    /// What every delay is divided by, those that requests ask for included: 0.001 to 1000. Default: 1.
    pub speed: Speed,
    /// The share of `/work` that is answered with an error, at once. Default: none.
    pub error_rate: Percent,
    /// How many `/work` requests are worked on at once; the others queue. Default: any number.
    pub capacity: Option<NonZeroUsize>,
    /// How long requests in flight may take after shutdown began. Default: 10 s.
    pub drain_timeout: Duration,
    /// What changes while it runs.
    pub scenario: Option<Scenario>,
}

impl WorkerConfig {
    /// Every default.
    pub fn new(framework: Framework) -> WorkerConfig {
        WorkerConfig {
            framework,
            address: ListenAddress::from(std::net::SocketAddr::from(([127, 0, 0, 1], 50510))),
            name: format!("worker-{framework}"),
            delay: Delay::Constant(Duration::from_millis(10)),
            jitter: Duration::ZERO,
            speed: Speed::USUAL,
            error_rate: Percent::whole(0),
            capacity: None,
            drain_timeout: Duration::from_secs(10),
            scenario: None,
        }
    }

    /// Reads the file and the scenario that the options or the environment name, and takes each setting from the
    /// first source that has it. A variable that is empty counts as not set.
    pub fn resolve(
        options: WorkerOptions,
        environment: &Environment,
    ) -> Result<WorkerConfig, Faults> {
        let mut sources = Sources {
            environment,
            faults: Vec::new(),
        };
        let file = sources.file(options.config);
        let framework = sources.framework(options.framework, file.framework);
        // Without one the other settings are looked at all the same, for their faults.
        let default = WorkerConfig::new(framework.unwrap_or(Framework::Tokio));
        let address = sources.setting("address", options.address, file.address);
        let name = sources.setting("name", options.name, file.name);
        let delay = sources.setting("delay", options.delay, file.delay.map(|short| short.0));
        let jitter = sources.setting("jitter", options.jitter, file.jitter);
        let speed = sources.setting("speed", options.speed, file.speed);
        let error_rate = sources.setting("error_rate", options.error_rate, file.error_rate);
        let capacity = sources.setting("capacity", options.capacity, file.capacity);
        let drain = sources.setting("drain_timeout", options.drain_timeout, file.drain_timeout);
        let scenario = sources.scenario(options.scenario, file.scenario);
        Faults::check(sources.faults)?;
        Ok(WorkerConfig {
            framework: default.framework,
            address: address.unwrap_or(default.address),
            name: name.map_or(default.name, |Name(name)| name),
            delay: delay.unwrap_or(default.delay),
            jitter: jitter.map_or(default.jitter, |Wait(jitter)| jitter),
            speed: speed.unwrap_or(default.speed),
            error_rate: error_rate.unwrap_or(default.error_rate),
            capacity: capacity.map_or(default.capacity, |Capacity(capacity)| capacity),
            drain_timeout: drain.map_or(default.drain_timeout, |Wait(drain)| drain),
            scenario,
        })
    }
}

/// Where settings come from, and what was wrong in any of them.
struct Sources<'a> {
    environment: &'a Environment,
    faults: Vec<Fault>,
}

impl Sources<'_> {
    fn setting<T: FromStr<Err: Display>>(
        &mut self,
        key: &str,
        flag: Option<String>,
        file: Option<T>,
    ) -> Option<T> {
        let Some((source, text)) = self.text(key, flag) else {
            return file;
        };
        let parsed = text.parse();
        parsed
            .map_err(|error: T::Err| self.faults.push(Fault::new(source, error.to_string())))
            .ok()
    }

    fn framework(&mut self, flag: Option<String>, file: Option<Framework>) -> Option<Framework> {
        let faults = self.faults.len();
        let framework = self.setting("framework", flag, file);
        if framework.is_none() && self.faults.len() == faults && !self.file_has_faulty_framework() {
            let fault = Fault::new(
                "--framework",
                "missing, and so is LEMONADE_WORKER_FRAMEWORK",
            );
            self.faults
                .push(fault.help(format!("known are {}", Framework::known())));
        }
        framework
    }

    fn file_has_faulty_framework(&self) -> bool {
        self.faults.iter().any(|fault| fault.path == "framework")
    }

    fn file(&mut self, flag: Option<PathBuf>) -> RawConfig {
        let loaded = self
            .path("config", flag)
            .map(|path| Document::load(&path, self.environment));
        match loaded {
            None => RawConfig::default(),
            Some(Ok(document)) => {
                let (raw, faults) = document.decode();
                self.faults.extend(faults);
                raw.unwrap_or_default()
            }
            Some(Err(faults)) => {
                self.faults.extend(faults);
                RawConfig::default()
            }
        }
    }

    fn scenario(&mut self, flag: Option<PathBuf>, file: Option<PathBuf>) -> Option<Scenario> {
        let path = self.path("scenario", flag).or(file)?;
        let loaded = Scenario::load(&path, self.environment);
        loaded.map_err(|faults| self.faults.extend(faults)).ok()
    }

    fn path(&self, key: &str, flag: Option<PathBuf>) -> Option<PathBuf> {
        flag.or_else(|| self.variable(key).map(|(_, path)| PathBuf::from(path)))
    }

    /// The flag's or the variable's text, with its name for faults.
    fn text(&self, key: &str, flag: Option<String>) -> Option<(String, String)> {
        let flag = flag.map(|text| (format!("--{}", key.replace('_', "-")), text));
        flag.or_else(|| self.variable(key))
    }

    fn variable(&self, key: &str) -> Option<(String, String)> {
        let name = format!("LEMONADE_WORKER_{}", key.to_uppercase());
        let text = self.environment.get(&name)?.trim().to_owned();
        (!text.is_empty()).then_some((name, text))
    }
}

/// A configuration file, with the names that older files use.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawConfig {
    framework: Option<Framework>,
    #[serde(alias = "listen_address", alias = "listen", alias = "worker_address")]
    address: Option<ListenAddress>,
    #[serde(alias = "service_name", alias = "worker_name")]
    name: Option<Name>,
    #[serde(
        alias = "work_delay",
        alias = "work_delay_millis",
        alias = "work_delay_ms",
        alias = "delay_ms"
    )]
    delay: Option<ShortOr<Delay>>,
    jitter: Option<Wait>,
    speed: Option<Speed>,
    error_rate: Option<Percent>,
    capacity: Option<Capacity>,
    #[serde(alias = "drain_timeout_millis")]
    drain_timeout: Option<Wait>,
    /// From the working directory, as on the command line.
    scenario: Option<PathBuf>,
}

/// A worker's name: it stands in logs, replies and tables.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct Name(String);

#[derive(Debug, Error)]
#[error("expected a name of 1 to 64 letters, none of them a control character")]
struct NoName;

impl FromStr for Name {
    type Err = NoName;

    fn from_str(text: &str) -> Result<Name, NoName> {
        let name = text.trim();
        let fits = (1..=64).contains(&name.chars().count()) && !name.contains(char::is_control);
        if fits {
            Ok(Name(name.to_owned()))
        } else {
            Err(NoName)
        }
    }
}

impl TryFrom<String> for Name {
    type Error = NoName;

    fn try_from(text: String) -> Result<Name, NoName> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const NO_ENVIRONMENT: [(&str, &str); 0] = [];

    fn resolve<const N: usize>(
        options: WorkerOptions,
        pairs: [(&str, &str); N],
    ) -> Result<WorkerConfig, String> {
        let environment = Environment::from_pairs(pairs);
        WorkerConfig::resolve(options, &environment).map_err(|faults| faults.to_string())
    }

    fn text(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    fn write(folder: &tempfile::TempDir, name: &str, content: &str) -> PathBuf {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    #[test]
    fn framework_alone_is_enough() {
        let options = WorkerOptions {
            framework: text("axum"),
            ..WorkerOptions::default()
        };
        let config = resolve(options, NO_ENVIRONMENT).unwrap();
        assert_eq!(config.framework, Framework::Axum);
        assert_eq!(config.address.to_string(), "127.0.0.1:50510");
        assert_eq!(config.name, "worker-axum");
        assert_eq!(config.delay, Delay::Constant(Duration::from_millis(10)));
    }

    #[test]
    fn delay_needs_no_unit() {
        for delay in ["20", "20ms"] {
            let options = WorkerOptions {
                framework: text("axum"),
                delay: text(delay),
                ..WorkerOptions::default()
            };
            let config = resolve(options, NO_ENVIRONMENT).unwrap();
            assert_eq!(config.delay, Delay::Constant(Duration::from_millis(20)));
        }
    }

    #[test]
    fn flag_wins_over_variable_over_file_over_default() {
        let folder = tempfile::tempdir().unwrap();
        let file = "framework: hyper\nname: file\ndelay: 1ms\njitter: 1ms\n";
        let options = WorkerOptions {
            config: Some(write(&folder, "worker.yaml", file)),
            name: text("flag"),
            ..WorkerOptions::default()
        };
        let variables = [
            ("LEMONADE_WORKER_NAME", "variable"),
            ("LEMONADE_WORKER_DELAY", "2ms"),
            ("LEMONADE_WORKER_JITTER", ""),
        ];
        let config = resolve(options, variables).unwrap();
        assert_eq!(config.name, "flag");
        assert_eq!(config.delay, Delay::Constant(Duration::from_millis(2)));
        assert_eq!(config.jitter, Duration::from_millis(1));
        assert_eq!(config.framework, Framework::Hyper);
        assert_eq!(config.drain_timeout, Duration::from_secs(10));
    }

    #[test]
    fn every_setting_has_a_variable() {
        let folder = tempfile::tempdir().unwrap();
        let scenario = write(&folder, "s.yaml", "steps: [{at: 1s, reset: true}]");
        let config = write(
            &folder,
            "worker.yaml",
            "delay: { uniform: { min: 1, max: 2 } }",
        );
        let variables = [
            ("LEMONADE_WORKER_FRAMEWORK", "rocket"),
            ("LEMONADE_WORKER_ADDRESS", "[::1]:0"),
            ("LEMONADE_WORKER_ERROR_RATE", "5%"),
            ("LEMONADE_WORKER_CAPACITY", "3"),
            ("LEMONADE_WORKER_SPEED", "0.5"),
            ("LEMONADE_WORKER_DRAIN_TIMEOUT", "3s"),
            ("LEMONADE_WORKER_SCENARIO", scenario.to_str().unwrap()),
            ("LEMONADE_WORKER_CONFIG", config.to_str().unwrap()),
        ];
        let config = resolve(WorkerOptions::default(), variables).unwrap();
        assert_eq!(config.framework, Framework::Rocket);
        assert_eq!(config.address.to_string(), "[::1]:0");
        assert_eq!(config.error_rate, Percent::whole(5));
        assert_eq!(config.capacity, NonZeroUsize::new(3));
        assert_eq!(Ok(config.speed), "0.5".parse());
        assert_eq!(config.drain_timeout, Duration::from_secs(3));
        assert!(config.scenario.is_some());
        assert!(matches!(config.delay, Delay::Uniform { .. }));
    }

    #[test]
    fn older_names_are_taken() {
        let folder = tempfile::tempdir().unwrap();
        let file = r#"{"framework": "actix", "listen_address": "127.0.0.1:1", "service_name": "w", "work_delay": 20}"#;
        let options = WorkerOptions {
            config: Some(write(&folder, "worker.json", file)),
            ..WorkerOptions::default()
        };
        let config = resolve(options, NO_ENVIRONMENT).unwrap();
        assert_eq!((config.address.port(), config.name.as_str()), (1, "w"));
        assert_eq!(config.delay, Delay::Constant(Duration::from_millis(20)));
    }

    #[test]
    fn faults_of_every_source_are_reported_together() {
        let folder = tempfile::tempdir().unwrap();
        let options = WorkerOptions {
            framework: text("axun"),
            delay: text("soon"),
            error_rate: text("0.5"),
            config: Some(write(&folder, "worker.toml", "adress = \"127.0.0.1:1\"")),
            scenario: Some(write(&folder, "scenario.yaml", "steps: [{at: 1s}]")),
            ..WorkerOptions::default()
        };
        let faults = resolve(options, [("LEMONADE_WORKER_CAPACITY", "0")]).unwrap_err();
        for expected in [
            "6 faults",
            "--framework: unknown framework `axun`: did you mean `axum`?",
            "--delay: expected a duration such as `5s`, `250ms` or `1m30s`, found `soon`",
            "--error-rate: 0.5 could be 0.5% or 50%: write the one you mean with its `%`",
            "LEMONADE_WORKER_CAPACITY: expected a whole number from 1, or `off`",
            "worker.toml:1:1: adress: unknown key (did you mean `address`?)",
            "scenario.yaml:1:9: steps[0]: expected `set` or `reset: true`",
        ] {
            assert!(faults.contains(expected), "{expected}\n{faults}");
        }
    }

    #[test]
    fn missing_framework_is_answered_with_the_known() {
        let faults = resolve(WorkerOptions::default(), NO_ENVIRONMENT).unwrap_err();
        assert_eq!(
            faults,
            "--framework: missing, and so is LEMONADE_WORKER_FRAMEWORK \
             (known are actix, axum, hyper, rocket, tokio)"
        );
    }

    #[test]
    fn bad_framework_in_the_file_is_one_fault() {
        let folder = tempfile::tempdir().unwrap();
        let options = WorkerOptions {
            config: Some(write(&folder, "worker.yaml", "framework: axun")),
            ..WorkerOptions::default()
        };
        let faults = resolve(options, NO_ENVIRONMENT).unwrap_err();
        assert!(
            faults.contains("worker.yaml:1:12: framework: unknown value `axun`"),
            "{faults}"
        );
        assert!(faults.contains("did you mean `axum`?"), "{faults}");
        assert!(!faults.contains("faults"), "{faults}");
    }

    #[test]
    fn sample_files_resolve() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config");
        for sample in ["worker.yaml", "worker.toml", "worker.json"] {
            let options = WorkerOptions {
                config: Some(root.join(sample)),
                scenario: Some(root.join("scenario.yaml")),
                ..WorkerOptions::default()
            };
            let config =
                resolve(options, NO_ENVIRONMENT).unwrap_or_else(|faults| panic!("{faults}"));
            assert_eq!(config.name, "worker-1", "{sample}");
            assert_eq!(
                config.delay,
                Delay::Constant(Duration::from_millis(20)),
                "{sample}"
            );
        }
    }
}
