//! The checks of what is said about which requests belong together.

use super::super::affinity::{Affinity, Key, SameSite, Secure, Sticky};
use super::super::raw::{RawAuto, RawKey, RawSameSite, RawSticky, RawStrategy};
use super::super::{Config, Secret};
use super::Check;
use crate::http1::fields::is_token;
use lemonade_config::{RawDuration, Switch};
use std::time::Duration;

/// Browsers cut longer times short (RFC 6265bis 5.5).
const LONGEST: Duration = Duration::from_secs(400 * 24 * 3600);
/// Every byte of it travels with every request.
const LONGEST_NAME: usize = 64;

impl Check<'_> {
    pub(super) fn strategy(&mut self, raw: RawStrategy, config: &mut Config) {
        config.strategy = raw.name.0;
        let default = Affinity::default();
        let mut options = default.options;
        match raw.bounded_load {
            Some(Switch::Off) => options.bounded_load = None,
            Some(Switch::Set(factor)) => {
                let factor = self.within("strategy.bounded_load", Some(factor), 1.01..=100.0, 1.25);
                options.bounded_load = Some(factor);
            }
            Some(Switch::On) | None => {}
        }
        config.affinity = Affinity {
            key: raw.key.map_or(default.key, |key| self.key(key.0)),
            options,
        };
    }

    fn key(&mut self, raw: RawKey) -> Key {
        match (raw.header, raw.cookie) {
            (Some(name), None) => {
                self.name("strategy.key.header", &name);
                Key::Header(name)
            }
            (None, Some(name)) => {
                self.name("strategy.key.cookie", &name);
                Key::Cookie(name)
            }
            (Some(_), Some(_)) => {
                self.fault("strategy.key", "expected `header` or `cookie`, found both");
                Key::default()
            }
            (None, None) if raw.is_path => Key::Path,
            (None, None) => Key::Client,
        }
    }

    fn name(&mut self, path: &str, name: &str) {
        if !is_token(name.as_bytes()) || name.len() > LONGEST_NAME {
            let problem =
                format!("expected a name of 1 to {LONGEST_NAME} letters, digits and the like");
            self.fault(path, problem);
        }
    }

    pub(super) fn sticky(&mut self, raw: Option<Switch<RawSticky>>) -> Option<Sticky> {
        let default = Sticky::default();
        let raw = match raw {
            Some(Switch::Set(raw)) => raw,
            Some(Switch::On) => return Some(default),
            Some(Switch::Off) | None => return None,
        };
        let sticky = Sticky {
            cookie: raw.cookie.unwrap_or(default.cookie),
            ttl: self.ttl(raw.ttl),
            secure: match raw.secure {
                Some(Switch::On) => Secure::Always,
                Some(Switch::Off) => Secure::Never,
                Some(Switch::Set(RawAuto::Auto)) | None => Secure::Auto,
            },
            same_site: match raw.same_site {
                Some(RawSameSite::Strict) => SameSite::Strict,
                Some(RawSameSite::None) => SameSite::None,
                Some(RawSameSite::Lax) | None => SameSite::Lax,
            },
            http_only: raw.http_only.unwrap_or(default.http_only),
            path: raw.path.unwrap_or(default.path),
            secret: raw.secret.map(Secret::new),
        };
        self.cookie(&sticky);
        Some(sticky)
    }

    fn ttl(&mut self, raw: Option<RawDuration>) -> Duration {
        let ttl = raw.map_or(Duration::ZERO, RawDuration::or_millis);
        if ttl.is_zero() {
            return ttl;
        }
        let bounds = Duration::from_secs(1)..=LONGEST;
        self.duration("sticky.ttl", Some(ttl), &bounds, Duration::ZERO)
    }

    /// What a browser would not take, or take for something else.
    fn cookie(&mut self, sticky: &Sticky) {
        self.name("sticky.cookie", &sticky.cookie);
        let path = sticky.path.as_bytes();
        let is_plain = |byte: &u8| byte.is_ascii_graphic() && *byte != b';';
        if !path.starts_with(b"/") || path.len() > 1024 || !path.iter().all(is_plain) {
            let problem =
                "expected a path that begins with `/`, of visible ASCII characters but `;`";
            self.fault("sticky.path", problem);
        }
        if sticky.same_site == SameSite::None && sticky.secure != Secure::Always {
            let problem =
                "browsers drop a cookie with `same_site: none` unless it has `secure: true`";
            self.fault("sticky.same_site", problem);
        }
        if let Some(secret) = &sticky.secret
            && let Err(problem) = super::check_token(secret)
        {
            self.fault("sticky.secret", problem);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{faults, good};
    use super::*;
    use crate::strategy::Name;

    fn of(lines: &str) -> Config {
        good(&format!("backends: [\"127.0.0.1:2\"]\n{lines}\n"))
    }

    #[test]
    fn key_is_a_word_or_a_table() {
        let key = |key: &str| {
            of(&format!("strategy: {{ name: maglev, key: {key} }}"))
                .affinity
                .key
        };
        assert_eq!(key("client"), Key::Client);
        assert_eq!(key("path"), Key::Path);
        assert_eq!(key("{ header: X-User }"), Key::Header("X-User".to_owned()));
        assert_eq!(
            key("{ cookie: session }"),
            Key::Cookie("session".to_owned())
        );
        let config = of("strategy: consistent_hash");
        assert_eq!(config.strategy, Name::ConsistentHash);
        assert_eq!(config.affinity, Affinity::default());
    }

    #[test]
    fn bounded_load_is_a_factor_or_off() {
        let bound = |text: &str| {
            let config = of(&format!(
                "strategy: {{ name: maglev, bounded_load: {text} }}"
            ));
            config.affinity.options.bounded_load
        };
        assert_eq!(
            (bound("2"), bound("1.5"), bound("off")),
            (Some(2.0), Some(1.5), None)
        );
        assert_eq!(bound("on"), Some(1.25));
    }

    #[test]
    fn sticky_is_off_unless_it_is_asked_for() {
        assert_eq!(of("").sticky, None);
        assert_eq!(of("sticky: off").sticky, None);
        assert_eq!(of("sticky: on").sticky, Some(Sticky::default()));
        let sticky = of(
            "sticky: { cookie: s, ttl: 1h, secure: true, same_site: none, http_only: false, path: /a }",
        );
        let expected = Sticky {
            cookie: "s".to_owned(),
            ttl: Duration::from_secs(3600),
            secure: Secure::Always,
            same_site: SameSite::None,
            http_only: false,
            path: "/a".to_owned(),
            secret: None,
        };
        assert_eq!(sticky.sticky, Some(expected));
        assert_eq!(
            of("sticky: { secure: auto }").sticky,
            Some(Sticky::default())
        );
    }

    #[test]
    fn what_could_not_work_is_refused() {
        for (lines, expected) in [
            (
                "strategy: { name: maglev, key: user }",
                "expected `client`, `path`",
            ),
            (
                "strategy: { name: maglev, key: { header: \"a b\" } }",
                "strategy.key.header",
            ),
            (
                "strategy: { name: maglev, key: { cookie: \"\" } }",
                "strategy.key.cookie",
            ),
            (
                "strategy: { name: maglev, key: { header: a, cookie: b } }",
                "found both",
            ),
            (
                "strategy: { name: maglev, bounded_load: 1 }",
                "expected 1.01 to 100, found 1",
            ),
            (
                "strategy: { name: maglev, bounded_load: much }",
                "strategy.bounded_load",
            ),
            ("sticky: { cookie: \"a=b\" }", "sticky.cookie"),
            ("sticky: { path: a }", "sticky.path"),
            ("sticky: { path: \"/a;b\" }", "sticky.path"),
            ("sticky: { same_site: none }", "secure: true"),
            ("sticky: { ttl: 1ms }", "sticky.ttl: expected 1s to 9600h"),
            (
                "sticky: { secret: short }",
                "sticky.secret: expected 16 to 512",
            ),
        ] {
            let found = faults(&format!("backends: [\"127.0.0.1:2\"]\n{lines}\n"));
            assert!(found.contains(expected), "{lines}: {found}");
        }
    }
}
