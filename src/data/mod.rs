//! Images to search and train on: data sets from files, a small real one inside the crate, and batches on a device.
//!
//! - [`ImageSet`]: labelled images of one size, as bytes on the host. A set is checked when it is made.
//! - [`embedded`]: 3,000 training and 1,000 test images of Fashion-MNIST that come with the crate.
//! - [`cifar`]: the official binary files of CIFAR-10 and CIFAR-100.
//! - [`idx`]: the IDX files of MNIST and Fashion-MNIST, plain or gzipped.
//! - [`ImageFolder`]: pictures in one folder per class, loaded into memory at a small size or streamed.
//! - [`Preprocessing`]: how a picture becomes the input of a network, in a form that can be stored in a file.
//! - [`Split`]: the training and validation parts of a *training* set, which is all that a search sees.
//! - [`DeviceSet`]: a set on a device as bytes, from which batches are gathered and normalised there.
//! - [`BatchSource`]: what a training draws batches from: a [`DeviceSet`], or a [`PictureStream`], whose pictures are
//!   decoded and cropped in threads ahead of the device.
//! - [`Augmentation`]: random crops, flips and blanked squares of training images.
//! - [`Batches`]: the order in which an epoch visits the images.
//!
//! # A search never touches the test set
//!
//! The functions that read test images return a [`TestSet`], which [`Split::new`] does not accept. A search takes a
//! [`Split`], so it cannot be scored on test images by mistake:
//!
//! ```compile_fail,E0308
//! use blockqnn::data::{Split, embedded};
//!
//! let split = Split::new(embedded::test(), 500, 0); // a `TestSet` is not an `ImageSet`
//! ```
//!
//! # Examples
//!
//! ```
//! use blockqnn::data::{Split, embedded};
//!
//! let split = Split::new(embedded::train(), 500, 7)?;
//! assert_eq!((split.training().len(), split.validation().len()), (2_500, 500));
//! # Ok::<(), blockqnn::data::DataError>(())
//! ```

mod ahead;
mod augmentation;
mod batches;
pub mod cifar;
mod class_sizes;
mod cropping;
mod device_set;
#[cfg(feature = "download")]
pub mod download;
pub mod embedded;
mod error;
mod folder;
pub mod idx;
mod image_set;
mod picture;
mod picture_stream;
mod pictures;
mod preprocessing;
mod read;
mod source;
mod split;

pub use crate::graph::ImageShape;
pub(crate) use ahead::Ahead;
pub use augmentation::Augmentation;
use augmentation::Draw;
pub use batches::Batches;
pub use class_sizes::ClassSizes;
pub use cropping::Cropping;
pub use device_set::DeviceSet;
pub use error::DataError;
pub use folder::{BrokenImages, FolderParts, ImageFolder, picture_files};
pub use image_set::{ChannelStatistics, ImageSet};
pub use picture::Picture;
pub use picture_stream::PictureStream;
pub use pictures::{Pictures, pictures_identity};
pub use preprocessing::Preprocessing;
pub use source::{Batch, BatchIterator, BatchSource};
pub use split::{Split, TestSet};
