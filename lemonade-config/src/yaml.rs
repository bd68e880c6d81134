//! Reads YAML into nodes, from the events of `saphyr-parser`.
//!
//! Called by [`Document::parse`](crate::Document::parse). Promise: anchors and aliases are copied within the bounds of
//! the tree, whatever they refer to; one document, keys that are words, no tags but `!!str`.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};

use crate::document::MAX_BYTES;
use crate::fault::{Fault, Position};
use crate::node::{Bounds, Entry, Node, Value};

pub(crate) fn read(file: &str, text: &str) -> Result<Node, Fault> {
    let mut reader = Reader {
        file,
        events: Parser::new_from_str(text),
        widths: text.split('\n').map(|line| line.chars().count()).collect(),
        anchors: HashMap::new(),
        bounds: Bounds::default(),
        copied: 0,
    };
    let root = reader.document()?;
    reader.end(root)
}

struct Reader<'t> {
    file: &'t str,
    events: Parser<'t, StrInput<'t>>,
    /// The characters of each line. The parser counts bytes in directives and places the end of a file on a line of
    /// its own; a fault must point into the file.
    widths: Vec<usize>,
    /// Copies: a node must know its own place in the tree, so none is shared.
    anchors: HashMap<usize, Node>,
    bounds: Bounds,
    copied: usize,
}

type Step<'t> = (Event<'t>, Span);

impl<'t> Reader<'t> {
    fn next(&mut self) -> Result<Step<'t>, Fault> {
        match self.events.next_event() {
            Some(Ok(step)) => Ok(step),
            Some(Err(error)) => Err(self.malformed(&error)),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn document(&mut self) -> Result<Option<Node>, Fault> {
        loop {
            match self.next()? {
                (Event::StreamEnd, _) => return Ok(None),
                (Event::DocumentStart(_), _) => {
                    let step = self.next()?;
                    return self.node(step, 0).map(Some);
                }
                _ => {}
            }
        }
    }

    fn end(&mut self, root: Option<Node>) -> Result<Node, Fault> {
        loop {
            match self.next()? {
                (Event::StreamEnd, _) => {
                    return Ok(root.unwrap_or(Node::new(Position::START, Value::Null)));
                }
                (Event::DocumentStart(_), span) => {
                    let fault = self.fault(span, "a second document begins here");
                    return Err(fault.help("a configuration is one document: remove the `---`"));
                }
                _ => {}
            }
        }
    }

    fn node(&mut self, (event, span): Step<'t>, depth: usize) -> Result<Node, Fault> {
        let admitted = self.bounds.admit(1, depth);
        admitted.map_err(|problem| self.fault(span, problem))?;
        let (value, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                (self.scalar(span, &text, style, tag.as_deref())?, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse_tag(span, tag.as_deref())?;
                (self.list(depth)?, anchor)
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_tag(span, tag.as_deref())?;
                (self.table(depth)?, anchor)
            }
            Event::Alias(anchor) => return self.alias(span, anchor, depth),
            // The parser sends nothing else where a value belongs.
            _ => return Err(self.fault(span, "not valid YAML: expected a value")),
        };
        let node = Node::new(self.position(span), value);
        self.remember(span, anchor, &node)?;
        Ok(node)
    }

    fn scalar(
        &self,
        span: Span,
        text: &str,
        style: ScalarStyle,
        tag: Option<&Tag>,
    ) -> Result<Value, Fault> {
        let string = tag.is_some_and(|tag| tag.is_yaml_core_schema() && tag.suffix == "str");
        if string {
            return Ok(Value::String(text.to_owned()));
        }
        self.refuse_tag(span, tag)?;
        if style == ScalarStyle::Plain {
            return Ok(Value::plain(text));
        }
        Ok(Value::String(text.to_owned()))
    }

    fn list(&mut self, depth: usize) -> Result<Value, Fault> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Value::List(items)),
                step => items.push(self.node(step, depth + 1)?),
            }
        }
    }

    fn table(&mut self, depth: usize) -> Result<Value, Fault> {
        let mut entries = Vec::new();
        loop {
            let (event, span) = self.next()?;
            let key = match event {
                Event::MappingEnd => return Ok(Value::Table(entries)),
                Event::Scalar(key, ..) => key.into_owned(),
                _ => return Err(self.fault(span, "expected a word as the key")),
            };
            let step = self.next()?;
            let mut value = self.node(step, depth + 1)?;
            if value.value == Value::Null {
                // The parser places an empty value wherever the next thing begins.
                value.position = Some(self.position(span));
            }
            entries.push(Entry {
                key,
                position: self.position(span),
                value,
            });
        }
    }

    fn alias(&mut self, span: Span, anchor: usize, depth: usize) -> Result<Node, Fault> {
        let Some(node) = self.anchors.get(&anchor).cloned() else {
            return Err(self.fault(span, "the alias refers to what it is part of"));
        };
        self.copy(span, &node, depth)?;
        Ok(node)
    }

    fn remember(&mut self, span: Span, anchor: usize, node: &Node) -> Result<(), Fault> {
        // The parser numbers anchors from 1; 0 is none.
        if anchor == 0 {
            return Ok(());
        }
        self.copy(span, node, 0)?;
        self.anchors.insert(anchor, node.clone());
        Ok(())
    }

    /// Counts a copy with its text: a few aliases can ask for terabytes.
    fn copy(&mut self, span: Span, node: &Node, depth: usize) -> Result<(), Fault> {
        let size = Size::of(node);
        self.copied += size.text;
        if self.copied > MAX_BYTES {
            return Err(self.fault(span, "too large: aliases repeat more than 4 MiB of text"));
        }
        let admitted = self.bounds.admit(size.nodes, depth + size.depth);
        admitted.map_err(|problem| self.fault(span, problem))
    }

    fn refuse_tag(&self, span: Span, tag: Option<&Tag>) -> Result<(), Fault> {
        match tag {
            Some(tag) if tag.suffix.is_empty() => Ok(()),
            Some(_) => Err(self.fault(span, "tags are not supported")),
            None => Ok(()),
        }
    }

    fn malformed(&self, error: &ScanError) -> Fault {
        let mark = *error.marker();
        self.fault(
            Span::empty(mark),
            format!("not valid YAML: {}", error.info()),
        )
    }

    fn position(&self, span: Span) -> Position {
        let line = span.start.line().clamp(1, self.widths.len().max(1));
        let width = self.widths.get(line - 1).copied().unwrap_or_default();
        let column = match span.start.line() == line {
            true => span.start.col().min(width) + 1,
            false => width + 1,
        };
        Position { line, column }
    }

    fn fault(&self, span: Span, problem: impl Into<String>) -> Fault {
        Fault::new(self.file, problem).at(Some(self.position(span)), "")
    }
}

struct Size {
    nodes: usize,
    text: usize,
    depth: usize,
}

impl Size {
    fn of(node: &Node) -> Size {
        let mut size = Size {
            nodes: 1,
            text: 0,
            depth: 0,
        };
        match &node.value {
            Value::String(text) => size.text = text.len(),
            Value::List(items) => items.iter().for_each(|item| size.hold(item)),
            Value::Table(entries) => {
                for entry in entries {
                    size.text += entry.key.len();
                    size.hold(&entry.value);
                }
            }
            _ => {}
        }
        size
    }

    fn hold(&mut self, child: &Node) {
        let child = Size::of(child);
        self.nodes += child.nodes;
        self.text += child.text;
        self.depth = self.depth.max(child.depth + 1);
    }
}
