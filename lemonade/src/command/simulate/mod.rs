//! `lemonade simulate`: strategies side by side in simulated time, as a table, as JSON, as a page; or one of them, driven by another
//! program.

mod progress;
mod stdio;

use super::{Failure, text};
use crate::cli;
use lemonade_config::{Environment, Faults};
use lemonade_load_balancer::config::{Config, Overrides, load};
use lemonade_simulation::report::{self, Comparison};
use lemonade_simulation::scenario::Scenario;
use lemonade_simulation::{Case, Contestant, compare, read_log};
use progress::Bar;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

pub(crate) fn run(options: &cli::Simulate) -> Result<(), Failure> {
    let environment = Environment::from_process()?;
    let config = config(options.config.as_deref(), &environment)?;
    if options.stdio {
        return stdio::run(&options.strategy, options.shared, &config);
    }
    let contestants = contestants(&options.strategy)?;
    let cases = match &options.log {
        Some(log) => vec![replay(log, options.seed.unwrap_or(1))?],
        None => scenarios(&options.scenario, options.seed, &environment)?,
    };
    let mut bar = Bar::new(cases.len());
    let comparisons: Vec<Comparison> = cases
        .iter()
        .map(|case| {
            let comparison = compare(case, &contestants, &config, &mut |now| {
                bar.told(case.name(), now)
            });
            bar.next();
            comparison
        })
        .collect();
    drop(bar);
    if let Some(path) = &options.html {
        page(path, &comparisons)?;
    }
    match options.json {
        true => text::print(&format!("{:#}\n", report::json(&comparisons))),
        false => text::print(&report::table(&comparisons)),
    }
}

fn contestants(words: &[String]) -> Result<Vec<Contestant>, Failure> {
    if words.is_empty() {
        return Ok(Contestant::all());
    }
    let parse = |word: &String| {
        let parsed = word.parse::<Contestant>();
        parsed.map_err(|error| Failure::Usage(error.to_string()))
    };
    words.iter().map(parse).collect()
}

/// What strategies run with; the file's backends and strategy do not matter.
fn config(path: Option<&Path>, environment: &Environment) -> Result<Config, Failure> {
    let Some(path) = path else {
        return Ok(Config::default());
    };
    // Nobody is ever connected to: a file about the engine alone will do.
    let overrides = Overrides {
        backends: vec!["127.0.0.1:1".to_owned()],
        ..Overrides::default()
    };
    let loaded = load(Some(path), environment, &overrides)?;
    for warning in &loaded.warnings {
        eprintln!("lemonade: {warning}");
    }
    Ok(loaded.config)
}

/// All of them, or what is wrong in any.
fn scenarios(
    paths: &[PathBuf],
    seed: Option<u64>,
    environment: &Environment,
) -> Result<Vec<Case>, Failure> {
    let mut cases = Vec::with_capacity(paths.len());
    let mut faults = Vec::new();
    for path in paths {
        match Scenario::load(path, environment) {
            Ok(mut scenario) => {
                scenario.seed = seed.unwrap_or(scenario.seed);
                cases.push(Case::from(scenario));
            }
            Err(found) => faults.extend(found),
        }
    }
    Faults::check(faults)?;
    Ok(cases)
}

fn replay(path: &Path, seed: u64) -> Result<Case, Failure> {
    let name = path.display();
    let file = File::open(path).map_err(|error| Failure::Usage(format!("{name}: {error}")))?;
    read_log(&name.to_string(), BufReader::new(file), seed).map_err(|error| {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
        Failure::Usage(format!("{name}: {error}{}", cause.unwrap_or_default()))
    })
}

fn page(path: &Path, comparisons: &[Comparison]) -> Result<(), Failure> {
    let title = match comparisons {
        [one] => format!("Strategies in simulation: {}", one.name),
        several => format!("Strategies in simulation: {} scenarios", several.len()),
    };
    std::fs::write(path, report::html(&title, comparisons))
        .map_err(|error| Failure::Failed(format!("cannot write {}: {error}", path.display())))
}
