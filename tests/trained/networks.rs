//! Random blocks of every block space as trainable networks.

use blockqnn::graph::{CostLimits, ImageShape, LayerGraph, NetworkConfig, Node, Operation, ToGraph};
use blockqnn::network::device::parse_device;
use blockqnn::network::{Device, Network, Tensor};
use blockqnn::seed;
use blockqnn::space::block::{BlockCode, BlockSpace, ConvolutionRule};
use blockqnn::space::{SearchSpace, random_trajectory};
use burn::tensor::TensorData;
use rand::Rng;

const BATCH: usize = 3;
const CLASSES: usize = 4;
const BLOCKS: usize = 20;

/// A narrow network on images so small that without padding a layer would leave no pixels in the last stage.
fn config() -> NetworkConfig {
    NetworkConfig {
        image: ImageShape { channels: 2, height: 7, width: 5 },
        classes: CLASSES,
        stages: 3,
        repeats: 1,
        width: 2,
        ..NetworkConfig::cifar()
    }
}

/// The cost limits of a search, for a test that must end within seconds.
const LIMITS: CostLimits =
    CostLimits { parameters: Some(1_000_000), flops: Some(10_000_000), activation_bytes: Some(4_000_000) };

fn spaces() -> [(&'static str, BlockSpace); 4] {
    let paper = BlockSpace::paper();
    let ablation = BlockSpace::paper().with_convolution(ConvolutionRule::Separate);
    let (modern, mobile) = (BlockSpace::modern(), BlockSpace::mobile());
    [
        ("the paper's space", paper),
        ("the ablation space", ablation),
        ("modern layers", modern),
        ("mobile layers", mobile),
    ]
}

fn random_block(space: &BlockSpace, rng: &mut dyn Rng) -> BlockCode {
    space.decode(&random_trajectory(space, rng).unwrap().actions).unwrap()
}

/// Whether the network around a graph is small enough to be built here.
fn is_affordable(graph: &LayerGraph) -> bool {
    graph.cost(&config()).is_ok_and(|cost| LIMITS.check(&cost).is_ok())
}

/// The first random blocks within the limits, and the number of blocks above them that were skipped.
fn sample(space: &BlockSpace) -> (Vec<BlockCode>, usize) {
    let mut rng = seed::stream(1, "sample of networks", 0);
    let (mut blocks, mut skipped) = (Vec::new(), 0);
    while blocks.len() < BLOCKS {
        let block = random_block(space, &mut rng);
        if is_affordable(&block.to_graph()) {
            blocks.push(block);
        } else {
            skipped += 1;
        }
    }
    (blocks, skipped)
}

fn build(graph: &LayerGraph, device: &Device) -> Network {
    Network::new(graph, &config(), &mut seed::stream(2, "weights", 0), device).unwrap()
}

fn images(device: &Device) -> Tensor<4> {
    let ImageShape { channels, height, width } = config().image;
    let mut rng = seed::stream(3, "images", 0);
    #[expect(clippy::cast_possible_truncation, reason = "images are single precision")]
    let values = (0..BATCH * channels * height * width).map(|_| seed::normal(&mut rng) as f32).collect();
    Tensor::from_data(TensorData::new::<f32, _>(values, [BATCH, channels, height, width]), device)
}

fn assert_finite_logits(network: &Network, device: &Device, block: &BlockCode) {
    let logits = network.forward(images(device));
    assert_eq!(logits.dims(), [BATCH, CLASSES], "{block}");
    let logits: Vec<f32> = logits.into_data().try_into_vec().unwrap();
    assert!(logits.iter().all(|logit| logit.is_finite()), "{block}: {logits:?}");
}

#[test]
fn random_blocks_are_networks_with_the_parameters_of_their_cost_and_finite_logits() {
    let device = parse_device("flex").unwrap();
    for (name, space) in spaces() {
        let (blocks, skipped) = sample(&space);
        println!("{name}: {BLOCKS} blocks built, {skipped} above the limits passed over");
        assert!(skipped < BLOCKS, "{name}: the limits leave too little of the space");
        for block in blocks {
            let graph = block.to_graph();
            // With gradients, normalisation uses the statistics of the batch; without them, the running ones.
            for device in [device.clone(), device.clone().autodiff()] {
                let network = build(&graph, &device);
                let parameters = graph.cost(&config()).unwrap().parameters;
                assert_eq!(network.num_trainable_parameters(), parameters, "{block}");
                assert_finite_logits(&network, &device, &block);
            }
        }
    }
}

/// The graph with every node connected to the output, whose concatenation requires tensors of one spatial size.
fn with_all_nodes_in_the_output(graph: &LayerGraph) -> LayerGraph {
    let (_, inner) = graph.nodes().split_last().unwrap();
    let output = Node::new(Operation::Output, (0..inner.len()).collect::<Vec<_>>());
    LayerGraph::new([inner, &[output]].concat()).unwrap()
}

#[test]
fn every_layer_of_a_random_block_has_the_spatial_size_of_its_input() {
    let device = parse_device("flex").unwrap();
    for (name, space) in spaces() {
        let mut shown = 0;
        for block in sample(&space).0 {
            let graph = with_all_nodes_in_the_output(&block.to_graph());
            if is_affordable(&graph) {
                assert_finite_logits(&build(&graph, &device), &device, &block);
                shown += 1;
            }
        }
        println!("{name}: shown for {shown} of {BLOCKS} blocks");
        assert!(shown > BLOCKS / 2, "{name}: {shown}");
    }
}
