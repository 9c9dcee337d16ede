//! The kinds of layers that a report distinguishes, by name and by colour.

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
    pub(super) const ALL: [Self; 12] = [
        Self::Convolution1,
        Self::Convolution3,
        Self::Convolution5,
        Self::LargerConvolution,
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

    pub(super) fn position(self) -> usize {
        self as usize
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Convolution1 => "conv 1×1",
            Self::Convolution3 => "conv 3×3",
            Self::Convolution5 => "conv 5×5",
            Self::LargerConvolution => "larger conv",
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
