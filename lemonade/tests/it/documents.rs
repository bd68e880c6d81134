//! What the documents show must load as it stands.

use crate::process::root;
use lemonade_config::{Document, Environment, Format};
use lemonade_load_balancer::config::{Overrides, load};
use lemonade_service::{Scenario, WorkerConfig, WorkerOptions};
use std::path::Path;

fn samples(prefix: &str) -> Vec<std::path::PathBuf> {
    let mut found: Vec<_> = std::fs::read_dir(root().join("config"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .starts_with(prefix)
        })
        .collect();
    found.sort();
    assert!(!found.is_empty(), "no samples called {prefix}*");
    found
}

#[test]
fn every_sample_of_the_balancer_loads() {
    for prefix in ["load-balancer", "config", "nested", "everything"] {
        for path in samples(prefix) {
            load(Some(&path), &Environment::default(), &Overrides::default())
                .unwrap_or_else(|faults| panic!("{faults}"));
        }
    }
}

#[test]
fn every_sample_of_the_worker_loads() {
    for path in samples("worker") {
        let options = WorkerOptions {
            framework: Some("axum".to_owned()),
            config: Some(path),
            ..WorkerOptions::default()
        };
        WorkerConfig::resolve(options, &Environment::default())
            .unwrap_or_else(|faults| panic!("{faults}"));
    }
    for path in samples("scenario") {
        Scenario::load(&path, &Environment::default()).unwrap_or_else(|faults| panic!("{faults}"));
    }
}

#[test]
fn every_configuration_in_a_document_loads() {
    let mut shown = 0;
    for document in [
        "README.md",
        "docs/configuration.md",
        "docs/operations.md",
        "docs/adaptive.md",
        "docs/telemetry.md",
        "docs/access-log.md",
    ] {
        for block in yaml_blocks(&root().join(document)) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("block.yaml");
            std::fs::write(&path, &block).unwrap();
            load(Some(&path), &Environment::default(), &Overrides::default())
                .unwrap_or_else(|faults| panic!("{document}: {faults}\n{block}"));
            shown += 1;
        }
    }
    assert!(shown >= 2, "{shown} blocks");
}

fn yaml_blocks(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap();
    let blocks = text.split("```yaml\n").skip(1);
    blocks
        .map(|rest| rest.split("```").next().unwrap().to_owned())
        .collect()
}

/// Every key that the reference lists is one that the loader knows.
#[test]
fn every_key_of_the_reference_exists() {
    let text = std::fs::read_to_string(root().join("docs/configuration.md")).unwrap();
    let section = text
        .split("## Keys")
        .nth(1)
        .and_then(|rest| rest.split("\n## ").next())
        .unwrap();
    let keys: Vec<&str> = section
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .collect();
    assert!(keys.len() > 30, "{keys:?}");
    for key in keys {
        let unknown = misspelt(key);
        assert!(
            unknown.contains("unknown key"),
            "{key}x is not refused: {unknown}"
        );
        assert!(
            unknown.contains(&format!("`{}`", last(key))),
            "{key} is not known: {unknown}"
        );
    }
}

/// And every key that the loader knows is listed, with the default that it has in the code; but for those that are read for
/// the sake of older files and of later releases.
#[test]
fn every_key_of_the_loader_is_in_the_reference() {
    let text = std::fs::read_to_string(root().join("docs/configuration.md")).unwrap();
    let rows: std::collections::HashMap<&str, &str> = text
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split(" | ");
            let key = cells.next()?.trim_end_matches('`');
            Some((key, cells.next()?.trim_matches('`')))
        })
        .collect();
    let schema = lemonade_load_balancer::config::schema();
    let mut known = Vec::new();
    keys(&schema, &schema, "", &mut known);
    assert!(known.len() > 50, "{known:?}");
    for (key, default) in known {
        let Some(documented) = rows.get(key.as_str()) else {
            panic!("docs/configuration.md does not list `{key}`");
        };
        if let Some(default) = default {
            let same = *documented == default
                || documented
                    .parse::<lemonade_config::ByteSize>()
                    .is_ok_and(|size| size.as_u64().to_string() == default)
                || documented
                    .parse::<lemonade_config::RawDuration>()
                    .ok()
                    .map(|it| it.or_millis())
                    == default
                        .parse::<lemonade_config::RawDuration>()
                        .ok()
                        .map(|it| it.or_millis());
            assert!(
                same,
                "`{key}` has the default `{default}`, not `{documented}`"
            );
        }
    }
}

/// Every key of a schema with its default, if that is no table.
fn keys(
    schema: &serde_json::Value,
    part: &serde_json::Value,
    path: &str,
    known: &mut Vec<(String, Option<String>)>,
) {
    if let Some(place) = part["$ref"].as_str() {
        let place = place.trim_start_matches('#');
        return keys(schema, schema.pointer(place).unwrap(), path, known);
    }
    for choice in part["anyOf"].as_array().into_iter().flatten() {
        let path = match choice["type"] == "array" && !path.ends_with("[]") {
            true => format!("{path}[]"),
            false => path.to_owned(),
        };
        let choice = if choice["type"] == "array" {
            &choice["items"]
        } else {
            choice
        };
        keys(schema, choice, &path, known);
    }
    for (key, property) in part["properties"].as_object().into_iter().flatten() {
        let description = property["description"].as_str().unwrap_or_default();
        let description = description.to_lowercase();
        let aside = ["older", "no effect", "another name"];
        if aside.iter().any(|word| description.contains(word)) {
            continue;
        }
        let is_list = property["anyOf"]
            .as_array()
            .is_some_and(|choices| choices.iter().any(|choice| choice["type"] == "array"));
        let dot = if path.is_empty() { "" } else { "." };
        let list = if is_list { "[]" } else { "" };
        let path = format!("{path}{dot}{key}{list}");
        let default = match &property["default"] {
            serde_json::Value::String(text) => Some(text.clone()),
            serde_json::Value::Number(number) => Some(number.to_string()),
            serde_json::Value::Bool(flag) => Some(flag.to_string()),
            _ => None,
        };
        // A block is listed by what is in it; one with a short form is listed itself as well.
        let before = known.len();
        keys(schema, property, &path, known);
        if known.len() == before {
            known.push((path, default));
        }
    }
}

fn last(key: &str) -> &str {
    key.trim_end_matches("[]").rsplit('.').next().unwrap()
}

/// What the loader says of the key with a letter too much: it suggests the key if it knows it.
fn misspelt(key: &str) -> String {
    let misspelt = format!("{}x", key.trim_end_matches("[]"));
    let value = misspelt.rsplit('.').fold("1".to_owned(), |value, part| {
        match part.strip_suffix("[]") {
            Some(list) => format!("{{{list}: [{value}]}}"),
            None => format!("{{{part}: {value}}}"),
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.yaml");
    std::fs::write(&path, &value).unwrap();
    match load(Some(&path), &Environment::default(), &Overrides::default()) {
        Ok(_) => String::new(),
        Err(faults) => faults.to_string(),
    }
}

#[test]
fn flat_json_of_the_seed_is_json() {
    let text = std::fs::read_to_string(root().join("config/config.json")).unwrap();
    assert!(Document::parse("config.json", Format::Json, &text, &Environment::default()).is_ok());
}
