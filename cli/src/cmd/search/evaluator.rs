//! Where the blocks of a search are trained: threads, child processes, or other machines.

use super::Arguments;
use super::results;
#[cfg(feature = "nats")]
use crate::args::torch::advised;
use crate::args::{TorchOptions, workers_of};
use blockqnn::data::ImageSet;
#[cfg(feature = "nats")]
use blockqnn::environment::Environment;
use blockqnn::evaluator::{Evaluator, ProcessEvaluator, ThreadEvaluator};
use blockqnn::experiment::Experiment;
use blockqnn::network::Device;
use blockqnn::search::Scheduling;
use blockqnn::space::block::BlockCode;
use blockqnn::train::TrainingEnvironment;
use std::error::Error;
use std::num::NonZeroUsize;
use std::path::Path;

/// Where the trials of a search are evaluated, and what the progress display needs to know about it.
pub(super) struct Chosen {
    pub(super) evaluator: Box<dyn Evaluator<BlockCode>>,
    pub(super) workers: usize,
    /// What to do while trials wait for workers.
    pub(super) waiting: Option<String>,
}

impl Chosen {
    /// The processes of a trainer, about which nothing is known.
    pub(super) fn trainers(evaluator: ProcessEvaluator<BlockCode>) -> Self {
        let workers = Evaluator::workers(&evaluator);
        Self { evaluator: Box::new(evaluator), workers, waiting: None }
    }

    /// Threads of this process, at least one per device, unless child processes or other machines are asked for.
    pub(super) fn new(
        arguments: &Arguments,
        experiment: &Experiment,
        (training, validation): (&ImageSet, &ImageSet),
        data: Option<&Path>,
        devices: &[(String, Device)],
        run: &Path,
    ) -> Result<Self, Box<dyn Error>> {
        let names: Vec<String> = devices.iter().map(|(name, _)| name.clone()).collect();
        let workers = workers(arguments, devices, experiment);
        let waiting = None;
        // Only what may be promoted has to be continued.
        let rungs = experiment.search.rungs.as_ref().map(|_| results::checkpoints(run));
        if let Some(processes) = arguments.processes.evaluator(experiment, data, &names, rungs.as_deref())? {
            return Ok(Self { evaluator: Box::new(processes), workers, waiting });
        }
        let environments = workers_of(devices, workers, |device| {
            let (network, recipe) = (experiment.network(), experiment.recipe.clone());
            TrainingEnvironment::with_parts(training, validation, network, recipe, device)
        })?;
        #[cfg(feature = "nats")]
        if let Some((_, first)) = environments.first()
            && arguments.controller.is_used()
        {
            let identity = Environment::<BlockCode>::identity(first);
            let (remote, waiting) = arguments.controller.evaluator(experiment, identity, "")?;
            return Ok(Self { evaluator: Box::new(remote), workers, waiting: Some(waiting) });
        }
        let evaluator = in_threads(environments, workers, rungs.as_deref())?;
        Ok(Self { evaluator: Box::new(evaluator), workers, waiting })
    }

    /// Processes of `PyTorch`, here or on other machines.
    pub(super) fn torch(
        arguments: &Arguments,
        options: &TorchOptions,
        experiment: &Experiment,
        (training, validation): (&ImageSet, &ImageSet),
        run: &Path,
    ) -> Result<Self, Box<dyn Error>> {
        let torch = options.training(experiment, training, validation)?;
        let devices = arguments.devices.given();
        #[cfg(feature = "nats")]
        if arguments.controller.is_used() {
            let identity = torch.identity_on(devices.first().map(String::as_str)).map_err(|error| advised(&error))?;
            let (remote, waiting) = arguments.controller.evaluator(experiment, identity, " --trainer torch")?;
            return Ok(Self { evaluator: Box::new(remote), workers: 1, waiting: Some(waiting) });
        }
        let torch = torch.with_checkpoints(results::checkpoints(run));
        Ok(Self::trainers(arguments.processes.torch_processes(&torch, devices)?))
    }
}

/// Threads of this process that train, each with its share of the cores. What may be promoted is kept in `rungs`.
pub(super) fn in_threads(
    environments: Vec<(String, TrainingEnvironment)>,
    workers: usize,
    rungs: Option<&Path>,
) -> Result<ThreadEvaluator<BlockCode>, Box<dyn Error>> {
    let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let threads = NonZeroUsize::new(cores.get() / workers).unwrap_or(NonZeroUsize::MIN);
    let share = |(name, environment): (String, TrainingEnvironment)| {
        let environment = environment.with_threads(threads);
        (name, rungs.into_iter().fold(environment, TrainingEnvironment::with_rungs_kept))
    };
    Ok(ThreadEvaluator::with_names(environments.into_iter().map(share).collect())?)
}

/// Simultaneous trainings, at least one for each device.
pub(super) fn workers(arguments: &Arguments, devices: &[(String, Device)], experiment: &Experiment) -> usize {
    let given = arguments.processes.count().or(arguments.workers);
    given.map_or_else(|| default_workers(devices, experiment.search.scheduling), Into::into).max(devices.len())
}

/// Simultaneous trainings by default. Two with one core each are faster than one with two (`docs/performance.md`) and
/// need twice the memory; without minibatches they would also make the run irreproducible.
fn default_workers(devices: &[(String, Device)], scheduling: Scheduling) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let on_the_cpu = devices.iter().all(|(name, _)| name == "flex");
    if on_the_cpu && cores > 1 && scheduling == Scheduling::Minibatch { 2 } else { 1 }
}
