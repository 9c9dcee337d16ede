//! Costs compared with sums written out by hand.

use super::*;
use crate::graph::{ImageShape, Node, Operation, Reduction, StemConfig, WidthRule};

const CONVOLUTION_1: Operation = Operation::PreActivationConvolution { kernel: 1 };
const CONVOLUTION_3: Operation = Operation::PreActivationConvolution { kernel: 3 };
const CONVOLUTION_5: Operation = Operation::PreActivationConvolution { kernel: 5 };

/// The weights of the stem, 3 to 4 channels with 3x3 taps; its output has 64 pixels.
const STEM: u64 = 3 * 4 * 9;
/// The pixels of the first and the second stage, 8x8 and 4x4.
const FIRST: u64 = 64;
const SECOND: u64 = 16;
/// The bytes of a number.
const F32: u64 = 4;

/// A network for 3x8x8 images: two stages of `repeats` blocks with 4 and 8 filters, 5 classes.
fn network(repeats: usize) -> NetworkConfig {
    NetworkConfig {
        image: ImageShape { channels: 3, height: 8, width: 8 },
        classes: 5,
        stem: StemConfig::default(),
        stages: 2,
        repeats,
        width: 4,
        widths: WidthRule::Growing,
        reduction: Reduction::Pool,
    }
}

fn graph(inner: &[(Operation, &[usize])], leaves: &[usize]) -> LayerGraph {
    let mut nodes = vec![Node::new(Operation::Input, [])];
    nodes.extend(inner.iter().map(|&(operation, inputs)| Node::new(operation, inputs)));
    nodes.push(Node::new(Operation::Output, leaves));
    LayerGraph::new(nodes).expect("valid")
}

/// What a test expects: parameters, multiply-adds, depth, and edges and nodes.
struct Expected {
    parameters: u64,
    flops: u64,
    depth: u64,
    density: (u64, u64),
}

#[track_caller]
fn check(graph: &LayerGraph, repeats: usize, expected: &Expected) -> Cost {
    let cost = graph.cost(&network(repeats)).expect("feasible");
    assert_eq!((cost.parameters, cost.flops), (expected.parameters, expected.flops));
    assert_eq!((cost.depth, cost.edges, cost.nodes), (expected.depth, expected.density.0, expected.density.1));
    let density = expected.density.0 as f64 / expected.density.1 as f64;
    assert!((cost.density() - density).abs() < 1e-15);
    cost
}

#[test]
fn an_identity_costs_nothing_beyond_stem_and_head() {
    let expected =
        Expected { parameters: STEM + 2 * 4 + 4 * 5 + 5, flops: STEM * FIRST + 4 * 5, depth: 2, density: (2, 3) };
    let cost = check(&graph(&[(Operation::Identity, &[0])], &[1]), 1, &expected);
    // Stem, pool between the stages, batch normalisation and ReLU of the head, global pool, logits.
    assert_eq!(cost.activation_bytes, F32 * (4 * FIRST + 4 * SECOND + 2 * 4 * SECOND + 4 + 5));
}

#[test]
fn a_convolution_has_weights_and_a_normalisation() {
    let expected = Expected {
        parameters: STEM + (4 * 4 * 9 + 2 * 4) + (4 * 8 * 9 + 2 * 8) + 2 * 8 + 8 * 5 + 5,
        flops: STEM * FIRST + 4 * 4 * 9 * FIRST + 4 * 8 * 9 * SECOND + 8 * 5,
        depth: 1 + 2 + 1,
        density: (2, 3),
    };
    let cost = check(&graph(&[(CONVOLUTION_3, &[0])], &[1]), 1, &expected);
    // ReLU over the input, then convolution and normalisation over the output.
    let first = 4 * FIRST + 2 * 4 * FIRST;
    let second = 4 * SECOND + 2 * 8 * SECOND;
    let rest = 4 * FIRST + 4 * SECOND + 2 * 8 * SECOND + 8 + 5;
    assert_eq!(cost.activation_bytes, F32 * (first + second + rest));
}

