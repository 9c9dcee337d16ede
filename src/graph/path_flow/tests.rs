//! Flows compared with products and sums written out by hand.

use super::*;
use crate::graph::{ImageShape, Node, Operation, Reduction, StemConfig, ToGraph, WidthRule};
use crate::seed;
use crate::space::block::BlockSpace;
use crate::space::{SearchSpace, random_trajectory};

const CONVOLUTION_1: Operation = Operation::PreActivationConvolution { kernel: 1 };
const CONVOLUTION_3: Operation = Operation::PreActivationConvolution { kernel: 3 };

/// A network for 3x8x8 images: stages of 4 and 8 filters.
fn network(stages: usize, repeats: usize, widths: WidthRule) -> NetworkConfig {
    let image = ImageShape { channels: 3, height: 8, width: 8 };
    NetworkConfig { stages, repeats, width: 4, widths, ..NetworkConfig::cifar().with_data(image, 5) }
}

fn graph(inner: &[(Operation, &[usize])], leaves: &[usize]) -> LayerGraph {
    let mut nodes = vec![Node::new(Operation::Input, [])];
    nodes.extend(inner.iter().map(|&(operation, inputs)| Node::new(operation, inputs)));
    nodes.push(Node::new(Operation::Output, leaves));
    LayerGraph::new(nodes).expect("valid")
}

/// The gain of a convolution with so many weights to each output.
fn gain(weights: f64) -> f64 {
    (2.0 / std::f64::consts::PI).sqrt() * (2.0 * weights).sqrt()
}

/// Checks the flow through one block of four channels: `block` is what it makes of ones, `layers` the layers with
/// weights on its paths, `channels` those of its output.
#[track_caller]
fn check(inner: &[(Operation, &[usize])], leaves: &[usize], block: f64, layers: f64, channels: f64) {
    let found = graph(inner, leaves).path_flow(&network(1, 1, WidthRule::Growing)).unwrap();
    let expected = (gain(27.0) * block * gain(channels)).ln() + (1.0 + layers + 2.0).ln();
    assert!((found - expected).abs() < 1e-12, "{found} and not {expected}");
}

#[test]
fn operations_without_weights_pass_on_what_they_get() {
    for operation in [
        Operation::Identity,
        Operation::Relu,
        Operation::BatchNorm,
        Operation::MaxPool { kernel: 3 },
        Operation::AveragePool { kernel: 5 },
    ] {
        check(&[(operation, &[0])], &[1], 1.0, 0.0, 4.0);
    }
    check(&[], &[0], 1.0, 0.0, 4.0);
}

#[test]
fn a_convolution_multiplies_by_its_gain() {
    for kernel in [1, 3, 5] {
        let weights = 4.0 * f64::from(kernel).powi(2);
        check(&[(Operation::PreActivationConvolution { kernel }, &[0])], &[1], gain(weights), 1.0, 4.0);
        check(&[(Operation::Convolution { kernel }, &[0])], &[1], gain(weights), 1.0, 4.0);
    }
    let chain: &[(Operation, &[usize])] = &[(CONVOLUTION_3, &[0]), (CONVOLUTION_1, &[1])];
    check(chain, &[2], gain(36.0) * gain(4.0), 2.0, 4.0);
}

#[test]
fn a_layer_of_several_convolutions_multiplies_by_the_gain_of_each() {
    use crate::graph::{ConvolutionShape, Groups, Width};
    let shape = ConvolutionShape::new(3);
    for (operation, block, layers) in [
        (ConvolutionShape { dilation: 2, ..shape }.into(), gain(36.0), 1.0),
        (ConvolutionShape { groups: Groups::Number(2), ..shape }.into(), gain(18.0), 1.0),
        // One weight for each pixel of the kernel.
        (ConvolutionShape { groups: Groups::Depthwise, ..shape }.into(), gain(9.0), 1.0),
        (Operation::SeparableConvolution { kernel: 5, dilation: 2 }, gain(25.0) * gain(4.0), 2.0),
        (Operation::FactorisedConvolution { kernel: 7 }, gain(28.0) * gain(28.0), 2.0),
        (
            Operation::InvertedBottleneck { kernel: 3, expansion: 6, squeeze: true },
            gain(4.0) * gain(9.0) * gain(24.0),
            3.0,
        ),
        (Operation::SqueezeExcitation { reduction: 4 }, 1.0, 0.0),
        (Operation::Relu6, 1.0, 0.0),
    ] {
        check(&[(operation, &[0])], &[1], block, layers, 4.0);
    }
    let wide = ConvolutionShape { width: Width { times: 3, per: 1 }, ..shape };
    check(&[(wide.into(), &[0])], &[1], gain(36.0), 1.0, 12.0);
}

