//! One file per command.

mod calibrate;
mod compare;
mod completions;
mod export;
mod plan;
mod report;
mod search;
mod transfer;
mod verify;
#[cfg(feature = "nats")]
mod worker;

use clap::Subcommand;
use std::error::Error;
use std::process::ExitCode;

/// What a command ends with: its exit status, or the error that the program prints.
pub(crate) type Outcome = Result<ExitCode, Box<dyn Error>>;

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Search(search::Arguments),
    Verify(verify::Arguments),
    Transfer(transfer::Arguments),
    Export(export::Arguments),
    Report(report::Arguments),
    #[cfg(feature = "nats")]
    Worker(worker::Arguments),
    Compare(compare::Arguments),
    Calibrate(calibrate::Arguments),
    Plan(plan::Arguments),
    Completions(completions::Arguments),
}

impl Command {
    pub(crate) fn run(&self) -> Outcome {
        match self {
            Self::Search(arguments) => search::run(arguments),
            Self::Verify(arguments) => verify::run(arguments),
            Self::Transfer(arguments) => transfer::run(arguments),
            Self::Export(arguments) => export::run(arguments),
            Self::Report(arguments) => report::run(arguments),
            #[cfg(feature = "nats")]
            Self::Worker(arguments) => worker::run(arguments),
            Self::Compare(arguments) => compare::run(arguments),
            Self::Calibrate(arguments) => calibrate::run(arguments),
            Self::Plan(arguments) => plan::run(arguments),
            Self::Completions(arguments) => completions::run(arguments),
        }
    }
}
