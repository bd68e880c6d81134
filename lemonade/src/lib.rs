//! `lemonade`: the load balancer, the workers behind it, and a demonstration of both, in one binary.
//!
//! This crate is the shell: it reads the command line, sets up logging, and hands over to the libraries. Exit codes: 0 fine,
//! 1 failed, 2 usage or configuration.

mod cli;
mod command;
mod signals;

use clap::Parser;
use cli::{Cli, Command};
use command::Failure;
use std::process::ExitCode;

/// The demo talks to a person; of the balancer's log it shows what went wrong.
const DEMO_VERBOSITY: i8 = -1;

fn main() -> ExitCode {
    let Cli {
        log,
        command,
        load_balancer,
    } = Cli::parse();
    let own = if matches!(command, Some(Command::Demo(_))) {
        DEMO_VERBOSITY
    } else {
        0
    };
    let result = lemonade_observability::logging::init(log.format, log.verbosity(own))
        .map_err(|error| Failure::Usage(error.to_string()))
        .and_then(|()| match command {
            Some(_) if load_balancer != cli::LoadBalancer::default() => Err(Failure::Usage(
                "the load balancer's flags belong behind its command: `lemonade load-balancer …`"
                    .to_owned(),
            )),
            Some(Command::LoadBalancer(options)) => command::load_balancer::run(options),
            Some(Command::Worker(options)) => command::worker::run(options),
            Some(Command::Demo(options)) => command::demo::run(options),
            None => command::load_balancer::run_here(load_balancer),
        });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("lemonade: {failure}");
            failure.exit_code()
        }
    }
}
