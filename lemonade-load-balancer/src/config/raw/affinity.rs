//! What users may write about which requests belong together.

use lemonade_config::{RawDuration, Switch};
use schemars::JsonSchema;
use serde::Deserialize;
use std::str::FromStr;

/// What a request is recognised by: `client`, `path`, or a table.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub(in super::super) struct RawKey {
    /// The first header of this name.
    pub(in super::super) header: Option<String>,
    /// The first cookie of this name.
    pub(in super::super) cookie: Option<String>,
    #[serde(skip)]
    pub(in super::super) is_path: bool,
}

impl FromStr for RawKey {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "client" | "path" => Ok(RawKey {
                is_path: word == "path",
                ..RawKey::default()
            }),
            other => Err(format!(
                "expected `client`, `path`, `{{ header: NAME }}` or `{{ cookie: NAME }}`; found `{other}`"
            )),
        }
    }
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub(in super::super) struct RawSticky {
    /// The cookie's name.
    pub(in super::super) cookie: Option<String>,
    /// How long it holds; 0 is until the browser is closed.
    pub(in super::super) ttl: Option<RawDuration>,
    /// Whether it is sent over HTTPS alone: `auto`, `true` or `false`.
    pub(in super::super) secure: Option<Switch<RawAuto>>,
    /// Which requests that other sites cause carry it: `strict` (none), `lax` (links) or `none` (all).
    pub(in super::super) same_site: Option<RawSameSite>,
    /// Scripts do not see it.
    pub(in super::super) http_only: Option<bool>,
    /// It is sent with requests below this path.
    pub(in super::super) path: Option<String>,
    /// What it is sealed with: 16 to 512 characters, the same for balancers that shall know each other's cookies.
    pub(in super::super) secret: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in super::super) enum RawAuto {
    Auto,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in super::super) enum RawSameSite {
    Strict,
    Lax,
    None,
}
