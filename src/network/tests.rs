//! Tests of whole networks, on graphs written by hand.

use super::device::default_device;
use super::*;
use crate::graph::{
    ConvolutionShape, Groups, ImageShape, Node, Operation, Order, Reduction, StemConfig, Width, WidthRule,
};
use crate::seed;
use Operation::{Add, AveragePool, BatchNorm as Norm, Concat, Convolution, Identity, Input, MaxPool, Output, Relu};
use burn::module::{ModuleVisitor, Param};
use burn::tensor::TensorData;
use std::sync::atomic::{AtomicBool, Ordering};

const CELL3: Operation = Operation::PreActivationConvolution { kernel: 3 };
const CELL1: Operation = Operation::PreActivationConvolution { kernel: 1 };
const CELL5: Operation = Operation::PreActivationConvolution { kernel: 5 };

fn graph(nodes: &[(Operation, &[usize])]) -> LayerGraph {
    LayerGraph::new(nodes.iter().map(|&(operation, inputs)| Node::new(operation, inputs)).collect()).unwrap()
}

/// Graphs whose layers all reach the output.
fn graphs() -> Vec<(&'static str, LayerGraph)> {
    let pool = |kernel| MaxPool { kernel };
    let mean = |kernel| AveragePool { kernel };
    vec![
        ("nothing", graph(&[(Input, &[]), (Output, &[0])])),
        ("one cell", graph(&[(Input, &[]), (CELL3, &[0]), (Output, &[1])])),
        (
            "the block of the speed measurement",
            graph(&[
                (Input, &[]),
                (CELL3, &[0]),
                (CELL3, &[1]),
                (Add, &[1, 2]),
                (CELL1, &[0]),
                (Concat, &[3, 4]),
                (Output, &[5]),
            ]),
        ),
        ("a sum that projects its first input", graph(&[(Input, &[]), (CELL1, &[0]), (Add, &[0, 1]), (Output, &[2])])),
        (
            "a sum that projects its second input",
            graph(&[(Input, &[]), (CELL1, &[0]), (CELL3, &[0]), (Concat, &[1, 2]), (Add, &[3, 1]), (Output, &[4])]),
        ),
        (
            "a sum of four, two of them projected, one taken twice",
            graph(&[
                (Input, &[]),
                (CELL1, &[0]),
                (CELL3, &[0]),
                (Concat, &[0, 1, 2]),
                (Add, &[1, 3, 2, 3]),
                (Add, &[4, 4, 4]),
                (Output, &[5]),
            ]),
        ),
        (
            "a concatenation of four, one of them twice",
            graph(&[(Input, &[]), (CELL5, &[0]), (Relu, &[1]), (Concat, &[1, 0, 2, 1]), (Output, &[3])]),
        ),
        (
            "four leaves",
            graph(&[
                (Input, &[]),
                (CELL1, &[0]),
                (CELL3, &[0]),
                (pool(3), &[1]),
                (mean(3), &[0]),
                (Output, &[2, 3, 4, 1]),
            ]),
        ),
        (
            "nested pools",
            graph(&[(Input, &[]), (pool(3), &[0]), (mean(5), &[1]), (pool(5), &[2]), (CELL3, &[3]), (Output, &[4])]),
        ),
        (
            "identities and pools of one pixel",
            graph(&[
                (Input, &[]),
                (Identity, &[0]),
                (pool(1), &[1]),
                (CELL3, &[2]),
                (mean(1), &[3]),
                (Identity, &[4]),
                (Add, &[5, 1]),
                (Output, &[6]),
            ]),
        ),
        (
            "the ablation space: ReLU, convolution and normalisation apart",
            graph(&[
                (Input, &[]),
                (Relu, &[0]),
                (Convolution { kernel: 3 }, &[1]),
                (Norm, &[2]),
                (Convolution { kernel: 1 }, &[3]),
                (Norm, &[4]),
                (Add, &[3, 5]),
                (Output, &[6, 0]),
            ]),
        ),
        (
            "sums and concatenations of one input",
            graph(&[(Input, &[]), (Add, &[0]), (CELL3, &[1]), (Concat, &[2]), (Output, &[3])]),
        ),
        (
            "a chain of concatenations",
            graph(&[
                (Input, &[]),
                (CELL1, &[0]),
                (Concat, &[0, 1]),
                (Concat, &[1, 2]),
                (Concat, &[2, 3]),
                (CELL3, &[4]),
                (Output, &[5, 3]),
            ]),
        ),
    ]
    .into_iter()
    .chain(later_graphs())
    .collect()
}

