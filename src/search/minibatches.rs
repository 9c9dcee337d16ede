//! The paper's loop: propose a minibatch from a frozen agent, have all of it evaluated, learn it, again.

use super::controller::SearchError;
use super::run::{Judged, Pending, Run};
use super::run_folder::Checkpoint;
use super::{Evaluator, SearchConfig, StopReason};
use crate::agent::Agent;
use crate::seed;
use crate::space::{SearchSpace, walk};
use std::collections::{BTreeMap, BTreeSet};

impl<S, G, V> Run<'_, S, G, V>
where
    S: SearchSpace,
    G: Agent<S>,
    V: Evaluator<S::Architecture>,
{
    /// Runs the whole search, from `checkpoint` if there is one.
    pub(super) fn run_minibatches(&mut self, checkpoint: Option<&Checkpoint>) -> Result<(), SearchError> {
        if let Some(checkpoint) = checkpoint {
            self.remember(checkpoint.trials)?;
        }
        while self.memory.proposed() < self.search.config.trials && self.report.stop == StopReason::Completed {
            let mut batch = self.propose(self.next_minibatch())?;
            self.evaluate(&mut batch)?;
            self.learn(batch)?;
        }
        Ok(())
    }

    /// Trials of the next minibatch. What the journal has is repeated as it was; a run that ended within a minibatch and
    /// is extended completes that first.
    fn next_minibatch(&self) -> u64 {
        let SearchConfig { trials, minibatch, .. } = self.search.config;
        let first = self.memory.proposed();
        match self.past.learnt_after(first) {
            Some(learnt) => learnt - first,
            None => (minibatch - first % minibatch).min(trials - first),
        }
    }

    /// Puts the first `trials` of the journal into the memory, without learning them.
    fn remember(&mut self, trials: u64) -> Result<(), SearchError> {
        for record in self.past.finished.range(..trials).map(|(_, record)| record.clone()) {
            let trajectory = walk(&self.search.space, &record.actions)?;
            let episode = self.episode(trajectory, record.id, record.reward, record.fingerprint)?;
            self.memory.note_proposed(record.fingerprint);
            self.memory.push(episode);
            if !record.cached && !record.evaluation.depends_on_machine() {
                self.cache.insert(record.fingerprint, record.evaluation.clone());
            }
            self.report.records.push(record);
        }
        Ok(())
    }

    /// Proposes up to `size` trials, all different. Fewer mean that the space is exhausted.
    fn propose(&mut self, size: u64) -> Result<Vec<Pending<S>>, SearchError> {
        let mut batch = Vec::new();
        let first = self.memory.proposed();
        for id in first..first + size {
            let is_in_batch =
                |fingerprint| batch.iter().any(|other: &Pending<S>| other.trial.fingerprint == fingerprint);
            let Some(pending) = self.propose_one(id, is_in_batch)? else {
                self.report.stop = StopReason::SpaceExhausted;
                break;
            };
            self.memory.note_proposed(pending.trial.fingerprint);
            self.note_proposed(&pending)?;
            if pending.restored {
                batch.push(pending);
                continue;
            }
            for observer in &mut self.search.observers {
                observer.on_proposed(&pending.trial, &pending.architecture).map_err(SearchError::Observer)?;
            }
            batch.push(pending);
        }
        Ok(batch)
    }

    /// Has every trial of the minibatch evaluated.
    fn evaluate(&mut self, batch: &mut [Pending<S>]) -> Result<(), SearchError> {
        let mut waiting = BTreeMap::new();
        for (position, pending) in batch.iter_mut().enumerate() {
            if pending.evaluation.is_some() {
                self.finish(pending)?;
            } else {
                waiting.insert(pending.trial.id, position);
                self.submit(pending)?;
            }
        }
        let crowded = self.collect(batch, waiting)?;
        for position in crowded {
            batch[position].postponed = true;
            self.submit(&mut batch[position])?;
            let waiting = BTreeMap::from([(batch[position].trial.id, position)]);
            self.collect(batch, waiting)?;
        }
        Ok(())
    }

    /// Waits until all of `waiting` (positions in `batch` by trial) ended. Returns the positions of those that had too
    /// little time or memory beside the others, to be tried again alone.
    fn collect(
        &mut self,
        batch: &mut [Pending<S>],
        mut waiting: BTreeMap<u64, usize>,
    ) -> Result<BTreeSet<usize>, SearchError> {
        let mut crowded = BTreeSet::new();
        while !waiting.is_empty() {
            let Some((trial, verdict)) = self.wait(true)? else { continue };
            let Some(&position) = waiting.get(&trial) else { continue };
            match self.judge(&mut batch[position], verdict)? {
                Judged::Again => {
                    self.submit(&mut batch[position])?;
                    continue;
                }
                Judged::Crowded => {
                    crowded.insert(position);
                }
                Judged::Finished | Judged::Cancelled => {}
            }
            waiting.remove(&trial);
        }
        Ok(crowded)
    }

    /// Has the agent learn a minibatch in the order of proposal. A minibatch that was cut short is recorded as far as it
    /// came, but not learnt.
    fn learn(&mut self, batch: Vec<Pending<S>>) -> Result<(), SearchError> {
        let complete = batch.iter().all(|pending| pending.evaluation.is_some());
        let start = self.report.records.len();
        let mut episodes = Vec::new();
        for pending in batch {
            if pending.evaluation.is_none() {
                continue;
            }
            let record = self.record(&pending)?;
            episodes.push(self.episode(pending.trajectory, record.id, record.reward, record.fingerprint)?);
            self.report.records.push(record);
        }
        if !complete || episodes.is_empty() {
            return Ok(());
        }
        for episode in &episodes {
            self.memory.push(episode.clone());
        }
        let minibatch = self.report.records[start].minibatch;
        let mut rng = seed::stream(self.search.config.seed, "learn", minibatch);
        self.search.agent.learn(&self.search.space, &episodes, &self.memory, &mut rng)?;
        self.learn_kept_repeats()?;
        let learnt = self.report.records.len() as u64;
        if self.past.learnt.last().is_some_and(|(trials, _)| learnt <= *trials) {
            return Ok(());
        }
        self.tell_learnt(minibatch, start)
    }
}
