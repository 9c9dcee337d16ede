//! The kinds of layers that a report distinguishes, by name and by colour.

use super::colours::Colour;
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
    /// The name of each kind, and the fill colour of its nodes and areas. Kinds that often appear side by side differ
    /// in lightness as well as in hue, so that readers who do not see colours can tell them apart; every figure also
    /// names them in words. After the palette of Okabe and Ito.
    pub(super) const ALL: [(&str, Colour); 19] = [
        ("conv 1×1", "#BFE1F6"),
        ("conv 3×3", "#6FB7E4"),
        ("conv 5×5", "#2F86C4"),
        ("larger conv", "#1D5F96"),
        ("separable conv", "#9DB8F2"),
        ("depthwise conv", "#DDD6F5"),
        ("grouped conv", "#8FD3D1"),
        ("dilated conv", "#B99BDB"),
        ("factorised conv", "#5FA8A0"),
        ("inverted bottleneck", "#7E8FD8"),
        ("squeeze-excite", "#F3C7C2"),
        ("max pool", "#EBA41A"),
        ("avg pool", "#F7D98B"),
        ("identity", "#D5D8DC"),
        ("add", "#45B58E"),
        ("concat", "#E3A3C6"),
        ("ReLU", "#F2B48C"),
        ("batch norm", "#C9E8C5"),
        ("zero", "#F1EDE4"),
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

    /// Returns the place of the kind in [`ALL`](Self::ALL).
    pub(super) fn position(self) -> usize {
        self as usize
    }

    pub(super) fn colour(self) -> Colour {
        Self::ALL[self.position()].1
    }
}

/// Returns the text of a node of a drawing.
pub(super) fn label(operation: Operation) -> String {
    operation.label('×').replace("average", "avg")
}
