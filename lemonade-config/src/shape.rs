//! Values that may be written in more than one form, without serde's untagged enums.
//!
//! An untagged enum forgets where it stood and answers "data did not match any variant". These look at the form first
//! and then decode the one type it calls for, so that faults inside keep their place and their words. The raw types of
//! the commands are made of them. They decode only from a [`Document`](crate::Document): the look is an agreement with
//! its decoder, which other formats do not know.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::{self, Deserialize, Deserializer, EnumAccess, VariantAccess, Visitor};

/// The name by which a type asks the decoder for a look at a node's form before its value.
pub(crate) const ENUM: &str = "lemonade_config::Shape";

/// The same, for a node's path.
pub(crate) const LOCATED: &str = "lemonade_config::Located";

/// A block that can be switched: `off`, `on`, or a value.
///
/// `false` and `true` mean the same as the words. Whatever else is written must be a `T`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Switch<T> {
    /// `off` or `false`.
    Off,
    /// `on` or `true`: with what the block does when nothing is said of it.
    On,
    /// A value of its own.
    Set(T),
}

impl<T> Switch<T> {
    /// None when off; `default` when it is on without a value.
    pub fn or(self, default: T) -> Option<T> {
        match self {
            Switch::Off => None,
            Switch::On => Some(default),
            Switch::Set(value) => Some(value),
        }
    }
}

/// A list, or a single value that stands for a list of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OneOrMany<T>(pub Vec<T>);

impl<T> Default for OneOrMany<T> {
    fn default() -> OneOrMany<T> {
        OneOrMany(Vec::new())
    }
}

/// A table, or the short form of one: a scalar that `T` parses itself from.
///
/// Numbers reach [`FromStr`] as they print.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ShortOr<T>(pub T);

/// A value with the path it was found at, for faults that only its reader can see.
///
/// Needed in lists: an item with a fault is left out, so the places of those after it no longer tell their paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located<T> {
    /// As [`Document::fault`](crate::Document::fault) takes it: `backends[1]`.
    pub path: String,
    /// What was found there.
    pub value: T,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Switch<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_enum(ENUM, &[], SwitchVisitor(PhantomData))
    }
}

struct SwitchVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for SwitchVisitor<T> {
    type Value = Switch<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`on`, `off` or a value")
    }

    fn visit_enum<A: EnumAccess<'de>>(self, access: A) -> Result<Switch<T>, A::Error> {
        let (shape, access) = access.variant::<Shape>()?;
        match shape {
            Shape::Scalar(word) if word == "off" || word == "false" => Ok(Switch::Off),
            Shape::Scalar(word) if word == "on" || word == "true" => Ok(Switch::On),
            _ => access.newtype_variant().map(Switch::Set),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_enum(ENUM, &[], OneOrManyVisitor(PhantomData))
    }
}

struct OneOrManyVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for OneOrManyVisitor<T> {
    type Value = OneOrMany<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value or a list of them")
    }

    fn visit_enum<A: EnumAccess<'de>>(self, access: A) -> Result<OneOrMany<T>, A::Error> {
        let (shape, access) = access.variant::<Shape>()?;
        match shape {
            Shape::List => access.newtype_variant().map(OneOrMany),
            _ => Ok(OneOrMany(vec![access.newtype_variant()?])),
        }
    }
}

impl<'de, T> Deserialize<'de> for ShortOr<T>
where
    T: Deserialize<'de> + FromStr<Err: fmt::Display>,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_enum(ENUM, &[], ShortOrVisitor(PhantomData))
    }
}

struct ShortOrVisitor<T>(PhantomData<T>);

impl<'de, T> Visitor<'de> for ShortOrVisitor<T>
where
    T: Deserialize<'de> + FromStr<Err: fmt::Display>,
{
    type Value = ShortOr<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a word or a table")
    }

    fn visit_enum<A: EnumAccess<'de>>(self, access: A) -> Result<ShortOr<T>, A::Error> {
        let (shape, access) = access.variant::<Shape>()?;
        match shape {
            Shape::Scalar(word) => word.parse().map(ShortOr).map_err(de::Error::custom),
            Shape::List | Shape::Other => access.newtype_variant().map(ShortOr),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Located<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_enum(LOCATED, &[], LocatedVisitor(PhantomData))
    }
}

struct LocatedVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for LocatedVisitor<T> {
    type Value = Located<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value in a file")
    }

    fn visit_enum<A: EnumAccess<'de>>(self, access: A) -> Result<Located<T>, A::Error> {
        let (path, access) = access.variant::<String>()?;
        let value = access.newtype_variant()?;
        Ok(Located { path, value })
    }
}

/// The form of a node. Only scalars are read; of a list or a table there is no need to know more here.
enum Shape {
    Scalar(String),
    List,
    Other,
}

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ShapeVisitor)
    }
}

