//! Checkpoints of long trainings: everything needed to continue with the next batch as if there had been no
//! interruption.

use super::{Epoch, Recipe, TrainError};
use crate::files;
use crate::network::{Stored, fact, numbers};
use burn::optim::ModuleOptimizer;
use burn::tensor::{Bytes, Device, Tensor, TensorData};
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The version of the checkpoint format.
const FORMAT: u32 = 1;
const FILE: &str = "checkpoint.safetensors";
const LOG: &str = "epochs.csv";
const KEY: &str = "training";

/// Where a long training keeps its checkpoint and its log, and how often it writes them.
///
/// A training continues from the checkpoint in its folder, if there is one; see
/// [`Training::with_checkpoints`](super::Training::with_checkpoints). The folder has
/// - `checkpoint.safetensors`: weights, running statistics, state of the optimizer, and the position down to the batch;
/// - `epochs.csv`: `epoch` (from 1), `learning_rate`, `training_loss`, `accuracy` (percent; empty if not measured),
///   `seconds` (since the beginning, without pauses), `images_per_second`.
///
/// ```
/// use blockqnn::train::Checkpoints;
///
/// let checkpoints = Checkpoints::new("trainings/best").with_every(5);
/// assert_eq!(checkpoints.folder(), std::path::Path::new("trainings/best"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoints {
    pub(super) folder: PathBuf,
    pub(super) every: u32,
}

impl Checkpoints {
    /// Creates settings for a folder, which is created if it does not exist. A checkpoint is written every 10 epochs,
    /// and whenever the training is cancelled.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), every: 10 }
    }

    /// Sets the number of epochs between checkpoints; with 0 one is written only on cancellation.
    #[must_use]
    pub fn with_every(self, epochs: u32) -> Self {
        Self { every: epochs, ..self }
    }

    /// Returns the folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Deletes the checkpoint, if there is one, so that the training cannot be continued. The log is kept.
    ///
    /// # Errors
    /// [`TrainError::Write`] if it cannot be deleted.
    pub fn delete(&self) -> Result<(), TrainError> {
        remove(self.folder.join(FILE))
    }

    /// Returns whether a checkpoint is due after this many epochs.
    pub(super) fn is_due(&self, epochs: u32) -> bool {
        self.every > 0 && epochs.is_multiple_of(self.every)
    }
}

/// What must be the same for a training to be continued.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Task {
    pub(super) recipe: Recipe,
    pub(super) seed: u64,
    pub(super) training_images: usize,
    pub(super) validation_images: usize,
    pub(super) classes: usize,
}

/// How far a training has come.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Progress {
    pub(super) restarts: u32,
    /// The finished epochs of the attempt.
    pub(super) epoch: u32,
    /// The finished batches of the current epoch.
    pub(super) batch: usize,
    pub(super) epochs: Vec<Epoch>,
    /// The seconds since the beginning, without pauses.
    pub(super) seconds: f64,
    /// The part of them in which shorter trainings ended that this one continues: their results have it already.
    #[serde(default)]
    pub(super) seconds_of_earlier_ends: f64,
}

impl Progress {
    /// Whether this is no further than the end of an epoch, from 1.
    pub(super) fn is_within(&self, epoch: u32) -> bool {
        self.epoch < epoch || self.epoch == epoch && self.batch == 0
    }
}

#[derive(Serialize, Deserialize)]
struct Description {
    format: u32,
    task: Task,
    progress: Progress,
    parameters: usize,
}

/// The state of a training between two batches.
pub(super) struct Snapshot {
    pub(super) progress: Progress,
    /// The module's numbers.
    pub(super) values: Vec<Tensor<1>>,
    /// Their running mean, if the recipe has one.
    pub(super) average: Option<Vec<Tensor<1>>>,
    /// The sum of the epoch's mean loss so far.
    pub(super) loss: Tensor<1>,
    /// The state of the optimizer, as burn packs it.
    pub(super) optimizer: Vec<u8>,
}

impl Snapshot {
    /// Packs the optimizer's state.
    pub(super) fn pack(optimizer: &ModuleOptimizer) -> Result<Vec<u8>, TrainError> {
        let bytes = optimizer.into_bytes().map_err(|error| TrainError::Device { message: error.to_string() })?;
        Ok(bytes.to_vec())
    }

    /// Restores an optimizer's state.
    pub(super) fn unpack(&self, optimizer: ModuleOptimizer, path: &Path) -> Result<ModuleOptimizer, TrainError> {
        let bytes = Bytes::from_bytes_vec(self.optimizer.clone());
        optimizer.from_bytes(bytes).map_err(|error| failed(path, &error))
    }

