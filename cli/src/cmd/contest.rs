//! `contest`: blocks from anywhere, trained in networks of the same cost, and measured on the test images.

mod table;

use super::Outcome;
use crate::overrides::{Overrides, image_of};
use crate::progress::Trainings;
use crate::{args, block, images, output, terminal};
use blockqnn::data::{ImageSet, Pictures};
use blockqnn::evaluator::ThreadEvaluator;
use blockqnn::experiment::{Contest, ContestEnvironment, Dataset, Entrant, EqualCost, Experiment, Preset};
use blockqnn::graph::{LayerGraph, NetworkConfig};
use blockqnn::network::Device;
use blockqnn::reward::{Credit, RedefinedReward};
use blockqnn::search::{RunFolder, Search, SearchReport, StopReason};
use blockqnn::train::{Checkpoints, Recipe, TrainingEnvironment};
use std::error::Error;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Settings that a contest uses: whole sections.
const USED: [&str; 3] = ["recipe", "data", "search.network"];
/// Settings in these sections that a contest decides itself.
const DECIDED: [&str; 6] = [
    "data.validation",
    "recipe.measure_every",
    "recipe.restarts",
    "search.network.widths",
    "search.network.image",
    "search.network.classes",
];

/// Compare blocks that were found with published and hand-made ones, at equal cost
///
/// Every block gets a network of its own width, so that all have the same number of multiply-adds (or parameters)
/// within 5 %. The rest of the network is that of the preset quick, unless --repeats or --set changes it. Each is
/// trained several times by the same recipe on all training images, and measured on the test images once, when its
/// training has ended. Prints the blocks by mean accuracy, with the standard error over the repetitions, and which
/// trainings failed; the exit status is 1 if all of a block did. After an interruption, repeat the command to continue.
///
/// The test images must not have chosen a block: enter what a search ranked first on its own validation images.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Blocks: the folder of a search (its best block; RUN#3 is the third best, RUN#median the one in the middle), a
    /// file with a block (text, JSON, or the output of `blockqnn export --to json`), the block itself as text, such as
    /// 'conv3(0) terminal(1)', or a published one: resnet-basic, resnet-bottleneck, resnext, inception, dense,
    /// mobilenet-v2, nasnet-a, darts-v2
    #[arg(value_name = "BLOCK", required = true)]
    blocks: Vec<String>,

    /// Multiply-adds of every network for one image [default: about those of the first block in a network of the given
    /// --width, as near as all blocks can come]
    #[arg(long, value_name = "N", conflicts_with = "parameters")]
    flops: Option<NonZeroU64>,

    /// Parameters of every network, in place of --flops
    #[arg(long, value_name = "N")]
    parameters: Option<NonZeroU64>,

    /// Trainings of each block, with different weights. Repeat the command with a larger number to add more
    #[arg(long, value_name = "N", default_value = "3", value_parser = args::at_least_one::<NonZeroU64>)]
    repetitions: NonZeroU64,

    /// Training recipe: cifar (the paper's: 300 epochs in batches of 128), imagenet (90 epochs in batches of 256),
    /// early-stop (the 12 epochs of a search in batches of 256), darts (600 epochs in batches of 96, cosine, cutout,
    /// drop-path). With --epochs the milestones of the learning rate are scaled in proportion
    #[arg(long, value_name = "NAME", default_value = "cifar")]
    recipe: Recipe,

    #[command(flatten)]
    training: args::Recipe,

    #[command(flatten)]
    network: args::Network,

    #[command(flatten)]
    pictures: args::Pictures,

    /// Measure the latency of each trained network on its device too, while other trainings of this machine wait
    #[arg(long)]
    latency: bool,

    /// Random seed of all trainings
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,

    #[command(flatten)]
    settings: args::Settings,

    #[command(flatten)]
    devices: args::Devices,

    /// Simultaneous trainings; each needs the memory of one training
    #[arg(long, value_name = "N", default_value = "1", value_parser = args::at_least_one::<NonZeroUsize>)]
    workers: NonZeroUsize,

    /// Epochs between checkpoints of a training; a checkpoint is also written on Ctrl-C, SIGTERM and SIGHUP
    #[arg(long, value_name = "N", default_value_t = 10)]
    checkpoint_every: u32,

    /// Print the networks and what they cost, without training anything
    #[arg(long)]
    dry_run: bool,

    /// Folder for the results, checkpoints and trained networks
    #[arg(long, value_name = "DIR", default_value = "blockqnn-runs/contest")]
    out: PathBuf,
}

