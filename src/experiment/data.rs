//! The images that an experiment trains on.

use super::ExperimentError;
use crate::data::{
    BrokenImages, Cropping, DataError, FolderParts, ImageFolder, ImageSet, Pictures, Split, TestSet, cifar, embedded,
};
use crate::graph::ImageShape;
use crate::setting::{self, InvalidSetting, named};
use serde::{Deserialize, Serialize};
use std::num::NonZeroUsize;
use std::path::Path;

/// The data sets that the crate contains or reads.
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
    /// Pictures in one folder per class (see [`ImageFolder`]), at the size [`DataConfig::size`]: the folder itself, or
    /// its training part if it is divided (see [`FolderParts`]).
    Folder,
}

named!(Dataset, "data.dataset", Embedded = "embedded", Cifar10 = "cifar10", Cifar100 = "cifar100", Folder = "folder");

impl Dataset {
    /// Returns the number of training images of the official set, or `None` for a folder.
    fn official_images(self) -> Option<usize> {
        match self {
            Self::Embedded => Some(3_000),
            Self::Cifar10 | Self::Cifar100 => Some(50_000),
            Self::Folder => None,
        }
    }

    /// Returns the shape of the images and the number of classes, or `None` for a folder.
    #[must_use]
    pub fn shape(self) -> Option<(ImageShape, usize)> {
        let fashion = ImageShape { channels: 1, height: 28, width: 28 };
        match self {
            Self::Embedded => Some((fashion, 10)),
            Self::Cifar10 => Some((cifar::SHAPE, 10)),
            Self::Cifar100 => Some((cifar::SHAPE, 100)),
            Self::Folder => None,
        }
    }
}

/// Which images an experiment trains on, and which it holds out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// The data set.
    pub dataset: Dataset,
    /// Maximum number of training images, not counting the validation images: a part with balanced classes. If absent,
    /// all are used.
    pub train_limit: Option<usize>,
    /// Number of images held out of the training set to measure accuracy on. The paper does not say how many; 5,000 is
    /// our reading. A search never uses the test set. 0 means that none are held out: a search refuses it, and a
    /// verification in the paper's form records it ([`load_whole`](Self::load_whole)).
    pub validation: usize,
    /// What to do if some of the five training files of CIFAR-10 are missing.
    pub missing_files: cifar::Missing,
    /// Width and height in pixels of the images that the pictures of a folder become. A folder requires it; other data
    /// sets do not accept it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u32>,
    /// What to do with pictures of a folder that cannot be decoded.
    #[serde(default, skip_serializing_if = "setting::is_default")]
    pub broken_images: BrokenImages,
    /// Seed of the choice of images, separate from the search's own, so that runs with many seeds share one split.
    pub seed: u64,
}

impl DataConfig {
    /// Checks the settings, and that images are held out to measure with.
    pub(super) fn validate(&self) -> Result<(), ExperimentError> {
        InvalidSetting::at_least_one("data.validation", self.validation)?;
        Ok(self.validate_images()?)
    }

    /// Checks the settings except for the number of images held out.
    fn validate_images(&self) -> Result<(), InvalidSetting> {
        InvalidSetting::at_least_one("data.train_limit", self.train_limit.unwrap_or(1))?;
        match (self.dataset, self.size) {
            (Dataset::Folder, _) => self.folder_size().map(|_| ()),
            (_, None) => Ok(()),
            (dataset, Some(size)) => {
                let expected = format!("omitted, because the images of {} have a fixed size", dataset.name());
                Err(InvalidSetting::new("data.size", size, expected))
            }
        }
    }

    /// Returns the size of the images of a folder.
    fn folder_size(&self) -> Result<u32, InvalidSetting> {
        let Some(size) = self.size else {
            let expected = "the width and height in pixels to train on, such as 32, because the pictures of a folder \
                            have different sizes";
            return Err(InvalidSetting::new("data.size", "not set", expected));
        };
        let valid = (1..=Cropping::MAX_SIZE).contains(&size);
        InvalidSetting::check("data.size", size, valid, format!("from 1 to {}", Cropping::MAX_SIZE))?;
        Ok(size)
    }

    /// Returns the number of training images that remain when the validation images are held out and the limit is
    /// applied. The files of a folder are counted, not decoded.
    ///
    /// # Errors
    /// [`ExperimentError`] if a folder is needed but missing or not readable, or if too many images are held out.
    pub fn training_images(&self, folder: Option<&Path>) -> Result<usize, ExperimentError> {
        let images = match self.dataset.official_images() {
            Some(images) => images,
            None => self.open_folder(folder)?.len(),
        };
        if self.validation >= images {
            return Err(DataError::validation(self.dataset.name(), self.validation, images).into());
        }
        let rest = images - self.validation;
        Ok(self.train_limit.map_or(rest, |limit| limit.min(rest)))
    }

