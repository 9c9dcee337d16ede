//! Tests of the geometry: nodes do not overlap, and edges do not run through nodes.

use super::layout::{GAP, Layout, NODE_HEIGHT, NODE_WIDTH, layout};
use super::*;
use crate::graph::WidthRule;
use crate::seed;
use crate::space::block::{BlockCode, BlockSpace, ConnectionRule};
use crate::space::{SearchSpace, Step};

/// A block of 23 layers, three of them leaves, with skip connections that cross.
const HARD: &str = "conv3(0) conv1(0) conv5(1) add(2,3) max3(1) concat(4,5) conv3(6) avg3(2) add(7,8) conv1(6) id(3) \
    concat(9,11) conv5(12) conv3(10) add(13,14) max1(9) concat(15,16) conv3(17) add(4,18) conv1(12) avg3(7) conv3(19) \
    terminal(22)";

fn hard() -> LayerGraph {
    HARD.parse::<BlockCode>().unwrap().to_graph()
}

/// Returns points along an edge, a few per unit.
fn points(route: &Route) -> Vec<(f64, f64)> {
    let mut points = Vec::new();
    let mut from = route.points[0];
    for (step, &to) in route.points.iter().enumerate().skip(1) {
        for part in 0..=40 {
            let t = f64::from(part) / 40.0;
            let s = 1.0 - t;
            let middle = from.1 + GAP / 2.0;
            let x = (s * s * s + 3.0 * s * s * t) * from.0 + (3.0 * s * t * t + t * t * t) * to.0;
            let y = s * s * s * from.1 + 3.0 * s * t * middle + t * t * t * to.1;
            points.push((x, y));
        }
        from = to;
        if step + 1 < route.points.len() {
            points.extend((0..=20).map(|part| (to.0, to.1 + NODE_HEIGHT * f64::from(part) / 20.0)));
            from.1 += NODE_HEIGHT;
        }
    }
    points
}

fn check(layout: &Layout, name: &str) {
    for (a, first) in layout.places.iter().enumerate() {
        assert!(first.x - NODE_WIDTH / 2.0 > -1e-6 && first.x + NODE_WIDTH / 2.0 < layout.width + 1e-6, "{name}: {a}");
        for (b, second) in layout.places.iter().enumerate().skip(a + 1) {
            let apart =
                (first.x - second.x).abs() >= NODE_WIDTH + 10.0 || (first.y - second.y).abs() >= NODE_HEIGHT + 10.0;
            assert!(apart, "{name}: nodes {a} and {b} overlap: {first:?} {second:?}");
        }
    }
    for route in &layout.routes {
        for (x, y) in points(route) {
            for (node, place) in layout.places.iter().enumerate() {
                let inside = (x - place.x).abs() < NODE_WIDTH / 2.0 + 2.0
                    && y > place.y + 0.5
                    && y < place.y + NODE_HEIGHT - 0.5;
                assert!(!inside, "{name}: the edge {} -> {} runs through node {node} at {x} {y}", route.from, route.to);
            }
            assert!(x > -0.1 && x < layout.width + 0.1, "{name}: an edge leaves the picture");
        }
        let (first, last) = (route.points[0], route.points[route.points.len() - 1]);
        let (from, to) = (layout.places[route.from], layout.places[route.to]);
        assert!((first.0 - from.x).abs() < NODE_WIDTH / 2.0 && (first.1 - from.y - NODE_HEIGHT).abs() < 1e-9);
        assert!((last.0 - to.x).abs() < NODE_WIDTH / 2.0 && (last.1 - to.y).abs() < 1e-9);
    }
}

#[test]
fn a_block_of_23_layers_with_three_leaves_and_crossing_skips_has_no_overlap() {
    let graph = hard();
    assert_eq!(graph.nodes().last().unwrap().inputs.len(), 3, "it has three leaves");
    check(&layout(&graph), "hard");
}

#[test]
fn random_blocks_have_no_overlap() {
    for number in 0..200 {
        // In every third space, the two inputs of a layer may be the same.
        let rule = if number % 3 == 0 { ConnectionRule::Any } else { ConnectionRule::Ascending };
        let space = match number {
            ..150 => BlockSpace::paper().with_connections(rule),
            150..175 => BlockSpace::modern(),
            _ => BlockSpace::mobile(),
        };
        let mut rng = seed::stream(9, "drawing", number);
        let mut state = space.initial_state();
        let mut actions = Vec::new();
        loop {
            let legal = space.actions(&state);
            let action = *seed::choose(&mut rng, &legal).unwrap();
            actions.push(action);
            match space.step(&state, &action).unwrap() {
                Step::Next(next) => state = next,
                Step::Terminal => break,
            }
        }
        let block = space.decode(&actions).unwrap();
        check(&layout(&block.to_graph()), &block.to_string());
    }
}

