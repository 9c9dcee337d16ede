//! Why a run folder cannot be used.

use super::journal::hint;
use super::{DESCRIPTION, FORMAT, JournalError};
use crate::files::FolderError;
use std::io;
use std::path::PathBuf;

/// Why a folder cannot hold the run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunFolderError {
    /// The folder of a new run already holds a run.
    #[error(
        "{} already holds a {} run with {done} of {trials} trials: resume it, or choose another folder",
        path.display(),
        if done < trials { "stopped" } else { "finished" }
    )]
    Occupied {
        /// The folder.
        path: PathBuf,
        /// Trials finished.
        done: u64,
        /// Trials of the whole run.
        trials: u64,
    },
    /// The folder contains other files.
    #[error(
        "{} is neither empty nor a run folder (it contains {found}): choose another folder, or move its contents away",
        path.display()
    )]
    NotEmpty {
        /// The folder.
        path: PathBuf,
        /// The first of the other files, by name.
        found: String,
    },
    /// There is nothing to resume.
    #[error("{} is not a run folder (it has no {DESCRIPTION}): give the folder that a search wrote to", path.display())]
    NoRun {
        /// The folder.
        path: PathBuf,
    },
    /// Another process is using the run.
    #[error("the run in {} is in use by {holder}: wait for it or stop it, or choose another folder", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
        /// Who holds it.
        holder: String,
    },
    /// The run was started with other settings.
    #[error(
        "the run in {} was started with other settings:\n  {}\nresume it with its original settings, or start \
         a new run in another folder",
        path.display(),
        differences.join("\n  ")
    )]
    Changed {
        /// The folder.
        path: PathBuf,
        /// A line for each setting that differs.
        differences: Vec<String>,
    },
    /// The folder was written by a later version of this crate.
    #[error(
        "{} has format {found}, but this version of blockqnn reads formats up to {FORMAT}: use the version that wrote \
         it",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u64,
    },
    /// The description of the run cannot be read.
    #[error("{} is not a valid description of a run: {message}. Restore it from a copy", path.display())]
    Description {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// A file could not be written. The folder still holds all finished trials.
    #[error("cannot write {}: {source}{}", path.display(), hint(source))]
    Write {
        /// The file.
        path: PathBuf,
        /// What happened.
        #[source]
        source: io::Error,
    },
    /// A file or folder could not be used.
    #[error("cannot use {}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What happened.
        #[source]
        source: io::Error,
    },
    /// The agent cannot use the checkpoint, although its checksum is right.
    #[error(
        "cannot use the checkpoint {}: {source}. Delete it: the agent then learns again from the journal",
        path.display()
    )]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// The agent's error.
        #[source]
        source: crate::agent::AgentError,
    },
    /// What the run began with cannot be read.
    #[error("{} is damaged: {message}. Restore it from a copy, or start a new run in another folder", path.display())]
    WarmStart {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// There is a checkpoint, but not the journal that belongs to it.
    #[error(
        "there is a checkpoint of the run, but no {}: restore it from a copy, or start a new run in another folder",
        path.display()
    )]
    LostJournal {
        /// Where the journal should be.
        path: PathBuf,
    },
    /// The journal cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl From<FolderError> for RunFolderError {
    fn from(error: FolderError) -> Self {
        match error {
            FolderError::NotEmpty { path, found } => Self::NotEmpty { path, found },
            FolderError::InUse { path, holder } => Self::InUse { path, holder },
            FolderError::Io { path, source } => Self::Io { path, source },
        }
    }
}
