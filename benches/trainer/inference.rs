//! Inference on one batch with nothing around it.

use crate::training::{Training, serve};
use blockqnn::export::Blueprint;
use blockqnn::network::{FoldedNetwork, Network, Tensor};
use burn::module::Module;
use std::error::Error;
use std::path::Path;
use std::time::Instant;

/// A network that classifies a batch.
pub(crate) struct Inference {
    network: Network,
    folded: FoldedNetwork,
    images: Tensor<4>,
}

impl Inference {
    /// Takes the network of a training, and its batch.
    pub(crate) fn new(training: Training) -> Option<Self> {
        let network = training.network?.valid();
        Some(Self { folded: network.folded(), network, images: training.images })
    }

    /// Classifies the batch by the network as it was trained.
    pub(crate) fn plain(&self) {
        drop(self.network.forward(self.images.clone()).into_data());
    }

    /// Classifies the batch by the network whose normalisations are parts of its convolutions.
    pub(crate) fn folded(&self) {
        drop(self.folded.forward(self.images.clone()).into_data());
    }

    /// The other side of `tools/compare_pytorch.py --inference`. It also writes the network as ONNX, if it can.
    pub(crate) fn serve(&self, blueprint: &Blueprint, folder: &Path) -> Result<(), Box<dyn Error>> {
        #[cfg(feature = "onnx")]
        {
            let weights = self.network.to_safetensors(std::collections::HashMap::new())?;
            let options = blockqnn::export::OnnxOptions { fold: true, ..blockqnn::export::OnnxOptions::default() };
            std::fs::write(folder.join("exported.onnx"), blueprint.to_onnx(&weights, &options)?)?;
        }
        serve(blueprint, folder, |passes| {
            let start = Instant::now();
            (0..passes).for_each(|_| self.folded());
            Ok(start.elapsed().as_secs_f64())
        })
    }
}
