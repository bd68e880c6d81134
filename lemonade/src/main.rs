//! The `lemonade` program; see the library of the same name.

use std::process::ExitCode;

fn main() -> ExitCode {
    lemonade::run(std::env::args_os())
}
