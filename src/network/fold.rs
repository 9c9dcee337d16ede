//! Batch normalisation merged into the convolutions before it, for inference.

use super::layer::{Layer, PreActivation};
use super::sequence::Part;
use super::{Network, Tensor};
use burn::module::{Module, Param};
use burn::nn::BatchNorm;
use burn::nn::conv::Conv2d;

/// A network for inference alone: its batch normalisations are parts of the convolutions before them.
///
/// A normalisation with running statistics multiplies each channel by a number and adds another, so it changes nothing
/// but the weights of the convolution before it, and gives it a bias. Normalisations that follow no convolution stay.
/// The logits are those of the network, but for rounding.
///
/// ```
/// # use blockqnn::graph::{ImageShape, NetworkConfig, ToGraph};
/// # use blockqnn::network::{Network, Tensor, device::default_device};
/// # use blockqnn::space::block::BlockCode;
/// # let block = "conv3(0) terminal(1)".parse::<BlockCode>()?.to_graph();
/// # let config = NetworkConfig::cifar().with_data(ImageShape { channels: 3, height: 8, width: 8 }, 10);
/// # #[cfg(not(feature = "flex"))]
/// # return Ok(());
/// let device = default_device()?;
/// let network = Network::new(&block, &config, &mut blockqnn::seed::stream(1, "weights", 0), &device)?;
/// let images = Tensor::ones([2, 3, 8, 8], &device);
/// let difference = network.forward(images.clone()) - network.folded().forward(images);
/// assert!(difference.abs().max().into_scalar::<f32>() < 1e-3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct FoldedNetwork(Network);

impl FoldedNetwork {
    /// Returns the logits of a batch of images, as [`Network::forward`] does.
    ///
    /// # Panics
    /// In the same cases as [`Network::forward`].
    #[must_use]
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        self.0.forward(images)
    }
}

impl Network {
    /// Returns the network for inference alone, on its device without gradients.
    #[must_use]
    pub fn folded(&self) -> FoldedNetwork {
        let mut network = if self.device().is_autodiff() { self.valid() } else { self.clone() };
        if let Some(normalisation) = network.stem_normalisation.take() {
            fold(&mut network.stem, &normalisation);
        }
        network.reductions.iter_mut().flatten().for_each(fold_cell);
        for block in &mut network.blocks {
            for (layer, projection) in block.parts_mut() {
                projection.into_iter().for_each(fold_cell);
                match layer {
                    Layer::PreActivation(cell) => fold_cell(cell),
                    Layer::Sequence(sequence) => fold_parts(&mut sequence.parts),
                    Layer::Convolution(_) | Layer::Normalisation(_) | Layer::Add(_) | Layer::Fixed(_) => {}
                }
            }
        }
        FoldedNetwork(network)
    }
}

fn fold_cell(cell: &mut PreActivation) {
    if let Some(normalisation) = cell.normalisation.take() {
        fold(&mut cell.convolution, &normalisation);
    }
}

fn fold_parts(parts: &mut Vec<Part>) {
    let mut folded: Vec<Part> = Vec::with_capacity(parts.len());
    for part in parts.drain(..) {
        match (folded.last_mut(), part) {
            (Some(Part::Convolution(convolution)), Part::Normalisation(normalisation)) => {
                fold(convolution, &normalisation);
            }
            (_, part) => folded.push(part),
        }
    }
    *parts = folded;
}

/// Makes `normalisation` a part of a convolution without bias.
fn fold(convolution: &mut Conv2d, normalisation: &BatchNorm) {
    let BatchNorm { gamma, beta, running_mean, running_var, epsilon, .. } = normalisation;
    let scale = gamma.val() / (running_var.value_sync() + *epsilon).sqrt();
    let channels = scale.dims()[0];
    let bias = beta.val() - running_mean.value_sync() * scale.clone();
    convolution.weight = Param::from_tensor(convolution.weight.val() * scale.reshape([channels, 1, 1, 1]));
    convolution.bias = Some(Param::from_tensor(bias));
}

#[cfg(all(test, any(feature = "flex", feature = "ndarray")))]
mod tests {
    use super::*;
    use crate::graph::{ImageShape, NetworkConfig, Reduction, StemConfig, ToGraph};
    use crate::network::device::default_device;
    use crate::seed;
    use crate::space::block::BlockCode;
    use burn::tensor::TensorData;

    const BLOCKS: [&str; 3] = [
        "conv3(0) conv1(1) concat(0,2) add(1,3) terminal(4)",
        "sep3(0) g2conv3(1) dw3(2) se(3) mb3e3(4) concat(4,5) terminal(6)",
        "relu(0) plainconv3(1) bn(2) pair7(3) terminal(4)",
    ];

    #[test]
    fn a_folded_network_computes_the_same_without_normalising_after_convolutions() {
        let image = ImageShape { channels: 2, height: 9, width: 7 };
        let stem = StemConfig { normalised: true, ..StemConfig::default() };
        let config = NetworkConfig { stages: 2, repeats: 2, width: 8, ..NetworkConfig::cifar() };
        let config = NetworkConfig { stem, reduction: Reduction::Convolution, ..config }.with_data(image, 5);
        let device = default_device().unwrap();
        for block in BLOCKS {
            let graph = block.parse::<BlockCode>().unwrap().to_graph();
            let rng = &mut seed::stream(1, "weights", 0);
            let network = Network::new(&graph, &config, rng, &device.clone().autodiff()).unwrap();
            let images = |number| {
                #[expect(clippy::cast_possible_truncation)]
                let mut pixel = {
                    let mut rng = seed::stream(number, "images", 0);
                    move || seed::normal(&mut rng) as f32
                };
                let pixels: Vec<f32> = (0..6 * 2 * 9 * 7).map(|_| pixel()).collect();
                Tensor::<4>::from_data(TensorData::new(pixels, [6, 2, 9, 7]), &device)
            };
            // The running statistics leave their initial values.
            for number in 0..5 {
                let _ = network.forward(images(number).autodiff());
            }
            let plain = network.valid();
            let folded = network.folded();
            let [expected, found] = [plain.forward(images(9)), folded.forward(images(9))];
            let largest = (expected.clone() - found).abs().max().into_scalar::<f32>();
            assert!(largest < 1e-4 * expected.abs().max().into_scalar::<f32>().max(1.0), "{block}: {largest}");
            let mut folded = folded.0;
            let left: Vec<String> = folded.places().into_iter().map(|(name, _)| name).collect();
            let normalised = left.iter().filter(|name| name.ends_with("running_mean")).count();
            // That of the head, and in the last block those of their own.
            assert_eq!(normalised, 1 + if block.contains("bn(") { 4 } else { 0 }, "{block}: {left:?}");
        }
    }
}
