//! Folders of pictures, one folder per class.

mod listing;
mod names;
mod parts;

use super::ahead::Ahead;
use super::error::quoted;
use super::picture::{FORMATS, is_picture};
use super::read::check_folder;
use super::{Cropping, DataError, ImageSet, Picture, Pictures};
use crate::setting::named;
use listing::{Kind, OtherFiles, canonical, entries, kind, list};
use names::spelt_out;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

pub use listing::picture_files;
pub use parts::FolderParts;

/// Images per thread that may be decoded ahead when a whole folder is read.
const AHEAD: NonZeroUsize = NonZeroUsize::new(4).unwrap();

/// What to do with a file that has the name of a picture but cannot be decoded.
///
/// Written as `"refuse"` or `"skip"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum BrokenImages {
    /// Return an error that names the first one.
    #[default]
    Refuse,
    /// Skip them, and report each.
    Skip,
}

named!(BrokenImages, "data.broken_images", Refuse = "refuse", Skip = "skip");

/// A folder of pictures with one subfolder per class: its files and their classes.
///
/// ```text
/// flowers/train/daisy/1.jpg
/// flowers/train/daisy/2.png
/// flowers/train/rose/1.jpg
/// ```
///
/// - A class is named after its folder; bytes of the name that are not valid text are written as `\xff`. Labels count
///   from 0 in the order of the names (byte by byte).
/// - Pictures are the files in the folder of a class, or in folders below it, whose names end like those of JPEG, PNG,
///   WebP, BMP, GIF or TIFF files, in upper or lower case. They are sorted by path. Links are followed, but not in
///   circles.
/// - Other files are counted by kind, and reported ([`left_out`](Self::left_out)). What systems leave behind is
///   ignored: names that begin with a dot, `@eaDir`, `__MACOSX`, `lost+found`, `Thumbs.db` and the like.
/// - Every class has a picture. A class folder without one is an error; so are folders that are parts of a data set,
///   such as `train` and `val`, in place of classes ([`FolderParts`] finds them).
///
/// Opening a folder decodes nothing, so a folder with a million pictures opens in seconds. A file that [`Picture`]
/// cannot decode is found when it is read; [`without_broken`](Self::without_broken) checks all of them beforehand.
///
/// ```
/// use blockqnn::data::{BrokenImages, ImageFolder, Pictures};
///
/// # let folder = std::env::temp_dir().join(format!("blockqnn-doc-{}", std::process::id()));
/// # for (name, value) in [("night", 0), ("day", 255)] {
/// #     std::fs::create_dir_all(folder.join(name))?;
/// #     let picture = image::RgbImage::from_pixel(6, 4, image::Rgb([value; 3]));
/// #     picture.save(folder.join(name).join("1.png"))?;
/// # }
/// let pictures = ImageFolder::open(&folder)?;
/// assert_eq!(pictures.classes(), ["day", "night"]);
///
/// // Small enough for memory: squares of two pixels.
/// let (set, _) = pictures.load(2, BrokenImages::Refuse, 1.try_into()?)?;
/// assert_eq!((set.len(), set.image(0), set.image(1)), (2, &[255; 12][..], &[0; 12][..]));
/// # std::fs::remove_dir_all(&folder)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFolder {
    path: PathBuf,
    classes: Vec<String>,
    /// The folder of each class.
    folders: Vec<OsString>,
    /// The label of each picture, and its path below the folder.
    files: Vec<(u16, PathBuf)>,
    others: OtherFiles,
}