/// What `--help` ends with.
const EXAMPLES: &str = "\
Examples:
  blockqnn contest my-run resnet-basic mobilenet-v2 'conv3(0) terminal(1)' --epochs 20
  blockqnn contest my-run my-run#median random-run resnext --flops 2000000 --repetitions 5 --out contest
  blockqnn contest darts-v2 nasnet-a --parameters 100000 --width 16 --dry-run";

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let experiment = arguments.experiment()?;
    let dataset = experiment.data.dataset;
    images::refuse_unread(dataset, arguments.pictures.data.as_deref())?;
    experiment.recipe.validate()?;
    let contest = arguments.contest(&experiment.network())?;
    if arguments.dry_run {
        table::print_networks(&contest);
        return Ok(ExitCode::SUCCESS);
    }
    let data = images::folder(dataset, arguments.pictures.folder(None).as_deref(), arguments.pictures.download)?;
    let training = experiment.data.load_whole(data.as_deref(), &mut images::tell_left_out)?;
    let test = experiment.data.load_test(data.as_deref(), &mut images::tell_left_out)?.images().clone();
    images::print_classes(&training, &test);
    let environments = arguments.environments(&experiment, &training, &test)?;
    let resumed = arguments.out.join("search.json").exists();
    let folder = if resumed { RunFolder::resume(&arguments.out)? } else { RunFolder::create(&arguments.out)? };
    // Held until the results are written.
    let _owner = folder.owner();
    errln!(
        "{} blocks, {} times each, {} epochs on {} images of {dataset}; measured once, at the end, on {} test images; \
         {} {}",
        contest.entrants().len(),
        arguments.repetitions,
        experiment.recipe.epochs,
        training.len(),
        test.len(),
        if resumed { "continuing in" } else { "results in" },
        arguments.out.display(),
    );
    let evaluator = ThreadEvaluator::with_names(environments)?;
    let report = Search::with_evaluator(contest.clone(), contest.agent(), evaluator, contest.config(arguments.seed))
        .with_reward(RedefinedReward::accuracy(Credit::Terminal))
        .with_run_folder(folder)
        .with_observer(Trainings::new(training.len()))
        .with_cancellation(terminal::stop_on_signals("checkpoints are on disk, the same command continues")?)
        .run()?;
    end(arguments, &contest, &report)
}

