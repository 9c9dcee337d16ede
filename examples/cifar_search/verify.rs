//! `verify`: the best blocks of a run, trained to convergence.

use blockqnn::data::DataError;
use blockqnn::environment::{BoxError, Progress};
use blockqnn::evaluation::Trial;
use blockqnn::experiment::{Experiment, Overrides, Preset, Verification, VerificationReport};
use blockqnn::network::{Device, Precision};
use blockqnn::search::{Observer, RecordOf, RunFolder, RunHistory, Search, StopReason, ThreadEvaluator};
use blockqnn::space::block::{BlockCode, BlockSpace};
use blockqnn::train::{Checkpoints, ImageClassifier, Recipe, TrainingEnvironment};
use clap::ValueEnum;
use std::collections::HashMap;
use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Train the best blocks of a run to convergence, and tell how well the early stop had ranked them
///
/// The blocks with the highest rewards are trained by a full recipe, on the run's data set or another, measured on held-out
/// images, and printed by converged accuracy. Stopped or killed, the same command goes on where it was.
#[derive(Debug, clap::Args)]
#[expect(clippy::doc_markdown, reason = "these comments are the text of --help")]
pub(crate) struct Arguments {
    /// Folder of the run
    #[arg(value_name = "DIR")]
    run: PathBuf,

    /// Blocks to train, best reward first; the paper takes 100. More can be added later
    #[arg(long, value_name = "N", default_value_t = NonZeroUsize::new(10).expect("10 is not 0"))]
    top: NonZeroUsize,

    /// How to train: cifar (the paper's 300 epochs), imagenet, early-stop
    #[arg(long, value_enum, default_value_t = RecipeName::Cifar)]
    recipe: RecipeName,

    /// Epochs of each training; the recipe's milestones move in proportion [default: 300 for cifar, 90 for imagenet, 12 for
    /// early-stop]
    #[arg(long, value_name = "N")]
    epochs: Option<u32>,

    /// Images in a training step [default: 128 for cifar, 256 for the others]
    #[arg(long, value_name = "N")]
    batch_size: Option<usize>,

    /// Number type that networks compute in: f32, or bf16 (mixed), whatever the search used [default: f32]
    #[arg(long, value_name = "TYPE")]
    precision: Option<Precision>,

    /// Images to train on: embedded, cifar10, cifar100, folder [default: those of the run]
    #[arg(long, value_name = "NAME")]
    dataset: Option<String>,

    /// Folder with the files of the data set, as for the search [default: where the run had its images]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// Fetch CIFAR-10 or CIFAR-100, as for the search
    #[arg(long)]
    download: bool,

    /// Most training images, a balanced part; 0 for all [default: as in the run]
    #[arg(long, value_name = "N")]
    train_limit: Option<usize>,

    /// Images held out of the training set, by which blocks are ranked [default: as in the run]
    #[arg(long, value_name = "N")]
    validation: Option<usize>,

    /// Also measure the trained networks on the test images, which chose nothing
    #[arg(long)]
    test: bool,

    /// Replace any setting: --set search.network.width=32 --set recipe.schedule=cosine --set recipe.label_smoothing=0.1
    /// (recipe options that are off: augmentation.cutout, warm_up_epochs, label_smoothing, weight_averaging)
    #[arg(long = "set", value_name = "PATH=VALUE")]
    settings: Vec<String>,

    /// JSON file with settings
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Devices to train on, as for the search [default: flex]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    device: Vec<String>,

    /// Trainings at a time; each takes the memory of one
    #[arg(long, value_name = "N", default_value_t = NonZeroUsize::MIN, value_parser = crate::arguments::at_least_one)]
    workers: NonZeroUsize,

    /// Epochs from one checkpoint of a training to the next; one is written on Ctrl-C and SIGTERM as well
    #[arg(long, value_name = "N", default_value_t = 10)]
    checkpoint_every: u32,

