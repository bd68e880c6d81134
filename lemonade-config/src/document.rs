//! A file that has been read, and what its reader may ask of it.
//!
//! The commands load one at start and at every reload, decode their raw types from it, and let it place the faults
//! that only they can see. Promise: reading reports what makes a file unreadable; everything else that is wrong in it
//! waits for [`Document::decode`], so that all of it is reported at once.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path as FilePath;

use serde::de::DeserializeOwned;

use crate::decode::MAX_FAULTS;
use crate::environment::Environment;
use crate::expand::expand;
use crate::fault::{Fault, Faults, Position};
use crate::node::{Lines, Node, Path, Value};
use crate::{decode, json, toml, yaml};

/// No file of ours comes near it; it keeps a mistaken path (a log, a core dump) from filling the memory.
pub(crate) const MAX_BYTES: usize = 4 * 1024 * 1024;

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `.yaml`, `.yml`: YAML 1.2, one document.
    Yaml,
    /// `.toml`: TOML 1.
    Toml,
    /// `.json`: without comments.
    Json,
}

impl Format {
    /// By the extension, in either case; None when it is not one of ours.
    pub fn of(path: &FilePath) -> Option<Format> {
        let extension = path.extension()?.to_str()?.to_ascii_lowercase();
        match extension.as_str() {
            "yaml" | "yml" => Some(Format::Yaml),
            "toml" => Some(Format::Toml),
            "json" => Some(Format::Json),
            _ => None,
        }
    }
}

/// A file as a tree of values that know their places.
#[derive(Debug, Clone)]
pub struct Document {
    name: String,
    root: Node,
    /// Duplicate keys and failed expansions, found while reading.
    faults: Vec<Fault>,
}

impl Document {
    /// Reads a file of up to 4 MiB. A file that is missing, not a file, not permitted, not UTF-8 or not valid in its
    /// format is one fault, or for TOML as many as it has.
    pub fn load(path: &FilePath, environment: &Environment) -> Result<Document, Faults> {
        let name = path.display().to_string();
        if path.is_dir() {
            return Err(Fault::new(name, "a directory, not a file").into());
        }
        let Some(format) = Format::of(path) else {
            let fault = Fault::new(name, "cannot tell its format from its extension");
            return Err(fault.help("known are .yaml, .yml, .toml and .json").into());
        };
        let text = read(path, &name)?;
        Document::parse(&name, format, &text, environment)
    }

    /// Reads a text; `name` stands for the file in faults.
    pub fn parse(
        name: &str,
        format: Format,
        text: &str,
        environment: &Environment,
    ) -> Result<Document, Faults> {
        if text.len() > MAX_BYTES {
            return Err(too_large(name).into());
        }
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut faults = Vec::new();
        let root = if text.trim().is_empty() {
            Node::new(Position::START, Value::Table(Vec::new()))
        } else {
            read_as(name, format, text, &mut faults)?
        };
        let mut document = Document {
            name: name.to_owned(),
            root,
            faults,
        };
        document.settle(environment)?;
        Ok(document)
    }

    /// A document without a file, for a command that is configured by its environment alone. Its faults have no
    /// position.
    pub fn empty(name: &str) -> Document {
        Document {
            name: name.to_owned(),
            root: Node {
                position: None,
                value: Value::Table(Vec::new()),
            },
            faults: Vec::new(),
        }
    }

    /// Decodes the whole file, with every fault in it up to 64, those of reading included.
    ///
    /// What has a fault is left out, so the value is there even when faults are, as long as its types have defaults
    /// for what is missing; check it further and report all together. Unknown keys are faults without
    /// `deny_unknown_fields`, except below `#[serde(flatten)]`, where serde hides which keys a type knows; untagged
    /// and internally tagged enums lose the positions inside them. A key without a value (`null`) counts as not
    /// written.
    pub fn decode<T: DeserializeOwned>(&self) -> (Option<T>, Vec<Fault>) {
        decode::decode(&self.name, &self.root, self.faults.clone())
    }

    /// A fault at `path` (`backends[1].weight`), or at the nearest parent that the file has.
    pub fn fault(&self, path: &str, problem: impl Into<String>) -> Fault {
        let (node, _) = self.root.find(path);
        Fault::new(&self.name, problem).at(node.position, path)
    }

