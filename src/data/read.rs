//! Opening files safely: their sizes are known and checked before memory is allocated for them.

use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use super::DataError;

/// Where the files of a set are and where they come from.
#[derive(Debug)]
pub(super) struct Source {
    /// The folder into which the official archive unpacks.
    pub(super) folder: &'static str,
    /// Where to get the set, as an instruction.
    pub(super) hint: &'static str,
}

impl Source {
    /// Returns the folder that holds `files`: `path` itself, or the archive's folder in it.
    pub(super) fn find(&self, path: &Path, files: &[&str]) -> Result<PathBuf, DataError> {
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => return Err(DataError::NotAFolder { path: path.to_owned(), expected: files.join(", ") }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(DataError::MissingFolder {
                    path: path.to_owned(),
                    expected: files.join(", "),
                    source_hint: self.hint,
                });
            }
            Err(source) => return Err(DataError::Io { path: path.to_owned(), source }),
        }
        let inner = path.join(self.folder);
        if inner.is_dir() && !files.iter().any(|file| path.join(file).exists()) {
            return Ok(inner);
        }
        Ok(path.to_owned())
    }
}

/// Opens a regular file that is not empty, and returns its size too.
pub(super) fn open(path: &Path) -> Result<(BufReader<File>, u64), DataError> {
    let failed = |source: io::Error| DataError::Io { path: path.to_owned(), source };
    // The check comes before opening, because opening a named pipe would wait for its writer.
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(DataError::NotAFile { path: path.to_owned() });
    }
    let file = File::open(path).map_err(failed)?;
    let bytes = file.metadata().map_err(failed)?.len();
    if bytes == 0 {
        return Err(DataError::EmptyFile { path: path.to_owned() });
    }
    Ok((BufReader::with_capacity(1 << 16, file), bytes))
}
