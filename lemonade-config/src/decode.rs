//! From nodes to any `#[derive(Deserialize)]` type, with every fault instead of the first.
//!
//! Called by [`Document::decode`](crate::Document::decode). serde stops at the first error, so this prunes and tries
//! again: each error names the node it happened at; that node is left out of the next attempt, until one succeeds. It
//! works because raw types have a default for every field. An error at a node that has a fault inside is a consequence
//! of the pruning ("missing field"), so it is not reported. Unknown keys need no second attempt: every attempt sees
//! them all.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt;
use std::iter::Enumerate;
use std::slice;

use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

use crate::fault::{Fault, Position};
use crate::node::{Entry, Node, Path, Value};
use crate::shape;
use crate::words::{all_known, did_you_mean, one_of, shorten, shown, wanted};

/// A file with more is not mended from a list, and each costs an attempt.
pub(crate) const MAX_FAULTS: usize = 64;

pub(crate) fn decode<T: DeserializeOwned>(
    file: &str,
    root: &Node,
    faults: Vec<Fault>,
) -> (Option<T>, Vec<Fault>) {
    let mut run = Run {
        file,
        faults: RefCell::new(faults),
        pruned: HashSet::new(),
    };
    let value = loop {
        match run.attempt(root) {
            Ok(value) => break Some(value),
            Err(place) if !run.prune(root, place) => break None,
            Err(_) => {}
        }
    };
    (value, run.faults.into_inner())
}

struct Run<'a> {
    file: &'a str,
    faults: RefCell<Vec<Fault>>,
    /// By identity; never dereferenced. The tree does not move while it is decoded.
    pruned: HashSet<*const Node>,
}

impl Run<'_> {
    fn attempt<T: DeserializeOwned>(&self, root: &Node) -> Result<T, *const Node> {
        let cursor = Cursor {
            node: root,
            value: &root.value,
            path: Path::Root,
            run: self,
        };
        cursor.decode(std::marker::PhantomData).map_err(|error| {
            let node = error
                .place
                .as_ref()
                .map_or(std::ptr::from_ref(root), |place| place.node);
            let fault = error.fault(self.file);
            if !self.has_fault_inside(&fault.path) {
                self.record(fault);
            }
            node
        })
    }

    /// False when another attempt would come to the same end.
    fn prune(&mut self, root: &Node, place: *const Node) -> bool {
        let room = self.faults.get_mut().len() < MAX_FAULTS;
        room && !std::ptr::eq(root, place) && self.pruned.insert(place)
    }

    fn record(&self, fault: Fault) {
        let mut faults = self.faults.borrow_mut();
        if faults.len() < MAX_FAULTS && !faults.contains(&fault) {
            faults.push(fault);
        }
    }

    fn has_fault_inside(&self, path: &str) -> bool {
        self.faults.borrow().iter().any(|fault| {
            let inside = fault.path.strip_prefix(path);
            inside.is_some_and(|rest| {
                rest.starts_with(['.', '[']) || path.is_empty() && !rest.is_empty()
            })
        })
    }

    fn skips(&self, node: &Node) -> bool {
        node.value == Value::Unusable || self.pruned.contains(&std::ptr::from_ref(node))
    }
}

/// Why an attempt ended. Without a place until it passes the node it happened at.
#[derive(Debug)]
pub(crate) struct DecodeError {
    problem: String,
    help: Option<String>,
    place: Option<Box<Place>>,
}

#[derive(Debug)]
struct Place {
    node: *const Node,
    path: String,
    position: Option<Position>,
}

impl DecodeError {
    fn new(problem: impl Into<String>) -> DecodeError {
        DecodeError {
            problem: problem.into(),
            help: None,
            place: None,
        }
    }

    fn help(mut self, help: Option<String>) -> DecodeError {
        self.help = help;
        self
    }

    fn at(mut self, cursor: &Cursor<'_>) -> DecodeError {
        self.place.get_or_insert_with(|| {
            Box::new(Place {
                node: cursor.node,
                path: cursor.path.to_string(),
                position: cursor.node.position,
            })
        });
        self
    }

