//! `${VAR}` and `${VAR:-default}` inside the strings of a file.
//!
//! Called by [`Document::parse`](crate::Document::parse) on every string, never on keys or comments: those are no
//! strings of the tree. Promise: a text without `${` is left as it is, and what a variable holds is not expanded again.

use thiserror::Error;

use crate::environment::Environment;
use crate::words::shorten;

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum ExpandError {
    #[error("the environment variable `{0}` is not set")]
    Unset(String),
    #[error("`${{` without its `}}`")]
    Unclosed,
    #[error("`${{{0}}}` does not name an environment variable")]
    Name(String),
    #[error("a default cannot hold another `${{…}}`")]
    Nested,
}

impl ExpandError {
    pub(crate) fn help(&self) -> String {
        match self {
            ExpandError::Unset(name) => {
                format!("set it, or give a default: `${{{name}:-…}}`")
            }
            ExpandError::Nested => "name one variable and a plain default".to_owned(),
            ExpandError::Unclosed | ExpandError::Name(_) => {
                "write `${NAME}` or `${NAME:-default}`, or `$${` for a plain `${`".to_owned()
            }
        }
    }
}

/// None when there is nothing to expand. The flag says whether a variable took part, or only `$${`.
pub(crate) fn expand(
    text: &str,
    environment: &Environment,
) -> Result<Option<(String, bool)>, ExpandError> {
    let Some((mut plain, mut rest)) = text.split_once("${") else {
        return Ok(None);
    };
    let mut expanded = String::new();
    let mut variable = false;
    loop {
        if let Some(escaped) = plain.strip_suffix('$') {
            expanded.push_str(escaped);
            expanded.push_str("${");
        } else {
            let (inside, after) = rest.split_once('}').ok_or(ExpandError::Unclosed)?;
            expanded.push_str(plain);
            expanded.push_str(value(inside, environment)?);
            variable = true;
            rest = after;
        }
        match rest.split_once("${") {
            Some(parts) => (plain, rest) = parts,
            None => {
                expanded.push_str(rest);
                return Ok(Some((expanded, variable)));
            }
        }
    }
}

/// As in a shell, `:-` stands in for a variable that is empty, too.
fn value<'a>(inside: &'a str, environment: &'a Environment) -> Result<&'a str, ExpandError> {
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    if !is_name(name) {
        return Err(ExpandError::Name(shorten(inside)));
    }
    if default.is_some_and(|default| default.contains("${")) {
        return Err(ExpandError::Nested);
    }
    match (environment.get(name), default) {
        (Some(value), None) => Ok(value),
        (Some(value), Some(_)) if !value.is_empty() => Ok(value),
        (_, Some(default)) => Ok(default),
        (None, None) => Err(ExpandError::Unset(name.to_owned())),
    }
}

/// A name as POSIX shells take it.
pub(crate) fn is_name(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str) -> Result<Option<(String, bool)>, ExpandError> {
        let environment =
            Environment::from_pairs([("HOST", "db"), ("EMPTY", ""), ("SLY", "${HOST}")]);
        expand(text, &environment)
    }

    #[test]
    fn variables_and_defaults_expand() {
        for (text, becomes) in [
            ("${HOST}", "db"),
            ("sql://${HOST}:${PORT:-5432}/x", "sql://db:5432/x"),
            ("${EMPTY:-full}", "full"),
            ("${EMPTY}", ""),
            ("${NONE:-}", ""),
            ("${NONE:-a:-b}", "a:-b"),
            ("${SLY}", "${HOST}"),
            ("$$${HOST}", "$${HOST}"),
        ] {
            let (text, _) = expanded(text).unwrap().unwrap();
            assert_eq!(text, becomes);
        }
    }

    #[test]
    fn escape_gives_the_letters_themselves() {
        assert_eq!(
            expanded("a $${HOST}"),
            Ok(Some(("a ${HOST}".to_owned(), false)))
        );
        assert_eq!(
            expanded("$${A} ${HOST}"),
            Ok(Some(("${A} db".to_owned(), true)))
        );
    }

    #[test]
    fn other_dollars_are_left_alone() {
        for text in ["$HOST", "$$", "5$", "a{b}"] {
            assert_eq!(expanded(text), Ok(None));
        }
    }

    #[test]
    fn faults_say_what_is_wrong() {
        assert_eq!(
            expanded("${NONE}"),
            Err(ExpandError::Unset("NONE".to_owned()))
        );
        assert_eq!(expanded("${HOST"), Err(ExpandError::Unclosed));
        assert_eq!(expanded("${a-b}"), Err(ExpandError::Name("a-b".to_owned())));
        assert_eq!(expanded("${}"), Err(ExpandError::Name(String::new())));
        assert_eq!(expanded("${A:-${B}}"), Err(ExpandError::Nested));
    }
}
