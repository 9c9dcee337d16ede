//! Why a training could not be done.

use crate::data::DataError;
use crate::graph::ImageShape;
use crate::network::NetworkError;
use crate::network::device::DeviceError;
use crate::setting::InvalidSetting;
use std::path::PathBuf;

/// Why a training could not be done: a mistake in what it was given, or a fault of the machine.
///
/// That a network is too large or diverges is not an error, but an
/// [`Infeasibility`](crate::evaluation::Infeasibility).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The recipe describes no training, or the configuration no network.
    #[error(transparent)]
    Config(#[from] InvalidSetting),
    /// The network could not be built.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The device does not compute in the recipe's number type.
    #[error(transparent)]
    Precision(#[from] DeviceError),
    /// The images could not be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The network is configured for images of another shape.
    #[error(
        "network.image is {}, but the images of {set:?} are {}: set network.image to theirs",
        shape(network),
        shape(images)
    )]
    ImageMismatch {
        /// Shape that the network takes.
        network: ImageShape,
        /// Shape of the images.
        images: ImageShape,
        /// Name of the set.
        set: String,
    },
    /// The network is configured for another number of classes.
    #[error("network.classes is {network}, but {set:?} has {classes} classes: set network.classes to {classes}")]
    ClassMismatch {
        /// Classes of the network.
        network: usize,
        /// Classes of the set.
        classes: usize,
        /// Name of the set.
        set: String,
    },
    /// The validation images do not look like the training images.
    #[error(
        "the training images are {} in {training_classes} classes, but the validation images are {} in \
         {validation_classes}: both must be parts of the same data set",
        shape(training),
        shape(validation)
    )]
    PartMismatch {
        /// Shape of the training images.
        training: ImageShape,
        /// Classes of the training images.
        training_classes: usize,
        /// Shape of the validation images.
        validation: ImageShape,
        /// Classes of the validation images.
        validation_classes: usize,
    },
    /// A checkpoint could not be read. It may well be good.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What happened.
        #[source]
        source: std::io::Error,
    },
    /// A checkpoint is damaged, or of another training.
    #[error("cannot use {}: {message}. Delete it to start the training again from the beginning", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A file of the training could not be written. The one that was there before still is.
    #[error(
        "cannot write {}: {source}. The last checkpoint, if there is one, is kept: remove the cause",
        path.display()
    )]
    Write {
        /// The file.
        path: PathBuf,
        /// What happened.
        #[source]
        source: std::io::Error,
    },
    /// The trained network could not be saved.
    #[error("cannot save the trained network: {message}")]
    Save {
        /// What happened.
        message: String,
    },
    /// The training was stopped from outside.
    #[error("the training was cancelled")]
    Cancelled,
    /// The device has no memory left. An environment takes it as
    /// [`OutOfMemory`](crate::evaluation::Infeasibility::OutOfMemory).
    #[error("the device is out of memory: {message}")]
    DeviceMemory {
        /// What it said.
        message: String,
    },
    /// The device fails whatever it is asked, until the process ends.
    #[error("the device cannot be used until the program is started again: {message}")]
    DevicePoisoned {
        /// What it said.
        message: String,
    },
    /// The device failed.
    #[error("the device failed during training: {message}")]
    Device {
        /// What it said.
        message: String,
    },
}

fn shape(shape: &ImageShape) -> String {
    format!("{}x{}x{}", shape.channels, shape.height, shape.width)
}
