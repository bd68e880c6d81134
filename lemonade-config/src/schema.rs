//! What editors are told of the types that a file may hold, as JSON Schema.
//!
//! The raw types of the commands derive `JsonSchema`; what they are made of is described here, in every spelling that the
//! decoder takes.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::{
    Address, ByteSize, ListenAddress, Located, OneOrMany, Percent, RawDuration, ShortOr, Switch,
};

/// A type that is written as a text or a number, with a pattern that catches slips without knowing every rule.
macro_rules! written_as {
    ($type:ty, $name:literal, $schema:tt) => {
        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

written_as!(Address, "Address", {
    "type": "string",
    "description": "`host:port`",
    "examples": ["127.0.0.1:50510"]
});
written_as!(ListenAddress, "ListenAddress", {
    "type": "string",
    "description": "`host:port`; port 0 takes a free one",
    "examples": ["127.0.0.1:50501"]
});
written_as!(RawDuration, "Duration", {
    "type": ["string", "number"],
    "description": "such as `5s`, `250ms` or `1m30s`",
    "pattern": "^\\s*([0-9.]+\\s*([a-zµ]+\\s*)?)+$|\\$\\{",
    "minimum": 0
});
written_as!(Percent, "Percent", {
    "type": ["string", "number"],
    "description": "such as `5%`",
    "minimum": 0,
    "maximum": 100
});
written_as!(ByteSize, "ByteSize", {
    "type": ["string", "integer"],
    "description": "bytes, or a size such as `64KiB`",
    "minimum": 0
});

impl<T: JsonSchema> JsonSchema for Switch<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("SwitchOf{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let value = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [{ "enum": ["on", "off", true, false] }, value] })
    }
}

impl<T: JsonSchema> JsonSchema for OneOrMany<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("OneOrMany{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let value = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [value, { "type": "array", "items": value }] })
    }
}

impl<T: JsonSchema> JsonSchema for ShortOr<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("ShortOr{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let value = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [{ "type": ["string", "number"] }, value] })
    }
}

impl<T: JsonSchema> JsonSchema for Located<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<T>()
    }
}
