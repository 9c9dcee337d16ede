//! Path flow: the expectation of the `SynFlow` score of an untrained network, in closed form.

use super::{CostError, LayerGraph, NetworkConfig, Operation, SizeOverflow};

/// What arrives at one place of a network whose weights are absolute values and whose image is all ones.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Flow {
    /// The natural logarithm of the mean over the channels; negative infinity for zeros.
    log: f64,
    /// The number of layers with weights on the way: the mean over all paths, weighted by what flows through them.
    layers: f64,
}

impl Flow {
    /// The flow at a place to which no path leads.
    pub(crate) const NONE: Self = Self { log: f64::NEG_INFINITY, layers: 0.0 };

    /// The flow at the image.
    const ONES: Self = Self { log: 0.0, layers: 0.0 };

    /// The flow after a convolution of `channels` inputs: each of the `kernel^2 * channels` weights has the mean
    /// absolute value `sqrt(2 / pi)` of its deviation, which is `sqrt(2 / (kernel^2 * channels))` (He et al., 2015).
    #[must_use]
    pub(crate) fn through_convolution(self, kernel: u8, channels: u64) -> Self {
        self.through_weights(u64::from(kernel).pow(2).saturating_mul(channels))
    }

    /// After a convolution whose filters have so many weights each.
    #[must_use]
    pub(crate) fn through_weights(self, weights: u64) -> Self {
        let gain = (4.0 / std::f64::consts::PI * weights as f64).sqrt();
        Self { log: self.log + gain.ln(), layers: self.layers + 1.0 }
    }

    /// Returns the sum of flows, each times its weight.
    pub(crate) fn sum(flows: impl IntoIterator<Item = (Self, f64)>) -> Self {
        let terms: Vec<(f64, f64)> =
            flows.into_iter().map(|(flow, weight)| (flow.log + weight.ln(), flow.layers)).collect();
        let largest = terms.iter().map(|&(log, _)| log).fold(f64::NEG_INFINITY, f64::max);
        if largest == f64::NEG_INFINITY {
            return Self::NONE;
        }
        // Divided by the largest, because the sum of many paths through a large network exceeds any number.
        let shares = terms.iter().map(|&(log, layers)| ((log - largest).exp(), layers));
        let (total, layers) =
            shares.fold((0.0, 0.0), |(total, sum), (share, layers)| (total + share, sum + share * layers));
        Self { log: largest + total.ln(), layers: layers / total }
    }

    /// Returns the flow of several flows side by side, each with this number of channels.
    pub(crate) fn side_by_side(flows: &[(Self, u64)]) -> Self {
        let all: f64 = flows.iter().map(|&(_, channels)| channels as f64).sum();
        Self::sum(flows.iter().map(|&(flow, channels)| (flow, channels as f64 / all)))
    }

    /// Returns this flow after one more block, which multiplies it by what the block makes of ones.
    fn through(self, block: Self) -> Self {
        Self { log: self.log + block.log, layers: self.layers + block.layers }
    }
}

impl LayerGraph {
    /// Returns the logarithm of the expected `SynFlow` score of the network that `network` builds around this graph;
    /// negative infinity if no path leads through the block.
    ///
    /// `SynFlow` (Tanaka et al., 2020) sends an image of ones through the absolute values of untrained weights and sums
    /// up weight times gradient, which is the output times the number of layers on a path. With He's initialisation,
    /// its expectation is a sum over paths and needs neither weights nor data. Rectifiers, pools and normalisations are
    /// taken to pass on what they get, and borders of images to lose nothing.
    ///
    /// # Errors
    /// The same errors as [`cost`](Self::cost).
    ///
    /// ```
    /// use blockqnn::graph::{NetworkConfig, ToGraph};
    /// use blockqnn::space::block::BlockCode;
    ///
    /// let flow = |text: &str| {
    ///     let block: BlockCode = text.parse().expect("a block");
    ///     block.to_graph().path_flow(&NetworkConfig::cifar())
    /// };
    /// assert!(flow("conv3(0) conv3(1) terminal(2)")? > flow("conv3(0) max3(1) terminal(2)")?);
    /// # Ok::<(), blockqnn::graph::CostError>(())
    /// ```
    pub fn path_flow(&self, network: &NetworkConfig) -> Result<f64, CostError> {
        network.validate()?;
        let width = network.stem_width()?;
        let stem = Flow::ONES.through_convolution(network.stem.kernel, network.image.channels as u64);
        let (flow, channels) = if self.has_previous() {
            self.flow_of_two(stem, width, network)?
        } else {
            self.flow_of_one(stem, width, network)?
        };
        let Flow { log, layers } = flow.through_convolution(1, channels);
        Ok(log + layers.ln_1p())
    }