/// Graphs of the layers that the paper does not have.
fn later_graphs() -> Vec<(&'static str, LayerGraph)> {
    let shape = ConvolutionShape::new(3);
    let twice = Width { times: 2, per: 1 };
    let wide = ConvolutionShape { width: twice, order: Order::PostRelu6, ..ConvolutionShape::new(1) };
    let grouped = ConvolutionShape { groups: Groups::Number(2), width: twice, ..shape };
    let row = ConvolutionShape { kernel: [1, 5], order: Order::PostActivation, ..shape };
    let depthwise = ConvolutionShape { groups: Groups::Depthwise, dilation: 2, order: Order::Plain, ..shape };
    let separable = |kernel, dilation| Operation::SeparableConvolution { kernel, dilation };
    let inverted = |kernel, expansion, squeeze| Operation::InvertedBottleneck { kernel, expansion, squeeze };
    vec![
        (
            "wide, grouped, narrow, depthwise",
            graph(&[
                (Input, &[]),
                (wide.into(), &[0]),
                (grouped.into(), &[1]),
                (row.into(), &[2]),
                (depthwise.into(), &[3]),
                (Norm, &[4]),
                (Add, &[0, 5]),
                (Output, &[6]),
            ]),
        ),
        (
            "separable, dilated and factorised convolutions",
            graph(&[
                (Input, &[]),
                (separable(3, 1), &[0]),
                (separable(5, 1), &[1]),
                (separable(3, 2), &[0]),
                (Operation::FactorisedConvolution { kernel: 7 }, &[0]),
                (Add, &[2, 3, 4]),
                (Output, &[5]),
            ]),
        ),
        (
            "inverted bottlenecks",
            graph(&[
                (Input, &[]),
                (inverted(3, 6, true), &[0]),
                (Add, &[0, 1]),
                (inverted(5, 1, false), &[2]),
                (Operation::SqueezeExcitation { reduction: 1 }, &[3]),
                (Operation::Relu6, &[4]),
                (Output, &[2, 5]),
            ]),
        ),
        (
            "a second input",
            graph(&[
                (Input, &[]),
                (Operation::Previous, &[]),
                (CELL1, &[0]),
                (separable(3, 1), &[1]),
                (Add, &[2, 3]),
                (Output, &[1, 4]),
            ]),
        ),
        ("DARTS", LayerGraph::named("darts-v2").unwrap()),
    ]
}

/// A cell, and a branch of a convolution and a projection whose output is not used.
fn with_dead_branch() -> LayerGraph {
    graph(&[
        (Input, &[]),
        (CELL3, &[0]),
        (Convolution { kernel: 3 }, &[0]),
        (Concat, &[1, 2]),
        (Add, &[3, 0]),
        (Output, &[1]),
    ])
}

fn tiny(stages: usize, repeats: usize) -> NetworkConfig {
    NetworkConfig {
        image: ImageShape { channels: 2, height: 6, width: 5 },
        classes: 3,
        stem: StemConfig::default(),
        stages,
        repeats,
        width: 3,
        widths: WidthRule::Growing,
        reduction: Reduction::Pool,
    }
}

/// Returns the same network under both width rules, and with reductions by convolution after another stem.
fn variants(config: &NetworkConfig) -> [NetworkConfig; 3] {
    let stem = StemConfig { multiplier: 3, normalised: true, ..config.stem.clone() };
    let [growing, bounded] =
        [WidthRule::Growing, WidthRule::Bounded].map(|widths| NetworkConfig { widths, ..config.clone() });
    let strided = NetworkConfig { stem, reduction: Reduction::Convolution, ..bounded.clone() };
    [growing, bounded, strided]
}

fn build(graph: &LayerGraph, config: &NetworkConfig, seed: u64, device: &Device) -> Network {
    Network::new(graph, config, &mut seed::stream(seed, "test", 0), device).unwrap()
}

fn images(config: &NetworkConfig, batch: usize, device: &Device) -> Tensor<4> {
    let shape = [batch, config.image.channels, config.image.height, config.image.width];
    let mut rng = seed::stream(11, "images", 0);
    #[expect(clippy::cast_possible_truncation)]
    let values = (0..shape.iter().product()).map(|_| seed::normal(&mut rng) as f32).collect();
    Tensor::from_data(TensorData::new::<f32, _>(values, shape), device)
}

