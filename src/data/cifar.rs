//! CIFAR-10 and CIFAR-100 from their official binary files.
//!
//! A record is one label byte (CIFAR-10), or a coarse and a fine label byte (CIFAR-100), followed by 3,072 bytes: the
//! red, green and blue planes of 32 by 32 pixels, row by row. Each function takes the folder with the files, or the
//! folder that holds `cifar-10-batches-bin` or `cifar-100-binary`, into which the official archives unpack. A file may
//! have fewer records than the official one, but not more.
//!
//! # References
//! A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
//!
//! # Examples
//!
//! ```no_run
//! use blockqnn::data::Split;
//! use blockqnn::data::cifar::{CifarLabels, Missing, cifar10_train, cifar100_train};
//!
//! let split = Split::new(cifar10_train("data/cifar-10-batches-bin", Missing::Refuse)?, 5_000, 7)?;
//! let coarse = cifar100_train("data", CifarLabels::Coarse)?;
//! assert_eq!(coarse.classes().len(), 20);
//! # Ok::<(), blockqnn::data::DataError>(())
//! ```

mod names;
#[cfg(test)]
mod tests;

use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};

use self::names::{CIFAR10, CIFAR100_COARSE, CIFAR100_FINE};
use super::read::{self, Source};
use super::{DataError, ImageSet, ImageShape, TestSet};

/// The size of a CIFAR image: 3 channels of 32 by 32 pixels.
pub(crate) const SHAPE: ImageShape = ImageShape { channels: 3, height: 32, width: 32 };

const IMAGE_BYTES: usize = 3 * 32 * 32;
const TRAIN_FILES: [&str; 5] =
    ["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"];

/// Which of the two labels of a CIFAR-100 image to learn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum CifarLabels {
    /// The 100 classes.
    #[default]
    Fine,
    /// The 20 superclasses.
    Coarse,
}

/// What to do when some of the five CIFAR-10 training files are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Missing {
    /// Return an error that names the missing files.
    #[default]
    Refuse,
    /// Use the files that are there, at least one. The name of the set then says how many there were.
    Allow,
}

/// The format of the records of one of the two data sets.
#[derive(Debug)]
struct Format {
    name: &'static str,
    source: Source,
    /// The kind of each label byte, and the number of its labels.
    labels: &'static [(&'static str, usize)],
    /// The name and record size of the other set, whose files are easily mistaken for those of this set.
    other: (&'static str, u64),
}

impl Format {
    fn record_bytes(&self) -> u64 {
        (self.labels.len() + IMAGE_BYTES) as u64
    }
}

const FORMAT_10: Format = Format {
    name: "CIFAR-10",
    source: Source {
        folder: "cifar-10-batches-bin",
        hint: "unpack cifar-10-binary.tar.gz from https://www.cs.toronto.edu/~kriz/cifar.html",
    },
    labels: &[("label", CIFAR10.len())],
    other: ("CIFAR-100", 2 + IMAGE_BYTES as u64),
};

const FORMAT_100: Format = Format {
    name: "CIFAR-100",
    source: Source {
        folder: "cifar-100-binary",
        hint: "unpack cifar-100-binary.tar.gz from https://www.cs.toronto.edu/~kriz/cifar.html",
    },
    labels: &[("coarse label", CIFAR100_COARSE.len()), ("fine label", CIFAR100_FINE.len())],
    other: ("CIFAR-10", 1 + IMAGE_BYTES as u64),
};

/// Reads the CIFAR-10 training images, `data_batch_1.bin` to `data_batch_5.bin`.
///
/// # Errors
/// If the folder or a file is missing (see [`Missing`]) or a file is damaged; the error names the file.
pub fn cifar10_train(dir: impl AsRef<Path>, missing: Missing) -> Result<ImageSet, DataError> {
    let found = load(&FORMAT_10, dir.as_ref(), &TRAIN_FILES, 10_000, missing, 0)?;
    let name = match found.files {
        5 => "CIFAR-10 train".to_owned(),
        files => format!("CIFAR-10 train ({files} of 5 files)"),
    };
    ImageSet::new(name, SHAPE, CIFAR10, found.labels, found.pixels)
}

/// Reads the CIFAR-10 test images, `test_batch.bin`.
///
/// # Errors
/// If the folder or the file is missing or damaged; the error names the file.
pub fn cifar10_test(dir: impl AsRef<Path>) -> Result<TestSet, DataError> {
    let found = load(&FORMAT_10, dir.as_ref(), &["test_batch.bin"], 10_000, Missing::Refuse, 0)?;
    ImageSet::new("CIFAR-10 test", SHAPE, CIFAR10, found.labels, found.pixels).map(TestSet::new)
}

