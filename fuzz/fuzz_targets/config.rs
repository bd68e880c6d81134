//! Any text as a file in any format: faults, never a panic.

#![no_main]

use lemonade_config::{Document, Environment, Format};
use libfuzzer_sys::fuzz_target;
use serde::Deserialize;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct File {
    listen: Option<lemonade_config::Address>,
    timeout: Option<lemonade_config::RawDuration>,
    share: Option<lemonade_config::Percent>,
    size: Option<lemonade_config::ByteSize>,
    names: lemonade_config::OneOrMany<String>,
}

fuzz_target!(|text: &str| {
    for format in [Format::Yaml, Format::Toml, Format::Json] {
        if let Ok(document) = Document::parse("fuzz", format, text, &Environment::default()) {
            let (_, faults) = document.decode::<File>();
            for fault in faults {
                let _ = fault.to_string();
            }
        }
    }
});
