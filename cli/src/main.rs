//! The program `blockqnn`: searches convolutional network blocks, trains the best ones, and hands them over.
//!
//! `blockqnn help` lists the commands. Each has a file in `cmd`; options that several have are groups in `args`.

#![warn(clippy::print_stdout, clippy::print_stderr)]

#[macro_use]
mod terminal;

mod args;
mod cmd;
mod images;
mod kept;
mod progress;

use blockqnn::network::device::{keep_kernels, kernel_folder};
use clap::Parser;
use std::process::ExitCode;

/// Design convolutional network blocks with Q-learning (BlockQNN), train them, and export them.
///
/// A search proposes blocks layer by layer, trains each for a few epochs in a small network, and learns from its
/// validation accuracy. The best blocks can be trained to convergence, transferred to larger images, and exported.
#[derive(Debug, Parser)]
#[command(name = "blockqnn", version, max_term_width = 110, after_help = EXAMPLES)]
struct Program {
    #[command(subcommand)]
    command: cmd::Command,
}

const EXAMPLES: &str = "\
Examples:
  blockqnn search --out my-run              a few minutes on two CPU cores, without any files
  blockqnn verify my-run --top 4            trains the best blocks to convergence
  blockqnn export my-run --to pytorch       prints the best block as PyTorch source
  blockqnn search --help                    every option of a command, with its default";

fn main() -> ExitCode {
    // Before any device is opened, in child processes too.
    if let Some(folder) = kernel_folder() {
        keep_kernels(folder);
    }
    terminal::finish(Program::parse().command.run())
}
