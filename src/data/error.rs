use std::io;
use std::path::PathBuf;

use super::ImageShape;
use super::folder::{OtherFiles, spelt_out};
use super::picture::FORMATS;

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
    /// The data folder is not a folder.
    #[error("{} is not a folder: give the folder that holds {expected}", path.display())]
    NotAFolder {
        /// The requested path.
        path: PathBuf,
        /// The names of the files that the folder should hold.
        expected: String,
    },
    /// Files of the set are missing from the folder.
    #[error("the folder {} does not contain {missing}: {hint}", path.display(), missing = missing.join(", "))]
    MissingFiles {
        /// The folder that was searched.
        path: PathBuf,
        /// The names of the missing files.
        missing: Vec<String>,
        /// What to do about it, as an instruction.
        hint: String,
    },
    /// A path that should be a file is a folder or a device.
    #[error("{} is not a regular file: put the official data file there", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// A file has no bytes.
    #[error("the file {} is empty: copy or download it again", path.display())]
    EmptyFile {
        /// The file.
        path: PathBuf,
    },
    /// A file ends in the middle of a record.
    #[error(
        "the file {} is truncated: after {records} records of {record_bytes} bytes there are {remainder} bytes \
         left over; copy or download it again", path.display()
    )]
    TruncatedFile {
        /// The file.
        path: PathBuf,
        /// The number of whole records.
        records: u64,
        /// The size of a record in bytes.
        record_bytes: u64,
        /// The number of bytes after the last whole record.
        remainder: u64,
    },
    /// A file is larger than the official file of the same name.
    #[error(
        "the file {} is too large: {bytes} bytes, but the official file has at most {limit}; check that it is the \
         right file", path.display()
    )]
    OversizedFile {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        bytes: u64,
        /// The largest size that is accepted.
        limit: u64,
    },
    /// A file seems to belong to another data set.
    #[error(
        "the file {} is not a {expected} file: its size fits {found}; load it as {found}, or put the {expected} file \
         there", path.display()
    )]
    MislabelledFile {
        /// The file.
        path: PathBuf,
        /// The requested data set.
        expected: &'static str,
        /// The data set that the size of the file fits.
        found: &'static str,
    },
    /// A record of a file has a label that its set does not have.
    #[error(
        "the file {} has the {kind} {label} in record {record} (counted from 0), but its labels must be below {limit}; \
         the file is damaged or belongs to another set, so copy or download it again", path.display()
    )]
    FileLabel {
        /// The file.
        path: PathBuf,
        /// The record, counted from 0.
        record: usize,
        /// The kind of the label: `label`, `coarse label` or `fine label`.
        kind: &'static str,
        /// The label that was found.
        label: u16,
        /// The number of labels of this kind.
        limit: usize,
    },
    /// A file that should be an IDX file of one kind does not begin like one.
    #[error(
        "the file {} is not an IDX file of {kind}: it begins with {found:#010x} instead of {expected:#010x}; check \
         that images and labels are not swapped", path.display()
    )]
    NotIdx {
        /// The file.
        path: PathBuf,
        /// What the file should hold.
        kind: &'static str,
        /// The file's first four bytes.
        found: u32,
        /// The first four bytes of an IDX file of this kind.
        expected: u32,
    },
    /// The header of an IDX file declares a different number of bytes than follow.
    #[error(
        "the file {} is truncated or damaged: its header declares {declared} bytes of data, and {found} follow; copy \
         or download it again", path.display(), found = if *more { "more".to_owned() } else { found.to_string() }
    )]
    IdxLength {
        /// The file.
        path: PathBuf,
        /// The number of bytes that the header declares.
        declared: u64,
        /// The number of bytes that were found, at most the declared number.
        found: u64,
        /// Whether more bytes follow than the header declares.
        more: bool,
    },
    /// The header of an IDX file declares more data than this crate reads.
    #[error(
        "the header of {} declares {declared} bytes of data, more than the maximum of {limit}; the file is damaged, so \
         copy or download it again", path.display()
    )]
    IdxTooLarge {
        /// The file.
        path: PathBuf,
        /// The number of bytes that the header declares, or `u64::MAX` if that overflows.
        declared: u64,
        /// The largest number of bytes accepted.
        limit: u64,
    },
    /// An image file and its label file hold different numbers of records.
    #[error(
        "{} holds {image_count} images, but {} holds {label_count} labels; use both files of the same set",
        images.display(), labels.display()
    )]
    CountMismatch {
        /// The image file.
        images: PathBuf,
        /// The label file.
        labels: PathBuf,
        /// The number of images.
        image_count: u64,
        /// The number of labels.
        label_count: u64,
    },
    /// A gzipped file cannot be unpacked.
    #[error("the file {} is a damaged gzip file ({source}); copy or download it again", path.display())]
    Gzip {
        /// The file.
        path: PathBuf,
        /// The error of the decompressor.
        source: io::Error,
    },
    /// The operating system refused an operation on a file.
    #[error("cannot read {} ({source}); check the path and its permissions", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// There is no such choice of [`BrokenImages`](super::BrokenImages).
    #[error("unknown choice {name:?} for broken images: choose refuse or skip")]
    BrokenImagesChoice {
        /// What was given.
        name: String,
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
    /// Files of an image folder are ignored, because they are not pictures in a supported format.
    #[error("files in {} are ignored: {others}; only {FORMATS} files in class folders are read", path.display())]
    OtherFiles {
        /// The folder.
        path: PathBuf,
        /// The number of ignored files of each kind.
        others: OtherFiles,
    },
    /// Folders beside the parts of an image folder are ignored.
    #[error(
        "in {} the folders {} are ignored: they are not training, validation or test images",
        path.display(), quoted(folders)
    )]
    IgnoredFolders {
        /// The folder.
        path: PathBuf,
        /// The names of the ignored folders.
        folders: Vec<String>,
    },
    /// An image folder has no class folders with images.
    #[error(
        "there are no class folders with images in {}{}: it should hold one folder per class, named after the class, \
         with {FORMATS} files; if the images are directly in it, give its parent folder", path.display(), beside(others)
    )]
    NoClassFolders {
        /// The folder.
        path: PathBuf,
        /// The files that are there instead.
        others: OtherFiles,
    },
    /// The folder of a class holds no images, or only broken ones.
    #[error(
        "the class folder {} has no readable {FORMATS} files{}: add some, or delete the folder",
        path.display(), beside(others)
    )]
    EmptyClass {
        /// The folder of the class.
        path: PathBuf,
        /// The files that are there instead.
        others: OtherFiles,
    },
    /// A folder that should hold pictures has none.
    #[error("there are no {FORMATS} files in {}{}", path.display(), beside(others))]
    NoPictures {
        /// The folder.
        path: PathBuf,
        /// The files that are there instead.
        others: OtherFiles,
    },
    /// The folders of an image folder are parts of a data set, not classes.
    #[error(
        "{} holds {}, which are parts of a data set and not classes: give the folder of one part, such as {}; if these \
         are classes, rename them", path.display(), quoted(folders), training.display()
    )]
    PartsForClasses {
        /// The folder.
        path: PathBuf,
        /// The names of the parts.
        folders: Vec<String>,
        /// The folder of the training images.
        training: PathBuf,
    },
    /// Several folders are the same part of a data set.
    #[error("{} holds several folders of the same part, {}: keep one of them there", path.display(), quoted(folders))]
    AmbiguousParts {
        /// The folder.
        path: PathBuf,
        /// The names of these folders.
        folders: Vec<String>,
    },
    /// There are parts of a data set, but no training images.
    #[error(
        "{} holds {}, but no folder of training images: put the class folders with the training images \
         into {}", path.display(), quoted(folders), path.join("train").display()
    )]
    NoTrainingPart {
        /// The folder.
        path: PathBuf,
        /// The names of the parts.
        folders: Vec<String>,
    },
    /// A link where a class folder should be leads to nothing.
    #[error("the link {} leads to nothing: restore the folder that it should lead to, or delete it", path.display())]
    DanglingLink {
        /// The link.
        path: PathBuf,
    },
    /// Folders are nested too deeply.
    #[error("the folder {} is nested too deeply: move its pictures further up", path.display())]
    TooDeep {
        /// The folder.
        path: PathBuf,
    },
    /// Two class folders have names that differ only in the encoding of accents.
    #[error(
        "{} has two class folders of the same name, {} and {}: they differ only in how accents are encoded, as one \
         character (NFC) or as two (NFD, as on macOS); put their pictures into one of them, or rename one",
        path.display(), spelt_out(first), spelt_out(second)
    )]
    SameName {
        /// The folder.
        path: PathBuf,
        /// The name of one folder.
        first: String,
        /// The name of the other folder.
        second: String,
    },
    /// A part of an image folder has a class whose name looks like one of the training images' classes, but differs.
    #[error(
        "{} has the class folder {}, but the class of the training images is {}: they differ only in capital letters \
         or in how accents are encoded (NFC, or NFD as on macOS); rename the folder",
        path.display(), spelt_out(found), spelt_out(class)
    )]
    RenamedClass {
        /// The folder.
        path: PathBuf,
        /// The class of the training images.
        class: String,
        /// The name in this part.
        found: String,
    },
    /// A part of an image folder lacks classes that the training part has.
    #[error(
        "{} has no folder for {}{}: it must have the same class folders as the training images", path.display(),
        quoted(&missing[..missing.len().min(3)]),
        if missing.len() > 3 { format!(" and {} more", missing.len() - 3) } else { String::new() }
    )]
    MissingClasses {
        /// The folder.
        path: PathBuf,
        /// The names of the classes.
        missing: Vec<String>,
    },
    /// A part of an image folder has a class that the training part does not have.
    #[error(
        "{} has a folder for {class:?}, which is not a class of the training images: delete or rename it",
        path.display()
    )]
    UnknownClass {
        /// The folder.
        path: PathBuf,
        /// The name of the class.
        class: String,
    },
    /// A set would have no images.
    #[error("the set {set} has no images: give at least one")]
    NoImages {
        /// The name of the set.
        set: String,
    },
    /// The number of class names is zero or too large.
    #[error("the set {set} has {classes} classes: give 1 to 65536 class names")]
    ClassCount {
        /// The name of the set.
        set: String,
        /// The number of class names.
        classes: usize,
    },
    /// The images have a side of 0, no channels, or a size that overflows.
    #[error(
        "the images of the set {set} have the size {shape}: channels, height and width must be at least 1, and their \
         product must fit in memory"
    )]
    Shape {
        /// The name of the set.
        set: String,
        /// The images' size.
        shape: ImageShape,
    },
    /// The number of pixels does not match the number of labels and the image size.
    #[error(
        "the set {set} has {found} pixel bytes, but {labels} labels and images of {shape} require {expected}; give one \
         label and one image for each"
    )]
    PixelCount {
        /// The name of the set.
        set: String,
        /// The number of labels.
        labels: usize,
        /// The images' size.
        shape: ImageShape,
        /// The expected number of bytes.
        expected: usize,
        /// The number of bytes given.
        found: usize,
    },
    /// A label is not below the number of classes.
    #[error(
        "the set {set} has the label {label} at image {image} (counted from 0), but only {classes} classes; correct \
         the label or add the class name"
    )]
    Label {
        /// The name of the set.
        set: String,
        /// The image, counted from 0.
        image: usize,
        /// Its label.
        label: u16,
        /// The number of classes.
        classes: usize,
    },
    /// A subset without images was requested.
    #[error("the set {set} cannot be limited to 0 images: ask for at least 1")]
    ZeroLimit {
        /// The name of the set.
        set: String,
    },
    /// The validation part would be empty or leave nothing to train on.
    #[error(
        "cannot hold out {validation} of the {images} images of {set} for validation: hold out 1 to {} of \
         them",
        images.saturating_sub(1)
    )]
    ValidationCount {
        /// The name of the set.
        set: String,
        /// The requested number of validation images.
        validation: usize,
        /// The number of images to split.
        images: usize,
    },
    /// Channel statistics have a different number of channels than the images.
    #[error(
        "the set {set} has {channels} channels, but the statistics are for {statistics}; take the statistics of its \
         training part"
    )]
    ChannelCount {
        /// The name of the set.
        set: String,
        /// The number of channels of the images.
        channels: usize,
        /// The number of channels of the statistics.
        statistics: usize,
    },
}

/// Returns what is there instead of pictures, in brackets.
fn beside(others: &OtherFiles) -> String {
    if others.is_empty() { String::new() } else { format!(" (but {others})") }
}

fn quoted(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
    names.join(", ")
}
