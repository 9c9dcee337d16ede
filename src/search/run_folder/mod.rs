//! The folder of a run: what makes a search survive a killed process, a full disk and a power cut.
//!
//! `search.json` tells what the run is, `journal.jsonl` what happened (the truth), `checkpoint` what the agent learnt (a
//! speed-up only), `lock` who is at it. `docs/wire-format.md` describes each.

mod atomic;
mod checkpoint;
mod difference;
mod history;
mod journal;

#[cfg(feature = "train")]
pub(crate) use atomic::write as write_atomically;
pub use history::{Fault, RunHistory};
pub use journal::{Durability, JournalError};

use super::{RecordOf, SearchConfig};
use crate::graph::Fingerprint;
use crate::space::SearchSpace;
use journal::{Entry, Journal};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Version of the run folder's form.
const FORMAT: u32 = 1;

const DESCRIPTION: &str = "search.json";
const JOURNAL: &str = "journal.jsonl";
const CHECKPOINT: &str = "checkpoint";
const LOCK: &str = "lock";

/// Why a folder cannot hold the run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunFolderError {
    /// A new run was to begin where there is one.
    #[error(
        "{} holds a {} run of {done} of {trials} trials: resume it, or choose another folder",
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
    /// The folder has other things in it.
    #[error("{} is not empty, and no run folder: choose another folder, or move what is in it away", path.display())]
    NotEmpty {
        /// The folder.
        path: PathBuf,
    },
    /// There is nothing to resume.
    #[error("{} is no run folder (it has no {DESCRIPTION}): check the path, or start a new run there", path.display())]
    NoRun {
        /// The folder.
        path: PathBuf,
    },
    /// Another process works on the run.
    #[error("the run in {} is in use by {holder}: wait for it or stop it, or choose another folder", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
        /// Who holds it.
        holder: String,
    },
    /// The run was started with other settings.
    #[error(
        "the run in {} was started with other settings:\n  {}\nresume it with the settings it was started with, or start \
         a new run in another folder",
        path.display(),
        differences.join("\n  ")
    )]
    Changed {
        /// The folder.
        path: PathBuf,
        /// A line for each field that differs.
        differences: Vec<String>,
    },
    /// The folder was written by a later version of this crate.
    #[error(
        "{} has format {found}, and this version of blockqnn reads up to {FORMAT}: use the version that wrote it",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u64,
    },
    /// The description of the run cannot be read.
    #[error("{} is no description of a run: {message}. Restore it from a copy", path.display())]
    Description {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// A file or folder could not be read or written.
    #[error("cannot use {}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What happened.
        #[source]
        source: io::Error,
    },
    /// The agent cannot use the checkpoint, though it is whole.
    #[error("cannot use the checkpoint {}: {source}. Delete it: what it holds is learnt again from the journal", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What the agent says.
        #[source]
        source: crate::agent::AgentError,
    },
    /// The journal cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

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
    /// Version of the crate that began the run; told, not compared.
    version: String,
    environment: String,
    search: Value,
    details: Value,
}

/// A folder that a search writes to as it goes, held by this process alone.
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
/// // A finished run goes on when it is resumed with more trials: the first 16 are not evaluated again.
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

    /// Takes the folder of a run that was stopped, killed or finished, to go on with it.
    ///
    /// # Errors
    /// [`RunFolderError`] if there is no run in it, or another process is at it.
    pub fn resume(path: impl Into<PathBuf>) -> Result<Self, RunFolderError> {
        let path = path.into();
        if !path.join(DESCRIPTION).exists() {
            return Err(RunFolderError::NoRun { path });
        }
        Self::lock(path)
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
        let contents = journal::read(&path)?;
        let past = Past::new(&path, &contents)?;
        if past.finished.len() as u64 > config.trials {
            let done = past.finished.len();
            let differences = vec![format!("search.trials: {done} are finished, {} now", config.trials)];
            return Err(RunFolderError::Changed { path: self.path, differences });
        }
        if is_new {
            let write = |out: &mut dyn Write| -> io::Result<()> {
                serde_json::to_writer_pretty(&mut *out, &now)?;
                out.write_all(b"\n")
            };
            atomic::write(&description_path, write)
                .map_err(|source| RunFolderError::Io { path: description_path.clone(), source })?;
        }
        let journal = Journal::open(&path, &contents, self.durability)?;
        Ok((OpenRun { folder: self, journal, learnt: 0 }, past))
    }
}

/// Locks a file, waiting a moment for whoever is about to let go. A lock that was just released may be held on for
/// milliseconds by a child process that is being started: it has the open file until it runs its own program.
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

/// What the journal tells of a run.
#[derive(Debug)]
pub(super) struct Past<S: SearchSpace> {
    /// Finished trials by number.
    pub(super) finished: BTreeMap<u64, RecordOf<S>>,
    /// What was proposed.
    pub(super) proposed: HashMap<u64, Fingerprint>,
    /// Attempts that failed.
    pub(super) faults: HashMap<u64, u32>,
    /// Trials learnt after each minibatch, and the journal's checksum then.
    pub(super) learnt: Vec<(u64, String)>,
    /// What happened, in order.
    pub(super) steps: Vec<PastStep>,
    /// The walks of proposals that are journalled with theirs.
    pub(super) walks: HashMap<u64, Value>,
}

/// An event that the order of events hangs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PastStep {
    /// This trial was proposed.
    Proposed(u64),
    /// This trial was finished.
    Finished(u64),
    /// So many trials were learnt.
    Learnt(u64),
}