#[test]
fn every_text_fits_into_its_node() {
    use crate::graph::{ConvolutionShape, Groups, Order, Width};
    let shape = ConvolutionShape { groups: Groups::Number(32), order: Order::PostRelu6, ..ConvolutionShape::new(3) };
    let operations = [
        Operation::PreActivationConvolution { kernel: 3 },
        ConvolutionShape { dilation: 2, width: Width { times: 1, per: 4 }, ..shape }.into(),
        ConvolutionShape { groups: Groups::Depthwise, order: Order::Plain, ..shape }.into(),
        Operation::SeparableConvolution { kernel: 3, dilation: 2 },
        Operation::FactorisedConvolution { kernel: 7 },
        Operation::InvertedBottleneck { kernel: 3, expansion: 6, squeeze: true },
        Operation::SqueezeExcitation { reduction: 16 },
    ];
    for operation in operations {
        let text = label(operation);
        assert!(width(&text) * size_of(&text) <= NODE_WIDTH - 8.0, "{text}");
        assert!(size_of(&text) >= 6.0, "{text} is too small");
    }
    assert!((size_of("max pool 3×3") - 12.5).abs() < 1e-9);
}

#[test]
fn named_blocks_have_no_overlap() {
    for name in LayerGraph::NAMES {
        check(&layout(&LayerGraph::named(name).unwrap()), name);
    }
}

#[test]
fn a_block_with_two_inputs_has_no_overlap() {
    let nodes = vec![
        crate::graph::Node::new(Operation::Input, []),
        crate::graph::Node::new(Operation::Previous, []),
        crate::graph::Node::new(Operation::SeparableConvolution { kernel: 3, dilation: 1 }, [0]),
        crate::graph::Node::new(Operation::Add, [1, 2]),
        crate::graph::Node::new(Operation::Add, [1, 3]),
        crate::graph::Node::new(Operation::Output, [0, 1, 4]),
    ];
    let graph = LayerGraph::new(nodes).unwrap();
    check(&layout(&graph), "two inputs");
    assert!(BlockDrawing::new(&graph, &NetworkConfig::cifar()).figure().svg.contains(">previous<"));
}

#[test]
fn the_largest_graph_is_drawn() {
    let mut nodes = vec![crate::graph::Node::new(Operation::Input, [])];
    for number in 1..LayerGraph::MAX_NODES - 1 {
        nodes.push(crate::graph::Node::new(Operation::Add, [number / 3, number - 1]));
    }
    nodes.push(crate::graph::Node::new(Operation::Output, (100..LayerGraph::MAX_NODES - 1).collect::<Vec<_>>()));
    check(&layout(&LayerGraph::new(nodes).unwrap()), "largest");
}

/// Draws a block in a network whose widths grow.
fn draw_growing(block: &str) -> String {
    let network = NetworkConfig { widths: WidthRule::Growing, ..NetworkConfig::cifar() };
    BlockDrawing::new(&block.parse::<BlockCode>().unwrap().to_graph(), &network).figure().svg
}

#[test]
fn a_drawing_shows_the_channels_before_and_after_the_projection_of_a_concatenation() {
    let svg = draw(&"conv3(0) concat(0,1) max3(0) add(2,3) terminal(4)".parse::<BlockCode>().unwrap());
    assert!(svg.contains("layer 2: concat of the input and layer 1, 64 → 32 channels"), "{svg}");
    assert!(svg.contains("layer 4: add of layer 2 and layer 3, 32 channels"), "{svg}");
    assert!(svg.contains("by a 1×1 cell to the width of the stage"), "{svg}");
    assert!(!svg.contains("stroke-dasharray"), "{svg}");
}

#[test]
fn a_drawing_names_every_layer_and_marks_widened_inputs() {
    let svg = draw_growing("conv3(0) concat(0,1) max3(0) add(2,3) terminal(4)");
    for text in ["conv 3×3", "concat", "max pool 3×3", "add", "input", "output", "32 channels", "64 channels"] {
        assert!(svg.contains(text), "{text}");
    }
    assert_eq!(svg.matches("stroke-dasharray").count(), 1, "the pool's 32 channels are widened to 64");
    assert!(svg.contains("layer 4: add of layer 2 and layer 3, 64 channels"));
}

#[test]
fn channels_that_do_not_fit_are_reported() {
    let chain: String =
        (2..=100u8).fold("id(0)".to_owned(), |text, layer| format!("{text} concat({},{})", layer - 2, layer - 1));
    let svg = draw_growing(&format!("{chain} end"));
    assert!(svg.contains("too many channels"));
}

#[test]
fn a_title_with_markup_stays_text() {
    let figure = BlockDrawing::new(&hard(), &NetworkConfig::cifar()).with_title("<script>alert(1)</script>").figure();
    assert!(!figure.svg.contains("<script"), "{}", figure.svg);
    figure.png().unwrap();
}
