//! The tree every format is read into: values that know where they stand.
//!
//! The three readers build it, [`Document`](crate::Document) owns it, the decoder reads it. Promise: no deeper than
//! [`MAX_DEPTH`], no larger than [`MAX_NODES`], so that walking it by recursion is safe.

use std::collections::HashMap;
use std::fmt;

use crate::fault::{Fault, Position};

/// How many tables and lists may stand inside each other. Ours need six.
const MAX_DEPTH: usize = 64;

/// How many values a file may have once its aliases are expanded.
const MAX_NODES: usize = 100_000;

/// Keeps a tree within its bounds while it is built.
#[derive(Debug, Default)]
pub(crate) struct Bounds {
    nodes: usize,
}

impl Bounds {
    /// Counts so many more nodes, the deepest of them at `depth`. The error is the fault's problem.
    pub(crate) fn admit(&mut self, nodes: usize, depth: usize) -> Result<(), String> {
        self.nodes += nodes;
        if self.nodes > MAX_NODES {
            return Err(format!("too large: more than {MAX_NODES} values"));
        }
        if depth > MAX_DEPTH {
            return Err(format!("nested deeper than {MAX_DEPTH} levels"));
        }
        Ok(())
    }
}

/// A value where it stands. `position` is None only for what was never in a file.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) position: Option<Position>,
    pub(crate) value: Value,
}

/// Integers fit `i64` or `u64`, floats are finite; [`Value::plain`] sees to both.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    String(String),
    /// Came out of `${…}`: the writer could not choose its type, so it is whatever is asked for.
    Expanded(String),
    List(Vec<Node>),
    Table(Vec<Entry>),
    /// Has a fault already; the decoder passes over it.
    Unusable,
}

#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) position: Position,
    pub(crate) value: Node,
}

impl PartialEq for Node {
    fn eq(&self, other: &Node) -> bool {
        self.value == other.value
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Entry) -> bool {
        (&self.key, &self.value) == (&other.key, &other.value)
    }
}

impl Value {
    /// The type of an unquoted word by the YAML 1.2 core schema (chapter 10.3), except that `.inf` and `.nan` stay
    /// strings: nothing in a configuration may be infinite.
    pub(crate) fn plain(text: &str) -> Value {
        match text {
            "" | "~" | "null" | "Null" | "NULL" => Value::Null,
            "true" | "True" | "TRUE" => Value::Bool(true),
            "false" | "False" | "FALSE" => Value::Bool(false),
            _ => number(text).unwrap_or_else(|| Value::String(text.to_owned())),
        }
    }
}

fn number(text: &str) -> Option<Value> {
    let integer = if let Some(digits) = text.strip_prefix("0x") {
        radix(digits, 16)
    } else if let Some(digits) = text.strip_prefix("0o") {
        radix(digits, 8)
    } else if text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)) {
        text.parse().ok()
    } else {
        return None;
    };
    match integer {
        Some(integer) if (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(&integer) => {
            Some(Value::Integer(integer))
        }
        // Rust also reads "+inf" and "-nan": the digit tells a number from a word.
        _ if text.contains(|c: char| c.is_ascii_digit()) => {
            let float = text.parse().ok().filter(|float: &f64| float.is_finite())?;
            Some(Value::Float(float))
        }
        _ => None,
    }
}

/// `from_str_radix` takes a sign, which neither YAML nor TOML has after a prefix.
fn radix(digits: &str, radix: u32) -> Option<i128> {
    if digits.starts_with(['+', '-']) {
        return None;
    }
    i128::from_str_radix(digits, radix).ok()
}

impl Node {
    pub(crate) fn new(position: Position, value: Value) -> Node {
        Node {
            position: Some(position),
            value,
        }
    }

