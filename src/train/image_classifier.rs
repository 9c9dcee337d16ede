//! Trained networks for use: from a file to predictions.

use super::TrainError;
use crate::data::{Batches, ChannelStatistics, DataError, DeviceSet, ImageSet, ImageShape, Picture};
use crate::export::{Blueprint, BlueprintError};
use crate::files;
use crate::network::{Device, Network, WeightsError};
use crate::seed;
use burn::tensor::activation::softmax;
use image::DynamicImage;
use image::imageops::FilterType;
use safetensors::SafeTensors;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

/// The key of the metadata of a weights file that describes the weights.
const KEY: &str = "classifier";
/// Images that are classified at a time.
const BATCH: NonZeroUsize = NonZeroUsize::new(256).unwrap();

/// A trained network with all that it takes to classify images: its blueprint, its classes, and how its images are
/// normalised.
///
/// It is saved to and loaded from one safetensors file, whose weights have the names of the exported `PyTorch` module.
///
/// ```no_run
/// use blockqnn::network::device::default_device;
/// use blockqnn::train::ImageClassifier;
///
/// let classifier = ImageClassifier::load("best.safetensors", &default_device()?)?;
/// for (path, prediction) in classifier.classify_folder("photographs")? {
///     println!("{}: {} ({:.0} %)", path.display(), prediction.class, 100.0 * prediction.probability);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct ImageClassifier {
    network: Network,
    blueprint: Blueprint,
    classes: Vec<String>,
    statistics: ChannelStatistics,
    device: Device,
}

/// What a network takes an image for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Prediction {
    /// Number of the most probable class.
    pub label: usize,
    /// Its name.
    pub class: String,
    /// Its probability, from 0 to 1, as the network sees it.
    pub probability: f32,
    /// The probability of every class.
    pub probabilities: Vec<f32>,
}

