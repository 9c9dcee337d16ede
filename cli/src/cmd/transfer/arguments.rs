//! The command line.

use blockqnn::data::BrokenImages;
use blockqnn::graph::{ImageShape, NetworkConfig, StemConfig};
use blockqnn::network::Precision;
use blockqnn::train::{OptimizerConfig, Recipe, Schedule};
use clap::ValueEnum;
use std::num::NonZeroUsize;
use std::path::PathBuf;

/// Train a block on larger images than it was found on, and measure top-1 and top-5 accuracy.
///
/// Training images are scaled to a shorter side of 256 to 480 pixels, cropped to a random square of 224 pixels, and
/// half of them are mirrored; for validation the shorter side is 256 and the crop is central. With another --size all
/// of these are scaled in proportion. Images are read ahead by threads and need not fit into memory.
///
/// With fewer than six classes top-5 is 100 %. Among equal outputs the first class counts.
#[derive(Debug, clap::Args)]
#[expect(clippy::doc_markdown, reason = "these comments are the text of --help")]
#[command(
    after_help = "Example, with the best block of a search:\n  blockqnn transfer --block RUN --data DIR --size 64 --out large"
)]
pub(crate) struct Arguments {
    /// Settings to start from
    #[arg(long, value_enum, default_value_t = Preset::Quick, conflicts_with = "resume")]
    preset: Preset,

    /// Block to train: the folder of a search (its best block is used), a file with a block (text, JSON, or the
    /// output of `blockqnn export --to json`), or the block itself as text, such as 'conv3(0) terminal(1)'
    /// [default: conv3(0) conv3(1) add(0,2) terminal(3)]
    #[arg(long, value_name = "PATH|TEXT", conflicts_with = "resume")]
    pub(crate) block: Option<String>,

    /// Folder with train/ and val/ (or training/ and test/, and so on), each with one subfolder of pictures per class
    /// [default: the images that are part of the program, enlarged]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,

    /// Width and height in pixels of the network's input images [default: 224 for imagenet, 64 with --data, otherwise
    /// 56]
    #[arg(long, value_name = "PIXELS", conflicts_with = "resume", value_parser = clap::value_parser!(u32).range(8..=1024))]
    size: Option<u32>,

    /// Training epochs; the milestones of the learning rate are scaled in proportion [default: 90 for imagenet, 10 with
    /// --data, otherwise 2]
    #[arg(long, value_name = "N", conflicts_with = "resume")]
    epochs: Option<u32>,

    /// Images per training step [default: 256 for imagenet, otherwise 32]
    #[arg(long, value_name = "N", conflicts_with = "resume")]
    batch_size: Option<usize>,

    /// Learning rate of the first epoch [default: 0.1 for imagenet (SGD), otherwise 0.002 (Adam)]
    #[arg(long, value_name = "RATE", conflicts_with = "resume", allow_negative_numbers = true)]
    learning_rate: Option<f64>,

    /// Number type of the computation: f32, or bf16 (mixed precision: weights, normalisation and loss stay f32)
    #[arg(long, value_name = "TYPE", default_value_t = Precision::F32, conflicts_with = "resume")]
    precision: Precision,

    /// Filters of each convolution in the first stage; doubled in each further stage [default: 64 for imagenet,
    /// otherwise 16]
    #[arg(long, value_name = "N", conflicts_with = "resume")]
    width: Option<usize>,

    /// Blocks per stage, the paper's N [default: 3 for imagenet, otherwise 1]
    #[arg(long, value_name = "N", conflicts_with = "resume")]
    repeats: Option<usize>,

    /// Random seed of the weights, the order of images, crops and flips
    #[arg(long, value_name = "N", default_value_t = 0, conflicts_with = "resume")]
    pub(crate) seed: u64,

    /// Device to train on: flex (CPU); when built with the feature of the same name also ndarray (CPU, slow), cuda or
    /// cuda:N (GPU number N), and wgpu. Several devices, such as cuda:0,cuda:1, share each training batch
    /// (experimental) [default: the first of flex, ndarray, cuda and wgpu that is built in]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) device: Vec<String>,

