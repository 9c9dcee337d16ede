//! The images to train on.

use crate::images;
use crate::overrides::Overrides;
use blockqnn::data::BrokenImages;
use blockqnn::experiment::Dataset;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Which images a command trains on, and where they are.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Pictures {
    /// Images to train on: embedded (part of the program, no files needed), cifar10, cifar100, or folder (your own
    /// images) [default: the preset's or the run's]
    #[arg(long, value_name = "NAME")]
    pub(crate) dataset: Option<Dataset>,

    /// Folder with the official binary files of CIFAR-10 or CIFAR-100 (cifar-100-binary or its parent); for folder, one
    /// with a subfolder of images per class, or one whose train/ is such a folder [default: the folder that the run
    /// used, if there is one]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,

    /// Download CIFAR-10 or CIFAR-100 from its official address if it is not there yet: into --data DIR, or into the
    /// user's cache folder (requires the feature download)
    #[arg(long)]
    pub(crate) download: bool,

    /// Width and height in pixels that the images of a folder are scaled and cropped to [default: 32, or the run's]
    #[arg(long, value_name = "PIXELS")]
    size: Option<u32>,

    /// What to do with images that cannot be decoded: refuse (stop and name the first one) or skip (list them and
    /// continue without them) [default: refuse]
    #[arg(long, value_name = "CHOICE")]
    broken_images: Option<BrokenImages>,

    /// Maximum number of training images, equally many of each class, not counting the validation images; 0 for all
    /// [default: the preset's or the run's]
    #[arg(long, value_name = "N")]
    pub(crate) train_limit: Option<usize>,

    /// Images held out of the training set, on which accuracy is measured [default: the preset's or the run's; for a
    /// folder a fifth, at most 5000]
    #[arg(long, value_name = "N")]
    pub(crate) validation: Option<usize>,
}

impl Pictures {
    /// Adds the given options to the changes of settings.
    pub(crate) fn put(&self, overrides: &mut Overrides) {
        overrides.set_if("data.dataset", self.dataset.map(Dataset::name));
        overrides.set_if("data.size", self.size);
        overrides.set_if("data.broken_images", self.broken_images.map(|choice| choice.to_string()));
        overrides.set_if("data.validation", self.validation);
        match self.train_limit {
            Some(0) => overrides.set("data.train_limit", Value::Null),
            limit => overrides.set_if("data.train_limit", limit),
        }
    }

    /// The folder of the images: the given one, or the one that the run used. A download chooses its own.
    pub(crate) fn folder(&self, run: Option<&Path>) -> Option<PathBuf> {
        match run {
            Some(run) if !self.download => images::remembered(run, self.data.as_deref()),
            _ => self.data.clone(),
        }
    }
}
