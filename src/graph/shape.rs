//! Shape inference: the number of output channels of each node of a graph.

use super::{LayerGraph, NetworkConfig, Operation, WidthRule};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The shape of an image.
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
    /// Returns the bytes of an image of this shape with one byte per value, or `None` if that overflows or a size is 0.
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

/// A size that does not fit into 64 bits.
///
/// Where widths grow ([`WidthRule::Growing`]), a chain of concatenations in one block reaches 28,657 times the width of
/// its stage; repeated over a network, sizes exceed any integer. Such an architecture is infeasible, not a programming
/// error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the {quantity} of this architecture does not fit into 64 bits")]
#[non_exhaustive]
pub struct SizeOverflow {
    /// The quantity that overflowed.
    pub quantity: &'static str,
}

/// How many channels one node of a graph has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeChannels {
    /// The channels of the operation's own output.
    pub computed: u64,
    /// The channels that the nodes after it receive.
    pub output: u64,
}

impl NodeChannels {
    /// Returns whether a 1x1 convolution projects the output of the operation to what the nodes after it receive.
    #[must_use]
    pub(crate) fn is_projected(self) -> bool {
        self.computed != self.output
    }
}

/// The channels of one block of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PlacedBlock {
    /// Its stage, from 0.
    pub(crate) stage: usize,
    /// Its number in the stage, from 0.
    pub(crate) number: usize,
    /// The width of the stage.
    pub(crate) width: u64,
    /// The channels of its input and of the previous one, before they are reduced if it is the first of a later stage.
    pub(crate) inputs: [u64; 2],
    /// The channels of its nodes.
    pub(crate) nodes: Vec<NodeChannels>,
}

impl PlacedBlock {
    /// Returns whether a reduction is before it.
    pub(crate) fn is_reduced(&self) -> bool {
        self.stage > 0 && self.number == 0
    }

    /// Returns the channels of its output.
    pub(crate) fn output(&self) -> u64 {
        self.nodes.last().map_or(0, |output| output.output)
    }
}

impl LayerGraph {
    /// Returns the blocks of a network from first to last; an error if a number of channels does not fit into 64 bits.
    pub(crate) fn blocks_in<'a>(
        &'a self,
        network: &'a NetworkConfig,
    ) -> impl Iterator<Item = Result<PlacedBlock, SizeOverflow>> + 'a {
        let places = (0..network.stages).flat_map(|stage| (0..network.repeats).map(move |number| (stage, number)));
        let mut next = None;
        places.map(move |(stage, number)| {
            let inputs = match next {
                Some(inputs) => inputs,
                None => [network.stem_width()?; 2],
            };
            let width = network.stage_width(stage)?;
            let mut block = PlacedBlock { stage, number, width, inputs, nodes: Vec::new() };
            let reduced =
                inputs.map(|from| if block.is_reduced() { network.reduction.channels(from, width) } else { from });
            block.nodes = self.channels_after(reduced, width, network.widths)?;
            next = Some([block.output(), reduced[0]]);
            Ok(block)
        })
    }

    /// Returns the number of inputs of the block: two if it takes the output of two blocks before it.
    pub(crate) fn input_count(&self) -> usize {
        1 + usize::from(self.has_previous())
    }

    /// Returns the channels of each node when the graph's inputs have `input` channels and its convolutions have
    /// `width` filters. There is one entry per node, in the order of [`nodes`](Self::nodes); the last is the graph's
    /// output.
    ///
    /// # Errors
    /// [`SizeOverflow`] if the number of channels of a concatenation does not fit into 64 bits.
    ///
    /// ```
    /// use blockqnn::graph::{LayerGraph, Node, Operation, WidthRule};
    ///
    /// let graph = LayerGraph::new(vec![
    ///     Node::new(Operation::Input, []),
    ///     Node::new(Operation::PreActivationConvolution { kernel: 3 }, [0]),
    ///     Node::new(Operation::Concat, [0, 1]),
    ///     Node::new(Operation::Output, [2]),
    /// ])?;
    /// let outputs = |rule| {
    ///     graph.channels(3, 16, rule).map(|nodes| nodes.iter().map(|node| node.output).collect::<Vec<_>>())
    /// };
    /// assert_eq!(outputs(WidthRule::Growing)?, [3, 16, 19, 19]);
    /// assert_eq!(outputs(WidthRule::Bounded)?, [3, 16, 16, 16]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn channels(&self, input: u64, width: u64, rule: WidthRule) -> Result<Vec<NodeChannels>, SizeOverflow> {
        self.channels_after([input; 2], width, rule)
    }

    /// Returns the [`channels`](Self::channels) of each node where the output of the block before has `input` channels
    /// and that of the one before it `previous`.
    pub(crate) fn channels_after(
        &self,
        [input, previous]: [u64; 2],
        width: u64,
        rule: WidthRule,
    ) -> Result<Vec<NodeChannels>, SizeOverflow> {
        let mut channels: Vec<NodeChannels> = Vec::with_capacity(self.node_count());
        for node in self.nodes() {
            let count = node.inputs.len();
            let inputs: Vec<u64> = match count {
                0 if node.operation == Operation::Previous => vec![previous],
                0 => vec![input],
                _ => node.inputs.iter().map(|&from| channels[from].output).collect(),
            };
            let (computed, is_bounded) = node
                .operation
                .describe(|kind| {
                    let computed = kind.channels(&inputs, width)?;
                    Some((computed, kind.is_bounded(count, computed, width)))
                })
                .ok_or(SizeOverflow { quantity: "number of channels" })?;
            let brought_to_width = rule == WidthRule::Bounded && is_bounded;
            channels.push(NodeChannels { computed, output: if brought_to_width { width } else { computed } });
        }
        Ok(channels)
    }
}