#[test]
fn an_addition_projects_its_narrower_input_left_or_right() {
    let expected = Expected {
        // Only in the second stage are 4 channels added to 8.
        parameters: STEM + (4 * 4 * 25 + 2 * 4) + (4 * 8 * 25 + 2 * 8 + 4 * 8) + 2 * 8 + 8 * 5 + 5,
        flops: STEM * FIRST + 4 * 4 * 25 * FIRST + (4 * 8 * 25 + 4 * 8) * SECOND + 8 * 5,
        depth: 2 + 2,
        density: (4, 4),
    };
    let right = check(&graph(&[(CONVOLUTION_5, &[0]), (Operation::Add, &[1, 0])], &[2]), 1, &expected);
    let left = check(&graph(&[(CONVOLUTION_5, &[0]), (Operation::Add, &[0, 1])], &[2]), 1, &expected);
    assert_eq!(left, right);
    let first = 4 * FIRST + 2 * 4 * FIRST + 4 * FIRST;
    let second = 4 * SECOND + 2 * 8 * SECOND + 8 * SECOND + 8 * SECOND;
    let rest = 4 * FIRST + 4 * SECOND + 2 * 8 * SECOND + 8 + 5;
    assert_eq!(left.activation_bytes, F32 * (first + second + rest));
}

#[test]
fn a_concatenation_wider_than_the_stage_makes_an_addition_project_a_convolution() {
    // First stage: 4 in, concatenation of 8, convolution 4 -> 4 added to it, so 8 out. Second: 8 in, 16, 8 -> 8, 16
    // out.
    let block = graph(
        &[(CONVOLUTION_3, &[0]), (Operation::Concat, &[0, 1]), (CONVOLUTION_1, &[0]), (Operation::Add, &[3, 2])],
        &[4],
    );
    let first = 4 * 4 * 9 + 4 * 4 + 4 * 8;
    let second = 8 * 8 * 9 + 8 * 8 + 8 * 16;
    let expected = Expected {
        parameters: STEM + first + 2 * 2 * 4 + second + 2 * 2 * 8 + 2 * 16 + 16 * 5 + 5,
        flops: STEM * FIRST + first * FIRST + second * SECOND + 16 * 5,
        depth: 2 + 2,
        density: (7, 6),
    };
    check(&block, 1, &expected);
}

#[test]
fn a_concatenation_widens_what_follows() {
    // 4 -> 8 in the first stage, 8 -> 16 in the second.
    let expected = Expected {
        parameters: STEM + (4 * 4 * 9 + 2 * 4) + (8 * 8 * 9 + 2 * 8) + 2 * 16 + 16 * 5 + 5,
        flops: STEM * FIRST + 4 * 4 * 9 * FIRST + 8 * 8 * 9 * SECOND + 16 * 5,
        depth: 2 + 2,
        density: (4, 4),
    };
    check(&graph(&[(CONVOLUTION_3, &[0]), (Operation::Concat, &[0, 1])], &[2]), 1, &expected);
}

#[test]
fn repeated_blocks_widen_each_other() {
    // Channels: 4, 8, 12 in the first stage, 20 and 28 in the second.
    let first = 4 * 4 * 9 + 8 * 4 * 9;
    let second = 12 * 8 * 9 + 20 * 8 * 9;
    let expected = Expected {
        parameters: STEM + first + 2 * 2 * 4 + second + 2 * 2 * 8 + 2 * 28 + 28 * 5 + 5,
        flops: STEM * FIRST + first * FIRST + second * SECOND + 28 * 5,
        depth: 4 + 2,
        density: (4, 4),
    };
    check(&graph(&[(CONVOLUTION_3, &[0]), (Operation::Concat, &[0, 1])], &[2]), 2, &expected);
}

