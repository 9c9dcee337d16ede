//! `--processes`: trainings in child processes of this machine.

use super::devices::processes_of;
use super::trainer::{self, Trainer};
use blockqnn::environment::BoxError;
use blockqnn::evaluator::{ProcessConfig, ProcessEvaluator, TrainerCommand};
use blockqnn::experiment::Experiment;
use blockqnn::network::device::parse_device;
use blockqnn::space::block::BlockCode;
use blockqnn::train::{TorchTraining, TrainingEnvironment, memory_estimate};
use serde::Deserialize;
use std::error::Error;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

const GIBIBYTE: f64 = 1_073_741_824.0;

/// The options of trainings in child processes.
#[derive(Debug, Clone, clap::Args)]
#[command(group = clap::ArgGroup::new("children").args(["processes", "trainer"]).multiple(true))]
#[expect(clippy::struct_field_names, reason = "the names of fields are those of flags")]
pub(crate) struct Processes {
    /// Have blocks trained by others instead of by blockqnn, in one process or as many as --processes says. torch: by
    /// PyTorch, with the same recipe, initial weights and images; --device is cpu, cuda, cuda:N or mps [default: cuda,
    /// if PyTorch has it], and the Python is python3, or the one that `BLOCKQNN_PYTHON` names. Otherwise a
    /// program of yours, such as "python3 train.py"; `blockqnn trainer` writes an example to start from. The program
    /// loads its own images: the data settings only describe them, and --data and --device are passed on unchanged
    #[arg(long, value_name = "torch|COMMAND", conflicts_with_all = ["workers", "device_memory"],
        value_parser = trainer::trainer)]
    trainer: Option<Trainer>,

    #[command(flatten)]
    torch: super::TorchOptions,

    /// Simultaneous trainings, each in its own child process: recommended for GPUs. A process that fails, hangs or uses
    /// too much memory is replaced, and its block is trained again. The result is the same as with --workers [default:
    /// threads of one process; 1 with --trainer]
    #[arg(long, value_name = "N", conflicts_with = "workers", value_parser = super::at_least_one::<NonZeroUsize>)]
    processes: Option<NonZeroUsize>,

    /// Memory of each device in GiB: further trainings start only if their estimated memory still fits [default: no
    /// limit]
    #[arg(long, value_name = "GIB", requires = "processes", value_parser = gibibytes)]
    device_memory: Option<u64>,

    /// Memory in GiB, of the device or of the machine, above which a child process is replaced after its training
    /// [default: no limit]
    #[arg(long, value_name = "GIB", requires = "children", value_parser = gibibytes)]
    process_memory: Option<u64>,

    /// Seconds without progress after which a child process is considered hung and is killed
    #[arg(long, value_name = "SECONDS", requires = "children", default_value_t = 300)]
    process_patience: u64,
}

/// What a child process receives: a briefing as trainers have it, on a device.
#[derive(Debug, Deserialize)]
struct Briefing {
    experiment: Experiment,
    data: Option<PathBuf>,
    device: String,
    /// Where trainings are kept that may be promoted.
    rungs: Option<PathBuf>,
}

/// In a child process: trains what the search sends, and never returns.
pub(crate) fn serve_if_child() {
    ProcessEvaluator::<BlockCode>::serve_if_child(|briefing| -> Result<TrainingEnvironment, BoxError> {
        let Briefing { experiment, data, device, rungs } = serde_json::from_value(briefing.clone())?;
        let (training, validation) = experiment.data.load(data.as_deref(), &mut |_| {})?;
        let (network, recipe) = (experiment.network(), experiment.recipe);
        let device = parse_device(&device)?;
        let environment = TrainingEnvironment::with_parts(&training, &validation, network, recipe, &device)?;
        Ok(rungs.into_iter().fold(environment, TrainingEnvironment::with_rungs_kept))
    });
}

impl Processes {
    /// Simultaneous trainings, if they are to run in child processes.
    pub(crate) fn count(&self) -> Option<NonZeroUsize> {
        self.processes
    }

