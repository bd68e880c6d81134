//! The JSON Schema of the configuration, for editors: made of [`super::raw`]'s types, so that it cannot fall behind them.
//!
//! What serde knows and a schema does not is added here: older spellings, defaults (from [`Config::default`], where they live),
//! and that `${VAR}` may stand for any value.

use super::raw::Raw;
use super::{Config, view};
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{Schema, json_schema};
use serde_json::{Map, Value};

/// Other spellings of a key, and the key: where they stand, as a JSON pointer into the schema.
const OLDER: [(&str, &str, &str); 7] = [
    ("", "listen_address", "listen"),
    ("", "backend_servers", "backends"),
    ("/$defs/RawRuntime", "drain_timeout_millis", "drain_timeout"),
    (
        "/$defs/RawRuntime",
        "config_watch_interval_millis",
        "config_watch_interval",
    ),
    ("/$defs/RawProxy", "listen", "listen_address"),
    ("/$defs/RawAdmin", "listen_address", "listen"),
    ("/$defs/RawAdmin", "address", "listen"),
];

/// The schema, as `lemonade check --schema` prints it.
pub fn schema() -> Value {
    let settings =
        SchemaSettings::draft2020_12().with_transform(RecursiveTransform(allow_variables));
    let mut schema = settings.into_generator().into_root_schema_for::<Raw>();
    schema.insert(
        "$id".to_owned(),
        "https://github.com/lemonade-lb/lemonade/blob/main/config/schema.json".into(),
    );
    let mut schema = schema.to_value();
    for (place, older, key) in OLDER {
        add_spelling(&mut schema, place, older, key);
    }
    let definitions = schema["$defs"].clone();
    add_defaults(&mut schema, &definitions, &view(&Config::default()));
    schema
}

/// A value that is no text may still come out of a variable.
fn allow_variables(schema: &mut Schema) {
    let plain = ["integer", "number", "boolean"];
    let types: Vec<&str> = match schema.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => return,
    };
    if !types.iter().any(|kind| plain.contains(kind)) || types.contains(&"string") {
        return;
    }
    let mut own = std::mem::take(schema.ensure_object());
    let description = own.remove("description");
    *schema =
        json_schema!({ "anyOf": [Value::Object(own), { "type": "string", "pattern": "\\$\\{" }] });
    if let Some(description) = description {
        schema.insert("description".to_owned(), description);
    }
}

fn add_spelling(schema: &mut Value, place: &str, older: &str, key: &str) {
    let properties = schema
        .pointer_mut(&format!("{place}/properties"))
        .and_then(Value::as_object_mut);
    let Some(properties) = properties else { return };
    let Some(mut same) = properties.get(key).cloned() else {
        return;
    };
    if let Some(same) = same.as_object_mut() {
        same.insert(
            "description".to_owned(),
            format!("Another name for `{key}`.").into(),
        );
        same.insert("deprecated".to_owned(), true.into());
    }
    properties.insert(older.to_owned(), same);
}

/// Writes the defaults of `values` into the properties of the same names.
fn add_defaults(schema: &mut Value, definitions: &Value, values: &Value) {
    let (Some(properties), Some(values)) = (
        schema.get_mut("properties").and_then(Value::as_object_mut),
        values.as_object(),
    ) else {
        return;
    };
    for (key, value) in values {
        let Some(property) = properties.get_mut(key) else {
            continue;
        };
        if value.is_object() {
            // The property refers to a definition that several may share: its defaults go where it is used.
            inline_reference(property, definitions);
            each_table(property, &mut |table| {
                add_defaults(table, definitions, value);
            });
        } else if let Some(property) = property.as_object_mut() {
            property.insert("default".to_owned(), value.clone());
        }
    }
}

/// Puts the definitions that a property refers to in its place.
fn inline_reference(property: &mut Value, definitions: &Value) {
    if let Some(object) = property.as_object_mut() {
        if let Some(name) = object
            .get("$ref")
            .and_then(Value::as_str)
            .and_then(|path| path.strip_prefix("#/$defs/"))
            && let Some(definition) = definitions.get(name).and_then(Value::as_object)
        {
            let mut inlined: Map<String, Value> = definition.clone();
            let own = object.iter().filter(|(key, _)| *key != "$ref");
            inlined.extend(own.map(|(key, value)| (key.clone(), value.clone())));
            *object = inlined;
        }
        if let Some(choices) = object.get_mut("anyOf").and_then(Value::as_array_mut) {
            for choice in choices {
                inline_reference(choice, definitions);
            }
        }
    }
}

/// Visits every table that a property may be.
fn each_table(property: &mut Value, visit: &mut dyn FnMut(&mut Value)) {
    if property.get("properties").is_some() {
        visit(property);
    }
    if let Some(choices) = property.get_mut("anyOf").and_then(Value::as_array_mut) {
        for choice in choices {
            each_table(choice, visit);
        }
    }
}
