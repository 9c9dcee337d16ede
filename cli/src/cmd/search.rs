//! `search`: a search from its settings to the table of the best blocks.

mod arguments;
mod dry_run;
mod output;

pub(crate) use arguments::Arguments;

use crate::args;
use crate::images;
use crate::progress;
use blockqnn::agent::{Agent, Memory, RandomAgent};
use blockqnn::data::{DataError, ImageSet};
use blockqnn::experiment::Experiment;
use blockqnn::graph::{Cost, LayerGraph, ToGraph};
use blockqnn::network::Device;
use blockqnn::network::device::{DeviceError, built_in_devices, default_device, parse_device};
use blockqnn::search::{CostModel, Evaluator, Scheduling, Search, StopReason, ThreadEvaluator};
use blockqnn::seed;
use blockqnn::space::SearchSpace;
use blockqnn::space::block::BlockCode;
use blockqnn::train::{TrainError, TrainingEnvironment};
use output::Results;
use std::error::Error;
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::time::Duration;

/// Random blocks that measure the speed of the device, the draws to find them, and the time after which no further
/// block is measured.
const CALIBRATION_BLOCKS: usize = 12;
const CALIBRATION_DRAWS: usize = 200;
const CALIBRATION_TIME: Duration = Duration::from_secs(5);

type BoxedEvaluator = Box<dyn Evaluator<BlockCode>>;

pub(crate) fn run(arguments: &Arguments) -> super::Outcome {
    args::serve_if_child();
    let data = arguments.data_folder();
    let experiment = arguments.experiment(data.as_deref())?;
    experiment.validate()?;
    if arguments.dry_run {
        dry_run::print(&experiment, &arguments.origin(), data.as_deref())?;
        return Ok(ExitCode::SUCCESS);
    }
    let devices = devices(&arguments.device)?;
    let data = images::folder(experiment.data.dataset, data.as_deref(), arguments.download)?;
    let left_out = &mut |error: &DataError| images::tell_left_out(error);
    let (training, validation) = experiment.data.load_telling(data.as_deref(), left_out)?;
    images::print_classes(&training, &validation);
    let experiment = experiment.for_data(training.shape(), training.classes().len());
    let folder = output::run_folder(arguments, &experiment)?.with_details(&experiment.details())?;
    // Held until the results are written.
    let owner = folder.owner();
    let results = Results::new(owner.path());
    errln!(
        "{} trials in minibatches of {}, {} epochs each on {} images of {} ({} classes, chance accuracy {:.1} %); validation \
         on {} images; results in {}",
        experiment.search.trials,
        experiment.search.minibatch,
        experiment.recipe.epochs,
        training.len(),
        experiment.data.dataset.name(),
        experiment.search.network.classes,
        100.0 / experiment.search.network.classes as f64,
        validation.len(),
        results.path().display(),
    );
    output::warn_of_few_images(&experiment, &training, &validation);

    let trials = experiment.search.trials;
    let names: Vec<&str> = devices.iter().map(|(name, _)| name.as_str()).collect();
    let count = arguments
        .processes
        .count()
        .or(arguments.workers)
        .map_or_else(|| default_workers(&names, experiment.search.scheduling), NonZeroUsize::get);
    let count = count.max(devices.len());
    let processes = arguments.processes.evaluator(&experiment, data.as_deref(), &names)?;
    let (evaluator, model): (BoxedEvaluator, _) = match processes {
        // This process does not open the devices, so nothing is measured on them.
        Some(processes) => (Box::new(processes), None),
        None => in_this_process(arguments, &experiment, (&training, &validation), &devices, count)?,
    };
    let beside = output::Beside::new(&results, model, data);
    let (space, settings) = (experiment.space.clone(), experiment.search.clone());
    let report = Search::with_evaluator(space, experiment.agent()?, evaluator, settings)
        .with_reward(experiment.reward)
        .with_run_folder(folder)
        .with_observer(beside)
        .with_observer(progress::Display::new(&experiment, count, model))
        .with_cancellation(crate::terminal::stop_on_signals("finished trials are on disk, --resume continues the run")?)
        .run()?;

    let written = results.write(&experiment.space, &report);
    if !report.records.is_empty() {
        output::print_table(&report, arguments.top);
    }
    // The results of hours are printed even if they cannot be written.
    written?;
    if report.machine_dependent() > 0 {
        errln!(
            "warning: {} trials failed because of this machine (time limit, memory or device faults), so the same seed may not \
             reproduce this run; the column infeasible of results.csv has the reasons",
            report.machine_dependent()
        );
    }
    if report.utilisation.busy > 0.0 {
        errln!("{}", report.utilisation);
    }
    let (done, path) = (report.records.len(), results.path().display());
    match report.stop {
        StopReason::Cancelled => {
            let done = if done == 0 {
                "before the first trial was finished".to_owned()
            } else {
                format!("{done} of {trials} trials are in {path}")
            };
            errln!("stopped: {done}; continue with --out {} --resume", crate::terminal::quoted(results.path()));
            return Ok(crate::terminal::stopped());
        }
        StopReason::SpaceExhausted => {
            errln!("the search space is exhausted: the agent found no new block after {done} trials");
        }
        _ if report.utilisation.busy > 0.0 => errln!("all {done} trials are in {path}"),
        _ => errln!("all {done} trials were finished before, in {path}; extend the run with --trials {}", 2 * done),
    }
    output::print_next_steps(results.path());
    Ok(ExitCode::SUCCESS)
}

