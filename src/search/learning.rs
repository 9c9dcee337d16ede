//! From a finished trial to what the agent learns.

use super::trial::Finished;
use super::{MinibatchSummary, Observer, RungAgreement, Scheduling, SearchError, Session};
use crate::agent::{Agent, EpisodeOf, TrajectoryOf};
use crate::evaluation::{Episode, Reward};
use crate::graph::Fingerprint;
use crate::seed;
use crate::space::SearchSpace;

impl<S: SearchSpace, G: Agent<S>> Session<'_, S, G> {
    /// Records that a trial is finished, and has the agent learn its minibatch if that is now complete, or the trial
    /// itself if there is no barrier.
    pub(super) fn settle(&mut self, finished: Finished<S>) -> Result<(), SearchError> {
        let record = &finished.record;
        if self.log.finished(record)? {
            self.search.observers.on_finished(record).map_err(SearchError::Observer)?;
        }
        if self.search.config.scheduling == Scheduling::Rolling {
            return self.learn(vec![finished]);
        }
        self.finished.insert(record.id, finished);
        if self.finished.len() < self.minibatch {
            return Ok(());
        }
        let minibatch = std::mem::take(&mut self.finished);
        self.learn(minibatch.into_values().collect())
    }

    /// Has the agent learn trials, in this order.
    fn learn(&mut self, trials: Vec<Finished<S>>) -> Result<(), SearchError> {
        let episodes = trials.into_iter().map(|finished| self.remember(finished)).collect::<Result<Vec<_>, _>>()?;
        let (last, size) = (self.report.records.len() as u64 - 1, self.search.config.minibatch);
        let is_rolling = self.search.config.scheduling == Scheduling::Rolling;
        let number = if is_rolling { last } else { last / size };
        let mut rng = seed::stream(self.search.config.seed, "learn", number);
        self.search.agent.learn(&self.search.space, &episodes, &self.memory, &mut rng)?;
        self.learn_kept_repeats()?;
        if is_rolling && !(last + 1).is_multiple_of(size) { Ok(()) } else { self.note_learned() }
    }

    /// Adds a finished trial to memory, cache and report.
    pub(super) fn remember(&mut self, finished: Finished<S>) -> Result<EpisodeOf<S>, SearchError> {
        let Finished { trajectory, record } = finished;
        // A result that depends on the machine is no fact about the architecture and must not serve another trial, nor
        // must one that was stopped early: its accuracy is not known.
        if record.evaluation.is_stopped() {
            self.stopped.insert(record.fingerprint);
        } else if !record.cached && !record.evaluation.depends_on_machine() {
            self.stopped.remove(&record.fingerprint);
            self.cache.insert(record.fingerprint, record.evaluation.clone());
        }
        self.under_way.remove(&record.fingerprint);
        let episode = self.episode(trajectory, record.id, record.reward, record.fingerprint)?;
        let episode = Episode { rung: record.standing().rung, ..episode };
        if record.is_promotion() {
            self.memory.replace(episode.clone());
        } else {
            self.memory.push(episode.clone());
        }
        self.report.records.push(record);
        Ok(episode)
    }

    /// The episode that the agent learns: the walk and its reward.
    pub(super) fn episode(
        &self,
        trajectory: TrajectoryOf<S>,
        trial: u64,
        reward: Reward,
        fingerprint: Fingerprint,
    ) -> Result<EpisodeOf<S>, SearchError> {
        let layers = trajectory.len();
        let rewards = self.search.shaper.credit(reward, layers);
        if rewards.len() != layers {
            return Err(SearchError::Credit { trial, layers, found: rewards.len() });
        }
        Ok(Episode { trajectory, rewards, reward, fingerprint, rung: 0 })
    }

    /// Journals that everything recorded so far is learned, unless that was done already, and tells the observers.
    pub(super) fn note_learned(&mut self) -> Result<(), SearchError> {
        let (records, agent) = (&self.report.records, &self.search.agent);
        let (trials, size) = (records.len() as u64, self.search.config.minibatch);
        let minibatch = trials.saturating_sub(1) / size;
        let save = || {
            let mut bytes = Vec::new();
            agent.save(&mut bytes)?;
            Ok(bytes)
        };
        if self.log.learned(minibatch, trials, self.report.resampled, save)? {
            let start = usize::try_from(minibatch * size).unwrap_or(usize::MAX);
            let objective = &self.search.config.objective;
            let rungs = RungAgreement::of(records);
            let summary = MinibatchSummary::of::<S>(minibatch, records, start, objective, agent.priors_hold());
            let summary = MinibatchSummary { rungs, ..summary };
            self.doubt(&summary.rungs);
            self.search.observers.on_learned(&summary).map_err(SearchError::Observer)?;
            self.rule_out()?;
        }
        Ok(())
    }

    /// Logs which rungs do not rank, once for each time that they begin to.
    fn doubt(&mut self, rungs: &[RungAgreement]) {
        for agreement in rungs {
            let number = agreement.lower.number;
            if !agreement.is_low() {
                self.doubted.remove(&number);
            } else if self.doubted.insert(number) {
                tracing::warn!(
                    rung = number,
                    "{agreement}: the shorter evaluation does not rank, so fewer rungs would find more"
                );
            }
        }
    }

    /// Tells the observers which trials can no longer be promoted.
    fn rule_out(&mut self) -> Result<(), SearchError> {
        let Some(rungs) = &self.search.config.rungs else { return Ok(()) };
        let left = self.search.config.trials.saturating_sub(self.memory.proposed());
        for position in rungs.ruled_out::<S>(&self.report.records, &self.ladder, left) {
            let record = &self.report.records[position];
            if self.ruled_out.insert(record.id) {
                self.search.observers.on_ruled_out(record).map_err(SearchError::Observer)?;
            }
        }
        Ok(())
    }
}
