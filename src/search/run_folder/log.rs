//! The log of a search: what the journal says happened before, and what is appended to it as the search goes on.
//!
//! A resumed search does everything again. As far as the journal goes, the log compares what it is told with it; after
//! that, it appends. The search need not know which of the two happens.

use super::description::Description;
use super::journal::{End, Entry, Journal};
use super::past::{Past, PastStep};
use super::{CHECKPOINT, Durability, JOURNAL, JournalError, RunFolder, RunFolderError, checkpoint, warm_start};
use crate::agent::AgentError;
use crate::evaluation::Trial;
use crate::search::{RecordOf, SearchError};
use crate::space::SearchSpace;
use serde::Serialize;
use std::borrow::Cow;

/// What happened in a search, before and now.
#[derive(Debug)]
pub(in crate::search) struct Log<S: SearchSpace> {
    past: Past<S>,
    /// Where the log is kept; `None` for a search without a run folder.
    folder: Option<OpenFolder>,
    /// Number of trials learned when that was last recorded.
    learned: u64,
    /// Whether all finished trials are as safe as the folder's durability makes them.
    is_committed: bool,
}

/// A run folder while its search is running.
#[derive(Debug)]
struct OpenFolder {
    folder: RunFolder,
    /// The description to write to `search.json`, if it differs from the file.
    description: Option<Description>,
    /// What to write to `warm-start.json` before that.
    begin: Option<Vec<u8>>,
    /// Where the journal ended when it was read.
    end: End,
    /// Opened when something is first written.
    journal: Option<Journal>,
    /// Minibatches learned since the folder was opened.
    minibatches: u64,
}

/// What a checkpoint holds.
pub(in crate::search) struct Checkpoint {
    pub(in crate::search) trials: u64,
    pub(in crate::search) resampled: u64,
    pub(in crate::search) agent: Vec<u8>,
}

impl<S: SearchSpace> Default for Log<S> {
    /// The log of a search without a run folder.
    fn default() -> Self {
        Self { past: Past::default(), folder: None, learned: 0, is_committed: true }
    }
}

impl<S: SearchSpace> Log<S> {
    pub(super) fn new(
        folder: RunFolder,
        description: Option<Description>,
        begin: Option<Vec<u8>>,
        end: End,
        past: Past<S>,
    ) -> Self {
        let learned = past.learned.last().map_or(0, |(trials, _)| *trials);
        let folder = Some(OpenFolder { folder, description, begin, end, journal: None, minibatches: 0 });
        Self { past, folder, learned, is_committed: true }
    }

    /// Prepares the folder for writing, unless that was done: writes the description if it has changed, cuts off an
    /// incomplete line of the journal and reserves space. A search that is refused before this has changed nothing.
    pub(in crate::search) fn begin(&mut self) -> Result<(), RunFolderError> {
        self.folder.as_mut().map_or(Ok(()), |folder| folder.journal().map(drop))
    }

    /// Whether nothing has happened yet.
    pub(in crate::search) fn is_new(&self) -> bool {
        self.past.steps.is_empty()
    }

    /// Whether a trial was proposed before the search was resumed.
    pub(in crate::search) fn is_past(&self, trial: u64) -> bool {
        self.past.proposed.contains_key(&trial)
    }

    /// The trials that were finished before the search was resumed, in the order of proposal.
    pub(in crate::search) fn records(&self) -> impl Iterator<Item = &RecordOf<S>> {
        self.past.finished.values()
    }

    /// Number of attempts at a trial that failed before the search was resumed.
    pub(in crate::search) fn attempts(&self, trial: u64) -> u32 {
        self.past.faults.get(&trial).copied().unwrap_or(0)
    }

    /// The number of the trial after the minibatch that begins with trial `first`, if the journal says it was learned.
    pub(in crate::search) fn end_of_minibatch(&self, first: u64) -> Option<u64> {
        let position = self.past.learned.partition_point(|(trials, _)| *trials <= first);
        self.past.learned.get(position).map(|(trials, _)| *trials)
    }

    /// Takes the events from before the search was resumed, in order.
    pub(in crate::search) fn take_steps(&mut self) -> Vec<PastStep> {
        std::mem::take(&mut self.past.steps)
    }

