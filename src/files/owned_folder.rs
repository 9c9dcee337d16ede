//! Folders that only one process at a time writes to.

use super::temporary::{is_temporary, remove_leftovers};
use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The file whose lock holds a folder.
pub(crate) const LOCK: &str = "lock";

/// The reason why a folder cannot be written to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FolderError {
    /// The folder contains files of somebody else.
    #[error(
        "{} contains {found}, which does not belong to this program: choose another folder, or move its contents away",
        path.display()
    )]
    NotEmpty {
        /// The folder.
        path: PathBuf,
        /// The first such file, by name.
        found: String,
    },
    /// Another process writes to the folder.
    #[error("{} is in use by {holder}: wait for it or stop it, or choose another folder", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
        /// The process that holds the folder.
        holder: String,
    },
    /// The folder cannot be created or locked.
    #[error("cannot use {}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
}

/// A folder that no other process writes to while this value or a clone of it exists.
///
/// The folder is held by a lock of the operating system on the file `lock` in it. The lock disappears with its process,
/// however that ends. A writer holds the folder while it writes; readers need not.
///
/// ```
/// use blockqnn::files::{FolderError, OwnedFolder};
///
/// # let parent = tempfile::tempdir()?;
/// let path = parent.path().join("results");
/// let mine = OwnedFolder::create(&path, |_| false)?;
/// assert!(matches!(OwnedFolder::take(&path), Err(FolderError::InUse { .. })));
/// drop(mine);
/// std::fs::write(path.join("thesis.tex"), "")?;
/// assert!(matches!(OwnedFolder::create(&path, |_| false), Err(FolderError::NotEmpty { .. })));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct OwnedFolder {
    path: PathBuf,
    /// Locked while it is open.
    _lock: Arc<File>,
}

impl OwnedFolder {
    /// Takes a folder that is new or empty, or holds only files whose names `own` accepts: those that an earlier
    /// process, killed right after its start, may have left. The folder is created if it does not exist.
    ///
    /// # Errors
    /// [`FolderError`] if the folder holds other files, another process holds it, or it cannot be created.
    pub fn create(path: impl Into<PathBuf>, own: impl Fn(&OsStr) -> bool) -> Result<Self, FolderError> {
        let path = path.into();
        fs::create_dir_all(&path).map_err(|source| FolderError::Io { path: path.clone(), source })?;
        check_empty(&path, &own)?;
        let folder = Self::take(path)?;
        // Another process may have filled and released the folder in between.
        check_empty(&folder.path, &own)?;
        Ok(folder)
    }

    /// Takes a folder that exists, whatever it contains.
    ///
    /// # Errors
    /// [`FolderError`] if another process holds the folder, or it does not exist or cannot be written to.
    pub fn take(path: impl Into<PathBuf>) -> Result<Self, FolderError> {
        let path = path.into();
        let file = path.join(LOCK);
        let io = |source| FolderError::Io { path: file.clone(), source };
        let mut lock = File::options().create(true).truncate(false).read(true).write(true).open(&file).map_err(io)?;
        match try_lock_patiently(&lock) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Naming the holder is a courtesy: a failure to read it must not hide that the folder is in use.
                let _ = (&lock).take(100).read_to_string(&mut holder);
                let holder = if holder.is_empty() { "another process".to_owned() } else { holder.trim().to_owned() };
                return Err(FolderError::InUse { path, holder });
            }
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        // The content only names the holder in messages. If the disk is full, the next write of results says so better.
        let _ = lock.set_len(0).and_then(|()| lock.rewind());
        let _ = writeln!(lock, "process {}", std::process::id());
        remove_leftovers(&path);
        Ok(Self { path, _lock: Arc::new(lock) })
    }

    /// Returns the path of the folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Creates the first of the folders `PARENT/NAME`, `PARENT/NAME-2`, `PARENT/NAME-3`, ... that does not exist, and
/// returns its path. Processes that call this at the same time each get their own folder.
///
/// # Errors
/// [`FolderError::Io`] if the folder cannot be created.
pub fn new_folder(parent: impl AsRef<Path>, name: &str) -> Result<PathBuf, FolderError> {
    let parent = parent.as_ref();
    let failed = |path: &Path, source| FolderError::Io { path: path.to_owned(), source };
    fs::create_dir_all(parent).map_err(|source| failed(parent, source))?;
    let mut path = parent.join(name);
    for number in 2u64.. {
        match fs::create_dir(&path) {
            Ok(()) => break,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                path = parent.join(format!("{name}-{number}"));
            }
            Err(error) => return Err(failed(&path, error)),
        }
    }
    Ok(path)
}

/// Refuses a folder that contains a file other than the lock, temporary files and the names that `own` accepts.
fn check_empty(path: &Path, own: &impl Fn(&OsStr) -> bool) -> Result<(), FolderError> {
    let io = |source| FolderError::Io { path: path.to_owned(), source };
    let mut others = Vec::new();
    for entry in fs::read_dir(path).map_err(io)? {
        let name = entry.map_err(io)?.file_name();
        if !is_lock(path, &name) && !is_temporary(&name) && !own(&name) {
            others.push(name);
        }
    }
    match others.into_iter().min() {
        Some(found) => Err(FolderError::NotEmpty { path: path.to_owned(), found: found.display().to_string() }),
        None => Ok(()),
    }
}

/// Returns whether a file is the lock of a folder, and not somebody else's file of the same name.
fn is_lock(folder: &Path, name: &OsStr) -> bool {
    let text = || {
        let mut text = String::new();
        File::open(folder.join(name)).ok()?.take(100).read_to_string(&mut text).ok()?;
        Some(text)
    };
    name == LOCK && text().is_some_and(|text| text.is_empty() || text.starts_with("process "))
}

/// Locks a file, waiting a moment for a holder that is about to release it. A lock that was just released may still be
/// held for milliseconds by a child process that is starting: it inherits the open file until it executes its own
/// program.
fn try_lock_patiently(lock: &File) -> Result<(), TryLockError> {
    let mut result = lock.try_lock();
    for _ in 0..50 {
        if !matches!(result, Err(TryLockError::WouldBlock)) {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
        result = lock.try_lock();
    }
    result
}
