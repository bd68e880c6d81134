//! What the access log tells of a request: first a short [`Record`] of it, then, some at a time, a [`Line`] of JSON or of text.
//! `docs/access-log.md` says what is in a line.
//!
//! Credentials are never read and query strings left out: a log is the first thing that leaks.

mod client;
pub(crate) mod escape;
pub(crate) mod fields;
mod line;
mod record;
mod texts;

pub(crate) use record::{Attempts, Record, Records};
pub(crate) use texts::{Text, Texts};

/// How an access log line is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccessLogFormat {
    /// One JSON object a line.
    #[default]
    Json,
    /// For people.
    Text,
}
