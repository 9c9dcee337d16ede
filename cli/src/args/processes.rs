//! `--processes`: trainings in child processes of this machine.

use super::trainer;
use blockqnn::environment::BoxError;
use blockqnn::evaluator::{ProcessConfig, ProcessEvaluator, TrainerCommand};
use blockqnn::experiment::Experiment;
use blockqnn::network::device::parse_device;
use blockqnn::space::block::BlockCode;
use blockqnn::train::{TrainingEnvironment, memory_estimate};
use serde::{Deserialize, Serialize};
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
    /// Have blocks trained by a program of yours, such as "python3 train.py", instead of by blockqnn, in one process or
    /// in as many as --processes says; `blockqnn trainer` writes an example to start from. The program loads its own
    /// images: the data settings only describe them, and --data and --device are passed on unchanged
    #[arg(long, value_name = "COMMAND", conflicts_with_all = ["workers", "device_memory", "dry_run", "download"],
        value_parser = trainer::command)]
    trainer: Option<TrainerCommand>,

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

/// What a child process receives.
#[derive(Debug, Serialize, Deserialize)]
struct Briefing {
    experiment: Experiment,
    data: Option<PathBuf>,
    device: String,
}

/// In a child process: trains what the search sends, and never returns.
pub(crate) fn serve_if_child() {
    ProcessEvaluator::<BlockCode>::serve_if_child(|briefing| -> Result<TrainingEnvironment, BoxError> {
        let Briefing { experiment, data, device } = serde_json::from_value(briefing.clone())?;
        let (training, validation) = experiment.data.load(data.as_deref())?;
        let (network, recipe) = (experiment.search.network, experiment.recipe);
        Ok(TrainingEnvironment::with_parts(&training, &validation, network, recipe, &parse_device(&device)?)?)
    });
}

impl Processes {
    /// Simultaneous trainings, if they are to run in child processes.
    pub(crate) fn count(&self) -> Option<NonZeroUsize> {
        self.processes
    }

    /// The program that trains, if it is not this one.
    pub(crate) fn trainer(&self) -> Option<&TrainerCommand> {
        self.trainer.as_ref()
    }

    /// Processes of the program that trains, assigned to the devices in turn.
    pub(crate) fn trainers(
        &self,
        command: &TrainerCommand,
        experiment: &Experiment,
        data: Option<&Path>,
        devices: &[String],
    ) -> Result<ProcessEvaluator<BlockCode>, Box<dyn Error>> {
        let count = self.processes.map_or(1, NonZeroUsize::get).max(devices.len());
        let children = (0..count).map(|number| {
            let device = devices.get(number % devices.len().max(1)).map(String::as_str);
            let name = device.map_or_else(|| format!("trainer {number}"), |device| format!("{number} on {device}"));
            Ok((name, serde_json::to_value(trainer::Briefing { experiment, data, device })?))
        });
        let config = self.config().with_trainer(command.clone().with_epochs(experiment.recipe.epochs));
        let processes = ProcessEvaluator::new(children.collect::<Result<_, serde_json::Error>>()?, config)?;
        Ok(trainer::with_forms(processes, experiment))
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
        devices: &[&str],
    ) -> Result<Option<ProcessEvaluator<BlockCode>>, Box<dyn Error>> {
        let Some(count) = self.processes else { return Ok(None) };
        let children = (0..count.get().max(devices.len())).zip(devices.iter().cycle()).map(|(number, device)| {
            let (experiment, data, device) = (experiment.clone(), data.map(Path::to_owned), (*device).to_owned());
            let name = format!("process {number} on {device}");
            Ok((name, serde_json::to_value(Briefing { experiment, data, device })?))
        });
        let mut config = self.config();
        if let Some(bytes) = self.device_memory {
            let recipe = experiment.recipe.clone();
            // The limit is per device; the packing uses the sum.
            let bytes = bytes.saturating_mul(devices.len() as u64);
            config = config.with_device_memory(bytes, move |cost| memory_estimate(cost, &recipe));
        }
        let children = children.collect::<Result<_, serde_json::Error>>()?;
        Ok(Some(ProcessEvaluator::new(children, config)?))
    }
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
