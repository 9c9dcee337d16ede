//! One block: the layers of a graph, in topological order.

use super::NetworkError;
use super::init::Initializer;
use super::layer::Layer;
use crate::graph::LayerGraph;
use burn::module::Module;
use burn::tensor::Tensor;
use std::sync::Arc;

/// Which nodes of a graph feed which, shared by all blocks of a network.
#[derive(Debug)]
pub(super) struct Wiring {
    /// Per node, the nodes whose outputs it takes; none if its own output is not used.
    inputs: Vec<Vec<usize>>,
    /// Per node, how often its output is taken.
    uses: Vec<usize>,
}

impl Wiring {
    pub(super) fn new(graph: &LayerGraph) -> Self {
        let nodes = graph.nodes();
        let mut inputs = vec![Vec::new(); nodes.len()];
        let mut uses = vec![0; nodes.len()];
        for (position, node) in nodes.iter().enumerate().rev() {
            let output = position + 1 == nodes.len();
            if output || uses[position] > 0 {
                inputs[position].clone_from(&node.inputs);
                node.inputs.iter().for_each(|&from| uses[from] += 1);
            }
        }
        Self { inputs, uses }
    }
}

/// The layers of one block. A layer that does not reach the output has weights, but is not computed.
#[derive(Module, Debug)]
pub(super) struct Block {
    layers: Vec<Layer>,
    #[module(skip)]
    wiring: Arc<Wiring>,
}

impl Block {
    /// A block of `graph` whose input has `input` channels and whose convolutions have `width` filters; and the number
    /// of channels that it puts out.
    pub(super) fn new(
        graph: &LayerGraph,
        wiring: Arc<Wiring>,
        input: u64,
        width: u64,
        initializer: &mut Initializer<'_>,
    ) -> Result<(Self, u64), NetworkError> {
        let channels = graph.channels(input, width)?;
        let layers = graph
            .nodes()
            .iter()
            .zip(&channels)
            .map(|(node, &output)| {
                let inputs: Vec<u64> = node.inputs.iter().map(|&from| channels[from]).collect();
                Layer::new(node, &inputs, output, initializer)
            })
            .collect::<Result<_, _>>()?;
        Ok((Self { layers, wiring }, channels.last().copied().unwrap_or(input)))
    }

    /// `[batch, channels, height, width]` to the same with other channels. Each output is given up at its last use.
    pub(super) fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let mut left = self.wiring.uses.clone();
        let mut outputs: Vec<Option<Tensor<4>>> = vec![None; self.layers.len()];
        outputs[0] = Some(input);
        for (position, (layer, inputs)) in self.layers.iter().zip(&self.wiring.inputs).enumerate() {
            if inputs.is_empty() {
                continue;
            }
            let output = layer.forward(inputs.iter().map(|&from| {
                left[from] -= 1;
                let output = if left[from] == 0 { outputs[from].take() } else { outputs[from].clone() };
                output.expect("a node takes its inputs from earlier nodes")
            }));
            outputs[position] = Some(output);
        }
        outputs.pop().flatten().expect("the last node is the output, which is always computed")
    }

    /// One layer a node of the graph.
    pub(super) fn layers_mut(&mut self) -> &mut [Layer] {
        &mut self.layers
    }

    pub(super) fn num_trainable_parameters(&self) -> u64 {
        self.layers.iter().map(Layer::num_trainable_parameters).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Node, Operation};

    #[test]
    fn only_nodes_that_reach_the_output_take_inputs_and_each_take_is_counted() {
        let graph = LayerGraph::new(vec![
            Node::new(Operation::Input, []),
            Node::new(Operation::Relu, [0]),
            Node::new(Operation::Identity, [0]),
            Node::new(Operation::Add, [2, 1]),
            Node::new(Operation::Concat, [1, 0, 1]),
            Node::new(Operation::Output, [4]),
        ]);
        let wiring = Wiring::new(&graph.unwrap());
        assert_eq!(wiring.inputs, [vec![], vec![0], vec![], vec![], vec![1, 0, 1], vec![4]]);
        assert_eq!(wiring.uses, [2, 2, 0, 0, 1, 0]);
    }
}
