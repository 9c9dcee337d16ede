//! One block: the layers of a graph, in topological order.

use super::NetworkError;
use super::init::Initializer;
use super::layer::{Layer, PreActivation};
use super::paths::PathFactors;
use crate::graph::{LayerGraph, NodeChannels};
use burn::module::Module;
use burn::tensor::Tensor;
use std::sync::Arc;

/// The connections between the nodes of a graph, shared by all blocks of a network.
#[derive(Debug)]
pub(super) struct Wiring {
    /// For each node, the nodes whose outputs it takes; none if its own output is not used.
    inputs: Vec<Vec<usize>>,
    /// For each node, how often its output is taken.
    uses: Vec<usize>,
    /// For each node, for each input, whether it is a path that can be dropped.
    paths: Vec<Vec<bool>>,
}

impl Wiring {
    pub(super) fn new(graph: &LayerGraph) -> Self {
        let mut inputs = vec![Vec::new(); graph.node_count()];
        let mut uses = vec![0; graph.node_count()];
        for ((node, live), own) in graph.nodes().iter().zip(graph.live_nodes()).zip(&mut inputs) {
            if live {
                own.clone_from(&node.inputs);
                node.inputs.iter().for_each(|&from| uses[from] += 1);
            }
        }
        let mut paths: Vec<Vec<bool>> = inputs.iter().map(|inputs| vec![false; inputs.len()]).collect();
        for [node, input] in graph.paths() {
            paths[node][input] = true;
        }
        Self { inputs, uses, paths }
    }
}

/// The layers of one block. A layer that does not reach the output has weights, but is not computed.
#[derive(Module, Debug)]
pub(super) struct Block {
    layers: Vec<Layer>,
    /// For each node, the 1x1 cell that projects its output to the width of the stage, if there is one.
    projections: Vec<Option<PreActivation>>,
    #[module(skip)]
    wiring: Arc<Wiring>,
}

impl Block {
    /// Creates a block of `graph` whose nodes have these channels.
    pub(super) fn new(
        graph: &LayerGraph,
        wiring: Arc<Wiring>,
        channels: &[NodeChannels],
        initializer: &mut Initializer<'_>,
    ) -> Result<Self, NetworkError> {
        let mut layers = Vec::with_capacity(channels.len());
        let mut projections = Vec::with_capacity(channels.len());
        for (node, own) in graph.nodes().iter().zip(channels) {
            let inputs: Vec<u64> = node.inputs.iter().map(|&from| channels[from].output).collect();
            layers.push(Layer::new(node, &inputs, own.computed, initializer)?);
            let projection = || PreActivation::new(1, 1, own.computed, own.output, initializer);
            projections.push(own.is_projected().then(projection).transpose()?);
        }
        Ok(Self { layers, projections, wiring })
    }

    /// Maps `[batch, channels, height, width]` to the same shape with other channels. `previous` is the input of the
    /// block before, if this one takes it. Paths are multiplied by the next of `factors`. Each output is freed after its
    /// last use.
    pub(super) fn forward(
        &self,
        input: Tensor<4>,
        previous: Option<Tensor<4>>,
        factors: &mut PathFactors,
    ) -> Tensor<4> {
        let mut left = self.wiring.uses.clone();
        let mut outputs: Vec<Option<Tensor<4>>> = vec![None; self.layers.len()];
        for (node, input) in [Some(input), previous].into_iter().enumerate() {
            if let Some(input) = input.filter(|_| left[node] > 0) {
                outputs[node] = Some(self.project(node, input));
            }
        }
        let Wiring { inputs, paths, .. } = &*self.wiring;
        for (position, (layer, (inputs, paths))) in self.layers.iter().zip(inputs.iter().zip(paths)).enumerate() {
            if inputs.is_empty() {
                continue;
            }
            let output = layer.forward(inputs.iter().zip(paths).map(|(&from, &is_path)| {
                left[from] -= 1;
                let output = if left[from] == 0 { outputs[from].take() } else { outputs[from].clone() };
                let output = output.expect("a node takes its inputs from earlier nodes");
                if is_path { factors.apply(output) } else { output }
            }));
            outputs[position] = Some(self.project(position, output));
        }
        outputs.pop().flatten().expect("the last node is the output, which is always computed")
    }

    /// Returns what the nodes after `node` receive of its output.
    fn project(&self, node: usize, output: Tensor<4>) -> Tensor<4> {
        match &self.projections[node] {
            Some(projection) => projection.forward(output),
            None => output,
        }
    }

    /// Returns the number of paths that can be dropped.
    pub(super) fn path_count(&self) -> usize {
        self.wiring.paths.iter().flatten().filter(|is_path| **is_path).count()
    }

    /// Returns the layer of each node of the graph, and its projection if it has one.
    pub(super) fn parts_mut(&mut self) -> impl Iterator<Item = (&mut Layer, Option<&mut PreActivation>)> {
        self.layers.iter_mut().zip(self.projections.iter_mut().map(Option::as_mut))
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
        // The sum leads nowhere.
        assert!(wiring.paths.concat().iter().all(|is_path| !is_path));
    }

    #[test]
    fn what_sums_take_over_a_layer_is_a_path_and_a_shortcut_is_none() {
        let graph = LayerGraph::new(vec![
            Node::new(Operation::Input, []),
            Node::new(Operation::Previous, []),
            Node::new(Operation::Convolution { kernel: 3 }, [0]),
            Node::new(Operation::MaxPool { kernel: 3 }, [1]),
            Node::new(Operation::Identity, [2]),
            Node::new(Operation::Add, [0, 2, 3]),
            Node::new(Operation::Add, [1, 2, 4, 5]),
            Node::new(Operation::Concat, [2, 6]),
            Node::new(Operation::Output, [7, 3]),
        ])
        .unwrap();
        assert_eq!(graph.paths(), [[5, 1], [5, 2], [6, 1]]);
        let wiring = Wiring::new(&graph);
        assert_eq!(wiring.paths[5], [false, true, true]);
        assert_eq!(wiring.paths[6], [false, true, false, false]);
        assert_eq!(wiring.paths.concat().iter().filter(|is_path| **is_path).count(), 3);
    }
}
