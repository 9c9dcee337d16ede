//! One file per command.

mod calibrate;
mod classify;
mod compare;
mod completions;
mod contest;
mod export;
mod plan;
mod report;
mod search;
mod trainer;
mod transfer;
mod verify;
#[cfg(feature = "nats")]
mod worker;

use clap::{Parser, Subcommand};
use std::error::Error;
use std::process::ExitCode;

/// What a command ends with: its exit status, or the error that the program prints.
pub(crate) type Outcome = Result<ExitCode, Box<dyn Error>>;

/// Design convolutional network blocks with Q-learning (BlockQNN), train them, and export them.
///
/// A search proposes blocks layer by layer, trains each for a few epochs in a small network, and learns from its
/// validation accuracy. The best blocks can be trained to convergence, transferred to larger images, and exported.
#[derive(Debug, Parser)]
#[command(name = "blockqnn", version, max_term_width = 110, after_help = EXAMPLES)]
pub(crate) struct Program {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  blockqnn search --out my-run              a few minutes on two CPU cores, without any files
  blockqnn verify my-run --top 4            trains the best blocks to convergence
  blockqnn export my-run --to pytorch       prints the best block as PyTorch source
  blockqnn search --help                    every option of a command, with its default";

/// The commands.
#[derive(Debug, Subcommand)]
#[allow(clippy::large_enum_variant, reason = "there is one, and its size depends on the features")]
pub(crate) enum Command {
    Search(search::Arguments),
    Verify(verify::Arguments),
    Transfer(transfer::Arguments),
    Export(export::Arguments),
    Classify(classify::Arguments),
    Report(report::Arguments),
    #[cfg(feature = "nats")]
    Worker(worker::Arguments),
    Contest(contest::Arguments),
    Compare(compare::Arguments),
    Calibrate(calibrate::Arguments),
    Plan(plan::Arguments),
    Trainer(trainer::Arguments),
    Completions(completions::Arguments),
}

impl Command {
    pub(crate) fn run(&self) -> Outcome {
        match self {
            Self::Search(arguments) => search::run(arguments),
            Self::Verify(arguments) => verify::run(arguments),
            Self::Transfer(arguments) => transfer::run(arguments),
            Self::Export(arguments) => export::run(arguments),
            Self::Classify(arguments) => classify::run(arguments),
            Self::Report(arguments) => report::run(arguments),
            #[cfg(feature = "nats")]
            Self::Worker(arguments) => worker::run(arguments),
            Self::Contest(arguments) => contest::run(arguments),
            Self::Compare(arguments) => compare::run(arguments),
            Self::Calibrate(arguments) => calibrate::run(arguments),
            Self::Plan(arguments) => plan::run(arguments),
            Self::Trainer(arguments) => trainer::run(arguments),
            Self::Completions(arguments) => completions::run(arguments),
        }
    }
}
