//! What happened in a run before it is resumed, from its journal.

use super::JournalError;
use super::journal::{Contents, Entry};
use crate::graph::Fingerprint;
use crate::search::RecordOf;
use crate::space::SearchSpace;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// What the journal says about a run.
#[derive(Debug)]
pub(super) struct Past<S: SearchSpace> {
    /// Finished trials by number.
    pub(super) finished: BTreeMap<u64, RecordOf<S>>,
    /// Fingerprints of the proposals by trial.
    pub(super) proposed: HashMap<u64, Fingerprint>,
    /// Number of failed attempts by trial.
    pub(super) faults: HashMap<u64, u32>,
    /// Number of trials learned after each minibatch, and the journal's checksum there.
    pub(super) learned: Vec<(u64, String)>,
    /// The events in order.
    pub(super) steps: Vec<PastStep>,
    /// The walks of the proposals that are journalled with one.
    pub(super) walks: HashMap<u64, Value>,
}

/// An event whose place in the order of events matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::search) enum PastStep {
    /// This trial was proposed.
    Proposed(u64),
    /// This trial was finished.
    Finished(u64),
    /// This many trials were learned.
    Learned(u64),
}

impl<S: SearchSpace> Default for Past<S> {
    fn default() -> Self {
        Self {
            finished: BTreeMap::new(),
            proposed: HashMap::new(),
            faults: HashMap::new(),
            learned: Vec::new(),
            steps: Vec::new(),
            walks: HashMap::new(),
        }
    }
}

impl<S: SearchSpace> Past<S> {
    pub(super) fn new(path: &Path, contents: &Contents<RecordOf<S>>) -> Result<Self, JournalError> {
        let mut past = Self::default();
        for (position, (entry, sum)) in contents.entries.iter().zip(&contents.sums).enumerate() {
            // The first line is not an entry, and lines are counted from 1.
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
                    let before = past.learned.last().map_or(0, |(trials, _)| *trials);
                    let finished = past.finished.len() as u64;
                    if *trials != finished || finished <= before {
                        return Err(damaged(format!(
                            "it says that {trials} trials are learned, but {finished} are finished and {before} were \
                             learned before"
                        )));
                    }
                    past.learned.push((*trials, sum.clone()));
                    past.steps.push(PastStep::Learned(*trials));
                }
            }
        }
        Ok(past)
    }
}
