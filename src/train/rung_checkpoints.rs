//! The checkpoints of trials that may be promoted.

use super::TrainingEnvironment;
use crate::environment::BoxError;
use crate::graph::Fingerprint;
use crate::search::{Observer, RecordOf, SearchReport};
use crate::space::SearchSpace;
use std::io::ErrorKind;
use std::path::PathBuf;

/// An observer that deletes the trainings that [`TrainingEnvironment::with_rungs_kept`] kept, once their trials can no
/// longer be promoted.
///
/// ```no_run
/// use blockqnn::train::RungCheckpoints;
///
/// let observer = RungCheckpoints::new("runs/first/rungs");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RungCheckpoints {
    folder: PathBuf,
}

impl RungCheckpoints {
    /// Creates an observer for the trainings below a folder.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// Deletes what was kept of a trial, if anything was. A failure is logged: what is left over does no harm.
    pub(super) fn remove(&self, fingerprint: Fingerprint, seed: u64) {
        let path = TrainingEnvironment::trial_folder(&self.folder, fingerprint, seed);
        match std::fs::remove_dir_all(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                tracing::warn!(path = %path.display(), %error, "a training that is not needed any more is not deleted");
            }
            _ => {}
        }
    }
}

impl<S: SearchSpace> Observer<S> for RungCheckpoints {
    fn on_finished(&mut self, record: &RecordOf<S>) -> Result<(), BoxError> {
        if record.evaluation.final_value().is_none() {
            self.remove(record.fingerprint, record.seed);
        }
        Ok(())
    }

    fn on_ruled_out(&mut self, record: &RecordOf<S>) -> Result<(), BoxError> {
        self.remove(record.fingerprint, record.seed);
        Ok(())
    }

    /// Deletes the folder, if nothing is left in it.
    fn on_end(&mut self, _: &SearchReport<S>) -> Result<(), BoxError> {
        let _ = std::fs::remove_dir(&self.folder);
        Ok(())
    }
}
