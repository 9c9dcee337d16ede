//! Sources of pictures of any size.

use super::ahead::Ahead;
use super::{DataError, ImageSet, Picture};
use sha2::{Digest, Sha256};
use std::fmt::Debug;
use std::num::NonZeroUsize;
use std::sync::Arc;

/// Labelled pictures of any size, read one at a time from any thread, as by a [`PictureStream`](super::PictureStream).
///
/// An [`ImageFolder`](super::ImageFolder) reads them from files. An [`ImageSet`] has them in memory, so that small
/// images can be enlarged; only images with one or three channels can be pictures.
///
/// ```
/// use blockqnn::data::{Pictures, embedded};
///
/// let picture = embedded::train().picture(0)?;
/// assert_eq!((picture.width(), picture.height()), (28, 28));
/// # Ok::<(), blockqnn::data::DataError>(())
/// ```
pub trait Pictures: Debug + Send + Sync {
    /// Returns the number of pictures.
    fn len(&self) -> usize;

    /// Returns whether there are no pictures.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the names of the classes in the order of the labels.
    fn classes(&self) -> &[String];

    /// Returns the label of a picture, below the number of classes.
    fn label(&self, index: usize) -> u16;

    /// Returns a picture, decoded.
    ///
    /// # Errors
    /// [`DataError`] if it cannot be read or decoded.
    fn picture(&self, index: usize) -> Result<Picture, DataError>;

    /// Returns the bytes that identify a picture: those of its file, or else, which takes longer, its pixels.
    ///
    /// # Errors
    /// [`DataError`] if it cannot be read.
    fn content(&self, index: usize) -> Result<Vec<u8>, DataError> {
        self.picture(index).map(|picture| picture.pixels().to_vec())
    }
}

/// Returns a SHA-256 of the classes, and of the label and content of every picture in order. It is equal for equal
/// pictures, wherever they are and whatever their files are called.
///
/// All pictures are read, by this many threads; only those without a file are decoded.
///
/// # Errors
/// [`DataError`] if a picture cannot be read.
///
/// ```
/// use blockqnn::data::{embedded, pictures_identity};
/// use std::sync::Arc;
///
/// let identity = |images: usize| {
///     let set = embedded::train().limit(images, 7)?;
///     pictures_identity(Arc::new(set), 2.try_into().unwrap())
/// };
/// assert_eq!(identity(20)?, identity(20)?);
/// assert_ne!(identity(20)?, identity(30)?);
/// assert!(identity(20)?.starts_with("pictures 1 sha256:"));
/// # Ok::<(), blockqnn::data::DataError>(())
/// ```
pub fn pictures_identity(pictures: Arc<dyn Pictures>, threads: NonZeroUsize) -> Result<String, DataError> {
    let mut hasher = Sha256::new();
    for class in pictures.classes() {
        hasher.update((class.len() as u64).to_le_bytes());
        hasher.update(class);
    }
    let labels: Vec<u16> = (0..pictures.len()).map(|index| pictures.label(index)).collect();
    let digests = Ahead::new(labels.len(), threads, threads.saturating_mul(threads), move |index| {
        pictures.content(index).map(Sha256::digest)
    });
    for (label, digest) in labels.iter().zip(digests) {
        hasher.update(label.to_le_bytes());
        hasher.update(digest?);
    }
    Ok(format!("pictures 1 sha256:{:x}", hasher.finalize()))
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
        Picture::from_planes(self.image(index), self.shape()).ok_or_else(|| DataError::shape(self.name(), self.shape()))
    }

    fn content(&self, index: usize) -> Result<Vec<u8>, DataError> {
        Ok(self.image(index).to_vec())
    }
}
