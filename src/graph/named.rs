//! Published blocks as graphs, to put beside what a search finds.
//!
//! Each is the block that its network repeats without a change of size. What surrounds it here is
//! [`NetworkConfig`](super::NetworkConfig), not the published network: between two stages there is a max pool, and
//! where a shortcut widens, it is a 1x1 convolution alone. They are meant for
//! [`WidthRule::Growing`](super::WidthRule::Growing); those that need more channels or fewer say so themselves.

use super::{ConvolutionShape, Groups, LayerGraph, Node, Operation, Order, Width};
use crate::setting::InvalidSetting;

impl LayerGraph {
    /// The names that [`named`](Self::named) knows.
    pub const NAMES: [&str; 8] =
        ["resnet-basic", "resnet-bottleneck", "resnext", "inception", "dense", "mobilenet-v2", "nasnet-a", "darts-v2"];

    /// Returns the published block of this name:
    ///
    /// | name | block |
    /// | --- | --- |
    /// | `resnet-basic`, `resnet-bottleneck` | those of `ResNet` (He et al., CVPR 2016, Figure 5) |
    /// | `resnext` | the bottleneck of `ResNeXt`, 32 groups in half the width (Xie et al., CVPR 2017, Figure 3c) |
    /// | `inception` | four branches as in `GoogLeNet`'s 3a (Szegedy et al., CVPR 2015), with batch normalisation |
    /// | `dense` | four layers of a dense block with bottlenecks, each of which adds a quarter of the width (Huang et al., CVPR 2017) |
    /// | `mobilenet-v2` | the inverted residual with an expansion of 6 (Sandler et al., CVPR 2018) |
    /// | `nasnet-a` | the normal cell of NASNet-A (Zoph et al., CVPR 2018), as the code of DARTS writes it |
    /// | `darts-v2` | the normal cell that second-order DARTS found on CIFAR-10 (Liu et al., ICLR 2019) |
    ///
    /// # Errors
    /// [`InvalidSetting`] if there is none.
    ///
    /// ```
    /// use blockqnn::graph::{LayerGraph, NetworkConfig};
    ///
    /// let network = NetworkConfig::cifar();
    /// let cost = LayerGraph::named("resnet-bottleneck")?.cost(&network)?;
    /// assert!(cost.parameters < LayerGraph::named("resnet-basic")?.cost(&network)?.parameters);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn named(name: &str) -> Result<Self, InvalidSetting> {
        let nodes = match name {
            "resnet-basic" => resnet_basic(),
            "resnet-bottleneck" => bottleneck(Width { times: 1, per: 4 }, Groups::Dense),
            "resnext" => bottleneck(Width { times: 1, per: 2 }, Groups::Number(32)),
            "inception" => inception(),
            "dense" => dense(),
            "mobilenet-v2" => mobilenet(),
            "nasnet-a" => cell(&NASNET_A),
            "darts-v2" => cell(&DARTS_V2),
            _ => return Err(InvalidSetting::unknown("the block", name, &Self::NAMES)),
        };
        match Self::new(nodes) {
            Ok(graph) => Ok(graph),
            Err(error) => unreachable!("a published block is a valid graph: {error}"),
        }
    }
}

const INPUT: fn() -> Vec<Node> = || vec![Node::new(Operation::Input, [])];

/// Appends a node; returns its position.
fn push(nodes: &mut Vec<Node>, operation: impl Into<Operation>, inputs: impl Into<Vec<usize>>) -> usize {
    nodes.push(Node::new(operation.into(), inputs));
    nodes.len() - 1
}

fn shape(kernel: u8, order: Order) -> ConvolutionShape {
    ConvolutionShape { order, ..ConvolutionShape::new(kernel) }
}

/// Appends the sum with the input, its rectifier, and the output.
fn residual(mut nodes: Vec<Node>, last: usize) -> Vec<Node> {
    let sum = push(&mut nodes, Operation::Add, [0, last]);
    let rectified = push(&mut nodes, Operation::Relu, [sum]);
    push(&mut nodes, Operation::Output, [rectified]);
    nodes
}

fn resnet_basic() -> Vec<Node> {
    let mut nodes = INPUT();
    let first = push(&mut nodes, shape(3, Order::PostActivation), [0]);
    let second = push(&mut nodes, shape(3, Order::Normalised), [first]);
    residual(nodes, second)
}

fn bottleneck(width: Width, groups: Groups) -> Vec<Node> {
    let mut nodes = INPUT();
    let narrow = push(&mut nodes, ConvolutionShape { width, ..shape(1, Order::PostActivation) }, [0]);
    let middle = push(&mut nodes, ConvolutionShape { groups, width, ..shape(3, Order::PostActivation) }, [narrow]);
    let wide = push(&mut nodes, shape(1, Order::Normalised), [middle]);
    residual(nodes, wide)
}

/// Of 256 channels: 64; 96, then 128; 16, then 32; a pool, then 32.
fn inception() -> Vec<Node> {
    let mut nodes = INPUT();
    let of =
        |kernel, times, per| ConvolutionShape { width: Width { times, per }, ..shape(kernel, Order::PostActivation) };
    let pixels = push(&mut nodes, of(1, 1, 4), [0]);
    let narrow = push(&mut nodes, of(1, 3, 8), [0]);
    let middle = push(&mut nodes, of(3, 1, 2), [narrow]);
    let narrow = push(&mut nodes, of(1, 1, 16), [0]);
    let large = push(&mut nodes, of(5, 1, 8), [narrow]);
    let pool = push(&mut nodes, Operation::MaxPool { kernel: 3 }, [0]);
    let pooled = push(&mut nodes, of(1, 1, 8), [pool]);
    push(&mut nodes, Operation::Output, [pixels, middle, large, pooled]);
    nodes
}

