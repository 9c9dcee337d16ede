use std::io;
use std::path::{Path, PathBuf};

use super::ImageShape;

/// The reason why images could not be read or used.
///
/// Each message is one line that names the file or the set and says what to do.
///
/// ```
/// use blockqnn::data::{DataError, cifar};
///
/// let error = cifar::cifar10_test("no/such/folder").unwrap_err();
/// assert!(matches!(error, DataError::MissingFolder { .. }));
/// assert!(error.to_string().starts_with("there is no folder no/such/folder"));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The data folder does not exist.
    #[error("there is no folder {}: it should hold {expected}; {source_hint}", path.display())]
    MissingFolder {
        /// The requested folder.
        path: PathBuf,
        /// The names of the files that it should hold.
        expected: String,
        /// Where to get the set.
        source_hint: &'static str,
    },
    /// A file is damaged, or not the file that it should be.
    #[error("the file {} {problem}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        problem: String,
    },
    /// The operating system refused an operation on a file.
    #[error("cannot read {} ({source}); check the path and its permissions", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A file of an image folder is not a usable picture.
    #[error("the image {} is broken: {message}. Replace or delete it, or set data.broken_images \
         to skip", path.display())]
    BrokenImage {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// Files or folders in an image folder are ignored, because they are not what is read there.
    #[error("in {} {what}", path.display())]
    Ignored {
        /// The folder.
        path: PathBuf,
        /// What is ignored, and why.
        what: String,
    },
    /// A folder does not hold what it should: the files of a set, or one folder of pictures per class, the same in all
    /// parts of a set.
    #[error("the folder {} {problem}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        problem: String,
    },
    /// A set of images would not be valid, or cannot be used like that.
    #[error("the set {set} {problem}")]
    Set {
        /// The name of the set.
        set: String,
        /// What is wrong, and what to do.
        problem: String,
    },
}

impl DataError {
    pub(super) fn file(path: &Path, problem: impl Into<String>) -> Self {
        Self::File { path: path.to_owned(), problem: problem.into() }
    }

    pub(crate) fn folder(path: &Path, problem: impl Into<String>) -> Self {
        Self::Folder { path: path.to_owned(), problem: problem.into() }
    }

    pub(super) fn set(set: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Set { set: set.into(), problem: problem.into() }
    }

    /// The error of images that have a side of 0, no channels, or a size that overflows.
    pub(super) fn shape(set: impl Into<String>, shape: ImageShape) -> Self {
        let limits = "channels, height and width must be at least 1, and their product must fit in memory";
        Self::set(set, format!("has images of the size {shape}: {limits}"))
    }

    /// The error of a validation part that would be empty or leave nothing to train on.
    pub(crate) fn validation(set: impl Into<String>, validation: usize, images: usize) -> Self {
        let fix = format!("hold out 1 to {} of them", images.saturating_sub(1));
        Self::set(set, format!("cannot hold out {validation} of its {images} images for validation: {fix}"))
    }

    /// Returns what makes an error of a system's error about a path.
    pub(super) fn io(path: &Path) -> impl Fn(io::Error) -> Self {
        move |source| Self::Io { path: path.to_owned(), source }
    }
}

/// Quotes names, to list them in a message.
pub(super) fn quoted(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
    names.join(", ")
}
