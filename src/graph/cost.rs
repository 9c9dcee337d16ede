//! The cost of a network, computed from its graph before anything is allocated.

use super::shape::{NodeChannels, SizeOverflow};
use super::{LayerGraph, NetworkConfig, Operation};
use crate::setting::InvalidSetting;
use serde::{Deserialize, Serialize};

/// The size of a whole network and the shape of its block.
///
/// Sizes are those of the network that [`NetworkConfig`] builds around the block; nodes and edges are those of the
/// block itself ("dot" and "edge" in Section "Training Speed Up"), as it was proposed.
///
/// Counted by the conventions of the published tables: one multiplication and its addition are one FLOP, and only
/// convolutions and linear layers count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cost {
    /// The number of trainable parameters.
    pub parameters: u64,
    /// Multiply-adds of convolutions and the linear layer for one image, projections included.
    pub flops: u64,
    /// The bytes of the f32 outputs of all operations for one image: what training keeps for the backward pass.
    pub activation_bytes: u64,
    /// The convolutions and linear layers on the longest path from image to logits, without projections.
    pub depth: u64,
    /// The nodes of the block: start, layers and terminal.
    pub nodes: u64,
    /// The edges of the block, including those into the terminal.
    pub edges: u64,
}

impl Cost {
    /// Returns one part of the cost.
    #[must_use]
    pub fn quantity(&self, quantity: CostQuantity) -> u64 {
        match quantity {
            CostQuantity::Parameters => self.parameters,
            CostQuantity::Flops => self.flops,
            CostQuantity::ActivationBytes => self.activation_bytes,
        }
    }

    /// Returns the number of edges divided by the number of nodes: the density of formula 1.
    #[must_use]
    pub fn density(&self) -> f64 {
        self.edges as f64 / self.nodes as f64
    }
}

/// Why a graph has no [`Cost`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CostError {
    /// The configuration of the network is not valid.
    #[error(transparent)]
    Config(#[from] InvalidSetting),
    /// A size does not fit into 64 bits.
    #[error(transparent)]
    Overflow(#[from] SizeOverflow),
}

/// Upper limits on what a network may cost; `None` means no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CostLimits {
    /// The most trainable parameters.
    pub parameters: Option<u64>,
    /// The most multiply-adds for one image.
    pub flops: Option<u64>,
    /// The most bytes of activations for one image.
    pub activation_bytes: Option<u64>,
}

/// A cost that exceeds its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{quantity:?} of {value} exceed the limit of {limit}")]
pub struct OverLimit {
    /// The quantity over its limit.
    pub quantity: CostQuantity,
    /// The value of the network.
    pub value: u64,
    /// The limit.
    pub limit: u64,
}

/// A part of [`Cost`] that can be limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum CostQuantity {
    /// Trainable parameters.
    Parameters,
    /// Multiply-adds for one image.
    Flops,
    /// Bytes of activations for one image.
    ActivationBytes,
}

impl CostQuantity {
    /// All quantities.
    pub const ALL: [Self; 3] = [Self::Parameters, Self::Flops, Self::ActivationBytes];

    /// Returns the name of the quantity in settings and files: `parameters`, `flops` or `activation_bytes`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Parameters => "parameters",
            Self::Flops => "flops",
            Self::ActivationBytes => "activation_bytes",
        }
    }

    /// Returns the quantity of this name, if there is one.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|quantity| quantity.name() == name)
    }
}

impl CostLimits {
    /// Checks `cost` against the limits.
    ///
    /// # Errors
    /// The first quantity over its limit.
    pub fn check(&self, cost: &Cost) -> Result<(), OverLimit> {
        let checks = [
            (CostQuantity::Parameters, cost.parameters, self.parameters),
            (CostQuantity::Flops, cost.flops, self.flops),
            (CostQuantity::ActivationBytes, cost.activation_bytes, self.activation_bytes),
        ];
        for (quantity, value, limit) in checks {
            if let Some(limit) = limit
                && value > limit
            {
                return Err(OverLimit { quantity, value, limit });
            }
        }
        Ok(())
    }
}

impl LayerGraph {
    /// Returns the cost of the network that `network` builds around this graph.
    ///
    /// # Errors
    /// [`CostError::Config`] if `network` is not valid, [`CostError::Overflow`] if a size does not fit into 64 bits.
    pub fn cost(&self, network: &NetworkConfig) -> Result<Cost, CostError> {
        let sum = self.sum(network, &vec![true; self.node_count()])?;
        let blocks = mul(network.stages as u64, network.repeats as u64, "depth")?;
        let reductions = mul(network.stages as u64 - 1, network.reduction.depth(), "depth")?;
        let depth = add(mul(blocks, self.longest_convolution_path(), "depth")?, reductions, "depth")?;
        let depth = add(depth, 2, "depth")?;
        Ok(Cost {
            parameters: sum.parameters,
            flops: sum.flops,
            activation_bytes: sum.activation_bytes,
            depth,
            nodes: self.node_count() as u64,
            edges: self.edge_count() as u64,
        })
    }

