//! The kinds of layers that a report distinguishes, by name and by colour.

use super::colours::Colour;
use crate::graph::Operation;

/// The kinds of layers, in the order of legends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Convolution1,
    Convolution3,
    Convolution5,
    LargerConvolution,
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
    pub(super) const ALL: [(&str, Colour); 12] = [
        ("conv 1×1", "#BFE1F6"),
        ("conv 3×3", "#6FB7E4"),
        ("conv 5×5", "#2F86C4"),
        ("larger conv", "#1D5F96"),
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
            Operation::Input | Operation::Output => return None,
            Operation::PreActivationConvolution { kernel } | Operation::Convolution { kernel } => match kernel {
                1 => Self::Convolution1,
                3 => Self::Convolution3,
                5 => Self::Convolution5,
                _ => Self::LargerConvolution,
            },
            Operation::MaxPool { .. } => Self::MaxPool,
            Operation::AveragePool { .. } => Self::AveragePool,
            Operation::Identity => Self::Identity,
            Operation::Add => Self::Add,
            Operation::Concat => Self::Concat,
            Operation::Relu => Self::Relu,
            Operation::BatchNorm => Self::BatchNorm,
            Operation::Zero => Self::Zero,
        })
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
