//! Shape inference: how many channels each node of a graph puts out.

use super::{LayerGraph, Operation};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Shape of an image.
///
/// ```
/// use blockqnn::graph::ImageShape;
///
/// let shape = ImageShape { channels: 3, height: 32, width: 32 };
/// assert_eq!(shape.bytes(), Some(3072));
/// assert_eq!(shape.to_string(), "3x32x32");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageShape {
    /// Number of channels.
    pub channels: usize,
    /// Height in pixels.
    pub height: usize,
    /// Width in pixels.
    pub width: usize,
}

impl ImageShape {
    /// Bytes of an image of this shape with one byte a value, or `None` if that overflows or a size is 0.
    #[must_use]
    pub fn bytes(self) -> Option<usize> {
        let bytes = self.channels.checked_mul(self.height)?.checked_mul(self.width)?;
        (bytes > 0).then_some(bytes)
    }
}

impl fmt::Display for ImageShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}x{}", self.channels, self.height, self.width)
    }
}

/// A size does not fit into 64 bits.
///
/// A chain of concatenations of one block reaches 28,657 times the width of its stage; repeated over a network, sizes
/// pass any integer. Such an architecture is infeasible, not a programming error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the {quantity} of this architecture does not fit into 64 bits")]
#[non_exhaustive]
pub struct SizeOverflow {
    /// What overflowed.
    pub quantity: &'static str,
}

impl LayerGraph {
    /// Channels that each node puts out when the graph's input has `input` channels and its convolutions have `width`
    /// filters. One entry per node, in the order of [`nodes`](Self::nodes); the last is the graph's output.
    ///
    /// # Errors
    /// [`SizeOverflow`] if a concatenation does not fit into 64 bits.
    ///
    /// ```
    /// use blockqnn::graph::{LayerGraph, Node, Operation};
    ///
    /// let graph = LayerGraph::new(vec![
    ///     Node::new(Operation::Input, []),
    ///     Node::new(Operation::PreActivationConvolution { kernel: 3 }, [0]),
    ///     Node::new(Operation::Concat, [0, 1]),
    ///     Node::new(Operation::Output, [2]),
    /// ])?;
    /// assert_eq!(graph.channels(3, 16)?, [3, 16, 19, 19]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn channels(&self, input: u64, width: u64) -> Result<Vec<u64>, SizeOverflow> {
        let mut channels: Vec<u64> = Vec::with_capacity(self.node_count());
        for node in self.nodes() {
            let mut inputs = node.inputs.iter().map(|&from| channels[from]);
            let out = match node.operation {
                Operation::Input => input,
                Operation::PreActivationConvolution { .. } | Operation::Convolution { .. } => width,
                Operation::Add => inputs.max().unwrap_or(0),
                Operation::Concat | Operation::Output => {
                    inputs.try_fold(0, u64::checked_add).ok_or(SizeOverflow { quantity: "number of channels" })?
                }
                Operation::MaxPool { .. }
                | Operation::AveragePool { .. }
                | Operation::Identity
                | Operation::Relu
                | Operation::BatchNorm
                | Operation::Zero => inputs.next().unwrap_or(0),
            };
            channels.push(out);
        }
        Ok(channels)
    }
}
