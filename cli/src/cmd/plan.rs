//! `plan`: how long a search would take on a number of workers, with and without the barrier of each minibatch.

use super::Outcome;
use crate::args::at_least_one;
use blockqnn::agent::{QLearning, QLearningConfig};
use blockqnn::environment::synthetic::Synthetic;
use blockqnn::graph::{NetworkConfig, ToGraph};
use blockqnn::search::{
    CostModel, PredictionQuality, RunFolder, RunHistory, Scheduling, Search, SearchConfig, SimulationConfig, simulate,
};
use blockqnn::seed;
use blockqnn::space::block::BlockSpace;
use blockqnn::space::{SearchSpace, random_trajectory};
use std::error::Error;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

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

    /// Use the times that the run's cost model (`cost_model.json`) predicts for N random blocks of its search space,
    /// instead of measured times: a search that has learned trains only a small, unrepresentative part of the space
    /// [default: measured times]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    predicted: Option<u64>,

    /// Numbers of workers to simulate, separated by commas
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "32,1000,10000",
        value_parser = at_least_one::<NonZeroUsize>)]
    workers: Vec<NonZeroUsize>,

    /// Blocks that the search evaluates; the default is the paper's whole schedule
    #[arg(long, value_name = "N", default_value_t = 11_392)]
    trials: u64,

    /// Blocks in a minibatch
    #[arg(long, value_name = "N", default_value_t = 64)]
    minibatch: u64,

    /// Scale the training times to this mean, in seconds; the paper's 3 days on 32 GPUs are 728 a
    /// block [default: no scaling]
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    mean: Option<f64>,

    /// Failures per worker and hour of training
    #[arg(long, value_name = "RATE", default_value_t = 0.01, allow_negative_numbers = true)]
    failures: f64,

    /// Seconds until a failure is detected and the block is given to another worker
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0, allow_negative_numbers = true)]
    lease: f64,

    /// Seconds until a failed worker is replaced
    #[arg(long, value_name = "SECONDS", default_value_t = 300.0, allow_negative_numbers = true)]
    replacement: f64,

    /// Random seed of the drawn times and failures
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

/// What `--help` ends with.
const EXAMPLES: &str = "\
Examples:
  blockqnn plan RUN --workers 8
  blockqnn plan RUN --mean 728 --workers 32,1000
  (728 s per training are the paper's 3 days on 32 GPUs for 11,392 blocks.)";

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    if let Some(mean) = arguments.mean.filter(|mean| !(mean.is_finite() && *mean > 0.0)) {
        return Err(format!("--mean is {mean}: it must be a number of seconds above 0").into());
    }
    let history = RunFolder::read::<BlockSpace>(&arguments.run)?;
    let times = scaled(training_times(arguments, &history)?, arguments.mean);
    let (propose, learn) = controller_time()?;
    let mean = times.iter().sum::<f64>() / times.len() as f64;
    outln!(
        "{} trials; {} training times with a mean of {mean:.1} s; the controller takes {:.3} ms to propose a trial and \
         {:.3} ms to learn from it",
        arguments.trials,
        times.len(),
        1_000.0 * propose,
        1_000.0 * learn
    );
    outln!();
    outln!(
        "| workers | scheduling | hours | blocks per hour | busy | waiting for the slowest of a minibatch | controller \
         busy | failures |"
    );
    outln!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    for &workers in &arguments.workers {
        for (name, scheduling) in [("minibatch", Scheduling::Minibatch), ("rolling", Scheduling::Rolling)] {
            let config = SimulationConfig {
                seed: arguments.seed,
                trials: arguments.trials,
                minibatch: arguments.minibatch,
                propose,
                learn,
                failures_per_hour: arguments.failures,
                lease: arguments.lease,
                replacement: arguments.replacement,
                ..SimulationConfig::paper(workers.get(), scheduling)
            };
            let end = simulate(&config, &times)?;
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

/// Training times in seconds, measured in the run or predicted. If the run has a cost model, prints how accurate it
/// was.
fn training_times(arguments: &Arguments, history: &RunHistory<BlockSpace>) -> Result<Vec<f64>, Box<dyn Error>> {
    let run = &arguments.run;
    let trained = history.records.iter().filter(|record| !record.cached);
    let measured: Vec<_> = trained
        .filter_map(|record| Some((&record.cost, record.evaluation.metrics()?.seconds)))
        .filter(|(_, seconds)| *seconds > 0.0)
        .collect();
    let network = &history.settings.search.network;
    let path = run.join("cost_model.json");
    let model = path.exists().then(|| read_model(&path)).transpose()?;
    if let Some(model) = &model {
        let pairs = measured.iter().map(|(cost, seconds)| (model.seconds(cost, network), *seconds));
        if let Some(error) = PredictionQuality::of(pairs) {
            outln!(
                "cost model on {} trials: measured times are {:.2} times the predicted ones; corrected by that factor, \
                 half of the predictions are within {:.0} % and 90 % of them within {:.0} %",
                error.trials,
                error.factor,
                100.0 * error.median,
                100.0 * error.ninth_decile
            );
        }
    }
    if let Some(count) = arguments.predicted {
        let model = model.ok_or_else(|| {
            format!(
                "there is no cost model {}: omit --predicted to use measured times (a search with --processes writes \
                 none)",
                path.display()
            )
        })?;
        let space: BlockSpace = serde_json::from_value(history.settings.details["space"].clone()).map_err(|error| {
            format!(
                "the settings of {} have no valid search space ({error}): omit --predicted to use measured times",
                run.display()
            )
        })?;
        let times = predicted(&model, &space, network, count, arguments.seed);
        if times.is_empty() {
            return Err(format!(
                "none of {count} random blocks fits the network of {}: raise --predicted",
                run.display()
            )
            .into());
        }
        return Ok(times);
    }
    if measured.is_empty() {
        return Err(format!(
            "the run in {} has no measured training times yet: choose a run with trained blocks, or use --predicted N",
            run.display()
        )
        .into());
    }
    Ok(measured.into_iter().map(|(_, seconds)| seconds).collect())
}

fn read_model(path: &Path) -> Result<CostModel, Box<dyn Error>> {
    let text = std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    serde_json::from_slice(&text)
        .map_err(|error| format!("{} is not a valid cost model: {error}", path.display()).into())
}

/// The predicted seconds of random blocks.
fn predicted(model: &CostModel, space: &BlockSpace, network: &NetworkConfig, count: u64, seed: u64) -> Vec<f64> {
    let mut rng = seed::stream(seed, "blocks to plan with", 0);
    let draw = |_| {
        let walk = random_trajectory(space, &mut rng).ok()?;
        let cost = space.decode(&walk.actions).ok()?.to_graph().cost(network).ok()?;
        Some(model.seconds(&cost, network))
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
fn controller_time() -> Result<(f64, f64), Box<dyn Error>> {
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
    Ok((without / 2.0, without / 2.0 + (with_replay - without).max(0.0)))
}
