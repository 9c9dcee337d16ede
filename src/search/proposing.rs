//! From the agent's walk to a trial.

use super::repeats::Repeat;
use super::trial::{Entered, Finished, Proposed, appraise};
use super::{Observer, Record, Repeats, Scheduling, Search, SearchConfig, SearchError, Session};
use crate::agent::{Agent, TrajectoryOf};
use crate::environment::{EarlyStop, Thresholds};
use crate::evaluation::{Evaluation, Reward, Rung, Trial};
use crate::graph::{Cost, Fingerprint};
use crate::reward::FlopsOf;
use crate::seed;
use crate::space::{SearchSpace, walk};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Discarded proposals among which two architectures that count as one are looked for.
const REMEMBERED: usize = 256;

/// A walk and what it leads to.
pub(super) struct Drawn<S: SearchSpace> {
    trajectory: TrajectoryOf<S>,
    architecture: S::Architecture,
    fingerprint: Fingerprint,
}

impl<S: SearchSpace, G: Agent<S>> Session<'_, S, G> {
    /// Whether there is something left to propose or promote.
    pub(super) fn may_propose(&self) -> bool {
        self.memory.proposed() < self.search.config.trials && (!self.is_exhausted || !self.due().is_empty())
    }

    /// The promotions that are due, as positions of the trials in the report, and to which rung.
    fn due(&self) -> Vec<(usize, Rung)> {
        let rungs = self.search.config.rungs.as_ref();
        rungs.map_or_else(Vec::new, |rungs| rungs.due::<S>(&self.report.records, &self.ladder))
    }

    /// Begins the next minibatch with the promotions that are due, proposes the rest of it from the agent in its
    /// present state, all different, and settles trials that need no evaluation. Returns `false` if there is nothing
    /// left.
    pub(super) fn propose_minibatch(&mut self) -> Result<bool, SearchError> {
        if !self.may_propose() {
            return Ok(false);
        }
        let mut settled = Vec::new();
        self.minibatch = 0;
        self.thresholds = Arc::new(self.thresholds());
        let mut due = VecDeque::from(self.due());
        // What is promoted may lead an agent to something new, and a search that is resumed here asks it anyway.
        self.is_exhausted = false;
        for id in self.memory.proposed()..self.end_of_minibatch() {
            let entered = match due.pop_front() {
                Some((position, rung)) => Some(self.promote(id, position, rung)?),
                None => self.propose(id)?,
            };
            match entered {
                Some(Entered::Proposed(proposed)) => self.ready.push_back(proposed),
                Some(Entered::Finished(finished)) => settled.push(finished),
                None => {
                    self.is_exhausted = true;
                    break;
                }
            }
            self.minibatch += 1;
        }
        settled.into_iter().try_for_each(|finished| self.settle(finished))?;
        Ok(self.minibatch > 0)
    }

    /// What the trials of the next minibatch must reach. Those of one that is completed later, since the search was
    /// extended, are compared with the same trials as the rest of it.
    fn thresholds(&self) -> Thresholds {
        let Some(rule) = &self.search.config.median_stopping else { return Thresholds::default() };
        let minibatch = self.memory.proposed() / self.search.config.minibatch;
        let earlier = self.report.records.iter().filter(|record| record.minibatch < minibatch && !record.cached);
        rule.thresholds(earlier.filter_map(|record| record.evaluation.metrics()))
    }

    /// The number of the trial after the next minibatch. A minibatch in the journal keeps its size; a run that ended
    /// within a minibatch and is extended completes that one first.
    fn end_of_minibatch(&self) -> u64 {
        let SearchConfig { trials, minibatch, .. } = self.search.config;
        let first = self.memory.proposed();
        let full = (first - first % minibatch).saturating_add(minibatch).min(trials);
        self.log.end_of_minibatch(first).unwrap_or(full)
    }

    /// Proposes the next trial, and settles it if it needs no evaluation. Returns `false` if there is none left.
    pub(super) fn propose_next(&mut self) -> Result<bool, SearchError> {
        if !self.may_propose() {
            return Ok(false);
        }
        match self.propose(self.memory.proposed())? {
            Some(Entered::Proposed(proposed)) => self.ready.push_back(proposed),
            Some(Entered::Finished(finished)) => self.settle(finished)?,
            None => self.is_exhausted = true,
        }
        Ok(!self.is_exhausted)
    }

    /// Makes the trial `id` of the architecture of a trial in the report, at a higher rung.
    fn promote(&mut self, id: u64, position: usize, rung: Rung) -> Result<Entered<S>, SearchError> {
        let trajectory = walk(&self.search.space, &self.report.records[position].actions)?;
        let drawn = self.decode(trajectory)?;
        self.enter(id, drawn, Some(rung))
    }

    /// Has the agent propose a trial that was not proposed before, after those that come first. Returns `None` if the
    /// space is exhausted.
    pub(super) fn propose(&mut self, id: u64) -> Result<Option<Entered<S>>, SearchError> {
        let first = usize::try_from(id).ok().and_then(|id| self.search.warm_start.first.get(id));
        if let Some(actions) = first {
            let drawn = self.decode(walk(&self.search.space, actions)?)?;
            return self.enter(id, drawn, self.ladder.first().copied()).map(Some);
        }
        let mut rng = seed::stream(self.search.config.seed, "propose", id);
        let mut discarded = Vec::new();
        for _ in 0..self.search.config.max_resamples {
            let Search { space, agent, .. } = &mut self.search;
            let trajectory = agent.propose(space, &self.memory, &mut rng)?;
            let drawn = self.decode(trajectory)?;
            let is_repeated = match self.search.config.repeats {
                Repeats::Resample => self.memory.contains(&drawn.fingerprint),
                // One that was stopped early has no accuracy to learn again, so it is evaluated again.
                Repeats::Replay => {
                    let is_known = !self.stopped.contains(&drawn.fingerprint);
                    self.under_way.contains(&drawn.fingerprint) || self.memory.contains(&drawn.fingerprint) && is_known
                }
                Repeats::Reuse => self.under_way.contains(&drawn.fingerprint),
            };
            if !is_repeated {
                return self.enter(id, drawn, self.ladder.first().copied()).map(Some);
            }
            self.report.resampled += 1;
            let Drawn { trajectory, architecture, fingerprint } = drawn;
            if self.search.config.repeats == Repeats::Replay {
                let (cost, _) = appraise(&self.search.space, &architecture, &self.search.config)?;
                let cost = self.priced(&architecture, cost);
                self.learn_repeat(Repeat { trial: id, fingerprint, trajectory, cost })?;
            }
            if discarded.len() < REMEMBERED {
                discarded.push((fingerprint, architecture));
            }
        }
        self.count_as_one = self.pair_of(&discarded);
        Ok(None)
    }

    /// Two architectures that differ but have one fingerprint, of which at least one was discarded.
    fn pair_of(&self, discarded: &[(Fingerprint, S::Architecture)]) -> Option<[String; 2]> {
        let space = &self.search.space;
        let json = |architecture: &S::Architecture| serde_json::to_string(architecture).unwrap_or_default();
        let known = self.report.records.iter().map(|record| (record.fingerprint, &record.architecture));
        let mut first: HashMap<Fingerprint, &S::Architecture> = known.collect();
        for (fingerprint, architecture) in discarded {
            let other = *first.entry(*fingerprint).or_insert(architecture);
            let texts = [json(other), json(architecture)];
            if texts[0] != texts[1] {
                let described = [space.describe(other), space.describe(architecture)];
                return Some(if described[0] == described[1] { texts } else { described });
            }
        }
        None
    }

    /// Decodes a walk.
    pub(super) fn decode(&self, trajectory: TrajectoryOf<S>) -> Result<Drawn<S>, SearchError> {
        let space = &self.search.space;
        let architecture = space.decode(&trajectory.actions)?;
        let fingerprint = space.fingerprint(&architecture);
        Ok(Drawn { trajectory, architecture, fingerprint })
    }

    /// Makes the trial `id` of a walk, at a rung if the search has any.
    pub(super) fn enter(&mut self, id: u64, drawn: Drawn<S>, rung: Option<Rung>) -> Result<Entered<S>, SearchError> {
        let Drawn { trajectory, architecture, fingerprint } = drawn;
        let config = &self.search.config;
        let (cost, refusal) = appraise(&self.search.space, &architecture, config)?;
        let trial = Trial { id, seed: seed::trial_seed(config.seed, fingerprint.as_bytes()), fingerprint, cost };
        if rung.is_some_and(|rung| rung.number > 0) {
            self.memory.note_promoted();
        } else {
            self.memory.note_proposed(fingerprint);
        }
        self.under_way.insert(fingerprint);
        // On resuming, a minibatch is proposed again by an agent in the same state. Without a barrier that state is
        // lost.
        let walk = (config.scheduling == Scheduling::Rolling).then_some(&trajectory.actions[..]);
        if let Some(record) = self.log.proposed(&trial, walk)? {
            return Ok(Entered::Finished(Finished { trajectory, record }));
        }
        self.search.observers.on_proposed(&trial, &architecture).map_err(SearchError::Observer)?;
        let (priced, attempts) = (self.priced(&architecture, cost), self.log.attempts(id));
        let architecture = Arc::new(architecture);
        let early_stop = EarlyStop::new();
        let proposed = Proposed { trial, rung, trajectory, architecture, priced, attempts, early_stop, alone: false };
        // What was measured at another rung is no result for this one.
        let known = if rung.is_some() { None } else { self.cache.get(&fingerprint) };
        let finished = match (refusal, known) {
            (Some(reason), _) => self.finished(proposed, Evaluation::Infeasible(reason), false)?,
            (None, Some(known)) => self.finished(proposed, known.clone(), true)?,
            (None, None) => return Ok(Entered::Proposed(proposed)),
        };
        Ok(Entered::Finished(finished))
    }

    /// Rewards a trial.
    pub(super) fn finished(
        &self,
        proposed: Proposed<S>,
        evaluation: Evaluation,
        cached: bool,
    ) -> Result<Finished<S>, SearchError> {
        let Proposed { trial, rung, trajectory, architecture, priced, .. } = proposed;
        let record = Record {
            id: trial.id,
            minibatch: trial.id / self.search.config.minibatch,
            seed: trial.seed,
            actions: trajectory.actions.clone(),
            architecture: Arc::unwrap_or_clone(architecture),
            fingerprint: trial.fingerprint,
            cost: trial.cost,
            reward: self.worth(trial.id, &evaluation, priced.as_ref())?,
            evaluation,
            cached,
            rung,
        };
        Ok(Finished { trajectory, record })
    }

    /// The cost that the reward of an architecture is computed from.
    pub(super) fn priced(&self, architecture: &S::Architecture, cost: Option<Cost>) -> Option<Cost> {
        let Search { space, config, shaper, .. } = &self.search;
        match shaper.flops_of() {
            FlopsOf::Network => cost,
            FlopsOf::Block => {
                let (graph, network) = (space.graph(architecture)?, config.network.as_ref()?);
                Some(Cost { flops: graph.block_flops(network).unwrap_or(u64::MAX), ..cost? })
            }
        }
    }

    /// The reward of an evaluation, computed from the score of its value. An infeasible architecture is rewarded as if
    /// it had the worst value.
    pub(super) fn worth(
        &self,
        trial: u64,
        evaluation: &Evaluation,
        cost: Option<&Cost>,
    ) -> Result<Reward, SearchError> {
        let Search { config, shaper, .. } = &self.search;
        let score = config.objective.score(evaluation.value().unwrap_or_else(|| config.worst_value()));
        shaper.reward(score, evaluation, cost).map_err(|source| SearchError::Reward { trial, source })
    }
}