    /// At a key of a table; leaving it out leaves its value out.
    fn at_key(mut self, table: &Cursor<'_>, entry: &Entry) -> DecodeError {
        self.place = Some(Box::new(Place {
            node: &entry.value,
            path: Path::Key(&table.path, &entry.key).to_string(),
            position: Some(entry.position),
        }));
        self
    }

    fn fault(self, file: &str) -> Fault {
        let (path, position) = match self.place {
            Some(place) => (place.path, place.position),
            None => (String::new(), None),
        };
        Fault {
            file: file.to_owned(),
            position,
            path,
            problem: self.problem,
            help: self.help,
        }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem)
    }
}

impl std::error::Error for DecodeError {}

impl de::Error for DecodeError {
    fn custom<T: fmt::Display>(message: T) -> DecodeError {
        DecodeError::new(message.to_string())
    }

    fn invalid_type(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> DecodeError {
        let expected = wanted(&expected.to_string());
        let help = match found {
            de::Unexpected::Bool(_) | de::Unexpected::Signed(_) | de::Unexpected::Float(_)
                if expected == "a string" =>
            {
                Some("put it in quotes".to_owned())
            }
            _ => None,
        };
        DecodeError::new(format!("expected {expected}, found {}", shown(found))).help(help)
    }

    fn invalid_value(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> DecodeError {
        DecodeError::invalid_type(found, expected)
    }

    fn invalid_length(length: usize, expected: &dyn de::Expected) -> DecodeError {
        let expected = wanted(&expected.to_string());
        DecodeError::new(format!("expected {expected}, found {length}"))
    }

    fn unknown_variant(word: &str, known: &'static [&'static str]) -> DecodeError {
        DecodeError::new(format!(
            "unknown value `{}`, expected {}",
            shorten(word),
            one_of(known)
        ))
        .help(did_you_mean(word, known))
    }

    fn unknown_field(key: &str, known: &'static [&'static str]) -> DecodeError {
        DecodeError::new(format!("unknown key `{}`", shorten(key))).help(did_you_mean(key, known))
    }

    fn missing_field(key: &'static str) -> DecodeError {
        DecodeError::new(format!("the key `{key}` is missing"))
    }

    fn duplicate_field(key: &'static str) -> DecodeError {
        DecodeError::new(format!("another name of `{key}`, which is written too"))
    }
}

/// A node on its way into a type. `value` is the node's own, except for the nothing that follows a bare enum word.
#[derive(Clone, Copy)]
struct Cursor<'a> {
    node: &'a Node,
    value: &'a Value,
    path: Path<'a>,
    run: &'a Run<'a>,
}

impl<'a> Cursor<'a> {
    fn child(&self, node: &'a Node, path: Path<'a>) -> Cursor<'a> {
        Cursor {
            node,
            value: &node.value,
            path,
            run: self.run,
        }
    }

    fn decode<'de, S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, DecodeError> {
        seed.deserialize(self).map_err(|error| error.at(&self))
    }

    fn table<'de, V: Visitor<'de>>(
        self,
        entries: &'a [Entry],
        known: Option<&'static [&'static str]>,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        let mut table = Table {
            cursor: self,
            entries: entries.iter(),
            known,
            value: None,
        };
        let decoded = visitor.visit_map(&mut table);
        decoded.map_err(|error| match table.value {
            // The type refused the key before it took the value: it has it already, by another name.
            Some(entry) if error.place.is_none() => error.at_key(&self, entry),
            _ => error,
        })
    }

    /// A bare word, with nothing after it: enough for a unit variant, and for a table whose keys all have defaults.
    fn word<'s>(&'s self, word: &'s str) -> Variant<'s> {
        Variant {
            word,
            key: None,
            content: Cursor {
                value: &Value::Null,
                ..*self
            },
        }
    }

    fn variant<'de, V: Visitor<'de>>(
        self,
        entries: &[Entry],
        variants: &[&str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        let mut entries = entries.iter().filter(|entry| !self.run.skips(&entry.value));
        let (Some(entry), None) = (entries.next(), entries.next()) else {
            let problem = format!("expected a table with one key, {}", one_of(variants));
            return Err(DecodeError::new(problem));
        };
        visitor.visit_enum(Variant {
            word: &entry.key,
            key: Some((self, entry)),
            content: self.child(&entry.value, Path::Key(&self.path, &entry.key)),
        })
    }

    fn any<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.value {
            Value::List(items) => visitor.visit_seq(List {
                cursor: self,
                items: items.iter().enumerate(),
            }),
            Value::Table(entries) => self.table(entries, None, visitor),
            scalar => visit_scalar(scalar, visitor),
        }
    }
}