#[test]
fn several_leaves_are_concatenated_into_the_output() {
    // 3 * 4 channels out of the first stage, 3 * 8 out of the second.
    let taps = 1 + 9 + 25;
    let expected = Expected {
        parameters: STEM + (4 * 4 * taps + 3 * 2 * 4) + (12 * 8 * taps + 3 * 2 * 8) + 2 * 24 + 24 * 5 + 5,
        flops: STEM * FIRST + 4 * 4 * taps * FIRST + 12 * 8 * taps * SECOND + 24 * 5,
        depth: 2 + 2,
        density: (6, 5),
    };
    let block = graph(&[(CONVOLUTION_1, &[0]), (CONVOLUTION_3, &[0]), (CONVOLUTION_5, &[0])], &[1, 2, 3]);
    let cost = check(&block, 1, &expected);
    let first = 3 * (4 * FIRST + 2 * 4 * FIRST) + 12 * FIRST;
    let second = 3 * (12 * SECOND + 2 * 8 * SECOND) + 24 * SECOND;
    let rest = 4 * FIRST + 12 * SECOND + 2 * 24 * SECOND + 24 + 5;
    assert_eq!(cost.activation_bytes, F32 * (first + second + rest));
}

#[test]
fn nested_pools_cost_only_memory() {
    let expected = Expected {
        parameters: STEM + (4 * 4 + 2 * 4) + (4 * 8 + 2 * 8) + 2 * 8 + 8 * 5 + 5,
        flops: STEM * FIRST + 4 * 4 * FIRST + 4 * 8 * SECOND + 8 * 5,
        depth: 2 + 2,
        density: (5, 6),
    };
    let block = graph(
        &[
            (Operation::MaxPool { kernel: 3 }, &[0]),
            (CONVOLUTION_1, &[1]),
            (Operation::AveragePool { kernel: 3 }, &[2]),
            (Operation::MaxPool { kernel: 1 }, &[3]),
        ],
        &[4],
    );
    let cost = check(&block, 1, &expected);
    let first = 4 * FIRST + (4 * FIRST + 2 * 4 * FIRST) + 2 * 4 * FIRST;
    let second = 4 * SECOND + (4 * SECOND + 2 * 8 * SECOND) + 2 * 8 * SECOND;
    let rest = 4 * FIRST + 4 * SECOND + 2 * 8 * SECOND + 8 + 5;
    assert_eq!(cost.activation_bytes, F32 * (first + second + rest));
}

#[test]
fn plain_layers_of_the_ablation_space_cost_what_they_are() {
    // Normalisation of the 4 input channels, ReLU, and a plain convolution without the normalisation of a cell.
    let expected = Expected {
        parameters: STEM + (2 * 4 + 4 * 4 * 9) + (2 * 4 + 4 * 8 * 9) + 2 * 8 + 8 * 5 + 5,
        flops: STEM * FIRST + 4 * 4 * 9 * FIRST + 4 * 8 * 9 * SECOND + 8 * 5,
        depth: 2 + 2,
        density: (4, 5),
    };
    let block = graph(
        &[(Operation::BatchNorm, &[0]), (Operation::Relu, &[1]), (Operation::Convolution { kernel: 3 }, &[2])],
        &[3],
    );
    let cost = check(&block, 1, &expected);
    let first = 2 * 4 * FIRST + 4 * FIRST;
    let second = 2 * 4 * SECOND + 8 * SECOND;
    let rest = 4 * FIRST + 4 * SECOND + 2 * 8 * SECOND + 8 + 5;
    assert_eq!(cost.activation_bytes, F32 * (first + second + rest));
}

#[test]
fn a_concatenation_of_everything_sums_all_channels() {
    // First stage: 4 + 4 + 4 + 4 + 4 = 20 channels. The second takes 20: 20 + 8 + 8 + 20 + 20 = 76. Its addition
    // projects the convolution from 8 to 20.
    let block = graph(
        &[
            (CONVOLUTION_3, &[0]),
            (CONVOLUTION_1, &[1]),
            (Operation::MaxPool { kernel: 3 }, &[0]),
            (Operation::Add, &[2, 3]),
            (Operation::Concat, &[0, 1, 2, 3, 4]),
        ],
        &[5],
    );
    let first = 4 * 4 * 9 + 4 * 4;
    let second = 20 * 8 * 9 + 8 * 8 + 8 * 20;
    let expected = Expected {
        parameters: STEM + first + 2 * 2 * 4 + second + 2 * 2 * 8 + 2 * 76 + 76 * 5 + 5,
        flops: STEM * FIRST + first * FIRST + second * SECOND + 76 * 5,
        depth: 2 * 2 + 2,
        density: (1 + 1 + 1 + 2 + 5 + 1, 7),
    };
    check(&block, 1, &expected);
}

