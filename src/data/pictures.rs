//! Where pictures of any size come from.

use super::{DataError, ImageSet, Picture};
use std::fmt::Debug;

/// Labelled pictures of any size, read one at a time from any thread: what a [`PictureStream`](super::PictureStream)
/// draws from.
///
/// An [`ImageFolder`](super::ImageFolder) reads them from files. An [`ImageSet`] has them in memory, so that small images
/// can be enlarged; of its images only those with one or three channels are pictures.
///
/// ```
/// use blockqnn::data::{Pictures, embedded};
///
/// let picture = embedded::train().picture(0)?;
/// assert_eq!((picture.width(), picture.height()), (28, 28));
/// # Ok::<(), blockqnn::data::DataError>(())
/// ```
pub trait Pictures: Debug + Send + Sync {
    /// The number of pictures.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The names of the classes, by label.
    fn classes(&self) -> &[String];

    /// The label of a picture, below the number of classes.
    fn label(&self, index: usize) -> u16;

    /// A picture, decoded.
    ///
    /// # Errors
    /// [`DataError`] if it cannot be read or decoded.
    fn picture(&self, index: usize) -> Result<Picture, DataError>;
}

impl Pictures for ImageSet {
    fn len(&self) -> usize {
        self.len()
    }

    fn classes(&self) -> &[String] {
        self.classes()
    }

    fn label(&self, index: usize) -> u16 {
        self.label(index)
    }

    fn picture(&self, index: usize) -> Result<Picture, DataError> {
        Picture::from_planes(self.image(index), self.shape())
            .ok_or_else(|| DataError::Shape { set: self.name().to_owned(), shape: self.shape() })
    }
}
