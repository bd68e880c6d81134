//! Reads TOML into nodes, from the spanned tree of the `toml` crate.
//!
//! Called by [`Document::parse`](crate::Document::parse). Promise: every syntax error of the file is reported, not the
//! first alone; when duplicate keys are the only ones, the rest of the file is still there to be checked.

use std::ops::Range;

use ::toml::Spanned;
use ::toml::de::{DeArray, DeTable, DeValue};

use crate::decode::MAX_FAULTS;
use crate::fault::{Fault, Faults, Position};
use crate::node::{Bounds, Entry, Lines, Node, Value};
use crate::words::shorten;

/// How the `toml` crate words a key that is there twice; the first one stays in its tree.
const DUPLICATE: &str = "duplicate key";

pub(crate) fn read(file: &str, text: &str, faults: &mut Vec<Fault>) -> Result<Node, Faults> {
    let mut reader = Reader {
        file,
        lines: Lines::new(text),
        bounds: Bounds::default(),
    };
    let (root, errors) = DeTable::parse_recoverable(text);
    let listed = errors.iter().take(MAX_FAULTS);
    let refused: Vec<Fault> = listed.map(|error| reader.malformed(error)).collect();
    if errors.iter().any(|error| error.message() != DUPLICATE) {
        Faults::check(refused)?;
    } else {
        faults.extend(refused);
    }
    let table = reader.table(root.get_ref(), 0)?;
    Ok(Node::new(Position::START, table))
}

struct Reader<'t> {
    file: &'t str,
    lines: Lines<'t>,
    bounds: Bounds,
}

impl Reader<'_> {
    fn node(&mut self, spanned: &Spanned<DeValue<'_>>, depth: usize) -> Result<Node, Fault> {
        let span = spanned.span();
        let admitted = self.bounds.admit(1, depth);
        admitted.map_err(|problem| self.fault(span.clone(), problem))?;
        let value = match spanned.get_ref() {
            DeValue::String(text) => Value::String(text.clone().into_owned()),
            DeValue::Integer(number) => self.number(&span, &number.to_string())?,
            DeValue::Float(number) => self.number(&span, number.as_str())?,
            DeValue::Boolean(flag) => Value::Bool(*flag),
            DeValue::Datetime(when) => Value::String(when.to_string()),
            DeValue::Array(items) => self.list(items, depth)?,
            DeValue::Table(table) => self.table(table, depth)?,
        };
        Ok(Node::new(self.lines.position(span.start), value))
    }

    fn number(&self, span: &Range<usize>, text: &str) -> Result<Value, Fault> {
        let value = match text.strip_prefix("0b") {
            Some(digits) => u64::from_str_radix(digits, 2)
                .map_or(Value::Null, |number| Value::Integer(number.into())),
            None => Value::plain(text),
        };
        match value {
            Value::Integer(_) | Value::Float(_) => Ok(value),
            _ => Err(self.fault(span.clone(), format!("the number {text} is out of bounds"))),
        }
    }

    fn list(&mut self, items: &DeArray<'_>, depth: usize) -> Result<Value, Fault> {
        let items = items.iter().map(|item| self.node(item, depth + 1));
        items.collect::<Result<_, _>>().map(Value::List)
    }

    fn table(&mut self, table: &DeTable<'_>, depth: usize) -> Result<Value, Fault> {
        let mut entries = Vec::with_capacity(table.len());
        for (key, value) in table {
            entries.push(Entry {
                key: key.get_ref().clone().into_owned(),
                position: self.lines.position(key.span().start),
                value: self.node(value, depth + 1)?,
            });
        }
        // The crate sorts by name; a reader expects the order of the file.
        entries.sort_by_key(|entry| entry.position);
        Ok(Value::Table(entries))
    }

    fn malformed(&self, error: &::toml::de::Error) -> Fault {
        let span = error.span().unwrap_or(0..0);
        if error.message() == DUPLICATE {
            let key = self.lines.text().get(span.clone()).unwrap_or_default();
            return self.fault(span, format!("duplicate key `{}`", shorten(key)));
        }
        self.fault(span, format!("not valid TOML: {}", error.message()))
    }

    fn fault(&self, span: Range<usize>, problem: impl Into<String>) -> Fault {
        Fault::new(self.file, problem).at(Some(self.lines.position(span.start)), "")
    }
}
