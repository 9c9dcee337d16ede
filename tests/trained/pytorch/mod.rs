//! Exported networks compute the same in `PyTorch` as here.

mod published;
mod shipped;
mod trainer;

use blockqnn::data::{ChannelStatistics, DeviceSet, ImageSet};
use blockqnn::export::Blueprint;
use blockqnn::graph::{
    ImageShape, LayerGraph, NetworkConfig, Node, Operation, Reduction, StemConfig, ToGraph, WidthRule,
};
use blockqnn::network::Network;
use blockqnn::network::device::parse_device;
use blockqnn::seed;
use blockqnn::space::block::{BlockCode, BlockSpace, ConvolutionRule};
use blockqnn::space::{SearchSpace, random_trajectory};
use blockqnn::train::{ImageClassifier, OptimizerConfig, Recipe, Restarts, Schedule, TrainError, Training};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

const NETWORKS: usize = 20;
const IMAGES: usize = 16;
const SHAPE: ImageShape = ImageShape { channels: 3, height: 12, width: 12 };
const CLASSES: [&str; 5] = ["ant", "bee", "cat", "dog", "elk"];
const LEARNING_RATE: f64 = 0.05;
const WEIGHT_DECAY: f64 = 5e-4;

fn network_config(widths: WidthRule) -> NetworkConfig {
    NetworkConfig { stages: 2, repeats: 2, width: 6, widths, ..NetworkConfig::cifar().with_data(SHAPE, CLASSES.len()) }
}

/// A network whose stages of 12, 6, 3 and 2 pixels are reduced by convolutions, behind a wide stem with normalisation.
fn strided(widths: WidthRule) -> NetworkConfig {
    let stem = StemConfig { multiplier: 3, normalised: true, ..StemConfig::default() };
    NetworkConfig { stages: 4, repeats: 1, width: 4, stem, reduction: Reduction::Convolution, ..network_config(widths) }
}

/// Blocks with their names.
type Named = (String, LayerGraph);

/// Random blocks, alternately from the paper's space and from its ablation, small enough for a test. If widths are
/// bounded, each has a concatenation.
fn blocks(network: &NetworkConfig) -> Vec<Named> {
    let paper = BlockSpace::paper().with_max_layers(12).unwrap();
    blocks_of(&[paper.clone(), paper.with_convolution(ConvolutionRule::Separate)], network)
}

fn modern() -> BlockSpace {
    BlockSpace::modern().with_max_layers(10).unwrap()
}

/// Each layer is three convolutions with normalisation, so deeper blocks make networks whose first step hangs on
/// roundings.
fn mobile() -> BlockSpace {
    BlockSpace::mobile().with_max_layers(6).unwrap()
}

/// Random blocks from these spaces in turn.
fn blocks_of(spaces: &[BlockSpace], network: &NetworkConfig) -> Vec<Named> {
    let mut rng = seed::stream(20, "exported blocks", 0);
    let mut blocks = Vec::new();
    while blocks.len() < NETWORKS {
        let space = &spaces[blocks.len() % spaces.len()];
        let block: BlockCode = space.decode(&random_trajectory(space, &mut rng).unwrap().actions).unwrap();
        let graph = block.to_graph();
        let cost = graph.cost(network);
        let joins = |node: &Node| node.operation == Operation::Concat && node.inputs.len() > 1;
        let projects = network.widths == WidthRule::Growing || graph.nodes().iter().any(joins);
        if graph.node_count() >= 6 && projects && cost.is_ok_and(|cost| cost.parameters < 150_000) {
            blocks.push((block.to_string(), graph));
        }
    }
    blocks
}

/// What occurs in the blocks: the names of their operations, and the constructions that go wrong most easily.
fn features(graph: &LayerGraph, widths: WidthRule) -> BTreeSet<String> {
    let channels = graph.channels(6, 12, widths).unwrap();
    let mut found = BTreeSet::new();
    for node in graph.nodes() {
        let inputs: BTreeSet<u64> = node.inputs.iter().map(|&from| channels[from].output).collect();
        let text = format!("{:?}", node.operation);
        found.insert(text.split([' ', '(']).next().unwrap_or_default().to_owned());
        if node.operation == Operation::Add && inputs.len() > 1 {
            found.insert("projection".to_owned());
        }
        if node.operation == Operation::Output && node.inputs.len() > 1 {
            found.insert("several leaves".to_owned());
        }
    }
    found
}

