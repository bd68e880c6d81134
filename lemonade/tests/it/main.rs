//! The binary as a user meets it: the commands of the documents, wrong input, exit codes, signals.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod api;
mod bench;
mod changes;
mod discovery;
mod documents;
mod explain;
mod monitoring;
mod operator;
mod process;
mod refusals;
mod runs;
mod simulate;
mod takeover;
mod terminal;
mod top;
mod traffic;
