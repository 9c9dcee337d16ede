//! Folders that hold the parts of a data set: training, validation and test images.

use super::listing::{Kind, entries, kind};
use super::names::class_name;
use crate::data::DataError;
use crate::data::error::quoted;
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
    /// [`DataError::Folder`] if several folders are the same part, or there are parts but no training images;
    /// [`DataError::Io`] if the system refuses to list a folder.
    pub fn find(path: impl Into<PathBuf>) -> Result<Self, DataError> {
        let path = path.into();
        let (parts, others) = folders(&path)?;
        let present = parts.iter().filter(|folders| !folders.is_empty()).count();
        // A single folder with such a name may also be a class.
        let are_classes = || parts.iter().flatten().map(|folder| has_only_folders(folder).map(|only| !only));
        if present == 0 || (present == 1 && are_classes().collect::<Result<Vec<_>, _>>()?.contains(&true)) {
            return Ok(Self { training: path.clone(), path, validation: None, test: None, ignored: Vec::new() });
        }
        if let Some(same) = parts.iter().find(|folders| folders.len() > 1) {
            let folders = quoted(&names(same));
            let problem = format!("holds several folders of the same part, {folders}: keep one of them there");
            return Err(DataError::folder(&path, problem));
        }
        let found = quoted(&names(parts.iter().flatten()));
        let [training, validation, test] = parts.map(|mut folders| folders.pop());
        let Some(training) = training else {
            let (problem, train) = ("but no folder of training images", path.join("train"));
            let fix = format!("put the class folders with the training images into {}", train.display());
            return Err(DataError::folder(&path, format!("holds {found}, {problem}: {fix}")));
        };
        Ok(Self { path, training, validation, test, ignored: names(&others) })
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
        let folders = quoted(&self.ignored);
        let what = format!("the folders {folders} are ignored: they are not training, validation or test images");
        (!self.ignored.is_empty()).then(|| DataError::Ignored { path: self.path.clone(), what })
    }

    /// Returns the names of the parts.
    pub(super) fn names(&self) -> Vec<String> {
        names([Some(&self.training), self.validation.as_ref(), self.test.as_ref()].into_iter().flatten())
    }
}

fn names<'a>(folders: impl IntoIterator<Item = &'a PathBuf>) -> Vec<String> {
    folders.into_iter().filter_map(|folder| folder.file_name()).map(class_name).collect()
}

/// The folders with the names of each part: training, validation, test.
type Named = [Vec<PathBuf>; 3];

/// Lists the folders in a folder: those that have the name of a part, and the others. All lists are empty if the
/// folder does not exist: opening it reports that.
fn folders(path: &Path) -> Result<(Named, Vec<PathBuf>), DataError> {
    let (mut named, mut others) = (Named::default(), Vec::new());
    if !path.is_dir() {
        return Ok((named, others));
    }
    for name in entries(path)? {
        let folder = path.join(&name);
        if matches!(kind(&folder)?, Kind::Folder | Kind::LinkedFolder) {
            match part(&name) {
                Some(part) => named[part].push(folder),
                None => others.push(folder),
            }
        }
    }
    Ok((named, others))
}

/// Returns the number of the part that a name stands for, as in [`Named`].
fn part(name: &OsStr) -> Option<usize> {
    let name = name.to_str()?.to_lowercase();
    let words = name.split(|c: char| !c.is_alphabetic()).map(|word| {
        let bare = word.strip_suffix("set").or(word.strip_suffix("data")).unwrap_or(word);
        if bare.is_empty() { word } else { bare }
    });
    let mut words = words.filter(|word| !word.is_empty() && !FILLERS.contains(word));
    let (word, None) = (words.next()?, words.next()) else { return None };
    [&TRAINING[..], &VALIDATION, &TEST].iter().position(|spellings| spellings.contains(&word))
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
            (&["train", "Training", "TRAIN_SET", "train2017", "trainset", "01-train", "training images"][..], 0),
            (&["val", "valid", "Validation", "validation_set", "valset", "dev", "val2017"], 1),
            (&["test", "Testing", "test-data", "testdata", "eval", "test_images"], 2),
        ] {
            assert!(parts(names).iter().all(|found| *found == Some(wanted)), "{names:?}: {:?}", parts(names));
        }
        for name in ["trainer", "daisy", "set", "data", "trains and planes", "validity", "contest", "set 1", "", "2017"]
        {
            assert_eq!(part(OsStr::new(name)), None, "{name}");
        }
    }
}