fn unexpected(value: &Value) -> de::Unexpected<'_> {
    match value {
        Value::Null | Value::Unusable => de::Unexpected::Unit,
        Value::Bool(flag) => de::Unexpected::Bool(*flag),
        Value::Integer(_) => de::Unexpected::Other("a number"),
        Value::Float(number) => de::Unexpected::Float(*number),
        Value::String(text) | Value::Expanded(text) => de::Unexpected::Str(text),
        Value::List(_) => de::Unexpected::Seq,
        Value::Table(_) => de::Unexpected::Map,
    }
}

fn visit_scalar<'de, V: Visitor<'de>>(scalar: &Value, visitor: V) -> Result<V::Value, DecodeError> {
    match scalar {
        Value::Bool(flag) => visitor.visit_bool(*flag),
        Value::Integer(number) => match (i64::try_from(*number), u64::try_from(*number)) {
            (Ok(number), _) => visitor.visit_i64(number),
            (_, Ok(number)) => visitor.visit_u64(number),
            _ => visitor.visit_i128(*number),
        },
        Value::Float(number) => visitor.visit_f64(*number),
        Value::String(text) => visitor.visit_str(text),
        Value::Expanded(text) => match Value::plain(text) {
            typed @ (Value::Bool(_) | Value::Integer(_) | Value::Float(_)) => {
                visit_scalar(&typed, visitor)
            }
            _ => visitor.visit_str(text),
        },
        Value::Null | Value::Unusable | Value::List(_) | Value::Table(_) => visitor.visit_unit(),
    }
}

impl<'de> Deserializer<'de> for Cursor<'_> {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.any(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.value {
            Value::Null | Value::Unusable => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.value {
            Value::Expanded(text) => visitor.visit_str(text),
            _ => self.any(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        match self.value {
            Value::Table(entries) => self.table(entries, Some(fields), visitor),
            Value::Null => self.table(&[], Some(fields), visitor),
            _ => self.any(visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        if name == shape::ENUM {
            return visitor.visit_enum(Look(self));
        }
        if name == shape::LOCATED {
            return visitor.visit_enum(Locate(self));
        }
        match self.value {
            Value::String(word) | Value::Expanded(word) => visitor.visit_enum(self.word(word)),
            // So that `on: [connect_failure, 502]` is a list of one enum.
            Value::Integer(number) => visitor.visit_enum(self.word(&number.to_string())),
            Value::Table(entries) => self.variant(entries, variants, visitor),
            other => {
                let found = shown(unexpected(other));
                Err(DecodeError::new(format!(
                    "expected {}, found {found}",
                    one_of(variants)
                )))
            }
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 bytes byte_buf unit unit_struct seq tuple tuple_struct map
        identifier ignored_any
    }
}

struct List<'a> {
    cursor: Cursor<'a>,
    items: Enumerate<slice::Iter<'a, Node>>,
}

impl<'de> de::SeqAccess<'de> for List<'_> {
    type Error = DecodeError;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, DecodeError> {
        let run = self.cursor.run;
        let Some((index, item)) = self.items.find(|(_, item)| !run.skips(item)) else {
            return Ok(None);
        };
        let path = Path::Index(&self.cursor.path, index);
        self.cursor.child(item, path).decode(seed).map(Some)
    }
}

struct Table<'a> {
    cursor: Cursor<'a>,
    entries: slice::Iter<'a, Entry>,
    /// None for a map, whose keys are the user's own.
    known: Option<&'static [&'static str]>,
    value: Option<&'a Entry>,
}

