//! The paper's agent: tabular Q-learning with experience replay (Section "Experiment Details").

use super::q_table::Place;
use super::{Agent, AgentError, EpisodeOf, EpsilonSchedule, Memory, QTable, TrajectoryOf};
use crate::seed;
use crate::space::{SearchSpace, walk_by};
use rand::Rng;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io::{Read, Write};

/// Experience replay: after each minibatch, `rounds` times, `batch` episodes are drawn from the whole memory with
/// replacement and learnt again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplayConfig {
    /// Rounds after each minibatch; the paper's "for 64 times". 0 turns replay off. Where a minibatch is learnt in parts,
    /// as with rolling scheduling, each part is followed by its share of the rounds.
    pub rounds: u32,
    /// Episodes drawn in each round.
    pub batch: u32,
}

/// Settings of the tabular Q-learner.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QLearningConfig {
    /// Alpha of Equation 2: the share of an update that comes from the new sample, above 0 and up to 1.
    pub learning_rate: f64,
    /// Weight of what follows an action, 0 to 1. Equation 2 has 1.
    pub discount: f64,
    /// Value of an action that was never tried, in percent points.
    pub initial_q: f64,
    /// Probability of a random action over the course of the search.
    pub epsilon: EpsilonSchedule,
    /// Experience replay.
    pub replay: ReplayConfig,
}

impl QLearningConfig {
    /// The paper's settings: learning rate 0.01, discount 1, Table 2, replay of 64 rounds of 128. The paper is silent
    /// about the initial Q; 0 is our reading.
    #[must_use]
    pub fn paper() -> Self {
        Self {
            learning_rate: 0.01,
            discount: 1.0,
            initial_q: 0.0,
            epsilon: EpsilonSchedule::paper(),
            replay: ReplayConfig { rounds: 64, batch: 128 },
        }
    }

    /// As MetaQNN has it: the initial Q is 50 (0.5 on its scale of 0 to 1), and one round of replay.
    #[must_use]
    pub fn metaqnn() -> Self {
        Self { initial_q: 50.0, replay: ReplayConfig { rounds: 1, batch: 128 }, ..Self::paper() }
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// [`QLearningConfigError`] names the first field that cannot be.
    pub fn validate(&self) -> Result<(), QLearningConfigError> {
        let checks = [
            (
                "learning_rate",
                self.learning_rate,
                self.learning_rate > 0.0 && self.learning_rate <= 1.0,
                "above 0 and at most 1",
            ),
            ("discount", self.discount, (0.0..=1.0).contains(&self.discount), "from 0 to 1"),
            ("initial_q", self.initial_q, self.initial_q.is_finite(), "a finite number"),
        ];
        for (field, value, valid, expected) in checks {
            if !valid {
                return Err(QLearningConfigError { field, value, expected });
            }
        }
        Ok(())
    }
}

/// A setting of the Q-learner is out of its range.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("agent.{field} is {value}: it must be {expected}")]
pub struct QLearningConfigError {
    /// Name of the field.
    pub field: &'static str,
    /// Its value.
    pub value: f64,
    /// What it must be.
    pub expected: &'static str,
}

/// The paper's agent: an epsilon-greedy tabular Q-learner with experience replay.
///
/// It walks with probability epsilon at random, else to an action of highest value; a minibatch is proposed from a
/// table that does not change. Then every episode of the minibatch updates the table once, in order of proposal, and the
/// replay follows. Rewards are taken from the episode as they come: how a block's reward is spread over its layers
/// (Equation 2 or MetaQNN's) is the [`RewardShaper`](crate::reward::RewardShaper)'s.
///
/// ```
/// use blockqnn::agent::{Agent, Memory, QLearning, QLearningConfig};
/// use blockqnn::seed;
/// use blockqnn::space::SearchSpace;
/// use blockqnn::space::block::BlockSpace;
///
/// let space = BlockSpace::paper();
/// let mut agent = QLearning::new(QLearningConfig::paper())?;
/// let walk = agent.propose(&space, &Memory::new(64), &mut seed::stream(1, "doc", 0))?;
/// println!("{}", space.decode(&walk.actions)?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct QLearning<S: SearchSpace> {
    config: QLearningConfig,
    table: QTable<S>,
    replay: Replay,
}

