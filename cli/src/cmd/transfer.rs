//! `transfer`: a block that was found, trained on larger images than it was found on.

mod folder;
mod recipe;
pub(super) mod settings;

use super::Outcome;
use crate::images::{print_classes, tell_left_out};
use crate::progress::Watched;
use crate::{args, block, terminal};
use blockqnn::data::{
    BrokenImages, Cropping, DataError, FolderParts, ImageFolder, PictureStream, Pictures, Preprocessing, embedded,
    pictures_identity,
};
use blockqnn::export::Blueprint;
use blockqnn::files::OwnedFolder;
use blockqnn::graph::NetworkConfig;
use blockqnn::network::Network;
use blockqnn::train::{
    Checkpoints, ImageClassifier, Outcome as Trial, TrainError, Trained, Training, chance_accuracy, top_k_accuracies,
};
use clap::ValueEnum;
use settings::Settings;
use std::error::Error;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// Two convolutions and a shortcut, written by hand rather than found by a search.
const DEFAULT: &str = "conv3(0) conv3(1) add(0,2) terminal(3)";
/// Training images whose statistics normalise all images.
const STATISTICS_IMAGES: usize = 2_000;
/// An epoch of ImageNet takes hours, so each is worth a checkpoint. One is also written when the training is stopped.
const EPOCHS_PER_CHECKPOINT: u32 = 1;

/// Train a block on larger images than it was found on, and measure top-1 and top-5 accuracy
///
/// Training images are scaled to a shorter side of 256 to 480 pixels, cropped to a random square of 224 pixels, and
/// half of them are mirrored; for validation the shorter side is 256 and the crop is central. With another --size all
/// of these are scaled in proportion. Images are read ahead by threads and need not fit into memory.
///
/// Without options it runs for a few minutes on two CPU cores, on the images that are part of the program. With fewer
/// than six classes top-5 is 100 %. Among equal outputs the first class counts.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Settings to start from
    #[arg(long, value_enum, default_value_t = Preset::Quick)]
    preset: Preset,

    /// Block to train: the folder of a search (its best block is used; RUN#3 is the third best, RUN#median the one in
    /// the middle), a file with a block (text, JSON, or the output of `blockqnn export --to json`), the block itself as
    /// text, such as 'conv3(0) terminal(1)', or a published block to compare with: resnet-basic, resnet-bottleneck,
    /// resnext, inception, dense, mobilenet-v2, nasnet-a, darts-v2 [default: conv3(0) conv3(1) add(0,2) terminal(3)]
    #[arg(long, value_name = "RUN|FILE|TEXT")]
    block: Option<String>,

    /// Folder with train/ and val/ (or training/ and test/, and so on), each with one subfolder of images per class
    /// [default: the images that are part of the program, enlarged]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// Width and height in pixels of the network's input images [default: 224 for imagenet, 64 with --data, otherwise
    /// 56]
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u32).range(8..=1024))]
    size: Option<u32>,

    #[command(flatten)]
    recipe: args::Recipe,

    /// Learning rate of the first epoch [default: 0.1 for imagenet (SGD), otherwise 0.002 (Adam)]
    #[arg(long, value_name = "RATE", allow_negative_numbers = true)]
    learning_rate: Option<f64>,

    #[command(flatten)]
    network: args::Network,

    /// Random seed of the weights, the order of images, crops and flips
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,

    #[command(flatten)]
    device: args::OneDevice,

    /// Threads that read, decode and crop images; the result does not depend on it [default: the number of cores]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,

    /// What to do with images that cannot be decoded: refuse (stop when the first one is reached, and name it) or skip
    /// (check all images before the training, which takes as long as reading them for an epoch, list the broken ones
    /// and train without them)
    #[arg(long, value_name = "CHOICE", default_value_t = BrokenImages::Refuse, requires = "data")]
    broken_images: BrokenImages,

    /// Folder for the network (network.safetensors), its log (epochs.csv), its accuracies (result.json) and the
    /// checkpoint [default: blockqnn-runs/transfer, with a number appended if it exists]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Continue the stopped or killed training in --out DIR with the settings it was started with; only --data,
    /// --device, --threads and --broken-images have to be given again
    #[arg(long, requires = "out", conflicts_with_all = SETTINGS)]
    resume: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Preset {
    /// Minutes on two CPU cores: width 16, N = 1, Adam with a cosine schedule, 2 epochs (10 with --data) in batches of
    /// 32
    Quick,
    /// The paper's training on ImageNet: N = 3, 224 pixels, batches of 256, SGD, a tenth of the learning rate after 30
    /// and 60 epochs; by our reading width 64 and 90 epochs
    Imagenet,
}

