//! The IDX files of MNIST and its relatives, plain or gzipped.
//!
//! An IDX file of images begins with the big-endian numbers 0x803, count, rows and columns, and one of labels with
//! 0x801 and count; one byte per pixel or label follows. None of these numbers is trusted: memory grows only with the
//! bytes that are really there, and by at most 1 GiB.
//!
//! # Examples
//!
//! ```no_run
//! use blockqnn::data::idx;
//!
//! let train = idx::fashion_mnist_train("data/fashion-mnist")?;
//! assert_eq!(train.len(), 60_000);
//! let digits = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];
//! let mnist = idx::load("MNIST train", "train-images-idx3-ubyte", "train-labels-idx1-ubyte", digits)?;
//! # Ok::<(), blockqnn::data::DataError>(())
//! ```

#[cfg(test)]
mod tests;

use std::io::{self, BufRead, Read};
use std::path::Path;

use flate2::bufread::GzDecoder;

use super::read::{self, Source};
use super::{DataError, ImageSet, ImageShape, TestSet};

/// The largest number of bytes of data that is read from one file: 1 GiB.
const LARGEST: u64 = 1 << 30;

/// The classes of Fashion-MNIST, in the order of the labels.
pub(super) const FASHION_MNIST_CLASSES: [&str; 10] =
    ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"];

const SOURCE: Source = Source {
    folder: "fashion-mnist",
    hint: "get the four files from https://github.com/zalandoresearch/fashion-mnist or Debian's dataset-fashion-mnist",
};

/// Reads a set of one-channel images from its image file and its label file.
///
/// # Errors
/// If a file cannot be opened, is damaged or is not an IDX file of its kind, if the files do not belong together, or if
/// a label has no class.
pub fn load<C: Into<String>>(
    name: impl Into<String>,
    images: impl AsRef<Path>,
    labels: impl AsRef<Path>,
    classes: impl IntoIterator<Item = C>,
) -> Result<ImageSet, DataError> {
    let (images, labels) = (images.as_ref(), labels.as_ref());
    let classes = classes.into_iter().map(Into::into).collect();
    decode(name.into(), (images, read::open(images)?.0), (labels, read::open(labels)?.0), classes)
}

/// Reads the training images of Fashion-MNIST from the folder with its files, or from the parent of `fashion-mnist`.
///
/// # Errors
/// If the folder or a file is missing or damaged; the error names it.
pub fn fashion_mnist_train(dir: impl AsRef<Path>) -> Result<ImageSet, DataError> {
    fashion_mnist("Fashion-MNIST train", dir.as_ref(), "train")
}

/// Reads the test images of Fashion-MNIST from the folder with its files, or from the parent of `fashion-mnist`.
///
/// # Errors
/// If the folder or a file is missing or damaged; the error names it.
pub fn fashion_mnist_test(dir: impl AsRef<Path>) -> Result<TestSet, DataError> {
    fashion_mnist("Fashion-MNIST test", dir.as_ref(), "t10k").map(TestSet::new)
}

fn fashion_mnist(name: &str, dir: &Path, part: &str) -> Result<ImageSet, DataError> {
    let plain = [format!("{part}-images-idx3-ubyte"), format!("{part}-labels-idx1-ubyte")];
    let zipped = [format!("{}.gz", plain[0]), format!("{}.gz", plain[1])];
    let folder = SOURCE.find(dir, &[&zipped[0], &zipped[1], &plain[0], &plain[1]])?;
    let places = [0, 1].map(|file| [&zipped[file], &plain[file]].map(|name| folder.join(name)));
    let [images, labels] = places.map(|places| places.into_iter().find(|path| path.exists()));
    let (Some(images), Some(labels)) = (&images, &labels) else {
        let missing = [&images, &labels].into_iter().zip(zipped).filter(|(found, _)| found.is_none());
        let missing: Vec<String> = missing.map(|(_, name)| name).collect();
        let problem = format!("does not contain {}: {}", missing.join(", "), SOURCE.hint);
        return Err(DataError::folder(&folder, format!("{problem} (uncompressed files without .gz also work)")));
    };
    load(name, images, labels, FASHION_MNIST_CLASSES)
}

