//! `search`: from the settings to the table of the best blocks.

mod dry_run;
mod duration;
mod evaluator;
mod experiment;
mod results;
mod warm_start;

use super::Outcome;
use crate::progress::Search as Display;
use crate::{args, images, terminal};
use blockqnn::agent::AgentConfig;
use blockqnn::experiment::{Experiment, Preset};
#[cfg(feature = "report")]
use blockqnn::report::TensorBoard;
use blockqnn::search::{Search, SearchReport, StopReason};
use blockqnn::space::block::BlockSpace;
use blockqnn::train::RungCheckpoints;
use clap::builder::PossibleValuesParser;
use evaluator::Chosen;
use std::error::Error;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use warm_start::WarmStart;

/// Search convolutional blocks with Q-learning (BlockQNN) on real images
///
/// Blocks are sampled layer by layer; each is trained for a few epochs in a small network, and the agent learns from
/// its validation accuracy. The best blocks are printed at the end, one per line. Without options the search runs for a
/// few minutes on two CPU cores, on images that are part of the program.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
pub(crate) struct Arguments {
    /// Settings to start from:
    /// quick: minutes on two CPU cores (64 blocks of up to 6 layers in minibatches of 8,
    ///   width 8, N = 1, 2 epochs in batches of 32 on 1,000 embedded images, 400 held out)
    /// economical: for pictures of your own; the space and network of quick, 9 epochs in
    ///   three rungs (--rungs), and the agent best-with-priors
    /// modern: quick with the layers of later networks (separable, depthwise, grouped and
    ///   dilated convolutions, squeeze-and-excitation)
    /// mobile: quick with the inverted bottlenecks of mobile networks
    /// paper: BlockQNN's search, days on GPUs (11,392 blocks of up to 23 layers in
    ///   minibatches of 64, 12 epochs in batches of 256 on CIFAR-100; by our reading width
    ///   32, N = 4, 5,000 images held out)
    /// short: half as many minibatches as paper
    /// metaqnn: as paper, but with the learner of its predecessor MetaQNN (plain accuracy as
    ///   the reward, only at the last layer, and Q-values that start at 50)
    /// evening: paper's space, learner, schedule and reward at a size for two CPU cores (2
    ///   epochs in batches of 32 on 2,000 images of CIFAR-10, 1,000 held out, width 8, N = 1)
    #[arg(long, default_value = "quick", value_name = "NAME", conflicts_with = "resume", verbatim_doc_comment)]
    preset: Preset,

    #[command(flatten)]
    pictures: args::Pictures,

    #[command(flatten)]
    devices: args::Devices,

    /// Propose a block as soon as a worker is free and learn from each block when its training ends, instead of in
    /// whole minibatches: keeps workers busy, but runs with several workers are not reproducible
    #[arg(long)]
    rolling: bool,

    /// Simultaneous trainings, each in its own thread; each needs the memory of one training. On the CPU they share the
    /// cores. Without --rolling the result does not depend on it [default: 2 on a CPU with several cores unless
    /// --rolling is given, otherwise 1]
    #[arg(long, value_name = "N", value_parser = args::at_least_one::<NonZeroUsize>)]
    workers: Option<NonZeroUsize>,

    #[command(flatten)]
    processes: args::Processes,

    #[cfg(feature = "nats")]
    #[command(flatten)]
    controller: args::Controller,

