//! A trained network as a folder, in the form that model hubs show.

mod card;

use super::{Blueprint, BlueprintError, OnnxError, OnnxOptions, PixelInput};
use crate::files::{self, FolderError};
use safetensors::SafeTensors;
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::Path;

/// The key in the metadata of a weights file under which the weights are described.
const KEY: &str = "classifier";

/// The filter with which pictures are scaled; no other exists.
const FILTER: &str = "triangle, antialiased";

/// A trained network with everything that others need to use it, for a folder of a model hub.
///
/// It is made from a weights file alone, without a device, and holds:
///
/// | file | content |
/// | --- | --- |
/// | `README.md` | the card: task, classes, figures with their source, how to load the network |
/// | `model.safetensors` | the weights file, unchanged |
/// | `model.onnx` | the network from the bytes of a picture to probabilities, batch normalisation merged |
/// | `model.py` | the network as `PyTorch` source |
/// | `config.json` | architecture, names of the classes, preprocessing |
/// | `block.svg` | a drawing of the block, if one was given |
///
/// Nothing is uploaded, and the choice of a licence is left to whoever publishes the folder.
///
/// ```no_run
/// use blockqnn::export::HubFolder;
///
/// let folder = HubFolder::from_weights(std::fs::read("network.safetensors")?)?
///     .with_figure("accuracy", "93.1 %", "1,000 photographs that were not trained on");
/// folder.write("my-classifier")?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct HubFolder {
    blueprint: Blueprint,
    /// What the card calls the block.
    name: String,
    facts: Facts,
    config: String,
    weights: Vec<u8>,
    onnx: Vec<u8>,
    figures: Vec<[String; 3]>,
    picture: Option<String>,
}

/// Why there is no folder for a network.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// The bytes do not describe a network.
    #[error("the weights do not describe their network ({message}): use a file written by ImageClassifier::save")]
    Weights {
        /// What is wrong.
        message: String,
    },
    /// The description of the network is damaged.
    #[error(transparent)]
    Blueprint(#[from] BlueprintError),
    /// The network cannot be written as ONNX.
    #[error(transparent)]
    Onnx(#[from] OnnxError),
}

/// The metadata of a weights file.
#[derive(Debug, Clone, Deserialize)]
struct Facts {
    architecture: Value,
    classes: Vec<String>,
    mean: Vec<f32>,
    deviation: Vec<f32>,
    /// Missing in files of earlier versions, and for networks whose number of channels no image file has.
    preprocessing: Option<Steps>,
}

/// How a picture becomes an image of the network.
#[derive(Debug, Clone, Deserialize)]
struct Steps {
    resize: [u32; 2],
    crop: [u32; 2],
    filter: String,
}

impl HubFolder {
    /// Creates the folder of a weights file, as `train::ImageClassifier::save` writes it.
    ///
    /// # Errors
    /// [`HubError`] if the bytes are no such file, or the network is too large for ONNX.
    pub fn from_weights(weights: Vec<u8>) -> Result<Self, HubError> {
        let wrong = |message: String| HubError::Weights { message };
        let (_, header) = SafeTensors::read_metadata(&weights).map_err(|error| wrong(error.to_string()))?;
        let text = header.metadata().as_ref().and_then(|facts| facts.get(KEY)).cloned();
        let text = text.ok_or_else(|| wrong(format!("their metadata has no {KEY:?}")))?;
        let value: Value = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        if !value.is_object() {
            return Err(wrong("their description is not a JSON object".to_owned()));
        }
        let facts = Facts::deserialize(&value).map_err(|error| wrong(error.to_string()))?;
        let blueprint = Blueprint::from_json(&facts.architecture.to_string())?;
        let (classes, given) = (blueprint.network().classes, facts.classes.len());
        if classes != given {
            return Err(wrong(format!("the network has {classes} classes, but {given} have a name")));
        }
        let pixels = facts.pixels(&blueprint)?;
        let options = OnnxOptions { fold: true, pixels, metadata: vec![(KEY.to_owned(), text)] };
        let onnx = blueprint.to_onnx(&weights, &options)?;
        let config = config(value, &facts.classes);
        let name = blueprint.name().to_owned();
        Ok(Self { blueprint, name, facts, config, weights, onnx, figures: Vec::new(), picture: None })
    }

    /// Sets what the card calls the block, instead of the name in the weights file.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Adds a figure to the card, such as an accuracy: what it is, its value with its unit, and its source: who
    /// measured it, on which images, and how many.
    #[must_use]
    pub fn with_figure(mut self, name: impl Into<String>, value: impl Into<String>, source: impl Into<String>) -> Self {
        self.figures.push([name.into(), value.into(), source.into()]);
        self
    }

    /// Sets the drawing of the block, an SVG, such as that of `report::BlockDrawing`.
    #[must_use]
    pub fn with_picture(mut self, svg: impl Into<String>) -> Self {
        self.picture = Some(svg.into());
        self
    }

    /// Returns the network's blueprint.
    #[must_use]
    pub fn blueprint(&self) -> &Blueprint {
        &self.blueprint
    }

    /// Returns the card, in Markdown.
    #[must_use]
    pub fn card(&self) -> String {
        card::write(self)
    }

    /// Writes the folder, whole or not at all; see [`write_folder`](files::write_folder). It must be new or empty.
    ///
    /// # Errors
    /// [`FolderError`] if the folder has contents or cannot be written.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<(), FolderError> {
        let (card, source) = (self.card(), self.blueprint.to_pytorch());
        let mut files: Vec<(&str, &[u8])> = vec![
            ("README.md", card.as_bytes()),
            ("config.json", self.config.as_bytes()),
            ("model.onnx", &self.onnx),
            ("model.py", source.as_bytes()),
            ("model.safetensors", &self.weights),
        ];
        if let Some(picture) = &self.picture {
            files.push(("block.svg", picture.as_bytes()));
        }
        files::write_folder(path, &files)
    }

    /// Whether the ONNX file takes pictures, and not images that are normalised already.
    fn takes_pictures(&self) -> bool {
        is_of_pictures(self.blueprint.network().image.channels)
    }
}

/// Whether image files have this number of channels.
fn is_of_pictures(channels: usize) -> bool {
    matches!(channels, 1 | 3)
}

impl Facts {
    /// How the bytes of a picture become an image, unless no picture does.
    fn pixels(&self, blueprint: &Blueprint) -> Result<Option<PixelInput>, HubError> {
        let image = blueprint.network().image;
        if !is_of_pictures(image.channels) {
            return Ok(None);
        }
        let whole = [image.height, image.width].map(|side| u32::try_from(side).unwrap_or(u32::MAX));
        let (resize, crop) = match &self.preprocessing {
            None => (whole, whole),
            Some(Steps { filter, .. }) if filter != FILTER => {
                let message = format!("the filter {filter:?} is unknown");
                return Err(HubError::Weights { message });
            }
            Some(steps) => (steps.resize, steps.crop),
        };
        let (mean, deviation) = (self.mean.clone(), self.deviation.clone());
        Ok(Some(PixelInput { resize, crop, gray: image.channels == 1, mean, deviation }))
    }
}

/// The description of the weights file, and the entries that programs for hubs look for.
fn config(mut facts: Value, classes: &[String]) -> String {
    facts["model_type"] = json!(env!("CARGO_PKG_NAME"));
    facts["id2label"] = classes.iter().enumerate().map(|(label, class)| (label.to_string(), json!(class))).collect();
    // A value always has a JSON form.
    serde_json::to_string_pretty(&facts).unwrap_or_default() + "\n"
}
