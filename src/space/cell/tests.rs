use super::*;
use crate::graph::{Operation, ToGraph};
use crate::seed;
use crate::space::{walk, walk_by};
use std::collections::HashSet;

fn graph(text: &str) -> LayerGraph {
    text.parse::<CellCode>().unwrap().to_graph()
}

#[test]
fn all_15625_cells_round_trip_as_text_json_walk_and_number() {
    let space = CellSpace::new();
    let mut texts = HashSet::new();
    for (number, cell) in (0..).zip(CellCode::all()) {
        assert_eq!(cell.index(), number);
        let text = cell.to_string();
        assert_eq!(text.parse::<CellCode>(), Ok(cell));
        assert_eq!(serde_json::from_str::<CellCode>(&serde_json::to_string(&cell).unwrap()).unwrap(), cell);
        assert_eq!(space.decode(&walk(&space, cell.edges()).unwrap().actions).unwrap(), cell);
        texts.insert(text);
    }
    assert_eq!(texts.len(), 15_625);
}

#[test]
fn a_cell_sums_what_leads_into_its_nodes() {
    let cell = graph("|nor_conv_3x3~0|+|avg_pool_3x3~0|nor_conv_1x1~1|+|skip_connect~0|none~1|none~2|");
    let operations: Vec<_> = cell.nodes().iter().map(|node| (node.operation, node.inputs.clone())).collect();
    let cell = |kernel| Operation::PreActivationConvolution { kernel };
    let expected = [
        (Operation::Input, vec![]),
        (cell(3), vec![0]),
        (Operation::AveragePool { kernel: 3 }, vec![0]),
        (cell(1), vec![1]),
        (Operation::Add, vec![2, 3]),
        (Operation::Identity, vec![0]),
        (Operation::Output, vec![5]),
    ];
    assert_eq!(operations, expected);
}

#[test]
fn a_node_that_nothing_leads_into_is_zero() {
    let none = graph("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|");
    assert_eq!(none.nodes().last().unwrap().inputs.len(), 1);
    let output = none.nodes().last().unwrap().inputs[0];
    assert_eq!(none.nodes()[output].operation, Operation::Zero);
    let behind = graph("|none~0|+|none~0|none~1|+|none~0|nor_conv_3x3~1|none~2|");
    assert_ne!(none.fingerprint(), behind.fingerprint(), "a convolution of zeros has a shift to learn");
}

#[test]
fn cells_are_distinguished_by_graph_or_by_code() {
    let [a, b]: [CellCode; 2] = [
        "|nor_conv_3x3~0|+|none~0|none~1|+|none~0|skip_connect~1|none~2|",
        "|none~0|+|nor_conv_3x3~0|none~1|+|none~0|none~1|skip_connect~2|",
    ]
    .map(|text| text.parse().unwrap());
    let equal = |space: &CellSpace| {
        let [a, b] = [a, b].map(|cell| space.fingerprint(&cell));
        a == b
    };
    assert!(equal(&CellSpace::new()));
    assert!(!equal(&CellSpace::new().with_identity(CellIdentity::Code)));
}

#[test]
fn every_cell_has_a_cost_in_the_nearest_network() {
    let network = CellSpace::network();
    network.validate().unwrap();
    for cell in CellCode::all().step_by(7) {
        cell.to_graph().cost(&network).unwrap();
    }
}

#[test]
fn random_walks_reach_every_operation_on_every_edge() {
    let space = CellSpace::new();
    let mut rng = seed::stream(1, "cells", 0);
    let mut seen = HashSet::new();
    for _ in 0..500 {
        let choose = |state: &CellState| Ok::<_, SpaceError>(*seed::choose(&mut rng, &space.actions(state)).unwrap());
        let trajectory = walk_by(&space, choose).unwrap();
        seen.extend(trajectory.actions.iter().copied().enumerate());
    }
    assert_eq!(seen.len(), 30);
}

#[test]
fn a_text_that_is_not_a_cell_is_refused_with_the_place() {
    for (text, expected) in [
        ("", "is not a cell"),
        ("|none~0|+|none~0|none~1|", "is not a cell"),
        ("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|none~3|", "is not a cell"),
        ("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|+|none~0|", "is not a cell"),
        ("|none~0|+|none~0|none~0|+|none~0|none~1|none~2|", "edge 3 is \"none~0\": expected an operation from node 1"),
        ("|none~0|+|none~0|conv~1|+|none~0|none~1|none~2|", "edge 3 is \"conv~1\""),
        ("|none|+|none~0|none~1|+|none~0|none~1|none~2|", "edge 1 is \"none\""),
    ] {
        let message = text.parse::<CellCode>().unwrap_err().to_string();
        assert!(message.contains(expected), "{message:?} should say {expected:?}");
    }
    let space = CellSpace::new();
    let after_the_end = CellState { edges: 6, last: None };
    assert!(space.step(&after_the_end, &CellOperation::None).is_err());
    assert!(space.decode(&[CellOperation::None; 5]).is_err());
}