    pub(crate) fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match &self.value {
            Value::Null | Value::Unusable => Json::Null,
            Value::Bool(flag) => Json::Bool(*flag),
            Value::Integer(number) => match u64::try_from(*number) {
                Ok(number) => number.into(),
                Err(_) => i64::try_from(*number).unwrap_or(i64::MIN).into(),
            },
            Value::Float(number) => (*number).into(),
            Value::String(text) | Value::Expanded(text) => text.as_str().into(),
            Value::List(items) => items.iter().map(Node::to_json).collect(),
            Value::Table(entries) => entries
                .iter()
                .map(|entry| (entry.key.clone(), entry.value.to_json()))
                .collect(),
        }
    }

    /// Visits every value, parents before what they hold.
    pub(crate) fn visit(&mut self, path: Path<'_>, visitor: &mut dyn FnMut(Path<'_>, &mut Node)) {
        visitor(path, self);
        match &mut self.value {
            Value::List(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    item.visit(Path::Index(&path, index), visitor);
                }
            }
            Value::Table(entries) => {
                for entry in entries {
                    entry.value.visit(Path::Key(&path, &entry.key), visitor);
                }
            }
            _ => {}
        }
    }

    /// Keeps the first of each key; the others become faults.
    pub(crate) fn refuse_duplicates(
        &mut self,
        file: &str,
        path: Path<'_>,
        faults: &mut Vec<Fault>,
    ) {
        let Value::Table(entries) = &mut self.value else {
            return;
        };
        let mut first = HashMap::with_capacity(entries.len());
        entries.retain(|entry| match first.get(&entry.key) {
            Some(&line) => {
                let problem = format!("duplicate key, first written on line {line}");
                let path = Path::Key(&path, &entry.key).to_string();
                faults.push(Fault::new(file, problem).at(Some(entry.position), path));
                false
            }
            None => {
                first.insert(entry.key.clone(), entry.position.line);
                true
            }
        });
    }

    /// The value at `path`, or else the nearest of its parents that exists; the flag says whether it is the value.
    pub(crate) fn find(&self, path: &str) -> (&Node, bool) {
        if path.is_empty() {
            return (self, true);
        }
        self.child(path)
            .map_or((self, false), |(child, rest)| child.find(rest))
    }

    fn child<'p>(&self, path: &'p str) -> Option<(&Node, &'p str)> {
        match &self.value {
            Value::List(items) => {
                let (index, rest) = path.strip_prefix('[')?.split_once(']')?;
                let item = items.get(index.parse::<usize>().ok()?)?;
                Some((item, rest.strip_prefix('.').unwrap_or(rest)))
            }
            Value::Table(entries) => entries.iter().find_map(|entry| {
                let rest = path.strip_prefix(segment(&entry.key).as_ref())?;
                let rest = match rest.strip_prefix('.') {
                    Some(rest) => rest,
                    None if rest.is_empty() || rest.starts_with('[') => rest,
                    None => return None,
                };
                Some((&entry.value, rest))
            }),
            _ => None,
        }
    }
}

