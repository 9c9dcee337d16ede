//! Where the blocks of a search are trained: threads, child processes, or other machines.

use super::Arguments;
use crate::args::workers_of;
use blockqnn::data::ImageSet;
use blockqnn::evaluator::{Evaluator, ProcessEvaluator, ThreadEvaluator};
use blockqnn::experiment::Experiment;
use blockqnn::network::Device;
use blockqnn::search::Scheduling;
use blockqnn::space::block::BlockCode;
use blockqnn::train::{TrainError, TrainingEnvironment};
use std::error::Error;
use std::num::NonZeroUsize;
use std::path::Path;

/// The parts that an evaluator is made of.
pub(super) struct Parts<'a> {
    pub(super) experiment: &'a Experiment,
    pub(super) training: &'a ImageSet,
    pub(super) validation: &'a ImageSet,
    pub(super) devices: Vec<(String, Device)>,
}

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
}

impl Parts<'_> {
    /// Threads of this process, at least one per device, unless child processes or other machines are asked for.
    pub(super) fn evaluator(&self, arguments: &Arguments, data: Option<&Path>) -> Result<Chosen, Box<dyn Error>> {
        let names: Vec<&str> = self.devices.iter().map(|(name, _)| name.as_str()).collect();
        let workers = arguments.processes.count().or(arguments.workers);
        let workers = workers.map_or_else(|| default_workers(&names, self.experiment.search.scheduling), Into::into);
        let workers = workers.max(names.len());
        let waiting = None;
        if let Some(processes) = arguments.processes.evaluator(self.experiment, data, &names)? {
            return Ok(Chosen { evaluator: Box::new(processes), workers, waiting });
        }
        let environments = workers_of(&self.devices, workers, |device| self.environment(device))?;
        #[cfg(feature = "nats")]
        if let Some((_, first)) = environments.first()
            && let Some((remote, waiting)) = arguments.controller.evaluator(self.experiment, first)?
        {
            return Ok(Chosen { evaluator: Box::new(remote), workers, waiting: Some(waiting) });
        }
        // Each worker has its share of the cores.
        let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let threads = NonZeroUsize::new(cores.get() / workers).unwrap_or(NonZeroUsize::MIN);
        let share = |(name, environment): (String, TrainingEnvironment)| (name, environment.with_threads(threads));
        let evaluator = ThreadEvaluator::with_names(environments.into_iter().map(share).collect())?;
        Ok(Chosen { evaluator: Box::new(evaluator), workers, waiting })
    }

    fn environment(&self, device: &Device) -> Result<TrainingEnvironment, TrainError> {
        let (network, recipe) = (self.experiment.search.network.clone(), self.experiment.recipe.clone());
        TrainingEnvironment::with_parts(self.training, self.validation, network, recipe, device)
    }
}

/// Simultaneous trainings by default. Two with one core each are faster than one with two (`docs/performance.md`) and
/// need twice the memory; without minibatches they would also make the run irreproducible.
fn default_workers(devices: &[&str], scheduling: Scheduling) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let on_the_cpu = devices.iter().all(|name| *name == "flex");
    if on_the_cpu && cores > 1 && scheduling == Scheduling::Minibatch { 2 } else { 1 }
}