struct ShapeVisitor;

impl<'de> Visitor<'de> for ShapeVisitor {
    type Value = Shape;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E: de::Error>(self, word: &str) -> Result<Shape, E> {
        Ok(Shape::Scalar(word.to_owned()))
    }

    fn visit_bool<E: de::Error>(self, flag: bool) -> Result<Shape, E> {
        Ok(Shape::Scalar(flag.to_string()))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Shape, E> {
        Ok(Shape::Scalar(number.to_string()))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Shape, E> {
        Ok(Shape::Scalar(number.to_string()))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Shape, E> {
        Ok(Shape::Scalar(number.to_string()))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Shape, E> {
        Ok(Shape::Other)
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, _: A) -> Result<Shape, A::Error> {
        Ok(Shape::List)
    }

    fn visit_map<A: de::MapAccess<'de>>(self, _: A) -> Result<Shape, A::Error> {
        Ok(Shape::Other)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::{FromStr, Located, OneOrMany, ShortOr, Switch};
    use crate::{Address, Document, Environment, Format, Percent, RawDuration};

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default)]
    struct Raw {
        outlier: Option<Switch<Outlier>>,
        slow_start: Option<Switch<RawDuration>>,
        backends: OneOrMany<Located<ShortOr<Backend>>>,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default)]
    struct Outlier {
        rate: Option<Percent>,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default)]
    struct Backend {
        address: Option<Address>,
        weight: Option<u8>,
    }

    impl FromStr for Backend {
        type Err = crate::AddressError;

        fn from_str(text: &str) -> Result<Backend, crate::AddressError> {
            Ok(Backend {
                address: Some(text.parse()?),
                weight: None,
            })
        }
    }

    fn decode(text: &str) -> (Raw, Vec<String>) {
        let environment = Environment::from_pairs([("OFF", "off")]);
        let document = Document::parse("f", Format::Yaml, text, &environment).unwrap();
        let (raw, faults) = document.decode();
        (
            raw.unwrap(),
            faults.iter().map(ToString::to_string).collect(),
        )
    }

    fn sound(text: &str) -> Raw {
        let (raw, faults) = decode(text);
        assert_eq!(faults, [""; 0]);
        raw
    }

    #[test]
    fn switches_take_words_flags_or_values() {
        for word in ["off", "false", "\"off\"", "${OFF}"] {
            assert_eq!(
                sound(&format!("outlier: {word}")).outlier,
                Some(Switch::Off),
                "{word}"
            );
        }
        for word in ["on", "true"] {
            assert_eq!(
                sound(&format!("outlier: {word}")).outlier,
                Some(Switch::On),
                "{word}"
            );
        }
        let value = sound("slow_start: 30s")
            .slow_start
            .and_then(|switch| match switch {
                Switch::Set(value) => Some(value.or_millis().as_secs()),
                _ => None,
            });
        assert_eq!(value, Some(30));
        assert_eq!(sound("outlier:").outlier, None);
    }

    #[test]
    fn switch_is_none_its_default_or_its_value() {
        assert_eq!(
            [Switch::Off, Switch::On, Switch::Set(2)].map(|switch| switch.or(1)),
            [None, Some(1), Some(2)]
        );
    }

    #[test]
    fn short_and_long_forms_mix_in_one_list() {
        let raw = sound("backends: [\"a:1\", {address: \"b:2\", weight: 3}]");
        let weights: Vec<_> = raw
            .backends
            .0
            .iter()
            .map(|backend| backend.value.0.weight)
            .collect();
        assert_eq!(weights, [None, Some(3)]);
        assert_eq!(sound("backends: a:1").backends.0.len(), 1);
        assert_eq!(sound("backends: []").backends.0.len(), 0);
    }

    #[test]
    fn faults_inside_keep_their_places_and_words() {
        let (raw, faults) = decode(
            "outlier: {rate: 150%, rat: 1}\nslow_start: soon\nbackends:\n- a\n- {weight: 300}\n- 80\n- b:1\n",
        );
        assert_eq!(
            faults,
            [
                "f:1:17: outlier.rate: expected a percentage from 0% to 100%, found `150%`",
                "f:1:23: outlier.rat: unknown key (did you mean `rate`?)",
                "f:2:13: slow_start: expected a duration such as `5s`, `250ms` or `1m30s`, found `soon`",
                "f:4:3: backends[0]: expected host:port, found `a`",
                "f:5:12: backends[1].weight: expected a whole number from 0 to 255, found the number 300",
                "f:6:3: backends[2]: expected host:port, found `80`",
            ]
        );
        let paths: Vec<&str> = raw
            .backends
            .0
            .iter()
            .map(|backend| backend.path.as_str())
            .collect();
        assert_eq!(paths, ["backends[1]", "backends[3]"]);
    }
}
