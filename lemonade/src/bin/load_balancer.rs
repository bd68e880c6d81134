//! `load_balancer`: what `lemonade load-balancer` is, under the name that older instructions call it by
//! (`cargo run --bin load_balancer`, with a `.env` that names the database).

use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let name = arguments.next();
    // `lemonade` without a command is the load balancer; flags go with that.
    let command: Vec<OsString> = name.into_iter().chain(arguments).collect();
    lemonade::run(command)
}
