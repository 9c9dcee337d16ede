//! Training as an environment of a search.

use super::device_reads::{DeviceReads, Direct, known_fault};
use super::latency::{Road, Yielding, latencies};
use super::{
    Checkpoints, ClassifierError, ImageClassifier, Outcome, Recipe, RungCheckpoints, TrainError, Training, check_parts,
};
use crate::data::{BatchSource, ChannelStatistics, DeviceSet, ImageSet, Split};
use crate::environment::{Condition, Environment, TrialContext, panic_message};
use crate::evaluation::{Evaluation, Infeasibility, Trial};
use crate::export::Blueprint;
use crate::graph::{Fingerprint, LayerGraph, NetworkConfig, ToGraph};
use crate::network::{KeptBuffers, Network, NetworkError};
use crate::seed;
use crate::setting::InvalidSetting;
use burn::tensor::Device;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The version of the arithmetic on the CPU. It grows whenever a training ends with other bits than before, by other
/// kernels of our own or of burn, so that one run has the results of one version.
const KERNELS: u32 = 2;

/// An environment that evaluates an architecture by training its network, as in the paper.
///
/// It accepts every architecture that has a [`LayerGraph`](crate::graph::LayerGraph). The images are copied to the
/// device once and kept there; clones share them, so that each worker of a process can have a clone. Two networks
/// trained at once, in two threads, make better use of two cores than one after the other.
///
/// A network that diverges, takes too long, exhausts the memory of the device or is too large to be built is
/// [`Evaluation::Infeasible`]. The environment has no limit on cost: that is up to the search that proposes trials.
///
/// # Latency
/// With [`Recipe::latency`], each network is measured once it is trained, and its metrics have the measurements
/// [`LATENCY_MS`](super::LATENCY_MS) (one image), [`LATENCY_BATCH_MS`](super::LATENCY_BATCH_MS) (a batch as large as the
/// recipe's) and [`LATENCY_RATIO`](super::LATENCY_RATIO) (one image, relative to a network of the block `resnet-basic`
/// that is measured in turn with it). They are those of this device and this number of threads, and are not repeatable
/// to the bit; the ratio can be compared between moments. Meanwhile all other trainings of this machine that measure
/// too wait, in this process and in others: they give way between two batches, for a few seconds. Other machines are
/// not waited for, nor other programs.
///
/// ```
/// use blockqnn::data::{Split, embedded};
/// use blockqnn::graph::{LayerGraph, NetworkConfig};
/// use blockqnn::environment::Environment;
/// use blockqnn::network::device::parse_device;
/// use blockqnn::train::{Recipe, TrainingEnvironment};
///
/// # #[cfg(not(feature = "flex"))]
/// # return Ok(());
/// let split = Split::new(embedded::train().limit(100, 7)?, 40, 7)?;
/// let network = NetworkConfig { classes: 10, ..NetworkConfig::cifar() };
/// let error = TrainingEnvironment::new(&split, network.clone(), Recipe::early_stop(), &parse_device("flex")?);
/// assert!(error.unwrap_err().to_string().starts_with("network.image is 3x32x32: it must be 1x28x28, as in "));
///
/// let image = blockqnn::graph::ImageShape { channels: 1, height: 28, width: 28 };
/// let network = network.with_data(image, 10);
/// let environment = TrainingEnvironment::new(&split, network, Recipe::early_stop(), &parse_device("flex")?)?;
/// assert!(Environment::<LayerGraph>::identity(&environment).starts_with("training 1 sha256:"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct TrainingEnvironment {
    training: DeviceSet,
    validation: DeviceSet,
    network: NetworkConfig,
    recipe: Recipe,
    identity: String,
    classes: Vec<String>,
    statistics: ChannelStatistics,
    /// Where the folders of trials are, and how often their trainings are saved.
    keep: Option<Checkpoints>,
    /// Where the checkpoints are of trials that may be promoted, if trainings are not kept.
    rungs: Option<PathBuf>,
    threads: Option<NonZeroUsize>,
    reads: Arc<dyn DeviceReads>,
    /// Whether the device is lost until the process ends, or the folder for the networks cannot be used.
    broken: bool,
}

impl fmt::Debug for TrainingEnvironment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrainingEnvironment")
            .field("network", &self.network)
            .field("recipe", &self.recipe)
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

impl TrainingEnvironment {
    /// Creates an environment that trains on the training part of a split and measures on its validation part.
    ///
    /// # Errors
    /// The same errors as [`with_parts`](Self::with_parts).
    pub fn new(split: &Split, network: NetworkConfig, recipe: Recipe, device: &Device) -> Result<Self, TrainError> {
        Self::with_parts(split.training(), split.validation(), network, recipe, device)
    }

