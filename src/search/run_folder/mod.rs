//! The folder of a run: what makes a search survive a killed process, a full disk and a power cut.
//!
//! `search.json` describes the run, `journal.jsonl` what happened (the truth), `checkpoint` what the agent learnt (a
//! speed-up only), `lock` the process that uses it. `docs/wire-format.md` describes each.

mod atomic;
mod checkpoint;
mod description;
mod difference;
mod error;
mod history;
mod journal;
mod open_run;

#[cfg(feature = "train")]
pub(crate) use atomic::write as write_atomically;
pub use error::RunFolderError;
pub use history::{Fault, RunHistory};
pub use journal::{Durability, JournalError};

pub(super) use description::Parts;
pub(super) use open_run::{Checkpoint, OpenRun, Past, PastStep};

use super::SearchConfig;
use crate::space::SearchSpace;
use description::Description;
use journal::Entry;
use serde::Serialize;
use serde_json::Value;
use std::fs::{self, File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Version of the run folder's form.
const FORMAT: u32 = 1;

const DESCRIPTION: &str = "search.json";
const JOURNAL: &str = "journal.jsonl";
const CHECKPOINT: &str = "checkpoint";
const LOCK: &str = "lock";

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
    /// Identity of the search space; none in a run that was begun before spaces had one.
    pub space: Option<String>,
    /// Identity of the agent; none as for the space.
    pub agent: Option<String>,
    /// Identity of the reward; none as for the space.
    pub reward: Option<String>,
}

/// A folder that a search writes to while it runs, held exclusively by this process.
///
/// Give it to [`Search::with_run_folder`](super::Search::with_run_folder). A search that was killed at any moment is
/// resumed by running it again with the same settings and [`RunFolder::resume`], and ends as if nothing had happened.
///
/// The folder knows the settings of the controller, and the identities of space, agent, reward and environment. A search
/// in which one of them differs is refused with the setting that does, before anything is written; so is one that would
/// reward a journalled measurement differently. Only the number of trials may grow.
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
    /// Locked as long as it is open; the system unlocks it when this process ends, however it does.
    _lock: File,
}

impl RunFolder {
    /// Takes a new or empty folder for a new run.
    ///
    /// # Errors
    /// [`RunFolderError`] if there is something in it, or it cannot be made.
    pub fn create(path: impl Into<PathBuf>) -> Result<Self, RunFolderError> {
        let path = path.into();
        fs::create_dir_all(&path).map_err(|source| RunFolderError::Io { path: path.clone(), source })?;
        let is_run = path.join(DESCRIPTION).exists();
        // A process that was killed between the lock and the description leaves an empty run.
        if !is_run && Self::has_other_files(&path)? {
            return Err(RunFolderError::NotEmpty { path });
        }
        let folder = Self::lock(path)?;
        if is_run {
            return Err(folder.occupied());
        }
        Ok(folder)
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
        Self::lock(path)
    }

    /// The same folder, keeping further settings: a run is resumed only with equal ones. The parts of the search need not be
    /// among them, for their identities are compared anyway; a program may keep here what it needs to make them again,
    /// which [`settings`](Self::settings) returns.
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

    fn has_other_files(path: &Path) -> Result<bool, RunFolderError> {
        let io = |source| RunFolderError::Io { path: path.to_owned(), source };
        for entry in fs::read_dir(path).map_err(io)? {
            let name = entry.map_err(io)?.file_name();
            if name != LOCK && name != "search.tmp" {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn lock(path: PathBuf) -> Result<Self, RunFolderError> {
        let file = path.join(LOCK);
        let io = |source| RunFolderError::Io { path: file.clone(), source };
        let mut lock = File::options().create(true).truncate(false).read(true).write(true).open(&file).map_err(io)?;
        match try_lock_patiently(&lock) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Who holds it is a courtesy; that it is held is what counts.
                let _ = (&lock).take(100).read_to_string(&mut holder);
                let holder = if holder.is_empty() { "another process".to_owned() } else { holder.trim().to_owned() };
                return Err(RunFolderError::InUse { path, holder });
            }
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        // The content only names the holder in a message, and a full disk is better told of by the journal.
        let _ = lock.set_len(0).and_then(|()| lock.rewind());
        let _ = writeln!(lock, "process {}", std::process::id());
        let details = Value::Null;
        Ok(Self { path, details, durability: Durability::default(), checkpoint_every: 1, _lock: lock })
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

    /// Opens the run for a search: compares it with the run's description, and reads what happened so far. Nothing is
    /// written before the run is [begun](OpenRun::begin).
    pub(super) fn open<S: SearchSpace>(
        self,
        config: &SearchConfig,
        parts: Parts,
    ) -> Result<(OpenRun, Past<S>), RunFolderError> {
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
        Ok((OpenRun::new(self, is_new.then_some(now), contents.end), past))
    }
}

/// Locks a file, waiting a moment for a holder that is about to release it. A lock that was just released may be held
/// for milliseconds by a child process that is being started: it has the open file until it runs its own program.
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
