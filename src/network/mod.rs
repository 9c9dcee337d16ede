//! Trainable networks: a [`LayerGraph`] becomes burn modules.
//!
//! [`Network::new`] repeats a block according to a [`NetworkConfig`] and draws its weights from a given generator;
//! [`device`] finds the device to build it on. Everything here takes the device as a value, and no function names a
//! backend.

mod block;
pub mod device;
#[cfg(feature = "flex")]
mod flex;
mod fold;
mod init;
mod kernels;
mod layer;
mod paths;
mod pooling;
mod precision;
mod sequence;
mod weights;

pub use burn::tensor::{Device, Tensor};
pub use fold::FoldedNetwork;
pub use precision::Precision;
pub use weights::WeightsError;
pub(crate) use weights::{Stored, fact, numbers};

use crate::graph::{CostError, LayerGraph, NetworkConfig, PlacedBlock, Reduction, SizeOverflow};
use crate::setting::InvalidSetting;
use block::{Block, Wiring};
use burn::module::Module;
use burn::nn::conv::Conv2d;
use burn::nn::{BatchNorm, Linear};
use burn::tensor::FloatDType;
use burn::tensor::activation::relu;
use init::Initializer;
use layer::{PreActivation, Rectify, convolve, normalise};
use paths::PathFactors;
use pooling::halve;
use rand::Rng;
use std::sync::Arc;

/// Why a network cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// The configuration of the network is not valid.
    #[error(transparent)]
    Config(#[from] InvalidSetting),
    /// A size does not fit into 64 bits.
    #[error(transparent)]
    Overflow(#[from] SizeOverflow),
    /// A size exceeds what a network can have.
    #[error("a {quantity} of {value} exceeds the limit of {limit}")]
    TooLarge {
        /// The name of the size.
        quantity: &'static str,
        /// Its value.
        value: u64,
        /// The limit.
        limit: u64,
    },
    /// The weights of one layer do not fit into the memory of the host.
    #[error(
        "not enough memory for the {elements} weights of a layer: use a smaller network, or a machine with more memory"
    )]
    OutOfMemory {
        /// The number of weights.
        elements: usize,
    },
}

impl From<CostError> for NetworkError {
    fn from(error: CostError) -> Self {
        match error {
            CostError::Config(error) => Self::Config(error),
            CostError::Overflow(error) => Self::Overflow(error),
        }
    }
}

/// A convolutional network that repeats one block: an image classifier.
///
/// Its structure is that of [`NetworkConfig`], and it has exactly the parameters that [`LayerGraph::cost`] counts.
/// Layers that do not reach the output of the block have weights, but are not computed and get no gradient.
///
/// It trains on a device with gradients (`device.autodiff()`): batch normalisation then uses the statistics of the
/// batch and updates its running statistics (momentum 0.1). For inference, use burn's `network.valid()` and tensors on
/// the plain device, or [`folded`](Self::folded), which is faster.
///
/// A clone has its own weights but shares the running statistics of batch normalisation with the original.
///
/// ```
/// use blockqnn::graph::{ImageShape, LayerGraph, NetworkConfig, Node, Operation};
/// use blockqnn::network::{Network, Tensor, device::default_device};
/// use blockqnn::seed;
///
/// let block = LayerGraph::new(vec![
///     Node::new(Operation::Input, []),
///     Node::new(Operation::PreActivationConvolution { kernel: 3 }, [0]),
///     Node::new(Operation::Add, [0, 1]),
///     Node::new(Operation::Output, [2]),
/// ])?;
/// let mut config = NetworkConfig::cifar().with_data(ImageShape { channels: 3, height: 8, width: 8 }, 10);
/// (config.width, config.repeats) = (4, 1);
/// # #[cfg(not(feature = "flex"))]
/// # return Ok(());
/// let device = default_device()?;
/// let network = Network::new(&block, &config, &mut seed::stream(1, "weights", 0), &device)?;
/// let logits = network.forward(Tensor::zeros([2, 3, 8, 8], &device));
/// assert_eq!(logits.dims(), [2, 10]);
/// assert_eq!(network.num_trainable_parameters(), block.cost(&config)?.parameters);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Module, Debug)]
pub struct Network {
    stem: Conv2d,
    stem_normalisation: Option<BatchNorm>,
    /// For each input of a block, the cells that reduce it, one before each stage but the first; none where pools do.
    reductions: Vec<Vec<PreActivation>>,
    blocks: Vec<Block>,
    normalisation: BatchNorm,
    classifier: Linear,
    #[module(skip)]
    plan: Plan,
}

