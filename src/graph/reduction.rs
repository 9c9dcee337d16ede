//! What is between two stages of a network.

use super::cost::Sum;
use super::path_flow::Flow;
use super::shape::SizeOverflow;
use serde::{Deserialize, Serialize};

/// What halves height and width between two stages.
///
/// Where the block takes the output of two blocks before it ([`Operation::Previous`](super::Operation::Previous)), both
/// are reduced, each by a reduction of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Reduction {
    /// A 2x2 max pool of stride 2, which keeps the channels; an odd side is rounded down. The paper says "pooling", and
    /// the kind is our reading. Files written before this setting existed mean this.
    #[default]
    Pool,
    /// A 3x3 cell of stride 2 (ReLU, convolution without bias, batch normalisation) with as many filters as the stage
    /// after it is wide; an odd side is rounded up (He et al., "Identity Mappings in Deep Residual Networks", ECCV
    /// 2016, halve by stride in place of pools). Not in the paper.
    Convolution,
}

impl Reduction {
    /// The side of the convolution's kernel.
    pub(crate) const KERNEL: u8 = 3;

    /// Returns the channels after a reduction of `channels` channels to a stage of this width.
    pub(crate) fn channels(self, channels: u64, width: u64) -> u64 {
        match self {
            Self::Pool => channels,
            Self::Convolution => width,
        }
    }

    /// Returns height and width after a reduction; `None` if one of them is a single pixel, which nothing halves.
    pub(crate) fn halve(self, (height, width): (usize, usize)) -> Option<(usize, usize)> {
        let half = |side: usize| match (self, side) {
            (_, 0 | 1) => None,
            (Self::Pool, side) => Some(side / 2),
            (Self::Convolution, side) => Some(side.div_ceil(2)),
        };
        Some((half(height)?, half(width)?))
    }

    /// Adds the cost of a reduction of `from` channels to a stage of this width, between so many pixels.
    pub(super) fn cost(
        self,
        sum: &mut Sum,
        from: u64,
        width: u64,
        [before, after]: [u64; 2],
    ) -> Result<(), SizeOverflow> {
        match self {
            Self::Pool => sum.tensors(1, from, after),
            Self::Convolution => {
                sum.tensors(1, from, before)?;
                sum.convolution(Self::KERNEL, from, width, after)?;
                sum.scale_and_shift(width)?;
                sum.tensors(2, width, after)
            }
        }
    }

    /// Returns the number of convolutions that it adds to every path.
    pub(super) fn depth(self) -> u64 {
        match self {
            Self::Pool => 0,
            Self::Convolution => 1,
        }
    }

    /// Returns the flow out of it, for a flow of `channels` channels.
    pub(super) fn flow(self, flow: Flow, channels: u64) -> Flow {
        match self {
            Self::Pool => flow,
            Self::Convolution => flow.through_convolution(Self::KERNEL, channels),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_rounds_down_a_convolution_rounds_up_and_a_single_pixel_is_not_halved() {
        assert_eq!(Reduction::Pool.halve((8, 7)), Some((4, 3)));
        assert_eq!(Reduction::Convolution.halve((8, 7)), Some((4, 4)));
        for reduction in [Reduction::Pool, Reduction::Convolution] {
            assert_eq!(reduction.halve((2, 3)).map(|(height, _)| height), Some(1));
            assert_eq!(reduction.halve((1, 8)), None);
        }
    }

    #[test]
    fn a_name_is_read_and_another_is_refused() {
        assert_eq!(serde_json::from_str::<Reduction>("\"convolution\"").unwrap(), Reduction::Convolution);
        let error = serde_json::from_str::<Reduction>("\"stride\"").unwrap_err().to_string();
        assert!(error.contains("expected `pool` or `convolution`"), "{error}");
    }
}
