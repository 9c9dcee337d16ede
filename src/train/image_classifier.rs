//! Trained networks in use: from a file to predictions.

use super::TrainError;
use super::classified_files::ClassifiedFiles;
use crate::data::{
    Ahead, Batches, ChannelStatistics, DataError, DeviceSet, ImageSet, ImageShape, Picture, Preprocessing,
    picture_files,
};
use crate::export::Blueprint;
#[cfg(feature = "onnx")]
use crate::export::{HubError, HubFolder, OnnxOptions, PixelInput};
use crate::files;
use crate::network::{Device, FoldedNetwork, KeptBuffers, Network, WeightsError, fact};
use crate::seed;
use burn::tensor::activation::softmax;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The key in the metadata of a weights file under which the weights are described.
const KEY: &str = "classifier";
/// The images that are classified at a time, up to this many pixels each; larger images are taken in smaller batches.
const BATCH: usize = 256;
const BATCH_PIXELS: usize = 32 * 32;

/// A trained network with everything needed to classify images: its blueprint, its classes, how a picture becomes an
/// image of the network's size, and how images are normalised.
///
/// It is saved to and loaded from one safetensors file, whose weights have the names of the exported `PyTorch` module.
///
/// ```no_run
/// use blockqnn::network::device::default_device;
/// use blockqnn::train::ImageClassifier;
///
/// let classifier = ImageClassifier::load("best.safetensors", &default_device()?)?;
/// for (path, prediction) in classifier.classify_folder("pictures")? {
///     match prediction {
///         Ok(found) => println!("{}: {} ({:.0} %)", path.display(), found.class, 100.0 * found.probability),
///         Err(error) => eprintln!("{error}"),
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct ImageClassifier {
    network: Network,
    /// The same network, as it classifies.
    folded: FoldedNetwork,
    blueprint: Blueprint,
    classes: Vec<String>,
    statistics: ChannelStatistics,
    /// `None` if no image file has as many channels as the network takes.
    preprocessing: Option<Preprocessing>,
    device: Device,
}

/// A network's prediction for an image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Prediction {
    /// The number of the most probable class.
    pub label: usize,
    /// Its name.
    pub class: String,
    /// Its probability, from 0 to 1, as estimated by the network.
    pub probability: f32,
    /// The probability of every class.
    pub probabilities: Vec<f32>,
}

/// An image file, and its prediction or the reason why there is none.
pub type ClassifiedFile = (PathBuf, Result<Prediction, DataError>);