/// The parameters of a network, or their gradients, as numbers.
#[derive(Default)]
struct Numbers<'a> {
    gradients: Option<&'a burn::tensor::Gradients>,
    values: Vec<Vec<f32>>,
    without_gradient: usize,
}

impl ModuleVisitor for Numbers<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.val();
        let data = match self.gradients {
            None => value.into_data(),
            Some(_) if !value.is_require_grad() => return,
            Some(gradients) => {
                let Some(gradient) = value.grad(gradients) else {
                    self.without_gradient += 1;
                    return;
                };
                gradient.into_data()
            }
        };
        self.values.push(data.try_to_vec().unwrap());
    }
}

fn bits(values: &[Vec<f32>]) -> Vec<u32> {
    values.iter().flatten().map(|value| value.to_bits()).collect()
}

fn parameters(network: &Network) -> Vec<Vec<f32>> {
    let mut numbers = Numbers::default();
    network.visit(&mut numbers);
    numbers.values
}

/// Returns the logits, the loss, the gradients and the number of parameters without gradient of one training step.
fn step(network: &Network, images: Tensor<4>) -> (Vec<f32>, f32, Vec<Vec<f32>>, usize) {
    let logits = network.forward(images);
    let loss = logits.clone().powi_scalar(2).mean() - logits.clone().slice([0..2, 1..2]).sum();
    let gradients = loss.backward();
    let mut numbers = Numbers { gradients: Some(&gradients), ..Numbers::default() };
    network.visit(&mut numbers);
    (logits.into_data().try_to_vec().unwrap(), loss.into_scalar(), numbers.values, numbers.without_gradient)
}

#[test]
fn every_graph_gives_one_row_of_logits_per_image() {
    let device = default_device().unwrap();
    for (name, graph) in graphs() {
        for config in variants(&tiny(2, 2)) {
            let logits = build(&graph, &config, 1, &device).forward(images(&config, 4, &device));
            assert_eq!(logits.dims(), [4, 3], "{name}");
            assert!(logits.into_data().try_to_vec::<f32>().unwrap().iter().all(|logit| logit.is_finite()), "{name}");
        }
    }
}

#[test]
fn a_network_has_exactly_the_parameters_of_its_cost() {
    let device = default_device().unwrap();
    let mut graphs = graphs();
    graphs.push(("a dead branch", with_dead_branch()));
    for (name, graph) in graphs {
        for config in [tiny(1, 1), tiny(1, 3), tiny(3, 1), tiny(2, 2)].iter().flat_map(variants) {
            let network = build(&graph, &config, 1, &device);
            let cost = graph.cost(&config).unwrap();
            assert_eq!(network.num_trainable_parameters(), cost.parameters, "{name}");
            let shapes = parameters(&network.valid());
            // burn counts two running statistics for each scale and shift.
            let all: usize = shapes.iter().map(Vec::len).sum();
            assert_eq!(all, network.num_params(), "{name}");
        }
    }
}

#[test]
fn stem_and_pools_shrink_an_image_as_the_configuration_says() {
    let device = default_device().unwrap();
    let mut config = NetworkConfig::imagenet().with_data(ImageShape { channels: 3, height: 45, width: 64 }, 4);
    (config.width, config.repeats) = (2, 1);
    config.stem = StemConfig { kernel: 7, stride: 2, pools: 1, ..StemConfig::default() };
    let network = build(&graphs()[1].1, &config, 1, &device);
    let x = images(&config, 1, &device);
    let stem = network.stem.forward(x.clone());
    let (height, width) = config.stem_size();
    assert_eq!(stem.dims(), [1, 2, height, width]);
    assert_eq!(network.forward(x).dims(), [1, 4]);
    // The smallest image that the configuration accepts.
    config.image = ImageShape { channels: 3, height: 31, width: 31 };
    config.validate().unwrap();
    assert_eq!(network.forward(images(&config, 1, &device)).dims(), [1, 4]);
}

