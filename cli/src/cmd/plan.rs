//! `plan`: how long a search would take on a number of workers, with and without the barrier of each minibatch.

mod prediction;
mod simulation;

use super::Outcome;
use crate::args::at_least_one;
use blockqnn::agent::{QLearning, QLearningConfig};
use blockqnn::environment::synthetic::Synthetic;
use blockqnn::graph::{Cost, NetworkConfig, ToGraph};
use blockqnn::search::{RunFolder, RunHistory, Scheduling, Search, SearchConfig};
use blockqnn::seed;
use blockqnn::space::block::BlockSpace;
use blockqnn::space::{SearchSpace, random_trajectory};
use prediction::Rates;
use simulation::{Controller, Plan};
use std::error::Error;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

/// Fewest trained blocks that `--predicted` accepts: twice the number of rates in the fit.
const FEWEST: usize = 10;

/// Estimate how long a search takes on a given number of workers, by simulation on a virtual clock
///
/// Training times are drawn from those of a finished or running search. The table has one row for each number of
/// workers and each scheduling: with `minibatch`, workers wait for the slowest training of each minibatch; with
/// `rolling`, they do not.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Folder of the run that training times are taken from (`blockqnn search --out RUN`)
    #[arg(value_name = "RUN")]
    run: PathBuf,

    /// Predict the times of N random blocks of the run's search space from the cost and the measured times of its
    /// trained blocks, and use them instead: a search that has learned trains only a small, unrepresentative part of
    /// its space [default: measured times]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    predicted: Option<u64>,

    /// Numbers of workers to simulate, separated by commas
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "32,1000,10000",
        value_parser = at_least_one::<NonZeroUsize>)]
    workers: Vec<NonZeroUsize>,

    /// Scale the training times to this mean, in seconds; the paper's 3 days on 32 GPUs are 728 a block [default: no
    /// scaling]
    #[arg(long, value_name = "SECONDS", value_parser = positive, allow_negative_numbers = true)]
    mean: Option<f64>,

    #[command(flatten)]
    plan: Plan,
}