    /// Creates an environment that trains on `training` and measures on `validation`, both normalised by the statistics
    /// of `training`.
    ///
    /// # Errors
    /// [`TrainError`] if the network's configuration or the recipe is not valid, or if network, training and validation
    /// images differ in shape or in the number of classes.
    pub fn with_parts(
        training: &ImageSet,
        validation: &ImageSet,
        network: NetworkConfig,
        recipe: Recipe,
        device: &Device,
    ) -> Result<Self, TrainError> {
        check(training, &network, &recipe)?;
        let identity = format!("{}, kernels {KERNELS}", identity(training, validation, &network, &recipe));
        let statistics = training.channel_statistics();
        let classes = training.classes().to_vec();
        let device = device.clone().without_autodiff();
        let training = DeviceSet::new(training, &statistics, &device)?;
        let validation = DeviceSet::new(validation, &statistics, &device)?;
        check_parts(&training, &validation)?;
        Ok(Self {
            training,
            validation,
            network,
            recipe,
            identity,
            classes,
            statistics,
            keep: None,
            rungs: None,
            threads: None,
            reads: Arc::new(Direct),
            broken: false,
        })
    }

    /// Keeps what it trains in a separate folder below `folder` for each trial (see
    /// [`trial_folder`](Self::trial_folder)): a checkpoint every `checkpoint_every` epochs, from which an interrupted
    /// trial continues, the log, and at the end `network.safetensors`, which [`ImageClassifier::load`] loads. Results
    /// stay the same.
    #[must_use]
    pub fn with_networks_kept(self, folder: impl Into<PathBuf>, checkpoint_every: u32) -> Self {
        Self { keep: Some(Checkpoints::new(folder).with_every(checkpoint_every)), ..self }
    }

    /// Keeps the training of a trial that may be promoted, in a search with [rungs](crate::search::Rungs), in a folder
    /// below `folder` (see [`trial_folder`](Self::trial_folder)), so that it is continued and not started again. It is
    /// deleted once the trial has all its epochs; [`RungCheckpoints`](super::RungCheckpoints) deletes those that are
    /// not promoted. Results stay the same. [`with_networks_kept`](Self::with_networks_kept) takes precedence.
    #[must_use]
    pub fn with_rungs_kept(self, folder: impl Into<PathBuf>) -> Self {
        Self { rungs: Some(folder.into()), ..self }
    }

    /// Builds other networks from now on, for the same images. The identity stays.
    ///
    /// # Errors
    /// [`TrainError`] if the network is for images of another shape or another number of classes.
    pub(crate) fn change_network(&mut self, network: NetworkConfig) -> Result<(), TrainError> {
        let NetworkConfig { image, classes, .. } = self.network;
        let like = |value: &dyn fmt::Display| format!("{value}, as in the images");
        InvalidSetting::check("network.image", network.image, network.image == image, like(&image))?;
        InvalidSetting::check("network.classes", network.classes, network.classes == classes, like(&classes))?;
        self.network = network;
        Ok(())
    }

    /// Returns where the training of a trial is kept: as the user wants it, or as long as it may be promoted.
    fn checkpoints(&self, context: &TrialContext<'_>) -> Option<Checkpoints> {
        let of_rungs =
            || Some(Checkpoints::new(self.rungs.as_ref().filter(|_| context.rung().is_some())?).with_every(0));
        Some(self.keep.clone().or_else(of_rungs)?.of_trial(context.trial()))
    }

    /// Deletes what was kept of a trial that has all its epochs.
    fn drop_rungs(&self, trial: &Trial) {
        if let (Some(folder), None) = (&self.rungs, &self.keep) {
            RungCheckpoints::new(folder).remove(trial.fingerprint, trial.seed);
        }
    }

    /// Sets the number of threads to compute with on CPU devices, in each thread that evaluates with this environment.
    ///
    /// By default all trainings of a process share as many threads as there are cores. Results are the same, bit for
    /// bit. On a GPU the setting has no effect.
    ///
    /// A thread keeps the number with which it first evaluated; one that belongs to a rayon pool keeps that pool.
    #[must_use]
    pub fn with_threads(self, threads: NonZeroUsize) -> Self {
        Self { threads: Some(threads), ..self }
    }

    /// Applies the number of threads, if it was set, to the current thread.
    pub(super) fn use_threads(&self) {
        if let Some(threads) = self.threads {
            use_threads(threads);
        }
    }

