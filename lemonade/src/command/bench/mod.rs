//! `lemonade bench`: what `lemonade simulate` does, for real. Strategies are compared over workers and load balancers that are
//! processes of this program, under an open load, with the scenario's faults at their times.
//!
//! Each strategy has a stage of its own ([`stage`]), on which [`play`] offers the load ([`load`]) and has the workers suffer
//! ([`worker`]). What the clients saw and what the balancers wrote are put together in [`results`], and whether the machine could
//! keep up is judged in [`machine`]. The reports ([`report`]) are the simulation's, and what was judged. Whatever ends the command ends all processes.

mod clock;
mod folder;
mod load;
mod machine;
mod play;
mod report;
mod results;
mod scale;
mod stage;
mod wire;
mod worker;

use super::{Failure, runtime, text};
use crate::cli;
use crate::signals::Signals;
use folder::Folder;
use indicatif::{ProgressBar, ProgressStyle};
use lemonade_config::{Environment, Faults};
use lemonade_load_balancer::config::Config;
use lemonade_load_balancer::descriptors;
use lemonade_service::Framework;
use lemonade_simulation::scenario::Scenario;
use lemonade_simulation::{Case, Contestant, compare};
use play::{Play, Played};
use report::{Benched, Judged};
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

pub(crate) fn run(options: &cli::Bench) -> Result<(), Failure> {
    let contestants = contestants(options)?;
    let framework: Framework = options.framework.parse().map_err(usage)?;
    let scenarios = scenarios(options)?;
    let folder = Folder::make(options.work_dir.as_deref())?;
    // Now and not after minutes of work.
    let mut html = options.html.as_deref().map(create).transpose()?;
    if let Err(error) = descriptors::raise_limit() {
        tracing::warn!(%error, "the limit on open files stays as it is");
    }
    let bench = Bench {
        options,
        framework,
        contestants,
        folder: &folder,
        progress: progress(),
    };
    let benched = runtime()?.block_on(async {
        let listening = |error| Failure::Failed(format!("cannot handle signals: {error}"));
        let mut signals = Signals::listen().map_err(listening)?;
        tokio::select! {
            benched = bench.all(scenarios) => benched,
            () = signals.stop() => Err(Failure::Failed("stopped before the end".to_owned())),
        }
    });
    bench.progress.finish_and_clear();
    let benched = benched?;
    if let (Some(file), Some(path)) = (&mut html, &options.html) {
        let written = file.write_all(report::html(&benched).as_bytes());
        written.map_err(|error| stage::cannot_write(path, &error))?;
    }
    match options.json {
        true => text::print(&format!("{:#}\n", report::json(&benched))),
        false => text::print(&report::text(&benched)),
    }
}

fn usage(error: impl std::fmt::Display) -> Failure {
    Failure::Usage(error.to_string())
}

/// Who is compared; the ideal, if it is wanted, comes first.
fn contestants(options: &cli::Bench) -> Result<Vec<Contestant>, Failure> {
    let named: Result<Vec<Contestant>, _> =
        options.strategy.iter().map(|name| name.parse()).collect();
    let mut contestants = named.map_err(usage)?;
    if contestants.is_empty() {
        contestants = Contestant::all();
        contestants.retain(|contestant| *contestant != Contestant::Ideal);
    }
    if options.ideal && !contestants.contains(&Contestant::Ideal) {
        contestants.insert(0, Contestant::Ideal);
    }
    Ok(contestants)
}

/// A scenario as it will be played.
struct Fitted {
    scenario: Scenario,
    /// Requests a second that the file asks for.
    asked: f64,
    /// How many times as long its requests take.
    times: f64,
    /// What the file says that it lasts.
    duration: Duration,
}

/// All of them, or what is wrong in any.
fn scenarios(options: &cli::Bench) -> Result<Vec<Fitted>, Failure> {
    let environment = Environment::from_process()?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut fitted = Vec::with_capacity(options.scenario.len());
    let mut faults = Vec::new();
    for path in &options.scenario {
        match Scenario::load(path, &environment) {
            Ok(scenario) => fitted.push(fit(scenario, options, cores)),
            Err(found) => faults.extend(found),
        }
    }
    Faults::check(faults)?;
    Ok(fitted)
}

