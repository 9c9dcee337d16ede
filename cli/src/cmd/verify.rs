//! `verify`: the best blocks of a run, trained to convergence.

use blockqnn::data::{DataError, ImageSet};
use blockqnn::environment::{BoxError, Progress};
use blockqnn::evaluation::{Evaluation, Trial};
use blockqnn::experiment::{Experiment, Overrides, Preset, Verification, VerificationReport};
use blockqnn::files;
use blockqnn::network::{Device, Precision};
use blockqnn::search::{Observer, RecordOf, RunFolder, RunHistory, Search, StopReason, ThreadEvaluator};
use blockqnn::space::block::{BlockCode, BlockSpace};
use blockqnn::train::{Checkpoints, ImageClassifier, Recipe, TrainError, TrainingEnvironment};
use clap::ValueEnum;
use std::collections::HashMap;
use std::error::Error;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Train the best blocks of a run to convergence, and report how well the short trainings had ranked them
///
/// The blocks with the highest rewards are trained with a full recipe, on the run's data set or another one, measured
/// on held-out images, and printed by converged accuracy. After an interruption, repeat the command to continue.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  blockqnn verify RUN --top 4 --epochs 20")]
#[expect(clippy::doc_markdown, reason = "these comments are the text of --help")]
pub(crate) struct Arguments {
    /// Folder of the run, as given to the search with --out
    #[arg(value_name = "DIR")]
    run: PathBuf,

    /// Blocks to train, highest reward first. Repeat the command with a larger number to add more [default: 10, with
    /// --paper 100]
    #[arg(long, value_name = "N", value_parser = crate::args::at_least_one::<NonZeroUsize>)]
    top: Option<NonZeroUsize>,

    /// Train only this many of the --top blocks, drawn at random; the paper fits its reward to 50 of the best 200 (then
    /// see `blockqnn calibrate`). Repeat the command with a larger number to add more
    #[arg(long, value_name = "N", value_parser = crate::args::at_least_one::<NonZeroUsize>)]
    sample: Option<NonZeroUsize>,

    /// Verify as the paper does: the 100 best blocks, trained on all images of CIFAR-10 with none held out, each measured
    /// once on the test images when its training has ended. So the test images also rank the blocks. --top, --dataset,
    /// --train-limit and the recipe can be changed
    #[arg(long, conflicts_with_all = ["validation", "test"])]
    paper: bool,

    /// Training recipe: cifar (the paper's 300 epochs), imagenet (90 epochs), early-stop (the 12 epochs of
    /// a search)
    #[arg(long, value_enum, default_value_t = RecipeName::Cifar)]
    recipe: RecipeName,

    /// Epochs of each training; the milestones of the learning rate are scaled in proportion [default: 300 for cifar,
    /// 90 for imagenet, 12 for early-stop]
    #[arg(long, value_name = "N")]
    epochs: Option<u32>,

    /// Images per training step [default: 128 for cifar, 256 for the others]
    #[arg(long, value_name = "N")]
    batch_size: Option<usize>,

    /// Number type of the computation: f32, or bf16 (mixed precision), independent of the search's [default: f32]
    #[arg(long, value_name = "TYPE")]
    precision: Option<Precision>,

    /// Images to train on: embedded, cifar10, cifar100, folder [default: those of the run,
    /// with --paper cifar10]
    #[arg(long, value_name = "NAME")]
    dataset: Option<String>,

    /// Folder with the files of the data set, as for the search [default: the folder that the run used]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// Download CIFAR-10 or CIFAR-100, as for the search (requires the feature download)
    #[arg(long)]
    download: bool,

    /// Maximum number of training images, equally many of each class; 0 for all [default: as in the run, with
    /// --paper all]
    #[arg(long, value_name = "N")]
    train_limit: Option<usize>,

    /// Images held out of the training set, on which the blocks are ranked [default: as in the run]
    #[arg(long, value_name = "N")]
    validation: Option<usize>,

    /// Also measure the trained networks on the test images, which no search or ranking has used
    #[arg(long)]
    test: bool,

    /// Override any setting, for example --set search.network.width=32 --set recipe.schedule=cosine --set
    /// recipe.label_smoothing=0.1 (repeatable; recipe options that are off by default: augmentation.cutout,
    /// warm_up_epochs, label_smoothing, weight_averaging)
    #[arg(long = "set", value_name = "PATH=VALUE")]
    settings: Vec<String>,

    /// JSON file with settings that override the run's, in the format that the search's --dry-run prints
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Devices to train on, as for the search [default: the first that is built in, normally flex]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    device: Vec<String>,

    /// Simultaneous trainings; each needs the memory of one training
    #[arg(long, value_name = "N", default_value_t = NonZeroUsize::MIN, value_parser = crate::args::at_least_one::<NonZeroUsize>)]
    workers: NonZeroUsize,

