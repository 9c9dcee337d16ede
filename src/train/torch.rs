//! Trainings by `PyTorch`: the same recipe, images and initial weights, in Python processes.

use super::checkpoint;
use super::environment::{check, identity};
use super::image_classifier::facts;
use super::{Recipe, TrainError, TrainingEnvironment, check_parts_of};
use crate::cache;
use crate::data::{ChannelStatistics, ImageSet, Preprocessing};
use crate::evaluator::{
    PYTHON_WORKER, ProcessConfig, ProcessEvaluator, StartError, TrainerCommand, TrainerEnvironment,
};
use crate::export::Blueprint;
use crate::files;
use crate::graph::{Fingerprint, LayerGraph, NetworkConfig, ToGraph};
use crate::setting::InvalidSetting;
use safetensors::{Dtype, tensor::TensorView};
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

/// The program `torch_trainer.py`, which trains by a [`Recipe`] with `PyTorch`. It needs [`PYTHON_WORKER`] beside it.
pub const TORCH_TRAINER: &str = include_str!("../../python/torch_trainer.py");

/// The name of the trainer.
const NAME: &str = "torch";

/// Trainings by `PyTorch`, as [`TrainingEnvironment`] trains: by the same recipe, from the same initial weights, on the
/// same images in the same order with the same random changes.
///
/// Python processes train, one network at a time each, with `torch` and `numpy` alone. They receive the source of a
/// network ([`Blueprint::to_pytorch`]), and read the images from a file that is written once. Accuracies differ from
/// those of [`TrainingEnvironment`] as sums in another order do; their identity names the version of `PyTorch` and the
/// kind of device, so that the results of both do not mix in a run.
///
/// ```no_run
/// use blockqnn::data::{Split, embedded};
/// use blockqnn::environment::Environment;
/// use blockqnn::evaluator::ProcessConfig;
/// use blockqnn::graph::{ImageShape, NetworkConfig};
/// use blockqnn::space::block::BlockCode;
/// use blockqnn::train::{Recipe, TorchTraining};
///
/// let split = Split::new(embedded::train(), 400, 7)?;
/// let image = ImageShape { channels: 1, height: 28, width: 28 };
/// let network = NetworkConfig::cifar().with_data(image, 10);
/// let torch = TorchTraining::new(None, split.training(), split.validation(), network, Recipe::early_stop())?;
/// let environment = torch.with_python("python3").environment::<BlockCode>(Some("cuda:0"), ProcessConfig::new())?;
/// println!("{}", environment.identity());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct TorchTraining {
    python: PathBuf,
    script: PathBuf,
    split: PathBuf,
    checksum: String,
    network: NetworkConfig,
    recipe: Recipe,
    classes: Vec<String>,
    statistics: ChannelStatistics,
    identity: String,
    folder: Option<PathBuf>,
    seconds_between_checkpoints: u32,
    keeps_networks: bool,
    is_compiled: bool,
}

/// Why trainings by `PyTorch` cannot be prepared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TorchError {
    /// The settings are not valid, or do not fit the images.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// A file for the Python processes could not be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
}

impl TorchTraining {
    /// Prepares trainings on `training`, measured on `validation`, both normalised by the statistics of `training`.
    ///
    /// The images, the program and the module that it imports are written to `folder`, or to `torch` in the user's
    /// cache folder (`BLOCKQNN_CACHE`). Files have the checksums of their contents in their names, and those that are
    /// there are used again.
    ///
    /// # Errors
    /// [`TorchError`] under the conditions of [`TrainingEnvironment::with_parts`], or if a file cannot be written.
    pub fn new(
        folder: Option<&Path>,
        training: &ImageSet,
        validation: &ImageSet,
        network: NetworkConfig,
        recipe: Recipe,
    ) -> Result<Self, TorchError> {
        check(training, &network, &recipe)?;
        let expected = "false with PyTorch: latency is measured of the networks that this crate builds";
        InvalidSetting::check("recipe.latency", recipe.latency, !recipe.latency, expected).map_err(TrainError::from)?;
        check_parts_of((training.shape(), training.classes().len()), (validation.shape(), validation.classes().len()))?;
        let in_cache = || cache::folder().unwrap_or_else(std::env::temp_dir).join(NAME);
        let folder = folder.map_or_else(in_cache, Path::to_owned);
        let statistics = training.channel_statistics();
        let images = split(training, validation, &statistics)?;
        let checksum = format!("{:x}", Sha256::digest(&images));
        let split = folder.join(format!("split-{}.safetensors", &checksum[..16]));
        put(&split, &images)?;
        let version = format!("{:x}", Sha256::new().chain_update(PYTHON_WORKER).chain_update(TORCH_TRAINER).finalize());
        let programs = folder.join(format!("trainer-{}", &version[..16]));
        put(&programs.join("blockqnn_worker.py"), PYTHON_WORKER.as_bytes())?;
        let script = programs.join("torch_trainer.py");
        put(&script, TORCH_TRAINER.as_bytes())?;
        let identity = identity(training, validation, &network, &recipe);
        let (python, classes) = (PathBuf::from("python3"), training.classes().to_vec());
        Ok(Self {
            python,
            script,
            split,
            checksum,
            network,
            recipe,
            classes,
            statistics,
            identity,
            folder: None,
            seconds_between_checkpoints: 30,
            keeps_networks: false,
            is_compiled: false,
        })
    }