    /// Returns the number of parameters that take part in the output of the network: those of [`cost`](Self::cost)
    /// without the nodes of the block that are fed by zeros alone, or that lead nowhere.
    ///
    /// # Errors
    /// The same errors as [`cost`](Self::cost).
    ///
    /// ```
    /// use blockqnn::graph::{CostError, ToGraph};
    /// use blockqnn::space::cell::{CellCode, CellSpace};
    ///
    /// let parameters = |text: &str| {
    ///     let cell: CellCode = text.parse().expect("a cell");
    ///     cell.to_graph().effective_parameters(&CellSpace::network())
    /// };
    /// // Nothing leads from the convolution to the output.
    /// let dead = parameters("|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|")?;
    /// assert_eq!(dead, parameters("|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|")?);
    /// # Ok::<(), CostError>(())
    /// ```
    pub fn effective_parameters(&self, network: &NetworkConfig) -> Result<u64, CostError> {
        let mut counted = self.live_nodes();
        let mut reached: Vec<bool> = Vec::with_capacity(counted.len());
        for (node, counted) in self.nodes().iter().zip(&mut counted) {
            let is_fed = node.inputs.is_empty() || node.inputs.iter().any(|&input| reached[input]);
            reached.push(is_fed && node.operation != Operation::Zero);
            *counted &= is_fed;
        }
        Ok(self.sum(network, &counted)?.parameters)
    }

    /// The sums over the whole network, where of each block only the `counted` nodes are summed.
    fn sum(&self, network: &NetworkConfig, counted: &[bool]) -> Result<Sum, CostError> {
        network.validate()?;
        let mut sum = Sum::default();
        let mut channels = network.stem_width()?;
        let stem = network.stem_size();
        sum.convolution(network.stem.kernel, network.image.channels as u64, channels, pixels(stem)?)?;
        sum.tensors(1, channels, pixels(stem)?)?;
        if network.stem.normalised {
            sum.scale_and_shift(channels)?;
            sum.tensors(1, channels, pixels(stem)?)?;
        }

        let sizes = network.stage_sizes()?;
        let mut pooled = stem;
        for _ in 0..network.stem.pools {
            pooled = (pooled.0 / 2, pooled.1 / 2);
            sum.tensors(1, channels, pixels(pooled)?)?;
        }
        for block in self.blocks_in(network) {
            let block = block?;
            let now = pixels(sizes[block.stage])?;
            if block.is_reduced() {
                let before = pixels(sizes[block.stage - 1])?;
                for &from in &block.inputs[..self.input_count()] {
                    network.reduction.cost(&mut sum, from, block.width, [before, now])?;
                }
            }
            sum.block(self, &block.nodes, counted, now)?;
            channels = block.output();
        }
        let classes = network.classes as u64;
        sum.scale_and_shift(channels)?;
        sum.tensors(2, channels, pixels(*sizes.last().unwrap_or(&stem))?)?;
        sum.tensors(1, channels, 1)?;
        let weights = mul(channels, classes, PARAMETERS)?;
        sum.add_parameters(weights)?;
        sum.add_parameters(classes)?;
        sum.flops = add(sum.flops, weights, FLOPS)?;
        sum.tensors(1, classes, 1)?;
        Ok(sum)
    }

    /// Returns the multiply-adds of only the first block of the network, for one image: its input has the width and the
    /// size of the first stage. Projections of additions count.
    ///
    /// # Errors
    /// The same errors as [`cost`](Self::cost).
    ///
    /// ```
    /// use blockqnn::graph::{NetworkConfig, ToGraph};
    /// use blockqnn::space::block::BlockCode;
    ///
    /// let graph = "conv3(0) conv1(1) terminal(2)".parse::<BlockCode>()?.to_graph();
    /// assert_eq!(graph.block_flops(&NetworkConfig::cifar())?, (9 + 1) * 32 * 32 * 32 * 32);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn block_flops(&self, network: &NetworkConfig) -> Result<u64, CostError> {
        network.validate()?;
        let mut sum = Sum::default();
        let (width, size) = (network.stage_width(0)?, network.stage_sizes()?.first().copied().unwrap_or_default());
        let nodes = self.channels(width, width, network.widths)?;
        sum.block(self, &nodes, &vec![true; nodes.len()], pixels(size)?)?;
        Ok(sum.flops)
    }

    /// Returns the number of convolutions on the path from input to output that has most of them, without projections
    /// of additions.
    #[must_use]
    pub(crate) fn longest_convolution_path(&self) -> u64 {
        let mut longest: Vec<u64> = Vec::with_capacity(self.node_count());
        for node in self.nodes() {
            let before = node.inputs.iter().map(|&from| longest[from]).max().unwrap_or(0);
            longest.push(before + node.operation.facts().depth);
        }
        longest.last().copied().unwrap_or(0)
    }
}

