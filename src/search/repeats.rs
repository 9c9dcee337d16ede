//! Repeated proposals that are learnt again, as MetaQNN has it ([`Repeats::Replay`](super::Repeats::Replay)).

use super::Evaluator;
use super::controller::SearchError;
use super::run::Run;
use crate::agent::{Agent, TrajectoryOf};
use crate::graph::{Cost, Fingerprint};
use crate::seed;
use crate::space::SearchSpace;

/// A proposal of an architecture that was proposed before.
pub(super) struct Repeat<S: SearchSpace> {
    /// Number of the trial that it was proposed for.
    pub(super) trial: u64,
    pub(super) fingerprint: Fingerprint,
    pub(super) trajectory: TrajectoryOf<S>,
    /// Of the architecture as it was proposed now, as the reward is to see it.
    pub(super) cost: Cost,
}

impl<S, G, V> Run<'_, S, G, V>
where
    S: SearchSpace,
    G: Agent<S>,
    V: Evaluator<S::Architecture>,
{
    /// Has the agent learn a repeat at once, or keeps it while its architecture is still being evaluated.
    pub(super) fn learn_repeat(&mut self, repeat: Repeat<S>) -> Result<(), SearchError> {
        let Some(evaluation) = self.cache.get(&repeat.fingerprint) else {
            self.unlearnt_repeats.push(repeat);
            return Ok(());
        };
        let Repeat { trial, fingerprint, trajectory, cost } = repeat;
        let reward = self.worth(trial, evaluation, &cost)?;
        let episode = self.episode(trajectory, trial, reward, fingerprint)?;
        self.memory.push(episode.clone());
        let mut rng = seed::stream(self.search.config.seed, "repeat", self.learnt_repeats);
        self.learnt_repeats += 1;
        Ok(self.search.agent.learn(&self.search.space, &[episode], &self.memory, &mut rng)?)
    }

    /// Has the agent learn the repeats of what has been evaluated since, in the order of proposal.
    pub(super) fn learn_kept_repeats(&mut self) -> Result<(), SearchError> {
        std::mem::take(&mut self.unlearnt_repeats).into_iter().try_for_each(|repeat| self.learn_repeat(repeat))
    }
}
