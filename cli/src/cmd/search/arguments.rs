//! The command line.

use blockqnn::agent::Searcher;
use blockqnn::data::cifar::Missing;
use blockqnn::data::{BrokenImages, Pictures};
use blockqnn::experiment::{Dataset, Experiment, Overrides, Preset};
use blockqnn::network::Precision;
use blockqnn::search::RunFolder;
use clap::ValueEnum;
use std::error::Error;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

/// What `--help` ends with.
const EXAMPLES: &str = "\
Examples:
  blockqnn search --seed 1 --agent best
  blockqnn search --dataset cifar100 --data DIR --train-limit 2000 --out my-run
  blockqnn search --out my-run --resume
  blockqnn search --preset paper --dry-run";

/// Search convolutional blocks with Q-learning (BlockQNN) on real images.
///
/// Blocks are sampled layer by layer; each is trained for a few epochs in a small network, and the agent learns from
/// its validation accuracy. The best blocks are printed at the end, one per line. Without options the search runs for a
/// few minutes on two CPU cores, on images that are part of the program.
#[derive(Debug, clap::Args)]
#[expect(clippy::doc_markdown, reason = "these comments are the text of --help")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Settings to start from: quick (minutes on two CPU cores), paper (BlockQNN's search: 11,392 blocks, days on
    /// GPUs), short (half as many minibatches as paper), metaqnn (as paper, but with the learner of its predecessor
    /// MetaQNN: plain accuracy as the reward, only at the last layer, and Q-values that start at 50)
    #[arg(long, default_value = "quick", value_name = "NAME", conflicts_with = "resume")]
    pub(crate) preset: Preset,

    /// Images to train on; embedded ones need no files [default: embedded for quick, otherwise cifar100]
    #[arg(long, value_enum)]
    dataset: Option<DatasetName>,

    /// Folder with the official binary files of CIFAR-10 or CIFAR-100 (cifar-100-binary or its parent); for --dataset
    /// folder, a folder with one subfolder of pictures per class, or one whose train/ is such a folder.
    /// --resume and verify use the same folder again
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,

    /// Download CIFAR-10 or CIFAR-100 from its official address if it is not there yet: into --data DIR, or into the
    /// user's cache folder (requires the feature download)
    #[arg(long)]
    pub(crate) download: bool,

    /// Width and height in pixels that the photographs of --dataset folder are scaled and cropped to [default: 32]
    #[arg(long, value_name = "PIXELS")]
    size: Option<u32>,

    /// What to do with photographs that cannot be decoded: refuse (stop and name the first one) or skip (list them and
    /// train without them) [default: refuse]
    #[arg(long, value_name = "CHOICE", value_parser = ["refuse", "skip"])]
    broken_images: Option<String>,

    /// Maximum number of training images, equally many of each class; validation images are not counted [default: 1000
    /// for quick, otherwise all]
    #[arg(long, value_name = "N")]
    train_limit: Option<usize>,

    /// Images held out of the training set to measure accuracy on [default: a fifth of the images, at most 5000, for
    /// --dataset folder; 400 for quick, otherwise 5000]
    #[arg(long, value_name = "N")]
    validation: Option<usize>,

    /// Device to train on: flex (CPU); when built with the feature of the same name also ndarray (CPU, slow), cuda or
    /// cuda:N (GPU number N), and wgpu. Workers are distributed over several devices, such as cuda:0,cuda:1 [default:
    /// the first of flex, ndarray, cuda and wgpu that is built in]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) device: Vec<String>,

    /// Propose a block as soon as a worker is free and learn from each block when its training ends, instead of in
    /// whole minibatches: keeps workers busy, but runs with several workers are not reproducible
    #[arg(long)]
    rolling: bool,

    /// Simultaneous trainings, each in its own thread; each needs the memory of one training. On the CPU they share the
    /// cores. Without --rolling the result does not depend on it [default: 2 on a CPU with several cores unless
    /// --rolling is given, otherwise 1]
    #[arg(long, value_name = "N", value_parser = crate::args::at_least_one::<NonZeroUsize>)]
    pub(crate) workers: Option<NonZeroUsize>,

    #[command(flatten)]
    pub(crate) processes: crate::args::Processes,

    #[cfg(feature = "nats")]
    #[command(flatten)]
    pub(crate) controller: crate::args::Controller,

    /// Random seed of the search: the same seed and settings give the same blocks [default: 0]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    /// Agent that proposes blocks: paper (the preset's Q-learning agent), best (least squares on features of the
    /// blocks; recommended for up to a few hundred trials), random, evolution (population 10, tournaments of 3),
    /// evolution50 (population 50, tournaments of 25), local (local search: changes one property of a block at a time
    /// while the reward improves), local10 (the same, starting from the best of ten random blocks) [default: paper]
    #[arg(long, value_name = "NAME", value_parser = ["paper", "best", "random", "evolution", "evolution50", "local", "local10"])]
    agent: Option<String>,

    /// Blocks to evaluate [default: the length of the epsilon schedule; --dry-run shows it]
    #[arg(long, value_name = "N")]
    trials: Option<u64>,

    /// Blocks per minibatch, after which the agent learns [default: 8 for quick, otherwise 64]
    #[arg(long, value_name = "N")]
    minibatch: Option<u64>,

    /// Maximum number of layers of a block, including Terminal [default: 6 for quick, otherwise 23]
    #[arg(long, value_name = "N")]
    max_layers: Option<u8>,

    /// Epochs of each training [default: 2 for quick, otherwise 12]
    #[arg(long, value_name = "N")]
    epochs: Option<u32>,

    /// Images per training step [default: 32 for quick, otherwise 256]
    #[arg(long, value_name = "N")]
    batch_size: Option<usize>,

    /// Filters of each convolution in the first stage; doubled in each further stage [default: 8 for quick, otherwise
    /// 32]
    #[arg(long, value_name = "N")]
    width: Option<usize>,

    /// Blocks per stage, the paper's N [default: 1 for quick, otherwise 4]
    #[arg(long, value_name = "N")]
    repeats: Option<usize>,

    /// Number type of the computation: f32, or bf16 (mixed precision: weights, normalisation and loss stay f32)
    /// [default: f32]
    #[arg(long, value_name = "TYPE")]
    precision: Option<Precision>,

    /// JSON file with settings that override the preset's, in the format that --dry-run prints; options override the
    /// file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Override any setting, for example --set agent.learning_rate=0.1 --set reward.mu=0 (repeatable; --dry-run prints
    /// all settings)
    #[arg(long = "set", value_name = "PATH=VALUE")]
    settings: Vec<String>,

    /// Print the resolved configuration and its cost, without training anything
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// New folder for the run, or with --resume the folder of the run to continue [default:
    /// blockqnn-runs/DATASET-PRESET-seedN, with a number appended if it exists]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,

    /// Continue the run in --out DIR with the settings it was started with, whether it was stopped, killed or has
    /// finished (then with more --trials). Only --device, --workers, --processes and --top have to be given again
    #[arg(long, requires = "out")]
    pub(crate) resume: bool,

    /// Blocks in the table that is printed at the end
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) top: usize,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum DatasetName {
    Embedded,
    Cifar10,
    Cifar100,
    Folder,
}