/// Writes and prints the results.
fn end(arguments: &Arguments, contest: &Contest, report: &SearchReport<Contest>) -> Outcome {
    for record in &report.records {
        // A finished training is in the journal and no longer needs its checkpoint.
        let networks = networks(&arguments.out);
        Checkpoints::new(TrainingEnvironment::trial_folder(&networks, record.fingerprint, record.seed)).delete()?;
    }
    let found = contest.report(report);
    output::write(&arguments.out.join("contest.csv"), |out| found.write_csv(out))?;
    output::write(&arguments.out.join("trainings.csv"), |out| report.write_csv(contest, out))?;
    #[cfg(feature = "report")]
    table::draw(&arguments.out, &found)?;
    table::print(&found);
    table::print_failures(&found);
    if report.stop == StopReason::Cancelled {
        errln!("stopped: {} trainings are finished; repeat the command to continue", report.records.len());
        return Ok(terminal::stopped());
    }
    // A block without a result was not compared.
    let is_whole = found.rows.iter().all(|row| row.mean().is_some());
    Ok(if is_whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Where the trained networks are.
fn networks(out: &Path) -> PathBuf {
    out.join("networks")
}

impl Arguments {
    /// The settings of images, recipe and network. There are no validation images: what is measured during a training,
    /// and would decide about a restart, would be the test images.
    fn experiment(&self) -> Result<Experiment, Box<dyn Error>> {
        self.refuse_unused()?;
        let mut base = Overrides::new().apply(Preset::Quick)?;
        base.recipe = self.training.change(self.recipe.clone());
        base.data.train_limit = None;
        let overrides = self.settings.around(|overrides| {
            overrides.set_if("recipe.latency", self.latency.then_some(true));
            self.pictures.put(overrides);
            self.training.put(overrides);
            self.network.put(overrides);
        })?;
        let mut experiment = overrides.apply_to(&base)?;
        images::refuse_unused(&overrides, &experiment.data)?;
        if experiment.data.dataset == Dataset::Folder {
            experiment.data.size.get_or_insert(images::SIZE);
        }
        let classes = match experiment.data.dataset.shape() {
            Some((_, classes)) => classes,
            None => experiment.data.open_folder(self.pictures.data.as_deref())?.classes().len(),
        };
        let image = image_of(&experiment.data).unwrap_or(experiment.network().image);
        experiment = experiment.for_data(image, classes);
        experiment.data.validation = 0;
        experiment.recipe.measure_every = None;
        experiment.recipe.restarts.max = 0;
        Ok(experiment)
    }

    /// Refuses what would have no effect: whoever gives it wants it to count.
    fn refuse_unused(&self) -> Result<(), String> {
        if self.pictures.validation.is_some() {
            return Err(
                "--validation would not be used: a contest trains on all training images, and measures on the \
                        test images alone"
                    .to_owned(),
            );
        }
        for setting in &self.settings.settings {
            let mut given = Overrides::new();
            given.set_text(setting)?;
            let is_used = USED.iter().any(|path| setting.starts_with(path));
            if !is_used || DECIDED.iter().any(|path| given.contains(path)) {
                return Err(format!(
                    "--set {setting} would not be used: only settings under recipe, data and search.network make a \
                     difference, except {}",
                    DECIDED.join(", ")
                ));
            }
        }
        Ok(())
    }

    /// The blocks in networks of equal cost.
    fn contest(&self, network: &NetworkConfig) -> Result<Contest, Box<dyn Error>> {
        let entrant = |source: &String| -> Result<Entrant, Box<dyn Error>> {
            let block = block::read(source, "BLOCK")?;
            // Of a run the block is named too, since the run may go on to find another.
            let is_named = LayerGraph::NAMES.contains(&source.as_str()) || block.name == *source;
            let name = if is_named { block.name } else { format!("{source}: {}", block.name) };
            let network = NetworkConfig { widths: block.widths, ..network.clone() };
            Ok(Entrant { name, block: block.graph, network })
        };
        let entrants = self.blocks.iter().map(entrant).collect::<Result<Vec<_>, _>>()?;
        let repetitions = self.repetitions.get();
        let nearest = |equal: EqualCost| {
            equal.nearby().find_map(|near| Some((near, Contest::new(entrants.clone(), near, repetitions).ok()?)))
        };
        let given = match (self.flops, self.parameters) {
            (Some(flops), _) => EqualCost::Flops(flops.get()),
            (None, Some(parameters)) => EqualCost::Parameters(parameters.get()),
            // The first block keeps about its width.
            (None, None) => {
                let cost = entrants.first().map(Entrant::cost).transpose()?;
                let equal = EqualCost::Flops(cost.map_or(0, |cost| cost.flops));
                if let Some((_, contest)) = nearest(equal) {
                    return Ok(contest);
                }
                equal
            }
        };
        Contest::new(entrants.clone(), given, repetitions).map_err(|error| match nearest(given) {
            Some((EqualCost::Flops(flops), _)) => format!("{error}; all blocks reach {flops} (option --flops)").into(),
            Some((EqualCost::Parameters(parameters), _)) => {
                format!("{error}; all blocks reach {parameters} (option --parameters)").into()
            }
            None => error.into(),
        })
    }

    /// What trains the networks and keeps them.
    fn environments(
        &self,
        experiment: &Experiment,
        training: &ImageSet,
        test: &ImageSet,
    ) -> Result<Vec<(String, ContestEnvironment)>, Box<dyn Error>> {
        let devices: Vec<(String, Device)> = self.devices.open()?;
        Ok(args::workers_of(&devices, self.workers.get(), |device| {
            let recipe = experiment.recipe.clone();
            // The same whatever the options: that of an entrant is in its place before anything is trained.
            let network = NetworkConfig::cifar().with_data(training.shape(), training.classes().len());
            let environment = TrainingEnvironment::with_parts(training, test, network, recipe, device);
            let kept = |environment: TrainingEnvironment| {
                environment.with_networks_kept(networks(&self.out), self.checkpoint_every)
            };
            environment.map(|environment| ContestEnvironment::new(kept(environment)))
        })?)
    }
}