/// Why a network cannot be used on images.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClassifierError {
    /// The weights could not be written. A file that was there before still is.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What happened.
        #[source]
        source: std::io::Error,
    },
    /// A file or folder could not be read.
    #[error("cannot use {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What happened.
        #[source]
        source: std::io::Error,
    },
    /// The file has no weights of a network, or those of another one.
    #[error("cannot load {}: {source}", path.display())]
    Weights {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: WeightsError,
    },
    /// The file does not say what network its weights are of.
    #[error("{} does not describe its network ({message}): it must be a file written by ImageClassifier::save", path.display())]
    Unlabelled {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// Its description of the network is not a valid network.
    #[error("cannot load {}: {source}", path.display())]
    Blueprint {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: BlueprintError,
    },
    /// The parts do not fit each other.
    #[error("the network has {network} {what}, but {given} were given: use those of its training set")]
    Mismatch {
        /// What is counted.
        what: &'static str,
        /// The network's number.
        network: usize,
        /// The given number.
        given: usize,
    },
    /// The images do not fit the network.
    #[error("the network takes images of {network}, but these are {images}")]
    Images {
        /// Shape that the network takes.
        network: ImageShape,
        /// Shape of the images.
        images: ImageShape,
    },
    /// Files have 1 or 3 channels, and the network takes another number.
    #[error("the network takes images of {channels} channels, but image files have 1 or 3")]
    Channels {
        /// Channels of the network's images.
        channels: usize,
    },
    /// The images could not be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The network could not be built, or the device failed.
    #[error(transparent)]
    Train(#[from] TrainError),
}

/// The metadata of a weights file.
#[derive(Serialize, Deserialize)]
struct Facts {
    architecture: serde_json::Value,
    classes: Vec<String>,
    mean: Vec<f32>,
    deviation: Vec<f32>,
}

impl ImageClassifier {
    /// Puts a classifier together: a network on a plain device that was built from `blueprint`, the names of its classes,
    /// and the statistics by which its training images were normalised.
    ///
    /// # Errors
    /// [`ClassifierError::Mismatch`] if classes or channels are not as many as the network's.
    pub fn new(
        blueprint: Blueprint,
        network: Network,
        classes: Vec<String>,
        statistics: ChannelStatistics,
    ) -> Result<Self, ClassifierError> {
        let config = blueprint.network();
        let pairs = [
            ("classes", config.classes, classes.len()),
            ("channels", config.image.channels, statistics.mean.len().min(statistics.deviation.len())),
        ];
        if let Some((what, network, given)) = pairs.into_iter().find(|(_, network, given)| network != given) {
            return Err(ClassifierError::Mismatch { what, network, given });
        }
        let device = network.device().without_autodiff();
        Ok(Self { network, blueprint, classes, statistics, device })
    }

    /// Loads what [`save`](Self::save) wrote, to a device.
    ///
    /// # Errors
    /// [`ClassifierError`] if the file cannot be read, is damaged, or does not say what network it is of.
    pub fn load(path: impl AsRef<Path>, device: &Device) -> Result<Self, ClassifierError> {
        let path = path.as_ref().to_owned();
        let bytes = std::fs::read(&path).map_err(|source| ClassifierError::Io { path: path.clone(), source })?;
        let weights = |source| ClassifierError::Weights { path: path.clone(), source };
        let unlabelled = |message: String| ClassifierError::Unlabelled { path: path.clone(), message };
        let (_, header) = SafeTensors::read_metadata(&bytes)
            .map_err(|error| weights(WeightsError::Format { message: error.to_string() }))?;
        let text = header.metadata().as_ref().and_then(|facts| facts.get(KEY));
        let text = text.ok_or_else(|| unlabelled(format!("its metadata has no {KEY:?}")))?;
        let facts: Facts = serde_json::from_str(text).map_err(|error| unlabelled(error.to_string()))?;
        let blueprint = Blueprint::from_json(&facts.architecture.to_string())
            .map_err(|source| ClassifierError::Blueprint { path: path.clone(), source })?;
        let device = device.clone().without_autodiff();
        // The weights drawn here are all replaced.
        let rng = &mut seed::stream(0, "weights", 0);
        let network = Network::new(blueprint.block(), blueprint.network(), rng, &device).map_err(TrainError::from)?;
        let network = network.with_safetensors(&bytes).map_err(weights)?;
        let statistics = ChannelStatistics { mean: facts.mean, deviation: facts.deviation };
        Self::new(blueprint, network, facts.classes, statistics)
    }

    /// Writes the classifier to one safetensors file. The same classifier gives the same bytes.
    ///
    /// The metadata hold under `classifier` a JSON object with the `architecture`, the names of the `classes`, and `mean`
    /// and `deviation` of each channel.
    ///
    /// # Errors
    /// [`ClassifierError`] if the device or the disk fails.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), ClassifierError> {
        let path = path.as_ref().to_owned();
        let facts = Facts {
            // The blueprint's own text is JSON.
            architecture: serde_json::from_str(&self.blueprint.to_json()).unwrap_or_default(),
            classes: self.classes.clone(),
            mean: self.statistics.mean.clone(),
            deviation: self.statistics.deviation.clone(),
        };
        let facts = serde_json::to_string(&facts).unwrap_or_default();
        let bytes = self
            .network
            .to_safetensors(HashMap::from([(KEY.to_owned(), facts)]))
            .map_err(|source| ClassifierError::Weights { path: path.clone(), source })?;
        files::write(&path, |out| out.write_all(&bytes)).map_err(|source| ClassifierError::Write { path, source })
    }

    /// The network and its block.
    #[must_use]
    pub fn blueprint(&self) -> &Blueprint {
        &self.blueprint
    }

    /// The network, in inference mode.
    #[must_use]
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The names of the classes, by label.
    #[must_use]
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// Classifies all images of a set.
    ///
    /// # Errors
    /// If the images have another shape than the network's, or the device fails.
    pub fn classify(&self, images: &ImageSet) -> Result<Vec<Prediction>, ClassifierError> {
        let network = self.blueprint.network().image;
        if network != images.shape() {
            return Err(ClassifierError::Images { network, images: images.shape() });
        }
        let resident = DeviceSet::new(images, &self.statistics, &self.device)?;
        let mut predictions = Vec::with_capacity(images.len());
        for batch in &Batches::in_order(images.len(), BATCH) {
            let probabilities = softmax(self.network.forward(resident.batch(batch).0), 1);
            let probabilities = probabilities
                .try_into_vec_as::<f32>()
                .map_err(|error| TrainError::Device { message: error.to_string() })?;
            predictions.extend(probabilities.chunks(self.classes.len()).map(|row| self.prediction(row)));
        }
        Ok(predictions)
    }

    /// Share of a set's images that are classified correctly, in percent.
    ///
    /// # Errors
    /// As [`classify`](Self::classify).
    pub fn accuracy(&self, images: &ImageSet) -> Result<f64, ClassifierError> {
        let predictions = self.classify(images)?;
        let correct =
            predictions.iter().zip(images.labels()).filter(|(found, label)| found.label == usize::from(**label));
        Ok(100.0 * correct.count() as f64 / images.len() as f64)
    }

    /// Classifies an image file (PNG or JPEG), scaled and cropped about its centre to the size that the network takes. It is
    /// decoded and turned as a [`Picture`] is.
    ///
    /// # Errors
    /// If the file is not an image, or the network takes other images than files contain.
    pub fn classify_file(&self, path: impl AsRef<Path>) -> Result<Prediction, ClassifierError> {
        let pixels = self.pixels(path.as_ref())?;
        let set = ImageSet::new("image file", self.blueprint.network().image, self.classes.clone(), vec![0], pixels)?;
        let mut predictions = self.classify(&set)?;
        // A set of one image has one prediction.
        Ok(predictions.swap_remove(0))
    }

    /// Classifies all PNG and JPEG files of a folder, in the order of their names; other files are ignored.
    ///
    /// # Errors
    /// As [`classify_file`](Self::classify_file), or if the folder cannot be read.
    pub fn classify_folder(&self, folder: impl AsRef<Path>) -> Result<Vec<(PathBuf, Prediction)>, ClassifierError> {
        let folder = folder.as_ref();
        let io = |source| ClassifierError::Io { path: folder.to_owned(), source };
        let mut files = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(io)? {
            let path = entry.map_err(io)?.path();
            let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
            if extension.is_some_and(|extension| ["png", "jpg", "jpeg"].contains(&extension.as_str())) {
                files.push(path);
            }
        }
        files.sort();
        files.into_iter().map(|path| self.classify_file(&path).map(|prediction| (path, prediction))).collect()
    }

    fn prediction(&self, probabilities: &[f32]) -> Prediction {
        let best = probabilities.iter().enumerate().max_by(|(_, a), (_, b)| a.total_cmp(b));
        let (label, probability) = best.map_or((0, 0.0), |(label, probability)| (label, *probability));
        Prediction { label, class: self.classes[label].clone(), probability, probabilities: probabilities.to_vec() }
    }

    /// The bytes of an image file in the network's shape, plane by plane.
    fn pixels(&self, path: &Path) -> Result<Vec<u8>, ClassifierError> {
        let ImageShape { channels, height, width } = self.blueprint.network().image;
        let mut picture = DynamicImage::from(Picture::read(path)?.into_image());
        // A side of an image that a network takes is far below 2^32.
        let [columns, rows] = [width, height].map(|side| u32::try_from(side).unwrap_or(u32::MAX));
        if (picture.width(), picture.height()) != (columns, rows) {
            picture = picture.resize_to_fill(columns, rows, FilterType::Triangle);
        }
        match channels {
            1 => Ok(picture.into_luma8().into_raw()),
            3 => {
                let interleaved = picture.into_rgb8().into_raw();
                Ok((0..3).flat_map(|channel| interleaved.iter().skip(channel).step_by(3).copied()).collect())
            }
            channels => Err(ClassifierError::Channels { channels }),
        }
    }
}