/// Reads a set from readers of its two files.
pub(super) fn decode(
    name: String,
    (images_path, images): (&Path, impl BufRead),
    (labels_path, labels): (&Path, impl BufRead),
    classes: Vec<String>,
) -> Result<ImageSet, DataError> {
    // Labels come first: they are few, and reveal swapped files at once.
    let labels = Idx::read(labels_path, labels, "labels")?;
    let images = Idx::read(images_path, images, "images")?;
    let [image_count, rows, columns] = images.sizes[..] else {
        unreachable!("an image file has three sizes");
    };
    let label_count = labels.sizes[0];
    if image_count != label_count {
        let labels = labels_path.display();
        let both = format!("holds {image_count} images, but {labels} holds {label_count} labels");
        return Err(DataError::file(images_path, format!("{both}; use both files of the same set")));
    }
    for (record, &label) in labels.data.iter().enumerate() {
        read::check_label(labels_path, record, "label", label, classes.len())?;
    }
    let shape = ImageShape { channels: 1, height: rows as usize, width: columns as usize };
    let labels = labels.data.into_iter().map(u16::from).collect();
    ImageSet::new(name, shape, classes, labels, images.data)
}

/// The content of one file.
#[derive(Debug)]
struct Idx {
    sizes: Vec<u32>,
    data: Vec<u8>,
}

impl Idx {
    fn read(path: &Path, mut file: impl BufRead, kind: &'static str) -> Result<Self, DataError> {
        if file.fill_buf().map_err(DataError::io(path))?.starts_with(&[0x1f, 0x8b]) {
            Self::read_plain(path, GzDecoder::new(file), kind, true)
        } else {
            Self::read_plain(path, file, kind, false)
        }
    }

    fn read_plain(path: &Path, mut file: impl Read, kind: &'static str, gzip: bool) -> Result<Self, DataError> {
        let failed = |source: io::Error| {
            if gzip {
                return DataError::file(path, format!("is a damaged gzip file ({source}); copy or download it again"));
            }
            DataError::io(path)(source)
        };
        let (expected, dimensions) = if kind == "images" { (0x803, 3) } else { (0x801, 1) };
        let header_bytes = 4 + 4 * dimensions as u64;
        let mut header = Vec::new();
        file.by_ref().take(header_bytes).read_to_end(&mut header).map_err(failed)?;
        let mut numbers = header.chunks_exact(4).map(|four| u32::from_be_bytes([four[0], four[1], four[2], four[3]]));
        let found = numbers.next().unwrap_or_default();
        if found != expected {
            let problem =
                format!("is not an IDX file of {kind}: it begins with {found:#010x} instead of {expected:#010x}");
            return Err(DataError::file(path, format!("{problem}; check that images and labels are not swapped")));
        }
        let sizes: Vec<u32> = numbers.collect();
        if sizes.len() < dimensions {
            return Err(read::truncated(path, 0, header_bytes, header.len() as u64));
        }
        let declared =
            sizes.iter().try_fold(1u64, |product, &size| product.checked_mul(size.into())).unwrap_or(u64::MAX);
        if declared > LARGEST {
            let problem = format!("declares {declared} bytes of data, more than the maximum of {LARGEST}");
            return Err(DataError::file(path, format!("{problem}; it is damaged, so copy or download it again")));
        }
        // One byte more than declared: if it comes, the header is wrong; if not, the end of a gzip file has been
        // checked.
        let mut data = Vec::new();
        file.take(declared + 1).read_to_end(&mut data).map_err(failed)?;
        let found = data.len() as u64;
        if found != declared {
            let found = if found > declared { "more".to_owned() } else { found.to_string() };
            let problem = format!("its header declares {declared} bytes of data, and {found} follow");
            return Err(DataError::file(
                path,
                format!("is truncated or damaged: {problem}; copy or download it again"),
            ));
        }
        Ok(Self { sizes, data })
    }
}