/// Where the pools and reductions are.
#[derive(Debug, Clone, Copy)]
struct Plan {
    stem_pools: u8,
    repeats: usize,
    /// Whether a block takes the outputs of two blocks before it.
    takes_previous: bool,
}

impl Network {
    /// The most parameters that a network may have: kernels on GPUs count the elements of a tensor in 32 bits.
    pub const MAX_PARAMETERS: u64 = i32::MAX as u64;

    /// Builds the network that `config` describes around `graph`, on `device`.
    ///
    /// Weights of convolutions and of the classifier are normal with variance 2 / fan-in (He et al. 2015), the
    /// classifier's bias is 0, and batch normalisation starts with scale 1 and shift 0. They are drawn on the host,
    /// only from `rng`, in this order: stem, reductions from first to last (then those of previous inputs), blocks from
    /// first to last, classifier; within a block its nodes in order; within an addition its projections in the order of
    /// its inputs. The projection of a node comes after its operation. So the same generator gives the same bits on
    /// every device, whatever else runs in the process.
    ///
    /// # Errors
    /// [`NetworkError`] if `config` is not valid, a size overflows, or there are more than
    /// [`MAX_PARAMETERS`](Self::MAX_PARAMETERS) parameters. Sizes are checked before anything is allocated.
    pub fn new(
        graph: &LayerGraph,
        config: &NetworkConfig,
        rng: &mut dyn Rng,
        device: &Device,
    ) -> Result<Self, NetworkError> {
        let parameters = graph.cost(config)?.parameters;
        if parameters > Self::MAX_PARAMETERS {
            return Err(NetworkError::TooLarge {
                quantity: "number of parameters",
                value: parameters,
                limit: Self::MAX_PARAMETERS,
            });
        }
        let mut initializer = Initializer::new(rng, device);
        let placed: Vec<PlacedBlock> = graph.blocks_in(config).collect::<Result<_, _>>()?;
        let (filters, outputs) = (config.stem_width()?, placed.last().map_or(0, PlacedBlock::output));
        let stem =
            initializer.convolution(config.stem.kernel, config.stem.stride, config.image.channels as u64, filters)?;
        let stem_normalisation = config.stem.normalised.then(|| initializer.normalisation(filters)).transpose()?;
        let reductions = match config.reduction {
            Reduction::Pool => Vec::new(),
            Reduction::Convolution => reductions(graph.input_count(), &placed, &mut initializer)?,
        };
        let wiring = Arc::new(Wiring::new(graph));
        let block = |block: &PlacedBlock| Block::new(graph, Arc::clone(&wiring), &block.nodes, &mut initializer);
        let blocks = placed.iter().map(block).collect::<Result<_, _>>()?;
        let normalisation = initializer.normalisation(outputs)?;
        let classifier = initializer.linear(outputs, config.classes)?;
        let takes_previous = graph.has_previous();
        let plan = Plan { stem_pools: config.stem.pools, repeats: config.repeats, takes_previous };
        Ok(Self { stem, stem_normalisation, reductions, blocks, normalisation, classifier, plan })
    }