/// Options that a training is started with, and keeps.
const SETTINGS: [&str; 10] =
    ["preset", "block", "size", "epochs", "batch_size", "learning_rate", "precision", "width", "repeats", "seed"];

/// What `--help` ends with.
const EXAMPLES: &str = "\
Examples:
  blockqnn transfer --block RUN --data DIR --size 64 --out large
  blockqnn transfer --preset imagenet --block RUN --data DIR --device cuda --out imagenet
  blockqnn transfer --out large --resume --data DIR";

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    // Before anything is touched, so that a training that a batch system starts again stays as it is.
    if let Some(finished) = arguments.resumed().and_then(folder::finished) {
        errln!("{finished}");
        return Ok(ExitCode::SUCCESS);
    }
    let device = arguments.device.open()?;
    let threads = arguments.threads.or(std::thread::available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN);
    let parts = pictures(arguments, threads)?;
    print_classes(&*parts.0, &*parts.1);
    // Held until everything is written.
    let (owner, settings, blueprint) = match arguments.resumed() {
        Some(out) => resume(out, &parts, threads)?,
        None => start(arguments, &parts, threads)?,
    };
    let out = owner.path();
    let stream = |pictures| -> Result<PictureStream, DataError> {
        let stream = PictureStream::new(pictures, settings.cropping, &settings.statistics, &device)?;
        Ok(stream.with_threads(threads))
    };
    let streams = (stream(parts.0)?, stream(parts.1)?);
    print_beginning(&settings, &blueprint, arguments.device.label(), threads, out);
    let resume = arguments.resume_command(out);
    let checkpoints = Checkpoints::new(out).with_every(EPOCHS_PER_CHECKPOINT);
    let Some(trained) = train((&streams.0, &streams.1), &settings, &blueprint, &checkpoints, &resume)? else {
        return Ok(terminal::stopped());
    };
    let batch = NonZeroUsize::new(settings.recipe.batch_size).unwrap_or(NonZeroUsize::MIN);
    let accuracies = top_k_accuracies(&trained.network, &streams.1, batch, &[1, 5])?;
    let (classes, statistics) = (settings.classes.clone(), settings.statistics.clone());
    let classifier = ImageClassifier::new(blueprint, trained.network, classes, statistics)?
        .with_preprocessing(Preprocessing::from(settings.cropping))?;
    classifier
        .save(out.join("network.safetensors"))
        .map_err(Box::<dyn Error>::from)
        .and_then(|()| settings::write_result(out, &accuracies, trained.metrics.seconds))
        .map_err(|error| format!("{error}. The last checkpoint is kept: remove the cause, then {resume}"))?;
    let deleted = checkpoints.delete();
    let count = settings.classes.len();
    let chance = |k: usize| chance_accuracy(count) * k.min(count) as f64;
    outln!("top-1 {:.2} %  (chance: {:.2} %)", accuracies[0], chance(1));
    outln!("top-5 {:.2} %  (chance: {:.2} %)", accuracies[1], chance(5));
    outln!("wrote network.safetensors, epochs.csv and result.json to {}", out.display());
    deleted?;
    Ok(ExitCode::SUCCESS)
}

/// Prints what is about to be trained.
fn print_beginning(settings: &Settings, blueprint: &Blueprint, device: &str, threads: NonZeroUsize, out: &Path) {
    let Settings { recipe, cropping, images: [training_images, validation_images], .. } = settings;
    errln!(
        "block {}\n{} parameters, {} FLOPs per image of {size}x{size}; {training_images} training images in {} \
         classes, {validation_images} validation images\n{} epochs in batches of {} on {}, {threads} threads reading \
         images; results in {}",
        blueprint.name(),
        blueprint.cost().parameters,
        blueprint.cost().flops,
        settings.classes.len(),
        recipe.epochs,
        recipe.batch_size,
        device,
        out.display(),
        size = cropping.size(),
    );
}

