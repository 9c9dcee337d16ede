//! Whole trainings of tiny networks.

mod device_faults;
mod early_stop;
mod environment;
mod faults_in_children;
mod fitting;
mod latency;
mod precision;
mod resuming;
mod rungs;
mod streaming;
mod using;

use super::{Classifier, OptimizerConfig, Outcome, Recipe, Schedule, TrainError, Trained, Training, Watch};
use crate::data::{BatchSource, DeviceSet, ImageSet, Split};
use crate::graph::{ImageShape, LayerGraph, NetworkConfig, ToGraph};
use crate::network::Network;
use crate::seed;
use crate::space::block::BlockCode;
use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor};
use std::cell::Cell;

const CLASSES: usize = 3;

/// Returns `images` images of 6x6 pixels: noise with a bright stripe, whose position gives the class.
fn stripes(images: usize, seed: u64) -> ImageSet {
    let mut rng = seed::stream(seed, "stripes", 0);
    let mut pixels = Vec::new();
    for image in 0..images {
        for row in 0..6 {
            let base = if row / 2 == image % CLASSES { 100 } else { 0 };
            pixels.extend((0..6).map(|_| base + u8::try_from(seed::index(&mut rng, 100)).unwrap()));
        }
    }
    let labels = (0..images).map(|image| u16::try_from(image % CLASSES).unwrap()).collect();
    let shape = ImageShape { channels: 1, height: 6, width: 6 };
    ImageSet::new("stripes", shape, ["top", "middle", "bottom"], labels, pixels).unwrap()
}

/// Stops a training after a number of batches.
struct StopAfter(Cell<usize>);

impl Watch for StopAfter {
    fn is_cancelled(&self) -> bool {
        self.0.get() == 0
    }

    fn report(&self, _: crate::environment::Progress) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

fn split() -> Split {
    Split::new(stripes(150, 1), 60, 7).unwrap()
}

/// Returns the parts of [`split`] on a device.
fn parts(device: &Device) -> (DeviceSet, DeviceSet) {
    let split = split();
    let statistics = split.training().channel_statistics();
    let set = |set| DeviceSet::new(set, &statistics, device).unwrap();
    (set(split.training()), set(split.validation()))
}

fn block() -> LayerGraph {
    "conv3(0) add(0,1) terminal(2)".parse::<BlockCode>().unwrap().to_graph()
}

fn network_config() -> NetworkConfig {
    let image = ImageShape { channels: 1, height: 6, width: 6 };
    NetworkConfig { stages: 2, repeats: 1, width: 4, ..NetworkConfig::cifar().with_data(image, CLASSES) }
}

/// 15 steps per epoch, so that after the first the running statistics of batch normalisation have moved away from their
/// initial values.
fn recipe() -> Recipe {
    Recipe { epochs: 6, batch_size: 6, learning_rate: 0.02, schedule: Schedule::Constant, ..Recipe::early_stop() }
}

/// Trains the network of [`block`].
fn train(recipe: &Recipe, seed: u64, device: &Device, watch: &dyn Watch) -> Outcome<Network> {
    let (training, validation) = parts(device);
    Training::new(recipe, &training, &validation, seed)
        .with_watch(watch)
        .fit(|rng, device| Ok(Network::new(&block(), &network_config(), rng, device)?))
        .unwrap()
}

/// Returns everything that a training determines, as bits: the figures of its epochs and the logits of its network.
fn bits(trained: &Trained<Network>) -> (Vec<u64>, Vec<u32>) {
    let (training, validation) = parts(&Device::flex());
    let all: Vec<usize> = (0..validation.len()).collect();
    let logits = [training, validation].map(|set| trained.network.forward(set.batch(&all).0).into_data());
    let logits = logits.into_iter().flat_map(|data| data.try_into_vec::<f32>().unwrap()).map(f32::to_bits).collect();
    let epochs = trained.epochs.iter();
    (epochs.flat_map(|epoch| [epoch.training_loss, epoch.accuracy.unwrap_or(-1.0)]).map(f64::to_bits).collect(), logits)
}

/// A linear classifier without normalisation, so that nothing depends on how images are batched. A blind one sees only
/// black.
#[derive(Module, Debug)]
struct LinearClassifier {
    linear: Linear,
    #[module(skip)]
    blind: bool,
}

impl LinearClassifier {
    fn new(blind: bool, device: &Device) -> Self {
        let linear = LinearConfig::new(36, CLASSES).with_initializer(burn::module::Initializer::Zeros).init(device);
        Self { linear, blind }
    }
}

impl Classifier for LinearClassifier {
    fn classify(&self, images: Tensor<4>) -> Tensor<2> {
        let images = if self.blind { images.zeros_like() } else { images };
        self.linear.forward(images.flatten(1, 3))
    }
}
