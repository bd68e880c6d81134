//! Logs of a process: one set-up at its start, called by the binary and by nobody else.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::IsTerminal;
use std::str::FromStr;
use thiserror::Error;
use tracing_subscriber::EnvFilter;

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people; coloured on a terminal unless `NO_COLOR` is set.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// A word that is no format.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("unknown log format `{0}`: expected `text` or `json`")]
pub struct UnknownFormat(String);

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(word: &str) -> Result<Self, UnknownFormat> {
        match word {
            "text" => Ok(Format::Text),
            "json" => Ok(Format::Json),
            other => Err(UnknownFormat(other.to_owned())),
        }
    }
}

/// Rocket warns of its start and of every client that leaves; `_` is the target it uses for continued lines. sqlx warns of
/// parameters in a database's URL that it does not know, with their values, one of which may be a misspelt password.
const QUIET: &str = "rocket=error,_=error,sqlx=error";

/// Why logging could not be set up.
#[derive(Debug, Error)]
pub enum InitError {
    /// `RUST_LOG` is malformed.
    #[error("RUST_LOG is malformed: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// It was set up before.
    #[error("logging was set up twice")]
    Twice,
}

/// Sets up logging to standard error. `verbosity`: 0 is `info`, each step up or down one level. `RUST_LOG` wins over it.
pub fn init(format: Format, verbosity: i8) -> Result<(), InitError> {
    let level = match verbosity {
        ..=-3 => "off",
        -2 => "error",
        -1 => "warn",
        0 => "info",
        1 => "debug",
        2.. => "trace",
    };
    let filter = match std::env::var("RUST_LOG") {
        Ok(directives) if !directives.is_empty() => EnvFilter::try_new(directives)?,
        _ => EnvFilter::new(format!("{level},{QUIET}")),
    };
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colour);
    let result = match format {
        Format::Text => builder.with_target(false).try_init(),
        Format::Json => builder.json().flatten_event(true).try_init(),
    };
    result.map_err(|_| InitError::Twice)?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(())
}

/// A panic is a line of the log like any other, where the log's readers look for it.
fn log_panic(panic: &std::panic::PanicHookInfo<'_>) {
    // Empty unless `RUST_BACKTRACE` asks for it.
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then_some(backtrace);
    tracing::error!(
        thread = std::thread::current().name(),
        location = panic.location().map(tracing::field::display),
        backtrace = backtrace.map(tracing::field::display),
        "panic: {}",
        panic.payload_as_str().unwrap_or("of an unknown kind")
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_format_says_which_are_known() {
        assert_eq!("json".parse(), Ok(Format::Json));
        let error = "yaml".parse::<Format>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown log format `yaml`: expected `text` or `json`"
        );
    }
}
