//! Runs the binary, and waits for what it prints.

pub(crate) use lemonade_test::process::{Running, address, get, request};

use lemonade_test::process;
use std::path::Path;
use std::process::Command;

/// The repository's root, where the documents say their commands are run.
pub(crate) fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The binary with nothing of the tester's environment that would configure it.
pub(crate) fn lemonade(arguments: &[&str]) -> Command {
    program(env!("CARGO_BIN_EXE_lemonade"), arguments)
}

/// The same for another program.
pub(crate) fn program(path: &str, arguments: &[&str]) -> Command {
    process::program(path, arguments, root())
}

/// Runs it to its end: exit code, standard output, standard error.
pub(crate) fn run(arguments: &[&str]) -> (i32, String, String) {
    let output = lemonade(arguments).output().expect("the binary starts");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (
        output.status.code().unwrap_or(-1),
        text(output.stdout),
        text(output.stderr),
    )
}
