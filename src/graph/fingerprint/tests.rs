//! Fingerprints compared with relabelled graphs, brute-force isomorphism and pinned values.

mod hard;

use super::*;
use crate::graph::{ConvolutionShape, Groups, Node, Operation, Order, Width};
use crate::seed;
use proptest::prelude::*;
use rand::Rng;
use std::collections::BTreeMap;

const CONVOLUTION: Operation = Operation::PreActivationConvolution { kernel: 3 };
const POOL: Operation = Operation::MaxPool { kernel: 3 };

/// Returns a graph of an input, `inner` and an output that takes `leaves`.
fn graph(inner: &[(Operation, &[usize])], leaves: &[usize]) -> LayerGraph {
    let mut nodes = vec![Node::new(Operation::Input, [])];
    nodes.extend(inner.iter().map(|&(operation, inputs)| Node::new(operation, inputs)));
    nodes.push(Node::new(Operation::Output, leaves));
    LayerGraph::new(nodes).expect("valid")
}

/// Returns a valid graph of `count` nodes with operations drawn from `operations`.
fn random_graph(rng: &mut dyn Rng, count: usize, operations: &[Operation]) -> LayerGraph {
    let mut nodes = vec![Node::new(Operation::Input, [])];
    for position in 1..count {
        let operation =
            if position + 1 == count { Operation::Output } else { operations[seed::index(rng, operations.len())] };
        let inputs = match operation {
            Operation::Add | Operation::Concat | Operation::Output => 1 + seed::index(rng, 3),
            _ => 1,
        };
        nodes.push(Node::new(operation, (0..inputs).map(|_| seed::index(rng, position)).collect::<Vec<_>>()));
    }
    LayerGraph::new(nodes).expect("valid")
}

/// Returns the same graph with its nodes in another topological order, and inputs in another order.
fn relabelled(rng: &mut dyn Rng, graph: &LayerGraph) -> LayerGraph {
    let nodes = graph.nodes();
    let last = nodes.len() - 1;
    let mut new_position = vec![usize::MAX; nodes.len()];
    let mut relabelled: Vec<Node> = Vec::new();
    while relabelled.len() < nodes.len() {
        let ready: Vec<usize> = (0..nodes.len())
            .filter(|&old| new_position[old] == usize::MAX && (old != last || relabelled.len() == last))
            .filter(|&old| nodes[old].inputs.iter().all(|&input| new_position[input] != usize::MAX))
            .collect();
        let old = ready[seed::index(rng, ready.len())];
        let mut inputs: Vec<usize> = nodes[old].inputs.iter().map(|&input| new_position[input]).collect();
        seed::shuffle(rng, &mut inputs);
        new_position[old] = relabelled.len();
        relabelled.push(Node::new(nodes[old].operation, inputs));
    }
    LayerGraph::new(relabelled).expect("valid")
}

const ALL_OPERATIONS: [Operation; 11] = [
    CONVOLUTION,
    Operation::PreActivationConvolution { kernel: 1 },
    Operation::Convolution { kernel: 3 },
    POOL,
    Operation::MaxPool { kernel: 1 },
    Operation::AveragePool { kernel: 3 },
    Operation::Identity,
    Operation::Relu,
    Operation::BatchNorm,
    Operation::Add,
    Operation::Concat,
];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn a_fingerprint_does_not_depend_on_the_numbers_of_the_nodes(
        case in any::<u64>(), count in 2usize..=24, operations in 1usize..=11,
    ) {
        let mut rng = seed::stream(case, "graph", 0);
        let mut operations_in_use = ALL_OPERATIONS;
        seed::shuffle(&mut rng, &mut operations_in_use);
        let graph = random_graph(&mut rng, count, &operations_in_use[..operations]);
        let other = relabelled(&mut rng, &graph);
        prop_assert_eq!(graph.fingerprint(), other.fingerprint(), "{:?}\n{:?}", graph, other);
    }
}

/// A node of the reference implementation: its operation and how often it takes each other node.
type Reference = Vec<(Operation, BTreeMap<usize, usize>)>;

