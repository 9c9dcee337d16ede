//! Sources of batches.

use super::{Augmentation, Batches, DataError, ImageShape};
use burn::tensor::{Device, Int, Tensor};
use std::fmt::Debug;

/// Normalised images `[batch, channels, height, width]` of `f32`, and their labels `[batch]`.
pub type Batch = (Tensor<4>, Tensor<1, Int>);

/// The batches of an epoch, one after the other.
pub type BatchIterator<'a> = Box<dyn Iterator<Item = Result<Batch, DataError>> + 'a>;

/// Images on a device, one batch at a time, for training and evaluation.
///
/// A [`DeviceSet`](super::DeviceSet) holds all of them on the device; a [`PictureStream`](super::PictureStream) decodes
/// them ahead of use.
///
/// ```
/// use blockqnn::data::{BatchSource, Batches, DeviceSet, embedded};
/// # use burn::tensor::Device;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let device = Device::default();
/// let set = embedded::train().limit(10, 7)?;
/// let source: Box<dyn BatchSource> = Box::new(DeviceSet::new(&set, &set.channel_statistics(), &device)?);
/// let batches = Batches::in_order(source.len(), 4.try_into()?);
/// let sizes: Vec<usize> = source.batches(&batches).map(|batch| Ok(batch?.1.dims()[0]))
///     .collect::<Result<_, blockqnn::data::DataError>>()?;
/// assert_eq!(sizes, [4, 4, 2]);
/// # Ok(())
/// # }
/// ```
pub trait BatchSource: Debug {
    /// Returns the number of images.
    fn len(&self) -> usize;

    /// Returns whether there are no images.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the size of every image in a batch.
    fn shape(&self) -> ImageShape;

    /// Returns the number of classes.
    fn classes(&self) -> usize;

    /// Returns the device that holds the batches.
    fn device(&self) -> &Device;

    /// Returns the batches of `order` from number `first` on, augmented at random for training.
    ///
    /// The random changes of an image depend on `(seed, epoch)`, on its place in the order and on the image alone, not
    /// on `first`.
    fn training_batches<'a>(
        &'a self,
        order: &'a Batches,
        first: usize,
        augmentation: &'a Augmentation,
        seed: u64,
        epoch: u64,
    ) -> BatchIterator<'a>;

    /// Returns the batches of `order` for evaluation, without random changes.
    fn batches<'a>(&'a self, order: &'a Batches) -> BatchIterator<'a>;
}
