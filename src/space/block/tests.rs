use super::*;
use crate::graph::{CostError, NetworkConfig, ToGraph, WidthRule};
use crate::seed;
use crate::space::{walk, walk_by};

/// Counts all states and pairs of state and action by breadth-first search through the trait, as an agent sees them.
fn states_and_pairs(space: &BlockSpace) -> (usize, usize) {
    let mut seen = std::collections::BTreeSet::from([space.initial_state()]);
    let mut queue = vec![space.initial_state()];
    let mut pairs = 0;
    while let Some(state) = queue.pop() {
        for action in space.actions(&state) {
            pairs += 1;
            if let Step::Next(next) = space.step(&state, &action).unwrap()
                && seen.insert(next)
            {
                queue.push(next);
            }
        }
    }
    (seen.len() - 1, pairs)
}

fn random_trajectory(space: &BlockSpace, rng: &mut dyn rand::Rng) -> Vec<LayerCode> {
    let choose = |state: &LayerCode| Ok::<_, SpaceError>(*seed::choose(rng, &space.actions(state)).unwrap());
    walk_by(space, choose).unwrap().actions
}

#[test]
fn the_papers_space_has_5566_states_and_2115088_pairs() {
    assert_eq!(states_and_pairs(&BlockSpace::paper()), (5_566, 2_115_088));
}

#[test]
fn one_terminal_action_leaves_2024514_pairs() {
    let space = BlockSpace::paper().with_terminal(TerminalRule::Unconnected);
    assert_eq!(states_and_pairs(&space), (5_566, 2_024_514));
}

/// At each index i from 1 to 22, a sum and a concatenation have i (i - 1) / 2 pairs each, i more if a layer may occur
/// twice, and i^2 if both orders count.
#[test]
fn each_rule_for_connections_has_its_number_of_states() {
    let states = |rule| states_and_pairs(&BlockSpace::paper().with_connections(rule)).0;
    assert_eq!(states(ConnectionRule::Ascending), 5_566);
    assert_eq!(states(ConnectionRule::Equal), 5_566 + 2 * 253);
    assert_eq!(states(ConnectionRule::Any), 5_566 + 2 * (3_795 - 1_771));
}

/// A modern layer of one input has 31 choices of kind and number, a mobile one 25; the paper's has 8. At each index i
/// from 1 to 22 these have i inputs to choose from, and sums and concatenations i (i - 1) / 2 pairs each.
#[test]
fn the_other_sets_of_layers_have_their_number_of_states() {
    let states = |space| states_and_pairs(&space).0;
    let with = |kinds: usize| kinds * 253 + 2 * 1_771;
    assert_eq!(states(BlockSpace::paper()), with(8));
    assert_eq!(states(BlockSpace::modern()), with(31));
    assert_eq!(states(BlockSpace::mobile()), with(25));
}

#[test]
fn random_blocks_of_the_other_sets_are_valid_and_read_back() {
    for space in [BlockSpace::modern(), BlockSpace::mobile()] {
        let mut rng = seed::stream(3, "episodes", 0);
        let mut words = std::collections::BTreeSet::new();
        for _ in 0..2_000 {
            let block = space.decode(&random_trajectory(&space, &mut rng)).unwrap();
            assert_eq!(block.to_string().parse::<BlockCode>().unwrap(), block);
            let json = serde_json::to_string(&block).unwrap();
            assert_eq!(serde_json::from_str::<BlockCode>(&json).unwrap(), block);
            assert_eq!(block.to_graph().node_count(), block.len() + 1);
            words.extend(block.layers().iter().map(|code| (code.kind(), code.kernel())));
        }
        let choices = space.layer_kinds().iter().map(|kind| kind.kernels().len()).sum::<usize>();
        assert_eq!(words.len(), choices + 1, "every layer occurs, and the terminal one");
        let text = serde_json::to_string(&space).unwrap();
        assert_eq!(serde_json::from_str::<BlockSpace>(&text).unwrap(), space);
    }
    let separate = r#"{"layers": "modern", "convolution": "separate"}"#;
    let error = serde_json::from_str::<BlockSpace>(separate).unwrap_err().to_string();
    assert!(error.contains("space.convolution is separate"), "{error}");
}

#[test]
fn one_layer_twice_and_both_orders_are_legal_only_where_the_rule_says_so() {
    let legal = |text: &str| {
        let block: BlockCode = text.parse().unwrap();
        [ConnectionRule::Ascending, ConnectionRule::Equal, ConnectionRule::Any]
            .map(|rule| BlockSpace::paper().with_connections(rule).decode(block.layers()).is_ok())
    };
    assert_eq!(legal("conv3(0) add(0,1) terminal(2)"), [true, true, true]);
    assert_eq!(legal("conv3(0) concat(1,1) terminal(2)"), [false, true, true]);
    assert_eq!(legal("conv3(0) add(1,0) terminal(2)"), [false, false, true]);

    let graph = |text: &str| text.parse::<BlockCode>().unwrap().to_graph();
    let doubled = graph("conv3(0) concat(1,1) terminal(2)");
    assert_eq!((doubled.edge_count(), doubled.node_count()), (4, 4));
    assert_eq!(graph("conv3(0) add(1,0) end").fingerprint(), graph("conv3(0) add(0,1) end").fingerprint());
    assert_ne!(graph("conv3(0) add(1,1) end").fingerprint(), graph("conv3(0) add(0,1) end").fingerprint());
}

