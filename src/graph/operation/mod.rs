//! What a layer can be. Each family of operations has a file that describes them.

mod convolution;
mod joining;
mod pointwise;
mod pooling;

pub(crate) use convolution::CELL;

use super::cost::Sum;
use super::path_flow::Flow;
use super::shape::SizeOverflow;
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// What one node of a [`LayerGraph`] computes.
///
/// All operations have stride 1 and keep the spatial size of their input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Operation {
    /// The input of the block, passed on unchanged. Exactly one, the first node.
    Input,
    /// The pre-activation cell of the paper: ReLU, convolution without bias, batch normalisation.
    PreActivationConvolution {
        /// Side of the square kernel in pixels, odd.
        kernel: u8,
    },
    /// A convolution without bias, and nothing else (the ablation space of the paper's Figure 3).
    Convolution {
        /// Side of the square kernel in pixels, odd.
        kernel: u8,
    },
    /// Maximum over a square window.
    MaxPool {
        /// Side of the window in pixels, odd.
        kernel: u8,
    },
    /// Mean over the part of a square window that is inside the image.
    AveragePool {
        /// Side of the window in pixels, odd.
        kernel: u8,
    },
    /// The input, unchanged.
    Identity,
    /// Only the rectifier.
    Relu,
    /// Only batch normalisation.
    BatchNorm,
    /// Zeros of its input's shape: what an element-wise sum of nothing is (the cell space).
    Zero,
    /// Element-wise sum. Inputs with fewer channels than the widest pass a 1x1 convolution first.
    Add,
    /// Concatenation along the channels, in the order of the inputs. What becomes of the added channels is said by the
    /// [`WidthRule`] of the network.
    Concat,
    /// The output of the block: the concatenation of its inputs. Exactly one, the last node.
    Output,
}

impl Operation {
    /// Answers from the description of the operation.
    pub(crate) fn describe<R>(self, ask: impl FnOnce(&dyn Describe) -> R) -> R {
        match self {
            Self::Input => ask(&pointwise::Input),
            Self::PreActivationConvolution { kernel } => ask(&convolution::Convolution { kernel, is_cell: true }),
            Self::Convolution { kernel } => ask(&convolution::Convolution { kernel, is_cell: false }),
            Self::MaxPool { kernel } => ask(&pooling::max(kernel)),
            Self::AveragePool { kernel } => ask(&pooling::average(kernel)),
            Self::Identity => ask(&pointwise::IDENTITY),
            Self::Relu => ask(&pointwise::RELU),
            Self::BatchNorm => ask(&pointwise::BatchNorm),
            Self::Zero => ask(&pointwise::ZERO),
            Self::Add => ask(&joining::Add),
            Self::Concat => ask(&joining::Concat { is_output: false }),
            Self::Output => ask(&joining::Concat { is_output: true }),
        }
    }

    pub(crate) fn facts(self) -> Facts {
        self.describe(|kind| kind.facts())
    }

    /// Its name and, if it has a kernel, the kernel's size as `3x3` with another sign for `x`.
    pub(crate) fn label(self, times: char) -> String {
        let Facts { name, kernel, .. } = self.facts();
        kernel.map_or_else(|| name.to_owned(), |kernel| format!("{name} {kernel}{times}{kernel}"))
    }
}

/// Everything that this crate knows of an operation without building it.
pub(crate) trait Describe {
    fn facts(&self) -> Facts;

    /// The channels that it puts out for inputs of these channels, where convolutions have `width` filters. `None` if they
    /// do not fit into 64 bits.
    fn channels(&self, inputs: &[u64], _width: u64) -> Option<u64> {
        Some(inputs.first().copied().unwrap_or(0))
    }

    /// Whether bounded widths bring the `channels` that it puts out for a number of inputs to the `width` of the stage.
    fn is_bounded(&self, _inputs: usize, _channels: u64, _width: u64) -> bool {
        false
    }

    /// Adds the parameters, multiply-adds and activations for inputs and an output of these channels.
    fn cost(&self, inputs: &[u64], output: u64, pixels: u64, sum: &mut Sum) -> Result<(), SizeOverflow>;

    /// What flows out of it, for inputs of so many channels each and an output of `output` channels. What has no weights
    /// passes on what it gets.
    fn flow(&self, inputs: &[(Flow, u64)], _output: u64) -> Flow {
        inputs.first().map_or(Flow::NONE, |&(flow, _)| flow)
    }

    /// Its source as the attribute `layer` of a module, for inputs and channels of them that are these expressions.
    fn pytorch(&self, layer: &str, inputs: &[String], channels: &[&str]) -> PyTorch;
}

/// What is constant about an operation.
#[derive(Debug)]
pub(crate) struct Facts {
    /// Its name in drawings.
    pub(crate) name: &'static str,
    /// Its number and its kernel. Fingerprints depend on these: none may ever change or be used again.
    pub(crate) colour: [u8; 2],
    /// How many inputs it may have.
    pub(crate) inputs: RangeInclusive<usize>,
    /// Side of its square kernel in pixels, which must be odd.
    pub(crate) kernel: Option<u8>,
    /// Convolutions that it adds to a path.
    pub(crate) depth: u64,
    /// Whether it puts a single input out unchanged.
    pub(crate) passes_through: bool,
}

/// An operation in the source of a `PyTorch` module.
#[derive(Debug)]
pub(crate) struct PyTorch {
    /// A class that it needs.
    pub(crate) class: Option<&'static str>,
    /// The expression of its module, if it has weights.
    pub(crate) module: Option<String>,
    /// The expression of its output.
    pub(crate) output: String,
    /// The expression of the channels of its output.
    pub(crate) channels: String,
}

impl PyTorch {
    /// A function without weights that keeps the channels of its input.
    fn function(output: String, channels: &[&str]) -> Self {
        Self { class: None, module: None, output, channels: channels.concat() }
    }
}