impl<S: SearchSpace> Default for Past<S> {
    fn default() -> Self {
        Self {
            finished: BTreeMap::new(),
            proposed: HashMap::new(),
            faults: HashMap::new(),
            learnt: Vec::new(),
            steps: Vec::new(),
            walks: HashMap::new(),
        }
    }
}

impl<S: SearchSpace> Past<S> {
    fn new(path: &Path, contents: &journal::Contents<RecordOf<S>>) -> Result<Self, JournalError> {
        let mut past = Self::default();
        for (position, (entry, sum)) in contents.entries.iter().zip(&contents.sums).enumerate() {
            // The first line is no entry, and lines count from 1.
            let damaged =
                |cause: String| JournalError::Damaged { path: path.to_owned(), line: position as u64 + 2, cause };
            match entry {
                Entry::Journal { .. } => {}
                Entry::Proposed { trial, fingerprint, actions } => {
                    past.proposed.insert(*trial, *fingerprint);
                    past.steps.push(PastStep::Proposed(*trial));
                    if let Some(actions) = actions {
                        past.walks.insert(*trial, actions.clone());
                    }
                }
                Entry::Fault { trial, attempt, .. } => {
                    past.faults.insert(*trial, *attempt);
                }
                Entry::Finished(record) => {
                    if past.finished.insert(record.id, record.clone()).is_some() {
                        return Err(damaged(format!("trial {} finishes a second time", record.id)));
                    }
                    past.steps.push(PastStep::Finished(record.id));
                }
                Entry::Learnt { trials, .. } => {
                    let before = past.learnt.last().map_or(0, |(trials, _)| *trials);
                    let finished = past.finished.len() as u64;
                    if *trials != finished || finished <= before {
                        return Err(damaged(format!(
                            "it says that {trials} trials are learnt, where {finished} are finished and {before} were learnt"
                        )));
                    }
                    past.learnt.push((*trials, sum.clone()));
                    past.steps.push(PastStep::Learnt(*trials));
                }
            }
        }
        Ok(past)
    }

    /// Trials learnt after the minibatch that begins with trial `first`, if it was learnt.
    pub(super) fn learnt_after(&self, first: u64) -> Option<u64> {
        let position = self.learnt.partition_point(|(trials, _)| *trials <= first);
        self.learnt.get(position).map(|(trials, _)| *trials)
    }
}

/// A run folder while its search is on.
#[derive(Debug)]
pub(super) struct OpenRun {
    folder: RunFolder,
    journal: Journal,
    learnt: u64,
}

/// What a checkpoint holds.
pub(super) struct Checkpoint {
    pub(super) trials: u64,
    pub(super) resampled: u64,
    pub(super) agent: Vec<u8>,
}

impl OpenRun {
    pub(super) fn proposed(
        &mut self,
        trial: u64,
        fingerprint: Fingerprint,
        actions: Option<Value>,
    ) -> Result<(), RunFolderError> {
        self.journal.append::<()>(&Entry::Proposed { trial, fingerprint, actions })?;
        Ok(())
    }

    pub(super) fn fault(&mut self, trial: u64, attempt: u32, message: &str) -> Result<(), RunFolderError> {
        self.journal.append::<()>(&Entry::Fault { trial, attempt, message: message.to_owned() })?;
        Ok(())
    }

    pub(super) fn finished<S: SearchSpace>(&mut self, record: &RecordOf<S>) -> Result<(), RunFolderError> {
        self.journal.append(&Entry::Finished(record))?;
        Ok(())
    }

    /// Whether a finished trial is on the disk as soon as it is journalled.
    pub(super) fn commits_every_result(&self) -> bool {
        self.journal.durability() == Durability::EveryResult
    }

    /// Notes that a minibatch was learnt, and writes a checkpoint if it is time for one.
    pub(super) fn learnt(
        &mut self,
        minibatch: u64,
        trials: u64,
        resampled: u64,
        save: impl FnOnce() -> Result<Vec<u8>, crate::agent::AgentError>,
    ) -> Result<(), super::SearchError> {
        let sum = self.journal.append::<()>(&Entry::Learnt { minibatch, trials }).map_err(RunFolderError::from)?;
        self.learnt += 1;
        let every = self.folder.checkpoint_every;
        if every > 0 && self.learnt.is_multiple_of(every) {
            let path = self.folder.path.join(CHECKPOINT);
            checkpoint::write(&path, sum, trials, resampled, &save()?)
                .map_err(|source| RunFolderError::Io { path, source })?;
        }
        Ok(())
    }

    /// The checkpoint, if there is one that fits the journal.
    pub(super) fn checkpoint<S: SearchSpace>(&self, past: &Past<S>) -> Option<Checkpoint> {
        let (header, agent) = checkpoint::read(&self.folder.path.join(CHECKPOINT))?;
        let fits = past.learnt.iter().any(|(trials, sum)| (trials, sum) == (&header.trials, &header.journal));
        if !fits {
            tracing::warn!("passing over a checkpoint that is not of this journal");
        }
        fits.then_some(Checkpoint { trials: header.trials, resampled: header.resampled, agent })
    }

    /// The refusal of a checkpoint by the agent.
    pub(super) fn unusable_checkpoint(&self, source: crate::agent::AgentError) -> RunFolderError {
        RunFolderError::Checkpoint { path: self.folder.path.join(CHECKPOINT), source }
    }

    /// Forces what was not yet forced to the disk.
    pub(super) fn close(mut self) -> Result<(), RunFolderError> {
        Ok(self.journal.sync()?)
    }
}
