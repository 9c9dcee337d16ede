//! A folder for a model hub, and the figures on its card.

#[cfg(feature = "onnx")]
use crate::cmd::Outcome;
use crate::cmd::transfer::settings::{RESULT, Settings};
use crate::output::{self, TRANSFER};
use blockqnn::experiment::{DataConfig, Dataset};
#[cfg(feature = "onnx")]
use blockqnn::export::HubFolder;
use blockqnn::search::{RecordOf, RunFolder, RunHistory};
use blockqnn::space::SearchSpace;
use blockqnn::space::block::BlockSpace;
use serde_json::Value;
use std::error::Error;
use std::path::Path;
#[cfg(feature = "onnx")]
use std::process::ExitCode;

/// A figure: what it is, its value, its source.
type Figure = [String; 3];

/// What is known of a network besides its weights.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The block in its notation, unless its weights have it.
    block: Option<String>,
    figures: Vec<Figure>,
}

/// Writes the folder of the network of a weights file.
#[cfg(feature = "onnx")]
pub(super) fn write(out: &Path, weights: &Path, known: Known) -> Outcome {
    let bytes = std::fs::read(weights).map_err(|error| format!("cannot read {}: {error}", weights.display()))?;
    let mut folder =
        HubFolder::from_weights(bytes).map_err(|error| format!("cannot use {}: {error}", weights.display()))?;
    let block = known.block.unwrap_or_else(|| folder.blueprint().name().to_owned());
    folder = folder.with_name(&*block);
    for [name, value, source] in known.figures {
        folder = folder.with_figure(name, value, source);
    }
    #[cfg(feature = "report")]
    {
        let blueprint = folder.blueprint();
        let drawing = blockqnn::report::BlockDrawing::new(blueprint.block(), blueprint.network());
        folder = folder.with_picture(drawing.figure().svg);
    }
    folder.write(out)?;
    errln!("{}: {block}; nothing was uploaded", out.display());
    errln!("the card, {}, states no licence: add yours", out.join("README.md").display());
    Ok(ExitCode::SUCCESS)
}

/// What a search and a verification measured of a block.
pub(super) fn of_run(
    history: &RunHistory<BlockSpace>,
    record: &RecordOf<BlockSpace>,
    (rank, measured): (usize, usize),
    verification: &Path,
) -> Result<Known, Box<dyn Error>> {
    let verified: RunHistory<BlockSpace> = RunFolder::read(verification)?;
    let of_block = verified.records.iter().find(|trained| trained.fingerprint == record.fingerprint);
    let run = output::name_of(&history.path);
    let mut figures = Vec::new();
    if let Some(metrics) = of_block.and_then(|trained| trained.evaluation.metrics()) {
        let objective = &verified.settings.search.objective;
        let source = format!(
            "these weights, after {}, on {}: verification {:?} of the search {run:?}",
            epochs(metrics.epochs),
            images(&verified.settings.details),
            output::name_of(verification)
        );
        figures.push([objective.name.clone(), objective.show(metrics.value), source]);
    }
    if let Some(metrics) = record.evaluation.metrics() {
        let objective = &history.settings.search.objective;
        let source = format!(
            "another training of the block, of {}, on {}: trial {} of the search {run:?}, whose reward was rank {rank} \
             of {measured}, so that chance favours it",
            epochs(metrics.epochs),
            images(&history.settings.details),
            record.id,
        );
        figures.push([format!("{} in the search", objective.name), objective.show(metrics.value), source]);
    }
    Ok(Known { block: Some(BlockSpace::paper().describe(&record.architecture)), figures })
}

/// What a training by `transfer` measured of its network. Of other weights nothing is known.
pub(super) fn of_transfer(folder: &Path) -> Result<Known, Box<dyn Error>> {
    if !folder.join(TRANSFER).exists() {
        return Ok(Known::default());
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
        "these weights, after {} on {training} images, on {measured} images that were not trained on: training {:?}",
        epochs(settings.recipe.epochs),
        output::name_of(folder)
    );
    let figure = |(name, key): (&str, &str)| {
        result[key].as_f64().map(|value| [format!("{name} accuracy"), format!("{value:.2} %"), source.clone()])
    };
    let figures = [("top-1", "top_1"), ("top-5", "top_5")].into_iter().filter_map(figure).collect();
    Ok(Known { block: None, figures })
}

fn epochs(number: u32) -> String {
    if number == 1 { "1 epoch".to_owned() } else { format!("{number} epochs") }
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
