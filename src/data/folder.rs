//! Folders of pictures, one folder per class.

mod listing;
mod names;
mod parts;

use super::ahead::Ahead;
use super::picture::is_picture;
use super::{Cropping, DataError, ImageSet, Picture, Pictures};
use listing::{Kind, entries, kind};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

pub use listing::OtherFiles;
pub(crate) use listing::list;
pub(super) use names::spelt_out;
pub use parts::FolderParts;

/// Images per thread that may be decoded ahead when a whole folder is read.
const AHEAD: usize = 4;

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

impl fmt::Display for BrokenImages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refuse => "refuse",
            Self::Skip => "skip",
        })
    }
}

impl FromStr for BrokenImages {
    type Err = DataError;

    fn from_str(name: &str) -> Result<Self, DataError> {
        let mut choices = [Self::Refuse, Self::Skip].into_iter();
        let unknown = || DataError::BrokenImagesChoice { name: name.to_owned() };
        choices.find(|choice| choice.to_string() == name).ok_or_else(unknown)
    }
}

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
/// - Other files are counted by kind ([`others`](Self::others)). What systems leave behind is ignored: names that begin
///   with a dot, `@eaDir`, `__MACOSX`, `lost+found`, `Thumbs.db` and the like.
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
        check_folder(&path)?;
        let parts = FolderParts::find(&path)?;
        if parts.is_divided() {
            return Err(DataError::PartsForClasses {
                folders: parts.names(),
                training: parts.training().to_owned(),
                path,
            });
        }
        let mut folder =
            Self { path, classes: Vec::new(), folders: Vec::new(), files: Vec::new(), others: OtherFiles::default() };
        let mut empty = None;
        for name in entries(&folder.path)? {
            let found = folder.add(name)?;
            empty = empty.or(found);
        }
        if folder.files.is_empty() {
            return Err(DataError::NoClassFolders { path: folder.path, others: folder.others });
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
            Kind::Dangling => return Err(DataError::DanglingLink { path }),
            Kind::File if is_picture(Path::new(&name)) => self.others.add_kind("pictures outside of the class folders"),
            Kind::File => self.others.add(Path::new(&name)),
            Kind::LinkedFolder if contains(&path, &self.path)? => self.others.add_kind("links to a folder around them"),
            Kind::Folder | Kind::LinkedFolder => {
                let label = u16::try_from(self.classes.len()).map_err(|_| DataError::ClassCount {
                    set: self.path.display().to_string(),
                    classes: self.classes.len() + 1,
                })?;
                let found = list(&self.path, Path::new(&name))?;
                self.others.extend(&found.others);
                let empty = found.pictures.is_empty();
                self.files.extend(found.pictures.into_iter().map(|file| (label, file)));
                self.classes.push(names::class_name(&name));
                self.folders.push(name);
                return Ok(empty.then_some(DataError::EmptyClass { path, others: found.others }));
            }
        }
        Ok(None)
    }

    /// Checks that the names of the classes differ, also in how they look.
    fn check_names(&self) -> Result<(), DataError> {
        let mut spellings = HashMap::new();
        for class in &self.classes {
            if let Some(other) = spellings.insert(names::spelling(class), class) {
                let (first, second) = (other.clone(), class.clone());
                return Err(DataError::SameName { path: self.path.clone(), first, second });
            }
        }
        Ok(())
    }

    /// Lists the pictures of another part of the same data set, such as those to validate with. It must have the same
    /// classes.
    ///
    /// # Errors
    /// Those of [`open`](Self::open); [`DataError::RenamedClass`], [`DataError::MissingClasses`] or
    /// [`DataError::UnknownClass`] if the classes differ.
    pub fn open_part(&self, path: impl Into<PathBuf>) -> Result<Self, DataError> {
        let part = Self::open(path)?;
        let without = |some: &Self, others: &Self| -> Vec<String> {
            let known: HashSet<&String> = others.classes.iter().collect();
            some.classes.iter().filter(|class| !known.contains(class)).cloned().collect()
        };
        let (missing, mut unknown) = (without(self, &part), without(&part, self));
        for class in &missing {
            if let Some(found) = unknown.iter().find(|found| names::look_alike(found, class)) {
                let (class, found) = (class.clone(), found.clone());
                return Err(DataError::RenamedClass { path: part.path, class, found });
            }
        }
        if !missing.is_empty() {
            return Err(DataError::MissingClasses { path: part.path, missing });
        }
        if !unknown.is_empty() {
            return Err(DataError::UnknownClass { class: unknown.swap_remove(0), path: part.path });
        }
        // Labels follow the names of the folders, so they are equal if the classes are.
        if part.classes != self.classes {
            return Err(DataError::UnknownClass { class: part.classes[0].clone(), path: part.path });
        }
        Ok(part)
    }

    /// Returns the ignored files by kind: those that are not pictures in a supported format.
    #[must_use]
    pub fn others(&self) -> &OtherFiles {
        &self.others
    }

    /// Returns the ignored files as an error to report, if there are any.
    #[must_use]
    pub fn left_out(&self) -> Option<DataError> {
        let (path, others) = (self.path.clone(), self.others.clone());
        (!others.is_empty()).then_some(DataError::OtherFiles { path, others })
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
    /// [`DataError::EmptyClass`] if a class has only broken pictures, [`DataError::Io`] if a file cannot be read at
    /// all.
    pub fn without_broken(self, threads: NonZeroUsize) -> Result<(Self, Vec<DataError>), DataError> {
        let shared = Arc::new(self);
        let work = Arc::clone(&shared);
        let whole = Ahead::new(shared.files.len(), threads, window(threads), move |index| {
            Picture::read(work.file(index)).map(|_| ())
        });
        let mut broken = Vec::new();
        let mut keep = Vec::with_capacity(shared.files.len());
        for result in whole {
            keep.push(result.is_ok());
            broken.extend(left_out(result)?);
        }
        let mut folder = Arc::unwrap_or_clone(shared);
        let mut keep = keep.into_iter();
        folder.files.retain(|_| keep.next().unwrap_or(true));
        folder.check_classes()?;
        Ok((folder, broken))
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
        let cropping = Cropping::whole(size).map_err(|shape| DataError::Shape { set: name.clone(), shape })?;
        let folder = Arc::new(self.clone());
        let work = Arc::clone(&folder);
        let images = Ahead::new(self.files.len(), threads, window(threads), move |index| {
            Picture::read(work.file(index)).map(|picture| cropping.center(picture).planes())
        });
        let (mut labels, mut pixels, mut errors) = (Vec::new(), Vec::new(), Vec::new());
        for (image, (label, _)) in images.zip(&self.files) {
            match image {
                Ok(planes) => {
                    labels.push(*label);
                    pixels.extend_from_slice(&planes);
                }
                Err(error) if broken == BrokenImages::Refuse => return Err(error),
                error => errors.extend(left_out(error.map(|_| ()))?),
            }
        }
        let kept = Self { files: labels.iter().map(|&label| (label, PathBuf::new())).collect(), ..self.clone() };
        kept.check_classes()?;
        let set = ImageSet::new(name, cropping.shape(), self.classes.clone(), labels, pixels)?;
        Ok((set, errors))
    }

    /// Checks that every class still has pictures.
    fn check_classes(&self) -> Result<(), DataError> {
        let mut found = vec![false; self.classes.len()];
        for (label, _) in &self.files {
            found[usize::from(*label)] = true;
        }
        match found.iter().position(|found| !found) {
            Some(class) => {
                let path = self.path.join(&self.folders[class]);
                Err(DataError::EmptyClass { path, others: OtherFiles::default() })
            }
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
        fs::read(&path).map_err(|source| DataError::Io { path, source })
    }
}

/// Returns how many pictures may be in progress when a whole folder is read.
fn window(threads: NonZeroUsize) -> NonZeroUsize {
    threads.saturating_mul(NonZeroUsize::new(AHEAD).unwrap_or(NonZeroUsize::MIN))
}

/// Returns the error of a broken picture that is skipped; other errors remain errors.
fn left_out(result: Result<(), DataError>) -> Result<Option<DataError>, DataError> {
    match result {
        Ok(()) => Ok(None),
        Err(error @ DataError::BrokenImage { .. }) => {
            tracing::warn!(%error, "broken image skipped");
            Ok(Some(error))
        }
        Err(error) => Err(error),
    }
}

fn check_folder(path: &Path) -> Result<(), DataError> {
    let (path, expected) = (path.to_owned(), "one folder per class".to_owned());
    match fs::metadata(&path) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => Err(DataError::NotAFolder { path, expected }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(DataError::MissingFolder {
            path,
            expected,
            source_hint: "put the pictures of each class into a folder named after it",
        }),
        Err(source) => Err(DataError::Io { path, source }),
    }
}

/// Returns whether one folder is the other or contains it.
fn contains(outer: &Path, inner: &Path) -> Result<bool, DataError> {
    let real = |path: &Path| fs::canonicalize(path).map_err(|source| DataError::Io { path: path.to_owned(), source });
    Ok(real(inner)?.starts_with(real(outer)?))
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod untidy;
