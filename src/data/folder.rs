//! Folders of photographs, one folder per class.

use super::ahead::Ahead;
use super::{Cropping, DataError, ImageSet, Picture, Pictures};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How deep image files may be below the folder of their class.
const DEPTH: u32 = 8;
/// Images that each thread may be ahead when a folder is read as a whole.
const AHEAD: usize = 4;

/// What to do with a file that has the name of an image but cannot be decoded.
///
/// Written as `"refuse"` or `"skip"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum BrokenImages {
    /// The first one ends the reading with an error that names it.
    #[default]
    Refuse,
    /// They are skipped, and named.
    Skip,
}

/// A folder of photographs with one subfolder per class: its files and their classes.
///
/// ```text
/// flowers/train/daisy/1.jpg
/// flowers/train/daisy/2.png
/// flowers/train/rose/1.jpg
/// ```
///
/// - A class is named as its folder. Labels count from 0 in the order of the names (byte by byte).
/// - Images are the files whose names end in `.jpg`, `.jpeg` or `.png`, in large or small letters, at most eight folders
///   below that of their class, sorted by path. Other files, and all whose names begin with a dot, are ignored.
/// - Every class has an image. A folder of a class without one is an error.
///
/// Nothing is decoded to open a folder, so that one of a million images opens in seconds. What [`Picture`] refuses to
/// decode is found when it is read; [`without_broken`](Self::without_broken) looks beforehand.
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
/// let photographs = ImageFolder::open(&folder)?;
/// assert_eq!(photographs.classes(), ["day", "night"]);
///
/// // Small enough for memory: squares of two pixels.
/// let (set, _) = photographs.load(2, BrokenImages::Refuse, 1.try_into()?)?;
/// assert_eq!((set.len(), set.image(0), set.image(1)), (2, &[255; 12][..], &[0; 12][..]));
/// # std::fs::remove_dir_all(&folder)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFolder {
    path: PathBuf,
    classes: Vec<String>,
    /// Each with its label, and its path below the folder.
    files: Vec<(u16, PathBuf)>,
}