fn dense() -> Vec<Node> {
    let mut nodes = INPUT();
    let growth = Width { times: 1, per: 4 };
    let mut all = 0;
    for _ in 0..4 {
        let normalised = push(&mut nodes, Operation::BatchNorm, [all]);
        // Four times the growth.
        let bottleneck = push(&mut nodes, ConvolutionShape::new(1), [normalised]);
        let rectified = push(&mut nodes, Operation::Relu, [bottleneck]);
        let added = push(&mut nodes, ConvolutionShape { width: growth, ..shape(3, Order::Plain) }, [rectified]);
        all = push(&mut nodes, Operation::Concat, [all, added]);
    }
    push(&mut nodes, Operation::Output, [all]);
    nodes
}

fn mobilenet() -> Vec<Node> {
    let mut nodes = INPUT();
    let inverted = push(&mut nodes, Operation::InvertedBottleneck { kernel: 3, expansion: 6, squeeze: false }, [0]);
    let sum = push(&mut nodes, Operation::Add, [0, inverted]);
    push(&mut nodes, Operation::Output, [sum]);
    nodes
}

/// An operation of a genotype and the state that it takes: 0 is the output of the block before the one before, 1 that
/// of the block before, and each pair adds one.
type Gene = (Choice, usize);

#[derive(Debug, Clone, Copy)]
enum Choice {
    /// A separable convolution, twice.
    Separable(u8),
    /// A dilated separable convolution.
    Dilated(u8),
    Average,
    Skip,
}

const DARTS_V2: [[Gene; 2]; 4] = [
    [(Choice::Separable(3), 0), (Choice::Separable(3), 1)],
    [(Choice::Separable(3), 0), (Choice::Separable(3), 1)],
    [(Choice::Separable(3), 1), (Choice::Skip, 0)],
    [(Choice::Skip, 0), (Choice::Dilated(3), 2)],
];

const NASNET_A: [[Gene; 2]; 5] = [
    [(Choice::Separable(5), 1), (Choice::Separable(3), 0)],
    [(Choice::Separable(5), 0), (Choice::Separable(3), 0)],
    [(Choice::Average, 1), (Choice::Skip, 0)],
    [(Choice::Average, 0), (Choice::Average, 0)],
    [(Choice::Separable(3), 1), (Choice::Skip, 1)],
];

/// A cell with two inputs, each of which passes a 1x1 cell first. Its output is the concatenation of all sums.
fn cell(genotype: &[[Gene; 2]]) -> Vec<Node> {
    let mut nodes = INPUT();
    let previous = push(&mut nodes, Operation::Previous, []);
    let cell = Operation::PreActivationConvolution { kernel: 1 };
    let mut states = vec![push(&mut nodes, cell, [previous]), push(&mut nodes, cell, [0])];
    for pair in genotype {
        let terms = pair.map(|(choice, state)| {
            let from = states[state];
            match choice {
                Choice::Separable(kernel) => {
                    let separable = Operation::SeparableConvolution { kernel, dilation: 1 };
                    let once = push(&mut nodes, separable, [from]);
                    push(&mut nodes, separable, [once])
                }
                Choice::Dilated(kernel) => {
                    push(&mut nodes, Operation::SeparableConvolution { kernel, dilation: 2 }, [from])
                }
                Choice::Average => push(&mut nodes, Operation::AveragePool { kernel: 3 }, [from]),
                Choice::Skip => from,
            }
        });
        states.push(push(&mut nodes, Operation::Add, terms));
    }
    push(&mut nodes, Operation::Output, &states[2..]);
    nodes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{NetworkConfig, WidthRule};

    #[test]
    fn every_name_is_a_block_and_no_two_are_the_same() {
        let network = NetworkConfig { widths: WidthRule::Growing, ..NetworkConfig::cifar() };
        let mut fingerprints = Vec::new();
        for name in LayerGraph::NAMES {
            let graph = LayerGraph::named(name).expect(name);
            graph.cost(&network).expect(name);
            assert_eq!(graph.live_nodes(), vec![true; graph.node_count()], "{name}");
            assert!(!fingerprints.contains(&graph.fingerprint()), "{name}");
            fingerprints.push(graph.fingerprint());
        }
        let error = LayerGraph::named("resnet").expect_err("unknown").to_string();
        assert!(error.contains("it must be resnet-basic, resnet-bottleneck"), "{error}");
    }

    #[test]
    fn a_block_keeps_the_width_of_its_stage_or_grows_as_published() {
        let output = |name: &str| {
            let graph = LayerGraph::named(name).expect(name);
            graph.channels(64, 64, WidthRule::Growing).expect(name).last().map_or(0, |output| output.output)
        };
        for name in ["resnet-basic", "resnet-bottleneck", "resnext", "inception", "mobilenet-v2"] {
            assert_eq!(output(name), 64, "{name}");
        }
        assert_eq!([output("dense"), output("darts-v2"), output("nasnet-a")], [64 + 4 * 16, 4 * 64, 5 * 64]);
    }
}