    /// Random seed of the search: the same seed and settings give the same blocks [default: 0]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    /// Agent that proposes blocks: paper (the preset's Q-learning agent), best (least squares on features of the
    /// blocks; recommended for up to a few hundred trials), best-with-priors (the same, but it also chooses blocks by
    /// the size and paths of the untrained network), random, evolution (population 10, tournaments of 3), evolution50
    /// (population 50, tournaments of 25), local (local search: changes one property of a block at a time while the
    /// reward improves), local10 (the same, starting from the best of ten random blocks), or Q-learning with other
    /// settings: metaqnn, tuned, rank [default: paper]
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(AgentConfig::names()))]
    agent: Option<String>,

    /// Blocks to evaluate [default: the length of the epsilon schedule; --dry-run shows it]
    #[arg(long, value_name = "N")]
    trials: Option<u64>,

    /// In place of --trials: as many trials as have at most N epochs of training together. A promoted block (--rungs)
    /// has only the epochs that it adds. Blocks that are stopped early or too large to be trained leave epochs unused
    #[arg(long, value_name = "N", conflicts_with = "trials")]
    total_epochs: Option<u64>,

    /// In place of --trials: as many trials as are trained on at most N images together, each image counted once per
    /// epoch
    #[arg(long, value_name = "N", conflicts_with_all = ["trials", "total_epochs"])]
    total_images: Option<u64>,

    /// Blocks per minibatch, after which the agent learns [default: the preset's]
    #[arg(long, value_name = "N")]
    minibatch: Option<u64>,

    /// Stop a block early that is behind the others: after an epoch (not one of the first N, by default 3), if its best
    /// accuracy so far is below the median of the running averages that blocks of earlier minibatches had at that
    /// epoch. Saves epochs. A stopped block is recorded with its last accuracy and ranks behind all others. Measures
    /// every block after each epoch (`recipe.measure_every=1`); a trainer of your own has to report these accuracies
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "3", conflicts_with = "rolling")]
    median_stopping: Option<u32>,

    /// Train every block for a part of its epochs first, and only the best for more: N times in all, each time three
    /// times as long, the last time for all epochs. Saves most of the epochs where a short training ranks blocks as a
    /// long one does; the search says if it does not. A promoted block continues its training. With --epochs 9 --rungs
    /// 3 the blocks are trained for 1, 3 or 9 epochs. A trial is one such training, so --trials counts promotions as
    /// well. A trainer of your own has to say that it can do this (docs/python.md)
    #[arg(long, value_name = "N", conflicts_with_all = ["rolling", "median_stopping"])]
    rungs: Option<u32>,

    /// Promote one in so many of the blocks of a rung to the next [default: 3]
    #[arg(long, value_name = "N")]
    promote_one_in: Option<u64>,

    /// Block to evaluate first, before the agent proposes any, such as "conv3(0) conv3(1) add(0,2) terminal(3)", or a
    /// file with one on each line (repeatable). It counts like all others, and the agent learns from it
    #[arg(long, value_name = "BLOCK")]
    first: Vec<String>,

    /// Results from elsewhere, from which the agent learns before it proposes anything: the folder of another run, or a
    /// CSV file with the columns architecture and accuracy (in percent), such as the results.csv of a run (repeatable).
    /// Its blocks are not proposed again and are not part of this run; evaluate some of them anew with --first
    #[arg(long, value_name = "RUN")]
    history: Vec<PathBuf>,

    /// Maximum number of layers of a block, including Terminal [default: the preset's]
    #[arg(long, value_name = "N")]
    max_layers: Option<u8>,

    #[command(flatten)]
    recipe: args::Recipe,

    #[command(flatten)]
    network: args::Network,

    #[command(flatten)]
    goals: args::Goals,

    #[command(flatten)]
    settings: args::Settings,

    /// Print the resolved configuration, its cost, and how long it takes here, for which a few random blocks are trained
    /// for a second or more; nothing is written
    #[arg(long)]
    dry_run: bool,

    /// New folder for the run, or with --resume the folder of the run to continue [default:
    /// blockqnn-runs/DATASET-PRESET-seedN, with a number appended if it exists]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Continue the run in --out DIR with the settings it was started with, whether it was stopped, killed or has
    /// finished (then with more --trials). Only --device, --workers, --processes, --tensorboard and --top have to be
    /// given again, and --trainer with its --data; --first and --history are kept in the folder
    #[arg(long, requires = "out")]
    resume: bool,

    /// Write event files for TensorBoard into RUN/tensorboard while the search is running; `tensorboard --logdir RUN`
    /// shows them. Given with --resume, it also writes the trials that were finished before
    #[cfg(feature = "report")]
    #[arg(long)]
    tensorboard: bool,

    /// Blocks in the table that is printed at the end
    #[arg(long, value_name = "N", default_value_t = 10)]
    top: usize,
}

/// What `--help` ends with.
const EXAMPLES: &str = "\
Examples:
  blockqnn search --seed 1 --agent best
  blockqnn search --dataset cifar100 --data DIR --train-limit 2000 --out my-run
  blockqnn search --dataset folder --data PHOTOS --size 32
  blockqnn search --target latency_ms=5 --limit latency_ratio=4
  blockqnn search --trainer torch --device cuda:0,cuda:1
  blockqnn search --trainer 'python3 train.py' --processes 2
  blockqnn search --first 'conv3(0) conv3(1) add(0,2) terminal(3)' --history my-run
  blockqnn search --set recipe.epochs=12 --median-stopping
  blockqnn search --agent best --epochs 9 --rungs 3 --total-epochs 300
  blockqnn search --preset economical --dataset folder --data PHOTOS
  blockqnn search --out my-run --resume
  blockqnn search --preset paper --dry-run";

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    args::serve_if_child();
    let data = arguments.pictures.folder(arguments.resumed());
    let experiment = arguments.experiment(data.as_deref())?;
    experiment.validate()?;
    if arguments.dry_run {
        dry_run::print(arguments, &experiment, data.as_deref())?;
        return Ok(ExitCode::SUCCESS);
    }
    arguments.refuse_other_objective(&experiment)?;
    let torch = arguments.processes.torch()?;
    if let Some(command) = arguments.processes.trainer() {
        arguments.refuse_unused()?;
        let begin = |run: &Path| {
            results::print_trainer(&experiment, command, run);
            let devices = arguments.devices.given();
            let trainers = arguments.processes.trainers(command, &experiment, data.as_deref(), devices)?;
            // The folder is the trainer's, and no images that other commands would read.
            Ok((Chosen::trainers(trainers), None))
        };
        return search(arguments, &experiment, begin);
    }
    // PyTorch has devices of its own.
    let devices = if torch.is_some() { Vec::new() } else { arguments.devices.open()? };
    let data = images::folder(experiment.data.dataset, data.as_deref(), arguments.pictures.download)?;
    let (training, validation) = experiment.data.load(data.as_deref(), &mut images::tell_left_out)?;
    images::print_classes(&training, &validation);
    let experiment = experiment.for_data(training.shape(), training.classes().len());
    let begin = |run: &Path| {
        results::print_beginning(&experiment, &training, &validation, run);
        let images = (&training, &validation);
        let chosen = match torch {
            Some(torch) => Chosen::torch(arguments, torch, &experiment, images, run)?,
            None => Chosen::new(arguments, &experiment, images, data.as_deref(), &devices, run)?,
        };
        Ok((chosen, data))
    };
    search(arguments, &experiment, begin)
}