impl Arguments {
    /// The folder of the images: `--data`, or the one that the resumed run used. A download chooses its own folder.
    pub(crate) fn data_folder(&self) -> Option<PathBuf> {
        match &self.out {
            Some(run) if self.resume && !self.download => crate::images::remembered(run, self.data.as_deref()),
            _ => self.data.clone(),
        }
    }

    /// Where the settings come from that others are put on.
    pub(crate) fn origin(&self) -> String {
        match &self.out {
            Some(run) if self.resume => format!("The run in {}", run.display()),
            _ => format!("Preset {}", self.preset),
        }
    }

    /// The settings of the file, then the options, then each --set.
    fn given(&self) -> Result<Overrides, Box<dyn Error>> {
        let mut overrides = Overrides::new();
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
            // A configuration file may name another agent.
            Some("paper") => overrides.set("searcher", serde_json::Value::Null),
            Some(name) => overrides.set("searcher", serde_json::to_value(Searcher::named(name)?)?),
        }
        for setting in &self.settings {
            overrides.set_text(setting)?;
        }
        Ok(overrides)
    }

    /// The preset or the resumed run, overridden by what is given. The classes of an image folder are counted in `data`.
    pub(crate) fn experiment(&self, data: Option<&Path>) -> Result<Experiment, Box<dyn Error>> {
        let (mut overrides, given) = (Overrides::new(), self.given()?);
        if let (true, Some(path)) = (self.resume, &self.out) {
            overrides.set_run(&RunFolder::resume(path)?.settings()?)?;
        }
        overrides.append(given.clone());
        let mut experiment = overrides.apply(self.preset)?;
        if experiment.data.dataset == Dataset::Folder {
            let folder = experiment.data.open_folder(data)?;
            if let [class] = folder.classes() {
                let folder = folder.path().display();
                return Err(format!(
                    "{folder} has only one class folder, {class}: a classifier needs at least two classes, so add another \
                     folder, or give the folder that holds the class folders"
                )
                .into());
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
            refuse_other_classes(&given, &experiment, folder.classes().len())?;
            experiment = overrides.apply(self.preset)?;
        } else if let Some((_, classes)) = experiment.data.dataset.shape() {
            refuse_other_classes(&given, &experiment, classes)?;
        }
        crate::images::refuse_unread(experiment.data.dataset, data)?;
        self.refuse_unused(&given, &experiment)?;
        Ok(experiment)
    }

    /// Refuses settings that would not be used: whoever gives one wants it to count.
    fn refuse_unused(&self, given: &Overrides, experiment: &Experiment) -> Result<(), String> {
        let data = &experiment.data;
        let image = data.dataset.shape().map_or_else(
            || data.size.and_then(|size| usize::try_from(size).ok()).map(|size| (3, size, size)),
            |(image, _)| Some((image.channels, image.height, image.width)),
        );
        let set = experiment.search.network.image;
        if given.contains("search.network.image")
            && image.is_some_and(|image| image != (set.channels, set.height, set.width))
        {
            return Err(format!(
                "search.network.image is {set}, but the network takes the images of the data set {} as they are: omit the \
                 setting (--size scales the images of a folder)",
                data.dataset.name()
            ));
        }
        let name = data.dataset.name();
        if given.contains("data.broken_images")
            && data.broken_images != BrokenImages::Refuse
            && data.dataset != Dataset::Folder
        {
            return Err(format!(
                "data.broken_images (--broken-images) is only for --dataset folder, but the data set is {name}: omit it"
            ));
        }
        if given.contains("data.missing_files")
            && data.missing_files != Missing::Refuse
            && data.dataset != Dataset::Cifar10
        {
            return Err(format!(
                "data.missing_files is only for --dataset cifar10, but the data set is {name}: omit it"
            ));
        }
        // A whole configuration has a section `agent` beside a searcher; a single setting is meant to change something.
        let of_agent = |setting: &&String| {
            setting.starts_with("agent.") && (!setting.starts_with("agent.epsilon") || given.contains("search.trials"))
        };
        match (&experiment.searcher, self.settings.iter().find(of_agent)) {
            (Some(_), Some(setting)) => Err(format!(
                "--set {setting} would not be used, because another agent proposes the blocks (--agent, or the setting searcher): \
                 its settings are under searcher, and the section agent is the preset's Q-learning agent"
            )),
            _ => Ok(()),
        }
    }
}

/// Refuses a number of classes that is not that of the images: it would be replaced.
fn refuse_other_classes(given: &Overrides, experiment: &Experiment, classes: usize) -> Result<(), String> {
    let set = experiment.search.network.classes;
    if given.contains("search.network.classes") && set != classes {
        return Err(format!(
            "search.network.classes is {set}, but the images have {classes} classes, and the network has one output for each: omit \
             the setting"
        ));
    }
    Ok(())
}
