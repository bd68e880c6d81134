//! The binary as a user meets it: the commands of the documents, wrong input, exit codes, signals.

mod documents;
mod process;
mod refusals;
mod runs;