#[test]
fn every_action_is_distinct_and_legal_and_leads_on() {
    for space in [
        BlockSpace::paper(),
        BlockSpace::paper().with_connections(ConnectionRule::Any),
        BlockSpace::paper().with_convolution(ConvolutionRule::Separate).with_terminal(TerminalRule::Unconnected),
    ] {
        let mut state = space.initial_state();
        loop {
            let actions = space.actions(&state);
            let distinct: std::collections::BTreeSet<_> = actions.iter().collect();
            assert_eq!(distinct.len(), actions.len());
            let steps: Vec<_> = actions.iter().map(|action| space.step(&state, action).unwrap()).collect();
            match steps.into_iter().find_map(|step| if let Step::Next(next) = step { Some(next) } else { None }) {
                Some(next) => state = next,
                None => break,
            }
        }
        assert_eq!(state.index(), 22);
        assert!(space.actions(&state).iter().all(|action| action.kind().is_terminal()));
    }
}

#[test]
fn lengths_of_random_blocks_are_as_measured_for_both_terminal_rules() {
    for (rule, capped_share, mean_length) in
        [(TerminalRule::Connected, 0.30, 11.5), (TerminalRule::Unconnected, 0.81, 18.8)]
    {
        let space = BlockSpace::paper().with_terminal(rule);
        let mut rng = seed::stream(1, "lengths", 0);
        let lengths: Vec<usize> = (0..5_000).map(|_| random_trajectory(&space, &mut rng).len() - 1).collect();
        let capped = lengths.iter().filter(|&&length| length == 22).count() as f64 / 5_000.0;
        let mean = lengths.iter().sum::<usize>() as f64 / 5_000.0;
        assert!((capped - capped_share).abs() < 0.02, "{rule:?}: {capped}");
        assert!((mean - mean_length).abs() < 0.3, "{rule:?}: {mean}");
    }
}

#[test]
fn ten_thousand_random_episodes_are_valid_blocks_with_a_cost_or_a_typed_overflow() {
    let network = NetworkConfig { widths: WidthRule::Growing, ..NetworkConfig::cifar() };
    for convolution in [ConvolutionRule::PreActivation, ConvolutionRule::Separate] {
        let space = BlockSpace::paper().with_convolution(convolution);
        let mut rng = seed::stream(2, "episodes", 0);
        let mut overflows = 0;
        for _ in 0..5_000 {
            let actions = random_trajectory(&space, &mut rng);
            let block = space.decode(&actions).unwrap();
            assert_eq!(block.to_string().parse::<BlockCode>().unwrap(), block);
            let json = serde_json::to_string(&block).unwrap();
            assert_eq!(serde_json::from_str::<BlockCode>(&json).unwrap(), block);
            let graph = block.to_graph();
            assert_eq!(graph.node_count(), block.len() + 1);
            // All operations keep the spatial size by construction, which the stages of the network confirm.
            match graph.cost(&network) {
                Ok(cost) => assert!(cost.flops > 0 && cost.parameters > 0),
                Err(CostError::Overflow(_)) => overflows += 1,
                Err(error) => panic!("{error}"),
            }
        }
        // About a quarter for both rules (docs/paper-map.md, section 7).
        assert!((1_000..1_500).contains(&overflows), "{overflows}");
    }
}

#[test]
fn walks_that_break_a_rule_of_the_space_are_refused() {
    let space = BlockSpace::paper();
    let code = |text: &str| text.parse::<BlockCode>().unwrap().layers().to_vec();
    assert!(walk(&space, &code("conv3(0) terminal(1)")).is_ok());
    for text in ["conv3(0) end", "plainconv3(0) terminal(1)", "relu(0) terminal(1)"] {
        assert!(matches!(space.decode(&code(text)), Err(SpaceError::IllegalAction { .. })), "{text}");
    }
    let short = BlockSpace::paper().with_max_layers(3).unwrap();
    assert!(short.decode(&code("conv3(0) conv3(1) terminal(2)")).is_ok());
    assert!(short.decode(&code("conv3(0) conv3(1) conv3(2) terminal(3)")).is_err());
    assert!(matches!(space.decode(&code("conv3(0) end")[..1]), Err(SpaceError::Incomplete { .. })));
    assert!(matches!(space.decode(&[]), Err(SpaceError::Incomplete { .. })));
}

#[test]
fn a_space_from_a_file_is_checked() {
    let space: BlockSpace = serde_json::from_str(r#"{"max_layers": 8}"#).unwrap();
    assert_eq!(space, BlockSpace::paper().with_max_layers(8).unwrap());
    // Files written before this rule existed, which are still written like this where it has its default.
    let before = r#"{"max_layers":23,"terminal":"connected","convolution":"pre-activation"}"#;
    assert_eq!(serde_json::to_string(&BlockSpace::paper()).unwrap(), before);
    let any = BlockSpace::paper().with_connections(ConnectionRule::Any);
    assert_eq!(serde_json::from_str::<BlockSpace>(&serde_json::to_string(&any).unwrap()).unwrap(), any);
    for text in [r#"{"max_layers": 1}"#, r#"{"max_layers": 121}"#, r#"{"layers": 8}"#] {
        assert!(serde_json::from_str::<BlockSpace>(text).is_err(), "{text}");
    }
}
