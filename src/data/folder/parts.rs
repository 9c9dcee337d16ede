//! Folders that hold the parts of a data set: training, validation and test images.

use super::listing::{Kind, entries, kind};
use super::names::class_name;
use crate::data::DataError;
use crate::data::picture::is_picture;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// The folders with the training, validation and test images of a data set.
///
/// Parts are recognised in the usual spellings: `train`, `training`, `Train_set`, `train2017`; `val`, `valid`,
/// `validation`, `dev`; `test`, `testing`, `eval`; and so on. A folder with such a name is a part, and not a class, if
/// there is another part beside it, or if it contains folders and no pictures of its own. A class may therefore be
/// called `train`.
///
/// ```text
/// flowers/Training/daisy/1.jpg
/// flowers/Validation/daisy/2.jpg
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderParts {
    path: PathBuf,
    training: PathBuf,
    validation: Option<PathBuf>,
    test: Option<PathBuf>,
    ignored: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Training,
    Validation,
    Test,
}

const TRAINING: [&str; 4] = ["train", "training", "trainval", "trn"];
const VALIDATION: [&str; 9] = ["val", "valid", "validate", "validation", "validating", "vali", "vld", "dev", "devel"];
const TEST: [&str; 9] = ["test", "tests", "testing", "tst", "eval", "evaluate", "evaluation", "holdout", "heldout"];
/// Words that do not say which part it is.
const FILLERS: [&str; 15] = [
    "set", "sets", "data", "dataset", "part", "split", "folder", "dir", "images", "image", "imgs", "img", "pictures",
    "photos", "samples",
];

impl FolderParts {
    /// Finds the parts of a folder. A folder without parts holds the class folders, and is its own training part.
    ///
    /// # Errors
    /// [`DataError::AmbiguousParts`] if several folders are the same part, [`DataError::NoTrainingPart`] if there are
    /// only other parts, [`DataError::Io`] if the system refuses to list a folder.
    pub fn find(path: impl Into<PathBuf>) -> Result<Self, DataError> {
        let path = path.into();
        let (named, others) = folders(&path)?;
        let roles = |part| named.iter().filter(move |(found, _)| *found == part);
        let mut present = [Part::Training, Part::Validation, Part::Test].map(|part| roles(part).next().is_some());
        if present.iter().filter(|found| **found).count() == 1 {
            for (_, folder) in &named {
                if !has_only_folders(folder)? {
                    present = [false; 3];
                }
            }
        }
        if present == [false; 3] {
            return Ok(Self { training: path.clone(), path, validation: None, test: None, ignored: Vec::new() });
        }
        let only = |part| -> Result<Option<PathBuf>, DataError> {
            let folders: Vec<&PathBuf> = roles(part).map(|(_, folder)| folder).collect();
            match folders[..] {
                [] => Ok(None),
                [folder] => Ok(Some(folder.clone())),
                _ => Err(DataError::AmbiguousParts { path: path.clone(), folders: names(folders.into_iter()) }),
            }
        };
        let (training, validation, test) = (only(Part::Training)?, only(Part::Validation)?, only(Part::Test)?);
        let Some(training) = training else {
            let folders = names(named.iter().map(|(_, folder)| folder));
            return Err(DataError::NoTrainingPart { path, folders });
        };
        Ok(Self { path, training, validation, test, ignored: names(others.iter()) })
    }

    /// Returns the folder with the classes of the training images.
    #[must_use]
    pub fn training(&self) -> &Path {
        &self.training
    }

    /// Returns the folder with the classes of the validation images, if there is one.
    #[must_use]
    pub fn validation(&self) -> Option<&Path> {
        self.validation.as_deref()
    }

    /// Returns the folder with the classes of the test images, if there is one.
    #[must_use]
    pub fn test(&self) -> Option<&Path> {
        self.test.as_deref()
    }

    /// Returns whether the folder is divided into parts.
    #[must_use]
    pub fn is_divided(&self) -> bool {
        self.training != self.path
    }

    /// Returns the folders that lie beside the parts and belong to none, as an error to report.
    #[must_use]
    pub fn left_out(&self) -> Option<DataError> {
        let folders = self.ignored.clone();
        (!folders.is_empty()).then(|| DataError::IgnoredFolders { path: self.path.clone(), folders })
    }

    /// Returns the names of the parts.
    pub(super) fn names(&self) -> Vec<String> {
        names([Some(&self.training), self.validation.as_ref(), self.test.as_ref()].into_iter().flatten())
    }
}

fn names<'a>(folders: impl Iterator<Item = &'a PathBuf>) -> Vec<String> {
    folders.filter_map(|folder| folder.file_name()).map(class_name).collect()
}

type Named = Vec<(Part, PathBuf)>;

/// Lists the folders in a folder: those that have the name of a part, and the others. Both lists are empty if the
/// folder does not exist: opening it reports that.
fn folders(path: &Path) -> Result<(Named, Vec<PathBuf>), DataError> {
    let (mut named, mut others) = (Vec::new(), Vec::new());
    if !path.is_dir() {
        return Ok((named, others));
    }
    for name in entries(path)? {
        let folder = path.join(&name);
        if matches!(kind(&folder)?, Kind::Folder | Kind::LinkedFolder) {
            match part(&name) {
                Some(part) => named.push((part, folder)),
                None => others.push(folder),
            }
        }
    }
    Ok((named, others))
}

/// Returns the part that a name stands for.
fn part(name: &OsStr) -> Option<Part> {
    let name = name.to_str()?.to_lowercase();
    let words = name.split(|c: char| !c.is_alphabetic()).map(|word| {
        let bare = word.strip_suffix("set").or(word.strip_suffix("data")).unwrap_or(word);
        if bare.is_empty() { word } else { bare }
    });
    let mut words = words.filter(|word| !word.is_empty() && !FILLERS.contains(word));
    let (word, None) = (words.next()?, words.next()) else { return None };
    let parts = [(&TRAINING[..], Part::Training), (&VALIDATION, Part::Validation), (&TEST, Part::Test)];
    parts.into_iter().find(|(spellings, _)| spellings.contains(&word)).map(|(_, part)| part)
}

/// Returns whether a folder contains folders and no pictures of its own.
fn has_only_folders(path: &Path) -> Result<bool, DataError> {
    let mut folders = false;
    for name in entries(path)? {
        match kind(&path.join(&name))? {
            Kind::Folder | Kind::LinkedFolder => folders = true,
            Kind::File | Kind::Dangling if is_picture(Path::new(&name)) => return Ok(false),
            Kind::File | Kind::Dangling => {}
        }
    }
    Ok(folders)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_spellings_are_recognised() {
        let parts = |names: &[&str]| names.iter().map(|name| part(OsStr::new(name))).collect::<Vec<_>>();
        for (names, wanted) in [
            (
                &["train", "Training", "TRAIN_SET", "train2017", "trainset", "01-train", "training images"][..],
                Part::Training,
            ),
            (&["val", "valid", "Validation", "validation_set", "valset", "dev", "val2017"], Part::Validation),
            (&["test", "Testing", "test-data", "testdata", "eval", "test_images"], Part::Test),
        ] {
            assert!(parts(names).iter().all(|found| *found == Some(wanted)), "{names:?}: {:?}", parts(names));
        }
        for name in ["trainer", "daisy", "set", "data", "trains and planes", "validity", "contest", "set 1", "", "2017"]
        {
            assert_eq!(part(OsStr::new(name)), None, "{name}");
        }
    }
}