#[test]
fn a_second_input_brings_the_flow_of_the_block_before() {
    let inner: &[(Operation, &[usize])] =
        &[(Operation::Previous, &[]), (CONVOLUTION_3, &[0]), (CONVOLUTION_1, &[1]), (Operation::Add, &[2, 3])];
    let found = graph(inner, &[4]).path_flow(&network(1, 2, WidthRule::Growing)).unwrap();
    let (stem, three, one) = (gain(27.0), gain(36.0), gain(4.0));
    // The first block has the stem's output twice; the second has that of the first, and the stem's.
    let first = stem * (three + one);
    let second = first * three + stem * one;
    // All paths pass stem, the last convolution of a block and the head; some pass another block.
    let layers = 3.0 + first * three / second;
    let expected = (second * gain(4.0)).ln() + (1.0 + layers).ln();
    assert!((found - expected).abs() < 1e-12, "{found} and not {expected}");
    // A block that only takes its input is alone with it.
    let alone = graph(&[(Operation::Previous, &[]), (CONVOLUTION_3, &[0])], &[2]);
    let plain = graph(&[(CONVOLUTION_3, &[0])], &[1]);
    let [alone, plain] = [alone, plain].map(|block| block.path_flow(&network(2, 2, WidthRule::Bounded)).unwrap());
    assert!((alone - plain).abs() < 1e-12, "{alone} {plain}");
}

#[test]
fn an_addition_sums_paths_and_averages_their_layers_by_flow() {
    let block: &[(Operation, &[usize])] = &[(CONVOLUTION_3, &[0]), (Operation::Add, &[0, 1])];
    check(block, &[2], 1.0 + gain(36.0), gain(36.0) / (1.0 + gain(36.0)), 4.0);
}

#[test]
fn an_addition_projects_what_is_narrower() {
    // Eight channels side by side, and a convolution to four that a 1x1 convolution brings to eight.
    let block: &[(Operation, &[usize])] =
        &[(Operation::Concat, &[0, 0]), (CONVOLUTION_3, &[0]), (Operation::Add, &[1, 2])];
    let projected = gain(36.0) * gain(4.0);
    check(block, &[3], 1.0 + projected, 2.0 * projected / (1.0 + projected), 8.0);
}

#[test]
fn a_concatenation_is_the_mean_over_its_channels() {
    // Eight channels of a flow of 1 beside four of a convolution.
    let block: &[(Operation, &[usize])] =
        &[(Operation::Concat, &[0, 0]), (CONVOLUTION_1, &[1]), (Operation::Concat, &[1, 2])];
    let sum = 8.0 + 4.0 * gain(8.0);
    check(block, &[3], sum / 12.0, 4.0 * gain(8.0) / sum, 12.0);
    check(&[(CONVOLUTION_1, &[0])], &[0, 1], f64::midpoint(1.0, gain(4.0)), gain(4.0) / (1.0 + gain(4.0)), 8.0);
}

#[test]
fn bounded_widths_project_by_a_convolution() {
    let block = graph(&[(Operation::Concat, &[0, 0])], &[1]);
    let found = block.path_flow(&network(1, 1, WidthRule::Bounded)).unwrap();
    assert!((found - ((gain(27.0) * gain(8.0) * gain(4.0)).ln() + 4f64.ln())).abs() < 1e-12, "{found}");
}

