//! The loop without a barrier: a trial is learnt when it ends, and the next is proposed when a worker is free.

use super::controller::SearchError;
use super::run::{Judged, Pending, Run};
use super::run_folder::{Checkpoint, PastStep};
use super::{Evaluator, StopReason};
use crate::agent::Agent;
use crate::seed;
use crate::space::{SearchSpace, walk};
use std::collections::{BTreeMap, VecDeque};

/// Trials proposed and not finished, by number.
type UnderWay<S> = BTreeMap<u64, Pending<S>>;

impl<S, G, V> Run<'_, S, G, V>
where
    S: SearchSpace,
    G: Agent<S>,
    V: Evaluator<S::Architecture>,
{
    /// Runs the whole search, from `checkpoint` if there is one.
    pub(super) fn roll(&mut self, checkpoint: Option<&Checkpoint>) -> Result<(), SearchError> {
        let mut under_way = self.repeat_past(checkpoint)?;
        for pending in under_way.values_mut() {
            for observer in &mut self.search.observers {
                observer.on_proposed(&pending.trial, &pending.architecture).map_err(SearchError::Observer)?;
            }
            self.submit(pending)?;
        }
        // Trials that had too little time or memory beside others, and wait for their turn alone.
        let mut crowded = VecDeque::new();
        let mut exhausted = false;
        loop {
            let alone = under_way.values().any(|pending| pending.postponed);
            while !alone && crowded.is_empty() && !exhausted && self.may_propose(under_way.len()) {
                exhausted = !self.propose_next(&mut under_way)?;
            }
            if under_way.is_empty() {
                let Some(mut pending): Option<Pending<S>> = crowded.pop_front() else { break };
                if self.report.stop == StopReason::Cancelled {
                    break;
                }
                pending.postponed = true;
                self.submit(&mut pending)?;
                under_way.insert(pending.trial.id, pending);
            }
            let Some((trial, verdict)) = self.wait(false)? else { continue };
            let Some(mut pending) = under_way.remove(&trial) else { continue };
            match self.judge(&mut pending, verdict)? {
                Judged::Finished => self.learn_one(pending)?,
                Judged::Again => {
                    self.submit(&mut pending)?;
                    under_way.insert(trial, pending);
                }
                Judged::Crowded => crowded.push_back(pending),
                Judged::Cancelled => {}
            }
        }
        if self.report.stop == StopReason::Completed && self.memory.proposed() < self.search.config.trials {
            self.report.stop = if exhausted { StopReason::SpaceExhausted } else { StopReason::Cancelled };
        }
        self.note_learnt()?;
        self.report.records.sort_by_key(|record| record.id);
        Ok(())
    }

    /// Whether a worker is free and there is something left to propose.
    fn may_propose(&self, under_way: usize) -> bool {
        self.report.stop == StopReason::Completed
            && !self.search.cancellation.is_cancelled()
            && self.memory.proposed() < self.search.config.trials
            && under_way < self.search.evaluator.workers().max(1)
    }

    /// Proposes the next trial and submits it, or finishes it if its outcome is known. `false` if there is none.
    fn propose_next(&mut self, under_way: &mut UnderWay<S>) -> Result<bool, SearchError> {
        let id = self.memory.proposed();
        let Some(mut pending) = self.propose_one(id, |fingerprint| is_under_way(under_way, fingerprint))? else {
            return Ok(false);
        };
        self.memory.note_proposed(pending.trial.fingerprint);
        self.note_proposed(&pending)?;
        for observer in &mut self.search.observers {
            observer.on_proposed(&pending.trial, &pending.architecture).map_err(SearchError::Observer)?;
        }
        if pending.evaluation.is_some() {
            self.finish(&pending)?;
            self.learn_one(pending)?;
        } else {
            self.submit(&mut pending)?;
            under_way.insert(id, pending);
        }
        Ok(true)
    }

    /// Replays the journal, event by event, and returns the trials that had not ended.
    fn repeat_past(&mut self, checkpoint: Option<&Checkpoint>) -> Result<UnderWay<S>, SearchError> {
        let mut under_way = BTreeMap::new();
        // Up to here the agent knows everything already.
        let mut known = checkpoint.map(|checkpoint| checkpoint.trials);
        for step in std::mem::take(&mut self.past.steps) {
            match step {
                PastStep::Proposed(id) => {
                    let pending = match known {
                        Some(_) => Some(self.proposed_before(id)?),
                        None => self.propose_one(id, |fingerprint| is_under_way(&under_way, fingerprint))?,
                    };
                    let Some(pending) = pending else {
                        let message = "the agent finds no new architecture, but the journal has one".to_owned();
                        return Err(SearchError::Diverged { trial: id, message });
                    };
                    self.memory.note_proposed(pending.trial.fingerprint);
                    self.note_proposed(&pending)?;
                    under_way.insert(id, pending);
                }
                PastStep::Finished(id) => {
                    let Some(pending) = under_way.remove(&id) else {
                        let message = "in the journal it is finished before it is proposed".to_owned();
                        return Err(SearchError::Diverged { trial: id, message });
                    };
                    self.finish(&pending)?;
                    match known {
                        Some(_) => self.remember_one(pending).map(drop)?,
                        None => self.learn_one(pending)?,
                    }
                }
                PastStep::Learnt(trials) if known == Some(trials) => known = None,
                PastStep::Learnt(_) => {}
            }
        }
        // An outcome that was known when it was proposed is all that can be left to finish.
        let (done, rest): (UnderWay<S>, UnderWay<S>) =
            under_way.into_iter().partition(|(_, pending)| pending.evaluation.is_some());
        for pending in done.into_values() {
            self.finish(&pending)?;
            self.learn_one(pending)?;
        }
        Ok(rest)
    }

    /// A trial as the journal has it, for an agent that has learnt too much since to propose it again.
    fn proposed_before(&mut self, id: u64) -> Result<Pending<S>, SearchError> {
        let diverged = |message: String| SearchError::Diverged { trial: id, message };
        let actions = match (self.past.finished.get(&id), self.past.walks.get(&id)) {
            (Some(record), _) => record.actions.clone(),
            (None, Some(walk)) => serde_json::from_value(walk.clone()).map_err(|error| {
                diverged(format!("the journal's walk does not belong to this search space: {error}"))
            })?,
            (None, None) => return Err(diverged("the journal does not hold its walk".to_owned())),
        };
        let trajectory = walk(&self.search.space, &actions)?;
        self.pending(id, trajectory)
    }

    /// Puts a finished trial into the memory.
    fn remember_one(&mut self, pending: Pending<S>) -> Result<crate::agent::EpisodeOf<S>, SearchError> {
        let record = self.record(&pending)?;
        let episode = self.episode(pending.trajectory, record.id, record.reward, record.fingerprint)?;
        self.memory.push(episode.clone());
        self.report.records.push(record);
        Ok(episode)
    }

    /// Has the agent learn a finished trial, and notes it whenever a minibatch is full.
    fn learn_one(&mut self, pending: Pending<S>) -> Result<(), SearchError> {
        let episode = self.remember_one(pending)?;
        let learnt = self.report.records.len() as u64;
        let mut rng = seed::stream(self.search.config.seed, "learn", learnt - 1);
        self.search.agent.learn(&self.search.space, &[episode], &self.memory, &mut rng)?;
        self.learn_kept_repeats()?;
        if learnt.is_multiple_of(self.search.config.minibatch) { self.note_learnt() } else { Ok(()) }
    }

    /// Journals and reports how many trials are learnt, if that was not done yet.
    fn note_learnt(&mut self) -> Result<(), SearchError> {
        let learnt = self.report.records.len() as u64;
        if learnt == 0 || self.past.learnt.last().is_some_and(|(trials, _)| learnt <= *trials) {
            return Ok(());
        }
        let size = self.search.config.minibatch;
        let minibatch = (learnt - 1) / size;
        let start = usize::try_from(minibatch * size).unwrap_or(usize::MAX);
        if self.told_learnt.replace(learnt) == Some(learnt) {
            return Ok(());
        }
        self.tell_learnt(minibatch, start)
    }
}

fn is_under_way<S: SearchSpace>(under_way: &UnderWay<S>, fingerprint: crate::graph::Fingerprint) -> bool {
    under_way.values().any(|pending| pending.trial.fingerprint == fingerprint)
}
