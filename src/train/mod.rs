//! Training: from a network and images to an accuracy.
//!
//! - [`Recipe`]: epochs, batches, optimizer, learning rate, restarts and time limit, as data.
//! - [`Training`]: trains the networks that its caller builds by a recipe, with restarts.
//! - [`TrainingEnvironment`]: trains every architecture of a search by one recipe on one data set.
//! - [`TorchTraining`]: the same, in Python processes with `PyTorch`.
//!
//! Images, labels and the state of the training stay on the device; the host waits for it once an epoch.

mod checkpoint;
mod classified_files;
mod device_reads;
mod drop_path;
mod environment;
mod error;
mod fit;
mod image_classifier;
mod latency;
mod memory;
mod optimizer;
mod outcome;
mod parameters;
mod recipe;
mod rung_checkpoints;
#[cfg(all(test, feature = "flex"))]
mod tests;
mod top_k;
mod torch;
mod watch;

pub use checkpoint::Checkpoints;
pub use classified_files::ClassifiedFiles;
pub use environment::TrainingEnvironment;
pub use error::TrainError;
pub use fit::Training;
#[cfg(feature = "onnx")]
pub use image_classifier::OnnxForm;
pub use image_classifier::{ClassifiedFile, ClassifierError, ImageClassifier, Prediction};
pub use latency::{LATENCY_BATCH_MS, LATENCY_MS, LATENCY_RATIO};
pub use memory::memory_estimate;
pub use outcome::{Epoch, Outcome, Trained};
pub use recipe::{OptimizerConfig, Recipe, Restarts, Schedule};
pub use rung_checkpoints::RungCheckpoints;
pub use top_k::top_k_accuracies;
pub use torch::{TORCH_TRAINER, TorchError, TorchTraining};
pub use watch::Watch;

use crate::data::BatchSource;
use crate::graph::ImageShape;
use crate::network::Network;
use burn::module::Module;
use burn::tensor::Tensor;

/// A burn module that classifies images: what [`Training::fit`] trains.
pub trait Classifier: Module {
    /// Returns the logits `[batch, classes]` of images `[batch, channels, height, width]`.
    ///
    /// Images have the type of the recipe's [`Precision`](crate::network::Precision); logits are in single precision.
    /// Images with gradients (on a device with `autodiff`) are for training, others for inference.
    fn classify(&self, images: Tensor<4>) -> Tensor<2>;

    /// Returns the module as one whose paths [`Recipe::drop_path`] drops at random; `None` if it has no notion of paths,
    /// and such a recipe is refused.
    fn paths(&self) -> Option<&dyn DropPaths> {
        None
    }
}

/// A [`Classifier`] with paths that a training may drop, image by image.
pub trait DropPaths {
    /// Returns the number of paths.
    fn path_count(&self) -> usize;

    /// Returns the logits `[batch, classes]` where each path is multiplied by a factor for each image, `[paths, batch]`.
    fn classify_dropping(&self, images: Tensor<4>, factors: Tensor<2>) -> Tensor<2>;
}

impl Classifier for Network {
    fn classify(&self, images: Tensor<4>) -> Tensor<2> {
        self.forward(images)
    }

    fn paths(&self) -> Option<&dyn DropPaths> {
        Some(self)
    }
}

impl DropPaths for Network {
    fn path_count(&self) -> usize {
        Self::path_count(self)
    }

    fn classify_dropping(&self, images: Tensor<4>, factors: Tensor<2>) -> Tensor<2> {
        self.forward_dropping(images, factors)
    }
}

/// Returns the accuracy of a random predictor over this many classes, in percent.
///
/// ```
/// assert_eq!(blockqnn::train::chance_accuracy(100), 1.0);
/// ```
#[must_use]
pub fn chance_accuracy(classes: usize) -> f64 {
    100.0 / classes as f64
}

/// Checks that both sets have images of the same shape and the same number of classes.
fn check_parts(training: &dyn BatchSource, validation: &dyn BatchSource) -> Result<(), TrainError> {
    check_parts_of((training.shape(), training.classes()), (validation.shape(), validation.classes()))
}

/// Checks that two sets have images of the same shape and the same number of classes.
fn check_parts_of(training: (ImageShape, usize), validation: (ImageShape, usize)) -> Result<(), TrainError> {
    if training == validation {
        return Ok(());
    }
    let outline = |(shape, classes): (ImageShape, usize)| format!("{shape} in {classes} classes");
    Err(TrainError::PartMismatch { training: outline(training), validation: outline(validation) })
}
