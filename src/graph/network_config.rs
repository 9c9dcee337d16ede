//! The fixed network around a block: stem, stages, head (Section "Distributed Asynchronous Framework", Figure 2).

use super::ImageShape;
use serde::{Deserialize, Serialize};

/// The layers in front of the blocks: convolutions and pools that bring an image to the first stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StemConfig {
    /// Side of the stem convolution's square kernel, odd.
    pub kernel: u8,
    /// Stride of the stem convolution.
    pub stride: u8,
    /// Number of 2x2 max pools with stride 2 after the stem convolution.
    pub pools: u8,
}

impl Default for StemConfig {
    fn default() -> Self {
        Self { kernel: 3, stride: 1, pools: 0 }
    }
}

/// How a network is built from a block: stem, stages of repeated blocks, classifier head.
///
/// The network is: stem convolution (no bias, `width` filters, no normalisation), `stem.pools` max pools (2x2, stride
/// 2), then `stages` stages of `repeats` blocks each with a max pool (2x2, stride 2) between stages; the convolutions of
/// stage `s` (from 0) have `width * 2^s` filters. After the last stage: batch normalisation, ReLU, global average pool,
/// linear layer with bias. Paper: Figure 2 and Section "Distributed Asynchronous Framework"; what the paper leaves open
/// is a field here.
///
/// ```
/// use blockqnn::graph::NetworkConfig;
///
/// let config = NetworkConfig::cifar();
/// assert_eq!((config.stages, config.repeats), (3, 4));
/// config.validate()?;
/// # Ok::<(), blockqnn::graph::NetworkConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkConfig {
    /// Shape of one input image.
    pub image: ImageShape,
    /// Number of classes.
    pub classes: usize,
    /// The layers in front of the first stage.
    pub stem: StemConfig,
    /// Number of stages; a max pool of stride 2 stands between two stages.
    pub stages: usize,
    /// Blocks per stage: N of the paper.
    pub repeats: usize,
    /// Filters of the convolutions in the first stage; each further stage doubles them.
    pub width: usize,
}
