//! The folder of a run: what makes a search survive a killed process, a full disk and a power cut.
//!
//! `search.json` describes the run, `journal.jsonl` what happened (the truth), `checkpoint` what the agent learnt (a
//! speed-up only), `lock` the process that uses it. `docs/wire-format.md` describes each.

mod checkpoint;
mod difference;
mod error;
mod history;
mod journal;
mod open_run;

pub use error::RunFolderError;
pub use history::{Fault, RunHistory};
pub use journal::{Durability, JournalError};

pub(super) use open_run::{Checkpoint, OpenRun, Past, PastStep};

use super::SearchConfig;
use crate::files::{self, OwnedFolder};
use crate::space::SearchSpace;
use journal::{Entry, Journal};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Version of the run folder's form.
const FORMAT: u32 = 1;

const DESCRIPTION: &str = "search.json";
const JOURNAL: &str = "journal.jsonl";
const CHECKPOINT: &str = "checkpoint";
/// Where the description was written to before it was renamed, by version 0.1.0.
const EARLIER_TEMPORARY: &str = "search.tmp";

/// What the run in a folder was started with.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RunSettings {
    /// Settings of the controller.
    pub search: SearchConfig,
    /// What [`RunFolder::with_details`] was given, as JSON.
    pub details: Value,
    /// Identity of the environment.
    pub environment: String,
}

/// `search.json`: what a run is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Description {
    format: u32,
    /// Version of the crate that started the run; shown, not compared.
    version: String,
    environment: String,
    search: Value,
    details: Value,
}

/// A folder that a search writes to while it runs, held exclusively by this process.
///
/// Give it to [`Search::with_run_folder`](super::Search::with_run_folder). A search that was killed at any moment is
/// resumed by running it again with the same settings and [`RunFolder::resume`], and ends as if nothing had happened.
///
/// ```
/// use blockqnn::agent::{QLearning, QLearningConfig};
/// use blockqnn::environment::synthetic::Synthetic;
/// use blockqnn::search::{RunFolder, Search, SearchConfig};
/// use blockqnn::space::block::BlockSpace;
///
/// let run = |folder: RunFolder, trials| {
///     let agent = QLearning::new(QLearningConfig::paper())?;
///     let config = SearchConfig::paper().with_trials(trials, 8);
///     Ok::<_, Box<dyn std::error::Error>>(
///         Search::new(BlockSpace::paper(), agent, Synthetic::new(), config).with_run_folder(folder).run()?,
///     )
/// };
/// let parent = tempfile::tempdir()?;
/// let path = parent.path().join("run");
/// assert_eq!(run(RunFolder::create(&path)?, 16)?.records.len(), 16);
/// // A finished run continues when it is resumed with more trials: the first 16 are not evaluated again.
/// assert_eq!(run(RunFolder::resume(&path)?, 32)?.records.len(), 32);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    details: Value,
    durability: Durability,
    checkpoint_every: u64,
    owner: OwnedFolder,
}

impl RunFolder {
    /// Takes a new or empty folder for a new run.
    ///
    /// # Errors
    /// [`RunFolderError`] if there is something in it, or it cannot be made.
    pub fn create(path: impl Into<PathBuf>) -> Result<Self, RunFolderError> {
        let path = path.into();
        if path.join(DESCRIPTION).exists() {
            return Err(Self::held(OwnedFolder::take(path)?).occupied());
        }
        // A process that was killed between the lock and the description leaves an empty run.
        let folder = Self::held(OwnedFolder::create(path, |name| name == EARLIER_TEMPORARY || name == DESCRIPTION)?);
        // Another process may have begun, and have ended, a run in between.
        if folder.path.join(DESCRIPTION).exists() { Err(folder.occupied()) } else { Ok(folder) }
    }

    /// Opens the folder of a run that was stopped, killed or finished, to continue it.
    ///
    /// # Errors
    /// [`RunFolderError`] if there is no run in it, or another process is using it.
    pub fn resume(path: impl Into<PathBuf>) -> Result<Self, RunFolderError> {
        let path = path.into();
        if !path.join(DESCRIPTION).exists() {
            return Err(RunFolderError::NoRun { path });
        }
        Ok(Self::held(OwnedFolder::take(path)?))
    }

    fn held(owner: OwnedFolder) -> Self {
        let (path, details) = (owner.path().to_owned(), Value::Null);
        Self { path, details, durability: Durability::default(), checkpoint_every: 1, owner }
    }

    /// The same folder, with further settings that its results depend on: space, agent, reward. A run is resumed only
    /// with equal ones.
    ///
    /// # Errors
    /// [`RunFolderError::Description`] if they have no JSON form.
    pub fn with_details(mut self, details: &impl Serialize) -> Result<Self, RunFolderError> {
        self.details = serde_json::to_value(details).map_err(|error| RunFolderError::Description {
            path: self.path.join(DESCRIPTION),
            message: error.to_string(),
        })?;
        Ok(self)
    }