/// Why a network cannot be used on images.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClassifierError {
    /// The weights could not be written. A file that existed before is unchanged.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// A file cannot be read, or does not hold a network with its description, as [`ImageClassifier::save`] writes it.
    #[error("cannot load {}: {problem}", path.display())]
    Load {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The classes or the statistics are not those of the network's images, which cannot be normalised by them.
    #[error("{problem}: use those of the training set of the network")]
    Mismatch {
        /// What does not fit.
        problem: String,
    },
    /// The images do not match the network.
    #[error("the network takes images of {network}, but these are {images}")]
    Images {
        /// The shape that the network takes.
        network: ImageShape,
        /// The shape of the images.
        images: ImageShape,
    },
    /// The network takes images with a number of channels that no image file has: files have 1 or 3.
    #[error("the network takes images of {channels} channels, but image files have 1 or 3")]
    Channels {
        /// The number of channels of the network's images.
        channels: usize,
    },
    /// The weights cannot be read from the device.
    #[error(transparent)]
    Device(#[from] WeightsError),
    /// The network cannot be written as ONNX.
    #[cfg(feature = "onnx")]
    #[error(transparent)]
    Onnx(#[from] crate::export::OnnxError),
    /// The network cannot be written as a folder of a model hub.
    #[cfg(feature = "onnx")]
    #[error(transparent)]
    Hub(#[from] HubError),
    /// The images could not be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The network could not be built, or the device failed.
    #[error(transparent)]
    Train(#[from] TrainError),
}

/// The form of an ONNX file of a classifier: its inputs, outputs and layers.
#[cfg(feature = "onnx")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct OnnxForm {
    /// Takes pictures as bytes and returns probabilities, instead of normalised images and logits.
    pub pixels: bool,
    /// Merges batch normalisation into the convolution before it.
    pub fold: bool,
}

/// The metadata of a weights file, as text.
pub(super) fn facts(
    blueprint: &Blueprint,
    classes: &[String],
    statistics: &ChannelStatistics,
    preprocessing: Option<Preprocessing>,
) -> String {
    let facts = Facts {
        // The blueprint's own text is JSON.
        architecture: serde_json::from_str(&blueprint.to_json()).unwrap_or_default(),
        classes: classes.to_vec(),
        mean: statistics.mean.clone(),
        deviation: statistics.deviation.clone(),
        preprocessing,
    };
    serde_json::to_string(&facts).unwrap_or_default()
}

/// The metadata of a weights file.
#[derive(Serialize, Deserialize)]
struct Facts {
    architecture: serde_json::Value,
    classes: Vec<String>,
    mean: Vec<f32>,
    deviation: Vec<f32>,
    /// Missing in files of earlier versions, and for networks whose number of channels no image file has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    preprocessing: Option<Preprocessing>,
}

impl ImageClassifier {
    /// Creates a classifier from a network on a plain device that was built from `blueprint`, the names of its classes,
    /// and the statistics by which its training images were normalised.
    ///
    /// From a picture of another size it takes the largest part in the middle ([`Preprocessing::whole`]), like the
    /// images of a search ([`ImageFolder::load`](crate::data::ImageFolder::load)). If the network was measured on other
    /// parts, set them with [`with_preprocessing`](Self::with_preprocessing).
    ///
    /// # Errors
    /// [`ClassifierError::Mismatch`] if the number of classes or channels differs from the network's, a mean or a
    /// deviation is not finite, or a deviation is not positive.
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
            let problem = format!("the network has {network} {what}, but {given} were given");
            return Err(ClassifierError::Mismatch { problem });
        }
        let usable = |values: &[f32], least: f32| values.iter().all(|value| value.is_finite() && *value >= least);
        if !usable(&statistics.mean, f32::MIN) || !usable(&statistics.deviation, f32::MIN_POSITIVE) {
            let problem = "a mean or a deviation is not a finite number, or a deviation is not above 0".to_owned();
            return Err(ClassifierError::Mismatch { problem });
        }
        let preprocessing = Preprocessing::whole(config.image);
        let device = network.device().without_autodiff();
        let folded = network.folded();
        Ok(Self { network, folded, blueprint, classes, statistics, preprocessing, device })
    }

    /// Sets the part of a picture to take, such as the part that the network was measured on:
    /// `Preprocessing::from(cropping)`.
    ///
    /// # Errors
    /// [`ClassifierError::Images`] if it differs in shape from the network's images.
    pub fn with_preprocessing(mut self, preprocessing: Preprocessing) -> Result<Self, ClassifierError> {
        let (network, images) = (self.blueprint.network().image, preprocessing.shape());
        if network != images {
            return Err(ClassifierError::Images { network, images });
        }
        self.preprocessing = Some(preprocessing);
        Ok(self)
    }

    /// Loads a file written by [`save`](Self::save) to a device.
    ///
    /// # Errors
    /// [`ClassifierError`] if the file cannot be read, is damaged, or does not describe its network.
    pub fn load(path: impl AsRef<Path>, device: &Device) -> Result<Self, ClassifierError> {
        let path = path.as_ref();
        let failed = |problem: String| ClassifierError::Load { path: path.to_owned(), problem };
        let unlabelled = |message: String| {
            let fix = "it must be a file written by ImageClassifier::save";
            failed(format!("it does not describe its network ({message}): {fix}"))
        };
        let bytes = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
        let text = fact(&bytes, KEY).map_err(|error| failed(WeightsError::from(error).to_string()))?;
        let text = text.ok_or_else(|| unlabelled(format!("its metadata has no {KEY:?}")))?;
        let facts: Facts = serde_json::from_str(&text).map_err(|error| unlabelled(error.to_string()))?;
        let blueprint =
            Blueprint::from_json(&facts.architecture.to_string()).map_err(|error| failed(error.to_string()))?;
        let device = device.clone().without_autodiff();
        // Otherwise a file of a few bytes could request all memory.
        let (parameters, length) = (blueprint.cost().parameters, bytes.len());
        if parameters > length as u64 / 4 {
            return Err(failed(format!("{parameters} parameters do not fit into its {length} bytes")));
        }
        // The weights drawn here are all replaced.
        let rng = &mut seed::stream(0, "weights", 0);
        let network = Network::new(blueprint.block(), blueprint.network(), rng, &device).map_err(TrainError::from)?;
        let network = network.with_safetensors(&bytes).map_err(|error| failed(error.to_string()))?;
        let statistics = ChannelStatistics { mean: facts.mean, deviation: facts.deviation };
        let classifier = Self::new(blueprint, network, facts.classes, statistics)?;
        match facts.preprocessing {
            Some(preprocessing) => classifier.with_preprocessing(preprocessing),
            None => Ok(classifier),
        }
    }

    /// Returns the classifier as an ONNX file, with the same metadata as the safetensors file that [`save`](Self::save)
    /// writes.
    ///
    /// With [`OnnxForm::pixels`] it takes pictures as bytes and returns probabilities: it includes everything that
    /// [`Preprocessing`] describes, except for turning pictures upright. Shapes are those of [`Blueprint::to_onnx`].
    ///
    /// # Errors
    /// [`ClassifierError`] if the device fails, or the network takes images that no file has.
    #[cfg(feature = "onnx")]
    pub fn to_onnx(&self, form: OnnxForm) -> Result<Vec<u8>, ClassifierError> {
        let pixels = match (form.pixels, &self.preprocessing) {
            (false, _) => None,
            (true, Some(preprocessing)) => Some(PixelInput {
                resize: preprocessing.resize(),
                crop: preprocessing.crop(),
                gray: preprocessing.shape().channels == 1,
                mean: self.statistics.mean.clone(),
                deviation: self.statistics.deviation.clone(),
            }),
            (true, None) => {
                return Err(ClassifierError::Channels { channels: self.blueprint.network().image.channels });
            }
        };
        let options = OnnxOptions { fold: form.fold, pixels, metadata: vec![(KEY.to_owned(), self.facts())] };
        let weights = self.network.to_safetensors(HashMap::new())?;
        Ok(self.blueprint.to_onnx(&weights, &options)?)
    }

    /// Returns the classifier as a folder of a model hub, with the weights as [`save`](Self::save) writes them.
    ///
    /// # Errors
    /// [`ClassifierError`] if the device fails, or the network is too large for ONNX.
    #[cfg(feature = "onnx")]
    pub fn to_hub(&self) -> Result<HubFolder, ClassifierError> {
        Ok(HubFolder::from_weights(self.to_safetensors()?)?)
    }

    /// Its weights and their description.
    fn to_safetensors(&self) -> Result<Vec<u8>, ClassifierError> {
        Ok(self.network.to_safetensors(HashMap::from([(KEY.to_owned(), self.facts())]))?)
    }

    /// The metadata of its files.
    fn facts(&self) -> String {
        facts(&self.blueprint, &self.classes, &self.statistics, self.preprocessing)
    }

    /// Writes the classifier to one safetensors file. Equal classifiers give equal bytes.
    ///
    /// Its metadata contain under `classifier` a JSON object with the `architecture`, the names of the `classes`,
    /// `mean` and `deviation` of each channel, and the `preprocessing` ([`Preprocessing`]).
    ///
    /// # Errors
    /// [`ClassifierError`] if the device or the disk fails.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), ClassifierError> {
        let path = path.as_ref().to_owned();
        let bytes = self.to_safetensors()?;
        files::write(&path, |out| out.write_all(&bytes)).map_err(|source| ClassifierError::Write { path, source })
    }

    /// Returns the network's blueprint.
    #[must_use]
    pub fn blueprint(&self) -> &Blueprint {
        &self.blueprint
    }

    /// Returns the network, in inference mode.
    #[must_use]
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Returns the names of the classes, by label.
    #[must_use]
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// Returns how a picture becomes an image of the network; `None` if no image file has as many channels.
    #[must_use]
    pub fn preprocessing(&self) -> Option<&Preprocessing> {
        self.preprocessing.as_ref()
    }

    /// Classifies all images of a set.
    ///
    /// # Errors
    /// [`ClassifierError`] if the images differ in shape from the network's, or the device fails.
    pub fn classify(&self, images: &ImageSet) -> Result<Vec<Prediction>, ClassifierError> {
        let network = self.blueprint.network().image;
        if network != images.shape() {
            return Err(ClassifierError::Images { network, images: images.shape() });
        }
        let _kept = KeptBuffers;
        let resident = DeviceSet::new(images, &self.statistics, &self.device)?;
        let mut predictions = Vec::with_capacity(images.len());
        for batch in &Batches::in_order(images.len(), self.batch()) {
            let probabilities = softmax(self.folded.forward(resident.batch(batch).0), 1);
            let probabilities = probabilities
                .try_into_vec_as::<f32>()
                .map_err(|error| TrainError::Device { message: error.to_string() })?;
            predictions.extend(probabilities.chunks(self.classes.len()).map(|row| self.prediction(row)));
        }
        Ok(predictions)
    }

    /// Returns how many images are classified at a time.
    pub(super) fn batch(&self) -> NonZeroUsize {
        let ImageShape { height, width, .. } = self.blueprint.network().image;
        let pixels = height.saturating_mul(width).max(BATCH_PIXELS);
        NonZeroUsize::new(BATCH * BATCH_PIXELS / pixels).unwrap_or(NonZeroUsize::MIN)
    }

    /// Returns the share of a set's images that are classified correctly, in percent.
    ///
    /// # Errors
    /// The same errors as [`classify`](Self::classify).
    pub fn accuracy(&self, images: &ImageSet) -> Result<f64, ClassifierError> {
        let predictions = self.classify(images)?;
        let correct =
            predictions.iter().zip(images.labels()).filter(|(found, label)| found.label == usize::from(**label));
        Ok(100.0 * correct.count() as f64 / images.len() as f64)
    }

    /// Classifies an image file of any format that a [`Picture`] can be decoded from, after turning it into an image by
    /// the [`preprocessing`](Self::preprocessing).
    ///
    /// # Errors
    /// [`ClassifierError`] if the file is not an image, or the network takes images with other channels than files
    /// have.
    pub fn classify_file(&self, path: impl AsRef<Path>) -> Result<Prediction, ClassifierError> {
        let pixels = self.files_become()?.apply(Picture::read(path)?);
        // A set of one image has one prediction.
        Ok(self.classify_pixels(1, pixels)?.swap_remove(0))
    }

    /// Classifies all pictures in a folder and the folders below it, in the order of their paths. Each comes with its
    /// prediction, or with the reason why it has none. Other files are ignored, and so are the files that systems leave
    /// in folders, as by an [`ImageFolder`](crate::data::ImageFolder).
    ///
    /// # Errors
    /// [`ClassifierError`] if the folder has no pictures or cannot be read, the network takes images with other
    /// channels than files have, or the device fails.
    pub fn classify_folder(&self, folder: impl AsRef<Path>) -> Result<Vec<ClassifiedFile>, ClassifierError> {
        self.classify_files(picture_files(folder)?)?.collect()
    }

    /// Classifies image files in batches, in their order, while several threads read the next ones. A file comes with
    /// its prediction, or with the reason why it has none.
    ///
    /// The items are errors if the device fails. Dropping the iterator ends the work.
    ///
    /// # Errors
    /// [`ClassifierError::Channels`] if the network takes images with other channels than files have.
    pub fn classify_files(&self, files: impl Into<Arc<[PathBuf]>>) -> Result<ClassifiedFiles<'_>, ClassifierError> {
        let (files, preprocessing) = (files.into(), self.files_become()?);
        let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let window = self.batch().saturating_add(threads.get());
        let work = Arc::clone(&files);
        let images = Ahead::new(files.len(), threads, window, move |index| {
            Picture::read(&work[index]).map(|picture| preprocessing.apply(picture))
        });
        Ok(ClassifiedFiles::new(self, files, images))
    }

    /// Classifies images given as the bytes of their planes.
    pub(super) fn classify_pixels(&self, images: usize, pixels: Vec<u8>) -> Result<Vec<Prediction>, ClassifierError> {
        let shape = self.blueprint.network().image;
        self.classify(&ImageSet::new("image files", shape, self.classes.clone(), vec![0; images], pixels)?)
    }

    fn files_become(&self) -> Result<Preprocessing, ClassifierError> {
        let channels = self.blueprint.network().image.channels;
        self.preprocessing.ok_or(ClassifierError::Channels { channels })
    }

    fn prediction(&self, probabilities: &[f32]) -> Prediction {
        let best = probabilities.iter().enumerate().max_by(|(_, a), (_, b)| a.total_cmp(b));
        let (label, probability) = best.map_or((0, 0.0), |(label, probability)| (label, *probability));
        Prediction { label, class: self.classes[label].clone(), probability, probabilities: probabilities.to_vec() }
    }
}