#[test]
fn blocks_of_a_network_multiply() {
    let block = graph(&[(CONVOLUTION_3, &[0])], &[1]);
    let found = block.path_flow(&network(2, 2, WidthRule::Growing)).unwrap();
    // 4 channels go into three of the blocks and 8 into the last, stem and head make the layers six.
    let product = gain(27.0) * gain(36.0).powi(3) * gain(72.0) * gain(8.0);
    assert!((found - (product.ln() + 7f64.ln())).abs() < 1e-12, "{found}");
}

#[test]
fn a_reduction_by_convolution_multiplies_by_its_gain() {
    let strided = NetworkConfig { reduction: Reduction::Convolution, ..network(2, 1, WidthRule::Growing) };
    let found = graph(&[(CONVOLUTION_3, &[0])], &[1]).path_flow(&strided).unwrap();
    // 4 channels go into the first block and the reduction, 8 into the second block and the head.
    let expected = (gain(27.0) * gain(36.0).powi(2) * gain(72.0) * gain(8.0)).ln() + 6f64.ln();
    assert!((found - expected).abs() < 1e-12, "{found} and not {expected}");
    // Both inputs of a block are reduced.
    let sum = graph(&[(Operation::Previous, &[]), (Operation::Add, &[0, 1])], &[2]);
    let found = sum.path_flow(&strided).unwrap();
    let doubled = gain(27.0) * 2.0 * gain(36.0);
    let expected = ((doubled + doubled / 2.0) * gain(8.0)).ln() + 4f64.ln();
    assert!((found - expected).abs() < 1e-12, "{found} and not {expected}");
}

#[test]
fn a_wide_stem_has_more_channels_to_sum() {
    let stem = StemConfig { multiplier: 3, ..StemConfig::default() };
    let wide = NetworkConfig { stem, ..network(1, 1, WidthRule::Growing) };
    let found = graph(&[(CONVOLUTION_1, &[0])], &[1]).path_flow(&wide).unwrap();
    let expected = (gain(27.0) * gain(12.0) * gain(4.0)).ln() + 4f64.ln();
    assert!((found - expected).abs() < 1e-12, "{found} and not {expected}");
}

#[test]
fn zeros_let_nothing_through_and_add_nothing() {
    let network = network(2, 2, WidthRule::Growing);
    let dead = graph(&[(Operation::Zero, &[0]), (CONVOLUTION_3, &[1])], &[2]);
    assert_eq!(dead.path_flow(&network), Ok(f64::NEG_INFINITY));
    let sum: &[(Operation, &[usize])] =
        &[(Operation::Zero, &[0]), (CONVOLUTION_3, &[1]), (Operation::Identity, &[0]), (Operation::Add, &[2, 3])];
    check(sum, &[4], 1.0, 0.0, 4.0);
}

#[test]
fn the_numbers_of_nodes_and_the_order_of_inputs_do_not_matter() {
    let space = BlockSpace::paper();
    let network = NetworkConfig::cifar();
    for number in 0..200 {
        let mut rng = seed::stream(4, "flow", number);
        let walk = random_trajectory(&space, &mut rng).unwrap();
        let graph = space.decode(&walk.actions).unwrap().to_graph();
        // A random topological order of the nodes between input and output, and of the inputs of each.
        let last = graph.node_count() - 1;
        let mut order = vec![0];
        while order.len() < last {
            let ready = |node: &usize| {
                !order.contains(node) && graph.nodes()[*node].inputs.iter().all(|input| order.contains(input))
            };
            let choices: Vec<usize> = (1..last).filter(ready).collect();
            order.push(*seed::choose(&mut rng, &choices).unwrap());
        }
        order.push(last);
        let place = |node: usize| order.iter().position(|&other| other == node).unwrap();
        let relabelled = order.iter().map(|&node| {
            let mut inputs: Vec<usize> = graph.nodes()[node].inputs.iter().map(|&input| place(input)).collect();
            seed::shuffle(&mut rng, &mut inputs);
            Node::new(graph.nodes()[node].operation, inputs)
        });
        let relabelled = LayerGraph::new(relabelled.collect()).unwrap();
        let flows = [&graph, &relabelled].map(|graph| graph.path_flow(&network).unwrap());
        assert!((flows[0] - flows[1]).abs() < 1e-9, "{flows:?} of {graph:?}");
    }
}