    /// Whether the file writes this key, with a value.
    pub fn has(&self, path: &str) -> bool {
        let (node, found) = self.root.find(path);
        found && node.value != Value::Null
    }

    /// Takes every text as if it had come out of a variable, so that `"5"` is a number where one is asked for. For a document
    /// that was made by [`Self::to_json`], which cannot tell the two apart.
    pub fn loosen(&mut self) {
        self.root.visit(Path::Root, &mut |_, node| {
            if let Value::String(text) = &mut node.value {
                node.value = Value::Expanded(std::mem::take(text));
            }
        });
    }

    /// The whole file as JSON, variables expanded; what could not be expanded is `null`.
    pub fn to_json(&self) -> serde_json::Value {
        self.root.to_json()
    }

    /// The file as the user named it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Expands variables and drops duplicate keys, now that everything has its place.
    fn settle(&mut self, environment: &Environment) -> Result<(), Faults> {
        if self.root.value == Value::Null {
            self.root.value = Value::Table(Vec::new());
        }
        if !matches!(self.root.value, Value::Table(_)) {
            let fault = Fault::new(&self.name, "expected a table of keys at the top");
            return Err(fault.at(self.root.position, "").into());
        }
        let (file, faults) = (&self.name, &mut self.faults);
        self.root.visit(Path::Root, &mut |path, node| {
            node.refuse_duplicates(file, path, faults);
            expand_node(file, path, node, environment, faults);
        });
        faults.truncate(MAX_FAULTS);
        Ok(())
    }
}

fn read_as(
    name: &str,
    format: Format,
    text: &str,
    faults: &mut Vec<Fault>,
) -> Result<Node, Faults> {
    match format {
        Format::Yaml => yaml::read(name, text).map_err(Faults::from),
        Format::Json => json::read(name, text).map_err(Faults::from),
        Format::Toml => toml::read(name, text, faults),
    }
}

fn expand_node(
    file: &str,
    path: Path<'_>,
    node: &mut Node,
    environment: &Environment,
    faults: &mut Vec<Fault>,
) {
    let Value::String(text) = &node.value else {
        return;
    };
    match expand(text, environment) {
        Ok(None) => {}
        Ok(Some((text, false))) => node.value = Value::String(text),
        // An empty variable is how one switches a key off from outside.
        Ok(Some((text, true))) if text.is_empty() => node.value = Value::Null,
        Ok(Some((text, true))) => node.value = Value::Expanded(text),
        Err(error) => {
            let fault = Fault::new(file, error.to_string()).help(error.help());
            faults.push(fault.at(node.position, path.to_string()));
            node.value = Value::Unusable;
        }
    }
}

/// The text of a file within the size bound, for documents and `.env`.
pub(crate) fn read(path: &FilePath, name: &str) -> Result<String, Faults> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes))
        .map_err(|error| unreadable(name, &error))?;
    if bytes.len() > MAX_BYTES {
        return Err(too_large(name).into());
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(&error.as_bytes()[..valid]).into_owned();
        let position = Lines::new(&text).position(valid);
        Fault::new(name, "not UTF-8").at(Some(position), "").into()
    })
}

fn unreadable(name: &str, error: &std::io::Error) -> Fault {
    let problem = match error.kind() {
        ErrorKind::NotFound => "no such file".to_owned(),
        ErrorKind::PermissionDenied => "no permission to read it".to_owned(),
        ErrorKind::IsADirectory => "a directory, not a file".to_owned(),
        _ => format!("cannot be read: {error}"),
    };
    Fault::new(name, problem)
}