impl Table<'_> {
    fn knows(&self, entry: &Entry) -> bool {
        let Some(known) = self.known else {
            return true;
        };
        let key = entry.key.as_str();
        if !known.contains(&key) {
            let help = match key {
                "<<" => Some("YAML merge keys are not supported".to_owned()),
                _ => did_you_mean(key, known).or_else(|| all_known(known)),
            };
            let error = DecodeError::new("unknown key").help(help);
            self.cursor.run.record(
                error
                    .at_key(&self.cursor, entry)
                    .fault(self.cursor.run.file),
            );
            return false;
        }
        entry.value.value != Value::Null
    }
}

impl<'de> de::MapAccess<'de> for Table<'_> {
    type Error = DecodeError;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, DecodeError> {
        while let Some(entry) = self.entries.next() {
            if !self.knows(entry) || self.cursor.run.skips(&entry.value) {
                continue;
            }
            self.value = Some(entry);
            return seed
                .deserialize(StrDeserializer::new(&entry.key))
                .map(Some)
                .map_err(|error: DecodeError| error.at_key(&self.cursor, entry));
        }
        Ok(None)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<S::Value, DecodeError> {
        let Some(entry) = self.value.take() else {
            return Err(DecodeError::new("a value was asked for before its key"));
        };
        let path = Path::Key(&self.cursor.path, &entry.key);
        self.cursor.child(&entry.value, path).decode(seed)
    }
}

/// An enum's variant: a bare word, or the one key of a table with what stands under it.
struct Variant<'a> {
    word: &'a str,
    key: Option<(Cursor<'a>, &'a Entry)>,
    content: Cursor<'a>,
}

impl<'de> de::EnumAccess<'de> for Variant<'_> {
    type Error = DecodeError;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Self), DecodeError> {
        let word = StrDeserializer::new(self.word);
        match seed.deserialize(word) {
            Ok(variant) => Ok((variant, self)),
            Err(error) => Err(match &self.key {
                Some((table, entry)) => DecodeError::at_key(error, table, entry),
                None => error,
            }),
        }
    }
}

impl<'de> de::VariantAccess<'de> for Variant<'_> {
    type Error = DecodeError;

    fn unit_variant(self) -> Result<(), DecodeError> {
        if *self.content.value == Value::Null {
            return Ok(());
        }
        let problem = format!("`{}` has no options: write it as a word", self.word);
        Err(DecodeError::new(problem).at(&self.content))
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<S::Value, DecodeError> {
        self.content.decode(seed)
    }

    fn tuple_variant<V: Visitor<'de>>(
        self,
        _length: usize,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.content
            .any(visitor)
            .map_err(|error| error.at(&self.content))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        let table = self.content.deserialize_struct("", fields, visitor);
        table.map_err(|error| error.at(&self.content))
    }
}

/// What [`shape`] sees: first the node as it is, then the same node again as the type that was chosen.
struct Look<'a>(Cursor<'a>);

impl<'a, 'de> de::EnumAccess<'de> for Look<'a> {
    type Error = DecodeError;
    type Variant = Again<'a>;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Again<'a>), DecodeError> {
        Ok((self.0.decode(seed)?, Again(self.0)))
    }
}

/// As [`Look`], with the node's path in place of its shape.
struct Locate<'a>(Cursor<'a>);

impl<'a, 'de> de::EnumAccess<'de> for Locate<'a> {
    type Error = DecodeError;
    type Variant = Again<'a>;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Again<'a>), DecodeError> {
        let path = self.0.path.to_string();
        Ok((seed.deserialize(path.into_deserializer())?, Again(self.0)))
    }
}

struct Again<'a>(Cursor<'a>);

