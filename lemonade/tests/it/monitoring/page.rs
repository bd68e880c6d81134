//! docs/observability.md against a real scrape and the list of names in the code, both ways.

use super::server::wait;
use super::stage::Stage;
use crate::process::root;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::read_to_string;

/// A row of the page's table, or a family of a scrape.
#[derive(Debug, Default, PartialEq)]
struct Family {
    kind: String,
    /// By label its values; None where the page does not list them.
    labels: BTreeMap<String, Option<BTreeSet<String>>>,
}

/// What only rare circumstances bring forth: a telemetry server that takes a part, which is none that is away.
const RARE: [&str; 1] = ["lemonade_telemetry_rejected_total"];

type Families = BTreeMap<String, Family>;

fn page() -> String {
    read_to_string(root().join("docs/observability.md")).unwrap()
}

/// Its headings, as links name them.
pub(super) fn sections() -> HashSet<String> {
    let page = page();
    let headings = page.lines().filter_map(|line| line.strip_prefix("##"));
    let words = headings.map(|heading| heading.trim_start_matches('#').trim().to_lowercase());
    words
        .map(|words| words.replace(' ', "-").replace([',', '?', '`', '.'], ""))
        .collect()
}

/// Rows such as ``| `name` | counter | `class` = 2xx, 5xx; `backend`: its name | unit | meaning | when |``.
fn described() -> Families {
    let page = page();
    let rows = page.lines().filter_map(|line| {
        let cells: Vec<&str> = line.split(" | ").collect();
        let name = cells[0].strip_prefix("| `")?.strip_suffix('`')?;
        let is_metric = name.starts_with("lemonade_") || name.starts_with("process_");
        (is_metric && cells.len() == 6).then(|| {
            let kind = cells[1].to_owned();
            let labels = labels_described(cells[2]);
            (name.to_owned(), Family { kind, labels })
        })
    });
    rows.collect()
}

fn labels_described(cell: &str) -> BTreeMap<String, Option<BTreeSet<String>>> {
    let parts = cell.split("; ").filter(|part| part.starts_with('`'));
    let label = |part: &str| {
        let (label, rest) = part[1..].split_once('`').unwrap();
        let values = rest.strip_prefix(" = ").map(|values| {
            let values = values.split(", ").map(str::to_owned);
            values.collect()
        });
        (label.to_owned(), values)
    };
    parts.map(label).collect()
}

fn scraped(text: &str) -> Families {
    let mut families = Families::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some((name, kind)) = line
            .strip_prefix("# TYPE ")
            .and_then(|rest| rest.split_once(' '))
        {
            families.entry(name.to_owned()).or_default().kind = kind.to_owned();
        } else if !line.starts_with('#') {
            let (series, _) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let family = families.get_mut(family(name)).expect(line);
            for label in labels.trim_end_matches('}').split("\",") {
                add_label(family, label);
            }
        }
    }
    // A family that has no sample is not there for Prometheus.
    families
}

/// The family that a sample belongs to.
fn family(name: &str) -> &str {
    let parts = ["_bucket", "_sum", "_count"];
    let part = parts.iter().find_map(|part| name.strip_suffix(part));
    part.filter(|name| name.ends_with("_seconds"))
        .unwrap_or(name)
}

/// One of `label="value`. How buckets are bounded is the format's business.
fn add_label(family: &mut Family, label: &str) {
    let Some((name, value)) = label.split_once("=\"").filter(|(name, _)| *name != "le") else {
        return;
    };
    let values = family.labels.entry(name.to_owned()).or_default();
    let value = value.trim_end_matches('"').to_owned();
    values.get_or_insert_default().insert(value);
}

fn named_in_the_code() -> BTreeSet<String> {
    let file = root().join("lemonade-load-balancer/src/stats/names.rs");
    let text = read_to_string(file).unwrap();
    let names = text.split("&str = \"").skip(1);
    names
        .map(|rest| rest.split('"').next().unwrap().to_owned())
        .collect()
}

#[test]
fn every_symptom_leads_to_a_section() {
    let (page, sections) = (page(), sections());
    let links: Vec<&str> = page.split("](#").skip(1).collect();
    assert!(links.len() > 10);
    for link in links {
        let (section, _) = link.split_once(')').unwrap();
        assert!(sections.contains(section), "no section {section}");
    }
}

#[test]
fn every_metric_is_described_and_no_other() {
    let described: BTreeSet<String> = described().into_keys().collect();
    assert_eq!(described, named_in_the_code());
}

#[test]
fn metrics_are_as_described() {
    let stage = Stage::start();
    let mut text = String::new();
    wait("a switch of the strategy, and pushes in vain", || {
        text = stage.metrics();
        let late = [
            "lemonade_decisions_total{",
            "lemonade_telemetry_exports_total{",
            "lemonade_telemetry_dropped_total{",
        ];
        late.iter().all(|series| text.contains(series))
    });
    let (mut described, scraped) = (described(), scraped(&text));
    described.retain(|name, _| scraped.contains_key(name) || !RARE.contains(&&**name));
    let names = |families: &Families| families.keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(names(&described), names(&scraped));
    for (name, family) in &described {
        let seen = &scraped[name];
        assert_eq!(family.kind, seen.kind, "{name}");
        let labels = |it: &Family| it.labels.keys().cloned().collect::<Vec<_>>();
        assert_eq!(labels(family), labels(seen), "{name}");
        for (label, values) in &family.labels {
            let Some(values) = values else { continue };
            let seen = seen.labels[label].as_ref().unwrap();
            assert!(seen.is_subset(values), "{name}: {label} is {seen:?}");
        }
    }
}