impl ImageFolder {
    /// Lists the images of a folder.
    ///
    /// # Errors
    /// [`DataError`] if there is no such folder, it has no folders with images, a class has no image, there are more than
    /// 65,536 classes, or the system refuses to list a folder.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, DataError> {
        let path = path.into();
        let expected = || "one folder a class".to_owned();
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => return Err(DataError::NotAFolder { path, expected: expected() }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(DataError::MissingFolder {
                    path,
                    expected: expected(),
                    source_hint: "put the JPEG or PNG files of each class into a folder named after it",
                });
            }
            Err(source) => return Err(DataError::Io { path, source }),
        }
        let mut classes = Vec::new();
        let mut files = Vec::new();
        let mut empty = None;
        for name in entries(&path)? {
            if !path.join(&name).is_dir() {
                continue;
            }
            let set = path.display().to_string();
            let label =
                u16::try_from(classes.len()).map_err(|_| DataError::ClassCount { set, classes: classes.len() + 1 })?;
            let mut found = Vec::new();
            images(&path, Path::new(&name), DEPTH, &mut found)?;
            if found.is_empty() {
                empty.get_or_insert_with(|| path.join(&name));
            }
            files.extend(found.into_iter().map(|file| (label, file)));
            classes.push(name.to_string_lossy().into_owned());
        }
        match empty {
            _ if files.is_empty() => Err(DataError::NoClassFolders { path }),
            Some(path) => Err(DataError::EmptyClass { path }),
            None => Ok(Self { path, classes, files }),
        }
    }

    /// Lists the images of another part of the same images, such as those to validate with: it must have the same
    /// classes.
    ///
    /// # Errors
    /// As [`open`](Self::open); [`DataError::MissingClasses`] or [`DataError::UnknownClass`] if the classes differ.
    pub fn open_part(&self, path: impl Into<PathBuf>) -> Result<Self, DataError> {
        let part = Self::open(path)?;
        let missing: Vec<String> =
            self.classes.iter().filter(|class| part.classes.binary_search(class).is_err()).cloned().collect();
        if !missing.is_empty() {
            return Err(DataError::MissingClasses { path: part.path, missing });
        }
        match part.classes.iter().find(|class| self.classes.binary_search(class).is_err()) {
            Some(class) => Err(DataError::UnknownClass { class: class.clone(), path: part.path }),
            None => Ok(part),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of an image.
    ///
    /// # Panics
    /// If `index` is not below the number of images.
    #[must_use]
    pub fn file(&self, index: usize) -> PathBuf {
        self.path.join(&self.files[index].1)
    }

    /// Decodes every image, and leaves out those that cannot be: the same folder without them, and an error for each.
    ///
    /// It takes as long as an epoch of decoding.
    ///
    /// # Errors
    /// [`DataError::EmptyClass`] if a class has only broken images, [`DataError::Io`] if a file cannot be read at all.
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

    /// Reads all images at one size into memory: for searches, and whatever else trains on small images.
    ///
    /// Each image is scaled until its shorter side has `size` pixels and cut to the square in its middle. The result is
    /// the same for any number of threads. Images that were left out are returned as errors, one each.
    ///
    /// # Errors
    /// [`DataError`] if `size` is 0, the images do not fit into memory, a file cannot be read, an image is broken and
    /// refused, or a class has only broken ones.
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

    /// Whether every class has images still.
    fn check_classes(&self) -> Result<(), DataError> {
        let mut found = vec![false; self.classes.len()];
        for (label, _) in &self.files {
            found[usize::from(*label)] = true;
        }
        match found.iter().position(|found| !found) {
            Some(class) => Err(DataError::EmptyClass { path: self.path.join(&self.classes[class]) }),
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

/// How many images may be in progress when a folder is read as a whole.
fn window(threads: NonZeroUsize) -> NonZeroUsize {
    threads.saturating_mul(NonZeroUsize::new(AHEAD).unwrap_or(NonZeroUsize::MIN))
}

/// The error of a broken image that is left out; what is not the fault of an image remains an error.
fn left_out(result: Result<(), DataError>) -> Result<Option<DataError>, DataError> {
    match result {
        Ok(()) => Ok(None),
        Err(error @ DataError::BrokenImage { .. }) => {
            tracing::warn!(%error, "image left out");
            Ok(Some(error))
        }
        Err(error) => Err(error),
    }
}

/// The names in a folder, sorted; those that begin with a dot are left out.
fn entries(path: &Path) -> Result<Vec<OsString>, DataError> {
    let failed = |source| DataError::Io { path: path.to_owned(), source };
    let names = fs::read_dir(path).map_err(failed)?.map(|entry| Ok(entry.map_err(failed)?.file_name()));
    let mut names = names.collect::<Result<Vec<_>, DataError>>()?;
    names.retain(|name| !name.as_encoded_bytes().starts_with(b"."));
    names.sort();
    Ok(names)
}

/// Adds the image files below `root/folder`, as paths below `root`.
fn images(root: &Path, folder: &Path, depth: u32, found: &mut Vec<PathBuf>) -> Result<(), DataError> {
    for name in entries(&root.join(folder))? {
        let below = folder.join(&name);
        let is_image = below
            .extension()
            .is_some_and(|extension| ["jpg", "jpeg", "png"].iter().any(|known| extension.eq_ignore_ascii_case(known)));
        // A link to a folder further up would never end; links to images are fine.
        let path = root.join(&below);
        let kind = fs::symlink_metadata(&path).map_err(|source| DataError::Io { path, source })?.file_type();
        if kind.is_dir() && depth > 0 {
            images(root, &below, depth - 1, found)?;
        } else if is_image && !kind.is_dir() {
            found.push(below);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
