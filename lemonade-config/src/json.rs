//! Reads JSON into nodes.
//!
//! Called by [`Document::parse`](crate::Document::parse). `serde_json` judges the syntax first, because its messages
//! are good; what follows reads a text known to be JSON and only has to keep the places. Not the YAML reader: valid
//! JSON has tabs between tokens, keys of any length and surrogate pairs, which YAML has not.

use crate::fault::Fault;
use crate::node::{Bounds, Entry, Lines, Node, Value};

pub(crate) fn read(file: &str, text: &str) -> Result<Node, Fault> {
    let mut reader = Reader {
        file,
        text,
        lines: Lines::new(text),
        offset: 0,
        bounds: Bounds::default(),
    };
    reader.check()?;
    reader.node(0)
}

struct Reader<'t> {
    file: &'t str,
    text: &'t str,
    lines: Lines<'t>,
    offset: usize,
    bounds: Bounds,
}

impl<'t> Reader<'t> {
    fn check(&self) -> Result<(), Fault> {
        // Not `IgnoredAny`: skipping, it passes over broken escapes and says less of a trailing comma.
        let Err(error) = serde_json::from_str::<serde_json::Value>(self.text) else {
            return Ok(());
        };
        Err(self.malformed(&error, self.lines.byte_column(error.line(), error.column())))
    }

    fn node(&mut self, depth: usize) -> Result<Node, Fault> {
        self.blank();
        let start = self.offset;
        let admitted = self.bounds.admit(1, depth);
        admitted.map_err(|problem| self.fault(start, problem))?;
        let value = match self.peek() {
            Some(b'{') => self.table(depth)?,
            Some(b'[') => self.list(depth)?,
            Some(b'"') => Value::String(self.string()?),
            _ => Value::plain(self.word()),
        };
        Ok(Node::new(self.lines.position(start), value))
    }

    fn table(&mut self, depth: usize) -> Result<Value, Fault> {
        let mut entries = Vec::new();
        while self.item(b'}') {
            let position = self.lines.position(self.offset);
            let key = self.string()?;
            self.blank();
            self.offset += 1; // the colon
            let value = self.node(depth + 1)?;
            entries.push(Entry {
                key,
                position,
                value,
            });
        }
        Ok(Value::Table(entries))
    }

    fn list(&mut self, depth: usize) -> Result<Value, Fault> {
        let mut items = Vec::new();
        while self.item(b']') {
            items.push(self.node(depth + 1)?);
        }
        Ok(Value::List(items))
    }

    /// Steps over the opening bracket or the comma to the next item; false when it was the last one.
    fn item(&mut self, close: u8) -> bool {
        self.blank();
        if self.peek() != Some(close) {
            self.offset += 1;
            self.blank();
        }
        let more = self.peek().is_some_and(|byte| byte != close);
        if !more {
            self.offset += 1;
        }
        more
    }

    fn string(&mut self) -> Result<String, Fault> {
        let start = self.offset;
        let mut escaped = false;
        let inside = self.rest().bytes().skip(1);
        let length = inside.take_while(|&byte| {
            let end = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            !end
        });
        let end = (start + length.count() + 2).min(self.text.len());
        self.offset = end;
        let literal = self.text.get(start..end).unwrap_or_default();
        serde_json::from_str(literal)
            .map_err(|error| self.malformed(&error, self.lines.position(start)))
    }

    fn word(&mut self) -> &'t str {
        let rest = self.rest();
        let length = rest
            .find(|c: char| c.is_ascii_whitespace() || ",]}".contains(c))
            .unwrap_or(rest.len());
        self.offset += length;
        &rest[..length]
    }

    fn blank(&mut self) {
        let rest = self.rest();
        self.offset += rest.len() - rest.trim_start_matches([' ', '\t', '\r', '\n']).len();
    }

    fn peek(&self) -> Option<u8> {
        self.rest().bytes().next()
    }

    fn rest(&self) -> &'t str {
        self.text.get(self.offset..).unwrap_or_default()
    }

    fn malformed(&self, error: &serde_json::Error, position: crate::Position) -> Fault {
        let message = error.to_string();
        let message = message.split(" at line ").next().unwrap_or_default();
        Fault::new(self.file, format!("not valid JSON: {message}")).at(Some(position), "")
    }

    fn fault(&self, offset: usize, problem: String) -> Fault {
        Fault::new(self.file, problem).at(Some(self.lines.position(offset)), "")
    }
}
