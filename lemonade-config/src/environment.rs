//! The variables a file may refer to: those of the process, and those of a `.env` beside the working directory.
//!
//! The commands take one [`Environment`] at start and pass it to every load, so that a reload sees what the start saw
//! and tests need not touch the process. Promise: the process wins over `.env`.

use std::collections::HashMap;
use std::path::Path;

use crate::document;
use crate::expand::is_name;
use crate::fault::{Fault, Faults, Position};

/// Variables by name. Those of the process that are not UTF-8 are passed over.
#[derive(Clone, Default)]
pub struct Environment {
    variables: HashMap<String, String>,
}

/// Names only: the values may be secrets.
impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.variables.keys()).finish()
    }
}

impl Environment {
    /// The process's variables, and those of `./.env` where the process has none of that name. No `.env` is fine; one
    /// that cannot be read, or has a malformed line, is not.
    pub fn from_process() -> Result<Environment, Faults> {
        let process = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        Environment::with_file(Path::new(".env"), process)
    }

    /// These variables and no others; of two with one name the later holds.
    pub fn from_pairs<N, V>(pairs: impl IntoIterator<Item = (N, V)>) -> Environment
    where
        N: Into<String>,
        V: Into<String>,
    {
        let pairs = pairs.into_iter();
        Environment {
            variables: pairs
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        }
    }

    /// The variable's value; an empty one is a value.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    fn with_file(
        path: &Path,
        process: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Environment, Faults> {
        let mut environment = Environment::default();
        if path.exists() {
            let name = path.display().to_string();
            let text = document::read(path, &name)?;
            environment.variables = parse(&name, &text)?;
        }
        environment.variables.extend(process);
        Ok(environment)
    }
}

fn parse(file: &str, text: &str) -> Result<HashMap<String, String>, Faults> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut variables = HashMap::new();
    let mut faults = Vec::new();
    for (index, line) in text.lines().enumerate() {
        match assignment(line) {
            Ok(Some((name, value))) => {
                variables.insert(name.to_owned(), value);
            }
            Ok(None) => {}
            Err(problem) => {
                let position = Position {
                    line: index + 1,
                    column: line.chars().take_while(|c| c.is_whitespace()).count() + 1,
                };
                faults.push(Fault::new(file, problem).at(Some(position), ""));
            }
        }
    }
    Faults::check(faults).map(|()| variables)
}

/// None for a blank line or a comment.
fn assignment(line: &str) -> Result<Option<(&str, String)>, &'static str> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let line = line.strip_prefix("export ").unwrap_or(line);
    let (name, value) = line.split_once('=').ok_or("expected NAME=value")?;
    let name = name.trim();
    if !is_name(name) {
        return Err("expected NAME=value, a name of letters, digits and `_`");
    }
    let value = value.trim_start();
    let value = match value.chars().next() {
        Some(quote @ ('"' | '\'')) => quoted(&value[1..], quote)?,
        _ => unquoted(value).to_owned(),
    };
    Ok(Some((name, value)))
}

/// A `#` begins a comment only after a blank, so that `a#b` is a value.
fn unquoted(value: &str) -> &str {
    if value.starts_with('#') {
        return "";
    }
    let comment = value
        .match_indices('#')
        .find(|&(at, _)| value[..at].ends_with([' ', '\t']));
    comment.map_or(value, |(at, _)| value[..at].trim_end())
}

/// Single quotes keep every letter; double ones know `\n`, `\r`, `\t` and a backslash before anything else.
fn quoted(inside: &str, quote: char) -> Result<String, &'static str> {
    let mut value = String::new();
    let mut letters = inside.chars();
    loop {
        match letters
            .next()
            .ok_or("the quote is not closed on its line")?
        {
            end if end == quote => break,
            '\\' if quote == '"' => value.push(match letters.next() {
                Some('n') => '\n',
                Some('r') => '\r',
                Some('t') => '\t',
                Some(other) => other,
                None => continue,
            }),
            letter => value.push(letter),
        }
    }
    let after = letters.as_str().trim_start();
    if after.is_empty() || after.starts_with('#') {
        return Ok(value);
    }
    Err("expected nothing after the closing quote")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_takes_exports_quotes_and_comments() {
        let text = "# ours\n\nexport A=1\nB = two words # why\nC='$ \\n #'\nD=\"x\\n\\\"y\\\"\" # z\nE=\nF=a#b\r\nG=#x\n";
        let variables = parse(".env", text).unwrap();
        for (name, value) in [
            ("A", "1"),
            ("B", "two words"),
            ("C", "$ \\n #"),
            ("D", "x\n\"y\""),
            ("E", ""),
            ("F", "a#b"),
            ("G", ""),
        ] {
            assert_eq!(
                variables.get(name).map(String::as_str),
                Some(value),
                "{name}"
            );
        }
    }

    #[test]
    fn every_malformed_line_is_reported() {
        let faults = parse(".env", "A=1\n  nonsense\n1B=2\nC=\"open\nD='x' y\nE=\"\\").unwrap_err();
        assert_eq!(
            faults.to_string(),
            "5 faults\n\
             .env:2:3: expected NAME=value\n\
             .env:3:1: expected NAME=value, a name of letters, digits and `_`\n\
             .env:4:1: the quote is not closed on its line\n\
             .env:5:1: expected nothing after the closing quote\n\
             .env:6:1: the quote is not closed on its line"
        );
    }

    #[test]
    fn process_wins_over_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".env");
        std::fs::write(&path, "A=file\nB=file\n").unwrap();
        let process = [("A".to_owned(), "process".to_owned())];
        let environment = Environment::with_file(&path, process).unwrap();
        assert_eq!(environment.get("A"), Some("process"));
        assert_eq!(environment.get("B"), Some("file"));
        assert_eq!(environment.get("C"), None);
    }

    #[test]
    fn missing_file_is_fine() {
        let environment = Environment::with_file(Path::new("/nowhere/.env"), []).unwrap();
        assert_eq!(environment.get("A"), None);
    }
}
