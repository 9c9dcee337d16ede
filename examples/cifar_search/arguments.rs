//! The command line.

use blockqnn::agent::Searcher;
use blockqnn::data::Pictures;
use blockqnn::experiment::{Dataset, Experiment, Overrides, Preset};
use blockqnn::network::Precision;
use blockqnn::search::RunFolder;
use clap::{Parser, Subcommand, ValueEnum};
use std::error::Error;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

/// Search convolutional blocks with Q-learning (BlockQNN) on real images.
///
/// Blocks are sampled layer by layer, each is trained for a few epochs in a small network, and its validation accuracy
/// is what the agent learns from. The best blocks are printed at the end, one a line.
#[derive(Debug, Parser)]
#[expect(clippy::doc_markdown, reason = "these comments are the text of --help")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
#[command(version, max_term_width = 110, args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    /// Settings to start from: quick (minutes on two CPU cores), paper, short (half as many minibatches as
    /// paper), metaqnn (the paper's search as its predecessor MetaQNN does it: the reward at the last layer alone)
    #[arg(long, default_value = "quick", value_name = "NAME")]
    pub(crate) preset: Preset,

    /// Images to train on [default: the preset's: embedded for quick, else cifar100]
    #[arg(long, value_enum)]
    dataset: Option<DatasetName>,

    /// Folder with the official binary files of CIFAR-10 or CIFAR-100 (cifar-100-binary or what holds it); for --dataset
    /// folder, one folder a class with JPEG or PNG files, or a folder whose train/ is such. A run remembers it
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,

    /// Fetch CIFAR-10 or CIFAR-100 from its official address, once: into the user's cache folder, or into --data DIR
    /// (needs the feature download)
    #[arg(long)]
    pub(crate) download: bool,

    /// Pixels of a side that the photographs of --dataset folder are scaled and cropped to [default: 32]
    #[arg(long, value_name = "PIXELS")]
    size: Option<u32>,

    /// What to do with photographs that cannot be decoded: refuse (stop and name the first) or skip (name and leave out)
    #[arg(long, value_name = "CHOICE", value_parser = ["refuse", "skip"])]
    broken_images: Option<String>,

    /// Most training images, a balanced part; validation images come on top [default: 1000 for quick, else all]
    #[arg(long, value_name = "N")]
    train_limit: Option<usize>,

    /// Images held out of the training set to measure accuracy on [default: a fifth of a folder, 400 for quick, else 5000]
    #[arg(long, value_name = "N")]
    validation: Option<usize>,

    /// Device to train on: flex (CPU); with the feature of their name also ndarray (CPU, slow), cuda or cuda:N, and wgpu.
    /// Several, as in cuda:0,cuda:1, share the workers out among them [default: flex]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) device: Vec<String>,

    /// Propose a block as soon as a worker is free and learn each as it ends, in place of whole minibatches: keeps
    /// workers busy, but no two runs with several workers are equal
    #[arg(long)]
    rolling: bool,

    /// Trainings at a time, each in a thread of its own; without --rolling the result is the same for any number. On
    /// the CPU the cores are shared out among them [default: 2 on the CPU, unless it has one core or with --rolling, else
    /// 1]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(crate) workers: Option<NonZeroUsize>,

    #[command(flatten)]
    pub(crate) processes: crate::processes::Processes,

    #[cfg(feature = "nats")]
    #[command(flatten)]
    pub(crate) controller: crate::worker::Controller,

    /// Seed of the search [default: 0]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    /// Who proposes blocks: paper (the preset's Q-learner), best (least squares on features of the blocks, for up to some
    /// hundred trials), random, evolution (of 10, the best of 3 breeds), evolution50 (of 50, the best of 25), local (changes one
    /// thing of a block at a time, while it gets better), local10 (the same from the best of ten blocks) [default: paper]
    #[arg(long, value_name = "NAME", value_parser = ["paper", "best", "random", "evolution", "evolution50", "local", "local10"])]
    agent: Option<String>,

    /// Blocks to evaluate [default: as long as the epsilon schedule lasts]
    #[arg(long, value_name = "N")]
    trials: Option<u64>,

    /// Blocks in a minibatch [default: 8 for quick, else 64]
    #[arg(long, value_name = "N")]
    minibatch: Option<u64>,

    /// Most layers of a block, Terminal included [default: 6 for quick, else 23]
    #[arg(long, value_name = "N")]
    max_layers: Option<u8>,

    /// Epochs of each training [default: 2 for quick, else 12]
    #[arg(long, value_name = "N")]
    epochs: Option<u32>,

    /// Images in a training step [default: 32 for quick, else 256]
    #[arg(long, value_name = "N")]
    batch_size: Option<usize>,

    /// Filters of the convolutions in the first stage [default: 8 for quick, else 32]
    #[arg(long, value_name = "N")]
    width: Option<usize>,

    /// Blocks in a stage, N of the paper [default: 1 for quick, else 4]
    #[arg(long, value_name = "N")]
    repeats: Option<usize>,

    /// Number type that networks compute in: f32, or bf16 (mixed: weights, normalisation and loss stay f32) [default: f32]
    #[arg(long, value_name = "TYPE")]
    precision: Option<Precision>,

    /// JSON file with settings that replace the preset's, in the form that --dry-run prints
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Replace any setting: --set agent.learning_rate=0.1 --set reward.mu=0 (repeatable; --dry-run prints all)
    #[arg(long = "set", value_name = "PATH=VALUE")]
    settings: Vec<String>,

    /// Print the whole resolved configuration and what it costs, and train nothing
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// New folder for the run, or with --resume that of the run to go on with [default: blockqnn-runs/DATASET-PRESET-seedN, numbered if taken]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,

    /// Go on with the run in --out DIR, stopped, killed or finished, with the settings it was started with (a finished
    /// one with more --trials); only --device, --workers and --top are to be given again
    #[arg(long, requires = "out")]
    pub(crate) resume: bool,

    /// Blocks in the table at the end
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) top: usize,
}

