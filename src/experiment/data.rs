//! Which images an experiment trains on.

use super::ExperimentError;
use crate::data::{ImageSet, Split, TestSet, cifar, embedded};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The data sets that come with the crate or that it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Dataset {
    /// 3,000 training images of Fashion-MNIST inside the crate: 1x28x28, 10 classes.
    Embedded,
    /// CIFAR-10, official binary files: 3x32x32, 10 classes.
    Cifar10,
    /// CIFAR-100 with fine labels, official binary files: 3x32x32, 100 classes.
    Cifar100,
}

impl Dataset {
    /// The name of the data set.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Cifar10 => "cifar10",
            Self::Cifar100 => "cifar100",
        }
    }

    /// Training images of the whole official set.
    #[must_use]
    pub fn official_images(self) -> usize {
        match self {
            Self::Embedded => 3_000,
            Self::Cifar10 | Self::Cifar100 => 50_000,
        }
    }

    /// Shape of the images and number of classes.
    #[must_use]
    pub fn shape(self) -> (crate::graph::ImageShape, usize) {
        let fashion = crate::graph::ImageShape { channels: 1, height: 28, width: 28 };
        match self {
            Self::Embedded => (fashion, 10),
            Self::Cifar10 => (cifar::SHAPE, 10),
            Self::Cifar100 => (cifar::SHAPE, 100),
        }
    }
}

/// Which images an experiment trains on, and which it holds out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// The data set.
    pub dataset: Dataset,
    /// Most training images, a balanced part; the validation images come on top. All if absent.
    pub train_limit: Option<usize>,
    /// Images held out of the training set to measure accuracy on. The paper does not say how many; 5,000 is our
    /// reading. The test set is never touched.
    pub validation: usize,
    /// What to do when some of the five training files of CIFAR-10 are not there.
    pub missing_files: cifar::Missing,
    /// Seed of the choice of images, apart from the search's own: runs of many seeds share one split.
    pub seed: u64,
}

impl DataConfig {
    /// Checks that there are images to train on and to measure with.
    pub(super) fn validate(&self) -> Result<(), ExperimentError> {
        if self.train_limit == Some(0) {
            return Err(ExperimentError::ZeroImages { field: "train_limit" });
        }
        if self.validation == 0 {
            return Err(ExperimentError::ZeroImages { field: "validation" });
        }
        Ok(())
    }

    /// Training images of the official set after the validation images were held out and the limit applied.
    #[must_use]
    pub fn training_images(&self) -> usize {
        let rest = self.dataset.official_images().saturating_sub(self.validation);
        self.train_limit.map_or(rest, |limit| limit.min(rest))
    }

    /// Reads the data set: training and validation images, in this order. The embedded set needs no folder.
    ///
    /// # Errors
    /// [`ExperimentError`] if a folder is needed and missing, a file cannot be read, or there are too few images.
    pub fn load(&self, folder: Option<&Path>) -> Result<(ImageSet, ImageSet), ExperimentError> {
        self.validate()?;
        let folder = || folder.ok_or(ExperimentError::NoFolder { dataset: self.dataset.name() });
        let images = match self.dataset {
            Dataset::Embedded => embedded::train(),
            Dataset::Cifar10 => cifar::cifar10_train(folder()?, self.missing_files)?,
            Dataset::Cifar100 => cifar::cifar100_train(folder()?, cifar::CifarLabels::Fine)?,
        };
        let (training, validation) = Split::new(images, self.validation, self.seed)?.into_parts();
        let training = match self.train_limit {
            Some(limit) => training.limit(limit, self.seed)?,
            None => training,
        };
        Ok((training, validation))
    }

    /// Reads the official test images, for the verification of what was chosen without them.
    ///
    /// # Errors
    /// [`ExperimentError`] if a folder is needed and missing, or a file cannot be read.
    pub fn load_test(&self, folder: Option<&Path>) -> Result<TestSet, ExperimentError> {
        let folder = || folder.ok_or(ExperimentError::NoFolder { dataset: self.dataset.name() });
        Ok(match self.dataset {
            Dataset::Embedded => embedded::test(),
            Dataset::Cifar10 => cifar::cifar10_test(folder()?)?,
            Dataset::Cifar100 => cifar::cifar100_test(folder()?, cifar::CifarLabels::Fine)?,
        })
    }
}
