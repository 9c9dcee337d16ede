//! A folder for a model hub, and the figures on its card.

#[cfg(feature = "onnx")]
use crate::cmd::Outcome;
use crate::cmd::transfer::settings::{FILE, RESULT, Settings};
use crate::output;
use blockqnn::experiment::{DataConfig, Dataset};
#[cfg(feature = "onnx")]
use blockqnn::export::HubFolder;
use blockqnn::search::{RecordOf, RunFolder, RunHistory};
use blockqnn::space::block::BlockSpace;
use serde_json::Value;
use std::error::Error;
use std::path::Path;
#[cfg(feature = "onnx")]
use std::process::ExitCode;

/// A figure: what it is, its value, its source.
pub(super) type Figure = [String; 3];

/// Writes the folder of the network of a weights file.
#[cfg(feature = "onnx")]
pub(super) fn write(out: &Path, weights: &Path, figures: Vec<Figure>) -> Outcome {
    let bytes = std::fs::read(weights).map_err(|error| format!("cannot read {}: {error}", weights.display()))?;
    let mut folder =
        HubFolder::from_weights(bytes).map_err(|error| format!("cannot use {}: {error}", weights.display()))?;
    for [name, value, source] in figures {
        folder = folder.with_figure(name, value, source);
    }
    #[cfg(feature = "report")]
    {
        let blueprint = folder.blueprint();
        let drawing = blockqnn::report::BlockDrawing::new(blueprint.block(), blueprint.network());
        folder = folder.with_picture(drawing.figure().svg);
    }
    folder.write(out)?;
    errln!("{}: {}; nothing was uploaded", out.display(), folder.blueprint().name());
    errln!("the card, {}, states no licence: add yours", out.join("README.md").display());
    Ok(ExitCode::SUCCESS)
}

/// What a search and a verification measured of a block.
pub(super) fn of_run(
    history: &RunHistory<BlockSpace>,
    record: &RecordOf<BlockSpace>,
    (rank, measured): (usize, usize),
    verification: &Path,
) -> Result<Vec<Figure>, Box<dyn Error>> {
    let verified: RunHistory<BlockSpace> = RunFolder::read(verification)?;
    let of_block = verified.records.iter().find(|trained| trained.fingerprint == record.fingerprint);
    let mut figures = Vec::new();
    if let Some(metrics) = of_block.and_then(|trained| trained.evaluation.metrics()) {
        let source = format!(
            "these weights, after {} epochs, on {}: verification {:?}",
            metrics.epochs,
            images(&verified.settings.details),
            output::name_of(verification)
        );
        figures.push(["accuracy".to_owned(), percent(metrics.value), source]);
    }
    if let Some(metrics) = record.evaluation.metrics() {
        let source = format!(
            "another training of the block, of {} epochs, on {}: trial {} of the search {:?}, whose reward was rank {rank} \
             of {measured}, so that chance favours it",
            metrics.epochs,
            images(&history.settings.details),
            record.id,
            output::name_of(&history.path),
        );
        figures.push(["accuracy in the search".to_owned(), percent(metrics.value), source]);
    }
    Ok(figures)
}

/// What a training by `transfer` measured of its network. Of other weights nothing is known.
pub(super) fn of_transfer(folder: &Path) -> Result<Vec<Figure>, Box<dyn Error>> {
    if !folder.join(FILE).exists() {
        return Ok(Vec::new());
    }
    let (settings, _) = Settings::read(folder)?;
    let path = folder.join(RESULT);
    let unread = |error: &dyn Error| {
        format!("cannot read {}: {error}; the last command of the training writes it: resume it", path.display())
    };
    let text = std::fs::read_to_string(&path).map_err(|error| unread(&error))?;
    let result: Value = serde_json::from_str(&text).map_err(|error| unread(&error))?;
    let [training, measured] = settings.images;
    let source = format!(
        "these weights, after {} epochs on {training} images, on {measured} images that were not trained on: training {:?}",
        settings.recipe.epochs,
        output::name_of(folder)
    );
    let figure = |(name, key): (&str, &str)| {
        result[key].as_f64().map(|value| [format!("{name} accuracy"), percent(value), source.clone()])
    };
    Ok([("top-1", "top_1"), ("top-5", "top_5")].into_iter().filter_map(figure).collect())
}

fn percent(accuracy: f64) -> String {
    format!("{accuracy:.2} %")
}

/// The images that the accuracies of a run are measured on.
fn images(details: &Value) -> String {
    let Ok(data) = serde_json::from_value::<DataConfig>(details["data"].clone()) else {
        return "images that the run does not describe".to_owned();
    };
    let set = match data.dataset {
        Dataset::Folder => "the run's folder of pictures".to_owned(),
        Dataset::Embedded => "the crate's part of Fashion-MNIST".to_owned(),
        dataset => dataset.to_string(),
    };
    match data.validation {
        0 => format!("all test images of {set}"),
        held_out => format!("{held_out} images held out of the training images of {set}"),
    }
}