/// Writes a network with all its expected results, and returns its entry in the manifest.
fn write(folder: &Path, number: usize, (block, graph): &Named, config: &NetworkConfig) -> serde_json::Value {
    let device = parse_device("flex").unwrap();
    let blueprint = Blueprint::new(block.clone(), graph.clone(), config.clone()).unwrap();
    let number_seed = number as u64;
    let mut rng = seed::stream(number_seed, "images", 0);
    let pixels = (0..IMAGES * SHAPE.bytes().unwrap()).map(|_| u8::try_from(seed::index(&mut rng, 256)).unwrap());
    let labels: Vec<u16> = (0..IMAGES).map(|image| u16::try_from(image % CLASSES.len()).unwrap()).collect();
    let set = ImageSet::new("noise", SHAPE, CLASSES, labels.clone(), pixels.collect()).unwrap();
    let statistics = ChannelStatistics { mean: vec![0.5; 3], deviation: vec![0.25; 3] };
    let resident = DeviceSet::new(&set, &statistics, &device).unwrap();
    let all: Vec<usize> = (0..IMAGES).collect();
    let build = |rng: &mut dyn rand::Rng, device: &_| -> Result<Network, TrainError> {
        Ok(Network::new(graph, config, rng, device)?)
    };

    let recipe = |epochs| Recipe {
        epochs,
        batch_size: IMAGES,
        optimizer: OptimizerConfig::Sgd { momentum: 0.9, weight_decay: WEIGHT_DECAY },
        learning_rate: LEARNING_RATE,
        schedule: Schedule::Constant,
        restarts: Restarts { max: 0, factor: 1.0 },
        ..Recipe::early_stop()
    };
    // A first training moves the running statistics of batch normalisation away from their initial values.
    let warm_up = Recipe { learning_rate: 0.002, ..recipe(5) };
    let network =
        Training::new(&warm_up, &resident, &resident, number_seed).fit(build).unwrap().trained().unwrap().network;
    let names: Vec<String> = CLASSES.map(str::to_owned).to_vec();
    let classifier = ImageClassifier::new(blueprint.clone(), network.clone(), names, statistics).unwrap();
    let stem = format!("network_{number:02}");
    fs::write(folder.join(format!("{stem}.py")), blueprint.to_pytorch()).unwrap();
    let weights = folder.join(format!("{stem}.safetensors"));
    classifier.save(&weights).unwrap();

    // Two steps from the saved weights on the whole batch: the second loss is the one after a step.
    let bytes = fs::read(&weights).unwrap();
    let restore = |rng: &mut dyn rand::Rng, device: &_| Ok(build(rng, device)?.with_safetensors(&bytes).unwrap());
    let trained = Training::new(&recipe(2), &resident, &resident, number_seed).fit(restore).unwrap().trained().unwrap();
    let losses: Vec<f64> = trained.epochs.iter().map(|epoch| epoch.training_loss).collect();

    let images = resident.batch(&all).0;
    let logits = network.forward(images.clone()).into_data().try_to_vec::<f32>().unwrap();
    let bytes: Vec<u8> =
        images.into_data().try_to_vec::<f32>().unwrap().iter().flat_map(|value| value.to_le_bytes()).collect();
    fs::write(folder.join(format!("{stem}.images")), bytes).unwrap();
    // Loading restores the network.
    let loaded = ImageClassifier::load(&weights, &device).unwrap();
    assert_eq!(loaded.blueprint(), &blueprint);
    assert_eq!(loaded.classify(&set).unwrap(), classifier.classify(&set).unwrap());

    serde_json::json!({
        "block": block,
        "module": format!("{stem}.py"),
        "weights": format!("{stem}.safetensors"),
        "images": format!("{stem}.images"),
        "image_shape": [IMAGES, SHAPE.channels, SHAPE.height, SHAPE.width],
        "labels": labels,
        "classes": CLASSES,
        "logits": logits.chunks(CLASSES.len()).collect::<Vec<_>>(),
        "losses": losses,
        "learning_rate": LEARNING_RATE,
        "weight_decay": WEIGHT_DECAY,
        "parameters": blueprint.cost().parameters,
        "flops": blueprint.cost().flops,
    })
}

/// A Python with these modules: the one that `BLOCKQNN_PYTHON` names, otherwise the system's.
fn python_with(modules: &str) -> String {
    let named = std::env::var("BLOCKQNN_PYTHON").ok();
    let candidates = named.map_or_else(|| vec!["/usr/bin/python3".to_owned(), "python3".to_owned()], |name| vec![name]);
    let has_modules = |python: &String| {
        let import = format!("import {modules}");
        Command::new(python).args(["-c", &import]).output().is_ok_and(|output| output.status.success())
    };
    let missing = || panic!("no Python with {modules}, neither the system's nor that of BLOCKQNN_PYTHON");
    candidates.into_iter().find(has_modules).unwrap_or_else(missing)
}

