//! `lemonade simulate --stdio`: the balancer driven by another program, in its time.

use super::super::Failure;
use lemonade_load_balancer::config::Config;
use lemonade_load_balancer::simulated::{ProtocolError, serve};
use lemonade_load_balancer::strategy::Name;
use std::io;

/// Answers standard input on standard output. `words`: the strategy, exactly one.
pub(super) fn run(words: &[String], shared: bool, config: &Config) -> Result<(), Failure> {
    let strategy: Name = match words {
        [] => config.strategy,
        [one] => one
            .parse()
            .map_err(|error| Failure::Usage(format!("--strategy: {error}")))?,
        _ => return Err(Failure::Usage("--stdio takes one --strategy".to_owned())),
    };
    match serve(io::stdin(), io::stdout(), strategy, shared, config) {
        // Whoever drives has seen enough.
        Err(ProtocolError::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(ProtocolError::Io(error)) => Err(Failure::Failed(format!(
            "standard input or output: {error}"
        ))),
        Err(error) => Err(Failure::Failed(format!("standard input, {error}"))),
        Ok(()) => Ok(()),
    }
}