#[test]
fn every_parameter_that_reaches_the_output_has_a_gradient() {
    let device = default_device().unwrap().autodiff();
    for (name, graph) in graphs() {
        for config in variants(&tiny(2, 2)) {
            let network = build(&graph, &config, 1, &device);
            let (_, _, gradients, missing) = step(&network, images(&config, 4, &device));
            assert_eq!(missing, 0, "{name}");
            let elements: usize = gradients.iter().map(Vec::len).sum();
            assert_eq!(elements as u64, network.num_trainable_parameters(), "{name}");
            assert!(gradients.iter().all(|gradient| gradient.iter().any(|value| *value != 0.0)), "{name}");
        }
    }
}

#[test]
fn a_path_that_is_dropped_for_an_image_leaves_the_shortcut_alone() {
    let device = default_device().unwrap();
    let block = graph(&[(Input, &[]), (CELL3, &[0]), (Add, &[0, 1]), (Output, &[2])]);
    let config = tiny(1, 2);
    let network = build(&block, &config, 1, &device);
    assert_eq!(network.path_count(), 2);
    let x = images(&config, 3, &device);
    let factors = |values: [[f32; 3]; 2]| Tensor::<2>::from_floats(values, &device);
    let rows = |logits: Tensor<2>| -> Vec<Vec<f32>> {
        logits.into_data().try_to_vec::<f32>().unwrap().chunks(3).map(<[f32]>::to_vec).collect()
    };
    let whole = rows(network.forward(x.clone()));
    assert_eq!(rows(network.forward_dropping(x.clone(), factors([[1.0; 3]; 2]))), whole);
    // The same network where the second block computes zeros in its path.
    let mut silent = network.clone();
    for (name, place) in silent.places() {
        if let ("stages.0.1.layer1.normalisation.weight", weights::Place::Vector(scale)) = (name.as_str(), place) {
            *scale = Param::from_tensor(scale.val().zeros_like());
        }
    }
    let silent = rows(silent.forward(x.clone()));
    let dropped = rows(network.forward_dropping(x.clone(), factors([[1.0; 3], [1.0, 0.0, 1.0]])));
    assert_eq!(dropped, [whole[0].clone(), silent[1].clone(), whole[2].clone()]);
    assert_ne!(silent[1], whole[1]);
    // What is kept counts by its factor.
    let doubled = rows(network.forward_dropping(x, factors([[1.0; 3], [2.0, 1.0, 1.0]])));
    assert_ne!(doubled[0], whole[0]);
    assert_eq!(doubled[1..], whole[1..]);
}

#[test]
fn an_unused_branch_is_built_but_not_computed() {
    let device = default_device().unwrap().autodiff();
    let config = tiny(1, 1);
    let network = build(&with_dead_branch(), &config, 1, &device);
    let (_, _, _, missing) = step(&network, images(&config, 4, &device));
    assert_eq!(missing, 2, "a convolution and a projection");
}

#[test]
fn the_same_seed_gives_the_same_bits_and_another_seed_others() {
    let device = default_device().unwrap();
    let (config, graph) = (tiny(2, 2), &graphs()[5].1);
    let [first, second, other] = [7, 7, 8].map(|seed| bits(&parameters(&build(graph, &config, seed, &device))));
    assert_eq!(first, second);
    assert_ne!(first, other);
}

#[test]
fn weights_have_the_variance_of_he_and_biases_are_zero() {
    let device = default_device().unwrap();
    let mut config = tiny(1, 1);
    (config.width, config.classes) = (32, 100);
    let network = build(&graphs()[2].1, &config, 3, &device);
    let check = |values: Vec<f32>, fan_in: usize| {
        let count = values.len() as f64;
        let variance = values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>() / count;
        let ratio = variance * fan_in as f64 / 2.0;
        // Four standard errors of a variance.
        assert!((ratio - 1.0).abs() < 4.0 * (2.0 / count).sqrt(), "{ratio} of {count}");
    };
    check(network.stem.weight.val().into_data().try_to_vec().unwrap(), 2 * 9);
    let classifier = &network.classifier;
    check(classifier.weight.val().into_data().try_to_vec().unwrap(), 64);
    let bias: Vec<f32> = classifier.bias.as_ref().unwrap().val().into_data().try_to_vec().unwrap();
    assert_eq!(bias, [0.0; 100]);
    let gamma: Vec<f32> = network.normalisation.gamma.val().into_data().try_to_vec().unwrap();
    assert_eq!(gamma, [1.0; 64]);
}