    /// Sets the Python to start; by default `python3`, as the system finds it.
    #[must_use]
    pub fn with_python(mut self, python: impl Into<PathBuf>) -> Self {
        self.python = python.into();
        self
    }

    /// Keeps the state of each training in a separate folder below `folder`
    /// ([`trial_folder`](TrainingEnvironment::trial_folder)), so that an interrupted one continues after the epoch that
    /// was kept last. It is deleted when the next training begins.
    #[must_use]
    pub fn with_checkpoints(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// Sets the least number of seconds between two checkpoints of a training, which are written after an epoch; by
    /// default 30.
    #[must_use]
    pub fn with_seconds_between_checkpoints(mut self, seconds: u32) -> Self {
        self.seconds_between_checkpoints = seconds;
        self
    }

    /// Keeps checkpoints, and what was trained as well: the log `epochs.csv`, and `network.safetensors`, which
    /// [`ImageClassifier::load`](super::ImageClassifier::load) loads.
    #[must_use]
    pub fn with_networks_kept(mut self, folder: impl Into<PathBuf>) -> Self {
        self.keeps_networks = true;
        self.with_checkpoints(folder)
    }

    /// Compiles each network with `torch.compile` (`PyTorch` 2), which takes a while and makes long trainings faster.
    #[must_use]
    pub fn with_compilation(mut self) -> Self {
        self.is_compiled = true;
        self
    }

    /// Deletes the checkpoint of a training, if there is one.
    ///
    /// # Errors
    /// [`TrainError::Write`] if it cannot be deleted.
    pub fn delete_checkpoint(folder: &Path, fingerprint: Fingerprint, seed: u64) -> Result<(), TrainError> {
        checkpoint::remove(TrainingEnvironment::trial_folder(folder, fingerprint, seed).join("checkpoint.pt"))
    }

    /// Starts a process for each name and device, and waits until they are ready. A device is `cpu`, `cuda`, `cuda:N`
    /// or `mps`; without one it is a CUDA card if there is one, otherwise the CPU, whose cores the processes share
    /// equally.
    ///
    /// # Errors
    /// [`StartError`] if there are none, or one is not ready: it says what is missing.
    pub fn evaluator<A: ToGraph + Serialize + 'static>(
        &self,
        processes: Vec<(String, Option<String>)>,
        config: ProcessConfig,
    ) -> Result<ProcessEvaluator<A>, StartError> {
        let threads = threads(processes.len());
        let children =
            processes.into_iter().map(|(name, device)| (name, self.briefing(device.as_deref(), threads))).collect();
        let [pytorch, classifier] = [self.clone(), self.clone()];
        Ok(ProcessEvaluator::new(children, config.with_trainer(self.command()))?
            .with_form("paths", |architecture: &A| paths(&architecture.to_graph()))
            .with_form("pytorch", move |architecture: &A| pytorch.source(&architecture.to_graph()))
            .with_form("classifier", move |architecture: &A| classifier.facts(&architecture.to_graph())))
    }