#[test]
fn an_input_taken_twice_counts_twice() {
    // The output is the convolution next to itself: 8 channels, then 16.
    let expected = Expected {
        parameters: STEM + (4 * 4 * 9 + 2 * 4) + (8 * 8 * 9 + 2 * 8) + 2 * 16 + 16 * 5 + 5,
        flops: STEM * FIRST + 4 * 4 * 9 * FIRST + 8 * 8 * 9 * SECOND + 16 * 5,
        depth: 2 + 2,
        density: (5, 4),
    };
    check(&graph(&[(CONVOLUTION_3, &[0]), (Operation::Add, &[1, 1])], &[1, 2]), 1, &expected);
}

#[test]
fn depth_follows_the_path_with_most_convolutions() {
    let block = graph(
        &[(CONVOLUTION_3, &[0]), (CONVOLUTION_3, &[1]), (CONVOLUTION_3, &[0]), (Operation::Add, &[2, 3])],
        &[4, 3],
    );
    assert_eq!(block.longest_convolution_path(), 2);
    assert_eq!(block.cost(&network(2)).expect("feasible").depth, 4 * 2 + 2);
    // The paper's depth of block A on CIFAR: 12 blocks of 2 convolutions, here with stem and classifier.
    assert_eq!(block.cost(&NetworkConfig::cifar()).expect("feasible").depth, 24 + 2);
}

#[test]
fn a_stem_with_stride_and_pools_has_its_own_sizes() {
    let mut network = network(1);
    network.image = ImageShape { channels: 1, height: 15, width: 16 };
    network.stem = StemConfig { kernel: 5, stride: 2, pools: 1, ..StemConfig::default() };
    let cost = graph(&[(CONVOLUTION_1, &[0])], &[1]).cost(&network).expect("feasible");
    // The stem makes 8x8, its pool 4x4, the pool between the stages 2x2.
    assert_eq!(cost.parameters, 4 * 25 + (4 * 4 + 8) + (4 * 8 + 16) + 16 + 8 * 5 + 5);
    assert_eq!(cost.flops, 4 * 25 * 64 + 4 * 4 * 16 + 4 * 8 * 4 + 8 * 5);
    let stem = 4 * 64 + 4 * 16;
    let blocks = (4 + 2 * 4) * 16 + 4 * 4 + (4 + 2 * 8) * 4;
    assert_eq!(cost.activation_bytes, F32 * (stem + blocks + 2 * 8 * 4 + 8 + 5));
}

/// A graph whose layer 1 computes `first`, and whose layers 2 to 22 concatenate the two layers before them.
fn fibonacci(first: Operation) -> LayerGraph {
    let mut nodes = vec![Node::new(Operation::Input, []), Node::new(first, [0])];
    nodes.extend((2..=22).map(|layer| Node::new(Operation::Concat, [layer - 2, layer - 1])));
    nodes.push(Node::new(Operation::Output, [22]));
    LayerGraph::new(nodes).expect("valid")
}

#[test]
fn a_chain_of_concatenations_grows_as_the_fibonacci_numbers() {
    let outputs = |graph: LayerGraph, input, width| -> Vec<u64> {
        let channels = graph.channels(input, width, WidthRule::Growing).expect("fits");
        assert!(!channels.iter().any(|node| node.is_projected()));
        channels.iter().map(|node| node.output).collect()
    };
    let channels = |input, width| outputs(fibonacci(CONVOLUTION_3), input, width);
    assert_eq!(channels(1, 1)[..8], [1, 1, 2, 3, 5, 8, 13, 21]);
    assert_eq!(channels(32, 32)[23], 28_657 * 32);
    // The shares of the input and of the convolution.
    assert_eq!((channels(1, 0)[22], channels(0, 1)[22]), (10_946, 17_711));
    assert_eq!(outputs(fibonacci(Operation::Identity), 7, 1)[23], 28_657 * 7);
}