    /// Returns the folder below `folder` for a trial's network, named by its fingerprint and its seed.
    ///
    /// ```
    /// use blockqnn::train::TrainingEnvironment;
    ///
    /// let fingerprint = "0123456789abcdef0123456789abcdef".parse()?;
    /// let folder = TrainingEnvironment::trial_folder("networks".as_ref(), fingerprint, 7);
    /// assert!(folder.ends_with("0123456789abcdef0123456789abcdef-0000000000000007"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn trial_folder(folder: &Path, fingerprint: Fingerprint, seed: u64) -> PathBuf {
        folder.join(format!("{fingerprint}-{seed:016x}"))
    }

    fn train(&self, graph: &LayerGraph, context: &TrialContext<'_>) -> Result<Outcome<Network>, TrainError> {
        catch_unwind(AssertUnwindSafe(|| self.train_and_measure(graph, context))).unwrap_or_else(|panic| {
            match panic_message(panic.as_ref()).and_then(known_fault) {
                Some(fault) => Err(fault),
                None => resume_unwind(panic),
            }
        })
    }

    fn train_and_measure(
        &self,
        graph: &LayerGraph,
        context: &TrialContext<'_>,
    ) -> Result<Outcome<Network>, TrainError> {
        let build = |rng: &mut dyn rand::Rng, device: &Device| Ok(Network::new(graph, &self.network, rng, device)?);
        let Self { recipe, training, validation, .. } = self;
        let seed = context.trial().seed;
        let checkpoints = self.checkpoints(context);
        let road = recipe.latency.then(Road::enter).transpose()?;
        let mut outcome = Training::new(recipe, training, validation, seed)
            .with_epochs(context.rung().map(|rung| rung.epochs))
            .with_watch(&Yielding { watch: context, road: road.as_ref() })
            .with_checkpoints(checkpoints.as_ref())
            .with_reads(self.reads.as_ref())
            .fit(build)?;
        if let (Outcome::Trained(trained), Some(road)) = (&mut outcome, road) {
            trained.metrics.measurements.extend(self.latencies(&trained.network, road)?);
        }
        Ok(outcome)
    }

    /// Measures the latency of a trained network while nothing else trains on this machine.
    fn latencies(&self, network: &Network, road: Road) -> Result<BTreeMap<String, f64>, TrainError> {
        let _kept = KeptBuffers;
        let block = LayerGraph::named("resnet-basic").unwrap_or_else(|error| unreachable!("{error}"));
        let mut rng = seed::stream(0, "reference", 0);
        let reference = Network::new(&block, &self.network, &mut rng, self.validation.device())?;
        let Self { validation, recipe, reads, .. } = self;
        road.alone(|| latencies(network, &reference, validation, recipe, reads.as_ref()))
    }

    /// Returns the memory of the last network to the device, and logs how much is still in use.
    fn clean_up(&self) {
        let device = self.training.device();
        device.memory_cleanup();
        if let Some(usage) = device.memory_pool_usage() {
            let (in_use, reserved) = (usage.bytes_in_use, usage.bytes_reserved);
            tracing::debug!(in_use, reserved, "memory of the device after a training");
        }
    }

    fn save(&self, keep: &Checkpoints, graph: LayerGraph, network: Network, trial: &Trial) -> Result<(), TrainError> {
        let blueprint = Blueprint::new(trial.fingerprint.to_string(), graph, self.network.clone());
        let blueprint = blueprint.map_err(NetworkError::from)?;
        let checkpoints = keep.of_trial(trial);
        ImageClassifier::new(blueprint, network, self.classes.clone(), self.statistics.clone())
            .and_then(|classifier| classifier.save(checkpoints.folder().join("network.safetensors")))
            .map_err(|error| match error {
                ClassifierError::Write { path, source } => TrainError::Write { path, source },
                error => TrainError::Save { message: error.to_string() },
            })
    }
}

impl Checkpoints {
    /// Returns where a trial keeps its training, below this folder.
    fn of_trial(&self, trial: &Trial) -> Self {
        let folder = TrainingEnvironment::trial_folder(self.folder(), trial.fingerprint, trial.seed);
        Self { folder, ..self.clone() }
    }
}

impl<A: ToGraph + ?Sized> Environment<A> for TrainingEnvironment {
    type Error = TrainError;

