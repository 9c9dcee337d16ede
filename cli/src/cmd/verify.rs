//! `verify`: the best blocks of a run, trained to convergence.

mod experiment;
mod table;

use super::Outcome;
use crate::progress::Trainings;
use crate::{args, images, terminal};
use blockqnn::data::ImageSet;
use blockqnn::evaluator::{Evaluator, ProcessConfig, ThreadEvaluator};
use blockqnn::experiment::{Experiment, Verification, VerificationReport};
use blockqnn::files;
use blockqnn::network::Device;
use blockqnn::network::device::default_device;
#[cfg(feature = "report")]
use blockqnn::report::TensorBoard;
use blockqnn::reward::{Credit, RedefinedReward};
use blockqnn::search::{RunFolder, RunHistory, Search, SearchReport, StopReason};
use blockqnn::space::block::{BlockCode, BlockSpace};
use blockqnn::train::{Checkpoints, Recipe, TorchTraining, TrainingEnvironment};
use std::error::Error;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Train the best blocks of a run to convergence, and report how well the short trainings had ranked them
///
/// The blocks with the highest rewards are trained with a full recipe, on the run's data set or another one, measured
/// on held-out images, and printed by converged accuracy. After an interruption, repeat the command to continue.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Folder of the run, as given to search with --out
    #[arg(value_name = "DIR")]
    run: PathBuf,

    /// Blocks to train, highest reward first. Repeat the command with a larger number to add more [default: 10, with
    /// --paper 100]
    #[arg(long, value_name = "N", value_parser = args::at_least_one::<NonZeroUsize>)]
    top: Option<NonZeroUsize>,

    /// Train only this many of the --top blocks, drawn at random; the paper derives its reward from 50 of the best 200
    /// (then see `blockqnn calibrate`). Repeat the command with a larger number to add more
    #[arg(long, value_name = "N", value_parser = args::at_least_one::<NonZeroUsize>)]
    sample: Option<NonZeroUsize>,

    /// Verify the 100 best blocks on CIFAR-10, as the paper does; by our reading they are trained on all images with
    /// none held out, each measured once on the test images when its training has ended. The test images therefore
    /// also rank the blocks. --top, --dataset, --train-limit and the recipe can be changed
    #[arg(long, conflicts_with_all = ["validation", "test"])]
    paper: bool,

    /// Training recipe: cifar (the paper's: 300 epochs in batches of 128), imagenet (90 epochs in batches of 256),
    /// early-stop (the 12 epochs of a search in batches of 256), darts (that of DARTS on CIFAR-10, without auxiliary
    /// head and clipped gradients: 600 epochs in batches of 96, cosine, cutout, drop-path). With --epochs the milestones
    /// of the learning rate are scaled in proportion
    #[arg(long, value_name = "NAME", default_value = "cifar")]
    recipe: Recipe,

    #[command(flatten)]
    training: args::Recipe,

    #[command(flatten)]
    pictures: args::Pictures,

    /// Also measure the trained networks on the test images, which no search or ranking has used
    #[arg(long)]
    test: bool,

    #[command(flatten)]
    settings: args::Settings,

    #[command(flatten)]
    devices: args::Devices,

    /// Train with PyTorch, as search --trainer torch does; --device is then cpu, cuda, cuda:N or mps
    #[arg(long, value_name = "torch", value_parser = ["torch"], hide_possible_values = true)]
    trainer: Option<String>,

    #[command(flatten)]
    torch: args::TorchOptions,

    /// Simultaneous trainings; each needs the memory of one training
    #[arg(long, value_name = "N", default_value = "1", value_parser = args::at_least_one::<NonZeroUsize>)]
    workers: NonZeroUsize,

    /// Epochs between checkpoints of a training; a checkpoint is also written on Ctrl-C, SIGTERM and SIGHUP. (PyTorch
    /// writes one after an epoch, at most every half minute.)
    #[arg(long, value_name = "N", default_value_t = 10)]
    checkpoint_every: u32,

    /// Write event files for TensorBoard, with the learning curves, into the folder tensorboard of the verification;
    /// `tensorboard --logdir DIR` shows them
    #[cfg(feature = "report")]
    #[arg(long)]
    tensorboard: bool,

    /// Folder for the results, checkpoints and trained networks [default: DIR/verification]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// What `--help` ends with.