impl<'de> de::VariantAccess<'de> for Again<'_> {
    type Error = DecodeError;

    fn unit_variant(self) -> Result<(), DecodeError> {
        Ok(())
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<S::Value, DecodeError> {
        self.0.decode(seed)
    }

    fn tuple_variant<V: Visitor<'de>>(
        self,
        _length: usize,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.0.any(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.0.deserialize_struct("", fields, visitor)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use crate::{Document, Environment, Format};

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default)]
    struct Raw {
        #[serde(alias = "listen_address")]
        listen: Option<String>,
        strategy: Option<Strategy>,
        backends: Vec<Backend>,
        ports: Option<(u16, u16)>,
        labels: std::collections::BTreeMap<String, u8>,
        quiet: bool,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default)]
    struct Backend {
        name: String,
        weight: u16,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Strategy {
        RoundRobin,
        Maglev(Maglev),
        PowerOfTwo {
            #[serde(default)]
            seed: u64,
        },
        #[serde(rename = "404")]
        NotFound,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default)]
    struct Maglev {
        table: u32,
    }

    fn decode(text: &str) -> (Option<Raw>, Vec<String>) {
        let environment = Environment::from_pairs([("W", "7"), ("YES", "true"), ("EMPTY", "")]);
        let document = Document::parse("f", Format::Yaml, text, &environment).unwrap();
        let (raw, faults) = document.decode();
        (raw, faults.iter().map(ToString::to_string).collect())
    }

    fn faults(text: &str) -> Vec<String> {
        decode(text).1
    }

    fn sound(text: &str) -> Raw {
        let (raw, faults) = decode(text);
        assert_eq!(faults, [""; 0]);
        raw.unwrap()
    }

    #[test]
    fn value_is_there_beside_its_faults() {
        let (raw, faults) = decode(
            "listen: a\nquiet: perhaps\nbackends:\n- {name: x, weight: -1}\n- 5\n- {name: z}\n",
        );
        assert_eq!(
            faults,
            [
                "f:2:8: quiet: expected `true` or `false`, found the string `perhaps`",
                "f:4:21: backends[0].weight: expected a whole number from 0 to 65535, found the number -1",
                "f:5:3: backends[1]: expected a table, found the number 5",
            ]
        );
        let raw = raw.unwrap();
        let names: Vec<&str> = raw
            .backends
            .iter()
            .map(|backend| backend.name.as_str())
            .collect();
        assert_eq!((raw.listen.as_deref(), names), (Some("a"), vec!["x", "z"]));
    }

    #[test]
    fn unknown_keys_are_faults_at_every_level() {
        assert_eq!(
            faults(
                "lissen: a\nbackends: [{wait: 1, zzz: 2}]\nstrategy: {maglev: {tabel: 3}}\n<<: {}\n"
            ),
            [
                "f:1:1: lissen: unknown key (did you mean `listen`?)",
                "f:2:13: backends[0].wait: unknown key (expected one of `name`, `weight`)",
                "f:2:22: backends[0].zzz: unknown key (expected one of `name`, `weight`)",
                "f:3:21: strategy.maglev.tabel: unknown key (did you mean `table`?)",
                "f:4:1: <<: unknown key (YAML merge keys are not supported)",
            ]
        );
    }

    #[test]
    fn aliases_are_known_keys() {
        assert_eq!(sound("listen_address: a").listen.as_deref(), Some("a"));
        let (raw, faults) = decode("listen: a\nquit: true\nlisten_address: b");
        assert_eq!(
            faults,
            [
                "f:2:1: quit: unknown key (did you mean `quiet`?)",
                "f:3:1: listen_address: another name of `listen`, which is written too",
            ]
        );
        assert_eq!(raw.unwrap().listen.as_deref(), Some("a"));
    }

    #[test]
    fn variants_are_words_or_tables_of_one_key() {
        for (text, strategy) in [
            ("round_robin", Strategy::RoundRobin),
            ("{round_robin: }", Strategy::RoundRobin),
            ("404", Strategy::NotFound),
            ("maglev", Strategy::Maglev(Maglev { table: 0 })),
            (
                "{maglev: {table: 7}}",
                Strategy::Maglev(Maglev { table: 7 }),
            ),
            ("power_of_two", Strategy::PowerOfTwo { seed: 0 }),
            (
                "{power_of_two: {seed: 3}}",
                Strategy::PowerOfTwo { seed: 3 },
            ),
        ] {
            assert_eq!(
                sound(&format!("strategy: {text}")).strategy,
                Some(strategy),
                "{text}"
            );
        }
    }

    #[test]
    fn unknown_variants_are_listed() {
        let all = "one of `round_robin`, `maglev`, `power_of_two`, `404`";
        for (text, fault) in [
            (
                "maglve",
                format!(
                    "f:1:11: strategy: unknown value `maglve`, expected {all} (did you mean `maglev`?)"
                ),
            ),
            (
                "{zzz: 1}",
                format!("f:1:12: strategy.zzz: unknown value `zzz`, expected {all}"),
            ),
            (
                "[]",
                format!("f:1:11: strategy: expected {all}, found a list"),
            ),
            (
                "{}",
                format!("f:1:11: strategy: expected a table with one key, {all}"),
            ),
            (
                "{round_robin: 1}",
                "f:1:25: strategy.round_robin: `round_robin` has no options: write it as a word"
                    .to_owned(),
            ),
            (
                "{maglev: 1}",
                "f:1:20: strategy.maglev: expected a table, found the number 1".to_owned(),
            ),
        ] {
            assert_eq!(faults(&format!("strategy: {text}")), [fault], "{text}");
        }
    }

    #[test]
    fn consequences_of_a_fault_are_not_faults() {
        assert_eq!(
            faults("ports: [80, x]"),
            ["f:1:13: ports[1]: expected a whole number from 0 to 65535, found the string `x`"]
        );
    }

    #[test]
    fn expanded_values_are_what_is_asked_for() {
        let raw = sound(
            "listen: ${W}\nquiet: ${YES}\nbackends: [{name: \"${W}\", weight: \"${W}\"}]\nlabels: {a: \"${W}\"}",
        );
        assert_eq!(raw.listen.as_deref(), Some("7"));
        assert!(raw.quiet);
        assert_eq!(
            (raw.backends[0].name.as_str(), raw.backends[0].weight),
            ("7", 7)
        );
        assert_eq!(raw.labels["a"], 7);
    }

    #[test]
    fn written_strings_are_not_numbers() {
        assert_eq!(
            faults("backends: [{weight: \"7\"}]"),
            [
                "f:1:21: backends[0].weight: expected a whole number from 0 to 65535, found the string `7`"
            ]
        );
        assert_eq!(
            faults("listen: 7"),
            ["f:1:9: listen: expected a string, found the number 7 (put it in quotes)"]
        );
    }

    #[test]
    fn keys_without_a_value_are_not_written() {
        assert_eq!(
            sound("listen:\nbackends: ~\nquiet: \"${EMPTY}\""),
            Raw::default()
        );
        assert_eq!(
            faults("lissen:"),
            ["f:1:1: lissen: unknown key (did you mean `listen`?)"]
        );
    }

    #[test]
    fn faults_are_bounded() {
        let text = (0..1000).map(|i| format!("k{i}: 1\n")).collect::<String>();
        assert_eq!(faults(&text).len(), super::MAX_FAULTS);
        let text = (0..1000).map(|_| "- 1\n").collect::<String>();
        assert_eq!(
            faults(&format!("backends:\n{text}")).len(),
            super::MAX_FAULTS
        );
    }

    #[test]
    fn type_without_defaults_gives_its_fault() {
        #[derive(Debug, Deserialize)]
        struct Strict {
            #[expect(dead_code, reason = "only its absence matters")]
            listen: String,
        }
        let (raw, faults) = Document::empty("environment").decode::<Strict>();
        assert!(raw.is_none());
        assert_eq!(
            faults[0].to_string(),
            "environment: the key `listen` is missing"
        );
    }
}
