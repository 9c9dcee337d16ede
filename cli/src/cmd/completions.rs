//! `completions`: a script with which a shell completes command lines.

use super::Outcome;
use clap::CommandFactory;
use clap_complete::Shell;
use std::process::ExitCode;

/// Print a script that completes the commands and options of blockqnn in a shell
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Shell to print the script for
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// What `--help` ends with.
const EXAMPLES: &str = "\
Examples:
  blockqnn completions bash > ~/.local/share/bash-completion/completions/blockqnn
  blockqnn completions fish > ~/.config/fish/completions/blockqnn.fish";

#[expect(clippy::unnecessary_wraps, reason = "every command has this signature")]
pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut super::Program::command(), "blockqnn", &mut script);
    crate::terminal::print_bytes(&script);
    Ok(ExitCode::SUCCESS)
}
