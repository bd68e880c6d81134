//! Holds what ARCHITECTURE.md promises of the source: who may import whom, and what must not occur where.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

/// The balancer's modules from top to bottom; a module imports only from layers below its own. Those of one layer do not
/// know each other.
const LAYERS: [&[&str]; 15] = [
    &["app"],
    &[
        "admin",
        "config_watch",
        "discovery",
        "external",
        "health",
        "proxy",
        "telemetry",
    ],
    &["history", "metrics"],
    &["control", "simulated"],
    &["explain", "guard"],
    &["snapshot"],
    &["affinity", "listen"],
    &["config"],
    &["decision"],
    &["concurrency", "outlier", "seal", "strategy"],
    &["backend", "traces"],
    &["access_log", "log_file"],
    &["descriptors", "drain", "http1", "otlp", "stats"],
    &["timestamp"],
    &["digits"],
];

/// Names that say nothing about what is in them.
const EMPTY_NAMES: [&str; 6] = ["utils", "common", "helpers", "models", "manager", "prelude"];

/// Which of our crates each may depend on.
const CRATES: [(&str, &[&str]); 7] = [
    ("lemonade-test", &[]),
    ("lemonade-config", &[]),
    ("lemonade-observability", &[]),
    ("lemonade-service", &["lemonade-config"]),
    (
        "lemonade-load-balancer",
        &["lemonade-config", "lemonade-observability"],
    ),
    ("lemonade-worker-tokio", &["lemonade-service"]),
    (
        "lemonade-simulation",
        &["lemonade-config", "lemonade-load-balancer"],
    ),
];

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every Rust file below `folder`, with its text.
fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") && !path.ends_with(".git") {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push((path.clone(), fs::read_to_string(&path).unwrap()));
        }
    }
    found
}

/// The part of a file before its tests.
fn product(text: &str) -> &str {
    text.split("#[cfg(test)]").next().unwrap()
}

/// The module of the balancer that a file belongs to: `proxy/shard.rs` is of `proxy`.
fn module(file: &Path) -> String {
    let first = file
        .components()
        .next()
        .unwrap()
        .as_os_str()
        .to_str()
        .unwrap();
    first.trim_end_matches(".rs").to_owned()
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// The modules that a text names as `crate::module`, in `use` lists too; documentation does not count.
fn imports(text: &str) -> Vec<String> {
    let code: String = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| [line, "\n"])
        .collect();
    let mut found = Vec::new();
    for rest in code.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            Some(list) => {
                let list = list.split('}').next().unwrap();
                found.extend(list.split(',').map(first_word));
            }
            None => found.push(first_word(rest)),
        }
    }
    found
}

fn first_word(text: &str) -> String {
    text.trim_start()
        .chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

/// The imports of `file` that go up or sideways.
fn violations(file: &Path, text: &str) -> Vec<String> {
    let own = module(file);
    let Some(own_layer) = layer(&own) else {
        return vec![format!(
            "{}: `{own}` is in no layer of this test",
            file.display()
        )];
    };
    imports(product(text))
        .into_iter()
        .filter(|other| *other != own)
        .filter_map(|other| match layer(&other) {
            Some(other_layer) if other_layer > own_layer => None,
            Some(_) => Some(format!(
                "{}: `{own}` must not import `{other}`",
                file.display()
            )),
            None => Some(format!("{}: `{other}` is in no layer", file.display())),
        })
        .collect()
}

#[test]
fn imports_point_down_only() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let broken: Vec<String> = sources(&root)
        .iter()
        .map(|(path, text)| (path.strip_prefix(&root).unwrap(), text))
        // The map, and what benches and fuzz targets see of everything.
        .filter(|(path, _)| *path != Path::new("lib.rs") && *path != Path::new("internals.rs"))
        .flat_map(|(path, text)| violations(path, text))
        .collect();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn checker_sees_what_it_is_for() {
    let sideways = violations(Path::new("proxy/shard.rs"), "use crate::health::run;");
    assert_eq!(
        sideways,
        ["proxy/shard.rs: `proxy` must not import `health`"]
    );
    let up = "use crate::{backend::Load, app::App};\n";
    assert_eq!(violations(Path::new("strategy/x.rs"), up).len(), 1);
    assert_eq!(
        violations(Path::new("control/task.rs"), "fn f(x: crate::app::App) {}").len(),
        1
    );
    assert!(
        violations(
            Path::new("proxy/mod.rs"),
            "/// [`crate::app`]\nuse crate::control;"
        )
        .is_empty()
    );
    assert!(violations(Path::new("backend/x.rs"), "#[cfg(test)]\nuse crate::app;").is_empty());
    assert_eq!(
        violations(Path::new("new.rs"), "").len(),
        1,
        "a new module needs a layer"
    );
}

#[test]
fn no_module_has_an_empty_name() {
    let root = workspace();
    for (path, _) in sources(&root) {
        let path = path.strip_prefix(&root).unwrap();
        let names = path
            .components()
            .map(|part| part.as_os_str().to_str().unwrap().to_owned());
        for name in names {
            let name = name.trim_end_matches(".rs");
            assert!(
                !EMPTY_NAMES.contains(&name),
                "{}: a name that says nothing",
                path.display()
            );
        }
    }
}

/// Fails with each line of `folders` that holds one of `words`.
fn refuse(folders: &[&str], words: &[&str], why: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut broken = Vec::new();
    for (path, text) in sources(&root) {
        let relative = path.strip_prefix(&root).unwrap();
        if !folders.contains(&module(relative).as_str()) {
            continue;
        }
        for (number, line) in product(&text).lines().enumerate() {
            let code = line.split("//").next().unwrap();
            if words.iter().any(|word| code.contains(word)) {
                broken.push(format!(
                    "{}:{}: {why}: {line}",
                    relative.display(),
                    number + 1
                ));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn proxy_takes_no_lock() {
    refuse(
        &["proxy"],
        &["Mutex", "RwLock", "parking_lot"],
        "a lock on the way of a request",
    );
}

#[test]
fn pure_parts_read_no_clock_and_do_no_io() {
    let words = [
        "Instant::now",
        "SystemTime::now",
        "elapsed()",
        "tokio::",
        "std::fs",
        "std::net::Tcp",
    ];
    refuse(
        &[
            "strategy",
            "decision",
            "outlier",
            "concurrency",
            "seal",
            "backend",
            "http1",
            "stats",
        ],
        &words,
        "a policy that is not pure",
    );
    refuse(
        &["affinity", "explain", "snapshot", "config"],
        &["Instant::now", "SystemTime::now"],
        "a clock read",
    );
}

#[test]
fn crates_depend_downwards_only() {
    for (name, allowed) in CRATES {
        let manifest = fs::read_to_string(workspace().join(name).join("Cargo.toml")).unwrap();
        let section = manifest.split("[dependencies]").nth(1).unwrap_or_default();
        let section = section.split("\n[").next().unwrap();
        for line in section.lines().filter(|line| line.starts_with("lemonade")) {
            let dependency = line.split(['.', ' ', '=']).next().unwrap();
            assert!(
                allowed.contains(&dependency),
                "{name} must not depend on {dependency}"
            );
        }
    }
}
