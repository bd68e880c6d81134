//! The commands, one a file: each turns options into a run and its end into an exit code.

pub(crate) mod backends;
pub(crate) mod bench;
pub(crate) mod check;
pub(crate) mod db;
pub(crate) mod decisions;
pub(crate) mod demo;
pub(crate) mod explain;
pub(crate) mod load_balancer;
pub(crate) mod process;
pub(crate) mod reload;
pub(crate) mod shell;
pub(crate) mod simulate;
pub(crate) mod status;
pub(crate) mod strategy;
pub(crate) mod top;
pub(crate) mod worker;

mod child;
mod text;

use crate::cli::Reach;
use crate::client::{Body, Client};
use hyper::Method;
use lemonade_config::Faults;
use serde_json::Value;
use std::fmt;
use std::process::ExitCode;

/// Why a command ended without doing what it was asked.
#[derive(Debug)]
pub(crate) enum Failure {
    /// What was asked makes no sense: exit code 2.
    Usage(String),
    /// It made sense and did not work: exit code 1.
    Failed(String),
}

impl Failure {
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Failure::Usage(_) => ExitCode::from(2),
            Failure::Failed(_) => ExitCode::from(1),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Usage(message) | Failure::Failed(message) => f.write_str(message),
        }
    }
}

impl From<Faults> for Failure {
    fn from(faults: Faults) -> Self {
        Failure::Usage(faults.to_string())
    }
}

/// The runtime that waits for signals; the work runs on threads of its own.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(format!("cannot start a runtime: {error}")))
}

/// Calls the admin API and prints what `show` makes of the answer, or the answer itself if JSON is wanted.
fn ask(
    reach: &Reach,
    method: Method,
    path: &str,
    body: Body,
    show: impl FnOnce(&Value) -> String,
) -> Result<(), Failure> {
    let client = Client::reach(reach)?;
    let answer = runtime()?.block_on(client.call(method, path, body))?;
    match reach.json {
        true => text::print(&format!("{answer:#}\n")),
        false => text::print(&show(&answer)),
    }
}
