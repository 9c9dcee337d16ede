//! The operations of layers. Each family of operations is described in its own file.

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

/// What one node of a [`LayerGraph`](crate::graph::LayerGraph) computes.
///
/// All operations have stride 1 and keep the spatial size of their input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Operation {
    /// The input of the block, passed on unchanged. There is exactly one, the first node.
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
    /// The rectifier alone.
    Relu,
    /// Batch normalisation alone.
    BatchNorm,
    /// Zeros of the shape of the input: the element-wise sum of nothing (in the cell space).
    Zero,
    /// An element-wise sum. Inputs with fewer channels than the widest pass through a 1x1 convolution first.
    Add,
    /// A concatenation along the channels, in the order of the inputs. Whether it keeps its width is decided by the
    /// [`WidthRule`](crate::graph::WidthRule) of the network.
    Concat,
    /// The output of the block: the concatenation of its inputs. There is exactly one, the last node.
    Output,
}

impl Operation {
    /// Passes the description of the operation to `ask`, and returns the answer.
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

    /// Returns its name and, if it has a kernel, the kernel's size, such as `3x3`, with `times` in place of the `x`.
    pub(crate) fn label(self, times: char) -> String {
        let Facts { name, kernel, .. } = self.facts();
        kernel.map_or_else(|| name.to_owned(), |kernel| format!("{name} {kernel}{times}{kernel}"))
    }
}

/// Everything that this crate knows about an operation, apart from building it.
pub(crate) trait Describe {
    fn facts(&self) -> Facts;

    /// Returns the output channels for inputs with these channels, where convolutions have `width` filters, or `None`
    /// if they do not fit into 64 bits.
    fn channels(&self, inputs: &[u64], _width: u64) -> Option<u64> {
        Some(inputs.first().copied().unwrap_or(0))
    }

    /// Whether bounded widths reduce its output, of `channels` channels for this number of inputs, to the `width` of
    /// the stage.
    fn is_bounded(&self, _inputs: usize, _channels: u64, _width: u64) -> bool {
        false
    }

    /// Adds the parameters, multiply-adds and activations for inputs and an output with these channels: for an
    /// operation without weights, its output.
    fn cost(&self, _inputs: &[u64], output: u64, pixels: u64, sum: &mut Sum) -> Result<(), SizeOverflow> {
        sum.tensors(1, output, pixels)
    }

    /// Returns the [`Flow`] out of the operation, for inputs with this flow and number of channels each, and an output
    /// of `output` channels. An operation without weights passes on what it gets.
    fn flow(&self, inputs: &[(Flow, u64)], _output: u64) -> Flow {
        inputs.first().map_or(Flow::NONE, |&(flow, _)| flow)
    }

    /// Returns its source as the attribute `layer` of a module. `inputs` and `channels` are the expressions of its
    /// inputs and their channels.
    fn pytorch(&self, layer: &str, inputs: &[String], channels: &[&str]) -> PyTorch;
}

/// The constant properties of an operation.
#[derive(Debug)]
pub(crate) struct Facts {
    /// Its name in drawings.
    pub(crate) name: &'static str,
    /// Its number and its kernel. Fingerprints depend on these, so none may ever change or be used again.
    pub(crate) colour: [u8; 2],
    /// The number of inputs that it may have.
    pub(crate) inputs: RangeInclusive<usize>,
    /// Side of its square kernel in pixels, which must be odd.
    pub(crate) kernel: Option<u8>,
    /// Number of convolutions that it adds to a path.
    pub(crate) depth: u64,
    /// Whether it returns a single input unchanged.
    pub(crate) passes_through: bool,
}

/// An operation in the source of a `PyTorch` module.
#[derive(Debug)]
pub(crate) struct PyTorch {
    /// The class that it needs, if any.
    pub(crate) class: Option<&'static str>,
    /// The expression of its module, if it has weights.
    pub(crate) module: Option<String>,
    /// The expression of its output.
    pub(crate) output: String,
    /// The expression of the channels of its output.
    pub(crate) channels: String,
}

impl PyTorch {
    /// Creates the source of a function without weights that keeps the channels of its input.
    fn function(output: String, channels: &[&str]) -> Self {
        Self { class: None, module: None, output, channels: channels.concat() }
    }
}
