//! The block space as its users see it: random episodes, renumbered blocks, and all small blocks.

use blockqnn::graph::{CostError, LayerGraph, NetworkConfig, Operation, ToGraph, WidthRule};
use blockqnn::seed;
use blockqnn::space::block::{BlockCode, BlockSpace, ConvolutionRule, LayerCode, LayerKind, TerminalRule};
use blockqnn::space::{SearchSpace, Step, random_trajectory, walk};
use rand::Rng;
use std::collections::HashMap;

/// The paper's space, the ablation space, and both without the connection of Terminal.
fn spaces() -> [BlockSpace; 4] {
    let paper = BlockSpace::paper();
    let ablation = BlockSpace::paper().with_convolution(ConvolutionRule::Separate);
    let unconnected = |space: &BlockSpace| space.clone().with_terminal(TerminalRule::Unconnected);
    [unconnected(&paper), unconnected(&ablation), paper, ablation]
}

/// Returns a walk that takes every legal action with equal probability.
fn random_actions(space: &BlockSpace, rng: &mut dyn Rng) -> Vec<LayerCode> {
    random_trajectory(space, rng).unwrap().actions
}

/// Returns the block with its layers in a random order in which every layer follows its inputs.
fn renumbered(block: &BlockCode, rng: &mut dyn Rng) -> BlockCode {
    let (terminal, inner) = block.layers().split_last().unwrap();
    let mut number_of = vec![None; inner.len() + 1];
    number_of[0] = Some(0);
    let mut layers = Vec::new();
    let renumber = |code: LayerCode, number: u8, number_of: &[Option<u8>]| {
        let mut numbers: Vec<u8> =
            code.connections().iter().map(|&from| number_of[usize::from(from)].unwrap()).collect();
        numbers.sort_unstable();
        numbers.resize(2, 0);
        LayerCode::new(number, code.kind(), code.kernel(), [numbers[0], numbers[1]]).unwrap()
    };
    while layers.len() < inner.len() {
        let numbered = |layer: u8| number_of[usize::from(layer)].is_some();
        let ready: Vec<LayerCode> = inner
            .iter()
            .copied()
            .filter(|code| !numbered(code.index()) && code.connections().iter().all(|&from| numbered(from)))
            .collect();
        let code = *seed::choose(rng, &ready).unwrap();
        let number = u8::try_from(layers.len() + 1).unwrap();
        layers.push(renumber(code, number, &number_of));
        number_of[usize::from(code.index())] = Some(number);
    }
    layers.push(renumber(*terminal, terminal.index(), &number_of));
    BlockCode::new(layers).unwrap()
}

/// Returns the block with another kernel in its first convolution, if it has one.
fn with_another_kernel(block: &BlockCode) -> Option<BlockCode> {
    let convolution = |code: &LayerCode| matches!(code.kind(), LayerKind::Convolution | LayerKind::PlainConvolution);
    let mut layers = block.layers().to_vec();
    let code = layers.iter_mut().find(|code| convolution(code))?;
    let kernel = if code.kernel() == 3 { 5 } else { 3 };
    *code = LayerCode::new(code.index(), code.kind(), kernel, [code.connections()[0], 0]).unwrap();
    Some(BlockCode::new(layers).unwrap())
}

#[test]
fn ten_thousand_random_episodes_read_back_as_the_same_walks_and_cost_something_or_overflow() {
    let network = NetworkConfig { widths: WidthRule::Growing, ..NetworkConfig::imagenet() };
    for (number, space) in (0..).zip(spaces()) {
        let mut rng = seed::stream(1, "episodes", number);
        let mut overflows = 0;
        for _ in 0..2_500 {
            let actions = random_actions(&space, &mut rng);
            let block = space.decode(&actions).unwrap();
            assert_eq!(block.layers(), actions);
            let text = space.describe(&block);
            let read: BlockCode = text.parse().unwrap();
            let from_json: BlockCode = serde_json::from_str(&serde_json::to_string(&block).unwrap()).unwrap();
            assert_eq!((&read, &from_json), (&block, &block), "{text}");

            let trajectory = walk(&space, read.layers()).unwrap();
            assert_eq!(trajectory.len(), block.len());
            assert_eq!(trajectory.states[0], space.initial_state());
            assert_eq!(trajectory.states[1..], actions[..actions.len() - 1], "a state is the layer before");

            let graph = block.to_graph();
            match graph.cost(&network) {
                Ok(cost) => {
                    assert!(cost.parameters > 0 && cost.flops > 0 && cost.activation_bytes > 0, "{text}");
                    assert_eq!((cost.nodes, cost.edges), (graph.node_count() as u64, graph.edge_count() as u64));
                }
                Err(CostError::Overflow(_)) => overflows += 1,
                Err(error) => panic!("{text}: {error}"),
            }
        }
        assert!(overflows < 2_500, "not everything may overflow");
    }
}

