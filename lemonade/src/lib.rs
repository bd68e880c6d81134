//! `lemonade`: the load balancer, the workers behind it, and a demonstration of both, in one binary.
//!
//! This crate is the shell: it reads the command line, sets up logging, and hands over to the libraries. Exit codes: 0 fine,
//! 1 failed, 2 usage or configuration.

mod cli;
mod client;
mod command;
mod signals;
mod upgrade;

use clap::Parser;
use cli::{Cli, Command};
use command::Failure;
use std::ffi::OsString;
use std::process::ExitCode;

/// The demo talks to a person, as the bench does; of the balancer's log it shows what went wrong.
const DEMO_VERBOSITY: i8 = -1;
/// A line of the log would lie across the picture; a panic is told, once the terminal is given back.
const TOP_VERBOSITY: i8 = -2;

/// The program: `arguments` begin with its name. Call it before any thread is started.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let Cli {
        log,
        command,
        load_balancer,
    } = Cli::parse_from(arguments);
    let own = match command {
        Some(Command::Demo(_) | Command::Bench(_)) => DEMO_VERBOSITY,
        Some(Command::Top(_)) => TOP_VERBOSITY,
        _ => 0,
    };
    let result = lemonade_observability::logging::init(log.format, log.verbosity(own))
        .map_err(|error| Failure::Usage(error.to_string()))
        .and_then(|()| match command {
            Some(_) if load_balancer != cli::LoadBalancer::default() => Err(Failure::Usage(
                "flags belong behind the command that they are for: `lemonade load-balancer --config …`, \
                 `lemonade backends --admin …`"
                    .to_owned(),
            )),
            Some(command) => obey(command),
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

fn obey(command: Command) -> Result<(), Failure> {
    match command {
        Command::LoadBalancer(options) => command::load_balancer::run(options),
        Command::Worker(options) => command::worker::run(options),
        Command::Demo(options) => command::demo::run(options),
        Command::Bench(options) => command::bench::run(&options),
        Command::Check(options) => command::check::run(options),
        Command::Reload(options) => command::reload::run(&options),
        Command::Status(options) => command::status::run(&options),
        Command::Backends(options) => command::backends::run(options),
        Command::Strategy(options) => command::strategy::run(options),
        Command::Simulate(options) => command::simulate::run(&options),
        Command::Decisions(options) => command::decisions::run(&options),
        Command::Top(options) => command::top::run(&options),
        Command::Explain(options) => command::explain::run(&options),
        Command::Upgrade(options) => command::process::upgrade(&options),
        Command::Db(options) => command::db::run(options),
        Command::Completions { shell } => command::shell::completions(shell),
        Command::Man => command::shell::man(),
    }
}