const EXAMPLES: &str = "\
Examples:
  blockqnn verify RUN --top 4 --epochs 20
  blockqnn verify RUN --top 4 --test --set recipe.schedule=cosine --set recipe.label_smoothing=0.1";

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let history = arguments.history()?;
    let experiment = arguments.experiment(&history)?;
    experiment.validate()?;
    let verification = arguments.verification(&history, experiment.search.seed);
    // PyTorch has devices of its own; the test images are then measured on the CPU.
    let devices = match arguments.trainer {
        Some(_) => vec![(String::new(), default_device()?)],
        None => arguments.devices.open()?,
    };
    let data = arguments.images(&experiment)?;
    let data = data.as_deref();
    let (experiment, training, measured) = arguments.load(experiment, data)?;
    let folder = arguments.folder()?;
    let resumed = folder.join("search.json").exists();
    let run_folder = if resumed { RunFolder::resume(&folder)? } else { RunFolder::create(&folder)? };
    let run_folder = run_folder.with_details(&experiment.details())?;
    // Held until the results are written.
    let _owner = run_folder.owner();
    let networks = folder.join("networks");
    let workers = arguments.workers(&experiment, &training, &measured, &devices, &networks)?;
    let blocks = verification.len();
    errln!(
        "{blocks} blocks of {}, {} epochs each on {} images of {}; {} {} images; {} {}",
        arguments.run.display(),
        experiment.recipe.epochs,
        training.len(),
        experiment.data.dataset,
        if arguments.paper { "measured once, at the end, on the test set's" } else { "validation on" },
        measured.len(),
        if resumed { "continuing in" } else { "results in" },
        folder.display(),
    );
    let config = verification.config(experiment.search.seed, experiment.search.network.clone());
    let agent = verification.agent(&experiment.space)?;
    let search = Search::with_evaluator(experiment.space.clone(), agent, workers, config)
        .with_reward(RedefinedReward::accuracy(Credit::Terminal))
        .with_run_folder(run_folder);
    #[cfg(feature = "report")]
    let search = if arguments.tensorboard {
        search.with_observer(TensorBoard::new(folder.join("tensorboard"), experiment.space.clone()))
    } else {
        search
    };
    let report = search
        .with_observer(Trainings::new(training.len()))
        .with_cancellation(terminal::stop_on_signals("checkpoints are on disk, the same command continues")?)
        .run()?;
    let found = verification.report(&report);
    if report.stop == StopReason::Cancelled {
        errln!("stopped: {} of {blocks} blocks are finished; repeat the command to continue", found.rows.len());
        return Ok(terminal::stopped());
    }
    end(arguments, &experiment, (&report, &found), (&folder, data, &devices[0].1))
}

/// Writes and prints the results. Takes the folder of the verification, the folder of the images, and the device that
/// the test images are measured on.
fn end(
    arguments: &Arguments,
    experiment: &Experiment,
    (report, found): (&SearchReport<BlockSpace>, &VerificationReport),
    (folder, data, device): (&Path, Option<&Path>, &Device),
) -> Outcome {
    let networks = folder.join("networks");
    for record in &report.records {
        // A finished trial is in the journal and no longer needs its checkpoint.
        let folder = TrainingEnvironment::trial_folder(&networks, record.fingerprint, record.seed);
        Checkpoints::new(folder).delete()?;
        TorchTraining::delete_checkpoint(&networks, record.fingerprint, record.seed)?;
    }
    table::write(&folder.join("verification.csv"), |out| found.write_csv(&experiment.space, out))?;
    // Where the report of the search looks for them.
    table::write(&arguments.run.join("verified.csv"), |out| found.write_verified_csv(out))?;
    let test =
        arguments.test.then(|| table::test_accuracies(experiment, data, &networks, found, device)).transpose()?;
    table::print(found, test.as_deref());
    if arguments.paper {
        outln!("converged: accuracy on the test images, which also decide the order here");
    }
    Ok(ExitCode::SUCCESS)
}