/// Returns the contracted graph, found by following the definition backwards from the output.
fn reference(graph: &LayerGraph) -> Reference {
    fn computed_by(graph: &LayerGraph, node: usize) -> usize {
        let Node { operation, inputs } = &graph.nodes()[node];
        let nothing = match operation {
            Operation::Identity
            | Operation::MaxPool { kernel: 1 }
            | Operation::AveragePool { kernel: 1 }
            | Operation::Add
            | Operation::Concat => inputs.len() == 1,
            _ => false,
        };
        if nothing { computed_by(graph, inputs[0]) } else { node }
    }
    let mut wanted = vec![graph.node_count() - 1];
    let mut found = 0;
    let mut inputs_of = Vec::new();
    while found < wanted.len() {
        let inputs: Vec<usize> =
            graph.nodes()[wanted[found]].inputs.iter().map(|&input| computed_by(graph, input)).collect();
        for &input in &inputs {
            if !wanted.contains(&input) {
                wanted.push(input);
            }
        }
        inputs_of.push(inputs);
        found += 1;
    }
    let number = |node: usize| wanted.iter().position(|&other| other == node).expect("found");
    let with_inputs = wanted.iter().zip(&inputs_of).map(|(&node, inputs)| {
        let mut counts = BTreeMap::new();
        for &input in inputs {
            *counts.entry(number(input)).or_insert(0) += 1;
        }
        (graph.nodes()[node].operation, counts)
    });
    with_inputs.collect()
}

/// Tries every assignment of the nodes of `a` to those of `b`.
fn isomorphic(a: &Reference, b: &Reference) -> bool {
    fn extend(a: &Reference, b: &Reference, image: &mut Vec<usize>) -> bool {
        if image.len() == a.len() {
            return (0..a.len()).all(|node| {
                let mapped: BTreeMap<usize, usize> =
                    a[node].1.iter().map(|(&input, &count)| (image[input], count)).collect();
                a[node].0 == b[image[node]].0 && mapped == b[image[node]].1
            });
        }
        (0..b.len()).any(|candidate| {
            if image.contains(&candidate) || a[image.len()].0 != b[candidate].0 {
                return false;
            }
            image.push(candidate);
            let found = extend(a, b, image);
            image.pop();
            found
        })
    }
    a.len() == b.len() && extend(a, b, &mut Vec::new())
}

#[test]
fn fingerprints_agree_exactly_if_brute_force_finds_an_isomorphism() {
    let mut rng = seed::stream(5, "small graphs", 0);
    for (operations, expected) in [
        (&[CONVOLUTION, Operation::Add][..], 10_000),
        (&[CONVOLUTION, Operation::Add, Operation::Identity, Operation::Concat], 2_000),
        (&[CONVOLUTION, CONVOLUTION, POOL, Operation::Add, Operation::Add], 1_000),
    ] {
        let graphs: Vec<(Reference, Fingerprint)> = (0..450)
            .map(|_| {
                let count = 5 + seed::index(&mut rng, 3);
                let graph = random_graph(&mut rng, count, operations);
                (reference(&graph), graph.fingerprint())
            })
            .collect();
        let (mut same, mut different) = (0, 0);
        for (index, (a, a_fingerprint)) in graphs.iter().enumerate() {
            for (b, b_fingerprint) in &graphs[index + 1..] {
                let isomorphic = isomorphic(a, b);
                assert_eq!(isomorphic, a_fingerprint == b_fingerprint, "{a:?}\n{b:?}");
                *(if isomorphic { &mut same } else { &mut different }) += 1;
            }
        }
        assert!(same > expected / 10 && different > 50_000, "{same} pairs alike, {different} not");
    }
}

#[test]
fn a_convolution_added_to_itself_differs_from_two_convolutions_added() {
    let add = Operation::Add;
    let twice = graph(&[(CONVOLUTION, &[0]), (add, &[1, 1])], &[2]);
    let through_identity = graph(&[(CONVOLUTION, &[0]), (Operation::Identity, &[1]), (add, &[1, 2])], &[3]);
    let two = graph(&[(CONVOLUTION, &[0]), (CONVOLUTION, &[0]), (add, &[1, 2])], &[3]);
    assert_eq!(twice.fingerprint(), through_identity.fingerprint());
    assert_ne!(twice.fingerprint(), two.fingerprint());
}

#[test]
fn graphs_that_unfold_to_the_same_tree_differ() {
    // Two pools of one convolution compared with one pool each of two: every path from the output looks the same.
    let shared = graph(&[(CONVOLUTION, &[0]), (POOL, &[1]), (POOL, &[1])], &[2, 3]);
    let apart = graph(&[(CONVOLUTION, &[0]), (CONVOLUTION, &[0]), (POOL, &[1]), (POOL, &[2])], &[3, 4]);
    assert_ne!(shared.fingerprint(), apart.fingerprint());
}

#[test]
fn how_often_an_input_is_taken_counts() {
    let inner: &[(Operation, &[usize])] = &[(CONVOLUTION, &[0])];
    let fingerprints = [&[1][..], &[1, 1], &[1, 1, 1], &[0, 1], &[0, 0, 1], &[0, 1, 1]]
        .map(|leaves| graph(inner, leaves).fingerprint());
    for (index, fingerprint) in fingerprints.iter().enumerate() {
        assert!(!fingerprints[..index].contains(fingerprint), "{index}");
    }
}