/// How the decoder came to a value. Borrowed from the stack, so that only a fault pays for a string.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Path<'p> {
    Root,
    Key(&'p Path<'p>, &'p str),
    Index(&'p Path<'p>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Root => Ok(()),
            Path::Key(Path::Root, key) => f.write_str(&segment(key)),
            Path::Key(parent, key) => write!(f, "{parent}.{}", segment(key)),
            Path::Index(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

/// A key as paths show it: quoted when it would read as more than one step, cut when it would fill the screen.
fn segment(key: &str) -> std::borrow::Cow<'_, str> {
    const LONGEST: usize = 64;
    let plain = |c: char| c.is_alphanumeric() || "_-/<$".contains(c);
    if (1..=LONGEST).contains(&key.len()) && key.chars().all(plain) {
        return key.into();
    }
    let mut short: String = key.chars().take(LONGEST).collect();
    if short.len() < key.len() {
        short.push('…');
    }
    format!("{short:?}").into()
}

/// The line and column of byte offsets, for the readers that have only those.
///
/// Marks a position at least every 256 bytes, so that a lookup costs the same in a file of one endless line.
#[derive(Debug)]
pub(crate) struct Lines<'t> {
    text: &'t str,
    marks: Vec<(usize, Position)>,
}

impl<'t> Lines<'t> {
    const STRIDE: usize = 256;

    pub(crate) fn new(text: &'t str) -> Lines<'t> {
        let mut marks = vec![(0, Position::START)];
        let mut marked = 0;
        let mut at = Position::START;
        for (offset, c) in text.char_indices() {
            if offset >= marked + Self::STRIDE || at.column == 1 && offset > 0 {
                marks.push((offset, at));
                marked = offset;
            }
            at = after(at, c);
        }
        Lines { text, marks }
    }

    pub(crate) fn text(&self) -> &'t str {
        self.text
    }

    /// Offsets past the end, or inside a character, count as the nearest character before.
    pub(crate) fn position(&self, offset: usize) -> Position {
        let next = self.marks.partition_point(|&(mark, _)| mark <= offset);
        let Some(&(mark, position)) = self.marks[..next].last() else {
            return Position::START;
        };
        self.text[mark..]
            .char_indices()
            .take_while(|(index, c)| mark + index + c.len_utf8() <= offset)
            .fold(position, |position, (_, c)| after(position, c))
    }

    /// The position of a byte column, both counted from 1, as serde_json reports it.
    pub(crate) fn byte_column(&self, line: usize, column: usize) -> Position {
        let first = self.marks.partition_point(|&(_, mark)| mark.line < line);
        let start = self
            .marks
            .get(first)
            .map_or(self.text.len(), |&(offset, _)| offset);
        self.position(start + column.saturating_sub(1))
    }
}

fn after(at: Position, c: char) -> Position {
    if c == '\n' {
        return Position {
            line: at.line + 1,
            column: 1,
        };
    }
    Position {
        line: at.line,
        column: at.column + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: usize, column: usize) -> Position {
        Position { line, column }
    }

    #[test]
    fn plain_words_take_the_yaml_core_types() {
        for (text, value) in [
            ("~", Value::Null),
            ("True", Value::Bool(true)),
            ("-7", Value::Integer(-7)),
            ("0x1F", Value::Integer(31)),
            ("0o17", Value::Integer(15)),
            ("18446744073709551615", Value::Integer(u64::MAX.into())),
            ("1.5", Value::Float(1.5)),
            (".5", Value::Float(0.5)),
            ("1e3", Value::Float(1000.0)),
            ("99999999999999999999", Value::Float(1e20)),
        ] {
            assert_eq!(Value::plain(text), value, "{text}");
        }
        for text in [
            "off",
            "yes",
            ".nan",
            "-inf",
            "+infinity",
            "1e999",
            "1_000",
            "0x-1",
            "5s",
            "-",
            "nan",
        ] {
            assert_eq!(Value::plain(text), Value::String(text.to_owned()), "{text}");
        }
    }

    #[test]
    fn columns_count_characters() {
        let text = "é😀x\n\n\tz";
        let lines = Lines::new(text);
        assert_eq!(lines.position(0), at(1, 1));
        assert_eq!(lines.position("é".len()), at(1, 2));
        assert_eq!(lines.position("é😀".len()), at(1, 3));
        assert_eq!(lines.position("é😀".len() - 1), at(1, 2));
        assert_eq!(lines.position("é😀x\n".len()), at(2, 1));
        assert_eq!(lines.position("é😀x\n\n\t".len()), at(3, 2));
        assert_eq!(lines.position(usize::MAX / 2), at(3, 3));
        assert_eq!(lines.byte_column(1, 7), at(1, 3));
    }

    #[test]
    fn long_lines_keep_their_columns() {
        let text = "é".repeat(1000);
        assert_eq!(Lines::new(&text).position(1998), at(1, 1000));
    }

    #[test]
    fn paths_quote_keys_that_would_read_as_more() {
        let labels = Path::Key(&Path::Root, "labels");
        let dotted = Path::Key(&labels, "a.b");
        let long = "x".repeat(1000);
        let long = Path::Key(&Path::Root, &long).to_string();
        assert_eq!(long.chars().count(), 67);
        assert_eq!(Path::Index(&dotted, 2).to_string(), r#"labels."a.b"[2]"#);
    }
}
