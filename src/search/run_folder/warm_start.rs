//! `warm-start.json`: the architectures that a run evaluates first, and the results from elsewhere that its agent has
//! learned, so that a resumed search begins with the same.

use super::{DESCRIPTION, Description, RunFolder, RunFolderError, WARM_START};
use crate::files;
use crate::search::warm_start::WarmStart;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::Path;

impl RunFolder {
    /// Completes what a search begins with by what the run in the folder began with.
    pub(in crate::search) fn recall<Action: Serialize + DeserializeOwned>(
        &self,
        now: WarmStart<Action>,
    ) -> Result<WarmStart<Action>, RunFolderError> {
        if !self.path.join(DESCRIPTION).exists() {
            return Ok(now);
        }
        let expected = self.description()?.warm_start();
        if expected == [None, None] {
            return Ok(now);
        }
        let path = self.path.join(WARM_START);
        let text = std::fs::read(&path).map_err(|source| RunFolderError::Io { path: path.clone(), source })?;
        let damaged = |message: String| RunFolderError::WarmStart { path: path.clone(), message };
        let then: WarmStart<Action> = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
        if then.identities() != expected {
            return Err(damaged(format!("it does not hold what {DESCRIPTION} says: {expected:?}")));
        }
        Ok(now.or(then))
    }

    /// Returns the identity of the search space of the run in a folder, if the run recorded it.
    pub(in crate::search) fn space_of(path: &Path) -> Result<Option<String>, RunFolderError> {
        if !path.join(DESCRIPTION).exists() {
            return Err(RunFolderError::NoRun { path: path.to_owned() });
        }
        Ok(Description::read(&path.join(DESCRIPTION))?.space())
    }
}

/// Writes what a search begins with.
pub(super) fn write(folder: &Path, json: &[u8]) -> Result<(), RunFolderError> {
    let path = folder.join(WARM_START);
    files::write(&path, |out| out.write_all(json)).map_err(|source| RunFolderError::Write { path, source })
}