    /// Epochs between checkpoints of a training; a checkpoint is also written on Ctrl-C, SIGTERM and SIGHUP
    #[arg(long, value_name = "N", default_value_t = 10)]
    checkpoint_every: u32,

    /// Folder for the results, checkpoints and trained networks [default: DIR/verification]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum RecipeName {
    Cifar,
    Imagenet,
    EarlyStop,
}

pub(crate) fn run(arguments: &Arguments) -> super::Outcome {
    let history: RunHistory<BlockSpace> = RunFolder::read(&arguments.run)?;
    if let Some(damage) = &history.damage {
        errln!("warning: {damage}; verifying the trials before the damage");
    }
    if history.records.iter().all(|record| record.evaluation.accuracy().is_none()) {
        return Err(format!(
            "there is nothing to verify: no block of the run in {} has been measured yet; continue the search with --resume, \
             or choose another run",
            arguments.run.display()
        )
        .into());
    }
    let experiment = arguments.experiment(&history)?;
    experiment.validate()?;
    let verification = arguments.verification(&history, experiment.search.seed);
    let devices = super::search::devices(&arguments.device)?;
    crate::images::refuse_unread(experiment.data.dataset, arguments.data.as_deref())?;
    // Another data set is not in the run's image folder, and a download chooses its own folder.
    let data = if arguments.dataset().is_none() && !arguments.download {
        crate::images::remembered(&arguments.run, arguments.data.as_deref())
    } else {
        arguments.data.clone()
    };
    let data = crate::images::folder(experiment.data.dataset, data.as_deref(), arguments.download)?;
    let left_out = &mut |error: &DataError| crate::images::tell_left_out(error);
    let (experiment, training, measured) = if arguments.paper {
        let training = experiment.data.load_whole(data.as_deref(), left_out)?;
        let test = experiment.data.load_test(data.as_deref())?.images().clone();
        (of_the_paper(experiment), training, test)
    } else {
        let (training, validation) = experiment.data.load_telling(data.as_deref(), left_out)?;
        (experiment, training, validation)
    };
    crate::images::print_classes(&training, &measured);
    let experiment = experiment.for_data(training.shape(), training.classes().len());
    if arguments.test {
        // Read already here, so that missing test images are reported before the trainings.
        let test = experiment.data.load_test_telling(data.as_deref(), left_out)?;
        errln!("test on {} images of {}", test.images().len(), test.images().name());
    }

    let folder = arguments.out.clone().unwrap_or_else(|| arguments.run.join("verification"));
    if files::is_same(&folder, &arguments.run) {
        return Err(format!("--out {} is the folder of the search itself: name another one", folder.display()).into());
    }
    let resumed = folder.join("search.json").exists();
    let run_folder = if resumed { RunFolder::resume(&folder)? } else { RunFolder::create(&folder)? };
    let run_folder = run_folder.with_details(&experiment.details())?;
    // Held until the results are written.
    let _owner = run_folder.owner();
    let networks = folder.join("networks");
    let workers = workers(arguments, &experiment, (&training, &measured), &networks, &devices)?;
    let blocks = verification.candidates().len();
    errln!(
        "{blocks} blocks of {}, {} epochs each on {} images of {}; {} {} images; {} {}",
        arguments.run.display(),
        experiment.recipe.epochs,
        training.len(),
        experiment.data.dataset.name(),
        if arguments.paper { "measured once, at the end, on the test set's" } else { "validation on" },
        measured.len(),
        if resumed { "continuing in" } else { "results in" },
        folder.display(),
    );
    let config = verification.config(experiment.search.seed, experiment.search.network.clone());
    let agent = verification.agent(&experiment.space)?;
    let search = Search::with_evaluator(experiment.space.clone(), agent, ThreadEvaluator::with_names(workers)?, config)
        .with_reward(blockqnn::reward::RedefinedReward::accuracy(blockqnn::reward::Credit::Terminal))
        .with_run_folder(run_folder)
        .with_observer(Display::new(training.len()))
        .with_cancellation(crate::terminal::stop_on_signals("checkpoints are on disk, the same command continues")?);
    let report = search.run()?;
    let found = verification.report(&report);
    if report.stop == StopReason::Cancelled {
        errln!("stopped: {} of {blocks} blocks are finished; repeat the command to continue", found.rows.len());
        return Ok(crate::terminal::stopped());
    }
    for record in &report.records {
        // A finished trial is in the journal and no longer needs its checkpoint.
        let folder = TrainingEnvironment::trial_folder(&networks, record.fingerprint, record.seed);
        Checkpoints::new(folder).delete()?;
    }
    write_csv(&folder.join("verification.csv"), |out| found.write_csv(&experiment.space, out))?;
    // Where the report of the search looks for them.
    write_csv(&arguments.run.join("verified.csv"), |out| found.write_verified_csv(out))?;
    let test = if arguments.test {
        Some(test_accuracies(&experiment, data.as_deref(), &networks, &found, &devices[0].1)?)
    } else {
        None
    };
    print(&found, test.as_deref());
    if arguments.paper {
        outln!("converged: accuracy on the test images, by which the blocks are ordered too, as in the paper");
    }
    Ok(ExitCode::SUCCESS)
}