impl ImageFolder {
    /// Lists the pictures of a folder.
    ///
    /// # Errors
    /// [`DataError`] if the folder does not exist, it has no folders with pictures or has parts of a data set instead
    /// of classes, a class has no picture, the names of two classes differ only in the encoding of accents, there are
    /// more than 65,536 classes, or the system refuses to list a folder.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, DataError> {
        let path = path.into();
        check_folder(&path, "one folder per class", "put the pictures of each class into a folder named after it")?;
        let parts = FolderParts::find(&path)?;
        if parts.is_divided() {
            let (folders, training) = (quoted(&parts.names()), parts.training().display());
            let problem = format!("holds {folders}, which are parts of a data set and not classes");
            let fix = format!("give the folder of one part, such as {training}; if these are classes, rename them");
            return Err(DataError::folder(&path, format!("{problem}: {fix}")));
        }
        let mut folder =
            Self { path, classes: Vec::new(), folders: Vec::new(), files: Vec::new(), others: OtherFiles::default() };
        let mut empty = None;
        for name in entries(&folder.path)? {
            let found = folder.add(name)?;
            empty = empty.or(found);
        }
        if folder.files.is_empty() {
            let problem = format!(
                "has no class folders with images{}: it should hold one folder per class, named after the class, with \
                 {FORMATS} files; if the images are directly in it, give its parent folder",
                folder.others.in_place()
            );
            return Err(DataError::folder(&folder.path, problem));
        }
        empty.map_or(Ok(()), Err)?;
        folder.check_names()?;
        Ok(folder)
    }

    /// Adds the entry with a name: the pictures of a class, or another file. Returns an error, to report later, for a
    /// class without pictures.
    fn add(&mut self, name: OsString) -> Result<Option<DataError>, DataError> {
        let path = self.path.join(&name);
        let kind = kind(&path)?;
        match kind {
            Kind::Dangling => {
                let problem = "leads to nothing: restore the folder that this link should lead to, or delete it";
                return Err(DataError::folder(&path, problem));
            }
            Kind::File if is_picture(Path::new(&name)) => self.others.add_kind("pictures outside of the class folders"),
            Kind::File => self.others.add(Path::new(&name)),
            Kind::LinkedFolder if contains(&path, &self.path)? => self.others.add_kind("links to a folder around them"),
            Kind::Folder | Kind::LinkedFolder => {
                let too_many = |_| DataError::folder(&self.path, "has more than 65536 class folders: merge some");
                let label = u16::try_from(self.classes.len()).map_err(too_many)?;
                let found = list(&self.path, Path::new(&name))?;
                self.others.extend(&found.others);
                let empty = found.pictures.is_empty();
                self.files.extend(found.pictures.into_iter().map(|file| (label, file)));
                self.classes.push(names::class_name(&name));
                self.folders.push(name);
                return Ok(empty.then(|| empty_class(&path, &found.others)));
            }
        }
        Ok(None)
    }

    /// Checks that the names of the classes differ, also in how they look.
    fn check_names(&self) -> Result<(), DataError> {
        let mut spellings = HashMap::new();
        for class in &self.classes {
            if let Some(other) = spellings.insert(names::spelling(class), class) {
                let problem = format!(
                    "has two class folders of the same name, {} and {}: they differ only in how accents are encoded, \
                     as one character (NFC) or as two (NFD, as on macOS); put their pictures into one of them, or \
                     rename one",
                    spelt_out(other),
                    spelt_out(class)
                );
                return Err(DataError::folder(&self.path, problem));
            }
        }
        Ok(())
    }

    /// Lists the pictures of another part of the same data set, such as those to validate with. It must have the same
    /// classes.
    ///
    /// # Errors
    /// Those of [`open`](Self::open); [`DataError::Folder`] if the classes differ.
    pub fn open_part(&self, path: impl Into<PathBuf>) -> Result<Self, DataError> {
        let part = Self::open(path)?;
        let without = |some: &Self, others: &Self| -> Vec<String> {
            let known: HashSet<&String> = others.classes.iter().collect();
            some.classes.iter().filter(|class| !known.contains(class)).cloned().collect()
        };
        let (missing, unknown) = (without(self, &part), without(&part, self));
        for class in &missing {
            if let Some(found) = unknown.iter().find(|found| names::look_alike(found, class)) {
                let problem = format!(
                    "has the class folder {}, but the class of the training images is {}: they differ only in capital \
                     letters or in how accents are encoded (NFC, or NFD as on macOS); rename the folder",
                    spelt_out(found),
                    spelt_out(class)
                );
                return Err(DataError::folder(&part.path, problem));
            }
        }
        if !missing.is_empty() {
            let (named, more) = missing.split_at(missing.len().min(3));
            let more = if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
            let problem = format!("has no folder for {}{more}", quoted(named));
            let fix = "it must have the same class folders as the training images";
            return Err(DataError::folder(&part.path, format!("{problem}: {fix}")));
        }
        // Labels follow the order of the folders, which may differ where names that are not text are spelt out.
        let misplaced = part.classes.first().filter(|_| part.classes != self.classes);
        match unknown.first().or(misplaced) {
            None => Ok(part),
            Some(class) => {
                let problem = format!("has a folder for {class:?}, which is not a class of the training images");
                Err(DataError::folder(&part.path, format!("{problem}: delete or rename it")))
            }
        }
    }

    /// Returns the ignored files as an error to report, if there are any.
    #[must_use]
    pub fn left_out(&self) -> Option<DataError> {
        let others = &self.others;
        let what = || format!("files are ignored: {others}; only {FORMATS} files in class folders are read");
        (!others.is_empty()).then(|| DataError::Ignored { path: self.path.clone(), what: what() })
    }

    /// Returns the path of the folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the path of a picture.
    ///
    /// # Panics
    /// If `index` is not below the number of pictures.
    #[must_use]
    pub fn file(&self, index: usize) -> PathBuf {
        self.path.join(&self.files[index].1)
    }

    /// Decodes every picture, and returns the folder without those that cannot be decoded, with an error for each of
    /// them.
    ///
    /// This takes as long as decoding takes in an epoch.
    ///
    /// # Errors
    /// [`DataError::Folder`] if a class has only broken pictures, [`DataError::Io`] if a file cannot be read at all.
    pub fn without_broken(self, threads: NonZeroUsize) -> Result<(Self, Vec<DataError>), DataError> {
        let (mut files, mut broken) = (Vec::with_capacity(self.files.len()), Vec::new());
        for (result, file) in self.decoded(threads, drop).zip(&self.files) {
            match result {
                Ok(()) => files.push(file.clone()),
                Err(error) => broken.push(skipped(error)?),
            }
        }
        self.check_classes(files.iter().map(|&(label, _)| label))?;
        Ok((Self { files, ..self }, broken))
    }

    /// Reads all pictures into memory at one size: for searches, and other training on small images.
    ///
    /// Each picture is scaled until its shorter side has `size` pixels, and cut to the square in its middle. The result
    /// is the same for any number of threads. Skipped pictures are returned as errors, one each.
    ///
    /// # Errors
    /// [`DataError`] if `size` is 0 or too large, the images do not fit into memory, a file cannot be read, a picture
    /// is broken and [`BrokenImages::Refuse`] was given, or a class has only broken pictures.
    pub fn load(
        &self,
        size: u32,
        broken: BrokenImages,
        threads: NonZeroUsize,
    ) -> Result<(ImageSet, Vec<DataError>), DataError> {
        let name = self.path.display().to_string();
        let cropping = Cropping::whole(size).map_err(|shape| DataError::shape(&name, shape))?;
        let images = self.decoded(threads, move |picture| cropping.center(picture).planes());
        let (mut labels, mut pixels, mut errors) = (Vec::new(), Vec::new(), Vec::new());
        for (image, (label, _)) in images.zip(&self.files) {
            match image {
                Ok(planes) => {
                    labels.push(*label);
                    pixels.extend_from_slice(&planes);
                }
                Err(error) if broken == BrokenImages::Refuse => return Err(error),
                Err(error) => errors.push(skipped(error)?),
            }
        }
        self.check_classes(labels.iter().copied())?;
        let set = ImageSet::new(name, cropping.shape(), self.classes.clone(), labels, pixels)?;
        Ok((set, errors))
    }

    /// Returns what `work` makes of each picture, decoded by threads.
    fn decoded<T: Send + 'static>(
        &self,
        threads: NonZeroUsize,
        work: impl Fn(Picture) -> T + Send + Sync + 'static,
    ) -> Ahead<Result<T, DataError>> {
        let folder = self.clone();
        let window = threads.saturating_mul(AHEAD);
        Ahead::new(self.files.len(), threads, window, move |index| Picture::read(folder.file(index)).map(&work))
    }

    /// Checks that every class has some of the pictures with these labels.
    fn check_classes(&self, labels: impl Iterator<Item = u16>) -> Result<(), DataError> {
        let mut found = vec![false; self.classes.len()];
        for label in labels {
            found[usize::from(label)] = true;
        }
        match found.iter().position(|found| !found) {
            Some(class) => Err(empty_class(&self.path.join(&self.folders[class]), &OtherFiles::default())),
            None => Ok(()),
        }
    }
}

impl Pictures for ImageFolder {
    fn len(&self) -> usize {
        self.files.len()
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn label(&self, index: usize) -> u16 {
        self.files[index].0
    }

    fn picture(&self, index: usize) -> Result<Picture, DataError> {
        Picture::read(self.file(index))
    }

    fn content(&self, index: usize) -> Result<Vec<u8>, DataError> {
        let path = self.file(index);
        fs::read(&path).map_err(DataError::io(&path))
    }
}

/// Returns the error of a broken picture that is skipped; other errors remain errors.
fn skipped(error: DataError) -> Result<DataError, DataError> {
    if !matches!(error, DataError::BrokenImage { .. }) {
        return Err(error);
    }
    tracing::warn!(%error, "broken image skipped");
    Ok(error)
}

/// The error of a class without pictures, or with broken ones only.
fn empty_class(path: &Path, others: &OtherFiles) -> DataError {
    let others = others.in_place();
    DataError::folder(path, format!("has no readable {FORMATS} files{others}: add some, or delete the folder"))
}

/// Returns whether one folder is the other or contains it.
fn contains(outer: &Path, inner: &Path) -> Result<bool, DataError> {
    Ok(canonical(inner)?.starts_with(canonical(outer)?))
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod untidy;