    /// Folder of the verification [default: DIR/verification]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum RecipeName {
    Cifar,
    Imagenet,
    EarlyStop,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode, Box<dyn Error>> {
    let history: RunHistory<BlockSpace> = RunFolder::read(&arguments.run)?;
    if let Some(damage) = &history.damage {
        eprintln!("warning: {damage}; verifying what comes before");
    }
    if history.records.iter().all(|record| record.evaluation.accuracy().is_none()) {
        return Err(format!("there is nothing to verify: no block of {} was measured", arguments.run.display()).into());
    }
    let experiment = arguments.experiment(&history)?;
    experiment.validate()?;
    let verification: Verification = Verification::new(&history.records, arguments.top.get());
    let devices = super::devices(&arguments.device)?;
    super::download::refuse_unread(experiment.data.dataset, arguments.data.as_deref())?;
    // Another data set is not where the run had its images, and a download has a place of its own.
    let data = if arguments.dataset.is_none() && !arguments.download {
        super::download::remembered(&arguments.run, arguments.data.as_deref())
    } else {
        arguments.data.clone()
    };
    let data = super::download::folder(experiment.data.dataset, data.as_deref(), arguments.download)?;
    let left_out = &mut |error: &DataError| eprintln!("left out: {}", super::output::without_advice(error));
    let (training, validation) = experiment.data.load_telling(data.as_deref(), left_out)?;
    let experiment = experiment.for_data(training.shape(), training.classes().len());

    let folder = arguments.out.clone().unwrap_or_else(|| arguments.run.join("verification"));
    let resumed = folder.join("search.json").exists();
    let run_folder = if resumed { RunFolder::resume(&folder)? } else { RunFolder::create(&folder)? };
    let run_folder = run_folder.with_details(&experiment.details())?;
    let networks = folder.join("networks");
    let mut workers = Vec::new();
    for number in 0..arguments.workers.get().max(devices.len()) {
        let (name, device) = &devices[number % devices.len()];
        let (network, recipe) = (experiment.search.network.clone(), experiment.recipe.clone());
        let environment = if number < devices.len() {
            TrainingEnvironment::with_parts(&training, &validation, network, recipe, device)?
                .with_networks_kept(&networks, arguments.checkpoint_every)
        } else {
            let (_, first): &(String, TrainingEnvironment) = &workers[number % devices.len()];
            first.clone()
        };
        workers.push((format!("{number} on {name}"), environment));
    }
    let blocks = verification.candidates().len();
    eprintln!(
        "{blocks} blocks of {}, {} epochs each on {} images of {}; validation on {}; {} {}",
        arguments.run.display(),
        experiment.recipe.epochs,
        training.len(),
        experiment.data.dataset.name(),
        validation.len(),
        if resumed { "going on in" } else { "results in" },
        folder.display(),
    );
    let config = verification.config(experiment.search.seed, experiment.search.network.clone());
    let agent = verification.agent(&experiment.space)?;
    let search = Search::with_evaluator(experiment.space.clone(), agent, ThreadEvaluator::with_names(workers)?, config)
        .with_reward(blockqnn::reward::RedefinedReward::accuracy(blockqnn::reward::Credit::Terminal))
        .with_run_folder(run_folder)
        .with_observer(Display::new(training.len()))
        .with_cancellation(super::stop_on_ctrl_c("what is trained is on disk, the same command goes on")?);
    let report = search.run()?;
    let found = verification.report(&report);
    if report.stop == StopReason::Cancelled {
        eprintln!("stopped: {} of {blocks} blocks are done; the same command goes on", found.rows.len());
        return Ok(ExitCode::from(130));
    }
    for record in &report.records {
        // What is finished is in the journal, and no longer needs its checkpoint.
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
    Ok(ExitCode::SUCCESS)
}

impl Arguments {
    /// The run's settings with the full recipe, then the flags, then each --set on top.
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
        // The trials of the search say nothing here; named, they stay.
        overrides.set("search.trials", experiment.search.trials);
        if let Some(dataset) = &self.dataset {
            overrides.set("data.dataset", dataset.as_str());
        }
        match self.train_limit {
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

fn write_csv(path: &Path, contents: impl Fn(&mut dyn Write) -> std::io::Result<()>) -> Result<(), Box<dyn Error>> {
    let write = || -> std::io::Result<()> {
        let mut out = BufWriter::new(File::create(path)?);
        contents(&mut out)?;
        out.flush()
    };
    write().map_err(|error| format!("cannot write {}: {error}", path.display()).into())
}

/// Prints the blocks by converged accuracy, and how far the search's order agrees.
fn print(found: &VerificationReport, test: Option<&[Option<f64>]>) {
    let percent = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2} %"));
    let test_title = if test.is_some() { "      test" } else { "" };
    println!("rank  converged{test_title}  early stop  early rank   reward  parameters  block");
    for (position, row) in found.rows.iter().enumerate() {
        let test = test.map(|test| format!("  {:>8}", percent(test[position]))).unwrap_or_default();
        println!(
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
            Some(found) => println!(
                "{name} and converged accuracy: Kendall's tau {:.3}, Spearman's rho {:.3}",
                found.kendall, found.spearman
            ),
            None => println!(
                "{name} and converged accuracy: no order to compare: on one side all are equal, or there are fewer than two"
            ),
        }
    }
}

/// How often a training tells of itself.
const EVERY: Duration = Duration::from_secs(10);

/// Tells how far each training is, its speed, and the time left.
struct Display {
    images: usize,
    trainings: HashMap<u64, Training>,
}

/// A training as this process sees it.
struct Training {
    began: Instant,
    told: Instant,
    /// Epochs that were done when this process first heard of it.
    first: f64,
}

impl Display {
    fn new(images: usize) -> Self {
        Self { images, trainings: HashMap::new() }
    }
}

impl Observer<BlockSpace> for Display {
    fn on_restored(&mut self, record: &RecordOf<BlockSpace>) -> Result<(), BoxError> {
        eprintln!("block {} was done before", record.id + 1);
        Ok(())
    }

    fn on_proposed(&mut self, trial: &Trial, block: &BlockCode) -> Result<(), BoxError> {
        eprintln!("block {}: {block}", trial.id + 1);
        Ok(())
    }

    fn on_progress(&mut self, trial: u64, progress: &Progress) {
        let done = f64::from(progress.epoch) + progress.fraction;
        let now = Instant::now();
        let training = self.trainings.entry(trial).or_insert(Training { began: now, told: now, first: done });
        let seconds = now.duration_since(training.began).as_secs_f64();
        if now.duration_since(training.told) < EVERY || done <= training.first {
            return;
        }
        training.told = now;
        let epochs_a_second = (done - training.first) / seconds;
        let left = Duration::from_secs_f64((f64::from(progress.epochs) - done).max(0.0) / epochs_a_second);
        eprintln!(
            "block {}: epoch {}/{}, {:.0} images/s, {} left",
            trial + 1,
            progress.epoch + 1,
            progress.epochs,
            epochs_a_second * self.images as f64,
            indicatif::HumanDuration(left),
        );
    }

    fn on_fault(&mut self, trial: u64, attempt: u32, message: &str) {
        eprintln!("block {}: attempt {attempt} failed: {message}", trial + 1);
    }

    fn on_finished(&mut self, record: &RecordOf<BlockSpace>) -> Result<(), BoxError> {
        match record.evaluation.metrics() {
            Some(metrics) => {
                eprintln!("block {}: {:.2} % in {:.0} s", record.id + 1, metrics.accuracy, metrics.seconds);
            }
            None => eprintln!("block {}: not measured", record.id + 1),
        }
        Ok(())
    }
}
