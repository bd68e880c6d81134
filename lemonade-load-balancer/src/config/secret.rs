//! Texts that must not be seen: tokens, and addresses with passwords in them.

use std::fmt;
use subtle::ConstantTimeEq;

/// A text that no log, error or answer shows. What is done with it says so by calling [`Self::expose`].
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// From here on it is hidden.
    pub fn new(text: impl Into<String>) -> Self {
        Secret(text.into())
    }

    /// The text itself, for the one who needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether `guess` is the text, in a time that tells nothing about how much of it is right.
    pub fn is(&self, guess: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(guess).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The url for people: scheme, user, host and database. What may hold a secret is not in it.
///
/// Errs on the side of silence, because this runs on urls that do not parse too: everything from the first colon of
/// the user's part to the *last* `@` is dropped, so that a password with an unescaped `/` or `@` does not leak.
pub fn without_password(url: &str) -> String {
    let (scheme, rest) = url.split_once(':').unwrap_or_default();
    match scheme {
        "sqlite" => plain(url),
        "postgres" | "postgresql" => plain(&format!("{scheme}://{}", shown_place(rest))),
        _ => "…".to_owned(),
    }
}

fn shown_place(rest: &str) -> String {
    let rest = rest.trim_start_matches('/');
    let (user, place) = match rest.rsplit_once('@') {
        Some((user, place)) => (user.split([':', '/', '?', '#']).next(), place),
        None => (None, rest),
    };
    let user = user.map(|user| format!("{user}@")).unwrap_or_default();
    let place = place.split(['?', '#']).next().unwrap_or_default();
    match place.split_once('/') {
        Some((host, database)) => format!("{user}{}/{database}", shown_host(host)),
        None => format!("{user}{}", shown_host(place)),
    }
}

/// Without what follows the colon unless it is a port: in a url that lacks its `@` it is the password.
fn shown_host(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !host.ends_with(']') && port.parse::<u16>().is_err() => name,
        _ => host,
    }
}

/// Without control characters: what is shown ends up in a terminal.
fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_does_not_print_and_compares() {
        let secret = Secret::new("abc");
        assert_eq!(format!("{secret:?}"), "Secret(…)");
        assert!(secret.is(b"abc") && !secret.is(b"abd") && !secret.is(b"ab"));
    }

    #[test]
    fn what_is_shown_holds_no_password() {
        for (url, expected) in [
            ("postgres://u:secret@h:5432/d", "postgres://u@h:5432/d"),
            ("postgres://h/d", "postgres://h/d"),
            ("postgres://u@[::1]/d", "postgres://u@[::1]/d"),
            ("postgresql://u:se@cr/et@h/d", "postgresql://u@h/d"),
            ("postgres://u:sec?ret@h/d?host=/x", "postgres://u@h/d"),
            ("postgres://h/d?user=u&password=secret", "postgres://h/d"),
            ("postgres://u:secret", "postgres://u"),
            ("postgres:u:secret@h/d", "postgres://u@h/d"),
            ("mysql://u:secret@h", "…"),
            ("secret", "…"),
            ("sqlite://a/b.db", "sqlite://a/b.db"),
            ("sqlite:b.db?mode=rwc", "sqlite:b.db?mode=rwc"),
        ] {
            assert_eq!(without_password(url), expected, "{url}");
        }
    }
}
