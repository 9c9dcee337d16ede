//! The folder of a run, with which a search survives a killed process, a full disk and a power cut.
//!
//! `search.json` describes the run, `journal.jsonl` holds what happened (the truth), `checkpoint` what the agent has
//! learned (only to resume faster), `warm-start.json` what the search began with, if it began with something, and
//! `lock` the process that uses the folder. `docs/wire-format.md` describes each.

mod checkpoint;
mod description;
mod difference;
mod error;
mod history;
mod journal;
mod log;
mod past;
mod warm_start;

pub use error::RunFolderError;
pub use history::{Fault, RunHistory};
pub use journal::{Durability, JournalError};

pub(super) use description::Parts;
pub(super) use log::{Checkpoint, Log};
pub(super) use past::PastStep;

use super::SearchConfig;
use super::warm_start::WarmStart;
use crate::files::OwnedFolder;
use crate::space::SearchSpace;
use description::Description;
use journal::Entry;
use past::Past;
use serde::Serialize;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Version of the run folder's format.
const FORMAT: u32 = 1;

const DESCRIPTION: &str = "search.json";
const JOURNAL: &str = "journal.jsonl";
const CHECKPOINT: &str = "checkpoint";
const WARM_START: &str = "warm-start.json";
/// The file to which version 0.1.0 wrote the description before renaming it.
const EARLIER_TEMPORARY: &str = "search.tmp";

/// The settings that the run in a folder was started with.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RunSettings {
    /// Settings of the controller.
    pub search: SearchConfig,
    /// The further settings of [`RunFolder::with_details`], as JSON.
    pub details: Value,
    /// Identity of the environment.
    pub environment: String,
    /// Identity of the search space; `None` in a run that was started before spaces had one.
    pub space: Option<String>,
    /// Identity of the agent; `None` as for the space.
    pub agent: Option<String>,
    /// Identity of the reward; `None` as for the space.
    pub reward: Option<String>,
    /// How many architectures were evaluated first ([`Search::enqueue`](super::Search::enqueue)), with a checksum;
    /// `None` if none were.
    pub first: Option<String>,
    /// How many results from elsewhere the agent began with ([`Search::with_history`](super::Search::with_history)),
    /// with a checksum; `None` if there were none.
    pub history: Option<String>,
}

