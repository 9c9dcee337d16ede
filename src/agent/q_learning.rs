//! The paper's agent: tabular Q-learning with experience replay (Section "Experiment Details").

use super::q_table::{Choice, Place};
use super::{Agent, AgentError, EpisodeOf, EpsilonSchedule, Memory, NextValues, QTable, StateView, TrajectoryOf};
use crate::evaluation::{Episode, Standing};
use crate::seed;
use crate::setting::{self, InvalidSetting};
use crate::space::{SearchSpace, walk_by};
use rand::Rng;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fmt;
use std::io::{Read, Write};

/// Experience replay: after each minibatch, `rounds` times, `batch` episodes are drawn from the whole memory with
/// replacement and learned again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplayConfig {
    /// Number of rounds after each minibatch; the paper's "for 64 times". 0 turns replay off. If a minibatch is learned
    /// in parts, as with rolling scheduling, each part is followed by its share of the rounds.
    pub rounds: u32,
    /// Number of episodes drawn in each round.
    pub batch: u32,
}

/// How the values of the table are computed from episodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum UpdateRule {
    /// Equation 2: each episode updates the values along its walk, and the replay follows.
    #[default]
    TemporalDifference,
    /// From the ranks of all rewards so far: with z = ln(N / rank), the value of an action is half the best z of the
    /// episodes that took it plus half their mean z, shrunk by one additional episode with z = 0. Learning rate,
    /// discount and replay are not used.
    Ranks,
}

/// How actions are chosen from their values.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Policy {
    /// A random action with the probability of the epsilon schedule, otherwise one with the highest value.
    #[default]
    EpsilonGreedy,
    /// A softmax over the values of a state. It needs no schedule, and epsilon is not used.
    Softmax {
        /// The temperature, in standard deviations of the values in the state.
        temperature: f64,
        /// Number of trials at the beginning that walk at random.
        uniform: u64,
    },
}

/// Settings of the tabular Q-learner.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QLearningConfig {
    /// Alpha of Equation 2: the weight of the new sample in an update, above 0 and at most 1.
    pub learning_rate: f64,
    /// Weight of the value that follows an action, from 0 to 1. Equation 2 has 1.
    pub discount: f64,
    /// Value of an action that was never tried, in percentage points.
    pub initial_q: f64,
    /// Probability of a random action over the course of the search.
    pub epsilon: EpsilonSchedule,
    /// Experience replay.
    pub replay: ReplayConfig,
    /// What the table distinguishes.
    #[serde(default, skip_serializing_if = "setting::is_default")]
    pub view: StateView,
    /// How values are computed from episodes.
    #[serde(default, skip_serializing_if = "setting::is_default")]
    pub update: UpdateRule,
    /// Which values of the next state Equation 2 uses within an episode.
    #[serde(default, skip_serializing_if = "setting::is_default")]
    pub next_values: NextValues,
    /// How actions are chosen.
    #[serde(default, skip_serializing_if = "setting::is_default")]
    pub policy: Policy,
    /// Whether a reward below the median of all rewards so far counts as that median, since how bad the bad ones are
    /// teaches nothing.
    #[serde(default, skip_serializing_if = "setting::is_default")]
    pub clip_at_median: bool,
}

impl QLearningConfig {
    /// Returns the paper's settings: learning rate 0.01, discount 1, the schedule of Table 2, and replay with 64 rounds
    /// of 128 episodes. The paper does not give the initial Q; 0 is our reading.
    #[must_use]
    pub fn paper() -> Self {
        Self {
            learning_rate: 0.01,
            discount: 1.0,
            initial_q: 0.0,
            epsilon: EpsilonSchedule::paper(),
            replay: ReplayConfig { rounds: 64, batch: 128 },
            view: StateView::State,
            update: UpdateRule::TemporalDifference,
            next_values: NextValues::Updated,
            policy: Policy::EpsilonGreedy,
            clip_at_median: false,
        }
    }

    /// Returns the settings of MetaQNN's program, with the schedule of Table 2: the initial Q is 50 (0.5 on its scale
    /// from 0 to 1). It replays 128 networks after each trained one, so that a minibatch of 64 has the paper's 64
    /// rounds; for minibatches of another size, set `replay.rounds` to that size. Its reward is the accuracy at
    /// Terminal alone ([`Credit::Terminal`](crate::reward::Credit::Terminal)). It learns a trained network in replays
    /// only; this learner also learns it once when it is trained.
    #[must_use]
    pub fn metaqnn() -> Self {
        Self { initial_q: 50.0, ..Self::paper() }
    }

    /// Shortens or stretches the epsilon schedule to `minibatches` ([`EpsilonSchedule::scaled_to`]). A search that is
    /// shorter than its schedule ends while it still explores.
    ///
    /// ```
    /// use blockqnn::agent::QLearningConfig;
    ///
    /// let config = QLearningConfig::paper().scaled_to(4);
    /// assert_eq!((config.epsilon.at(0, 1), config.epsilon.at(3, 1)), (1.0, 0.3));
    /// ```
    #[must_use]
    pub fn scaled_to(self, minibatches: u64) -> Self {
        Self { epsilon: self.epsilon.scaled_to(minibatches), ..self }
    }