/// The memory's episodes as places in the table, one after another.
#[derive(Default)]
struct Replay {
    places: Vec<Place>,
    /// End of each episode in `places`.
    ends: Vec<usize>,
}

impl Replay {
    fn episode(&self, number: usize) -> &[Place] {
        let start = if number == 0 { 0 } else { self.ends[number - 1] };
        &self.places[start..self.ends[number]]
    }
}

impl<S: SearchSpace> fmt::Debug for QLearning<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QLearning").field("config", &self.config).field("table", &self.table).finish_non_exhaustive()
    }
}

impl<S: SearchSpace> QLearning<S> {
    /// A learner that knows nothing yet.
    ///
    /// # Errors
    /// [`QLearningConfigError`] if a setting is out of its range.
    pub fn new(config: QLearningConfig) -> Result<Self, QLearningConfigError> {
        config.validate()?;
        let table = QTable::new(config.initial_q);
        Ok(Self { config, table, replay: Replay::default() })
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &QLearningConfig {
        &self.config
    }

    /// The table of Q-values.
    #[must_use]
    pub fn table(&self) -> &QTable<S> {
        &self.table
    }

    /// Finds the places of the episodes that were not learnt before.
    fn catch_up(&mut self, space: &S, memory: &Memory<S>) -> Result<(), AgentError> {
        for episode in &memory.episodes()[self.replay.ends.len()..] {
            self.table.locate(space, &episode.trajectory, &mut self.replay.places)?;
            self.replay.ends.push(self.replay.places.len());
        }
        Ok(())
    }

    fn update(&mut self, number: usize, episode: &EpisodeOf<S>) {
        let QLearningConfig { learning_rate, discount, .. } = self.config;
        let rewards = episode.rewards.iter().map(|reward| reward.value());
        self.table.update(self.replay.episode(number), rewards, learning_rate, discount);
    }
}

impl<S: SearchSpace> Agent<S> for QLearning<S> {
    fn propose(&mut self, space: &S, memory: &Memory<S>, rng: &mut dyn Rng) -> Result<TrajectoryOf<S>, AgentError> {
        let epsilon = self.config.epsilon.at(memory.proposed(), memory.minibatch_size());
        walk_by(space, |state| {
            if seed::unit(rng) < epsilon {
                self.table.random(space, state, rng)
            } else {
                self.table.greedy(space, state, rng)
            }
        })
    }

    fn learn(
        &mut self,
        space: &S,
        minibatch: &[EpisodeOf<S>],
        memory: &Memory<S>,
        rng: &mut dyn Rng,
    ) -> Result<(), AgentError> {
        self.catch_up(space, memory)?;
        let episodes = memory.episodes();
        let first = episodes.len() - minibatch.len();
        for (offset, episode) in minibatch.iter().enumerate() {
            self.update(first + offset, episode);
        }
        if episodes.is_empty() {
            return Ok(());
        }
        let ReplayConfig { rounds, batch } = self.config.replay;
        // A minibatch that comes in parts gets its rounds in parts.
        let rounds_by = |learnt: usize| learnt as u64 * u64::from(rounds) / memory.minibatch_size().max(1);
        let due = rounds_by(episodes.len()) - rounds_by(first);
        for _ in 0..due * u64::from(batch) {
            let number = seed::index(rng, episodes.len());
            self.update(number, &episodes[number]);
        }
        Ok(())
    }

    fn save(&self, out: &mut dyn Write) -> Result<(), AgentError> {
        self.table.save(out)
    }

    fn load(&mut self, space: &S, from: &mut dyn Read) -> Result<(), AgentError> {
        self.table = QTable::load(space, from)?;
        self.replay = Replay::default();
        Ok(())
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "exact values are meant")]
mod tests;