    /// What flows out of the blocks and in how many channels, where each only takes the output of the one before.
    fn flow_of_one(&self, stem: Flow, width: u64, network: &NetworkConfig) -> Result<(Flow, u64), SizeOverflow> {
        let (mut flow, mut channels) = (stem, width);
        for stage in 0..network.stages {
            let width = network.stage_width(stage)?;
            if stage > 0 {
                (flow, channels) = reduced(flow, channels, width, network);
            }
            let mut last: Option<(u64, Flow, u64)> = None;
            for _ in 0..network.repeats {
                // Most blocks of a stage have the same input as the one before.
                let (_, block, output) = match last {
                    Some(same) if same.0 == channels => same,
                    _ => {
                        let (block, output) = self.block_flow([(Flow::ONES, channels); 2], width, network)?;
                        (channels, block, output)
                    }
                };
                last = Some((channels, block, output));
                flow = flow.through(block);
                channels = output;
            }
        }
        Ok((flow, channels))
    }

    /// The same where each block takes the outputs of two before it.
    fn flow_of_two(&self, stem: Flow, width: u64, network: &NetworkConfig) -> Result<(Flow, u64), SizeOverflow> {
        let mut inputs = [(stem, width); 2];
        for stage in 0..network.stages {
            let width = network.stage_width(stage)?;
            if stage > 0 {
                inputs = inputs.map(|(flow, channels)| reduced(flow, channels, width, network));
            }
            for _ in 0..network.repeats {
                inputs = [self.block_flow(inputs, width, network)?, inputs[0]];
            }
        }
        Ok(inputs[0])
    }

    /// Returns what one block makes of its input and of the previous one, and the channels of its output.
    fn block_flow(
        &self,
        given: [(Flow, u64); 2],
        width: u64,
        network: &NetworkConfig,
    ) -> Result<(Flow, u64), SizeOverflow> {
        let channels = self.channels_after(given.map(|(_, channels)| channels), width, network.widths)?;
        let mut flows: Vec<Flow> = Vec::with_capacity(self.node_count());
        for (node, own) in self.nodes().iter().zip(&channels) {
            let inputs: Vec<(Flow, u64)> = match node.inputs.len() {
                0 => vec![given[usize::from(node.operation == Operation::Previous)]],
                _ => node.inputs.iter().map(|&from| (flows[from], channels[from].output)).collect(),
            };
            let flow = node.operation.describe(|kind| kind.flow(&inputs, own.computed));
            flows.push(if own.is_projected() { flow.through_convolution(1, own.computed) } else { flow });
        }
        let (Some(&flow), Some(output)) = (flows.last(), channels.last()) else { return Ok((Flow::NONE, 0)) };
        Ok((flow, output.output))
    }
}

/// What a reduction before a stage of this width makes of a flow and its channels.
fn reduced(flow: Flow, channels: u64, width: u64, network: &NetworkConfig) -> (Flow, u64) {
    (network.reduction.flow(flow, channels), network.reduction.channels(channels, width))
}

#[cfg(test)]
mod tests;
