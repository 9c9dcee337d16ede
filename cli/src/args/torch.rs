//! `--trainer torch`.

use super::devices::processes_of;
use super::trainer::TORCH;
use blockqnn::data::ImageSet;
use blockqnn::evaluator::{ChildProblem, ProcessConfig, ProcessEvaluator, StartError};
use blockqnn::experiment::Experiment;
use blockqnn::space::block::BlockCode;
use blockqnn::train::{TorchError, TorchTraining};
use std::error::Error;

/// Names the Python to start.
const PYTHON: &str = "BLOCKQNN_PYTHON";

/// Options of trainings by `PyTorch`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct TorchOptions {
    /// With --trainer torch: compile each network with torch.compile (PyTorch 2), which takes about a minute and pays
    /// in long trainings
    #[arg(long, requires = "trainer")]
    pub(super) torch_compile: bool,
}

impl TorchOptions {
    /// The trainings of an experiment.
    pub(crate) fn training(
        &self,
        experiment: &Experiment,
        training: &ImageSet,
        validation: &ImageSet,
    ) -> Result<TorchTraining, TorchError> {
        let (network, recipe) = (experiment.network(), experiment.recipe.clone());
        let torch = TorchTraining::new(None, training, validation, network, recipe)?;
        let torch = if self.torch_compile { torch.with_compilation() } else { torch };
        Ok(match std::env::var_os(PYTHON) {
            Some(python) => torch.with_python(python),
            None => torch,
        })
    }
}

/// `count` processes, but at least one per device, distributed over the devices in turn.
pub(crate) fn evaluator(
    torch: &TorchTraining,
    devices: &[String],
    count: usize,
    config: ProcessConfig,
) -> Result<ProcessEvaluator<BlockCode>, Box<dyn Error>> {
    torch.evaluator(processes_of(TORCH, count, devices), config).map_err(|error| advised(&error).into())
}

/// An error of the processes with what to do about a missing Python.
pub(crate) fn advised(error: &StartError) -> String {
    match error {
        StartError::Trainer { problem: ChildProblem::Start(_), .. } => format!(
            "{error}. It needs Python 3.9 or newer with PyTorch: install it, or name one in the variable {PYTHON}"
        ),
        _ => error.to_string(),
    }
}