/// As many environments as trainings are to run side by side, each with its name; those on one device share its images.
fn workers(
    arguments: &Arguments,
    experiment: &Experiment,
    (training, measured): (&ImageSet, &ImageSet),
    networks: &Path,
    devices: &[(String, Device)],
) -> Result<Vec<(String, TrainingEnvironment)>, TrainError> {
    let mut workers = Vec::new();
    for number in 0..arguments.workers.get().max(devices.len()) {
        let (name, device) = &devices[number % devices.len()];
        let (network, recipe) = (experiment.search.network.clone(), experiment.recipe.clone());
        let environment = if number < devices.len() {
            TrainingEnvironment::with_parts(training, measured, network, recipe, device)?
                .with_networks_kept(networks, arguments.checkpoint_every)
        } else {
            let (_, first): &(String, TrainingEnvironment) = &workers[number % devices.len()];
            first.clone()
        };
        workers.push((format!("{number} on {name}"), environment));
    }
    Ok(workers)
}

/// The settings of a verification whose test images are measured once, at the end of a training, and of which none are held
/// out of the training images.
fn of_the_paper(mut experiment: Experiment) -> Experiment {
    experiment.data.validation = 0;
    // A restart would be decided by a measurement after the first epoch.
    experiment.recipe.measure_every = None;
    experiment.recipe.restarts.max = 0;
    experiment
}

impl Arguments {
    /// The blocks to train.
    fn verification(&self, history: &RunHistory<BlockSpace>, seed: u64) -> Verification {
        let top = self.top.map_or(if self.paper { 100 } else { 10 }, NonZeroUsize::get);
        let best = Verification::new(&history.records, top);
        match self.sample {
            Some(size) => best.sample(size.get(), seed),
            None => best,
        }
    }

    /// The data set, if it is another than the run's.
    fn dataset(&self) -> Option<&str> {
        self.dataset.as_deref().or(self.paper.then_some("cifar10"))
    }

    /// The run's settings with the full recipe, overridden by the file, then the options, then each --set.
    fn experiment(&self, history: &RunHistory<BlockSpace>) -> Result<Experiment, Box<dyn Error>> {
        let mut of_run = Overrides::new();
        of_run.set_run(&history.settings)?;
        let mut experiment = of_run.apply(Preset::Quick)?;
        experiment.recipe = match self.recipe {
            RecipeName::Cifar => Recipe::cifar(),
            RecipeName::Imagenet => Recipe::imagenet(),
            RecipeName::EarlyStop => Recipe::early_stop(),
        };
        if let Some(epochs) = self.epochs {
            experiment.recipe = experiment.recipe.scaled_to(epochs);
        }
        let mut overrides = Overrides::new();
        if let Some(path) = &self.config {
            overrides.set_file(path)?;
        }
        // The number of trials is irrelevant here; set explicitly, it stays.
        overrides.set("search.trials", experiment.search.trials);
        if let Some(dataset) = self.dataset() {
            overrides.set("data.dataset", dataset);
            if dataset != "folder" {
                overrides.set("data.size", serde_json::Value::Null);
            }
        }
        match self.train_limit.or(self.paper.then_some(0)) {
            Some(0) => overrides.set("data.train_limit", serde_json::Value::Null),
            Some(limit) => overrides.set("data.train_limit", limit),
            None => {}
        }
        for (path, number) in [("data.validation", self.validation), ("recipe.batch_size", self.batch_size)] {
            if let Some(number) = number {
                overrides.set(path, number);
            }
        }
        if let Some(precision) = self.precision {
            overrides.set("recipe.precision", precision.name());
        }
        for setting in &self.settings {
            let used = ["recipe", "data", "search.network", "search.seed"];
            if !used.iter().any(|used| setting.starts_with(used)) {
                return Err(format!(
                    "--set {setting} would not be used: a verification trains the blocks of the run, and only settings under \
                     recipe, data and search.network, and search.seed, make a difference"
                )
                .into());
            }
            overrides.set_text(setting)?;
        }
        Ok(overrides.apply_to(&experiment)?)
    }
}