    /// The walk of a trial that was proposed before, for an agent that has learned more since and would not repeat it.
    pub(in crate::search) fn walk(&self, trial: u64) -> Result<Cow<'_, [S::Action]>, SearchError> {
        let diverged = |message: String| SearchError::Diverged { trial, message };
        match (self.past.finished.get(&trial), self.past.walks.get(&trial)) {
            (Some(record), _) => Ok(Cow::Borrowed(&record.actions)),
            (None, Some(walk)) => serde_json::from_value(walk.clone())
                .map(Cow::Owned)
                .map_err(|error| diverged(format!("the journal's walk does not belong to this search space: {error}"))),
            (None, None) => Err(diverged("the journal does not hold its walk".to_owned())),
        }
    }

    /// Records a proposal, with its walk if the agent might not repeat it. Returns the record of the trial if it was
    /// finished before the search was resumed.
    pub(in crate::search) fn proposed(
        &mut self,
        trial: &Trial,
        walk: Option<&[S::Action]>,
    ) -> Result<Option<RecordOf<S>>, SearchError> {
        let Trial { id, fingerprint, .. } = *trial;
        match (self.past.proposed.get(&id), &mut self.folder) {
            (Some(known), _) if *known != fingerprint => {
                let message = format!("the agent proposes the architecture {fingerprint}, but the journal has {known}");
                return Err(SearchError::Diverged { trial: id, message });
            }
            (None, Some(folder)) => {
                let actions = walk.map(serde_json::to_value).transpose().map_err(|error| folder.unwritable(error))?;
                folder.append::<()>(&Entry::Proposed { trial: id, fingerprint, actions })?;
            }
            _ => {}
        }
        Ok(self.past.finished.get(&id).cloned())
    }

    /// Records a failed attempt.
    pub(in crate::search) fn fault(&mut self, trial: u64, attempt: u32, message: &str) -> Result<(), RunFolderError> {
        let Some(folder) = &mut self.folder else { return Ok(()) };
        folder.append::<()>(&Entry::Fault { trial, attempt, message: message.to_owned() }).map(drop)
    }

    /// Records a finished trial. Returns whether that is new.
    pub(in crate::search) fn finished(&mut self, record: &RecordOf<S>) -> Result<bool, RunFolderError> {
        if self.past.finished.contains_key(&record.id) {
            return Ok(false);
        }
        if let Some(folder) = &mut self.folder {
            self.is_committed = false;
            folder.append(&Entry::Finished(record))?;
            self.is_committed = folder.commits_every_result();
        }
        Ok(true)
    }

    /// Records that the agent has learned `trials` trials by the end of a minibatch, and writes a checkpoint if one is
    /// due. Returns whether that is new.
    pub(in crate::search) fn learned(
        &mut self,
        minibatch: u64,
        trials: u64,
        resampled: u64,
        save: impl FnOnce() -> Result<Vec<u8>, AgentError>,
    ) -> Result<bool, SearchError> {
        if trials <= self.learned {
            return Ok(false);
        }
        if let Some(folder) = &mut self.folder {
            let sum = folder.append::<()>(&Entry::Learnt { minibatch, trials })?;
            self.is_committed = true;
            folder.minibatches += 1;
            let every = folder.folder.checkpoint_every;
            if every > 0 && folder.minibatches.is_multiple_of(every) {
                let path = folder.folder.path.join(CHECKPOINT);
                checkpoint::write(&path, sum, trials, resampled, &save()?)
                    .map_err(|source| RunFolderError::Write { path, source })?;
            }
        }
        self.learned = trials;
        Ok(true)
    }

    /// Whether the finished trials are as safe as they become: on disk, if there is a folder.
    pub(in crate::search) fn is_committed(&self) -> bool {
        self.is_committed
    }

    /// The checkpoint, if there is one that matches the journal.
    pub(in crate::search) fn checkpoint(&self) -> Option<Checkpoint> {
        let (header, agent) = checkpoint::read(&self.folder.as_ref()?.folder.path.join(CHECKPOINT))?;
        let fits = self.past.learned.iter().any(|(trials, sum)| (trials, sum) == (&header.trials, &header.journal));
        if !fits {
            tracing::warn!("ignoring a checkpoint that does not belong to this journal");
        }
        fits.then_some(Checkpoint { trials: header.trials, resampled: header.resampled, agent })
    }

    /// The error of an agent that cannot use the checkpoint.
    pub(in crate::search) fn unusable_checkpoint(&self, source: AgentError) -> SearchError {
        let Some(OpenFolder { folder, .. }) = &self.folder else { return source.into() };
        let path = folder.path.clone();
        SearchError::RunFolder(if let AgentError::Changed { message } = source {
            RunFolderError::Changed { path, differences: vec![format!("agent: {message}")] }
        } else {
            RunFolderError::Checkpoint { path: path.join(CHECKPOINT), source }
        })
    }

    /// Syncs the journal to disk. A run that ends before anything happened is written too, so that it can be resumed.
    pub(in crate::search) fn close(&mut self) -> Result<(), RunFolderError> {
        match &mut self.folder {
            Some(folder) => Ok(folder.journal()?.sync()?),
            None => Ok(()),
        }
    }
}

impl OpenFolder {
    fn journal(&mut self) -> Result<&mut Journal, RunFolderError> {
        let Self { folder, description, begin, end, journal, .. } = self;
        if let Some(new) = description {
            if let Some(json) = begin.take() {
                warm_start::write(&folder.path, &json)?;
            }
            new.write(&folder.path)?;
            *description = None;
        }
        Ok(match journal {
            Some(journal) => journal,
            None => journal.insert(Journal::open(&folder.path.join(JOURNAL), end, folder.durability)?),
        })
    }

    /// Appends an event and returns the checksum after it.
    fn append<R: Serialize>(&mut self, entry: &Entry<R>) -> Result<String, RunFolderError> {
        Ok(self.journal()?.append(entry)?)
    }

    /// Whether a finished trial is on disk as soon as it is journalled.
    fn commits_every_result(&self) -> bool {
        // The durability decides what counts as damage, so a journal keeps the one that it was started with.
        self.end.durability.unwrap_or(self.folder.durability) == Durability::EveryResult
    }

    fn unwritable(&self, error: serde_json::Error) -> RunFolderError {
        JournalError::Io { path: self.folder.path.join(JOURNAL), source: error.into() }.into()
    }
}
