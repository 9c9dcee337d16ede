//! Your own network in your own space: multilayer perceptrons, which no graph of this crate describes.
//!
//! The network is a burn module. By implementing `Classifier` it is trained like the networks of blocks, by a recipe of
//! this crate, on the images that come with it. The search knows nothing of it but its JSON, so it counts no FLOPs.
//!
//! ```text
//! cargo run --release --example custom_network
//! ```

use blockqnn::agent::{LeastSquares, LeastSquaresConfig};
use blockqnn::data::{DeviceSet, Split, embedded};
use blockqnn::environment::{Environment, TrialContext};
use blockqnn::evaluation::Evaluation;
use blockqnn::network::device::default_device;
use blockqnn::search::{Search, SearchConfig};
use blockqnn::seed::{self, Rng};
use blockqnn::space::{SearchSpace, SpaceError, Step, walk};
use blockqnn::train::{Classifier, Outcome, Recipe, TrainError, Training};
use burn::module::{Module, Param};
use burn::nn::Linear;
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor, TensorData};
use std::error::Error;
use std::io::{Write, stdout};

/// The widths of up to three layers, of which 0 ends the network.
struct Widths;

impl SearchSpace for Widths {
    type State = usize;
    type Action = u32;
    type Architecture = Vec<u32>;

    fn initial_state(&self) -> usize {
        0
    }
    fn actions(&self, layers: &usize) -> Vec<u32> {
        if *layers < 3 { vec![0, 16, 32, 64, 128] } else { vec![0] }
    }
    fn step(&self, layers: &usize, width: &u32) -> Result<Step<usize>, SpaceError> {
        match width {
            _ if !self.actions(layers).contains(width) => Err(SpaceError::illegal(layers, width)),
            0 => Ok(Step::Terminal),
            _ => Ok(Step::Next(layers + 1)),
        }
    }
    fn decode(&self, widths: &[u32]) -> Result<Vec<u32>, SpaceError> {
        walk(self, widths).map(|walk| walk.actions)
    }
}

#[derive(Module, Debug)]
struct Perceptron {
    layers: Vec<Linear>,
}

impl Perceptron {
    /// All weights come from `rng`, so that the same trial has the same result wherever it is trained.
    fn new(pixels: usize, widths: &[u32], classes: usize, rng: &mut dyn Rng, device: &Device) -> Self {
        let hidden = widths.iter().filter(|width| **width > 0).map(|width| *width as usize);
        let sizes: Vec<usize> = [pixels].into_iter().chain(hidden).chain([classes]).collect();
        let mut layer = |from: usize, to: usize| {
            let deviation = (2.0 / from as f64).sqrt();
            #[expect(clippy::cast_possible_truncation, reason = "weights are f32")]
            let weights: Vec<f32> = (0..from * to).map(|_| (deviation * seed::normal(rng)) as f32).collect();
            Linear {
                weight: Param::from_data(TensorData::new(weights, [from, to]), device),
                bias: Some(Param::from_data(TensorData::new(vec![0f32; to], [to]), device)),
            }
        };
        Self { layers: sizes.windows(2).map(|pair| layer(pair[0], pair[1])).collect() }
    }
}

impl Classifier for Perceptron {
    fn classify(&self, images: Tensor<4>) -> Tensor<2> {
        let (inputs, last) = (images.flatten(1, 3), self.layers.len() - 1);
        let forward = |tensor, (number, layer): (usize, &Linear)| {
            let outputs = layer.forward(tensor);
            if number < last { relu(outputs) } else { outputs }
        };
        self.layers.iter().enumerate().fold(inputs, forward)
    }
}

/// Trains perceptrons on images.
struct Perceptrons {
    training: DeviceSet,
    validation: DeviceSet,
    recipe: Recipe,
}

impl Environment<Vec<u32>> for Perceptrons {
    type Error = TrainError;
    fn evaluate(&mut self, widths: &Vec<u32>, context: &TrialContext<'_>) -> Result<Evaluation, TrainError> {
        let training = Training::new(&self.recipe, &self.training, &self.validation, context.trial().seed);
        let build = |rng: &mut dyn Rng, device: &Device| Ok(Perceptron::new(28 * 28, widths, 10, rng, device));
        Ok(match training.with_watch(context).fit(build)? {
            Outcome::Trained(trained) => Evaluation::Measured(trained.metrics),
            Outcome::Infeasible(reason) => Evaluation::Infeasible(reason),
            _ => return Err(TrainError::Cancelled),
        })
    }
    fn identity(&self) -> String {
        blockqnn::identity::with_settings("perceptrons on 400 embedded images", &self.recipe)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let (split, device) = (Split::new(embedded::train().limit(600, 7)?, 200, 7)?, default_device()?);
    let set = |images| DeviceSet::new(images, &split.training().channel_statistics(), &device);
    let recipe = Recipe { epochs: 3, batch_size: 32, learning_rate: 0.003, ..Recipe::early_stop() };
    let environment = Perceptrons { training: set(split.training())?, validation: set(split.validation())?, recipe };
    let agent = LeastSquares::new(LeastSquaresConfig::default())?;
    let report = Search::new(Widths, agent, environment, SearchConfig::new(16).with_seed(1)).run()?;
    for record in report.best().into_iter().take(5) {
        writeln!(stdout(), "{:6.2} %  {:?}", record.reward.value(), record.architecture)?;
    }
    Ok(())
}
