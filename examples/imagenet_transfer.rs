//! The transfer of a block to larger images: one long training instead of many short ones; top-1 and top-5 accuracy.
//!
//! Without arguments it trains on the images that come with the crate, enlarged, for a few minutes on two CPU cores.
//! With a folder it trains on the photographs in `DATA/train/CLASS/` and measures on those in `DATA/val/CLASS/`:
//!
//! ```text
//! cargo run --release --example imagenet_transfer [DATA]
//! ```
//!
//! The program `blockqnn transfer` does the same with all settings, and resumes a training that was stopped.

use blockqnn::data::{
    BatchSource, Cropping, FolderParts, ImageFolder, PictureStream, Pictures, Preprocessing, embedded,
};
use blockqnn::environment::Progress;
use blockqnn::export::Blueprint;
use blockqnn::files::new_folder;
use blockqnn::graph::{NetworkConfig, StemConfig, ToGraph};
use blockqnn::network::Network;
use blockqnn::network::device::default_device;
use blockqnn::space::block::BlockCode;
use blockqnn::train::{ImageClassifier, OptimizerConfig, Recipe, Schedule, Training, Watch, top_k_accuracies};
use std::cell::Cell;
use std::error::Error;
use std::io::{Write, stderr, stdout};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

/// Two convolutions and a shortcut. Put the best block of your search here.
const BLOCK: &str = "conv3(0) conv3(1) add(0,2) terminal(3)";
/// Width and height of the images in pixels; the paper has 224.
const SIZE: u32 = 56;
const SEED: u64 = 1;

fn main() -> ExitCode {
    let Err(error) = transfer(std::env::args_os().nth(1).map(PathBuf::from)) else { return ExitCode::SUCCESS };
    let _ = writeln!(stderr(), "error: {error}");
    ExitCode::FAILURE
}

fn transfer(folder: Option<PathBuf>) -> Result<(), Box<dyn Error>> {
    let (training, validation) = pictures(folder)?;
    let classes = training.classes().to_vec();
    let cores = std::thread::available_parallelism()?;

    // Pictures are decoded and cropped in threads while the device works, so they need not fit into memory. Training
    // takes random crops of them (the paper's augmentation), a measurement the middle of each.
    let (device, cropping) = (default_device()?, Cropping::imagenet(SIZE));
    let statistics = PictureStream::statistics(training.clone(), cropping, 2_000, cores)?;
    let training = PictureStream::new(training, cropping, &statistics, &device)?;
    let validation = PictureStream::new(validation, cropping, &statistics, &device)?;

    // A narrow network, for small images. NetworkConfig::imagenet() and Recipe::imagenet() are the paper's.
    let stem = StemConfig { stride: 2, ..StemConfig::default() };
    let network = NetworkConfig { stem, stages: 3, repeats: 1, width: 8, ..NetworkConfig::imagenet() };
    let network = network.with_data(cropping.shape(), classes.len());
    let block: BlockCode = BLOCK.parse()?;
    let blueprint = Blueprint::new(BLOCK, block.to_graph(), network)?;
    let recipe = Recipe {
        epochs: 3,
        batch_size: 32,
        optimizer: OptimizerConfig::adam(),
        learning_rate: 0.002,
        schedule: Schedule::Cosine,
        ..Recipe::imagenet()
    };

    let out = new_folder("blockqnn-runs", "imagenet_transfer")?;
    let outcome = Training::new(&recipe, &training, &validation, SEED)
        .with_watch(&Epochs::default())
        .fit(|rng, device| Ok(Network::new(blueprint.block(), blueprint.network(), rng, device)?))?;
    let trained = outcome.trained().ok_or("the training diverged: lower the learning rate")?;
    let batch = NonZeroUsize::new(recipe.batch_size).unwrap_or(NonZeroUsize::MIN);
    let accuracies = top_k_accuracies(&trained.network, &validation, batch, &[1, 5])?;

    // One file with the weights, the names of the classes and how pictures become images: see `ImageClassifier::load`.
    let (pixels, images) = (Preprocessing::from(cropping), validation.len());
    let classifier =
        ImageClassifier::new(blueprint, trained.network, classes, statistics)?.with_preprocessing(pixels)?;
    classifier.save(out.join("network.safetensors"))?;
    writeln!(stdout(), "top-1 {:.2} %, top-5 {:.2} % of {images} images", accuracies[0], accuracies[1])?;
    writeln!(stdout(), "wrote the network to {}", out.display())?;
    Ok(())
}

type Parts = (Arc<dyn Pictures>, Arc<dyn Pictures>);

/// Training and validation pictures of the folder, or of those that come with the crate.
fn pictures(folder: Option<PathBuf>) -> Result<Parts, Box<dyn Error>> {
    let Some(folder) = folder else {
        return Ok((Arc::new(embedded::train()), Arc::new(embedded::test().images().clone())));
    };
    let parts = FolderParts::find(folder)?;
    let training = ImageFolder::open(parts.training())?;
    let validation = parts.validation().or(parts.test()).ok_or("the folder needs the parts `train` and `val`")?;
    // The classes of a part are checked against those of the training images.
    let validation = training.open_part(validation)?;
    Ok((Arc::new(training), Arc::new(validation)))
}

/// Says which epoch begins.
#[derive(Default)]
struct Epochs(Cell<u32>);

impl Watch for Epochs {
    fn report(&self, progress: Progress) {
        let begins = self.0.replace(progress.epoch + 1) <= progress.epoch;
        if begins && progress.epoch < progress.epochs {
            // If nobody reads it, the training continues.
            let _ = writeln!(stderr(), "epoch {} of {}", progress.epoch + 1, progress.epochs);
        }
    }
}