/// Reads the CIFAR-100 training images, `train.bin`.
///
/// # Errors
/// If the folder or the file is missing or damaged; the error names the file.
pub fn cifar100_train(dir: impl AsRef<Path>, labels: CifarLabels) -> Result<ImageSet, DataError> {
    cifar100("train", dir.as_ref(), "train.bin", 50_000, labels)
}

/// Reads the CIFAR-100 test images, `test.bin`.
///
/// # Errors
/// If the folder or the file is missing or damaged; the error names the file.
pub fn cifar100_test(dir: impl AsRef<Path>, labels: CifarLabels) -> Result<TestSet, DataError> {
    cifar100("test", dir.as_ref(), "test.bin", 10_000, labels).map(TestSet::new)
}

fn cifar100(part: &str, dir: &Path, file: &str, most: u64, labels: CifarLabels) -> Result<ImageSet, DataError> {
    let (byte, kind, classes) = match labels {
        CifarLabels::Coarse => (0, "20 superclasses", &CIFAR100_COARSE[..]),
        CifarLabels::Fine => (1, "100 classes", &CIFAR100_FINE[..]),
    };
    let found = load(&FORMAT_100, dir, &[file], most, Missing::Refuse, byte)?;
    let name = format!("CIFAR-100 {part} ({kind})");
    ImageSet::new(name, SHAPE, classes.iter().copied(), found.labels, found.pixels)
}

/// The records of the files that were found.
#[derive(Debug, Default)]
struct Records {
    files: usize,
    labels: Vec<u16>,
    pixels: Vec<u8>,
}

fn load(
    format: &Format,
    dir: &Path,
    files: &[&str],
    most: u64,
    missing: Missing,
    label_byte: usize,
) -> Result<Records, DataError> {
    let folder = format.source.find(dir, files)?;
    let (present, absent): (Vec<&str>, Vec<&str>) = files.iter().partition(|file| folder.join(file).exists());
    if present.is_empty() || (missing == Missing::Refuse && !absent.is_empty()) {
        let hint = if present.is_empty() {
            format!("give the folder with the {} files, or {}", format.name, format.source.hint)
        } else {
            let present = present.join(", ");
            format!("{}, or allow missing files (data.missing_files=allow) to load only {present}", format.source.hint)
        };
        return Err(DataError::folder(&folder, format!("does not contain {}: {hint}", absent.join(", "))));
    }
    let mut records = Records::default();
    for file in present {
        read_file(format, &folder.join(file), most, label_byte, &mut records)?;
    }
    Ok(records)
}

/// Appends the records of one file, at most `most`.
fn read_file(format: &Format, path: &Path, most: u64, label_byte: usize, into: &mut Records) -> Result<(), DataError> {
    let (mut file, bytes) = read::open(path)?;
    let record_bytes = format.record_bytes();
    let (count, remainder) = (bytes / record_bytes, bytes % record_bytes);
    let (found, other_bytes) = format.other;
    if remainder != 0 && bytes % other_bytes == 0 {
        let wanted = format.name;
        let problem = format!(
            "is not a {wanted} file: its size fits {found}; load it as {found}, or put the {wanted} file there"
        );
        return Err(DataError::file(path, problem));
    }
    let limit = most * record_bytes;
    if bytes > limit {
        let problem = format!(
            "is too large: {bytes} bytes, but the official file has at most {limit}; check that it is the right file"
        );
        return Err(DataError::file(path, problem));
    }
    if remainder != 0 {
        return Err(read::truncated(path, count, record_bytes, remainder));
    }
    // The count is at most `most`, so at most 154 MB are reserved.
    #[expect(clippy::cast_possible_truncation, reason = "at most 50,000")]
    let count = count as usize;
    into.files += 1;
    into.labels.reserve(count);
    into.pixels.reserve(count * IMAGE_BYTES);
    let mut bytes = vec![0; format.labels.len() + IMAGE_BYTES];
    for record in 0..count {
        file.read_exact(&mut bytes).map_err(DataError::io(path))?;
        let (labels, pixels) = bytes.split_at(format.labels.len());
        for (&label, &(kind, limit)) in labels.iter().zip(format.labels) {
            read::check_label(path, record, kind, label, limit)?;
        }
        into.labels.push(labels[label_byte].into());
        into.pixels.extend_from_slice(pixels);
    }
    Ok(())
}
