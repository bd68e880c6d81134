//! The Grafana dashboard, read as Grafana reads it.

use crate::process::root;
use serde_json::Value;
use std::collections::HashSet;

/// The columns of Grafana's grid.
const COLUMNS: u64 = 24;

/// What stands for a variable when a query is tried: everything, over a time that is as short as the test.
const VARIABLES: [(&str, &str); 3] = [
    ("$__rate_interval", "10s"),
    ("$instance", ".*"),
    ("$backend", ".*"),
];

pub(super) struct Dashboard(Value);

impl Dashboard {
    pub(super) fn read() -> Dashboard {
        let text = std::fs::read_to_string(root().join("monitoring/grafana/lemonade.json"));
        Dashboard(serde_json::from_str(&text.unwrap()).unwrap())
    }

    /// Rows included, and what is in those that are collapsed.
    fn panels(&self) -> Vec<&Value> {
        let within = |panel: &'_ Value| panel["panels"].as_array().cloned().unwrap_or_default();
        assert!(
            list(&self.0, "panels")
                .iter()
                .all(|it| within(it).is_empty())
        );
        list(&self.0, "panels").iter().collect()
    }

    /// Every query of a panel, as Prometheus gets it.
    pub(super) fn queries(&self) -> Vec<String> {
        let panels = self.panels().into_iter();
        let targets = panels.filter_map(|panel| panel["targets"].as_array());
        let queries = targets.flatten().map(|target| text(target, "expr"));
        queries.map(filled).collect()
    }

    /// Those of annotations, which have a result only when something has happened.
    pub(super) fn annotations(&self) -> Vec<String> {
        let list = list(&self.0["annotations"], "list");
        list.iter().map(|it| filled(text(it, "expr"))).collect()
    }

    /// Selectors whose labels are a variable's values, each with that label.
    pub(super) fn choices(&self) -> Vec<(String, String)> {
        let variables = list(&self.0["templating"], "list").iter();
        let queries = variables.filter_map(|variable| variable["query"]["query"].as_str());
        let choice = |query: &str| {
            let inner = query.strip_prefix("label_values(")?.strip_suffix(')')?;
            let (selector, label) = inner.rsplit_once(", ")?;
            Some((filled(selector), label.to_owned()))
        };
        queries
            .map(|query| choice(query).unwrap_or_else(|| panic!("{query}")))
            .collect()
    }
}

fn list<'v>(value: &'v Value, key: &str) -> &'v Vec<Value> {
    value[key]
        .as_array()
        .unwrap_or_else(|| panic!("{key}: {value}"))
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    let text = value[key].as_str().unwrap_or_default();
    assert!(!text.is_empty(), "no {key} in {value}");
    text
}

fn filled(query: &str) -> String {
    let filled = VARIABLES
        .iter()
        .fold(query.to_owned(), |query, (name, value)| {
            query.replace(name, value)
        });
    assert!(!filled.contains('$'), "an unknown variable: {query}");
    filled
}

#[test]
fn every_panel_says_what_it_shows_and_in_which_unit() {
    let dashboard = Dashboard::read();
    let panels = dashboard.panels();
    let ids: HashSet<u64> = panels.iter().filter_map(|it| it["id"].as_u64()).collect();
    assert_eq!(ids.len(), panels.len(), "ids are there, and distinct");
    let mut titles = HashSet::new();
    for panel in panels {
        assert!(titles.insert(text(panel, "title")), "{}", panel["title"]);
        if panel["type"] == "row" {
            continue;
        }
        text(panel, "description");
        text(&panel["fieldConfig"]["defaults"], "unit");
        let targets = list(panel, "targets");
        let names: HashSet<&str> = targets.iter().map(|it| text(it, "refId")).collect();
        assert!(!targets.is_empty() && names.len() == targets.len());
        for place in targets.iter().chain([panel]) {
            assert_eq!(text(&place["datasource"], "uid"), "${datasource}");
        }
        for target in targets {
            text(target, "expr");
        }
    }
}

#[test]
fn panels_do_not_overlap() {
    let mut taken = HashSet::new();
    for panel in Dashboard::read().panels() {
        let place = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        let (left, top) = (place("x"), place("y"));
        assert!(left + place("w") <= COLUMNS, "{}", panel["title"]);
        for x in left..left + place("w") {
            for y in top..top + place("h") {
                assert!(taken.insert((x, y)), "{} at {x}, {y}", panel["title"]);
            }
        }
    }
}

#[test]
fn variables_that_are_used_are_declared() {
    let Dashboard(value) = Dashboard::read();
    let declared = list(&value["templating"], "list").iter();
    let declared: HashSet<&str> = declared.map(|it| text(it, "name")).collect();
    assert_eq!(
        declared,
        HashSet::from(["datasource", "instance", "backend"])
    );
}