    /// Returns TUNED-TD, for searches of hundreds of trials: the paper's learner with learning rate 0.1, epsilon 1 for
    /// the first fifth of `minibatches` and 0.1 afterwards, rewards clipped at their running median, one round of
    /// replay, and values by position alone. It is not from the paper, but was found on NAS-Bench-201.
    ///
    /// ```
    /// use blockqnn::agent::QLearningConfig;
    ///
    /// let config = QLearningConfig::tuned(100);
    /// assert_eq!((config.epsilon.at(19, 1), config.epsilon.at(20, 1)), (1.0, 0.1));
    /// ```
    #[must_use]
    pub fn tuned(minibatches: u64) -> Self {
        let random = minibatches.div_ceil(5).max(1);
        Self {
            learning_rate: 0.1,
            epsilon: EpsilonSchedule::steps([(1.0, random), (0.1, minibatches.saturating_sub(random))]),
            replay: ReplayConfig { rounds: 1, batch: 128 },
            view: StateView::Position,
            clip_at_median: true,
            ..Self::paper()
        }
    }

    /// Returns RANK-Q, which needs no schedule: values by position from the ranks of all rewards, a softmax with a
    /// temperature of half a standard deviation, and 30 random trials first. It is not from the paper, but was found on
    /// NAS-Bench-201, where fewer random trials are worse.
    #[must_use]
    pub fn rank() -> Self {
        Self {
            replay: ReplayConfig { rounds: 0, batch: 0 },
            view: StateView::Position,
            update: UpdateRule::Ranks,
            policy: Policy::Softmax { temperature: 0.5, uniform: 30 },
            ..Self::paper()
        }
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// [`InvalidSetting`] names the first invalid field.
    pub fn validate(&self) -> Result<(), InvalidSetting> {
        let temperature = match self.policy {
            Policy::Softmax { temperature, .. } => temperature,
            Policy::EpsilonGreedy => 1.0,
        };
        let Self { learning_rate: rate, discount, initial_q, .. } = *self;
        let is_warm = temperature > 0.0 && temperature.is_finite();
        let checks = [
            ("learning_rate", rate, rate > 0.0 && rate <= 1.0, "above 0 and at most 1"),
            ("discount", discount, (0.0..=1.0).contains(&discount), "from 0 to 1"),
            ("initial_q", initial_q, initial_q.is_finite(), "a finite number"),
            ("policy.softmax.temperature", temperature, is_warm, "above 0 and finite"),
        ];
        checks.into_iter().try_for_each(|(field, value, valid, expected)| {
            InvalidSetting::check(format!("agent.{field}"), value, valid, expected)
        })
    }
}

/// The paper's agent: an epsilon-greedy tabular Q-learner with experience replay.
///
/// With probability epsilon it takes a random action, otherwise one with the highest value; a minibatch is proposed
/// from a table that does not change. Then each episode of the minibatch updates the table once, in the order of
/// proposal, and the replay follows. Rewards are taken from the episodes as they are: the
/// [`RewardShaper`](crate::reward::RewardShaper) spreads a block's reward over its layers (by Equation 2 or like
/// MetaQNN).
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
    /// Creates a learner that has learned nothing yet.
    ///
    /// # Errors
    /// [`InvalidSetting`] if a setting is out of its range.
    pub fn new(config: QLearningConfig) -> Result<Self, InvalidSetting> {
        config.validate()?;
        let table = QTable::new(config.initial_q, config.view);
        Ok(Self { config, table, replay: Replay::default() })
    }

    /// Returns the Q-value of an action in a state, the one at `position` of its walk, in percentage points; `None` if
    /// no walk has met the state (with [`StateView::Position`], the position) or it has no such action.
    #[must_use]
    pub fn value(&self, position: usize, state: &S::State, action: &S::Action) -> Option<f64> {
        self.table.value(position, state, action)
    }

    /// Finds the places of the episodes that were not learned before.
    fn catch_up(&mut self, space: &S, memory: &Memory<S>) -> Result<(), AgentError> {
        for episode in &memory.episodes()[self.replay.ends.len()..] {
            self.table.locate(space, &episode.trajectory, &mut self.replay.places)?;
            self.replay.ends.push(self.replay.places.len());
        }
        Ok(())
    }

    /// Updates the values along the walk of an episode. A reward below `floor` counts as `floor`.
    fn update(&mut self, number: usize, episode: &EpisodeOf<S>, floor: Option<f64>) {
        let QLearningConfig { learning_rate, discount, next_values, .. } = self.config;
        // The credit of a layer is proportional to the reward; with a reward of 0 there is no credit to scale.
        let reward = episode.reward.value();
        let factor = match floor {
            Some(floor) if reward < floor && reward != 0.0 => floor / reward,
            _ => 1.0,
        };
        let rewards = episode.rewards.iter().map(|reward| factor * reward.value());
        self.table.update(self.replay.episode(number), rewards, learning_rate, discount, next_values);
    }

