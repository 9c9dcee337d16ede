//! How a block is trained on larger images, from the options.

use super::{Arguments, Preset};
use crate::terminal::quoted;
use blockqnn::data::BrokenImages;
use blockqnn::graph::{ImageShape, NetworkConfig, StemConfig};
use blockqnn::train::{OptimizerConfig, Recipe, Schedule};
use std::path::Path;

impl Arguments {
    pub(super) fn size(&self) -> u32 {
        let default = match (self.preset, &self.data) {
            (Preset::Imagenet, _) => 224,
            (Preset::Quick, Some(_)) => 64,
            (Preset::Quick, None) => 56,
        };
        self.size.unwrap_or(default)
    }

    /// The training recipe, and the network around the block.
    pub(super) fn training(&self, classes: usize) -> (Recipe, NetworkConfig) {
        let quick = Recipe {
            epochs: if self.data.is_some() { 10 } else { 2 },
            batch_size: 32,
            optimizer: OptimizerConfig::adam(),
            learning_rate: 0.002,
            schedule: Schedule::Cosine,
            ..Recipe::imagenet()
        };
        let (mut recipe, mut network) = match self.preset {
            Preset::Quick => (quick, NetworkConfig { width: 16, repeats: 1, ..NetworkConfig::imagenet() }),
            Preset::Imagenet => (Recipe::imagenet(), NetworkConfig::imagenet()),
        };
        recipe = self.recipe.change(recipe);
        if self.recipe.epochs.is_some() {
            // The accuracy is measured after each epoch, regardless of their number.
            recipe.measure_every = Some(1);
        }
        recipe.learning_rate = self.learning_rate.unwrap_or(recipe.learning_rate);
        self.network.change(&mut network);
        // Four halvings before and between the stages of ImageNet's network leave little of small images.
        if self.size() < 128 {
            network.stem = StemConfig { stride: 2, ..StemConfig::default() };
            network.stages = 3;
        }
        let side = usize::try_from(self.size()).unwrap_or(usize::MAX);
        (recipe, network.with_data(ImageShape { channels: 3, height: side, width: side }, classes))
    }

    /// The folder of the training that is continued, if one is.
    pub(super) fn resumed(&self) -> Option<&Path> {
        self.out.as_deref().filter(|_| self.resume)
    }

    /// What continues the training in a folder as it was started.
    pub(super) fn resume_command(&self, out: &Path) -> String {
        let given = [
            Some(format!("continue with blockqnn transfer --out {} --resume", quoted(out))),
            self.data.as_deref().map(|data| format!("--data {}", quoted(data))),
            (self.broken_images == BrokenImages::Skip).then(|| "--broken-images skip".to_owned()),
            self.device.given().map(|device| format!("--device {device}")),
            self.threads.map(|threads| format!("--threads {threads}")),
        ];
        given.into_iter().flatten().collect::<Vec<_>>().join(" ")
    }
}
