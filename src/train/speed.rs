//! Measures what a few networks cost on a device.

use super::optimizer::new_optimizer;
use super::parameters::numbered;
use super::{Recipe, TrainError, TrainingEnvironment};
use crate::data::{BatchSource, Batches, DeviceSet};
use crate::graph::{LayerGraph, NetworkConfig};
use crate::network::{Network, NetworkError};
use crate::search::{CostModel, Rates, TrialSize, Workload};
use crate::seed;
use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

/// Measured batches of each network after an unmeasured one; the fastest counts.
const BATCHES: usize = 3;

/// Seconds of a training step and of a batch that is classified.
struct Seconds {
    training: f64,
    evaluation: f64,
}

/// The cost model of a device from networks that `network` builds around `graphs`. No further network is measured once
/// `budget` is spent.
pub(super) fn measure(
    graphs: impl IntoIterator<Item = LayerGraph>,
    network: &NetworkConfig,
    recipe: &Recipe,
    [training, validation]: [&DeviceSet; 2],
    budget: Duration,
) -> Result<CostModel, TrainError> {
    let images = recipe.batch_size.min(training.len());
    let (mut steps, mut batches) = (Vec::new(), Vec::new());
    let start = Instant::now();
    for graph in graphs {
        if !steps.is_empty() && start.elapsed() > budget {
            break;
        }
        let cost = graph.cost(network).map_err(NetworkError::from)?;
        let seconds = network_seconds(&graph, network, recipe, training, images)?;
        let workload = Workload::new(&cost, network, images as u64);
        steps.push((workload, seconds.training));
        batches.push((workload, seconds.evaluation));
    }
    let epochs = u64::from(recipe.epochs);
    // As `Training::fit` does: after the first epoch, at its own rate, and after the last.
    let measured = recipe.measure_every.map_or(0, |every| epochs / u64::from(every.max(1)));
    let trial = TrialSize {
        images: training.len() as u64,
        batch: recipe.batch_size as u64,
        epochs,
        validation: validation.len() as u64,
        evaluations: measured.max(if recipe.restarts.max > 0 && epochs > 1 { 2 } else { 1 }),
    };
    Ok(CostModel { training: Rates::fit(&steps), evaluation: Rates::fit(&batches), trial })
}

fn network_seconds(
    graph: &LayerGraph,
    config: &NetworkConfig,
    recipe: &Recipe,
    training: &DeviceSet,
    images: usize,
) -> Result<Seconds, TrainError> {
    let device = training.device().clone().autodiff();
    let mut network = numbered(Network::new(graph, config, &mut seed::stream(0, "calibration", 0), &device)?);
    let mut optimizer = new_optimizer(recipe.optimizer);
    let loss = CrossEntropyLossConfig::new().init(&device);
    let size = NonZeroUsize::new(images).unwrap_or(NonZeroUsize::MIN);
    let order = Batches::in_order(images, size);
    let mut seconds = Seconds { training: f64::INFINITY, evaluation: f64::INFINITY };
    for round in 0..=BATCHES {
        for batch in training.training_batches(&order, 0, &recipe.augmentation, 0, 0) {
            let (images, labels) = batch?;
            let start = Instant::now();
            let mean = loss.forward(network.forward(images.autodiff()), labels.autodiff());
            let gradients = GradientsParams::from_grads(mean.backward(), &network);
            network = optimizer.step(recipe.learning_rate, network, gradients);
            wait(&mean.inner())?;
            if round > 0 {
                seconds.training = seconds.training.min(start.elapsed().as_secs_f64());
            }
        }
        let valid = network.valid();
        for batch in training.batches(&order) {
            let (images, _) = batch?;
            let start = Instant::now();
            wait(&valid.forward(images).sum())?;
            if round > 0 {
                seconds.evaluation = seconds.evaluation.min(start.elapsed().as_secs_f64());
            }
        }
    }
    Ok(seconds)
}

/// Waits until the device has computed a number.
fn wait(number: &Tensor<1>) -> Result<(), TrainError> {
    let number = number.clone().try_into_vec_as::<f32>();
    number.map(drop).map_err(|error| TrainError::Device { message: error.to_string() })
}

impl TrainingEnvironment {
    /// Measures a few batches of the networks around `graphs` on this device, and returns what predicts the time of others.
    ///
    /// A dozen random blocks of the space that will be searched are enough. Once `budget` is spent no further network is
    /// begun, but one is measured always. It computes with the threads that trials will have
    /// ([`with_threads`](Self::with_threads)).
    ///
    /// # Errors
    /// [`TrainError`] if a network cannot be built or the device fails.
    pub fn cost_model(
        &self,
        graphs: impl IntoIterator<Item = LayerGraph> + Send,
        budget: Duration,
    ) -> Result<CostModel, TrainError> {
        let environment = self.clone();
        let measure = move || {
            environment.use_threads();
            let (training, validation) = environment.parts();
            measure(graphs, environment.network(), environment.recipe(), [training, validation], budget)
        };
        // A thread keeps the pool that it computed with first, so the caller's is left alone.
        std::thread::scope(|scope| scope.spawn(measure).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}
