//! Which framework serves. The binary matches on it; replies and default names carry it.

use std::fmt;
use std::str::FromStr;

use lemonade_config::suggest;
use serde::Deserialize;
use thiserror::Error;

/// A framework there is an adapter for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Framework {
    /// `lemonade-worker-actix`
    Actix,
    /// `lemonade-worker-axum`
    Axum,
    /// `lemonade-worker-hyper`
    Hyper,
    /// `lemonade-worker-rocket`
    Rocket,
    /// `lemonade-worker-tokio`: none, only the runtime.
    Tokio,
}

impl Framework {
    /// In the order of the alphabet.
    pub const ALL: [Framework; 5] = [
        Framework::Actix,
        Framework::Axum,
        Framework::Hyper,
        Framework::Rocket,
        Framework::Tokio,
    ];

    /// The word for it on the command line and in replies.
    pub fn name(self) -> &'static str {
        match self {
            Framework::Actix => "actix",
            Framework::Axum => "axum",
            Framework::Hyper => "hyper",
            Framework::Rocket => "rocket",
            Framework::Tokio => "tokio",
        }
    }

    /// `actix, axum, hyper, rocket, tokio`
    pub(crate) fn known() -> String {
        Framework::ALL.map(Framework::name).join(", ")
    }
}

impl fmt::Display for Framework {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A word that names no framework, and what was probably meant, or all there are.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("unknown framework `{word}`: {help}")]
pub struct UnknownFramework {
    word: String,
    help: String,
}

impl UnknownFramework {
    fn new(word: &str) -> UnknownFramework {
        let help = match suggest(word, Framework::ALL.map(Framework::name)) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("known are {}", Framework::known()),
        };
        let word = word.chars().take(60).collect();
        UnknownFramework { word, help }
    }
}

impl FromStr for Framework {
    type Err = UnknownFramework;

    /// In either case, with blanks around.
    fn from_str(word: &str) -> Result<Framework, UnknownFramework> {
        let word = word.trim();
        let named = |framework: &Framework| framework.name().eq_ignore_ascii_case(word);
        Framework::ALL
            .into_iter()
            .find(named)
            .ok_or_else(|| UnknownFramework::new(word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_parses_to_its_framework() {
        for framework in Framework::ALL {
            assert_eq!(framework.name().parse(), Ok(framework));
            assert_eq!(framework.name().to_uppercase().parse(), Ok(framework));
        }
    }

    #[test]
    fn unknown_framework_is_answered_with_a_guess_or_the_list() {
        let error = |word: &str| word.parse::<Framework>().unwrap_err().to_string();
        assert_eq!(
            error("axun"),
            "unknown framework `axun`: did you mean `axum`?"
        );
        let all = "actix, axum, hyper, rocket, tokio";
        assert_eq!(
            error("warp"),
            format!("unknown framework `warp`: known are {all}")
        );
    }
}
