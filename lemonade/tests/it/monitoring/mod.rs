//! What people keep beside Prometheus, asked of a real one: the dashboard, the rules, and the page that describes the metrics.

mod dashboard;
mod page;
mod query;
mod server;
mod stage;

use crate::process::program;
use dashboard::Dashboard;
use query::selectors;
use server::{Prometheus, shipped, wait};
use stage::Stage;
use std::fs::read_to_string;

#[test]
fn every_query_has_a_result_and_alerts_fire() {
    let mut stage = Stage::start();
    let prometheus = Prometheus::start(stage.admin);

    stage.fail(3);
    stage.kill(2);
    stage.break_configuration();
    let fires = |alert: &str| prometheus.firing().iter().any(|it| it == alert);
    for alert in [
        "LemonadeBackendDown w2",
        "LemonadeBackendEjected w3",
        "LemonadeReloadFailed",
        "LemonadeSourceAway",
    ] {
        wait(alert, || fires(alert));
    }

    for query in Dashboard::read().queries() {
        prometheus.has(&query);
    }
    for query in Dashboard::read().annotations() {
        prometheus.series(&query);
        selectors(&query).iter().for_each(|it| prometheus.has(it));
    }
    for (selector, label) in Dashboard::read().choices() {
        prometheus.has(&format!("count by ({label}) ({selector}) > 0"));
    }
    rules_have_something_to_go_by(&prometheus);

    stage.mend_configuration();
    wait("the end of the alert", || !fires("LemonadeReloadFailed"));
    for alert in [
        "LemonadeAway",
        "LemonadeAbsent",
        "LemonadeNoBackend",
        "LemonadePanics",
        "LemonadeBackendDown w1",
        "LemonadeBackendEjected w1",
    ] {
        assert!(!fires(alert), "{alert} fires for no reason");
    }
}

/// A recorded figure has a value; of an alert, each metric that it looks at exists.
fn rules_have_something_to_go_by(prometheus: &Prometheus) {
    let rules = prometheus.rules();
    assert!(rules.len() > 20, "{rules:?}");
    for rule in rules {
        let query = rule["query"].as_str().unwrap();
        assert_ne!(rule["health"], "err", "{rule}");
        match rule["type"] == "recording" {
            true => prometheus.has(query),
            false => {
                prometheus.series(query);
                assert!(!selectors(query).is_empty(), "{query}");
                selectors(query).iter().for_each(|it| prometheus.has(it));
            }
        }
    }
}

#[test]
fn promtool_finds_the_rules_right() {
    promtool(&["check", "config", "prometheus.yaml"]);
    promtool(&["check", "rules", "recording.yaml", "alerts.yaml"]);
    promtool(&["test", "rules", "alerts.test.yaml"]);
}

fn promtool(arguments: &[&str]) {
    let folder = shipped("");
    let output = program("promtool", arguments).current_dir(folder).output();
    let output = output.expect("promtool runs: it is in Debian's package `prometheus`");
    let told = [output.stdout, output.stderr].concat();
    let told = String::from_utf8_lossy(&told);
    assert!(output.status.success(), "{arguments:?}\n{told}");
}

#[test]
fn every_alert_says_what_to_do_and_is_tested() {
    let rules = read_to_string(shipped("alerts.yaml")).unwrap();
    let cases = read_to_string(shipped("alerts.test.yaml")).unwrap();
    let sections = page::sections();
    let alerts: Vec<&str> = rules.split("- alert: ").skip(1).collect();
    assert!(alerts.len() > 20);
    for alert in alerts {
        let name = alert.lines().next().unwrap();
        for key in ["severity: ", "summary: ", "description: "] {
            assert!(alert.contains(key), "{name} has no {key}");
        }
        let (_, section) = alert.split_once("docs/observability.md#").expect(name);
        let section = section.lines().next().unwrap();
        assert!(sections.contains(section), "{name}: no section {section}");
        let fires = format!("alertname=\"{name}\"");
        assert!(cases.contains(&fires), "{name} fires in no case");
    }
}