/// The model that predicts the time of a trial, measured on random blocks on the first device. The search works without
/// it.
fn cost_model(experiment: &Experiment, environment: &TrainingEnvironment) -> Option<CostModel> {
    let graphs =
        random_blocks(experiment, "cost model", CALIBRATION_DRAWS).map(|(graph, _)| graph).take(CALIBRATION_BLOCKS);
    let model = environment.cost_model(graphs, CALIBRATION_TIME);
    model.inspect_err(|error| errln!("warning: the time left cannot be predicted: {error}")).ok()
}

/// Random blocks of the experiment's space within its cost limits, out of `draws` draws. The same purpose gives the
/// same blocks.
fn random_blocks(experiment: &Experiment, purpose: &str, draws: usize) -> impl Iterator<Item = (LayerGraph, Cost)> {
    let (memory, mut rng) = (Memory::new(1), seed::stream(0, purpose, 0));
    let draw = move |_| {
        let walk = RandomAgent.propose(&experiment.space, &memory, &mut rng).ok()?;
        let graph = experiment.space.decode(&walk.actions).ok()?.to_graph();
        let cost = graph.cost(&experiment.search.network).ok()?;
        experiment.search.limits.check(&cost).ok()?;
        Some((graph, cost))
    };
    (0..draws).filter_map(draw)
}

/// Simultaneous trainings by default. Two with one core each are faster than one with two (`docs/performance.md`) and
/// need twice the memory; without minibatches they would also make the run irreproducible.
fn default_workers(devices: &[&str], scheduling: Scheduling) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let on_the_cpu = devices.iter().all(|name| *name == "flex");
    if on_the_cpu && cores > 1 && scheduling == Scheduling::Minibatch { 2 } else { 1 }
}

/// Threads of this process, at least one per device; or workers on other machines.
fn in_this_process(
    arguments: &Arguments,
    experiment: &Experiment,
    (training, validation): (&ImageSet, &ImageSet),
    devices: &[(String, Device)],
    count: usize,
) -> Result<(BoxedEvaluator, Option<CostModel>), Box<dyn Error>> {
    let environments = devices.iter().map(|(name, device)| {
        let (network, recipe) = (experiment.search.network.clone(), experiment.recipe.clone());
        Ok::<_, TrainError>((name, TrainingEnvironment::with_parts(training, validation, network, recipe, device)?))
    });
    let environments = environments.collect::<Result<Vec<_>, _>>()?;
    let first = environments.first().map(|(_, environment)| environment);
    if let Some(remote) = remote_workers(arguments, experiment, &environments)? {
        return Ok((remote, first.and_then(|first| cost_model(experiment, first))));
    }
    // Each worker has its share of the cores.
    let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let threads = NonZeroUsize::new(cores.get() / count).unwrap_or(NonZeroUsize::MIN);
    let model = first.and_then(|first| cost_model(experiment, &first.clone().with_threads(threads)));
    let workers = (0..count).zip(environments.iter().cycle());
    let workers = workers.map(|(number, (device, environment))| {
        (format!("{number} on {device}"), environment.clone().with_threads(threads))
    });
    Ok((Box::new(ThreadEvaluator::with_names(workers.collect())?), model))
}

/// The workers on other machines, if `--nats` asks for them.
#[cfg(feature = "nats")]
fn remote_workers(
    arguments: &Arguments,
    experiment: &Experiment,
    environments: &[(&String, TrainingEnvironment)],
) -> Result<Option<BoxedEvaluator>, Box<dyn Error>> {
    let Some((_, environment)) = environments.first() else { return Ok(None) };
    let remote = arguments.controller.evaluator(experiment, environment)?;
    Ok(remote.map(|remote| -> Box<dyn Evaluator<BlockCode>> { Box::new(remote) }))
}

/// None: this requires the feature `nats`.
#[cfg(not(feature = "nats"))]
#[expect(clippy::unnecessary_wraps, reason = "the same as with the feature")]
fn remote_workers(
    _: &Arguments,
    _: &Experiment,
    _: &[(&String, TrainingEnvironment)],
) -> Result<Option<BoxedEvaluator>, Box<dyn Error>> {
    Ok(None)
}

/// The devices of these names, or the default one.
pub(super) fn devices(names: &[String]) -> Result<Vec<(String, Device)>, DeviceError> {
    if names.is_empty() {
        let name = built_in_devices().first().copied().unwrap_or_default();
        return Ok(vec![(name.to_owned(), default_device()?)]);
    }
    names.iter().map(|name| Ok((name.clone(), parse_device(name)?))).collect()
}
