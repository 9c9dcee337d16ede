//! The operations of layers. Each family of operations is described in its own file.

mod colour;
mod convolution;
mod filters;
mod joining;
mod pointwise;
mod pooling;
mod sequence;

pub(crate) use colour::Colour;
pub(crate) use convolution::CELL;
pub use filters::{ConvolutionShape, Groups, Order, Width};
pub(crate) use sequence::SizedStep;
#[cfg(any(feature = "train", feature = "onnx"))]
pub(crate) use sequence::Step;

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
    /// A second input of the block: what the block before it had as its input, which is the output of the one before
    /// that. In the first block of a network it is the same as the input. Only the second node can be it; the blocks of
    /// the paper have none, the cells of `NASNet` and DARTS do. Where a pool halves the input, it halves this too.
    Previous,
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
    /// A convolution without bias that chooses more than a square kernel; see [`ConvolutionShape`].
    ShapedConvolution(ConvolutionShape),
    /// A separable convolution as in `NASNet` and DARTS: ReLU, a depthwise convolution, a 1x1 convolution, batch
    /// normalisation. These networks apply it twice with a dilation of 1, or once with a dilation of 2.
    SeparableConvolution {
        /// Side of the square kernel in pixels, odd.
        kernel: u8,
        /// The distance between the pixels that the kernel reads, at least 1.
        #[serde(default = "filters::one", skip_serializing_if = "filters::is_one")]
        dilation: u8,
    },
    /// A convolution factorised into a row and a column: ReLU, a convolution of one row, one of one column, batch
    /// normalisation.
    FactorisedConvolution {
        /// Length of row and column in pixels, odd.
        kernel: u8,
    },
    /// The inverted bottleneck of `MobileNetV2` without its shortcut, which is an [`Add`](Self::Add): a 1x1 convolution
    /// that multiplies the channels by `expansion` (left out for 1), a depthwise convolution, a 1x1 convolution. Batch
    /// normalisation follows each of them, and [`Relu6`](Self::Relu6) the first two. With `squeeze`, a
    /// [`SqueezeExcitation`](Self::SqueezeExcitation) to a quarter comes before the last (Sandler et al., CVPR 2018;
    /// Tan et al., "`MnasNet`", CVPR 2019).
    InvertedBottleneck {
        /// Side of the square kernel of the depthwise convolution in pixels, odd.
        kernel: u8,
        /// What the channels of the input are multiplied by, at least 1.
        expansion: u8,
        /// Whether there is a squeeze-and-excitation.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        squeeze: bool,
    },
    /// Squeeze-and-excitation: each channel times a number from 0 to 1, which two 1x1 convolutions with biases, ReLU
    /// and a sigmoid compute from the means of all channels (Hu et al., CVPR 2018).
    SqueezeExcitation {
        /// The channels between the two convolutions are those of the input divided by this, rounded down, at least
        /// one.
        reduction: u8,
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
    /// The rectifier up to 6: larger numbers become 6.
    Relu6,
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
            Self::Input => ask(&pointwise::INPUT),
            Self::Previous => ask(&pointwise::PREVIOUS),
            Self::PreActivationConvolution { kernel } => ask(&convolution::Convolution { kernel, is_cell: true }),
            Self::Convolution { kernel } => ask(&convolution::Convolution { kernel, is_cell: false }),
            Self::ShapedConvolution(shape) => ask(&shape.sequence()),
            Self::SeparableConvolution { kernel, dilation } => ask(&sequence::separable(kernel, dilation)),
            Self::FactorisedConvolution { kernel } => ask(&sequence::factorised(kernel)),
            Self::InvertedBottleneck { kernel, expansion, squeeze } => {
                ask(&sequence::inverted(kernel, expansion, squeeze))
            }
            Self::SqueezeExcitation { reduction } => ask(&sequence::squeeze_excitation(reduction)),
            Self::MaxPool { kernel } => ask(&pooling::max(kernel)),
            Self::AveragePool { kernel } => ask(&pooling::average(kernel)),
            Self::Identity => ask(&pointwise::IDENTITY),
            Self::Relu => ask(&pointwise::RELU),
            Self::Relu6 => ask(&pointwise::RELU6),
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
        let label = kernel.map_or_else(|| name.to_owned(), |[height, width]| format!("{name} {height}{times}{width}"));
        match self {
            Self::ShapedConvolution(shape) => shape.label(times),
            Self::FactorisedConvolution { kernel } => format!("conv 1{times}{kernel}, {kernel}{times}1"),
            Self::SeparableConvolution { dilation: 2.., .. } => format!("dilated {label}"),
            Self::InvertedBottleneck { expansion, squeeze, .. } => {
                format!("{label} e{expansion}{}", if squeeze { " se" } else { "" })
            }
            _ => label,
        }
    }

    /// Returns the steps of which it consists, between inputs and outputs of so many channels; none if it is not one of
    /// the operations that are described by steps.
    #[cfg(any(feature = "train", feature = "onnx"))]
    pub(crate) fn steps(self, input: u64, output: u64) -> Result<Vec<SizedStep>, SizeOverflow> {
        self.describe(|kind| kind.steps(input, output))
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

    /// Returns the steps between so many channels; see [`Operation::steps`].
    fn steps(&self, _input: u64, _output: u64) -> Result<Vec<SizedStep>, SizeOverflow> {
        Ok(Vec::new())
    }

    /// Returns what is wrong with its settings, if anything is.
    fn fault(&self) -> Option<&'static str> {
        None
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
    /// What fingerprints tell it apart by.
    pub(crate) colour: Colour,
    /// The number of inputs that it may have.
    pub(crate) inputs: RangeInclusive<usize>,
    /// Height and width of its kernel in pixels, which must be odd.
    pub(crate) kernel: Option<[u8; 2]>,
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
