//! `--trainer`: trainings by `PyTorch`, or by a program of the user's.

use blockqnn::evaluator::{ProcessEvaluator, TrainerCommand};
use blockqnn::experiment::Experiment;
use blockqnn::export::Blueprint;
use blockqnn::graph::ToGraph;
use blockqnn::space::block::BlockCode;
use serde::Serialize;
use serde_json::Value;
use std::fmt;
use std::path::Path;

/// The name of the trainer that comes with this program.
pub(super) const TORCH: &str = "torch";

/// What a trainer receives before its first task.
#[derive(Debug, Serialize)]
pub(super) struct Briefing<'a> {
    pub(super) experiment: &'a Experiment,
    pub(super) data: Option<&'a Path>,
    pub(super) device: Option<&'a str>,
    /// Where trainings are kept that may be promoted, for the processes of this program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rungs: Option<&'a Path>,
}

/// Who trains instead of this program.
#[derive(Debug, Clone)]
pub(super) enum Trainer {
    /// `PyTorch`, by the recipe of the search.
    Torch,
    /// A program of the user's.
    Command(TrainerCommand),
}

impl fmt::Display for Trainer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Torch => f.write_str(TORCH),
            Self::Command(command) => command.fmt(f),
        }
    }
}

/// `torch`, or a command line, with words in quotes as in a shell.
pub(super) fn trainer(line: &str) -> Result<Trainer, String> {
    if line == TORCH {
        return Ok(Trainer::Torch);
    }
    let words = shlex::split(line).ok_or("a quote is not closed")?;
    let (program, arguments) = words.split_first().ok_or("it must name a program, such as \"python3 train.py\"")?;
    Ok(Trainer::Command(TrainerCommand::new(program, arguments)))
}

/// Adds the forms of a block that trainers receive: its text, its graph, and the network in `PyTorch`.
pub(super) fn with_forms(
    processes: ProcessEvaluator<BlockCode>,
    experiment: &Experiment,
) -> ProcessEvaluator<BlockCode> {
    let network = experiment.network();
    processes
        .with_form("text", |block| block.to_string().into())
        .with_form("graph", |block| serde_json::to_value(block.to_graph()).unwrap_or_default())
        .with_form("pytorch", move |block| {
            // A block whose sizes overflow is never evaluated.
            let blueprint = Blueprint::new(block.to_string(), block.to_graph(), network.clone());
            blueprint.map_or(Value::Null, |blueprint| blueprint.to_pytorch().into())
        })
}
