//! Folders that are written as a whole.

use super::temporary::{Temporary, remove_leftovers};
use super::{FolderError, parent, sync};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Writes a new folder of files, whole or not at all: afterwards `path` holds all of them, or what it held before.
///
/// The files are names and contents. They go to a new folder beside `path`, which is flushed to disk and then renamed;
/// its name begins with a dot, and it is removed if anything fails. `path` must not exist, or be an empty folder.
///
/// # Errors
/// [`FolderError`] if the folder has contents, is the current one, or cannot be written.
///
/// ```
/// use blockqnn::files::{FolderError, write_folder};
///
/// # let parent = tempfile::tempdir()?;
/// let path = parent.path().join("model");
/// write_folder(&path, &[("README.md", b"# Model".as_slice()), ("config.json", b"{}")])?;
/// assert_eq!(std::fs::read_to_string(path.join("config.json"))?, "{}");
/// let again = write_folder(&path, &[("README.md", b"# Another model".as_slice())]);
/// assert!(matches!(again, Err(FolderError::NotEmpty { found, .. }) if found == "README.md"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn write_folder(path: impl AsRef<Path>, files: &[(&str, &[u8])]) -> Result<(), FolderError> {
    let path = path.as_ref();
    let failed = |source| FolderError::Io { path: path.to_owned(), source };
    let target = place(path)?;
    let folder = parent(&target);
    remove_leftovers(folder);
    // Locked until it is renamed.
    let (temporary, opened) = Temporary::create_folder(folder).map_err(failed)?;
    for (name, content) in files {
        let write = |path: &Path| {
            let mut file = File::options().write(true).create_new(true).open(path)?;
            file.write_all(content)?;
            file.sync_all()
        };
        write(&temporary.path().join(name)).map_err(failed)?;
    }
    sync(temporary.path()).map_err(failed)?;
    if let Err(error) = temporary.rename(&target) {
        // Another process was faster.
        place(path)?;
        return Err(failed(error));
    }
    drop(opened);
    sync(folder).map_err(failed)
}

/// Follows links to the folder that is to be written, which must be new or empty.
fn place(path: &Path) -> Result<PathBuf, FolderError> {
    let failed = |source| FolderError::Io { path: path.to_owned(), source };
    let target = match fs::canonicalize(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if path.file_name().is_none() || path.is_symlink() {
                return Err(failed(error));
            }
            fs::create_dir_all(parent(path)).map_err(failed)?;
            return Ok(path.to_owned());
        }
        target => target.map_err(failed)?,
    };
    let names = fs::read_dir(&target).and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect());
    let names: Vec<_> = names.map_err(failed)?;
    if let Some(found) = names.into_iter().min() {
        return Err(FolderError::NotEmpty { path: path.to_owned(), found: found.display().to_string() });
    }
    // It would be replaced under whoever is in it.
    if std::env::current_dir().and_then(fs::canonicalize).is_ok_and(|current| current == target) {
        let message = "it is the current folder, which is not replaced: name a new folder";
        return Err(failed(io::Error::other(message)));
    }
    Ok(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().display().to_string()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_folder_that_cannot_be_finished_leaves_nothing() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("deep/model");
        // The second file has nowhere to go.
        let files = [("a", b"1".as_slice()), ("missing/b", b"2")];
        assert!(matches!(write_folder(&path, &files), Err(FolderError::Io { .. })));
        assert!(names(&parent.path().join("deep")).is_empty());
        write_folder(&path, &files[..1]).unwrap();
        assert_eq!(
            (names(&parent.path().join("deep")), names(&path)),
            (vec!["model".to_owned()], vec!["a".to_owned()])
        );
    }

    #[test]
    fn an_empty_folder_is_filled_and_one_of_somebody_else_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("model");
        fs::create_dir(&path).unwrap();
        write_folder(&path, &[("a", b"1".as_slice())]).unwrap();
        assert_eq!(names(&path), ["a"]);
        let refused = write_folder(&path, &[("b", b"2".as_slice())]);
        assert!(matches!(refused, Err(FolderError::NotEmpty { found, .. }) if found == "a"));
        assert_eq!(names(&path), ["a"]);
        fs::write(parent.path().join("file"), "").unwrap();
        assert!(write_folder(parent.path().join("file"), &[]).is_err());
        assert_eq!(names(parent.path()), ["file", "model"]);
    }

    #[cfg(unix)]
    #[test]
    fn leftovers_of_a_killed_process_are_removed_and_those_of_a_running_one_stay() {
        let parent = tempfile::tempdir().unwrap();
        let left = parent.path().join(".blockqnn-1-0.tmp");
        fs::create_dir(&left).unwrap();
        fs::write(left.join("half"), "").unwrap();
        let (running, _opened) = Temporary::create_folder(parent.path()).unwrap();
        write_folder(parent.path().join("model"), &[]).unwrap();
        assert!(!left.exists() && running.path().exists());
    }
}