/// Accuracy of each network on the test images.
fn test_accuracies(
    experiment: &Experiment,
    data: Option<&Path>,
    networks: &Path,
    found: &VerificationReport,
    device: &Device,
) -> Result<Vec<Option<f64>>, Box<dyn Error>> {
    let test = experiment.data.load_test(data)?;
    found
        .rows
        .iter()
        .map(|row| {
            let folder = TrainingEnvironment::trial_folder(networks, row.record.fingerprint, row.record.seed);
            if row.accuracy.is_none() {
                return Ok(None);
            }
            let classifier = ImageClassifier::load(folder.join("network.safetensors"), device)?;
            Ok(Some(classifier.accuracy(test.images())?))
        })
        .collect()
}

fn write_csv(path: &Path, content: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Box<dyn Error>> {
    files::write(path, content).map_err(|error| {
        let path = path.display();
        format!("cannot write {path}: {error}. Trained blocks are not lost: repeat the command to write it again")
            .into()
    })
}

/// Prints the blocks by converged accuracy, and the rank correlation with the order of the search.
fn print(found: &VerificationReport, test: Option<&[Option<f64>]>) {
    let percent = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2} %"));
    let test_title = if test.is_some() { "      test" } else { "" };
    outln!("rank  converged{test_title}  early stop  early rank   reward  parameters  block");
    for (position, row) in found.rows.iter().enumerate() {
        let test = test.map(|test| format!("  {:>8}", percent(test[position]))).unwrap_or_default();
        outln!(
            "{:>4}  {:>9}{test}  {:>10}  {:>10}  {:>7.3}  {:>10}  {}",
            position + 1,
            percent(row.accuracy),
            percent(Some(row.early_accuracy)),
            row.early_rank,
            row.reward,
            row.record.cost.parameters,
            row.record.architecture
        );
    }
    for (name, agreement) in
        [("early-stop accuracy", found.agreement_of_accuracy()), ("reward of the search", found.agreement_of_reward())]
    {
        match agreement {
            Some(found) => outln!(
                "{name} and converged accuracy: Kendall's tau {:.3}, Spearman's rho {:.3}",
                found.kendall,
                found.spearman
            ),
            None => outln!(
                "{name} and converged accuracy: no rank correlation, which requires at least two blocks and different values on \
                 both sides"
            ),
        }
    }
}

/// How often the progress of a training is printed.
const EVERY: Duration = Duration::from_secs(10);

/// Prints the progress of each training, its speed, and the time left.
struct Display {
    images: usize,
    trainings: HashMap<u64, Training>,
}

/// A training as this process sees it.
struct Training {
    began: Instant,
    printed: Instant,
    /// Epochs that were finished when this process first reported on it.
    first: f64,
}

impl Display {
    fn new(images: usize) -> Self {
        Self { images, trainings: HashMap::new() }
    }
}

impl Observer<BlockSpace> for Display {
    fn on_restored(&mut self, record: &RecordOf<BlockSpace>) -> Result<(), BoxError> {
        errln!("block {} was finished before", record.id + 1);
        Ok(())
    }

    fn on_proposed(&mut self, trial: &Trial, block: &BlockCode) -> Result<(), BoxError> {
        errln!("block {}: {block}", trial.id + 1);
        Ok(())
    }

    fn on_progress(&mut self, trial: u64, progress: &Progress) {
        let done = f64::from(progress.epoch) + progress.fraction;
        let now = Instant::now();
        let training = self.trainings.entry(trial).or_insert(Training { began: now, printed: now, first: done });
        let seconds = now.duration_since(training.began).as_secs_f64();
        if now.duration_since(training.printed) < EVERY || done <= training.first {
            return;
        }
        training.printed = now;
        let epochs_per_second = (done - training.first) / seconds;
        let left = (f64::from(progress.epochs) - done).max(0.0) / epochs_per_second;
        let left = Duration::try_from_secs_f64(left).unwrap_or(Duration::MAX);
        errln!(
            "block {}: epoch {}/{}, {:.0} images/s, {} left",
            trial + 1,
            progress.epoch.saturating_add(1),
            progress.epochs,
            epochs_per_second * self.images as f64,
            indicatif::HumanDuration(left),
        );
    }

    fn on_fault(&mut self, trial: u64, attempt: u32, message: &str) {
        errln!("block {}: attempt {attempt} failed: {message}", trial + 1);
    }

    fn on_finished(&mut self, record: &RecordOf<BlockSpace>) -> Result<(), BoxError> {
        match record.evaluation.metrics() {
            Some(metrics) => {
                errln!("block {}: {:.2} % in {:.0} s", record.id + 1, metrics.accuracy, metrics.seconds);
            }
            None => match &record.evaluation {
                Evaluation::Infeasible(reason) => errln!("block {}: not measured: {reason}", record.id + 1),
                _ => errln!("block {}: not measured", record.id + 1),
            },
        }
        Ok(())
    }
}