    pub(super) fn write(self, checkpoints: &Checkpoints, task: &Task) -> Result<(), TrainError> {
        let path = checkpoints.folder.join(FILE);
        let unwritten = |source| TrainError::Write { path: path.clone(), source };
        std::fs::create_dir_all(&checkpoints.folder).map_err(unwritten)?;
        let device = |error: burn::tensor::DataError| TrainError::Device { message: format!("{error:?}") };
        let stored = |name: String, tensor: Tensor<1>| -> Result<Stored, TrainError> {
            let values = tensor.into_data().try_to_vec::<f32>().map_err(device)?;
            Ok(Stored::numbers(name, vec![values.len()], &values))
        };
        let parameters = self.values.len();
        let (shape, bytes) = (vec![self.optimizer.len()], self.optimizer);
        let optimizer = Stored { name: "optimizer".to_owned(), dtype: Dtype::U8, shape, bytes };
        let mut tensors = vec![stored("loss".to_owned(), self.loss)?, optimizer];
        for (kind, values) in [("value", self.values), ("average", self.average.unwrap_or_default())] {
            for (number, value) in values.into_iter().enumerate() {
                tensors.push(stored(format!("{kind}.{number}"), value)?);
            }
        }
        let description = Description { format: FORMAT, task: task.clone(), progress: self.progress, parameters };
        let text = serde_json::to_string(&description).map_err(|error| unwritten(error.into()))?;
        let file = Stored::file(&tensors, HashMap::from([(KEY.to_owned(), text)]));
        let file = file.map_err(|error| unwritten(std::io::Error::other(error)))?;
        files::write(&path, |out| out.write_all(&file)).map_err(unwritten)
    }

    /// Reads the checkpoint in a folder, if there is one, onto a plain device. It must belong to the same task.
    pub(super) fn read(checkpoints: &Checkpoints, task: &Task, device: &Device) -> Result<Option<Self>, TrainError> {
        let path = checkpoints.folder.join(FILE);
        files::remove_leftovers(&checkpoints.folder);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(TrainError::Read { path, source }),
        };
        let refuse = |message: &str| Err(TrainError::Checkpoint { path: path.clone(), message: message.to_owned() });
        let file = SafeTensors::deserialize(&bytes).map_err(|error| failed(&path, &error))?;
        let Some(text) = fact(&bytes, KEY).map_err(|error| failed(&path, &error))? else {
            return refuse("it is not a checkpoint of a training");
        };
        let description: Description = serde_json::from_str(&text).map_err(|error| failed(&path, &error))?;
        if description.format > FORMAT {
            return refuse("it was written by a later version of this crate");
        }
        if description.task != *task {
            return refuse("it belongs to a training with another recipe, seed or number of images");
        }
        let tensor = |name: String| -> Result<Tensor<1>, TrainError> {
            let view = file.tensor(&name).map_err(|error| failed(&path, &error))?;
            let values = numbers(&view);
            let elements = values.len();
            Ok(Tensor::from_data(TensorData::new(values, [elements]), device))
        };
        let all = |kind: &str| -> Result<Vec<Tensor<1>>, TrainError> {
            (0..description.parameters).map(|number| tensor(format!("{kind}.{number}"))).collect()
        };
        let optimizer = file.tensor("optimizer").map_err(|error| failed(&path, &error))?.data().to_vec();
        let average = task.recipe.weight_averaging.is_some().then(|| all("average")).transpose()?;
        Ok(Some(Self {
            values: all("value")?,
            average,
            loss: tensor("loss".to_owned())?,
            optimizer,
            progress: description.progress,
        }))
    }
}

/// Removes a file, if it is there.
pub(super) fn remove(path: PathBuf) -> Result<(), TrainError> {
    match std::fs::remove_file(&path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(TrainError::Write { path, source }),
        _ => Ok(()),
    }
}

/// Returns the path of the checkpoint, for errors.
pub(super) fn path(checkpoints: &Checkpoints) -> PathBuf {
    checkpoints.folder.join(FILE)
}

/// Writes the log of all epochs.
pub(super) fn log(checkpoints: &Checkpoints, epochs: &[Epoch], images: usize) -> Result<(), TrainError> {
    let path = checkpoints.folder.join(LOG);
    let unwritten = |source| TrainError::Write { path: path.clone(), source };
    std::fs::create_dir_all(&checkpoints.folder).map_err(unwritten)?;
    let write = |out: &mut dyn Write| {
        writeln!(out, "epoch,learning_rate,training_loss,accuracy,seconds,images_per_second")?;
        let mut before = 0.0;
        for (number, epoch) in epochs.iter().enumerate() {
            let accuracy = epoch.accuracy.map(|accuracy| accuracy.to_string()).unwrap_or_default();
            let speed = images as f64 / (epoch.seconds - before).max(f64::MIN_POSITIVE);
            before = epoch.seconds;
            let Epoch { learning_rate, training_loss, seconds, .. } = epoch;
            writeln!(out, "{},{learning_rate},{training_loss},{accuracy},{seconds:.3},{speed:.1}", number + 1)?;
        }
        Ok(())
    };
    files::write(&path, write).map_err(unwritten)
}

fn failed(path: &Path, error: &dyn std::fmt::Display) -> TrainError {
    TrainError::Checkpoint { path: path.to_owned(), message: error.to_string() }
}