#[test]
fn layers_that_compute_nothing_are_left_out() {
    let plain = graph(&[(CONVOLUTION, &[0])], &[1]);
    for idle in [
        Operation::Identity,
        Operation::MaxPool { kernel: 1 },
        Operation::AveragePool { kernel: 1 },
        Operation::Add,
        Operation::Concat,
    ] {
        let before = graph(&[(idle, &[0]), (CONVOLUTION, &[1])], &[2]);
        let after = graph(&[(CONVOLUTION, &[0]), (idle, &[1])], &[2]);
        let chained = graph(&[(idle, &[0]), (idle, &[1]), (CONVOLUTION, &[2]), (idle, &[3]), (idle, &[4])], &[5]);
        for wordy in [before, after, chained] {
            assert_eq!(plain.fingerprint(), wordy.fingerprint(), "{idle:?}");
        }
    }
    for busy in [Operation::Relu, Operation::BatchNorm, POOL] {
        assert_ne!(plain.fingerprint(), graph(&[(CONVOLUTION, &[0]), (busy, &[1])], &[2]).fingerprint(), "{busy:?}");
    }
}

#[test]
fn a_layer_that_does_not_reach_the_output_is_left_out() {
    let plain = graph(&[(CONVOLUTION, &[0])], &[1]);
    let with_dead_ends = graph(&[(CONVOLUTION, &[0]), (POOL, &[1]), (Operation::Add, &[2, 0])], &[1]);
    assert_eq!(plain.fingerprint(), with_dead_ends.fingerprint());
}

#[test]
fn operations_and_kernels_differ() {
    let mut operations: Vec<Operation> = vec![
        Operation::Relu,
        Operation::BatchNorm,
        Operation::MaxPool { kernel: 3 },
        Operation::AveragePool { kernel: 3 },
    ];
    for kernel in [1, 3, 5, 255] {
        operations.extend([Operation::PreActivationConvolution { kernel }, Operation::Convolution { kernel }]);
    }
    let fingerprints: Vec<Fingerprint> =
        operations.iter().map(|&operation| graph(&[(operation, &[0])], &[1]).fingerprint()).collect();
    for (index, fingerprint) in fingerprints.iter().enumerate() {
        assert!(!fingerprints[..index].contains(fingerprint), "{:?}", operations[index]);
    }
    let add = graph(&[(CONVOLUTION, &[0]), (Operation::Add, &[0, 1])], &[2]);
    let concat = graph(&[(CONVOLUTION, &[0]), (Operation::Concat, &[0, 1])], &[2]);
    assert_ne!(add.fingerprint(), concat.fingerprint());
}

#[test]
fn settings_of_layers_differ_but_a_cell_is_a_cell_however_it_is_written() {
    let shape = ConvolutionShape::new(3);
    let shapes = [
        ConvolutionShape { kernel: [1, 3], ..shape },
        ConvolutionShape { kernel: [3, 1], ..shape },
        ConvolutionShape { dilation: 2, ..shape },
        ConvolutionShape { groups: Groups::Number(2), ..shape },
        ConvolutionShape { groups: Groups::Number(4), ..shape },
        ConvolutionShape { groups: Groups::Depthwise, ..shape },
        ConvolutionShape { width: Width { times: 1, per: 4 }, ..shape },
        ConvolutionShape { width: Width { times: 4, per: 1 }, ..shape },
        ConvolutionShape { order: Order::Normalised, ..shape },
        ConvolutionShape { order: Order::PostActivation, ..shape },
        ConvolutionShape { order: Order::PostRelu6, ..shape },
    ];
    let mut operations: Vec<Operation> = shapes.map(Operation::from).to_vec();
    operations.extend([
        CONVOLUTION,
        Operation::Relu6,
        Operation::SeparableConvolution { kernel: 3, dilation: 1 },
        Operation::SeparableConvolution { kernel: 3, dilation: 2 },
        Operation::SeparableConvolution { kernel: 5, dilation: 1 },
        Operation::FactorisedConvolution { kernel: 7 },
        Operation::InvertedBottleneck { kernel: 3, expansion: 3, squeeze: false },
        Operation::InvertedBottleneck { kernel: 3, expansion: 3, squeeze: true },
        Operation::InvertedBottleneck { kernel: 3, expansion: 6, squeeze: false },
        Operation::SqueezeExcitation { reduction: 4 },
        Operation::SqueezeExcitation { reduction: 16 },
    ]);
    let of = |operation: Operation| graph(&[(operation, &[0])], &[1]).fingerprint();
    let fingerprints: Vec<Fingerprint> = operations.iter().map(|&operation| of(operation)).collect();
    for (index, fingerprint) in fingerprints.iter().enumerate() {
        assert!(!fingerprints[..index].contains(fingerprint), "{:?}", operations[index]);
    }
    assert_eq!(of(shape.into()), of(CONVOLUTION));
    let plain = ConvolutionShape { order: Order::Plain, ..ConvolutionShape::new(5) };
    assert_eq!(of(plain.into()), of(Operation::Convolution { kernel: 5 }));
    let second = |leaf| graph(&[(Operation::Previous, &[])], &[leaf]).fingerprint();
    assert_ne!(second(0), second(1));
    assert_eq!(second(0), graph(&[], &[0]).fingerprint());
}

