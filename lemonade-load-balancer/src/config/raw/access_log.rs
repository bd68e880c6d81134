//! What users may write about the access log.

use super::RawStatuses;
use lemonade_config::{Located, OneOrMany, Percent, RawDuration, ShortOr, Switch};
use schemars::JsonSchema;
use serde::Deserialize;
use std::str::FromStr;

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub(in super::super) struct RawAccessLog {
    /// The share of requests that are logged.
    pub(in super::super) sample: Option<Percent>,
    /// Requests that are logged whether they are in the sample or not.
    pub(in super::super) always: Option<RawAlways>,
    /// How a line is written.
    pub(in super::super) format: Option<RawFormat>,
    /// Where to; standard output if it is left out.
    pub(in super::super) file: Option<String>,
    /// Where to, instead of a file: `on` (`/dev/log`), the path of a socket, `host:port` (UDP), or a table.
    pub(in super::super) syslog: Option<Switch<ShortOr<RawSyslog>>>,
    /// What is left out of lines.
    pub(in super::super) redact: RawRedact,
}

impl FromStr for RawAccessLog {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        if word == "all" {
            return Ok(RawAccessLog::default());
        }
        let sample = word.parse().map_err(|_| {
            format!("expected `off`, `all`, a share such as `1%`, or a table; found `{word}`")
        })?;
        Ok(RawAccessLog {
            sample: Some(sample),
            ..RawAccessLog::default()
        })
    }
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub(in super::super) struct RawAlways {
    /// Those with these statuses: numbers, or ranges such as `500-599`.
    pub(in super::super) status: OneOrMany<Located<RawStatuses>>,
    /// Those that took longer.
    pub(in super::super) slower_than: Option<RawDuration>,
    /// Those that took more than one attempt.
    pub(in super::super) retried: Option<bool>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in super::super) enum RawFormat {
    Json,
    Text,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub(in super::super) struct RawSyslog {
    /// The path of a socket, or `host:port` for UDP.
    pub(in super::super) address: Option<String>,
    /// What kind of program speaks, as syslog names it.
    pub(in super::super) facility: Option<String>,
    /// The program's name.
    pub(in super::super) tag: Option<String>,
}

impl FromStr for RawSyslog {
    type Err = std::convert::Infallible;

    fn from_str(address: &str) -> Result<Self, Self::Err> {
        Ok(RawSyslog {
            address: Some(address.to_owned()),
            ..RawSyslog::default()
        })
    }
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields)]
pub(in super::super) struct RawRedact {
    /// Of a client's address: `off`, or `truncate` to its network (/24, of IPv6 /48).
    pub(in super::super) client: Option<Switch<RawTruncate>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(in super::super) enum RawTruncate {
    Truncate,
}