/// Trains the network; returns `None` if it was stopped. `resume` is the command that continues it.
fn train(
    (training, validation): (&PictureStream, &PictureStream),
    settings: &Settings,
    blueprint: &Blueprint,
    checkpoints: &Checkpoints,
    resume: &str,
) -> Result<Option<Trained<Network>>, Box<dyn Error>> {
    let stop = terminal::stop_on_signals("--resume then continues from the last checkpoint")?;
    let watch = Watched::new(stop, settings.images[0]);
    let build =
        |rng: &mut dyn rand::Rng, device: &_| Ok(Network::new(blueprint.block(), blueprint.network(), rng, device)?);
    let training = Training::new(&settings.recipe, training, validation, settings.seed);
    match training.with_watch(&watch).with_checkpoints(checkpoints).fit(build) {
        Ok(Trial::Trained(trained)) => Ok(Some(trained)),
        Ok(Trial::Cancelled) => {
            errln!("stopped; {resume}");
            Ok(None)
        }
        Err(error @ TrainError::Write { .. }) => Err(format!("{error}; then {resume}").into()),
        Err(error) => Err(error.into()),
        Ok(Trial::Infeasible(reason)) => {
            Err(format!("{reason}: start again with a lower --learning-rate and another --out").into())
        }
        Ok(outcome) => Err(format!("the training ended without a network: {outcome:?}").into()),
    }
}

/// The folder of a training, its settings, and its block with the network around it.
type Task = (OwnedFolder, Settings, Blueprint);

/// Reads a training that was stopped or killed from its folder, and checks that the images are still the same.
fn resume(out: &Path, parts: &Parts, threads: NonZeroUsize) -> Result<Task, Box<dyn Error>> {
    let owner = folder::resumed(out)?;
    let (settings, blueprint) = Settings::read(out)?;
    let (training, validation) = parts;
    settings.check_images(training.classes(), training.len(), validation.len())?;
    settings.check_pictures(|| identities(parts, threads))?;
    Ok((owner, settings, blueprint))
}

/// Starts a training in a folder of its own.
fn start(arguments: &Arguments, parts: &Parts, threads: NonZeroUsize) -> Result<Task, Box<dyn Error>> {
    let (training, validation) = parts;
    let classes = training.classes().to_vec();
    let block = block::read(arguments.block.as_deref().unwrap_or(DEFAULT), "--block")?;
    let (recipe, network) = arguments.training(classes.len());
    recipe.validate()?;
    let network = NetworkConfig { widths: block.widths, ..network };
    let blueprint = Blueprint::new(block.name, block.graph, network)?;
    // A named folder that cannot be used is refused at once; an unnamed one is only made once nothing else can fail.
    let named = folder::named(arguments.out.as_deref(), &blueprint)?;
    let cropping = Cropping::imagenet(arguments.size());
    let statistics = PictureStream::statistics(training.clone(), cropping, STATISTICS_IMAGES, threads)?;
    let images = [training.len(), validation.len()];
    let pictures = Some(identities(parts, threads)?);
    let settings = Settings { recipe, cropping, statistics, classes, images, pictures, seed: arguments.seed };
    let owner = named.map_or_else(folder::unnamed, Ok)?;
    settings.write(owner.path(), &blueprint)?;
    Ok((owner, settings, blueprint))
}

/// The identities of the images, all of which are read once for this.
fn identities((training, validation): &Parts, threads: NonZeroUsize) -> settings::PictureIdentities {
    errln!(
        "reading all {} images once, to recognise them when the training is resumed",
        training.len() + validation.len()
    );
    Ok([pictures_identity(training.clone(), threads)?, pictures_identity(validation.clone(), threads)?])
}

/// Training and validation images.
type Parts = (Arc<dyn Pictures>, Arc<dyn Pictures>);

/// The images of the folder, or those that come with the crate.
fn pictures(arguments: &Arguments, threads: NonZeroUsize) -> Result<Parts, Box<dyn Error>> {
    let Some(data) = &arguments.data else {
        return Ok((Arc::new(embedded::train()), Arc::new(embedded::test().images().clone())));
    };
    let parts = FolderParts::find(data)?;
    let measured = parts.validation().or(parts.test());
    let measured = measured.filter(|_| parts.is_divided()).ok_or_else(|| {
        format!(
            "{} has no folders of training and of validation images: --data must be a folder that holds both, such as \
             train and val, each with one subfolder of images per class",
            data.display()
        )
    })?;
    parts.left_out().iter().for_each(tell_left_out);
    let training = ImageFolder::open(parts.training())?;
    let validation = training.open_part(measured)?;
    errln!("training on the images in {}, measuring on those in {}", training.path().display(), measured.display());
    let whole = |folder: ImageFolder| -> Result<Arc<dyn Pictures>, DataError> {
        folder.left_out().iter().for_each(tell_left_out);
        if arguments.broken_images == BrokenImages::Refuse {
            return Ok(Arc::new(folder));
        }
        errln!("checking the images in {}", folder.path().display());
        let (folder, broken) = folder.without_broken(threads)?;
        broken.iter().for_each(tell_left_out);
        Ok(Arc::new(folder))
    };
    Ok((whole(training)?, whole(validation)?))
}
