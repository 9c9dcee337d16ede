//! The kinds of layers that a report distinguishes, by name and by colour.

use crate::graph::{Groups, Operation};

/// The kinds of layers, in the order of legends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Convolution1,
    Convolution3,
    Convolution5,
    LargerConvolution,
    Separable,
    Depthwise,
    Grouped,
    Dilated,
    Factorised,
    Inverted,
    Squeeze,
    MaxPool,
    AveragePool,
    Identity,
    Add,
    Concat,
    Relu,
    BatchNorm,
    Zero,
}

impl Kind {
    pub(super) const ALL: [Self; 19] = [
        Self::Convolution1,
        Self::Convolution3,
        Self::Convolution5,
        Self::LargerConvolution,
        Self::Separable,
        Self::Depthwise,
        Self::Grouped,
        Self::Dilated,
        Self::Factorised,
        Self::Inverted,
        Self::Squeeze,
        Self::MaxPool,
        Self::AveragePool,
        Self::Identity,
        Self::Add,
        Self::Concat,
        Self::Relu,
        Self::BatchNorm,
        Self::Zero,
    ];

    /// Returns the kind of an operation; the input and the output of a block have none.
    pub(super) fn of(operation: Operation) -> Option<Self> {
        Some(match operation {
            Operation::Input | Operation::Previous | Operation::Output => return None,
            Operation::PreActivationConvolution { kernel } | Operation::Convolution { kernel } => Self::dense(kernel),
            Operation::ShapedConvolution(shape) => match shape.groups {
                Groups::Depthwise => Self::Depthwise,
                Groups::Number(_) => Self::Grouped,
                _ if shape.dilation > 1 => Self::Dilated,
                _ => Self::dense(shape.kernel[0].max(shape.kernel[1])),
            },
            Operation::SeparableConvolution { dilation: 2.., .. } => Self::Dilated,
            Operation::SeparableConvolution { .. } => Self::Separable,
            Operation::FactorisedConvolution { .. } => Self::Factorised,
            Operation::InvertedBottleneck { .. } => Self::Inverted,
            Operation::SqueezeExcitation { .. } => Self::Squeeze,
            Operation::MaxPool { .. } => Self::MaxPool,
            Operation::AveragePool { .. } => Self::AveragePool,
            Operation::Identity => Self::Identity,
            Operation::Add => Self::Add,
            Operation::Concat => Self::Concat,
            Operation::Relu | Operation::Relu6 => Self::Relu,
            Operation::BatchNorm => Self::BatchNorm,
            Operation::Zero => Self::Zero,
        })
    }

    /// Returns the kind of a dense convolution by its kernel.
    fn dense(kernel: u8) -> Self {
        match kernel {
            1 => Self::Convolution1,
            3 => Self::Convolution3,
            5 => Self::Convolution5,
            _ => Self::LargerConvolution,
        }
    }

    pub(super) fn position(self) -> usize {
        self as usize
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Convolution1 => "conv 1×1",
            Self::Convolution3 => "conv 3×3",
            Self::Convolution5 => "conv 5×5",
            Self::LargerConvolution => "larger conv",
            Self::Separable => "separable conv",
            Self::Depthwise => "depthwise conv",
            Self::Grouped => "grouped conv",
            Self::Dilated => "dilated conv",
            Self::Factorised => "factorised conv",
            Self::Inverted => "inverted bottleneck",
            Self::Squeeze => "squeeze-excite",
            Self::MaxPool => "max pool",
            Self::AveragePool => "avg pool",
            Self::Identity => "identity",
            Self::Add => "add",
            Self::Concat => "concat",
            Self::Relu => "ReLU",
            Self::BatchNorm => "batch norm",
            Self::Zero => "zero",
        }
    }

    /// Returns the fill colour of a node or an area. Kinds that often appear side by side differ in lightness as well
    /// as in hue, so that readers who do not see colours can tell them apart; every figure also names them in words.
    /// After the palette of Okabe and Ito.
    pub(super) fn colour(self) -> (u8, u8, u8) {
        match self {
            Self::Convolution1 => (0xBF, 0xE1, 0xF6),
            Self::Convolution3 => (0x6F, 0xB7, 0xE4),
            Self::Convolution5 => (0x2F, 0x86, 0xC4),
            Self::LargerConvolution => (0x1D, 0x5F, 0x96),
            Self::Separable => (0x9D, 0xB8, 0xF2),
            Self::Depthwise => (0xDD, 0xD6, 0xF5),
            Self::Grouped => (0x8F, 0xD3, 0xD1),
            Self::Dilated => (0xB9, 0x9B, 0xDB),
            Self::Factorised => (0x5F, 0xA8, 0xA0),
            Self::Inverted => (0x7E, 0x8F, 0xD8),
            Self::Squeeze => (0xF3, 0xC7, 0xC2),
            Self::MaxPool => (0xEB, 0xA4, 0x1A),
            Self::AveragePool => (0xF7, 0xD9, 0x8B),
            Self::Identity => (0xD5, 0xD8, 0xDC),
            Self::Add => (0x45, 0xB5, 0x8E),
            Self::Concat => (0xE3, 0xA3, 0xC6),
            Self::Relu => (0xF2, 0xB4, 0x8C),
            Self::BatchNorm => (0xC9, 0xE8, 0xC5),
            Self::Zero => (0xF1, 0xED, 0xE4),
        }
    }
}

/// Returns the text of a node of a drawing.
pub(super) fn label(operation: Operation) -> String {
    operation.label('×').replace("average", "avg")
}
