//! Every scenario that ships, shortened, under every strategy; and what the documentation says of scenarios.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use lemonade_config::{Document, Environment, Format};
use lemonade_load_balancer::config::Config;
use lemonade_simulation::report::{Comparison, html, json, table};
use lemonade_simulation::scenario::Scenario;
use lemonade_simulation::{Case, Contestant, compare};
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn shipped() -> Vec<Scenario> {
    let folder = fs::read_dir(root().join("scenarios")).unwrap();
    let mut paths: Vec<PathBuf> = folder.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "yaml")
    });
    let load = |path: &PathBuf| Scenario::load(path, &Environment::default());
    paths.iter().map(|path| load(path).unwrap()).collect()
}

fn played(scenario: Scenario) -> Comparison {
    let case = Case::from(scenario);
    compare(&case, &Contestant::all(), &Config::default(), &mut |_| {})
}

#[test]
fn every_scenario_plays_under_every_strategy() {
    let shipped = shipped();
    assert!(shipped.len() >= 12, "a dozen ship");
    for scenario in shipped {
        assert!(!scenario.about.is_empty(), "{}", scenario.name);
        let comparison = played(scenario.shortened(30));
        let name = &comparison.name;
        let ideal = &comparison.runs[0];
        assert!(ideal.counts.requests > 500, "{name}");
        assert!(
            ideal.counts.error_rate() < 0.01,
            "{name}: {:?}",
            ideal.counts
        );
        for run in &comparison.runs {
            assert_eq!(run.counts.requests, ideal.counts.requests, "{name}");
            let shares: u64 = run.shares.iter().sum();
            assert_eq!(shares, run.counts.requests, "{name}: {}", run.strategy);
            // Who errs more may be faster; who does not cannot know more than the ideal.
            let ratio = comparison.ratio_to_ideal(run).unwrap();
            let errs = run.counts.error_rate() > ideal.counts.error_rate() + 0.001;
            assert!(errs || ratio > 0.9, "{name}: {} has {ratio}", run.strategy);
        }
    }
}

#[test]
fn same_seed_makes_the_same_report() {
    let scenario = || shipped().remove(0).shortened(20);
    let [one, two] = [(); 2].map(|()| vec![played(scenario())]);
    assert_eq!(json(&one).to_string(), json(&two).to_string());
    assert_eq!(html("x", &one), html("x", &two));
    let other = vec![played(Scenario {
        seed: 2,
        ..scenario()
    })];
    assert_ne!(table(&one), table(&other));
}

#[test]
fn scenarios_folder_lists_what_is_in_it() {
    let list = fs::read_to_string(root().join("scenarios/README.md")).unwrap();
    for scenario in shipped() {
        let link = format!("[{0}]({0}.yaml)", scenario.name);
        assert!(list.contains(&link), "{link}");
    }
}

#[test]
fn documented_scenarios_can_be_played() {
    let page = fs::read_to_string(root().join("docs/simulation.md")).unwrap();
    let mut count = 0;
    for block in page.split("```yaml\n").skip(1) {
        let text = block.split("```").next().unwrap();
        let environment = Environment::default();
        let document =
            Document::parse("docs/simulation.md", Format::Yaml, text, &environment).unwrap();
        Scenario::decode(&document).unwrap_or_else(|faults| panic!("{faults}\n{text}"));
        count += 1;
    }
    assert!(count >= 2, "an example, and one with every key");
}
