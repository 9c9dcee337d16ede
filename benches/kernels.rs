//! This crate's kernels for `flex` beside burn's: forward and backward pass of four equal layers between a stem and a
//! mean over the pixels.
//!
//! ```sh
//! cargo bench --bench kernels
//! RAYON_NUM_THREADS=1 cargo bench --bench kernels -- conv3
//! ```

use blockqnn::graph::{ImageShape, NetworkConfig, ToGraph};
use blockqnn::network::{Device, Network, Tensor, device::default_device};
use blockqnn::seed;
use blockqnn::space::block::BlockCode;
use burn::nn::{BatchNorm, BatchNormConfig};
use burn::tensor::activation::relu;
use burn::tensor::module::{avg_pool2d, conv2d, max_pool2d};
use burn::tensor::ops::{AvgPoolOptions, ConvOptions, MaxPoolOptions};
use burn::tensor::{Distribution, TensorData};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::time::Duration;

const BATCH: usize = 32;
const WIDTH: usize = 32;
const SIDE: usize = 32;
const LAYERS: usize = 4;

/// A kind of layer by its name in a block, and in burn's operations.
struct Kind {
    name: &'static str,
    /// Kernel and groups of each of its convolutions, which a normalisation follows.
    convolutions: &'static [(usize, usize)],
    pool: fn(Tensor<4>) -> Tensor<4>,
}

const KINDS: [Kind; 6] = [
    // What is around the layers.
    Kind { name: "id", convolutions: &[], pool: |input| input },
    Kind { name: "conv3", convolutions: &[(3, 1)], pool: |input| input },
    Kind { name: "conv1", convolutions: &[(1, 1)], pool: |input| input },
    Kind { name: "sep3", convolutions: &[(3, WIDTH), (1, 1)], pool: |input| input },
    Kind {
        name: "max3",
        convolutions: &[],
        pool: |input| max_pool2d(input, MaxPoolOptions::new([3; 2]).with_stride([1; 2]).with_padding([1; 2])),
    },
    Kind {
        name: "avg3",
        convolutions: &[],
        pool: |input| {
            avg_pool2d(
                input,
                AvgPoolOptions::new([3; 2]).with_stride([1; 2]).with_padding([1; 2]).with_count_include_pad(false),
            )
        },
    },
];

/// The network of a kind in burn's operations.
struct Plain<'a> {
    kind: &'a Kind,
    stem: (Tensor<4>, BatchNorm),
    layers: Vec<(Vec<Tensor<4>>, BatchNorm)>,
}

impl<'a> Plain<'a> {
    fn new(kind: &'a Kind, device: &Device) -> Self {
        let weights = |to, from, kernel| {
            Tensor::random([to, from, kernel, kernel], Distribution::Normal(0.0, 0.1), device).require_grad()
        };
        let normalisation = || BatchNormConfig::new(WIDTH).init(device);
        let convolutions =
            || kind.convolutions.iter().map(|&(kernel, groups)| weights(WIDTH, WIDTH / groups, kernel)).collect();
        Self {
            kind,
            stem: (weights(WIDTH, 3, 3), normalisation()),
            layers: (0..LAYERS).map(|_| (convolutions(), normalisation())).collect(),
        }
    }

    fn forward(&self, images: Tensor<4>) -> Tensor<1> {
        let convolve = |input, weights: &Tensor<4>, kernel: usize, groups| {
            let options = ConvOptions::new([1; 2], [kernel / 2; 2], [1; 2], groups);
            conv2d(input, weights.clone(), None, options)
        };
        let (weights, normalisation) = &self.stem;
        let stem = normalisation.forward(convolve(images, weights, 3, 1));
        let output = self.layers.iter().fold(stem, |input, (weights, normalisation)| {
            if weights.is_empty() {
                return (self.kind.pool)(input);
            }
            let convolutions = weights.iter().zip(self.kind.convolutions);
            let output = convolutions
                .fold(relu(input), |input, (weights, &(kernel, groups))| convolve(input, weights, kernel, groups));
            normalisation.forward(output)
        });
        output.mean()
    }
}

fn kernels(criterion: &mut Criterion) {
    let device = default_device().expect("flex is built in").autodiff();
    let image = ImageShape { channels: 3, height: SIDE, width: SIDE };
    let config = NetworkConfig { width: WIDTH, stages: 1, repeats: 1, ..NetworkConfig::cifar() };
    let config = config.with_data(image, 10);
    let pixels: Vec<f32> = (0..BATCH * 3 * SIDE * SIDE).map(|pixel| (pixel % 251) as f32 / 125.0 - 1.0).collect();
    let images: Tensor<4> = Tensor::from_data(TensorData::new(pixels, [BATCH, 3, SIDE, SIDE]), &device);
    for kind in &KINDS {
        let layers: Vec<_> = (0..LAYERS).map(|layer| format!("{}({layer})", kind.name)).collect();
        let block: BlockCode = format!("{} terminal({LAYERS})", layers.join(" ")).parse().expect("it is a block");
        let network = Network::new(&block.to_graph(), &config, &mut seed::stream(1, "weights", 0), &device);
        let (network, plain) = (network.expect("it can be built"), Plain::new(kind, &device));
        let mut group = criterion.benchmark_group(kind.name);
        group.sample_size(10).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
        group.throughput(Throughput::Elements(BATCH as u64));
        group.bench_function("burn", |bencher| bencher.iter(|| plain.forward(images.clone()).backward()));
        group.bench_function("blockqnn", |bencher| {
            bencher.iter(|| network.forward(images.clone()).mean().backward());
        });
        group.finish();
    }
}

criterion_group!(benches, kernels);
criterion_main!(benches);
