//! A run while its search is running: what the journal says about its past, and what is written as it continues.

use super::description::Description;
use super::journal::{self, End, Entry, Journal};
use super::{CHECKPOINT, Durability, JOURNAL, JournalError, RunFolder, RunFolderError, checkpoint};
use crate::graph::Fingerprint;
use crate::search::{RecordOf, SearchError};
use crate::space::SearchSpace;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// What the journal says about a run.
#[derive(Debug)]
pub(in crate::search) struct Past<S: SearchSpace> {
    /// Finished trials by number.
    pub(in crate::search) finished: BTreeMap<u64, RecordOf<S>>,
    /// What was proposed.
    pub(in crate::search) proposed: HashMap<u64, Fingerprint>,
    /// Attempts that failed.
    pub(in crate::search) faults: HashMap<u64, u32>,
    /// Trials learnt after each minibatch, and the journal's checksum then.
    pub(in crate::search) learnt: Vec<(u64, String)>,
    /// What happened, in order.
    pub(in crate::search) steps: Vec<PastStep>,
    /// The walks of proposals that are journalled with theirs.
    pub(in crate::search) walks: HashMap<u64, Value>,
}

/// An event that the order of events hangs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::search) enum PastStep {
    /// This trial was proposed.
    Proposed(u64),
    /// This trial was finished.
    Finished(u64),
    /// This many trials were learnt.
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
    pub(super) fn new(path: &Path, contents: &journal::Contents<RecordOf<S>>) -> Result<Self, JournalError> {
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
                        return Err(damaged(format!("trial {} is finished a second time", record.id)));
                    }
                    past.steps.push(PastStep::Finished(record.id));
                }
                Entry::Learnt { trials, .. } => {
                    let before = past.learnt.last().map_or(0, |(trials, _)| *trials);
                    let finished = past.finished.len() as u64;
                    if *trials != finished || finished <= before {
                        return Err(damaged(format!(
                            "it says that {trials} trials are learnt, but {finished} are finished and {before} were learnt before"
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
    pub(in crate::search) fn learnt_after(&self, first: u64) -> Option<u64> {
        let position = self.learnt.partition_point(|(trials, _)| *trials <= first);
        self.learnt.get(position).map(|(trials, _)| *trials)
    }
}

/// A run folder while its search is running.
#[derive(Debug)]
pub(in crate::search) struct OpenRun {
    folder: RunFolder,
    /// What `search.json` is to say, if it does not say so yet.
    description: Option<Description>,
    /// Where the journal ended when it was read.
    end: End,
    /// Open as soon as something is to be written.
    journal: Option<Journal>,
    learnt: u64,
}

/// What a checkpoint holds.
pub(in crate::search) struct Checkpoint {
    pub(in crate::search) trials: u64,
    pub(in crate::search) resampled: u64,
    pub(in crate::search) agent: Vec<u8>,
}

impl OpenRun {
    pub(super) fn new(folder: RunFolder, description: Option<Description>, end: End) -> Self {
        Self { folder, description, end, journal: None, learnt: 0 }
    }

    /// Makes the folder one to write to, unless it is: describes the run if it is another than before, cuts off what a
    /// write left incomplete, and reserves room. Until then a search that is refused has changed nothing.
    pub(in crate::search) fn begin(&mut self) -> Result<(), RunFolderError> {
        self.journal().map(drop)
    }

    fn journal(&mut self) -> Result<&mut Journal, RunFolderError> {
        let Self { folder, description, end, journal, .. } = self;
        if let Some(new) = description {
            new.write(&folder.path)?;
            *description = None;
        }
        Ok(match journal {
            Some(journal) => journal,
            None => journal.insert(Journal::open(&folder.path.join(JOURNAL), end, folder.durability)?),
        })
    }

    pub(in crate::search) fn proposed(
        &mut self,
        trial: u64,
        fingerprint: Fingerprint,
        actions: Option<Value>,
    ) -> Result<(), RunFolderError> {
        self.journal()?.append::<()>(&Entry::Proposed { trial, fingerprint, actions })?;
        Ok(())
    }

    pub(in crate::search) fn fault(&mut self, trial: u64, attempt: u32, message: &str) -> Result<(), RunFolderError> {
        self.journal()?.append::<()>(&Entry::Fault { trial, attempt, message: message.to_owned() })?;
        Ok(())
    }

    pub(in crate::search) fn finished<S: SearchSpace>(&mut self, record: &RecordOf<S>) -> Result<(), RunFolderError> {
        self.journal()?.append(&Entry::Finished(record))?;
        Ok(())
    }

    /// Whether a finished trial is on the disk as soon as it is journalled.
    pub(in crate::search) fn commits_every_result(&self) -> bool {
        // How a torn tail is distinguished from damage depends on it, so that a journal keeps what it was begun with.
        self.end.durability.unwrap_or(self.folder.durability) == Durability::EveryResult
    }

    /// Notes that a minibatch was learnt, and writes a checkpoint if it is time for one.
    pub(in crate::search) fn learnt(
        &mut self,
        minibatch: u64,
        trials: u64,
        resampled: u64,
        save: impl FnOnce() -> Result<Vec<u8>, crate::agent::AgentError>,
    ) -> Result<(), SearchError> {
        let journal = self.journal()?;
        let sum = journal.append::<()>(&Entry::Learnt { minibatch, trials }).map_err(RunFolderError::from)?;
        self.learnt += 1;
        let every = self.folder.checkpoint_every;
        if every > 0 && self.learnt.is_multiple_of(every) {
            let path = self.folder.path.join(CHECKPOINT);
            checkpoint::write(&path, sum, trials, resampled, &save()?)
                .map_err(|source| RunFolderError::Write { path, source })?;
        }
        Ok(())
    }

    /// The checkpoint, if there is one that fits the journal.
    pub(in crate::search) fn checkpoint<S: SearchSpace>(&self, past: &Past<S>) -> Option<Checkpoint> {
        let (header, agent) = checkpoint::read(&self.folder.path.join(CHECKPOINT))?;
        let fits = past.learnt.iter().any(|(trials, sum)| (trials, sum) == (&header.trials, &header.journal));
        if !fits {
            tracing::warn!("ignoring a checkpoint that does not belong to this journal");
        }
        fits.then_some(Checkpoint { trials: header.trials, resampled: header.resampled, agent })
    }

    /// The refusal of a checkpoint by the agent.
    pub(in crate::search) fn unusable_checkpoint(&self, source: crate::agent::AgentError) -> RunFolderError {
        if let crate::agent::AgentError::Changed { message } = source {
            let differences = vec![format!("agent: {message}")];
            return RunFolderError::Changed { path: self.folder.path.clone(), differences };
        }
        RunFolderError::Checkpoint { path: self.folder.path.join(CHECKPOINT), source }
    }

    /// Forces what was not yet forced to the disk. A run that ends before anything happened is there to be resumed.
    pub(in crate::search) fn close(mut self) -> Result<(), RunFolderError> {
        Ok(self.journal()?.sync()?)
    }
}