    /// Threads that read, decode and crop images; the result does not depend on it [default: the number of cores]
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<NonZeroUsize>,

    /// What to do with images that cannot be decoded
    #[arg(long, value_enum, default_value_t = Broken::Refuse, requires = "data")]
    broken_images: Broken,

    /// Folder for the network (network.safetensors), its log (epochs.csv), its accuracies (result.json) and the checkpoint
    /// [default: blockqnn-runs/transfer, with a number appended if it exists]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,

    /// Continue the stopped or killed training in --out DIR with the settings it was started with; only --data,
    /// --device,
    /// --threads and --broken-images have to be given again
    #[arg(long, requires = "out")]
    pub(crate) resume: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Preset {
    /// Minutes on two CPU cores: a narrow network, N = 1, Adam with a cosine schedule
    Quick,
    /// The paper's training on ImageNet: N = 3, 224 pixels, SGD, a tenth of the learning rate after 30 and 60 of 90 epochs
    Imagenet,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Broken {
    /// Stop at the first one when it is reached, and name it
    Refuse,
    /// Check all images before the training (which takes as long as reading them for an epoch), list the broken ones
    /// and train without them
    Skip,
}

impl Arguments {
    pub(crate) fn broken_images(&self) -> BrokenImages {
        match self.broken_images {
            Broken::Refuse => BrokenImages::Refuse,
            Broken::Skip => BrokenImages::Skip,
        }
    }

    pub(crate) fn size(&self) -> u32 {
        let default = match (self.preset, &self.data) {
            (Preset::Imagenet, _) => 224,
            (Preset::Quick, Some(_)) => 64,
            (Preset::Quick, None) => 56,
        };
        self.size.unwrap_or(default)
    }

    /// The training recipe, and the network around the block.
    pub(crate) fn training(&self, classes: usize) -> (Recipe, NetworkConfig) {
        let quick = Recipe {
            epochs: if self.data.is_some() { 10 } else { 2 },
            batch_size: 32,
            optimizer: OptimizerConfig::adam(),
            learning_rate: 0.002,
            schedule: Schedule::Cosine,
            ..Recipe::imagenet()
        };
        let (mut recipe, mut network) = match self.preset {
            Preset::Quick => (quick, NetworkConfig { width: 16, repeats: 1, ..NetworkConfig::imagenet() }),
            Preset::Imagenet => (Recipe::imagenet(), NetworkConfig::imagenet()),
        };
        if let Some(epochs) = self.epochs {
            recipe = recipe.scaled_to(epochs);
            // The accuracy is measured after each epoch, regardless of their number.
            recipe.measure_every = Some(1);
        }
        recipe.batch_size = self.batch_size.unwrap_or(recipe.batch_size);
        recipe.learning_rate = self.learning_rate.unwrap_or(recipe.learning_rate);
        recipe.precision = self.precision;
        network.width = self.width.unwrap_or(network.width);
        network.repeats = self.repeats.unwrap_or(network.repeats);
        // Four halvings before and between the stages of ImageNet's network leave little of small images.
        if self.size() < 128 {
            network.stem = StemConfig { kernel: 3, stride: 2, pools: 0 };
            network.stages = 3;
        }
        let side = usize::try_from(self.size()).unwrap_or(usize::MAX);
        (recipe, network.with_data(ImageShape { channels: 3, height: side, width: side }, classes))
    }

    /// The options that have to be given again to continue the training as it was started, each after a space.
    pub(crate) fn again(&self) -> String {
        let mut options = Vec::new();
        if let Some(data) = &self.data {
            options.push(format!(" --data {}", crate::terminal::quoted(data)));
        }
        if self.broken_images == Broken::Skip {
            options.push(" --broken-images skip".to_owned());
        }
        if !self.device.is_empty() {
            options.push(format!(" --device {}", self.device.join(",")));
        }
        if let Some(threads) = self.threads {
            options.push(format!(" --threads {threads}"));
        }
        options.concat()
    }
}
