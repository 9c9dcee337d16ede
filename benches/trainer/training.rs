//! Training steps on one batch with nothing around them: shared by `blockqnn-measure` and the bench `trainer`.

use blockqnn::export::Blueprint;
use blockqnn::files;
use blockqnn::graph::{ImageShape, LayerGraph, NetworkConfig};
use blockqnn::network::{Device, Network, NetworkError, Precision, Tensor};
use blockqnn::seed;
use blockqnn::train::Classifier;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::optim::{AdamConfig, GradientsParams, ModuleOptimizer};
use burn::tensor::{Int, TensorData};
use std::error::Error;
use std::io::{self, Write};
use std::path::Path;
use std::time::Instant;

/// The block of the comparison with `PyTorch`.
pub(crate) const CELLS: &str = "conv3(0) conv3(1) add(1,2) conv1(0) concat(3,4) terminal(5)";

/// A network in training, with a batch. The same arguments give the same weights and images on every device.
pub(crate) struct Training {
    /// Always there except in the middle of a step.
    pub(crate) network: Option<Network>,
    /// Adam, unless it is replaced.
    pub(crate) optimizer: ModuleOptimizer,
    pub(crate) images: Tensor<4>,
    labels: Tensor<1, Int>,
}

impl Training {
    pub(crate) fn new(
        graph: &LayerGraph,
        config: &NetworkConfig,
        batch: usize,
        precision: Precision,
        device: &Device,
    ) -> Result<Self, NetworkError> {
        let plain = device.clone().without_autodiff();
        let network = Network::new(graph, config, &mut seed::stream(1, "weights", 0), &device.clone().autodiff())?;
        let ImageShape { channels, height, width } = config.image;
        let classes = i64::try_from(config.classes).unwrap_or(i64::MAX);
        let labels: Vec<i64> = (0i64..).zip(0..batch).map(|(image, _)| image % classes).collect();
        Ok(Self {
            network: Some(network),
            optimizer: AdamConfig::new().with_epsilon(1e-8).init(),
            images: random_images(0, [batch, channels, height, width], &plain).cast(precision.dtype()),
            labels: Tensor::from_data(TensorData::new(labels, [batch]), &plain),
        })
    }

    /// Logits and loss of the batch.
    pub(crate) fn forward(&self) -> Option<(Tensor<2>, Tensor<1>)> {
        let network = self.network.as_ref()?;
        let loss = CrossEntropyLossConfig::new().init(&network.device());
        let logits = network.classify(self.images.clone().autodiff());
        Some((logits.clone(), loss.forward(logits, self.labels.clone().autodiff())))
    }

    /// A step of the optimizer. On a GPU it may still be queued afterwards.
    pub(crate) fn step(&mut self) {
        let Some((_, loss)) = self.forward() else { return };
        let Some(network) = self.network.take() else { return };
        let gradients = GradientsParams::from_grads(loss.backward(), &network);
        self.network = Some(self.optimizer.step(0.001, network, gradients));
    }

    /// The seconds of `steps` steps, until the device has finished them.
    pub(crate) fn seconds(&mut self, steps: u32) -> Result<f64, Box<dyn Error>> {
        let start = Instant::now();
        (0..steps).for_each(|_| self.step());
        self.images.device().sync()?;
        Ok(start.elapsed().as_secs_f64())
    }

    /// The other side of `tools/compare_pytorch.py`, for training steps.
    pub(crate) fn serve(&mut self, blueprint: &Blueprint, folder: &Path) -> Result<(), Box<dyn Error>> {
        serve(blueprint, folder, |steps| self.seconds(steps))
    }
}

/// Images of random pixels, the same ones for the same number.
pub(crate) fn random_images(number: u64, shape: [usize; 4], device: &Device) -> Tensor<4> {
    let mut rng = seed::stream(2, "images", number);
    #[expect(clippy::cast_possible_truncation)]
    let pixels: Vec<f32> = (0..shape.iter().product()).map(|_| seed::normal(&mut rng) as f32).collect();
    Tensor::from_data(TensorData::new(pixels, shape), device)
}

/// The other side of `tools/compare_pytorch.py`: writes the network as `PyTorch` source into `folder`, then answers
/// each line of the input, a number of steps, with the seconds that they took.
pub(crate) fn serve(
    blueprint: &Blueprint,
    folder: &Path,
    mut seconds: impl FnMut(u32) -> Result<f64, Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    let path = folder.join("exported.py");
    files::write(&path, |out| out.write_all(blueprint.to_pytorch().as_bytes()))
        .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    // Once the other side reads no more, it asks for nothing more.
    if writeln!(io::stdout(), "ready").is_err() {
        return Ok(());
    }
    for line in io::stdin().lines() {
        let seconds = seconds(line?.trim().parse()?)?;
        if writeln!(io::stdout(), "{seconds}").is_err() {
            break;
        }
    }
    Ok(())
}