const PARAMETERS: &str = "number of parameters";
const FLOPS: &str = "number of multiply-adds";
const BYTES: &str = "activation memory";
const F32_BYTES: u64 = 4;

fn add(a: u64, b: u64, quantity: &'static str) -> Result<u64, SizeOverflow> {
    a.checked_add(b).ok_or(SizeOverflow { quantity })
}

fn mul(a: u64, b: u64, quantity: &'static str) -> Result<u64, SizeOverflow> {
    a.checked_mul(b).ok_or(SizeOverflow { quantity })
}

fn pixels((height, width): (usize, usize)) -> Result<u64, SizeOverflow> {
    mul(height as u64, width as u64, "number of pixels")
}

/// The running sums of a network's cost.
#[derive(Debug, Default)]
pub(crate) struct Sum {
    parameters: u64,
    flops: u64,
    activation_bytes: u64,
}

impl Sum {
    fn add_parameters(&mut self, parameters: u64) -> Result<(), SizeOverflow> {
        self.parameters = add(self.parameters, parameters, PARAMETERS)?;
        Ok(())
    }

    /// Adds the parameters of a batch normalisation.
    pub(super) fn scale_and_shift(&mut self, channels: u64) -> Result<(), SizeOverflow> {
        self.add_parameters(mul(channels, 2, PARAMETERS)?)
    }

    /// Adds the weights and multiply-adds of a convolution without bias.
    pub(super) fn convolution(&mut self, kernel: u8, from: u64, to: u64, pixels: u64) -> Result<(), SizeOverflow> {
        self.grouped_convolution([kernel; 2], 1, from, to, pixels)
    }

    /// Adds the weights and multiply-adds of a convolution without bias in so many groups.
    pub(super) fn grouped_convolution(
        &mut self,
        [height, width]: [u8; 2],
        groups: u64,
        from: u64,
        to: u64,
        pixels: u64,
    ) -> Result<(), SizeOverflow> {
        let taps = u64::from(height) * u64::from(width);
        let weights = mul(mul(from / groups, to, PARAMETERS)?, taps, PARAMETERS)?;
        self.add_parameters(weights)?;
        self.flops = add(self.flops, mul(weights, pixels, FLOPS)?, FLOPS)?;
        Ok(())
    }

    /// Adds a squeeze-and-excitation without its product: means, two 1x1 convolutions of one pixel with biases, ReLU
    /// between them and a sigmoid after them.
    pub(super) fn squeeze_excitation(&mut self, channels: u64, squeezed: u64) -> Result<(), SizeOverflow> {
        for (from, to) in [(channels, squeezed), (squeezed, channels)] {
            self.convolution(1, from, to, 1)?;
            self.add_parameters(to)?;
            self.tensors(2, to, 1)?;
        }
        self.tensors(1, channels, 1)
    }

    /// Adds `count` tensors of activations for one image.
    pub(super) fn tensors(&mut self, count: u64, channels: u64, pixels: u64) -> Result<(), SizeOverflow> {
        let bytes = mul(mul(mul(channels, pixels, BYTES)?, F32_BYTES, BYTES)?, count, BYTES)?;
        self.activation_bytes = add(self.activation_bytes, bytes, BYTES)?;
        Ok(())
    }

    /// Adds the pre-activation cell: ReLU of its input, convolution, batch normalisation.
    pub(super) fn cell(&mut self, kernel: u8, from: u64, to: u64, pixels: u64) -> Result<(), SizeOverflow> {
        self.convolution(kernel, from, to, pixels)?;
        self.scale_and_shift(to)?;
        self.tensors(1, from, pixels)?;
        self.tensors(2, to, pixels)
    }

    /// Adds the `counted` nodes of one block whose nodes have these channels.
    fn block(
        &mut self,
        graph: &LayerGraph,
        channels: &[NodeChannels],
        counted: &[bool],
        pixels: u64,
    ) -> Result<(), SizeOverflow> {
        for ((node, &own), _) in graph.nodes().iter().zip(channels).zip(counted).filter(|(_, counted)| **counted) {
            let inputs: Vec<u64> = node.inputs.iter().map(|&from| channels[from].output).collect();
            node.operation.describe(|kind| kind.cost(&inputs, own.computed, pixels, self))?;
            if own.is_projected() {
                self.cell(1, own.computed, own.output, pixels)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