fn fit(mut scenario: Scenario, options: &cli::Bench, cores: usize) -> Fitted {
    scenario.seed = options.seed.unwrap_or(scenario.seed);
    let duration = scenario.duration;
    if let Some(seconds) = options.seconds {
        scenario = scale::to_duration(scenario, Duration::from_secs(seconds));
    }
    let asked = scale::rate(&scenario);
    let affordable = || scale::affordable(&scenario, cores);
    let wanted = options.rate.unwrap_or_else(affordable);
    let (scenario, times) = match wanted == asked {
        true => (scenario, 1.0),
        false => scale::to_rate(scenario, wanted),
    };
    Fitted {
        scenario,
        asked,
        times,
        duration,
    }
}

fn create(path: &Path) -> Result<File, Failure> {
    File::create(path).map_err(|error| stage::cannot_write(path, &error))
}

/// Shown on a terminal only.
fn progress() -> ProgressBar {
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} s") {
        bar.set_style(style);
    }
    bar
}

/// What is to be done.
struct Bench<'b> {
    options: &'b cli::Bench,
    framework: Framework,
    contestants: Vec<Contestant>,
    folder: &'b Folder,
    progress: ProgressBar,
}

impl Bench<'_> {
    async fn all(&self, scenarios: Vec<Fitted>) -> Result<Vec<Benched>, Failure> {
        let mut benched = Vec::with_capacity(scenarios.len());
        for fitted in scenarios {
            benched.push(self.one(fitted).await?);
        }
        Ok(benched)
    }

    async fn one(&self, fitted: Fitted) -> Result<Benched, Failure> {
        let notes = self.notes(&fitted);
        let scenario = fitted.scenario.clone();
        let case = Case::from(scenario.clone());
        let mut comparison = case.without_runs();
        comparison.notes = notes;
        let mut judged = Vec::new();
        let play = Play::new(
            scenario,
            self.framework,
            usize::from(self.options.connections),
        );
        for contestant in &self.contestants {
            let Contestant::Strategy(strategy) = *contestant else {
                let ideal = compare(&case, &[*contestant], &Config::default(), &mut |_| {});
                comparison.runs.extend(ideal.runs);
                comparison.notes.push(IDEAL.to_owned());
                continue;
            };
            let folder = self.folder.of_run(&comparison.name, strategy.as_str())?;
            self.progress
                .set_message(format!("{}: {strategy}", comparison.name));
            let Played {
                run,
                measured,
                mishaps,
            } = play.run(strategy, &folder, &self.progress).await?;
            comparison.runs.push(run);
            let mut warnings = measured.doubts();
            warnings.extend(mishaps);
            judged.push(Judged {
                strategy,
                measured,
                warnings,
            });
        }
        Ok(Benched {
            comparison,
            asked: fitted.asked,
            offered: play.rate(),
            times: fitted.times,
            judged,
        })
    }

    fn notes(&self, fitted: &Fitted) -> Vec<String> {
        let Scenario {
            backends,
            replicas,
            shared,
            duration,
            ..
        } = &fitted.scenario;
        let balancers = match (*replicas, *shared) {
            (1, _) => "a load balancer".to_owned(),
            (shards, true) => format!("a load balancer of {shards} shards"),
            (count, false) => format!("{count} load balancers"),
        };
        let mut notes = vec![format!(
            "for real: {} {} workers behind {balancers}, all new for each strategy, and the same requests for all",
            backends.len(),
            self.framework
        )];
        if fitted.times != 1.0 {
            notes.push(format!(
                "{:.0} requests a second instead of {:.0}; each takes {:.2} times as long, so that the pool is as busy",
                fitted.asked / fitted.times,
                fitted.asked,
                fitted.times
            ));
        }
        if *duration != fitted.duration {
            notes.push(format!(
                "all events in {duration:?} instead of {:?}",
                fitted.duration
            ));
        }
        notes
    }
}

const IDEAL: &str =
    "the ideal is simulated: it has no network, no proxy and no timers that are late";