/// What `--help` ends with.
const EXAMPLES: &str = "\
Examples:
  blockqnn plan RUN --workers 8
  blockqnn plan RUN --mean 728 --workers 32,1000
  (728 s per training are the paper's 3 days on 32 GPUs for 11,392 blocks.)";

/// Parses seconds above 0.
fn positive(text: &str) -> Result<f64, String> {
    let valid = |value: &f64| value.is_finite() && *value > 0.0;
    text.parse().ok().filter(valid).ok_or_else(|| "it must be a number above 0".to_owned())
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let history = RunFolder::read::<BlockSpace>(&arguments.run)?;
    let times = scaled(training_times(arguments, &history)?, arguments.mean);
    let (plan, controller) = (&arguments.plan, controller_time()?);
    let mean = times.iter().sum::<f64>() / times.len() as f64;
    outln!(
        "{} trials; {} training times with a mean of {mean:.1} s; the controller takes {:.3} ms to propose a trial and \
         {:.3} ms to learn from it",
        plan.trials,
        times.len(),
        1_000.0 * controller.propose,
        1_000.0 * controller.learn
    );
    outln!(
        "\n| workers | scheduling | hours | blocks per hour | busy | waiting for the slowest of a minibatch | controller \
         busy | failures |"
    );
    outln!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    for &workers in &arguments.workers {
        for (name, scheduling) in [("minibatch", Scheduling::Minibatch), ("rolling", Scheduling::Rolling)] {
            let end = plan.simulate(workers.get(), scheduling, controller, &times);
            let hours = end.utilisation.wall / 3_600.0;
            outln!(
                "| {workers} | {name} | {hours:.3} | {:.0} | {:.1} % | {:.1} % | {:.2} % | {} |",
                end.trials as f64 / hours,
                100.0 * end.utilisation.share(),
                100.0 * end.utilisation.barrier_share(),
                100.0 * end.controller / end.utilisation.wall,
                end.failures,
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Training times in seconds, measured in the run or predicted by it.
fn training_times(arguments: &Arguments, history: &RunHistory<BlockSpace>) -> Result<Vec<f64>, Box<dyn Error>> {
    let run = arguments.run.display();
    let trained = history.records.iter().filter(|record| !record.cached);
    let measured: Vec<(Cost, f64)> = trained
        .filter_map(|record| Some((record.cost?, record.evaluation.metrics()?.seconds)))
        .filter(|(_, seconds)| seconds.is_finite() && *seconds > 0.0)
        .collect();
    let Some(count) = arguments.predicted else {
        if measured.is_empty() {
            return Err(format!("the run in {run} has no training times yet: choose one with trained blocks").into());
        }
        return Ok(measured.into_iter().map(|(_, seconds)| seconds).collect());
    };
    if measured.len() < FEWEST {
        let trained = measured.len();
        return Err(format!(
            "the run in {run} has {trained} trained blocks, and predictions need {FEWEST}: omit --predicted to use \
             measured times, or choose a longer run"
        )
        .into());
    }
    let (median, ninth_decile) = prediction::errors(&measured);
    outln!(
        "predicted from {} trained blocks: where one half of them predicts the other, half of the predictions are \
         within {:.0} % and 90 % of them within {:.0} %",
        measured.len(),
        100.0 * median,
        100.0 * ninth_decile
    );
    let space: BlockSpace = serde_json::from_value(history.settings.details["space"].clone()).map_err(|error| {
        format!("the settings of {run} have no valid search space ({error}): omit --predicted to use measured times")
    })?;
    let network = history.settings.search.network.as_ref();
    let network = network.ok_or_else(|| format!("the run in {run} has no network: omit --predicted"))?;
    let times = predicted(&Rates::fit(&measured), &space, network, count, arguments.plan.seed);
    if times.is_empty() {
        return Err(format!("none of {count} random blocks fits the network of {run}: raise --predicted").into());
    }
    Ok(times)
}

/// The predicted seconds of random blocks.
fn predicted(rates: &Rates, space: &BlockSpace, network: &NetworkConfig, count: u64, seed: u64) -> Vec<f64> {
    let mut rng = seed::stream(seed, "blocks to plan with", 0);
    let draw = |_| {
        let walk = random_trajectory(space, &mut rng).ok()?;
        Some(rates.seconds(&space.decode(&walk.actions).ok()?.to_graph().cost(network).ok()?))
    };
    (0..count).filter_map(draw).collect()
}

/// The times, scaled to the mean if one is given.
fn scaled(times: Vec<f64>, mean: Option<f64>) -> Vec<f64> {
    let present = times.iter().sum::<f64>() / times.len() as f64;
    let scale = mean.map_or(1.0, |mean| mean / present);
    times.into_iter().map(|time| time * scale).collect()
}

/// Seconds that the controller takes to propose a trial, and to journal it and learn from it with its share of the
/// paper's replay, measured by short searches with and without learning.
fn controller_time() -> Result<Controller, Box<dyn Error>> {
    let seconds = |replay_rounds| -> Result<f64, Box<dyn Error>> {
        let mut config = QLearningConfig::paper();
        config.replay.rounds = replay_rounds;
        let folder = tempfile::tempdir()?;
        let settings = SearchConfig::paper().with_trials(512, 64);
        let agent = QLearning::new(config)?;
        let start = Instant::now();
        Search::new(BlockSpace::paper(), agent, Synthetic::new(), settings)
            .with_run_folder(RunFolder::create(folder.path().join("run"))?)
            .run()?;
        Ok(start.elapsed().as_secs_f64() / 512.0)
    };
    // The fastest of three: other load on the machine only adds time.
    let quickest = |replay_rounds| -> Result<f64, Box<dyn Error>> {
        let times = (0..3).map(|_| seconds(replay_rounds)).collect::<Result<Vec<_>, _>>()?;
        Ok(times.into_iter().fold(f64::INFINITY, f64::min))
    };
    let with_replay = quickest(QLearningConfig::paper().replay.rounds)?;
    let without = quickest(0)?;
    // Without replay a trial costs its proposal and its journal line; how the time splits hardly matters to a plan.
    Ok(Controller { propose: without / 2.0, learn: without / 2.0 + (with_replay - without).max(0.0) })
}