    /// Returns the logits of a batch of images, in single precision.
    ///
    /// The type of the images is that of the activations ([`Precision`]): cast the images for mixed precision.
    ///
    /// # Shapes
    /// - `images`: `[batch, channels, height, width]`
    /// - output: `[batch, classes]`
    ///
    /// # Panics
    /// If the number of channels of the images differs from the network's, they are so small that pooling leaves no
    /// pixels, or they are on another device.
    #[must_use]
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        self.compute(images, PathFactors::new(None))
    }

    /// Returns the logits of [`forward`](Self::forward), where each path is multiplied by a factor for each image: 0 for
    /// an image for which it is dropped.
    ///
    /// A path is what a layer of a block gives to a sum. What comes over a shortcut (an input of the block, an identity,
    /// another sum or a concatenation) is none. They are ordered by block, sum, and input of the sum.
    ///
    /// # Shapes
    /// - `images`: `[batch, channels, height, width]`
    /// - `factors`: `[path_count, batch]`, on the device of the images
    /// - output: `[batch, classes]`
    ///
    /// # Panics
    /// As [`forward`](Self::forward), or if `factors` has another shape.
    #[must_use]
    pub fn forward_dropping(&self, images: Tensor<4>, factors: Tensor<2>) -> Tensor<2> {
        assert_eq!(factors.dims(), [self.path_count(), images.dims()[0]], "paths and images of the factors");
        self.compute(images, PathFactors::new(Some(factors)))
    }

    /// Returns the number of paths in all blocks.
    #[must_use]
    pub fn path_count(&self) -> usize {
        self.blocks.iter().map(Block::path_count).sum()
    }

    fn compute(&self, images: Tensor<4>, mut factors: PathFactors) -> Tensor<2> {
        let mut features = convolve(&self.stem, images, Rectify::No);
        if let Some(normalisation) = &self.stem_normalisation {
            features = normalise(normalisation, features);
        }
        for _ in 0..self.plan.stem_pools {
            features = halve(features);
        }
        let mut previous = self.plan.takes_previous.then(|| features.clone());
        for (position, block) in self.blocks.iter().enumerate() {
            if position > 0 && position.is_multiple_of(self.plan.repeats) {
                let stage = position / self.plan.repeats;
                features = self.reduce(0, stage, features);
                previous = previous.map(|previous| self.reduce(1, stage, previous));
            }
            let input = self.plan.takes_previous.then(|| features.clone());
            features = block.forward(features, previous, &mut factors);
            previous = input;
        }
        let features = relu(normalise(&self.normalisation, features)).cast(FloatDType::F32);
        let pooled = features.flatten::<3>(2, 3).mean_dim(2).squeeze_dim::<2>(2);
        self.classifier.forward(pooled)
    }

    /// Halves height and width of an input of blocks (0, or 1 for the previous one) before a stage from 1.
    fn reduce(&self, input: usize, stage: usize, features: Tensor<4>) -> Tensor<4> {
        match self.reductions.get(input) {
            Some(cells) => cells[stage - 1].forward(features),
            None => halve(features),
        }
    }

    /// Returns the device that the network is on.
    #[must_use]
    pub fn device(&self) -> Device {
        self.stem.weight.val().device()
    }

    /// Returns the number of weights, scales, shifts and biases, which equals
    /// [`Cost::parameters`](crate::graph::Cost::parameters).
    ///
    /// burn's `num_params` also counts the running statistics of batch normalisation, which are not trained.
    #[must_use]
    pub fn num_trainable_parameters(&self) -> u64 {
        // A clone shares its tensors.
        self.clone().places().into_iter().map(|(_, place)| place.trainable()).sum()
    }
}

/// Frees, when it is dropped, the buffers that the current thread keeps for the next tensors of a network.
#[derive(Debug)]
pub(crate) struct KeptBuffers;

#[cfg(all(test, feature = "flex"))]
impl KeptBuffers {
    /// Returns how many buffers the current thread keeps.
    pub(crate) fn count() -> usize {
        flex::buffers::kept()
    }
}

impl Drop for KeptBuffers {
    fn drop(&mut self) {
        #[cfg(feature = "flex")]
        flex::buffers::clear();
    }
}

/// Creates the cells before all stages but the first, for each input of the block.
fn reductions(
    inputs: usize,
    blocks: &[PlacedBlock],
    initializer: &mut Initializer<'_>,
) -> Result<Vec<Vec<PreActivation>>, NetworkError> {
    let cells = |input: usize| {
        let reduced = blocks.iter().filter(|block| block.is_reduced());
        reduced.map(|block| PreActivation::reducing(block.inputs[input], block.width, initializer)).collect()
    };
    (0..inputs).map(cells).collect()
}

#[cfg(all(test, any(feature = "flex", feature = "ndarray")))]
mod tests;