fn too_large(name: &str) -> Fault {
    Fault::new(name, "larger than 4 MiB")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;
    use crate::{Address, Located, OneOrMany, Percent, RawDuration, ShortOr, Switch};

    #[derive(Debug, Default, Deserialize)]
    #[serde(default)]
    struct Raw {
        listen: Option<Address>,
        strategy: Option<Strategy>,
        backends: OneOrMany<Located<Backend>>,
        timeouts: Timeouts,
        retries: Option<Switch<Timeouts>>,
        labels: BTreeMap<String, Option<ShortOr<Percent>>>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Strategy {
        Adaptive,
        LeastConnections,
    }

    #[derive(Debug, Default, Deserialize)]
    #[serde(default)]
    struct Backend {
        address: Option<Address>,
        weight: u16,
    }

    #[derive(Debug, Default, Deserialize)]
    #[serde(default)]
    struct Timeouts {
        connect: Option<RawDuration>,
        idle: Option<RawDuration>,
    }

    fn parse(name: &str, text: &str) -> Result<Document, Faults> {
        let format = Format::of(FilePath::new(name)).unwrap();
        Document::parse(
            name,
            format,
            text,
            &Environment::from_pairs([("HOST", "h")]),
        )
    }

    fn faults(name: &str, text: &str) -> String {
        let faults = match parse(name, text) {
            Ok(document) => Faults::check(document.decode::<Raw>().1).unwrap_err(),
            Err(faults) => faults,
        };
        faults.to_string()
    }

    #[test]
    fn broken_yaml_lists_every_fault() {
        let text = "\
listen: 127.0.0.1
strategy: adaptve
backends:
  - { address: \"${HOST}:80\", wieght: 2 }
  - address: ${WORKER}
    weight: many
timeouts: { connect: 1s, idle: -5s }
listen: 127.0.0.1:80
";
        assert_eq!(
            faults("lb.yaml", text),
            "7 faults\n\
             lb.yaml:1:9: listen: expected host:port, found `127.0.0.1`\n\
             lb.yaml:2:11: strategy: unknown value `adaptve`, expected one of `adaptive`, `least_connections` (did you mean `adaptive`?)\n\
             lb.yaml:4:30: backends[0].wieght: unknown key (did you mean `weight`?)\n\
             lb.yaml:5:14: backends[1].address: the environment variable `WORKER` is not set (set it, or give a default: `${WORKER:-…}`)\n\
             lb.yaml:6:13: backends[1].weight: expected a whole number from 0 to 65535, found the string `many`\n\
             lb.yaml:7:32: timeouts.idle: expected a duration of 0 or more, found `-5s`\n\
             lb.yaml:8:1: listen: duplicate key, first written on line 1"
        );
    }

    #[test]
    fn broken_toml_lists_every_fault() {
        let text = "\
listen = \"127.0.0.1\"
strategy = 5
listen = \"127.0.0.1:80\"

[[backends]]
address = \"${WORKER}\"

[[backends]]
wieght = 2

[timeouts]
idle = -5
";
        assert_eq!(
            faults("lb.toml", text),
            "6 faults\n\
             lb.toml:1:10: listen: expected host:port, found `127.0.0.1`\n\
             lb.toml:2:12: strategy: unknown value `5`, expected one of `adaptive`, `least_connections`\n\
             lb.toml:3:1: duplicate key `listen`\n\
             lb.toml:6:11: backends[0].address: the environment variable `WORKER` is not set (set it, or give a default: `${WORKER:-…}`)\n\
             lb.toml:9:1: backends[1].wieght: unknown key (did you mean `weight`?)\n\
             lb.toml:12:8: timeouts.idle: expected a duration of 0 or more, found `-5`"
        );
    }

    #[test]
    fn broken_json_lists_every_fault() {
        let text = "{
\t\"listen\": \"127.0.0.1\",
\t\"listen\": \"127.0.0.1:80\",
\t\"strategy\": [\"adaptive\"],
\t\"backends\": [{ \"address\": \"${WORKER}\", \"\\u0077ieght\": 2 }],
\t\"timeouts\": { \"idle\": true }
}
";
        assert_eq!(
            faults("lb.json", text),
            "6 faults\n\
             lb.json:2:12: listen: expected host:port, found `127.0.0.1`\n\
             lb.json:3:2: listen: duplicate key, first written on line 2\n\
             lb.json:4:14: strategy: expected one of `adaptive`, `least_connections`, found a list\n\
             lb.json:5:28: backends[0].address: the environment variable `WORKER` is not set (set it, or give a default: `${WORKER:-…}`)\n\
             lb.json:5:41: backends[0].wieght: unknown key (did you mean `weight`?)\n\
             lb.json:6:24: timeouts.idle: expected a duration such as `5s`, `250ms` or `1m30s`, found `true`"
        );
    }

    #[test]
    fn formats_agree() {
        let texts = [
            (
                "a.yaml",
                "listen: h:1\nbackends:\n- weight: 2\nlabels: {a: 5%, b: }\n",
            ),
            (
                "a.toml",
                "listen = \"h:1\"\nlabels.a = \"5%\"\n[[backends]]\nweight = 2\n",
            ),
            (
                "a.json",
                "{\"listen\":\"h:1\",\"backends\":[{\"weight\":2}],\"labels\":{\"a\":\"5%\",\"b\":null}}",
            ),
        ];
        for (name, text) in texts {
            let document = parse(name, text).unwrap();
            let (raw, faults) = document.decode::<Raw>();
            assert_eq!(faults, []);
            let raw = raw.unwrap();
            assert_eq!(
                raw.listen.map(|address| address.to_string()).as_deref(),
                Some("h:1"),
                "{name}"
            );
            assert_eq!(raw.backends.0[0].value.weight, 2);
            assert_eq!(raw.labels["a"].unwrap().0.fraction(), 0.05);
        }
    }

    #[test]
    fn document_survives_the_way_through_json() {
        let text = "listen: \"${HOST}:80\"\nbackends:\n- {address: a:1, weight: \"${WEIGHT}\"}\nlabels: {a: 5%}\n";
        let environment = Environment::from_pairs([("HOST", "h"), ("WEIGHT", "7")]);
        let document = Document::parse("a.yaml", Format::Yaml, text, &environment).unwrap();
        let json = document.to_json().to_string();
        let mut again = Document::parse("b", Format::Json, &json, &Environment::default()).unwrap();
        again.loosen();
        let (raw, faults) = again.decode::<Raw>();
        assert_eq!(faults, []);
        let raw = raw.unwrap();
        assert_eq!(raw.backends.0[0].value.weight, 7);
        assert_eq!(
            raw.listen.map(|listen| listen.to_string()).as_deref(),
            Some("h:80")
        );
    }

    #[test]
    fn syntax_faults_are_placed() {
        for (name, text, fault) in [
            (
                "a.yaml",
                "a: [1\nb: 2",
                "a.yaml:2:2: not valid YAML: illegal placement of ':' indicator",
            ),
            (
                "a.yaml",
                "a: 1\n---\nb: 2",
                "a.yaml:2:1: a second document begins here (a configuration is one document: remove the `---`)",
            ),
            (
                "a.yaml",
                "- a",
                "a.yaml:1:1: expected a table of keys at the top",
            ),
            ("a.yaml", "[a]: 1", "a.yaml:1:1: expected a word as the key"),
            ("a.yaml", "a: !!int 1", "a.yaml:1:4: tags are not supported"),
            (
                "a.yaml",
                "a: &a [*a]",
                "a.yaml:1:8: the alias refers to what it is part of",
            ),
            (
                "a.json",
                "{\"é\": 1,}",
                "a.json:1:9: not valid JSON: trailing comma",
            ),
            (
                "a.json",
                "{",
                "a.json:1:1: not valid JSON: EOF while parsing an object",
            ),
            (
                "a.json",
                "{\"a\": \"\\ud83d\"}",
                "a.json:1:14: not valid JSON: unexpected end of hex escape",
            ),
            (
                "a.json",
                "[1]",
                "a.json:1:1: expected a table of keys at the top",
            ),
        ] {
            assert_eq!(faults(name, text), fault);
        }
    }

    #[test]
    fn faults_of_reading_are_bounded() {
        for (name, text) in [
            ("a.yaml", "a: 1\n"),
            ("a.toml", "a = 1\n"),
            ("a.toml", "=\n"),
        ] {
            let lines = faults(name, &text.repeat(1000)).lines().count();
            assert!((2..=MAX_FAULTS + 1).contains(&lines), "{name}: {lines}");
        }
    }

    #[test]
    fn every_syntax_fault_of_toml_is_listed() {
        assert_eq!(
            faults("a.toml", "a = \nb = 1\nc = [1\n"),
            "2 faults\n\
             a.toml:1:5: not valid TOML: string values must be quoted, expected literal string\n\
             a.toml:3:7: not valid TOML: unclosed array, expected `]`"
        );
    }

    #[test]
    fn empty_files_are_empty_tables() {
        for (name, text) in [
            ("a.yaml", ""),
            ("a.yaml", "# nothing\n"),
            ("a.yaml", "---\n"),
            ("a.toml", "\n"),
            ("a.json", " "),
            ("a.json", "\u{feff}{}"),
        ] {
            let (raw, faults) = parse(name, text).unwrap().decode::<Raw>();
            assert!(raw.is_some() && faults.is_empty(), "{name} {text:?}");
        }
    }

    #[test]
    fn faults_are_placed_by_path() {
        let document = parse(
            "a.yaml",
            "backends:\n- weight: 1\n- weight: 2\nlabels:\n  a.b: 1%\n  c:\n",
        )
        .unwrap();
        for (path, line, column) in [
            ("backends[1].weight", 3, 11),
            ("backends[1].address", 3, 3),
            ("backends[9].weight", 2, 3),
            ("labels.\"a.b\"", 5, 8),
            ("label", 1, 1),
            ("", 1, 1),
        ] {
            let fault = document.fault(path, "wrong");
            assert_eq!(fault.position, Some(Position { line, column }), "{path}");
            assert_eq!(fault.path, path);
        }
        assert!(document.has("backends[1]") && document.has("labels.\"a.b\""));
        assert!(!document.has("backends[2]") && !document.has("labels.c") && !document.has("back"));
    }

    #[test]
    fn aliases_expand_within_bounds() {
        let document = parse("a.yaml", "backends: [&b {weight: 1}, *b]").unwrap();
        let (raw, _) = document.decode::<Raw>();
        assert_eq!(raw.unwrap().backends.0[1].value.weight, 1);
        let mut laughs = "a0: &a0 [x]\n".to_owned();
        for level in 1..20 {
            let before = format!("*a{}", level - 1);
            laughs += &format!(
                "a{level}: &a{level} [{}]\n",
                [before.as_str(); 9].join(", ")
            );
        }
        assert!(faults("a.yaml", &laughs).contains("too large: more than 100000 values"));
        let long = format!(
            "a: &a {}\nb: [{}]",
            "x".repeat(1 << 20),
            ["*a"; 9].join(", ")
        );
        assert!(faults("a.yaml", &long).contains("too large"));
    }

    #[test]
    fn deep_nesting_is_a_fault_in_every_format() {
        let deep = |open: &str, levels, close: &str| {
            format!("{}1{}", open.repeat(levels), close.repeat(levels))
        };
        let steps = |level| format!("{}a:\n", " ".repeat(level));
        let dotted = "a.".repeat(78);
        for levels in [70, 79, 200, 100_000] {
            let few = levels.min(1000);
            for (name, text) in [
                ("a.yaml", format!("a: {}", deep("[", levels, "]"))),
                ("a.yaml", format!("a: {}", deep("{b: ", levels, "}"))),
                ("a.yaml", format!("a:\n {}", "- ".repeat(levels))),
                ("a.yaml", (0..few).map(steps).collect()),
                ("a.json", deep("{\"a\":", levels, "}")),
                ("a.json", format!("{{\"a\":{}}}", deep("[", levels, "]"))),
                ("a.toml", format!("a = {}", deep("[", levels, "]"))),
                ("a.toml", format!("{}b = 1", "a.".repeat(levels))),
                (
                    "a.toml",
                    format!(
                        "[{dotted}b]\na = {}",
                        deep(&format!("{{ {dotted}b = "), few, "}")
                    ),
                ),
            ] {
                let start: String = text.chars().take(20).collect();
                let faults = faults(name, &text);
                let told = faults.contains("deep")
                    || faults.contains("recurs")
                    || faults.contains("not valid");
                assert!(told, "{name} {levels} {start}: {faults}");
            }
        }
    }

    #[test]
    fn nesting_within_bounds_decodes() {
        let text = format!("labels: {}{}", "[".repeat(60), "]".repeat(60));
        assert!(faults("a.yaml", &text).ends_with("labels: expected a table, found a list"));
    }

    #[test]
    fn unreadable_files_are_one_clear_fault() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::create_dir(path("dir.yaml")).unwrap();
        std::fs::write(path("latin.yaml"), b"a: 1\nb: \xe9\n").unwrap();
        std::fs::write(path("large.yaml"), vec![b'#'; MAX_BYTES + 1]).unwrap();
        for (name, problem) in [
            ("none.yaml", ": no such file"),
            ("dir.yaml", ": a directory, not a file"),
            ("latin.yaml", ":2:4: not UTF-8"),
            ("large.yaml", ": larger than 4 MiB"),
            (
                "a.ini",
                ": cannot tell its format from its extension (known are .yaml, .yml, .toml and .json)",
            ),
        ] {
            let path = path(name);
            let faults = Document::load(&path, &Environment::default()).unwrap_err();
            assert_eq!(faults.to_string(), format!("{}{problem}", path.display()));
        }
    }

    #[test]
    fn files_load_by_extension() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("a.YML", "a: 1"),
            ("a.toml", "a = 1"),
            ("a.json", "{\"a\": 1}"),
        ] {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            let document = Document::load(&path, &Environment::default()).unwrap();
            assert!(document.has("a"));
            assert_eq!(document.name(), path.display().to_string());
        }
    }

    #[test]
    fn json_keeps_every_letter() {
        let text = "{\"labels\":\t{\"\\ud83d\\ude00\\\\\\\"\"\n:\"${HOST:-1%}\"},\"x/\\u002f😀\":0, \"listen\" : 7}";
        assert_eq!(
            faults("a.json", text),
            "3 faults\n\
             a.json:2:2: labels.\"😀\\\\\\\"\": expected a percentage such as `50%`, found `h`\n\
             a.json:2:17: \"x//😀\": unknown key (expected one of `listen`, `strategy`, `backends`, `timeouts`, `retries`, `labels`)\n\
             a.json:2:43: listen: expected an address `host:port`, found the number 7"
        );
    }

    #[test]
    fn yaml_columns_count_characters() {
        for text in [
            "labels: {é: 1%, \"😀é\": 2%, 'ß': 3%, x: y}",
            "labels: {a: &é 1%, b: *é, é é: 3%, x: y}",
            "labels: {a: !!str 1%, ? é : 3%, x: y} # é",
            "# é\nlabels: {a: 'é\n é', x: y}",
            "labels:\n  é: |\n   é\n   é\n  x: y\r\n",
            "labels:\n\n\n  é: \"\\u00e9é\"  \r\n  é é: é   # ß\r\n  x: y\r\n",
        ] {
            let before = text.split("y").next().unwrap();
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().unwrap().chars().count() + 1;
            let fault = parse("a.yaml", text).unwrap().fault("labels.x", "wrong");
            assert_eq!(fault.position, Some(Position { line, column }), "{text}");
        }
    }

    fn check(format: Format, text: &str) -> Result<(), TestCaseError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let lines: Vec<&str> = text.split('\n').collect();
        let faults = match Document::parse("f", format, text, &Environment::default()) {
            Ok(document) => document.decode::<Raw>().1,
            Err(faults) => faults.into_iter().collect(),
        };
        for Position { line, column } in faults.iter().filter_map(|fault| fault.position) {
            prop_assert!((1..=lines.len()).contains(&line), "line {line}");
            let length = lines[line - 1].chars().count();
            prop_assert!(
                (1..=length + 1).contains(&column),
                "{line}:{column} of {length}"
            );
        }
        Ok(())
    }

    const FORMATS: [Format; 3] = [Format::Yaml, Format::Toml, Format::Json];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn any_text_is_read_or_refused(text in "(?s).{0,200}") {
            for format in FORMATS {
                check(format, &text)?;
            }
        }

        #[test]
        fn likely_text_is_read_or_refused(words in prop::collection::vec(prop::sample::select(WORDS), 0..40)) {
            for format in FORMATS {
                check(format, &words.concat())?;
            }
        }
    }

    const WORDS: &[&str] = &[
        "listen",
        "backends",
        "labels",
        "weight",
        "a",
        "é",
        "😀",
        "1",
        "-5s",
        "1e999",
        "nan",
        "true",
        "null",
        ":",
        ": ",
        "\n",
        "\r\n",
        "\r",
        "\t",
        " ",
        "  ",
        "- ",
        "-",
        "[",
        "]",
        "[[",
        "]]",
        "{",
        "}",
        ",",
        "=",
        " = ",
        ".",
        "\"",
        "'",
        "'''",
        "\"\"\"",
        "|",
        ">",
        "|\n",
        "&a ",
        "*a",
        "!!str ",
        "!t ",
        "? ",
        "---",
        "...",
        "%TAG ",
        "#",
        " # ",
        "${",
        "${A}",
        "${A:-b}",
        "\\",
        "\\u00e9",
        "\\ud83d",
        "<<",
        "~",
        "@",
        "`",
        "\u{feff}",
        "\u{2028}",
        "\u{85}",
        "\0",
        "0x1F",
        "1979-05-27",
    ];
}
