//! What messages have in common: serde's terms in a user's words, and quotations that stay on one line.
//!
//! Called wherever a fault is worded. Promise: no message grows with the file, and none holds a control character.

use std::fmt;

use serde::de;

use crate::suggest::suggest;

/// How many known keys a fault lists when none is near the unknown one.
const MAX_LISTED: usize = 12;

/// serde's words for what a type takes, in a user's words.
pub(crate) fn wanted(expected: &str) -> String {
    let words = match expected {
        "a boolean" => "`true` or `false`",
        "f32" | "f64" => "a number",
        "u8" => return whole_number(0, u8::MAX),
        "u16" => return whole_number(0, u16::MAX),
        "u32" => return whole_number(0, u32::MAX),
        "u64" | "usize" | "u128" => "a whole number from 0",
        "i8" => return whole_number(i8::MIN, i8::MAX),
        "i16" => return whole_number(i16::MIN, i16::MAX),
        "i32" => return whole_number(i32::MIN, i32::MAX),
        "i64" | "isize" | "i128" => "a whole number",
        "a nonzero u8" => return whole_number(1, u8::MAX),
        "a nonzero u16" => return whole_number(1, u16::MAX),
        "a nonzero u32" => return whole_number(1, u32::MAX),
        "a nonzero u64" | "a nonzero usize" => "a whole number from 1",
        "a map" => "a table",
        "a sequence" => "a list",
        "unit" => "nothing",
        _ if expected.starts_with("struct ") => "a table",
        _ if expected.starts_with("tuple ") => "a list",
        other => other,
    };
    words.to_owned()
}

fn whole_number(from: impl fmt::Display, to: impl fmt::Display) -> String {
    format!("a whole number from {from} to {to}")
}

pub(crate) fn shown(found: de::Unexpected<'_>) -> String {
    match found {
        de::Unexpected::Bool(flag) => format!("`{flag}`"),
        de::Unexpected::Unsigned(number) => format!("the number {number}"),
        de::Unexpected::Signed(number) => format!("the number {number}"),
        // Its decimal point tells why `1e3` is no whole number.
        de::Unexpected::Float(number) => format!("the number {number:?}"),
        de::Unexpected::Str(text) => format!("the string `{}`", shorten(text)),
        de::Unexpected::Unit | de::Unexpected::Option => "nothing".to_owned(),
        de::Unexpected::Seq => "a list".to_owned(),
        de::Unexpected::Map => "a table".to_owned(),
        other => other.to_string(),
    }
}

/// One line of a bounded length, whatever the file holds.
pub(crate) fn shorten(text: &str) -> String {
    const LONGEST: usize = 60;
    let mut short = String::new();
    for c in text.chars().take(LONGEST) {
        match c {
            '\'' | '"' | '\\' => short.push(c),
            _ => short.extend(c.escape_debug()),
        }
    }
    if text.chars().nth(LONGEST).is_some() {
        short.push('…');
    }
    short
}

pub(crate) fn one_of(known: &[&str]) -> String {
    let listed: Vec<String> = known.iter().map(|word| format!("`{word}`")).collect();
    match listed.as_slice() {
        [] => "nothing".to_owned(),
        [only] => only.clone(),
        several => format!("one of {}", several.join(", ")),
    }
}

pub(crate) fn did_you_mean(word: &str, known: &[&str]) -> Option<String> {
    suggest(word, known.iter().copied()).map(|meant| format!("did you mean `{meant}`?"))
}

/// None when there are too many to read.
pub(crate) fn all_known(known: &[&str]) -> Option<String> {
    (known.len() <= MAX_LISTED).then(|| format!("expected {}", one_of(known)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotations_stay_on_one_short_line() {
        assert_eq!(shorten("it's \"a\\b\"\n\u{7}"), "it's \"a\\b\"\\n\\u{7}");
        assert_eq!(shorten(&"é".repeat(100)), "é".repeat(60) + "…");
    }

    #[test]
    fn types_are_told_in_a_users_words() {
        for (serde, words) in [
            ("u8", "a whole number from 0 to 255"),
            ("a nonzero u16", "a whole number from 1 to 65535"),
            ("struct RawHealth", "a table"),
            ("tuple struct Pair", "a list"),
            ("IP address", "IP address"),
        ] {
            assert_eq!(wanted(serde), words);
        }
    }

    #[test]
    fn long_lists_of_keys_are_left_out() {
        assert_eq!(
            all_known(&["a", "b"]).as_deref(),
            Some("expected one of `a`, `b`")
        );
        assert_eq!(all_known(&["a"; 13]), None);
    }
}
