//! Errors of trainings.

use crate::data::DataError;
use crate::network::NetworkError;
use crate::network::device::DeviceError;
use crate::setting::InvalidSetting;
use std::path::PathBuf;

/// Why a training could not be done: an invalid input, or a failure of the machine.
///
/// A network that is too large or diverges is not an error, but an [`Infeasibility`](crate::evaluation::Infeasibility).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The recipe or the configuration of the network is not valid, or the network does not fit the images.
    #[error(transparent)]
    Config(#[from] InvalidSetting),
    /// The network could not be built.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The device does not support the recipe's number type.
    #[error(transparent)]
    Precision(#[from] DeviceError),
    /// The images could not be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The validation images differ from the training images in shape or number of classes.
    #[error(
        "the training images are {training}, but the validation images are {validation}: both must be parts of the \
         same data set"
    )]
    PartMismatch {
        /// The shape of the training images and the number of their classes.
        training: String,
        /// The same of the validation images.
        validation: String,
    },
    /// A checkpoint could not be read. It need not be damaged.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// A checkpoint is damaged, or belongs to another training.
    #[error("cannot use {}: {message}. Delete it to start the training again from the beginning", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A file of the training could not be written. A file that existed before is unchanged.
    #[error(
        "cannot write {}: {source}. The last checkpoint, if there is one, is kept: remove the cause",
        path.display()
    )]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// A lock file in the folder for temporary files cannot be locked, so latency cannot be measured alone.
    #[error(
        "cannot lock {}: {source}. While latency is measured, other trainings of this machine wait for this lock: set \
         TMPDIR to a folder of this machine that can be written to",
        path.display()
    )]
    Lock {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// The trained network could not be saved.
    #[error("cannot save the trained network: {message}")]
    Save {
        /// The error's message.
        message: String,
    },
    /// The training was stopped from outside.
    #[error("the training was cancelled")]
    Cancelled,
    /// The device has no memory left. A training environment reports this as
    /// [`OutOfMemory`](crate::evaluation::Infeasibility::OutOfMemory).
    #[error("the device is out of memory: {message}")]
    DeviceMemory {
        /// The device's message.
        message: String,
    },
    /// The device fails every operation until the process ends.
    #[error("the device cannot be used until the program is started again: {message}")]
    DevicePoisoned {
        /// The device's message.
        message: String,
    },
    /// The device failed.
    #[error("the device failed during training: {message}")]
    Device {
        /// The device's message.
        message: String,
    },
}
