//! Any text as a rule's condition: one that reads back, or an error with a place in the text.

#![no_main]

use lemonade_load_balancer::decision::Condition;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| match text.parse::<Condition>() {
    Ok(condition) => assert_eq!(condition.to_string().parse(), Ok(condition)),
    Err(error) => assert!(error.column <= text.chars().count() + 1),
});