#[test]
fn a_flow_beyond_all_numbers_has_a_logarithm() {
    let layers: Vec<(Operation, [usize; 1])> =
        (0..100).map(|from| (Operation::Convolution { kernel: 255 }, [from])).collect();
    let layers: Vec<(Operation, &[usize])> = layers.iter().map(|(operation, from)| (*operation, &from[..])).collect();
    let flow = graph(&layers, &[100]).path_flow(&NetworkConfig::cifar()).unwrap();
    assert!(flow.is_finite() && flow > 709.0, "{flow}");
    let refused = NetworkConfig { repeats: 0, ..NetworkConfig::cifar() };
    assert!(graph(&[], &[0]).path_flow(&refused).is_err());
}

/// Spearman's coefficient of rank correlation; ties have their mean rank.
fn spearman(pairs: &[(f64, f64)]) -> f64 {
    let ranks = |of: fn(&(f64, f64)) -> f64| {
        let mut order: Vec<usize> = (0..pairs.len()).collect();
        order.sort_by(|&a, &b| of(&pairs[a]).total_cmp(&of(&pairs[b])));
        let mut ranks = vec![0.0; pairs.len()];
        let mut first = 0;
        for equal in order.chunk_by(|&a, &b| of(&pairs[a]).total_cmp(&of(&pairs[b])).is_eq()) {
            for &place in equal {
                ranks[place] = first as f64 + (equal.len() as f64 - 1.0) / 2.0;
            }
            first += equal.len();
        }
        let mean = (pairs.len() as f64 - 1.0) / 2.0;
        for rank in &mut ranks {
            *rank -= mean;
        }
        ranks
    };
    let (a, b) = (ranks(|pair| pair.0), ranks(|pair| pair.1));
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    product(&a, &b) / (product(&a, &a) * product(&b, &b)).sqrt()
}

#[test]
fn spearmans_coefficient_of_ranks_with_a_tie() {
    // About the mean, ranks -1.5, 0, 0, 1.5 against -1.5, -0.5, 1.5, 0.5.
    let found = spearman(&[(1.0, 10.0), (2.0, 20.0), (2.0, 90.0), (7.0, 30.0)]);
    assert!((found - 3.0 / (4.5f64 * 5.0).sqrt()).abs() < 1e-12, "{found}");
}

#[test]
#[ignore = "needs published scores: nas/nb201-zero-cost-cifar10.csv in the folder that BLOCKQNN_DATA names"]
fn it_ranks_the_cells_of_nas_bench_201_as_the_published_synflow_does() {
    use crate::space::cell::{CellCode, CellOperation, CellSpace};

    let data = std::env::var_os("BLOCKQNN_DATA").expect("BLOCKQNN_DATA names the folder of real data");
    let path = std::path::Path::new(&data).join("nas/nb201-zero-cost-cifar10.csv");
    let mut table = csv::Reader::from_path(&path).unwrap();
    let columns = table.headers().unwrap().clone();
    let column = |name: &str| columns.iter().position(|other| other == name).unwrap();
    let (operations, synflow) = (column("ops"), column("synflow"));
    let network = CellSpace::network();
    let mut pairs = Vec::new();
    for row in table.records() {
        let row = row.unwrap();
        let edges: Vec<CellOperation> = row[operations]
            .bytes()
            .map(|digit| match digit {
                b'0' => CellOperation::None,
                b'1' => CellOperation::SkipConnect,
                b'2' => CellOperation::Convolution1x1,
                b'3' => CellOperation::Convolution3x3,
                b'4' => CellOperation::AveragePool3x3,
                other => panic!("operation {other}"),
            })
            .collect();
        let cell = CellCode::new(edges.try_into().unwrap());
        pairs.push((cell.to_graph().path_flow(&network).unwrap(), row[synflow].parse().unwrap()));
    }
    assert_eq!(pairs.len(), 9_445);
    let rho = spearman(&pairs);
    assert!(rho >= 0.98, "{rho}");
}