/// What there is besides the search.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Export(crate::export::Arguments),
    Measure(crate::measure::Arguments),
    Report(crate::report::Arguments),
    Verify(crate::verify::Arguments),
    #[cfg(feature = "nats")]
    Worker(crate::worker::Arguments),
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum DatasetName {
    Embedded,
    Cifar10,
    Cifar100,
    Folder,
}

/// Reads a number that may not be 0.
pub(crate) fn at_least_one(text: &str) -> Result<NonZeroUsize, String> {
    text.parse().map_err(|_| "it must be a whole number from 1".to_owned())
}

impl Arguments {
    /// The folder of the images: `--data`, or where the run to resume had them. A download has a place of its own.
    pub(crate) fn data_folder(&self) -> Option<PathBuf> {
        match &self.out {
            Some(run) if self.resume && !self.download => crate::download::remembered(run, self.data.as_deref()),
            _ => self.data.clone(),
        }
    }

    /// The preset, or the run to resume, with the file's settings, then the flags, then each --set on top. The classes of an
    /// image folder are counted in `data`.
    pub(crate) fn experiment(&self, data: Option<&Path>) -> Result<Experiment, Box<dyn Error>> {
        let mut overrides = Overrides::new();
        if let (true, Some(path)) = (self.resume, &self.out) {
            overrides.set_run(&RunFolder::resume(path)?.settings()?)?;
        }
        if let Some(path) = &self.config {
            overrides.set_file(path)?;
        }
        let dataset = self.dataset.map(|dataset| match dataset {
            DatasetName::Embedded => "embedded",
            DatasetName::Cifar10 => "cifar10",
            DatasetName::Cifar100 => "cifar100",
            DatasetName::Folder => "folder",
        });
        if let Some(dataset) = dataset {
            overrides.set("data.dataset", dataset);
        }
        let numbers = [
            ("data.size", self.size.map(u64::from)),
            ("data.train_limit", self.train_limit.map(|number| number as u64)),
            ("data.validation", self.validation.map(|number| number as u64)),
            ("search.seed", self.seed),
            ("search.trials", self.trials),
            ("search.minibatch", self.minibatch),
            ("space.max_layers", self.max_layers.map(u64::from)),
            ("recipe.epochs", self.epochs.map(u64::from)),
            ("recipe.batch_size", self.batch_size.map(|number| number as u64)),
            ("search.network.width", self.width.map(|number| number as u64)),
            ("search.network.repeats", self.repeats.map(|number| number as u64)),
        ];
        for (path, number) in numbers {
            if let Some(number) = number {
                overrides.set(path, number);
            }
        }
        if let Some(broken) = &self.broken_images {
            overrides.set("data.broken_images", broken.as_str());
        }
        if let Some(precision) = self.precision {
            overrides.set("recipe.precision", precision.name());
        }
        if self.rolling {
            overrides.set("search.scheduling", "rolling");
        }
        match self.agent.as_deref() {
            None => {}
            // A configuration may have another.
            Some("paper") => overrides.set("searcher", serde_json::Value::Null),
            Some(name) => overrides.set("searcher", serde_json::to_value(Searcher::named(name)?)?),
        }
        for setting in &self.settings {
            overrides.set_text(setting)?;
        }
        let mut experiment = overrides.apply(self.preset)?;
        if experiment.data.dataset == Dataset::Folder {
            let folder = experiment.data.open_folder(data)?;
            if let [class] = folder.classes() {
                let folder = folder.path().display();
                return Err(format!("{folder} has one class folder, {class}: a classifier needs at least two").into());
            }
            if experiment.data.size.is_none() {
                overrides.set("data.size", 32);
            }
            if !overrides.contains("data.validation") {
                overrides.set("data.validation", (folder.len() / 5).clamp(1, 5_000));
            }
            if !overrides.contains("search.network.classes") {
                overrides.set("search.network.classes", folder.classes().len());
            }
            experiment = overrides.apply(self.preset)?;
        }
        crate::download::refuse_unread(experiment.data.dataset, data)?;
        Ok(experiment)
    }
}
