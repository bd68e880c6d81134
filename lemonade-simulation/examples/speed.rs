//! How many requests a second are simulated, by strategy: `cargo run --release -p lemonade-simulation --example speed [FILE]`.

use lemonade_config::{Document, Environment, Format};
use lemonade_load_balancer::config::Config;
use lemonade_simulation::scenario::Scenario;
use lemonade_simulation::{Case, Contestant, compare};
use std::time::Instant;

const POOL: &str = "duration: 10m\narrivals: { load: 80% }\nbackends: [{ count: 8, workers: 4 }]";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let environment = Environment::default();
    let scenario = match std::env::args_os().nth(1) {
        Some(path) => Scenario::load(path.as_ref(), &environment)?,
        None => {
            let document = Document::parse("pool.yaml", Format::Yaml, POOL, &environment)?;
            Scenario::decode(&document)?
        }
    };
    let case = Case::from(scenario);
    for contestant in Contestant::all() {
        let began = Instant::now();
        let comparison = compare(&case, &[contestant], &Config::default(), &mut |_| {});
        let run = &comparison.runs[0];
        let rate = run.counts.requests as f64 / began.elapsed().as_secs_f64();
        println!("{contestant:<24} {:>6.2} million requests/s", rate / 1e6);
    }
    Ok(())
}