    /// Sets all values by the ranks of all rewards ([`UpdateRule::Ranks`]).
    fn rank(&mut self, episodes: &[EpisodeOf<S>]) {
        let standings = log_ranks(episodes.iter().map(Episode::standing));
        let mut sums: HashMap<Place, (f64, f64, f64)> = HashMap::new();
        for (number, z) in standings.into_iter().enumerate() {
            for place in self.replay.episode(number) {
                let (best, sum, count) = sums.entry(*place).or_default();
                *best = best.max(z);
                *sum += z;
                *count += 1.0;
            }
        }
        let value = |(best, sum, count): (f64, f64, f64)| 0.5 * best + 0.5 * sum / (count + 1.0);
        let values = sums.into_iter().map(|(place, sums)| (place, self.config.initial_q + value(sums))).collect();
        self.table.assign(&values);
    }
}

/// Returns z = ln(N / rank) for each of N, where the best has rank 1 and equal ones share their mean rank.
pub(super) fn log_ranks(standings: impl Iterator<Item = Standing>) -> Vec<f64> {
    let standings: Vec<Standing> = standings.collect();
    let mut order: Vec<usize> = (0..standings.len()).collect();
    order.sort_by(|&a, &b| standings[b].cmp(&standings[a]));
    let mut ranked = vec![0.0; standings.len()];
    let mut first = 0;
    for equal in order.chunk_by(|&a, &b| standings[a] == standings[b]) {
        let rank = first as f64 + f64::midpoint(equal.len() as f64, 1.0);
        for &place in equal {
            ranked[place] = (standings.len() as f64 / rank).ln();
        }
        first += equal.len();
    }
    ranked
}

/// Returns the median; of an even number of values, the mean of the middle two.
fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    Some(if values.len() % 2 == 1 { upper } else { 0.5 * (values[values.len() / 2 - 1] + upper) })
}

impl<S: SearchSpace> Agent<S> for QLearning<S> {
    /// Returns the length of the epsilon schedule, unless epsilon is constant or not used.
    fn scheduled_minibatches(&self) -> Option<u64> {
        let phases = self.config.epsilon.phases();
        let changes = phases.windows(2).any(|pair| pair[0].epsilon.total_cmp(&pair[1].epsilon).is_ne());
        (changes && self.config.policy == Policy::EpsilonGreedy).then(|| self.config.epsilon.minibatches())
    }

    fn propose(&mut self, space: &S, memory: &Memory<S>, rng: &mut dyn Rng) -> Result<TrajectoryOf<S>, AgentError> {
        let Self { config, table, .. } = self;
        let trial = memory.proposed();
        let epsilon = match config.policy {
            Policy::EpsilonGreedy => config.epsilon.at(trial, memory.minibatch_size()),
            Policy::Softmax { uniform, .. } => f64::from(u8::from(memory.known() < uniform)),
        };
        let mut position = 0;
        walk_by(space, |state| {
            let place = position;
            position += 1;
            let choice = match config.policy {
                _ if seed::unit(rng) < epsilon => Choice::Random,
                Policy::EpsilonGreedy => Choice::Greedy,
                Policy::Softmax { temperature, .. } => Choice::Softmax { temperature },
            };
            table.choose(space, state, place, choice, rng)
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
        if self.config.update == UpdateRule::Ranks {
            self.rank(episodes);
            return Ok(());
        }
        let rewards = episodes.iter().map(|episode| episode.reward.value());
        let floor = if self.config.clip_at_median { median(rewards) } else { None };
        for (&place, episode) in memory.latest(minibatch.len()).iter().zip(minibatch) {
            self.update(place, episode, floor);
        }
        if episodes.is_empty() {
            return Ok(());
        }
        let ReplayConfig { rounds, batch } = self.config.replay;
        // A minibatch that is learned in parts gets its rounds in parts.
        let rounds_by = |learned: u64| learned * u64::from(rounds) / memory.minibatch_size().max(1);
        let due = rounds_by(memory.learned()) - rounds_by(memory.learned() - minibatch.len() as u64);
        for _ in 0..due * u64::from(batch) {
            let number = seed::index(rng, episodes.len());
            self.update(number, &episodes[number], floor);
        }
        Ok(())
    }

    fn identity(&self) -> String {
        crate::identity::with_settings("QLearning", &self.config)
    }

    fn save(&self, out: &mut dyn Write) -> Result<(), AgentError> {
        self.table.save(out)
    }

    fn load(&mut self, space: &S, from: &mut dyn Read) -> Result<(), AgentError> {
        self.table = QTable::load(space, self.config.view, from)?;
        self.replay = Replay::default();
        Ok(())
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "exact values are meant")]
mod tests;