    /// The same folder, forcing its journal to the disk at other times.
    #[must_use]
    pub fn with_durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// The same folder, writing a checkpoint after each `minibatches` minibatches; 0 is never. Without one, resuming
    /// learns everything again from the journal.
    #[must_use]
    pub fn with_checkpoint_every(mut self, minibatches: u64) -> Self {
        self.checkpoint_every = minibatches;
        self
    }

    /// What the run was started with, to resume it with the same.
    ///
    /// # Errors
    /// [`RunFolderError`] if the folder is new or its description cannot be read.
    pub fn settings(&self) -> Result<RunSettings, RunFolderError> {
        self.description()?.settings(&self.path.join(DESCRIPTION))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder as a thing that is held: no other process writes to it as long as this exists, also after the search has
    /// ended, when its results are written.
    #[must_use]
    pub fn owner(&self) -> OwnedFolder {
        self.owner.clone()
    }

    fn occupied(&self) -> RunFolderError {
        let description = match self.description() {
            Ok(description) => description,
            Err(error) => return error,
        };
        let contents = match journal::read::<Value>(&self.path.join(JOURNAL)) {
            Ok(contents) => contents,
            Err(error) => return error.into(),
        };
        let done = contents.entries.iter().filter(|entry| matches!(entry, Entry::Finished(_))).count() as u64;
        let trials = description.search["trials"].as_u64().unwrap_or(done);
        RunFolderError::Occupied { path: self.path.clone(), done, trials }
    }

    fn description(&self) -> Result<Description, RunFolderError> {
        Description::read(&self.path.join(DESCRIPTION))
    }

    /// Begins or resumes the run: compares or writes its description, and reads what happened so far.
    pub(super) fn open<S: SearchSpace>(
        self,
        config: &SearchConfig,
        environment: &str,
    ) -> Result<(OpenRun, Past<S>), RunFolderError> {
        let description_path = self.path.join(DESCRIPTION);
        let unusable = |message: String| RunFolderError::Description { path: description_path.clone(), message };
        let now = Description {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            environment: environment.to_owned(),
            search: serde_json::to_value(config).map_err(|error| unusable(error.to_string()))?,
            details: self.details.clone(),
        };
        let is_new = if description_path.exists() {
            let then = self.description()?;
            let differences = difference::between(&then.comparable(), &now.comparable());
            if !differences.is_empty() {
                return Err(RunFolderError::Changed { path: self.path, differences });
            }
            then.search != now.search
        } else {
            true
        };
        let path = self.path.join(JOURNAL);
        // The journal is begun before the first checkpoint: one without the other has been lost.
        if !path.exists() && self.path.join(CHECKPOINT).exists() {
            return Err(RunFolderError::LostJournal { path });
        }
        let contents = journal::read(&path)?;
        let past = Past::new(&path, &contents)?;
        if past.finished.len() as u64 > config.trials {
            let done = past.finished.len();
            let differences = vec![format!(
                "search.trials: {done} are finished in the folder, {} now: give {done} or more",
                config.trials
            )];
            return Err(RunFolderError::Changed { path: self.path, differences });
        }
        if is_new {
            let write = |out: &mut dyn Write| -> io::Result<()> {
                serde_json::to_writer_pretty(&mut *out, &now)?;
                out.write_all(b"\n")
            };
            files::write(&description_path, write)
                .map_err(|source| RunFolderError::Write { path: description_path.clone(), source })?;
        }
        let journal = Journal::open(&path, &contents, self.durability)?;
        Ok((OpenRun { folder: self, journal, learnt: 0 }, past))
    }
}

impl Description {
    fn read(path: &Path) -> Result<Self, RunFolderError> {
        let path = path.to_owned();
        let text = fs::read_to_string(&path).map_err(|source| RunFolderError::Io { path: path.clone(), source })?;
        let corrupt =
            |error: serde_json::Error| RunFolderError::Description { path: path.clone(), message: error.to_string() };
        let value: Value = serde_json::from_str(&text).map_err(corrupt)?;
        if let Some(found) = value["format"].as_u64()
            && found > u64::from(FORMAT)
        {
            return Err(RunFolderError::Newer { path, found });
        }
        serde_json::from_value(value).map_err(corrupt)
    }

    fn settings(self, path: &Path) -> Result<RunSettings, RunFolderError> {
        let search = serde_json::from_value(self.search)
            .map_err(|error| RunFolderError::Description { path: path.to_owned(), message: error.to_string() })?;
        Ok(RunSettings { search, details: self.details, environment: self.environment })
    }

    /// What must be equal for a run to be resumed: all but the number of trials, which may grow.
    fn comparable(&self) -> Value {
        let mut search = self.search.clone();
        if let Some(fields) = search.as_object_mut() {
            fields.remove("trials");
        }
        serde_json::json!({ "environment": self.environment, "search": search, "details": self.details })
    }
}