    /// Opens the training images of an image folder: its training part, such as `train`, if it is divided into parts,
    /// otherwise the folder itself.
    ///
    /// # Errors
    /// [`ExperimentError`] if there is no folder, or it is not an image folder.
    pub fn open_folder(&self, folder: Option<&Path>) -> Result<ImageFolder, ExperimentError> {
        Ok(ImageFolder::open(self.parts(folder)?.training())?)
    }

    fn needed<'a>(&self, folder: Option<&'a Path>) -> Result<&'a Path, ExperimentError> {
        folder.ok_or(ExperimentError::NoFolder { dataset: self.dataset.name() })
    }

    fn parts(&self, folder: Option<&Path>) -> Result<FolderParts, ExperimentError> {
        Ok(FolderParts::find(self.needed(folder)?)?)
    }

    /// Reads the data set and returns the training and the validation images. The embedded set needs no folder. Calls
    /// `left_out` for every broken picture that is skipped and for everything else in an image folder that is not read.
    ///
    /// # Errors
    /// [`ExperimentError`] if a folder is needed and missing, a file cannot be read, or there are too few images.
    pub fn load(
        &self,
        folder: Option<&Path>,
        left_out: &mut dyn FnMut(&DataError),
    ) -> Result<(ImageSet, ImageSet), ExperimentError> {
        self.validate()?;
        let images = self.read(folder, left_out)?;
        let (training, validation) = Split::new(images, self.validation, self.seed)?.into_parts();
        Ok((self.limited(training)?, validation))
    }

    /// Reads the whole training set without holding images out, for trainings that are measured on the test images
    /// alone.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_whole(
        &self,
        folder: Option<&Path>,
        left_out: &mut dyn FnMut(&DataError),
    ) -> Result<ImageSet, ExperimentError> {
        self.validate_images()?;
        self.limited(self.read(folder, left_out)?)
    }

    fn limited(&self, training: ImageSet) -> Result<ImageSet, ExperimentError> {
        Ok(match self.train_limit {
            Some(limit) => training.limit(limit, self.seed)?,
            None => training,
        })
    }

    /// Reads all images of the training set.
    fn read(&self, folder: Option<&Path>, left_out: &mut dyn FnMut(&DataError)) -> Result<ImageSet, ExperimentError> {
        Ok(match self.dataset {
            Dataset::Folder => {
                let parts = self.parts(folder)?;
                parts.left_out().iter().for_each(&mut *left_out);
                self.decode(&ImageFolder::open(parts.training())?, left_out)?
            }
            Dataset::Embedded => embedded::train(),
            Dataset::Cifar10 => cifar::cifar10_train(self.needed(folder)?, self.missing_files)?,
            Dataset::Cifar100 => cifar::cifar100_train(self.needed(folder)?, cifar::CifarLabels::Fine)?,
        })
    }

    /// Decodes all pictures of a folder at the experiment's size.
    fn decode(&self, folder: &ImageFolder, left_out: &mut dyn FnMut(&DataError)) -> Result<ImageSet, ExperimentError> {
        let size = self.folder_size()?;
        let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let (images, broken) = folder.load(size, self.broken_images, threads)?;
        broken.iter().chain(&folder.left_out()).for_each(left_out);
        Ok(images)
    }

    /// Reads the official test images, for verifying what was chosen without them. Those of an image folder are in its
    /// test part, such as `test`, or otherwise in its validation part, such as `val`.
    ///
    /// `left_out` is called as by [`load`](Self::load).
    ///
    /// # Errors
    /// [`ExperimentError`] if a folder is needed and missing, or a file cannot be read.
    pub fn load_test(
        &self,
        folder: Option<&Path>,
        left_out: &mut dyn FnMut(&DataError),
    ) -> Result<TestSet, ExperimentError> {
        Ok(match self.dataset {
            Dataset::Embedded => embedded::test(),
            Dataset::Cifar10 => cifar::cifar10_test(self.needed(folder)?)?,
            Dataset::Cifar100 => cifar::cifar100_test(self.needed(folder)?, cifar::CifarLabels::Fine)?,
            Dataset::Folder => {
                let parts = self.parts(folder)?;
                let training = ImageFolder::open(parts.training())?;
                // If there is neither, the error names the folder that should exist.
                let missing = self.needed(folder)?.join("val");
                let part = training.open_part(parts.test().or(parts.validation()).unwrap_or(&missing))?;
                TestSet::new(self.decode(&part, left_out)?)
            }
        })
    }
}
