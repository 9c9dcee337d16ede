//! Temporary files and folders, which take their place by being renamed.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

const PREFIX: &str = ".blockqnn-";
const SUFFIX: &str = ".tmp";

/// A new file or folder that nobody else uses, removed on drop unless it was renamed.
pub(super) struct Temporary {
    path: PathBuf,
    renamed: bool,
}

impl Temporary {
    /// Creates a file in a folder. It is locked while the file is open, which tells it from the leftovers of a killed
    /// process.
    pub(super) fn create(folder: &Path) -> io::Result<(Self, File)> {
        let (temporary, file) = Self::named(folder, |path| File::options().write(true).create_new(true).open(path))?;
        // Where files cannot be locked, leftovers are never removed.
        let _ = file.try_lock();
        Ok((temporary, file))
    }

    /// Creates a folder in a folder, and opens it; it is locked like a file. Systems that do not open folders have no
    /// lock on it.
    pub(super) fn create_folder(folder: &Path) -> io::Result<(Self, Option<File>)> {
        let (temporary, ()) = Self::named(folder, |path| fs::create_dir(path))?;
        let opened = File::open(&temporary.path).ok();
        if let Some(opened) = &opened {
            let _ = opened.try_lock();
        }
        Ok((temporary, opened))
    }

    /// Creates something under a name that is free.
    fn named<T>(folder: &Path, create: impl Fn(&Path) -> io::Result<T>) -> io::Result<(Self, T)> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        loop {
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let path = folder.join(format!("{PREFIX}{}-{number}{SUFFIX}", std::process::id()));
            match create(&path) {
                Ok(created) => return Ok((Self { path, renamed: false }, created)),
                // Another process, on another machine or ended long ago, used the same number.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn rename(mut self, path: &Path) -> io::Result<()> {
        fs::rename(&self.path, path)?;
        self.renamed = true;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.renamed {
            // The caller's error says more than one about the leftover would.
            let _ = remove(&self.path);
        }
    }
}

/// Removes a temporary file, or a folder with all that is in it.
fn remove(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}

/// Returns whether a file with this name is, or was, a temporary file of this module.
pub(super) fn is_temporary(name: &std::ffi::OsStr) -> bool {
    let name = name.as_encoded_bytes();
    name.starts_with(PREFIX.as_bytes()) && name.ends_with(SUFFIX.as_bytes())
}

/// Removes the temporary files and folders that killed processes left in a folder. Those of running processes are
/// locked.
pub(crate) fn remove_leftovers(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten().filter(|entry| is_temporary(&entry.file_name())) {
        if File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok()) {
            // A leftover that cannot be removed does no harm.
            let _ = remove(&entry.path());
        }
    }
}
