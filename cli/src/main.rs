//! The program `blockqnn`: searches convolutional network blocks, trains the best ones, and hands them over.
//!
//! `blockqnn help` lists the commands. Each has a file in `cmd`; options that several have are groups in `args`.

#![warn(clippy::print_stdout, clippy::print_stderr)]

#[macro_use]
mod terminal;

mod advice;
mod args;
mod block;
mod cmd;
mod images;
mod output;
mod overrides;
mod progress;

use blockqnn::network::device::{keep_kernels, kernel_folder};
use clap::{CommandFactory, FromArgMatches};
use cmd::Program;
use std::process::ExitCode;

fn main() -> ExitCode {
    // Before any device is opened, in child processes too.
    if let Some(folder) = kernel_folder() {
        keep_kernels(folder);
    }
    let mut program = Program::command();
    let matches = program.get_matches_mut();
    let Program { command } = Program::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let used = matches.subcommand_name().and_then(|name| program.find_subcommand(name));
    terminal::finish(command.run().map_err(|error| advice::with_options(error.to_string(), used)))
}