/// Searches where `begin` chooses to, which also returns the folder of the images to remember.
fn search(
    arguments: &Arguments,
    experiment: &Experiment,
    begin: impl FnOnce(&Path) -> Result<(Chosen, Option<PathBuf>), Box<dyn Error>>,
) -> Outcome {
    let warm_start = WarmStart::read(arguments, experiment)?;
    let folder = results::run_folder(arguments, experiment)?.with_details(&experiment.details())?;
    // Held until the results are written.
    let owner = folder.owner();
    let run = owner.path();
    let (chosen, data) = begin(run)?;
    let (space, settings) = (experiment.space.clone(), experiment.search.clone());
    let search = Search::with_evaluator(space, experiment.agent.build()?, chosen.evaluator, settings);
    let search = warm_start
        .apply(search)
        .with_reward(&experiment.reward)
        .with_run_folder(folder)
        .with_observer(results::RememberData { run: run.to_owned(), data })
        .with_observer(RungCheckpoints::new(results::checkpoints(run)));
    #[cfg(feature = "report")]
    let search = if arguments.tensorboard {
        search.with_observer(TensorBoard::new(run.join("tensorboard"), experiment.space.clone()))
    } else {
        search
    };
    let report = search
        .with_observer(Display::new(experiment, chosen.workers, chosen.waiting))
        .with_cancellation(terminal::stop_on_signals("finished trials are on disk, --resume continues the run")?)
        .run()?;
    end(arguments, experiment, &report, run)
}

/// Writes and prints the results of a search.
fn end(arguments: &Arguments, experiment: &Experiment, report: &SearchReport<BlockSpace>, run: &Path) -> Outcome {
    let written = results::write(run, &experiment.space, report);
    if !report.records.is_empty() {
        results::print_table(report, arguments.top);
    }
    // The results of hours are printed even if they cannot be written.
    written?;
    if report.machine_dependent() > 0 {
        errln!(
            "warning: {} trials failed because of this machine (time limit, memory or device faults), so the same seed \
             may not reproduce this run; the column infeasible of results.csv has the reasons",
            report.machine_dependent()
        );
    }
    if report.stopped() > 0 {
        errln!("{} of {} blocks were stopped early, and rank last", report.stopped(), report.records.len());
    }
    if report.utilisation.busy > 0.0 {
        errln!("{}", report.utilisation);
    }
    let trials = experiment.search.trials;
    let (done, path) = (report.records.len(), run.display());
    match report.stop {
        StopReason::Cancelled => {
            let done = if done == 0 {
                "before the first trial was finished".to_owned()
            } else {
                format!("{done} of {trials} trials are in {path}")
            };
            let trainer = arguments.processes.trainer_name();
            let trainer = trainer.map(|name| format!(" --trainer {}", terminal::quoted(name.as_ref())));
            let (run, trainer) = (terminal::quoted(run), trainer.unwrap_or_default());
            errln!("stopped: {done}; continue with blockqnn search --out {run} --resume{trainer}");
            return Ok(terminal::stopped());
        }
        StopReason::SpaceExhausted { .. } => {
            errln!("the search space is exhausted after {done} trials: {}", report.stop);
        }
        _ if report.utilisation.busy > 0.0 => errln!("all {done} trials are in {path}"),
        _ => errln!("all {done} trials were finished before, in {path}; extend the run with --trials {}", 2 * done),
    }
    results::remove_checkpoints(run);
    results::print_next_steps(run, arguments.processes.trainer().is_some());
    Ok(ExitCode::SUCCESS)
}