    /// Starts one process as an environment, for [`evaluator`](Self::evaluator)s on other machines.
    ///
    /// # Errors
    /// [`StartError`] if it is not ready: it says what is missing.
    pub fn environment<A: ToGraph + Serialize + 'static>(
        &self,
        device: Option<&str>,
        config: ProcessConfig,
    ) -> Result<TrainerEnvironment<A>, StartError> {
        let [pytorch, classifier] = [self.clone(), self.clone()];
        let briefing = self.briefing(device, threads(1));
        Ok(TrainerEnvironment::new(briefing, config.with_trainer(self.command()))?
            .with_form("paths", |architecture: &A| paths(&architecture.to_graph()))
            .with_form("pytorch", move |architecture: &A| pytorch.source(&architecture.to_graph()))
            .with_form("classifier", move |architecture: &A| classifier.facts(&architecture.to_graph())))
    }

    /// Returns the identity of trainings on a device, for a search whose workers are elsewhere. This machine needs the
    /// same version of `PyTorch`, but not the device.
    ///
    /// # Errors
    /// [`StartError`] if the process is not ready: it says what is missing.
    pub fn identity_on(&self, device: Option<&str>) -> Result<String, StartError> {
        let mut briefing = self.briefing(device, None);
        briefing[NAME]["probe"] = true.into();
        let config = ProcessConfig::new().with_trainer(self.command());
        let environment = TrainerEnvironment::<()>::new(briefing, config)?;
        Ok(crate::environment::Environment::identity(&environment))
    }

    fn command(&self) -> TrainerCommand {
        TrainerCommand::new(&self.python, [&self.script]).with_name(NAME).with_epochs(self.recipe.epochs)
    }

    /// What a process receives before its first task.
    fn briefing(&self, device: Option<&str>, threads: Option<NonZeroUsize>) -> Value {
        json!({ NAME: {
            "identity": self.identity,
            "recipe": self.recipe,
            "split": { "path": self.split.to_string_lossy(), "sha256": self.checksum },
            "device": device,
            "threads": threads,
            "folder": self.folder.as_deref().map(Path::to_string_lossy),
            "every": self.seconds_between_checkpoints,
            "keep": self.keeps_networks,
            "compile": self.is_compiled,
        }})
    }

    /// An architecture in its network; `None` if its sizes overflow, and it is never trained.
    fn blueprint(&self, graph: &LayerGraph) -> Option<Blueprint> {
        Blueprint::new(graph.fingerprint().to_string(), graph.clone(), self.network.clone()).ok()
    }

    fn source(&self, graph: &LayerGraph) -> Value {
        self.blueprint(graph).map_or(Value::Null, |blueprint| blueprint.to_pytorch().into())
    }

    /// The metadata of its weights.
    fn facts(&self, graph: &LayerGraph) -> Value {
        let preprocessing = Preprocessing::whole(self.network.image);
        let facts = |blueprint| facts(&blueprint, &self.classes, &self.statistics, preprocessing);
        self.blueprint(graph).map_or(Value::Null, |blueprint| facts(blueprint).into())
    }
}

/// The sums of a block, each with the positions of the inputs that are paths.
fn paths(graph: &LayerGraph) -> Value {
    let paths = graph.paths();
    let sums = paths.chunk_by(|[before, _], [after, _]| before == after);
    sums.map(|sum| json!([sum[0][0], sum.iter().map(|[_, input]| input).collect::<Vec<_>>()])).collect()
}

/// The threads of each of several processes on the CPU.
fn threads(processes: usize) -> Option<NonZeroUsize> {
    let cores = std::thread::available_parallelism().ok()?;
    NonZeroUsize::new(cores.get() / processes.max(1)).or(Some(NonZeroUsize::MIN))
}

/// Both parts as a safetensors file. Its metadata have under `split` the name of the set, its classes, and the mean and
/// deviation of each channel.
fn split(training: &ImageSet, validation: &ImageSet, statistics: &ChannelStatistics) -> Result<Vec<u8>, TorchError> {
    let labels = [training, validation]
        .map(|part| part.labels().iter().flat_map(|&label| i32::from(label).to_le_bytes()).collect::<Vec<u8>>());
    let facts = json!({
        "name": training.name(),
        "classes": training.classes(),
        "mean": statistics.mean,
        "deviation": statistics.deviation,
    });
    let mut views = Vec::new();
    for ((name, part), labels) in [("training", training), ("validation", validation)].into_iter().zip(&labels) {
        let crate::graph::ImageShape { channels, height, width } = part.shape();
        let shape = vec![part.len(), channels, height, width];
        views.push((format!("{name}.pixels"), TensorView::new(Dtype::U8, shape, part.pixels())));
        views.push((format!("{name}.labels"), TensorView::new(Dtype::I32, vec![part.len()], labels)));
    }
    let views = views.into_iter().map(|(name, view)| Ok((name, view?))).collect::<Result<Vec<_>, _>>();
    let facts = HashMap::from([("split".to_owned(), facts.to_string())]);
    let file = views.and_then(|views| safetensors::serialize(views, Some(facts)));
    file.map_err(|error: safetensors::SafeTensorError| TrainError::Save { message: error.to_string() }.into())
}

/// Writes a file unless it is there already.
fn put(path: &Path, bytes: &[u8]) -> Result<(), TorchError> {
    if std::fs::read(path).is_ok_and(|found| found == bytes) {
        return Ok(());
    }
    let unwritten = |source| TorchError::Write { path: path.to_owned(), source };
    path.parent().map_or(Ok(()), std::fs::create_dir_all).map_err(unwritten)?;
    files::write(path, |out| out.write_all(bytes)).map_err(unwritten)
}
