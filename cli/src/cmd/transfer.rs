//! `transfer`: a block that was found, trained on larger images than it was found on.

mod arguments;
mod block;
mod output;
mod settings;

pub(crate) use arguments::Arguments;

use crate::images::{print_classes, tell_left_out};
use crate::progress::watch;
use blockqnn::data::{
    BrokenImages, Cropping, DataError, FolderParts, ImageFolder, PictureStream, Pictures, Preprocessing, embedded,
    pictures_identity,
};
use blockqnn::export::Blueprint;
use blockqnn::files::OwnedFolder;
use blockqnn::graph::NetworkConfig;
use blockqnn::network::Network;
use blockqnn::network::device::{built_in_devices, parse_device};
use blockqnn::train::{
    Checkpoints, FitOptions, ImageClassifier, Outcome, TrainError, chance_accuracy, fit_with, top_k_accuracies,
};
use settings::Settings;
use std::error::Error;
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

/// Training images whose statistics normalise all images.
const STATISTICS_IMAGES: usize = 2_000;
/// An epoch of ImageNet takes hours, so each is worth a checkpoint. One is also written when the training is stopped.
const EPOCHS_PER_CHECKPOINT: u32 = 1;

pub(crate) fn run(arguments: &Arguments) -> super::Outcome {
    let resumed = arguments.out.as_deref().filter(|_| arguments.resume);
    // Before anything is touched, so that a training that a batch system starts again stays as it is.
    if let Some(finished) = resumed.and_then(output::finished) {
        errln!("{finished}");
        return Ok(ExitCode::SUCCESS);
    }
    let names = match &arguments.device[..] {
        [] => vec![built_in_devices().first().copied().unwrap_or_default().to_owned()],
        names => names.to_vec(),
    };
    let devices = names.iter().map(|name| parse_device(name)).collect::<Result<Vec<_>, _>>()?;
    // There is at least one name.
    let [device, more_devices @ ..] = &devices[..] else {
        return Err("no device is given: name one with --device, such as --device flex".into());
    };
    if !more_devices.is_empty() {
        errln!(
            "warning: training on {} devices, with a part of each batch on each, is experimental and has only been tested on \
             CPU devices",
            devices.len()
        );
    }
    let threads = arguments.threads.or(std::thread::available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN);

    let parts = pictures(arguments, threads)?;
    print_classes(&*parts.0, &*parts.1);
    // Held until everything is written.
    let (owner, settings, blueprint) = match resumed {
        Some(out) => resume(out, &parts, threads)?,
        None => start(arguments, &parts, threads)?,
    };
    let (out, (training, validation)) = (owner.path(), parts);

    let stream = |pictures| -> Result<PictureStream, DataError> {
        let stream = PictureStream::new(pictures, settings.cropping, &settings.statistics, device)?;
        Ok(stream.with_threads(threads))
    };
    let (training, validation) = (stream(training)?, stream(validation)?);
    let Settings { recipe, cropping, images: [training_images, validation_images], .. } = &settings;
    errln!(
        "block {}\n{} parameters, {} FLOPs per image of {size}x{size}; {training_images} training images in {} classes, \
         {validation_images} validation images\n{} epochs in batches of {} on {}, {threads} threads reading images; \
         results in {}",
        blueprint.name(),
        blueprint.cost().parameters,
        blueprint.cost().flops,
        settings.classes.len(),
        recipe.epochs,
        recipe.batch_size,
        names.join(" and "),
        out.display(),
        size = cropping.size(),
    );

    let resume = format!("continue with --out {} --resume{}", crate::terminal::quoted(out), arguments.again());
    let checkpoints = Checkpoints::new(out).with_every(EPOCHS_PER_CHECKPOINT);
    let stop = crate::terminal::stop_on_signals("--resume then continues from the last checkpoint")?;
    let watch = watch::Display::new(stop, *training_images);
    let build =
        |rng: &mut dyn rand::Rng, device: &_| Ok(Network::new(blueprint.block(), blueprint.network(), rng, device)?);
    let options = FitOptions { watch: &watch, checkpoints: Some(&checkpoints), more_devices };
    let trained = match fit_with(recipe, &training, &validation, settings.seed, &options, build) {
        Ok(Outcome::Trained(trained)) => trained,
        Ok(Outcome::Cancelled) => {
            errln!("stopped; {resume}");
            return Ok(crate::terminal::stopped());
        }
        Err(error @ TrainError::Write { .. }) => return Err(format!("{error}; then {resume}").into()),
        Err(error) => return Err(error.into()),
        Ok(Outcome::Infeasible(reason)) => {
            return Err(format!("{reason}: start again with a lower --learning-rate and another --out").into());
        }
        Ok(outcome) => return Err(format!("the training ended without a network: {outcome:?}").into()),
    };
    let batch = NonZeroUsize::new(recipe.batch_size).unwrap_or(NonZeroUsize::MIN);
    let accuracies = top_k_accuracies(&trained.network, &validation, batch, &[1, 5])?;
    let classifier =
        ImageClassifier::new(blueprint, trained.network, settings.classes.clone(), settings.statistics.clone())?
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

/// The folder of a training, its settings, and its block with the network around it.
type Task = (OwnedFolder, Settings, Blueprint);

/// Takes a training that was stopped or killed out of its folder, and checks that the pictures are still the same.
fn resume(out: &Path, parts: &Parts, threads: NonZeroUsize) -> Result<Task, Box<dyn Error>> {
    let owner = output::resumed(out)?;
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
    let block = block::read(arguments.block.as_deref())?;
    let (recipe, network) = arguments.training(classes.len());
    recipe.validate()?;
    let network = NetworkConfig { widths: block.widths, ..network };
    let blueprint = Blueprint::new(block.name, block.graph, network)?;
    // A folder that cannot be used is refused at once; one without a name is only made when all is well.
    let named = output::named(arguments, &blueprint)?;
    let cropping = Cropping::imagenet(arguments.size());
    let statistics = PictureStream::statistics(training.clone(), cropping, STATISTICS_IMAGES, threads)?;
    let images = [training.len(), validation.len()];
    let pictures = Some(identities(parts, threads)?);
    let settings = Settings { recipe, cropping, statistics, classes, images, pictures, seed: arguments.seed };
    let owner = named.map_or_else(output::unnamed, Ok)?;
    settings.write(owner.path(), &blueprint)?;
    Ok((owner, settings, blueprint))
}

/// What the pictures are: all of them are read once.
fn identities((training, validation): &Parts, threads: NonZeroUsize) -> settings::PictureIdentities {
    errln!("reading all {} images once, to know them when the training is resumed", training.len() + validation.len());
    Ok([pictures_identity(training.clone(), threads)?, pictures_identity(validation.clone(), threads)?])
}

/// Training and validation pictures.
type Parts = (Arc<dyn Pictures>, Arc<dyn Pictures>);

/// The pictures of the folder, or those that come with the crate.
fn pictures(arguments: &Arguments, threads: NonZeroUsize) -> Result<Parts, Box<dyn Error>> {
    let Some(data) = &arguments.data else {
        return Ok((Arc::new(embedded::train()), Arc::new(embedded::test().images().clone())));
    };
    let parts = FolderParts::find(data)?;
    let measured = parts.validation().or(parts.test());
    let (true, Some(measured)) = (parts.is_divided(), measured) else { return Err(no_parts(data).into()) };
    parts.left_out().iter().for_each(tell_left_out);
    let training = ImageFolder::open(parts.training())?;
    let validation = training.open_part(measured)?;
    errln!("training on the images in {}, measuring on those in {}", training.path().display(), measured.display());
    let whole = |folder: ImageFolder| -> Result<Arc<dyn Pictures>, DataError> {
        folder.left_out().iter().for_each(tell_left_out);
        if arguments.broken_images() == BrokenImages::Refuse {
            return Ok(Arc::new(folder));
        }
        errln!("checking the images in {}", folder.path().display());
        let (folder, broken) = folder.without_broken(threads)?;
        broken.iter().for_each(tell_left_out);
        Ok(Arc::new(folder))
    };
    Ok((whole(training)?, whole(validation)?))
}

fn no_parts(data: &Path) -> String {
    format!(
        "{} has no folders of training and of validation images: --data must be a folder that holds both, such as train and \
         val, each with one subfolder of pictures per class",
        data.display()
    )
}