    fn evaluate(&mut self, architecture: &A, context: &TrialContext<'_>) -> Result<Evaluation, TrainError> {
        self.use_threads();
        let graph = architecture.to_graph();
        let trained = self.train(&graph, context);
        if !matches!(trained, Err(TrainError::DevicePoisoned { .. })) {
            self.clean_up();
        }
        match trained {
            Ok(Outcome::Trained(trained)) => {
                // A network that was not trained to the end is of no use.
                let is_whole = !trained.metrics.stopped && trained.metrics.epochs == self.recipe.epochs;
                if let Some(keep) = self.keep.as_ref().filter(|_| is_whole) {
                    let saved = self.save(keep, graph, trained.network, context.trial());
                    self.broken |= saved.is_err();
                    saved?;
                }
                if is_whole {
                    self.drop_rungs(context.trial());
                }
                Ok(Evaluation::Measured(trained.metrics))
            }
            Ok(Outcome::Infeasible(reason)) => Ok(Evaluation::Infeasible(reason)),
            Ok(Outcome::Cancelled) => Err(TrainError::Cancelled),
            Err(TrainError::Network(NetworkError::Overflow(overflow))) => Ok(Evaluation::Infeasible(overflow.into())),
            Err(TrainError::Network(error @ NetworkError::TooLarge { .. })) => {
                Ok(Evaluation::Infeasible(Infeasibility::Rejected { message: error.to_string() }))
            }
            Err(TrainError::DeviceMemory { message }) => {
                Ok(Evaluation::Infeasible(Infeasibility::OutOfMemory { message }))
            }
            Err(error) => {
                // A full disk or a damaged checkpoint is not the fault of the architecture.
                self.broken |= matches!(
                    error,
                    TrainError::DevicePoisoned { .. }
                        | TrainError::Read { .. }
                        | TrainError::Write { .. }
                        | TrainError::Checkpoint { .. }
                        | TrainError::Lock { .. }
                );
                Err(error)
            }
        }
    }

    /// Returns the epochs of the recipe: a training can end after the first of them.
    fn full_epochs(&self) -> Option<u32> {
        Some(self.recipe.epochs)
    }

    fn condition(&self) -> Condition {
        if self.broken {
            return Condition::broken();
        }
        Condition::well(self.training.device().memory_pool_usage().map(|usage| usage.bytes_reserved))
    }

    /// Returns a hash of the images, the network's configuration and the recipe, with the version of the kernels; it is
    /// the same on every device.
    fn identity(&self) -> String {
        self.identity.clone()
    }
}

/// Gives the current thread its own pool, if it has none yet.
#[cfg(feature = "flex")]
fn use_threads(threads: NonZeroUsize) {
    thread_local! {
        static POOL: std::cell::OnceCell<Option<rayon::ThreadPool>> = const { std::cell::OnceCell::new() };
    }
    POOL.with(|pool| {
        pool.get_or_init(|| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.get()).use_current_thread().build();
            pool.inspect_err(|error| tracing::debug!(%error, "the thread stays in the pool it is in")).ok()
        });
    });
}

#[cfg(not(feature = "flex"))]
fn use_threads(_: NonZeroUsize) {}

/// Checks the settings, and that the network is for these images.
pub(super) fn check(training: &ImageSet, network: &NetworkConfig, recipe: &Recipe) -> Result<(), TrainError> {
    recipe.validate()?;
    network.validate()?;
    let (images, classes) = (training.shape(), training.classes().len());
    let like = |value: &dyn fmt::Display| format!("{value}, as in {:?}", training.name());
    InvalidSetting::check("network.image", network.image, network.image == images, like(&images))?;
    InvalidSetting::check("network.classes", network.classes, network.classes == classes, like(&classes))?;
    Ok(())
}

/// What the results of trainings on these images depend on.
pub(super) fn identity(training: &ImageSet, validation: &ImageSet, network: &NetworkConfig, recipe: &Recipe) -> String {
    let measured = if recipe.latency { ", with latency" } else { "" };
    // Writing cannot fail: both are structs of numbers and strings.
    let network = serde_json::to_string(network).unwrap_or_default();
    let recipe = serde_json::to_string(recipe).unwrap_or_default();
    let mut hasher = Sha256::new();
    for part in ["blockqnn training 1", &training.identity(), &validation.identity(), &network, &recipe] {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    format!("training 1 sha256:{:x}{measured}", hasher.finalize())
}

#[cfg(test)]
impl TrainingEnvironment {
    /// Returns the same environment on a device that is read through `reads`.
    pub(super) fn with_reads(self, reads: Arc<dyn DeviceReads>) -> Self {
        Self { reads, ..self }
    }
}