#[test]
fn fingerprints_of_the_layers_that_the_paper_does_not_have_stay() {
    let grouped = ConvolutionShape { dilation: 2, groups: Groups::Number(4), ..ConvolutionShape::new(3) };
    let layers: &[(Operation, &[usize])] = &[
        (Operation::Previous, &[]),
        (grouped.into(), &[0]),
        (Operation::SeparableConvolution { kernel: 5, dilation: 1 }, &[1]),
        (Operation::FactorisedConvolution { kernel: 7 }, &[2]),
        (Operation::InvertedBottleneck { kernel: 3, expansion: 6, squeeze: true }, &[3]),
        (Operation::SqueezeExcitation { reduction: 16 }, &[4]),
        (Operation::Relu6, &[5]),
    ];
    assert_eq!(graph(layers, &[6, 7]).fingerprint().to_string(), "bea4fee3221e6414f14c629c70ea857e");
}

/// Journals and caches store these. A change here makes every recorded search unreadable: find another way.
#[test]
fn fingerprints_are_the_same_in_every_release() {
    let (add, concat) = (Operation::Add, Operation::Concat);
    let pinned = [
        (graph(&[], &[0]), "2fc17fd7db54fb6a89f35c98d75b946d"),
        (graph(&[(CONVOLUTION, &[0])], &[1]), "38b961e3b87cffcff087ad4880550286"),
        (
            graph(&[(CONVOLUTION, &[0]), (CONVOLUTION, &[0]), (POOL, &[0]), (add, &[1, 2])], &[3, 4]),
            "dcdc1302c5370189b2c1a6e9014f830a",
        ),
        (
            graph(
                &[
                    (Operation::Convolution { kernel: 5 }, &[0]),
                    (Operation::BatchNorm, &[1]),
                    (Operation::Relu, &[2]),
                    (Operation::AveragePool { kernel: 3 }, &[3]),
                    (concat, &[3, 4]),
                    (add, &[5, 5]),
                ],
                &[0, 6],
            ),
            "8a7debdcd005970774e6aec7892c2c30",
        ),
        (hard::pair_sums(10, |point| (point + 1) % 10), "fa3bb292ba7449b3cd091efa07a7994d"),
    ];
    let found = pinned.clone().map(|(graph, _)| graph.fingerprint().to_string());
    assert_eq!(found, pinned.map(|(_, expected)| expected));
}

#[test]
fn a_certificate_is_the_documented_bytes() {
    // Input, convolution 3x3, and an output that takes the convolution twice: colours in ascending order.
    let (certificate, _) = canonical_form(&graph(&[(CONVOLUTION, &[0])], &[1, 1]).contracted());
    assert_eq!(certificate, [3, 0, 0, 0, 1, 3, 1, 0, 1, 7, 0, 1, 1, 2]);
}

#[test]
fn a_fingerprint_round_trips_as_text_and_json() {
    let fingerprint = graph(&[(CONVOLUTION, &[0])], &[1]).fingerprint();
    let text = fingerprint.to_string();
    assert_eq!(text.len(), 32);
    assert_eq!(text.parse(), Ok(fingerprint));
    assert_eq!(text.to_uppercase().parse(), Ok(fingerprint));
    let json = serde_json::to_string(&fingerprint).expect("text");
    assert_eq!(json, format!("{text:?}"));
    assert_eq!(serde_json::from_str::<Fingerprint>(&json).expect("text"), fingerprint);
}

#[test]
fn a_text_that_is_not_a_fingerprint_is_an_error() {
    let long = "0".repeat(33);
    for text in ["", "0", &long, &"g".repeat(32), &"+1".repeat(16), &"-1".repeat(16), &" 1".repeat(16), &"é".repeat(16)]
    {
        let error = text.parse::<Fingerprint>().expect_err(text);
        assert!(error.to_string().contains("32 hexadecimal digits"), "{error}");
        assert!(serde_json::from_str::<Fingerprint>(&format!("{text:?}")).is_err());
    }
}
