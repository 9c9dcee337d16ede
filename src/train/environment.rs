//! Training as an environment of a search.

use super::{Outcome, Recipe, TrainError, chance_accuracy, check_parts, fit};
use crate::data::{DeviceSet, ImageSet, Split};
use crate::environment::{Environment, TrialContext};
use crate::evaluation::{Evaluation, Infeasibility};
use crate::graph::{ImageShape, NetworkConfig, ToGraph};
use crate::network::{Network, NetworkError};
use burn::tensor::Device;
use sha2::{Digest, Sha256};
use std::fmt;

/// Evaluates an architecture by training the network it makes: the environment of the paper.
///
/// It takes whatever has a [`LayerGraph`](crate::graph::LayerGraph). The images lie on the device and are copied there
/// once; clones share them, so that each worker of a process can have one. Two networks trained at once, in two threads,
/// make better use of two cores than one after the other.
///
/// A network that diverges, takes too long or cannot be built for its size is [`Evaluation::Infeasible`]. The
/// environment has no limit on cost: that is for whoever proposes trials.
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
/// assert!(error.unwrap_err().to_string().starts_with("network.image is 3x32x32, but the images of "));
///
/// let image = blockqnn::graph::ImageShape { channels: 1, height: 28, width: 28 };
/// let network = network.with_data(image, 10);
/// let environment = TrainingEnvironment::new(&split, network, Recipe::early_stop(), &parse_device("flex")?)?;
/// assert_eq!(environment.chance_accuracy(), 10.0);
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
    /// Trains on the training part of a split and measures on its validation part.
    ///
    /// # Errors
    /// As [`with_parts`](Self::with_parts).
    pub fn new(split: &Split, network: NetworkConfig, recipe: Recipe, device: &Device) -> Result<Self, TrainError> {
        Self::with_parts(split.training(), split.validation(), network, recipe, device)
    }

    /// Trains on `training` and measures on `validation`, both normalised by the statistics of `training`.
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
        recipe.validate()?;
        network.validate()?;
        let images = training.shape();
        let images = ImageShape { channels: images.channels, height: images.height, width: images.width };
        if network.image != images {
            let set = training.name().to_owned();
            return Err(TrainError::ImageMismatch { network: network.image, images, set });
        }
        let classes = training.classes().len();
        if network.classes != classes {
            let set = training.name().to_owned();
            return Err(TrainError::ClassMismatch { network: network.classes, classes, set });
        }
        let identity = identity(training, validation, &network, &recipe);
        let statistics = training.channel_statistics();
        let device = device.clone().without_autodiff();
        let training = DeviceSet::new(training, &statistics, &device)?;
        let validation = DeviceSet::new(validation, &statistics, &device)?;
        check_parts(&training, &validation)?;
        Ok(Self { training, validation, network, recipe, identity })
    }

    /// The network around each block.
    #[must_use]
    pub fn network(&self) -> &NetworkConfig {
        &self.network
    }

    /// How each network is trained.
    #[must_use]
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// Accuracy of a random predictor, in percent.
    #[must_use]
    pub fn chance_accuracy(&self) -> f64 {
        chance_accuracy(self.network.classes)
    }
}

impl<A: ToGraph + ?Sized> Environment<A> for TrainingEnvironment {
    type Error = TrainError;

    fn evaluate(&mut self, architecture: &A, context: &TrialContext<'_>) -> Result<Evaluation, TrainError> {
        let graph = architecture.to_graph();
        let outcome =
            fit(&self.recipe, &self.training, &self.validation, context.trial().seed, context, |rng, device| {
                Ok(Network::new(&graph, &self.network, rng, device)?)
            });
        match outcome {
            Ok(Outcome::Trained(trained)) => Ok(Evaluation::Measured(trained.metrics)),
            Ok(Outcome::Infeasible(reason)) => Ok(Evaluation::Infeasible(reason)),
            Ok(Outcome::Cancelled) => Err(TrainError::Cancelled),
            Err(TrainError::Network(NetworkError::Overflow(overflow))) => Ok(Evaluation::Infeasible(overflow.into())),
            Err(TrainError::Network(error @ NetworkError::TooLarge { .. })) => {
                Ok(Evaluation::Infeasible(Infeasibility::Rejected { message: error.to_string() }))
            }
            Err(error) => Err(error),
        }
    }

    /// A hash of the images, the network's configuration and the recipe; the same on every device.
    fn identity(&self) -> String {
        self.identity.clone()
    }
}

fn identity(training: &ImageSet, validation: &ImageSet, network: &NetworkConfig, recipe: &Recipe) -> String {
    // Writing cannot fail: both are structs of numbers and strings.
    let network = serde_json::to_string(network).unwrap_or_default();
    let recipe = serde_json::to_string(recipe).unwrap_or_default();
    let mut hasher = Sha256::new();
    for part in ["blockqnn training 1", &training.identity(), &validation.identity(), &network, &recipe] {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    format!("training 1 sha256:{:x}", hasher.finalize())
}
