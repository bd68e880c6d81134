//! What a shell and `man` want to know of the command line.

use super::Failure;
use super::text;
use crate::cli::Cli;
use clap::CommandFactory;
use clap_complete::Shell;

pub(crate) fn completions(shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "lemonade", &mut script);
    text::print(&String::from_utf8_lossy(&script))
}

pub(crate) fn man() -> Result<(), Failure> {
    let mut page = Vec::new();
    clap_mangen::Man::new(Cli::command())
        .render(&mut page)
        .map_err(|error| Failure::Failed(format!("cannot write the page: {error}")))?;
    text::print(&String::from_utf8_lossy(&page))
}