impl Arguments {
    /// The run, with at least one measured block.
    fn history(&self) -> Result<RunHistory<BlockSpace>, Box<dyn Error>> {
        let history: RunHistory<BlockSpace> = RunFolder::read(&self.run)?;
        if let Some(damage) = &history.damage {
            errln!("warning: {damage}; verifying the trials before the damage");
        }
        if history.records.iter().any(|record| record.evaluation.final_value().is_some()) {
            return Ok(history);
        }
        Err(format!(
            "there is nothing to verify: no block of the run in {} has been measured yet; continue the search with \
             --resume, or choose another run",
            self.run.display()
        )
        .into())
    }

    /// The blocks to train.
    fn verification(&self, history: &RunHistory<BlockSpace>, seed: u64) -> Verification {
        let top = self.top.map_or(if self.paper { 100 } else { 10 }, NonZeroUsize::get);
        let best = Verification::new(&history.records, top);
        match self.sample {
            Some(size) => best.sample(size.get(), seed),
            None => best,
        }
    }

    /// The folder of the images.
    fn images(&self, experiment: &Experiment) -> Result<Option<PathBuf>, Box<dyn Error>> {
        let dataset = experiment.data.dataset;
        images::refuse_unread(dataset, self.pictures.data.as_deref())?;
        // Another data set is not in the run's image folder.
        let run = self.dataset().is_none().then_some(&*self.run);
        images::folder(dataset, self.pictures.folder(run).as_deref(), self.pictures.download)
    }

    /// The training images, those that accuracy is measured on, and the experiment for them.
    fn load(
        &self,
        experiment: Experiment,
        data: Option<&Path>,
    ) -> Result<(Experiment, ImageSet, ImageSet), Box<dyn Error>> {
        let left_out = &mut images::tell_left_out;
        let (experiment, training, measured) = if self.paper {
            let training = experiment.data.load_whole(data, left_out)?;
            let test = experiment.data.load_test(data, &mut |_| {})?.images().clone();
            (experiment::of_the_paper(experiment), training, test)
        } else {
            let (training, validation) = experiment.data.load(data, left_out)?;
            (experiment, training, validation)
        };
        images::print_classes(&training, &measured);
        let experiment = experiment.for_data(training.shape(), training.classes().len());
        if self.test {
            // Read already here, so that missing test images are reported before the trainings.
            let test = experiment.data.load_test(data, left_out)?;
            errln!("test on {} images of {}", test.images().len(), test.images().name());
        }
        Ok((experiment, training, measured))
    }

    /// What trains the blocks and keeps their networks.
    fn workers(
        &self,
        experiment: &Experiment,
        training: &ImageSet,
        measured: &ImageSet,
        devices: &[(String, Device)],
        networks: &Path,
    ) -> Result<Box<dyn Evaluator<BlockCode>>, Box<dyn Error>> {
        let workers = self.workers.get();
        if self.trainer.is_some() {
            let torch = self.torch.training(experiment, training, measured)?.with_networks_kept(networks);
            let config = ProcessConfig::new();
            return Ok(Box::new(args::torch::evaluator(&torch, self.devices.given(), workers, config)?));
        }
        let environments = args::workers_of(devices, workers, |device| {
            let (network, recipe) = (experiment.network(), experiment.recipe.clone());
            let environment = TrainingEnvironment::with_parts(training, measured, network, recipe, device);
            environment.map(|environment| environment.with_networks_kept(networks, self.checkpoint_every))
        })?;
        Ok(Box::new(ThreadEvaluator::with_names(environments)?))
    }

    /// The folder of the results: not the run's own.
    fn folder(&self) -> Result<PathBuf, String> {
        let folder = self.out.clone().unwrap_or_else(|| self.run.join("verification"));
        if files::is_same(&folder, &self.run) {
            return Err(format!("--out {} is the folder of the search itself: name another one", folder.display()));
        }
        Ok(folder)
    }
}
