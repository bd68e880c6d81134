//! The JSON Schema of the configuration, for editors: made of [`super::raw`]'s types, so that it cannot fall behind them.
//!
//! What serde knows and a schema does not is added here: older spellings, defaults (from [`Config::default`], where they live),
//! and that `${VAR}` may stand for any value.

use super::raw::Raw;
use super::{Config, view};
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

/// Where the schema is published.
const ID: &str = "https://github.com/lemonade-lb/lemonade/blob/main/config/schema.json";

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
    let generator = SchemaSettings::draft2020_12().into_generator();
    let mut schema = generator.into_root_schema_for::<Raw>().to_value();
    schema["$id"] = ID.into();
    for (place, older, key) in OLDER {
        add_spelling(&mut schema, place, older, key);
    }
    let definitions = schema["$defs"].clone();
    add_defaults(&mut schema, &definitions, &view(&Config::default()));
    allow_variables(&mut schema);
    drop_empty_defaults(&mut schema);
    schema
}

/// That a key may be left out needs no saying.
fn drop_empty_defaults(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(drop_empty_defaults),
        Value::Object(object) => {
            if object.get("default").is_some_and(Value::is_null) {
                object.remove("default");
            }
            object.values_mut().for_each(drop_empty_defaults);
        }
        _ => {}
    }
}

/// A value that is no text may still come out of a variable.
fn allow_variables(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(allow_variables),
        Value::Object(object) => {
            object.values_mut().for_each(allow_variables);
            let kind = object.get("type");
            let is_plain = |kind: &Value| PLAIN.iter().any(|plain| kind == plain);
            let plain = match kind {
                Some(Value::Array(kinds)) => {
                    kinds.iter().any(is_plain) && !kinds.iter().any(|kind| kind == "string")
                }
                Some(kind) => is_plain(kind),
                None => false,
            };
            if plain {
                let mut own = std::mem::take(object);
                for word in ["description", "default", "deprecated"] {
                    if let Some(value) = own.remove(word) {
                        object.insert(word.to_owned(), value);
                    }
                }
                let variable = json!({ "type": "string", "pattern": "\\$\\{" });
                object.insert("anyOf".to_owned(), json!([own, variable]));
            }
        }
        _ => {}
    }
}

/// Types that a text is not.
const PLAIN: [&str; 3] = ["integer", "number", "boolean"];

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

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(validator: &jsonschema::Validator, text: &str) -> bool {
        validator.is_valid(&serde_json::from_str(text).unwrap())
    }

    #[test]
    fn schema_tells_good_files_from_bad_ones() {
        let schema = schema();
        let validator = jsonschema::validator_for(&schema).unwrap();
        for good in [
            r#"{"listen": "127.0.0.1:1", "strategy": "random", "backends": ["127.0.0.1:2"]}"#,
            r#"{"backends": [{"address": "a:1", "weight": 2}, "b:1"], "health": "off"}"#,
            r#"{"backends": "a:1", "health": {"path": "/x", "interval": "5s"}, "retries": false}"#,
            r#"{"backends": [{"address": "a:1", "weight": "${WEIGHT}"}]}"#,
            r#"{"listen_address": "a:1", "backend_servers": ["a:2"], "health_check_interval": 30}"#,
            r#"{"runtime": {"drain_timeout_millis": 5000}, "discovery": {"sql": "sqlite:w.db"}}"#,
        ] {
            assert!(allows(&validator, good), "{good}");
        }
        for bad in [
            r#"{"backend": ["127.0.0.1:2"]}"#,
            r#"{"backends": [{"adress": "a:1"}]}"#,
            r#"{"strategy": {"name": "best"}}"#,
            r#"{"timeouts": {"connect": "soon"}}"#,
            r#"{"limits": {"header_fields": []}}"#,
        ] {
            assert!(!allows(&validator, bad), "{bad}");
        }
    }

    #[test]
    fn defaults_are_those_of_the_code() {
        let schema = schema();
        assert_eq!(schema["properties"]["listen"]["default"], "127.0.0.1:50501");
        let connect = &schema["properties"]["timeouts"]["properties"]["connect"];
        assert_eq!(connect["default"], "1s");
    }
}