    /// The program of the user's that trains, if one is to.
    pub(crate) fn trainer(&self) -> Option<&TrainerCommand> {
        match &self.trainer {
            Some(Trainer::Command(command)) => Some(command),
            _ => None,
        }
    }

    /// What `--trainer` was given.
    pub(crate) fn trainer_name(&self) -> Option<String> {
        self.trainer.as_ref().map(Trainer::to_string)
    }

    /// The options of trainings by `PyTorch`, if it is to train.
    pub(crate) fn torch(&self) -> Result<Option<&super::TorchOptions>, String> {
        match self.trainer {
            Some(Trainer::Torch) => Ok(Some(&self.torch)),
            _ if self.torch.torch_compile => {
                Err("--torch-compile is for --trainer torch: omit it, or choose that trainer".to_owned())
            }
            _ => Ok(None),
        }
    }

    /// Processes of `PyTorch`, assigned to the devices in turn.
    pub(crate) fn torch_processes(
        &self,
        torch: &TorchTraining,
        devices: &[String],
    ) -> Result<ProcessEvaluator<BlockCode>, Box<dyn Error>> {
        let count = self.processes.map_or(1, NonZeroUsize::get);
        super::torch::evaluator(torch, devices, count, self.config())
    }

    /// Processes of the program that trains, assigned to the devices in turn.
    pub(crate) fn trainers(
        &self,
        command: &TrainerCommand,
        experiment: &Experiment,
        data: Option<&Path>,
        devices: &[String],
    ) -> Result<ProcessEvaluator<BlockCode>, Box<dyn Error>> {
        let processes = processes_of("trainer", self.processes.map_or(1, NonZeroUsize::get), devices);
        let config = self.config().with_trainer(command.clone().with_epochs(experiment.recipe.epochs));
        Ok(trainer::with_forms(started(processes, experiment, data, None, config)?, experiment))
    }

    fn config(&self) -> ProcessConfig {
        ProcessConfig::new()
            .with_patience(Duration::from_secs(self.process_patience))
            .with_memory_limit(self.process_memory, self.process_memory)
    }

    /// The child processes, if any are requested, assigned to the devices in turn.
    pub(crate) fn evaluator(
        &self,
        experiment: &Experiment,
        data: Option<&Path>,
        devices: &[String],
        rungs: Option<&Path>,
    ) -> Result<Option<ProcessEvaluator<BlockCode>>, Box<dyn Error>> {
        let Some(count) = self.processes else { return Ok(None) };
        let mut config = self.config();
        if let Some(bytes) = self.device_memory {
            let recipe = experiment.recipe.clone();
            // The limit is per device; the packing uses the sum.
            let bytes = bytes.saturating_mul(devices.len() as u64);
            config = config.with_device_memory(bytes, move |cost| memory_estimate(cost, &recipe));
        }
        started(processes_of("process", count.get(), devices), experiment, data, rungs, config).map(Some)
    }
}

/// Starts processes that are briefed as trainers are.
fn started(
    processes: Vec<(String, Option<String>)>,
    experiment: &Experiment,
    data: Option<&Path>,
    rungs: Option<&Path>,
    config: ProcessConfig,
) -> Result<ProcessEvaluator<BlockCode>, Box<dyn Error>> {
    let children = processes.into_iter().map(|(name, device)| {
        let briefing = trainer::Briefing { experiment, data, device: device.as_deref(), rungs };
        Ok((name, serde_json::to_value(briefing)?))
    });
    Ok(ProcessEvaluator::new(children.collect::<Result<_, serde_json::Error>>()?, config)?)
}

fn gibibytes(text: &str) -> Result<u64, String> {
    let number: f64 = text.parse().unwrap_or(f64::NAN);
    if !(number > 0.0 && number < 1e6) {
        return Err("it must be a number of GiB above 0 and below 1000000, such as 16 or 7.5".to_owned());
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is between 0 and 10^15")]
    let bytes = (number * GIBIBYTE) as u64;
    Ok(bytes)
}
