//! Repeated proposals that are learned again, as in MetaQNN ([`Repeats::Replay`](super::Repeats::Replay)).

use super::{SearchError, Session};
use crate::agent::{Agent, TrajectoryOf};
use crate::graph::{Cost, Fingerprint};
use crate::seed;
use crate::space::SearchSpace;
use std::collections::HashMap;

/// A proposal of an architecture that was proposed before.
pub(super) struct Repeat<S: SearchSpace> {
    /// Number of the trial that it was proposed for.
    pub(super) trial: u64,
    pub(super) fingerprint: Fingerprint,
    pub(super) trajectory: TrajectoryOf<S>,
    /// Cost of the architecture as it was proposed this time, from which the reward is computed.
    pub(super) cost: Option<Cost>,
}

impl<S: SearchSpace, G: Agent<S>> Session<'_, S, G> {
    /// Has the agent learn a repeat, or keeps it while its architecture is still being evaluated.
    pub(super) fn learn_repeat(&mut self, repeat: Repeat<S>) -> Result<(), SearchError> {
        let known = |from: &HashMap<_, _>| from.get(&repeat.fingerprint).cloned();
        let Some(evaluation) = known(&self.cache).or_else(|| known(&self.elsewhere)) else {
            self.kept_repeats.push(repeat);
            return Ok(());
        };
        let Repeat { trial, fingerprint, trajectory, cost } = repeat;
        let reward = self.worth(trial, &evaluation, cost.as_ref())?;
        let episode = self.episode(trajectory, trial, reward, fingerprint)?;
        self.memory.push(episode.clone());
        let mut rng = seed::stream(self.search.config.seed, "repeat", self.learned_repeats);
        self.learned_repeats += 1;
        Ok(self.search.agent.learn(&self.search.space, &[episode], &self.memory, &mut rng)?)
    }

    /// Has the agent learn the kept repeats whose architecture has been evaluated since, in the order of proposal.
    pub(super) fn learn_kept_repeats(&mut self) -> Result<(), SearchError> {
        std::mem::take(&mut self.kept_repeats).into_iter().try_for_each(|repeat| self.learn_repeat(repeat))
    }
}