#[test]
fn ten_thousand_random_blocks_keep_fingerprint_and_cost_when_their_layers_are_renumbered() {
    let rules =
        [WidthRule::Growing, WidthRule::Bounded].map(|widths| NetworkConfig { widths, ..NetworkConfig::cifar() });
    for (number, space) in (0..).zip(spaces()) {
        let mut rng = seed::stream(2, "episodes", number);
        let mut moved = 0;
        for _ in 0..2_500 {
            let block = space.decode(&random_actions(&space, &mut rng)).unwrap();
            let other = renumbered(&block, &mut rng);
            assert!(space.decode(other.layers()).is_ok(), "{other}");
            moved += usize::from(other != block);
            let (graph, other_graph) = (block.to_graph(), other.to_graph());
            assert_eq!(graph.fingerprint(), other_graph.fingerprint(), "{block}\n{other}");
            // The order of the layers determines which size overflows first, but not whether one does.
            for network in &rules {
                assert_eq!(graph.cost(network).ok(), other_graph.cost(network).ok(), "{block}\n{other}");
            }
        }
        assert!(moved > 1_250, "most blocks have several numberings, but only {moved} were changed");
    }
}

#[test]
fn another_kernel_is_another_fingerprint() {
    for (number, space) in (0..).zip(spaces()) {
        let mut rng = seed::stream(3, "episodes", number);
        let blocks = (0..500).map(|_| space.decode(&random_actions(&space, &mut rng)).unwrap());
        let changed = blocks.filter_map(|block| with_another_kernel(&block).map(|other| (block, other)));
        let mut compared = 0;
        for (block, other) in changed {
            assert_ne!(block.to_graph().fingerprint(), other.to_graph().fingerprint(), "{block}\n{other}");
            compared += 1;
        }
        assert!(compared > 250, "{compared}");
    }
}

/// Every block of a space.
fn all_blocks(space: &BlockSpace) -> Vec<BlockCode> {
    let mut blocks = Vec::new();
    let mut walks = vec![(space.initial_state(), Vec::new())];
    while let Some((state, actions)) = walks.pop() {
        for action in space.actions(&state) {
            let longer = [&actions[..], &[action]].concat();
            match space.step(&state, &action).unwrap() {
                Step::Next(next) => walks.push((next, longer)),
                Step::Terminal => blocks.push(space.decode(&longer).unwrap()),
            }
        }
    }
    blocks
}

/// A layer of a small graph: its operation, and the numbers of its inputs in ascending order.
type Layer = (Operation, Vec<usize>);

/// Returns the least of all numberings of the layers that compute something, found by trying all of them: two blocks of
/// a space are isomorphic exactly if these are equal.
fn least_numbering(graph: &LayerGraph) -> Vec<Layer> {
    let passes = |operation| {
        use Operation::{AveragePool, Identity, MaxPool};
        matches!(operation, Identity | MaxPool { kernel: 1 } | AveragePool { kernel: 1 })
    };
    // Identities and pools of one pixel are replaced by their inputs. Every layer of a block reaches its output.
    let mut number_of: Vec<usize> = Vec::new();
    let mut layers: Vec<Layer> = Vec::new();
    for node in graph.nodes() {
        let inputs: Vec<usize> = node.inputs.iter().map(|&input| number_of[input]).collect();
        if passes(node.operation) {
            number_of.push(inputs[0]);
        } else {
            number_of.push(layers.len());
            layers.push((node.operation, inputs));
        }
    }
    let numberings = orders((0..layers.len()).collect());
    let numbered = numberings.into_iter().map(|order| {
        let mut renumbered = vec![(Operation::Input, Vec::new()); layers.len()];
        for ((operation, inputs), &number) in layers.iter().zip(&order) {
            let mut inputs: Vec<usize> = inputs.iter().map(|&input| order[input]).collect();
            inputs.sort_unstable();
            renumbered[number] = (*operation, inputs);
        }
        renumbered
    });
    numbered.min().unwrap()
}

/// Returns all orders of some numbers.
fn orders(numbers: Vec<usize>) -> Vec<Vec<usize>> {
    if numbers.len() < 2 {
        return vec![numbers];
    }
    let with_first = |position: usize| {
        let mut rest = numbers.clone();
        let first = rest.remove(position);
        orders(rest).into_iter().map(move |order| [&[first], &order[..]].concat())
    };
    (0..numbers.len()).flat_map(with_first).collect()
}

#[test]
fn fingerprints_distinguish_all_blocks_of_up_to_three_layers_like_brute_force() {
    let space = BlockSpace::paper().with_max_layers(4).unwrap();
    let blocks = all_blocks(&space);
    // 8 first layers with 2 terminals, times 18 second ones with 3, times 30 third ones with 4.
    assert_eq!(blocks.len(), 8 * 2 + 8 * 18 * 3 + 8 * 18 * 30 * 4);
    let mut by_numbering = HashMap::new();
    let mut by_fingerprint = HashMap::new();
    for block in &blocks {
        let graph = block.to_graph();
        let (numbering, fingerprint) = (least_numbering(&graph), graph.fingerprint());
        assert_eq!(*by_numbering.entry(numbering.clone()).or_insert(fingerprint), fingerprint, "{block}");
        assert_eq!(*by_fingerprint.entry(fingerprint).or_insert_with(|| numbering.clone()), numbering, "{block}");
    }
    println!("{} blocks are {} architectures", blocks.len(), by_fingerprint.len());
}
