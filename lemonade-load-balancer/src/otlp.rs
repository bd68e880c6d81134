//! Times and attributes as OpenTelemetry's protocol has them.

use crate::timestamp::since_1970;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use prost::Message;
use std::net::IpAddr;
use std::time::{Instant, SystemTime};

/// Since 1970.
pub(crate) fn nanos(time: SystemTime) -> u64 {
    u64::try_from(since_1970(time).as_nanos()).unwrap_or(u64::MAX)
}

/// What the clock on the wall said when the steady one said this.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    pub(crate) wall: SystemTime,
    pub(crate) steady: Instant,
}

impl Clock {
    /// The same instant on the wall.
    pub(crate) fn nanos(&self, instant: Instant) -> u64 {
        let wall = match instant.checked_duration_since(self.steady) {
            Some(later) => self.wall.checked_add(later),
            None => self.wall.checked_sub(self.steady.duration_since(instant)),
        };
        nanos(wall.unwrap_or(self.wall))
    }
}

fn attribute(name: impl Into<String>, value: Value) -> KeyValue {
    KeyValue {
        key: name.into(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

/// An attribute that is a text.
pub(crate) fn text(name: impl Into<String>, value: impl Into<String>) -> KeyValue {
    attribute(name, Value::StringValue(value.into()))
}

/// Adds a message's encoding to another of its kind: by protobuf's rules that merges the two, and lists go on.
pub(crate) fn append(message: &impl Message, encoded: &mut Vec<u8>) {
    // A vector takes as much as comes.
    let _ = message.encode(encoded);
}

/// Adds the field of this number, a message that is encoded already.
pub(crate) fn nest(field: u8, message: &[u8], encoded: &mut Vec<u8>) {
    open(field, message.len(), encoded);
    encoded.extend_from_slice(message);
}

/// Adds the beginning of a field of this number that takes so many bytes.
pub(crate) fn open(field: u8, length: usize, encoded: &mut Vec<u8>) {
    const LENGTH_DELIMITED: u8 = 2;
    debug_assert!(field < 16, "its key takes one byte");
    let key = field << 3 | LENGTH_DELIMITED;
    match length {
        // As nearly all do: then it is one byte.
        short @ 0..128 => encoded.extend_from_slice(&[key, short as u8]),
        long => {
            encoded.push(key);
            let _ = prost::encode_length_delimiter(long, encoded);
        }
    }
}

/// Bytes that [`small`] adds, and [`fixed`].
pub(crate) const SMALL: usize = 2;
pub(crate) const FIXED: usize = 9;

/// Adds the field of this number, a word of a small enumeration.
pub(crate) fn small(field: u8, word: u8, encoded: &mut Vec<u8>) {
    const VARINT: u8 = 0;
    debug_assert!(field < 16 && word < 128, "each takes one byte");
    encoded.extend_from_slice(&[field << 3 | VARINT, word]);
}

/// Adds the field of this number, eight bytes wide.
pub(crate) fn fixed(field: u8, number: u64, encoded: &mut Vec<u8>) {
    const FIXED_64: u8 = 1;
    debug_assert!(field < 16, "its key takes one byte");
    encoded.push(field << 3 | FIXED_64);
    encoded.extend_from_slice(&number.to_le_bytes());
}

/// Bytes of a field that takes so many without its beginning.
pub(crate) fn opened(length: usize) -> usize {
    1 + prost::length_delimiter_len(length) + length
}

/// The attributes of a span, encoded as they are added. The protocol's own type has a string for each name and each value: making
/// and measuring them was a third of what a trace cost.
#[derive(Debug, Default)]
pub(crate) struct Attributes {
    /// [`KeyValue`]s as a span has them.
    pub(crate) encoded: Vec<u8>,
}

impl Attributes {
    pub(crate) fn text(&mut self, name: &str, value: &str) {
        let encoded = self.open(name, opened(value.len()));
        nest(1, value.as_bytes(), encoded);
    }

    pub(crate) fn number(&mut self, name: &str, number: u64) {
        // An int of OTLP has a sign; no port, status or length comes near it.
        self.value(
            name,
            Value::IntValue(i64::try_from(number).unwrap_or(i64::MAX)),
        );
    }

    pub(crate) fn address(&mut self, name: &str, address: IpAddr) {
        self.text(name, &address.to_canonical().to_string());
    }

    /// It is left out where it is not true.
    pub(crate) fn truth(&mut self, name: &str) {
        self.value(name, Value::BoolValue(true));
    }

    /// One that allocates nothing.
    fn value(&mut self, name: &str, value: Value) {
        let value = AnyValue { value: Some(value) };
        append(&value, self.open(name, value.encoded_len()));
    }

    /// Adds all of an attribute but its value, an `AnyValue` of so many bytes.
    fn open(&mut self, name: &str, value: usize) -> &mut Vec<u8> {
        const ATTRIBUTES: u8 = 9;
        let encoded = &mut self.encoded;
        open(ATTRIBUTES, opened(name.len()) + opened(value), encoded);
        nest(1, name.as_bytes(), encoded);
        open(2, value, encoded);
        encoded
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::trace::v1::Span;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn attributes_are_read_as_they_were_written(
            name in ".{0,200}",
            value in ".{0,200}",
            number in 0..=u64::from(u32::MAX) * 2,
            address: IpAddr,
        ) {
            let mut attributes = Attributes::default();
            attributes.text(&name, &value);
            attributes.number(&name, number);
            attributes.number("", u64::MAX);
            attributes.truth(&name);
            attributes.address("address", address);
            let read = Span::decode(&*attributes.encoded).unwrap().attributes;
            let expected = [
                text(&*name, &*value),
                attribute(&*name, Value::IntValue(number as i64)),
                attribute("", Value::IntValue(i64::MAX)),
                attribute(&*name, Value::BoolValue(true)),
                text("address", address.to_canonical().to_string()),
            ];
            prop_assert_eq!(read, expected);
        }
    }
}