#[test]
fn a_training_step_keeps_its_bits_while_two_other_trainings_run() {
    let device = default_device().unwrap().autodiff();
    let (config, graph) = (tiny(2, 2), &graphs()[5].1);
    let train = |seed: u64| {
        let network = build(graph, &config, seed, &device);
        let before = bits(&parameters(&network));
        let (logits, loss, gradients, _) = step(&network, images(&config, 8, &device));
        (before, bits(&[logits, vec![loss]]), bits(&gradients))
    };
    let alone = train(7);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for seed in [1, 2] {
            let (train, done, device) = (&train, &done, &device);
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    train(seed);
                    // Draws from burn's own generator, as another library in the process might.
                    let _ = Tensor::<1>::random([64], burn::tensor::Distribution::Default, device).into_data();
                }
            });
        }
        let beside: Vec<_> = (0..20).map(|_| train(7)).collect();
        done.store(true, Ordering::Relaxed);
        for other in beside {
            assert!(other == alone, "the bits differ");
        }
    });
}

#[test]
fn validation_uses_the_running_statistics_and_repeats_its_bits() {
    let device = default_device().unwrap();
    let config = tiny(1, 2);
    let network = build(&graphs()[2].1, &config, 1, &device.clone().autodiff());
    let _ = network.forward(images(&config, 8, &device.clone().autodiff()));
    let valid = network.valid();
    let logits = |batch| valid.forward(images(&config, batch, &device)).into_data().try_to_vec::<f32>().unwrap();
    assert_eq!(bits(&[logits(8)]), bits(&[logits(8)]));
    // With running statistics, an image's logits do not depend on the rest of the batch.
    for (alone, among) in logits(1).iter().zip(logits(8)) {
        assert!((alone - among).abs() < 1e-4, "{alone} {among}");
    }
}

#[test]
fn what_cannot_be_built_is_an_error() {
    let device = default_device().unwrap();
    let new = |graph: &LayerGraph, config: &NetworkConfig| {
        Network::new(graph, config, &mut seed::stream(1, "test", 0), &device).unwrap_err()
    };
    let cell = &graphs()[1].1;
    for (stages, path) in [(0, "network.stages"), (4, "network.image")] {
        assert!(matches!(new(cell, &tiny(stages, 1)), NetworkError::Config(error) if error.path == path));
    }
    let mut wide = tiny(1, 1);
    wide.width = 1 << 20;
    assert!(matches!(new(cell, &wide), NetworkError::TooLarge { limit: Network::MAX_PARAMETERS, .. }));
    let concats = std::iter::once((Input, vec![]))
        .chain((1..100).map(|position| (Concat, vec![position - 1, position - 1])))
        .chain([(Output, vec![99])]);
    let doubling = LayerGraph::new(concats.map(|(operation, inputs)| Node::new(operation, inputs)).collect()).unwrap();
    assert!(matches!(new(&doubling, &tiny(1, 1)), NetworkError::Overflow(_)));
    let bounded = NetworkConfig { widths: WidthRule::Bounded, ..tiny(1, 1) };
    assert!(Network::new(&doubling, &bounded, &mut seed::stream(1, "test", 0), &device).is_ok());
}

#[cfg(all(feature = "flex", feature = "ndarray"))]
#[test]
fn flex_and_ndarray_agree_on_logits_loss_and_gradients() {
    use super::device::parse_device;
    let close = |name: &str, a: &[f32], b: &[f32]| {
        assert_eq!(a.len(), b.len());
        let scale = a.iter().fold(1.0f32, |scale, value| scale.max(value.abs()));
        for (a, b) in a.iter().zip(b) {
            assert!((a - b).abs() <= 2e-4 * scale, "{name}: {a} {b}");
        }
    };
    for (name, graph) in graphs() {
        for config in variants(&tiny(2, 1)) {
            let run = |device: &str| {
                let device = parse_device(device).unwrap().autodiff();
                let network = build(&graph, &config, 5, &device);
                (bits(&parameters(&network)), step(&network, images(&config, 4, &device)))
            };
            let (flex, ndarray) = (run("flex"), run("ndarray"));
            assert!(flex.0 == ndarray.0, "{name}: the weights differ");
            close(name, &flex.1.0, &ndarray.1.0);
            close(name, &[flex.1.1], &[ndarray.1.1]);
            for (a, b) in flex.1.2.iter().zip(&ndarray.1.2) {
                close(name, a, b);
            }
        }
    }
}