/// Writes the networks of all blocks and a list of them to a folder.
fn write_all(folder: &Path, blocks: &[Named], network: &NetworkConfig) {
    let cases: Vec<_> =
        blocks.iter().enumerate().map(|(number, block)| write(folder, number, block, network)).collect();
    fs::write(folder.join("manifest.json"), serde_json::to_string(&cases).unwrap()).unwrap();
}

#[test]
fn twenty_random_blocks_have_every_kind_of_layer_and_their_networks_are_read_back() {
    for widths in [WidthRule::Growing, WidthRule::Bounded] {
        let network = network_config(widths);
        has_every_kind_of_layer(&network);
        write_all(tempfile::tempdir().unwrap().path(), &blocks(&network), &network);
    }
}

#[test]
fn twenty_random_blocks_of_each_of_the_other_spaces_train_and_their_networks_are_read_back() {
    let (widths, network) = (WidthRule::Bounded, network_config(WidthRule::Bounded));
    let modern = blocks_of(&[modern()], &network);
    has_all(&modern, widths, &["ShapedConvolution", "SeparableConvolution", "FactorisedConvolution"]);
    has_all(&modern, widths, &["SqueezeExcitation", "projection", "several leaves"]);
    let mobile = blocks_of(&[mobile()], &network);
    has_all(&mobile, widths, &["InvertedBottleneck", "several leaves"]);
    for blocks in [modern, mobile] {
        write_all(tempfile::tempdir().unwrap().path(), &blocks, &network);
    }
}

fn has_every_kind_of_layer(network: &NetworkConfig) {
    let blocks = blocks(network);
    has_all(
        &blocks,
        network.widths,
        &[
            "PreActivationConvolution",
            "Convolution",
            "MaxPool",
            "AveragePool",
            "Identity",
            "Relu",
            "BatchNorm",
            "Add",
            "Concat",
            "projection",
            "several leaves",
        ],
    );
}

fn has_all(blocks: &[Named], widths: WidthRule, wanted: &[&str]) {
    let found: BTreeSet<String> = blocks.iter().flat_map(|(_, graph)| features(graph, widths)).collect();
    for &wanted in wanted {
        assert!(found.contains(wanted), "no block has {wanted}: {found:?}");
    }
}

#[test]
#[ignore = "needs PyTorch: a python3 with torch (Debian: python3-torch), or one that BLOCKQNN_PYTHON names"]
fn twenty_random_networks_compute_the_same_in_pytorch() {
    let network = network_config(WidthRule::Growing);
    compare_with_pytorch(&blocks(&network), &network);
}

#[test]
#[ignore = "needs PyTorch: a python3 with torch (Debian: python3-torch), or one that BLOCKQNN_PYTHON names"]
fn twenty_random_networks_of_bounded_width_compute_the_same_in_pytorch() {
    let network = network_config(WidthRule::Bounded);
    compare_with_pytorch(&blocks(&network), &network);
}

#[test]
#[ignore = "needs PyTorch: a python3 with torch (Debian: python3-torch), or one that BLOCKQNN_PYTHON names"]
fn twenty_random_networks_of_each_of_the_other_spaces_compute_the_same_in_pytorch() {
    for space in [modern(), mobile()] {
        let network = network_config(WidthRule::Bounded);
        compare_with_pytorch(&blocks_of(&[space], &network), &network);
    }
}

#[test]
#[ignore = "needs PyTorch: a python3 with torch (Debian: python3-torch), or one that BLOCKQNN_PYTHON names"]
fn networks_of_named_blocks_compute_the_same_in_pytorch() {
    let named: Vec<Named> =
        LayerGraph::NAMES.iter().map(|&name| (name.to_owned(), LayerGraph::named(name).unwrap())).collect();
    for widths in [WidthRule::Growing, WidthRule::Bounded] {
        compare_with_pytorch(&named, &network_config(widths));
    }
}

#[test]
#[ignore = "needs PyTorch: a python3 with torch (Debian: python3-torch), or one that BLOCKQNN_PYTHON names"]
fn networks_with_reductions_by_convolution_compute_the_same_in_pytorch() {
    let named = |name: &str| (name.to_owned(), LayerGraph::named(name).unwrap());
    // Blocks of one input and of two.
    let later = ["resnet-basic", "darts-v2", "nasnet-a"].map(named);
    for widths in [WidthRule::Growing, WidthRule::Bounded] {
        let network = strided(widths);
        let blocks: Vec<Named> = blocks(&network).into_iter().take(8).chain(later.clone()).collect();
        compare_with_pytorch(&blocks, &network);
    }
}

fn compare_with_pytorch(blocks: &[Named], network: &NetworkConfig) {
    let folder = tempfile::tempdir().unwrap();
    write_all(folder.path(), blocks, network);
    let python = python_with("torch");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/trained/pytorch/compare.py");
    let output = Command::new(python).arg(script).arg(folder.path()).output().unwrap();
    println!("{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
