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
        check_folder(path, &files.join(", "), self.hint)?;
        let inner = path.join(self.folder);
        if inner.is_dir() && !files.iter().any(|file| path.join(file).exists()) {
            return Ok(inner);
        }
        Ok(path.to_owned())
    }
}

/// Checks that a folder exists, which should hold what is `expected`.
pub(super) fn check_folder(path: &Path, expected: &str, source_hint: &'static str) -> Result<(), DataError> {
    let (path, expected) = (path.to_owned(), expected.to_owned());
    match fs::metadata(&path) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => Err(DataError::folder(&path, format!("is a file: give the folder that holds {expected}"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(DataError::MissingFolder { path, expected, source_hint })
        }
        Err(source) => Err(DataError::Io { path, source }),
    }
}

/// Opens a regular file that is not empty, and returns its size too.
pub(super) fn open(path: &Path) -> Result<(BufReader<File>, u64), DataError> {
    // The check comes before opening, because opening a named pipe would wait for its writer.
    if !fs::metadata(path).map_err(DataError::io(path))?.is_file() {
        return Err(DataError::file(path, "is not a regular file: put the official data file there"));
    }
    let file = File::open(path).map_err(DataError::io(path))?;
    let bytes = file.metadata().map_err(DataError::io(path))?.len();
    if bytes == 0 {
        return Err(DataError::file(path, "is empty: copy or download it again"));
    }
    Ok((BufReader::with_capacity(1 << 16, file), bytes))
}

/// The error of a file that ends in the middle of a record.
pub(super) fn truncated(path: &Path, records: u64, record_bytes: u64, remainder: u64) -> DataError {
    let problem = format!("after {records} records of {record_bytes} bytes there are {remainder} bytes left over");
    DataError::file(path, format!("is truncated: {problem}; copy or download it again"))
}

/// Checks that the label of a record is one of the `limit` labels of its kind.
pub(super) fn check_label(path: &Path, record: usize, kind: &str, label: u8, limit: usize) -> Result<(), DataError> {
    if usize::from(label) < limit {
        return Ok(());
    }
    let problem = format!(
        "has the {kind} {label} in record {record} (counted from 0), but its labels must be below {limit}; the file is \
         damaged or belongs to another set, so copy or download it again"
    );
    Err(DataError::file(path, problem))
}