/// A folder that a search writes to while it runs, held exclusively by this process.
///
/// Give it to [`Search::with_run_folder`](super::Search::with_run_folder). A search that was killed at any moment is
/// resumed by running it again with the same settings and [`RunFolder::resume`], and ends as if nothing had happened.
/// [`RunFolder::open`] does whichever is right.
///
/// The folder holds the settings of the controller and the identities of space, agent, reward and environment. A search
/// in which one of them differs is refused before anything is written, with an error that names the difference; so is a
/// search that would reward a journalled measurement differently. Only the number of trials may grow.
///
/// ```
/// use blockqnn::agent::{QLearning, QLearningConfig};
/// use blockqnn::environment::synthetic::Synthetic;
/// use blockqnn::reward::RedefinedReward;
/// use blockqnn::search::{RunFolder, Search, SearchConfig};
/// use blockqnn::space::block::BlockSpace;
///
/// let run = |folder: RunFolder, trials| {
///     let agent = QLearning::new(QLearningConfig::paper().scaled_to(4))?;
///     let config = SearchConfig::paper().with_trials(trials, 8);
///     let search = Search::new(BlockSpace::paper(), agent, Synthetic::new(), config);
///     Ok::<_, Box<dyn std::error::Error>>(search.with_reward(RedefinedReward::paper()).with_run_folder(folder).run()?)
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
    /// [`RunFolderError`] if the folder is not empty or cannot be created.
    pub fn create(path: impl Into<PathBuf>) -> Result<Self, RunFolderError> {
        let path = path.into();
        if path.join(DESCRIPTION).exists() {
            return Err(Self::held(OwnedFolder::take(path)?).occupied());
        }
        let folder = Self::take_new(path)?;
        // Another process may have started and ended a run in between.
        if folder.path.join(DESCRIPTION).exists() { Err(folder.occupied()) } else { Ok(folder) }
    }

    /// Opens the folder of a run to continue it, or takes the folder for a new run if it is new or empty. A program that
    /// begins with this can be started again after it was killed, with the same command.
    ///
    /// # Errors
    /// As [`resume`](Self::resume) and [`create`](Self::create), except that a run is no error.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, RunFolderError> {
        let path = path.into();
        if path.join(DESCRIPTION).exists() {
            return Self::resume(path);
        }
        match Self::take_new(path.clone()) {
            // Another process has started a run in between.
            Err(_) if path.join(DESCRIPTION).exists() => Self::resume(path),
            taken => taken,
        }
    }

    /// Opens the folder of a run that was stopped, killed or finished, to continue it.
    ///
    /// # Errors
    /// [`RunFolderError`] if the folder holds no run, or another process is using it.
    pub fn resume(path: impl Into<PathBuf>) -> Result<Self, RunFolderError> {
        let path = path.into();
        if !path.join(DESCRIPTION).exists() {
            return Err(RunFolderError::NoRun { path });
        }
        Ok(Self::held(OwnedFolder::take(path)?))
    }

    fn take_new(path: PathBuf) -> Result<Self, RunFolderError> {
        // A process that was killed between the lock and the description leaves an empty run.
        let own = [EARLIER_TEMPORARY, DESCRIPTION, WARM_START];
        Ok(Self::held(OwnedFolder::create(path, |name| own.iter().any(|own| name == *own))?))
    }

    fn held(owner: OwnedFolder) -> Self {
        let (path, details) = (owner.path().to_owned(), Value::Null);
        Self { path, details, durability: Durability::default(), checkpoint_every: 1, owner }
    }

    /// Adds further settings to keep in the folder: a run is resumed only with equal ones. They need not describe the
    /// parts of the search, whose identities are compared anyway; a program may keep here what it needs to create the
    /// parts again, which [`settings`](Self::settings) returns.
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

    /// Sets when the journal is synced to disk.
    #[must_use]
    pub fn with_durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Sets after how many minibatches a checkpoint is written; 0 is never. Without a checkpoint, a resumed agent
    /// learns everything again from the journal.
    #[must_use]
    pub fn with_checkpoint_every(mut self, minibatches: u64) -> Self {
        self.checkpoint_every = minibatches;
        self
    }

    /// Returns the settings that the run was started with, with which it can be resumed.
    ///
    /// # Errors
    /// [`RunFolderError`] if the folder is new or its description cannot be read.
    pub fn settings(&self) -> Result<RunSettings, RunFolderError> {
        self.description()?.settings(&self.path.join(DESCRIPTION))
    }

    /// Returns the path of the folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the hold on the folder: no other process writes to it as long as this exists. Keep it to write results
    /// after the search has ended.
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
        let trials = description.trials().unwrap_or(done);
        RunFolderError::Occupied { path: self.path.clone(), done, trials }
    }

    fn description(&self) -> Result<Description, RunFolderError> {
        Description::read(&self.path.join(DESCRIPTION))
    }

    /// Opens the log of the run for a search: compares the search with the run's description, and reads what happened so far.
    /// Nothing is written before [`Log::begin`].
    pub(super) fn log<S: SearchSpace>(
        self,
        config: &SearchConfig,
        parts: Parts,
        warm_start: &WarmStart<S::Action>,
    ) -> Result<Log<S>, RunFolderError> {
        let description_path = self.path.join(DESCRIPTION);
        let now = Description::new(config, parts, self.details.clone()).map_err(|error| {
            RunFolderError::Description { path: description_path.clone(), message: error.to_string() }
        })?;
        let is_new = if description_path.exists() {
            let then = self.description()?;
            let differences = then.differences(&now);
            if !differences.is_empty() {
                return Err(RunFolderError::Changed { path: self.path, differences });
            }
            then.differs(&now)
        } else {
            true
        };
        let path = self.path.join(JOURNAL);
        // The journal is written before the first checkpoint; if only the checkpoint exists, the journal was lost.
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
        let now = is_new.then_some(now);
        let begin = if warm_start.is_empty() { None } else { Some(serde_json::to_vec(warm_start)) };
        let begin = begin.transpose().map_err(|error| RunFolderError::WarmStart {
            path: self.path.join(WARM_START),
            message: error.to_string(),
        })?;
        Ok(Log::new(self, now, begin, contents.end, past))
    }
}