#[test]
fn a_network_of_such_chains_overflows_into_an_error() {
    for first in [CONVOLUTION_3, Operation::Identity, Operation::Relu, Operation::BatchNorm] {
        for network in [NetworkConfig::cifar(), NetworkConfig::imagenet()] {
            assert!(fibonacci(first).cost(&network).is_ok(), "bounded");
            let network = NetworkConfig { widths: WidthRule::Growing, ..network };
            let error = fibonacci(first).cost(&network).expect_err("too wide");
            assert!(matches!(error, CostError::Overflow(_)), "{error}");
            assert!(error.to_string().ends_with("does not fit into 64 bits"), "{error}");
        }
    }
    let overflow = SizeOverflow { quantity: "number of channels" };
    assert_eq!(graph(&[], &[0, 0]).channels(u64::MAX / 2 + 1, 1, WidthRule::Growing), Err(overflow));
}

#[test]
fn absurd_images_and_widths_overflow_into_an_error() {
    let block = graph(&[(CONVOLUTION_3, &[0]), (Operation::Add, &[0, 1])], &[2]);
    let huge: [fn(&mut NetworkConfig); 4] = [
        |network| network.image.channels = usize::MAX,
        |network| (network.image.height, network.image.width) = (usize::MAX, usize::MAX),
        |network| network.width = usize::MAX,
        |network| network.classes = usize::MAX,
    ];
    for change in huge {
        let mut network = network(1);
        change(&mut network);
        assert!(matches!(block.cost(&network), Err(CostError::Overflow(_))), "{network:?}");
    }
}

#[test]
fn an_invalid_network_has_no_cost() {
    let mut network = network(1);
    network.width = 0;
    let error = graph(&[], &[0]).cost(&network).expect_err("no filters");
    assert_eq!(error.to_string(), "network.width is 0: it must be at least 1");
}

#[test]
fn a_limit_holds_up_to_its_value() {
    let cost = graph(&[(CONVOLUTION_3, &[0])], &[1]).cost(&network(1)).expect("feasible");
    assert_eq!(CostLimits::default().check(&cost), Ok(()));
    let exact = CostLimits {
        parameters: Some(cost.parameters),
        flops: Some(cost.flops),
        activation_bytes: Some(cost.activation_bytes),
    };
    assert_eq!(exact.check(&cost), Ok(()));
    for (limits, quantity, value) in [
        (CostLimits { parameters: Some(cost.parameters - 1), ..exact }, CostQuantity::Parameters, cost.parameters),
        (CostLimits { flops: Some(cost.flops - 1), ..exact }, CostQuantity::Flops, cost.flops),
        (
            CostLimits { activation_bytes: Some(cost.activation_bytes - 1), ..exact },
            CostQuantity::ActivationBytes,
            cost.activation_bytes,
        ),
    ] {
        assert_eq!(limits.check(&cost), Err(OverLimit { quantity, value, limit: value - 1 }));
    }
    let none = CostLimits { parameters: Some(0), flops: Some(0), activation_bytes: None };
    let error = none.check(&cost).expect_err("over");
    assert_eq!(error.to_string(), format!("Parameters of {} exceed the limit of 0", cost.parameters));
}

#[test]
fn limits_may_be_left_out_of_json_but_not_misspelled() {
    let limits: CostLimits = serde_json::from_str(r#"{"flops": 7}"#).expect("valid");
    assert_eq!(limits, CostLimits { flops: Some(7), ..CostLimits::default() });
    assert!(serde_json::from_str::<CostLimits>(r#"{"flop": 7}"#).is_err());
}

mod bounded;
mod layers;
mod reductions;
