//! A whole block search as plain data: what a configuration file holds and a preset names.
//!
//! [`Experiment`] gathers the settings of space, agent, reward, controller, recipe and data. It comes from a
//! [`Preset`], and is checked as a whole before anything runs.

mod data;
mod verification;

pub use data::{DataConfig, Dataset, UnknownDataset};
pub use verification::{Candidate, Verification, VerificationReport, VerificationRow};

use crate::agent::{AgentConfig, EpsilonPhase, EpsilonSchedule, QLearningConfig};
use crate::data::cifar::Missing;
use crate::data::{BrokenImages, DataError};
use crate::graph::{CostLimits, ImageShape, NetworkConfig, StemConfig, ToGraph};
use crate::network::Network;
use crate::reward::{Credit, RedefinedReward};
use crate::search::SearchConfig;
use crate::seed;
use crate::setting::InvalidSetting;
use crate::space::block::BlockSpace;
use crate::space::{SearchSpace, random_trajectory};
use crate::train::{Recipe, Restarts, Schedule};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Names of ready-made experiments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Preset {
    /// Minutes on two CPU cores: short blocks, small networks, few images, a faster learner. Not from the paper.
    Quick,
    /// The paper's search: 178 minibatches of 64 blocks on CIFAR-100, 12 epochs each.
    Paper,
    /// The paper's search on a schedule of half the length: 89 minibatches. With ReLU and batch normalisation as layers of
    /// their own (`space.convolution=separate`) it is the green line of Figure 3.
    Short,
    /// The paper's search with MetaQNN's learner: plain accuracy as the reward, at Terminal alone; initial Q 50 (half of the
    /// highest accuracy, in percent). Figure 6 changes less: `paper` with `reward.credit=terminal`.
    Metaqnn,
}

impl Preset {
    /// All presets.
    pub const ALL: [Self; 4] = [Self::Quick, Self::Paper, Self::Short, Self::Metaqnn];

    /// The name of the preset.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Quick => "quick",
            Self::Paper => "paper",
            Self::Short => "short",
            Self::Metaqnn => "metaqnn",
        }
    }

    /// The experiment that the preset names.
    #[must_use]
    pub fn experiment(self) -> Experiment {
        match self {
            Self::Quick => Experiment::quick(),
            Self::Paper => Experiment::paper(),
            Self::Short => Experiment::short(),
            Self::Metaqnn => Experiment::metaqnn(),
        }
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No preset has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown preset {name:?}: choose quick, paper, short or metaqnn")]
pub struct UnknownPreset {
    name: String,
}

impl FromStr for Preset {
    type Err = UnknownPreset;

    fn from_str(name: &str) -> Result<Self, UnknownPreset> {
        Self::ALL
            .into_iter()
            .find(|preset| preset.name() == name)
            .ok_or_else(|| UnknownPreset { name: name.to_owned() })
    }
}

/// Everything that determines a block search, as plain data.
///
/// ```
/// use blockqnn::experiment::Experiment;
///
/// let paper = Experiment::paper();
/// assert_eq!((paper.search.trials, paper.recipe.epochs), (11_392, 12));
/// let text = serde_json::to_string(&paper)?;
/// assert_eq!(serde_json::from_str::<Experiment>(&text)?, paper);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Sections")]
pub struct Experiment {
    /// Where blocks come from.
    pub space: BlockSpace,
    /// The agent that chooses them. Files written earlier may hold an agent other than the Q-learner as `searcher`.
    pub agent: AgentConfig,
    /// What the agent learns from.
    pub reward: RedefinedReward,
    /// How many trials, in what minibatches, around which network, under which limits.
    pub search: SearchConfig,
    /// How each network is trained.
    pub recipe: Recipe,
    /// On which images.
    pub data: DataConfig,
}

/// Why an experiment cannot run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExperimentError {
    /// A setting has a value that it cannot have.
    #[error(transparent)]
    Setting(#[from] InvalidSetting),
    /// The data.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The data set is read from a folder, and none was given.
    #[error(
        "the images of the data set {dataset} are read from files, but no folder is given: name the folder of the images"
    )]
    NoFolder {
        /// Name of the data set.
        dataset: &'static str,
    },
}

impl Experiment {
    /// The paper's search on CIFAR-100 (Section "Experiment Details"), with our reading where the paper is silent.
    #[must_use]
    pub fn paper() -> Self {
        Self {
            space: BlockSpace::paper(),
            agent: AgentConfig::QLearning(QLearningConfig::paper()),
            reward: RedefinedReward::paper(),
            search: SearchConfig::paper(),
            recipe: Recipe::early_stop(),
            data: DataConfig {
                dataset: Dataset::Cifar100,
                train_limit: None,
                validation: 5_000,
                missing_files: Missing::Refuse,
                size: None,
                broken_images: BrokenImages::Refuse,
                seed: 0,
            },
        }
    }

    /// The paper's search on a schedule of half the length: 89 minibatches.
    #[must_use]
    pub fn short() -> Self {
        let agent = QLearningConfig { epsilon: EpsilonSchedule::short(), ..QLearningConfig::paper() };
        Self { agent: AgentConfig::QLearning(agent), ..Self::paper() }.with_scheduled_trials()
    }

    /// The paper's search with MetaQNN's learner and reward ([`Preset::Metaqnn`]).
    #[must_use]
    pub fn metaqnn() -> Self {
        let reward = RedefinedReward::accuracy(Credit::Terminal);
        Self { agent: AgentConfig::QLearning(QLearningConfig::metaqnn()), reward, ..Self::paper() }
    }

    /// A search of minutes on two CPU cores, on the embedded images.
    ///
    /// What differs from the paper, and why: blocks of up to 6 layers in networks of 2 stages at 14 and 7 pixels, N = 1
    /// and 8 filters, 2 epochs on 1,000 images, so that a training takes seconds; 64 blocks in minibatches of 8; a
    /// learning rate of 0.1 and a schedule that explores for the first quarter, because with 0.01 it learns nothing
    /// from 64 blocks; plain accuracy as the reward.
    #[must_use]
    pub fn quick() -> Self {
        let phases = [(1.0, 2), (0.5, 2), (0.2, 2), (0.1, 2)];
        let phases: Vec<_> =
            phases.into_iter().map(|(epsilon, minibatches)| EpsilonPhase { epsilon, minibatches }).collect();
        // The phases are a valid schedule, and 6 a valid number of layers; the tests hold both to that.
        let epsilon = EpsilonSchedule::new(phases).unwrap_or_else(|_| EpsilonSchedule::short());
        let space = BlockSpace::paper().with_max_layers(6).unwrap_or_default();
        let image = ImageShape { channels: 1, height: 28, width: 28 };
        let stem = StemConfig { pools: 1, ..StemConfig::default() };
        let network = NetworkConfig { stem, stages: 2, repeats: 1, width: 8, ..NetworkConfig::cifar() };
        let network = network.with_data(image, 10);
        let agent = QLearningConfig { learning_rate: 0.1, epsilon, ..QLearningConfig::paper() };
        let experiment = Self {
            space,
            agent: AgentConfig::QLearning(agent),
            reward: RedefinedReward::accuracy(Credit::Terminal),
            search: SearchConfig {
                minibatch: 8,
                network,
                limits: CostLimits { parameters: Some(1_000_000), flops: Some(20_000_000), activation_bytes: None },
                ..SearchConfig::paper()
            },
            recipe: Recipe {
                epochs: 2,
                batch_size: 32,
                learning_rate: 0.003,
                schedule: Schedule::Step { every: 1, factor: 0.2 },
                restarts: Restarts { max: 1, factor: 0.4 },
                ..Recipe::early_stop()
            },
            data: DataConfig {
                dataset: Dataset::Embedded,
                train_limit: Some(1_000),
                validation: 400,
                missing_files: Missing::Refuse,
                size: None,
                broken_images: BrokenImages::Refuse,
                seed: 0,
            },
        };
        experiment.with_scheduled_trials()
    }

    /// Trials that the epsilon schedule lasts for; none for an agent without one.
    #[must_use]
    pub fn scheduled_trials(&self) -> Option<u64> {
        match &self.agent {
            AgentConfig::QLearning(agent) => Some(agent.epsilon.minibatches().saturating_mul(self.search.minibatch)),
            _ => None,
        }
    }

    fn with_scheduled_trials(mut self) -> Self {
        self.search.trials = self.scheduled_trials().unwrap_or(self.search.trials);
        self
    }

    /// Images that pass through networks in training when no training is restarted: trials x epochs x images.
    ///
    /// `images` is the number of training images.
    #[must_use]
    pub fn image_passes(&self, images: u64) -> u64 {
        self.search.trials.saturating_mul(self.recipe.epochs.into()).saturating_mul(images)
    }

    /// Of uniformly random blocks of the space, the share that is trained, from 0 to 1, counted over `walks` of them. The
    /// others are refused by their size: it overflows, or is over [`Network::MAX_PARAMETERS`] or over a limit of the search.
    ///
    #[must_use]
    pub fn trained_share(&self, walks: u32) -> f64 {
        let is_trained = |walk: &u32| {
            let mut rng = seed::stream(0, "trained share", u64::from(*walk));
            let block = random_trajectory(&self.space, &mut rng).and_then(|walk| self.space.decode(&walk.actions));
            let cost = block.ok().and_then(|block| block.to_graph().cost(&self.search.network).ok());
            cost.is_some_and(|cost| {
                cost.parameters <= Network::MAX_PARAMETERS && self.search.limits.check(&cost).is_ok()
            })
        };
        (0..walks).filter(is_trained).count() as f64 / f64::from(walks.max(1))
    }

    /// The same experiment with the network's input and classes as the data has them.
    #[must_use]
    pub fn for_data(mut self, image: ImageShape, classes: usize) -> Self {
        self.search.network = self.search.network.with_data(image, classes);
        self
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// The first invalid setting, by name.
    pub fn validate(&self) -> Result<(), ExperimentError> {
        self.agent.validate()?;
        self.reward.validate()?;
        // Before the network, which follows the data.
        self.data.validate()?;
        self.search.validate()?;
        Ok(self.recipe.validate()?)
    }

    /// Every section but `search`, as JSON: what a [`RunFolder`](crate::search::RunFolder) is to compare besides the
    /// controller's own settings.
    #[must_use]
    pub fn details(&self) -> serde_json::Value {
        let Self { space, agent, reward, search: _, recipe, data } = self;
        serde_json::json!({ "space": space, "agent": agent, "reward": reward, "recipe": recipe, "data": data })
    }
}

/// An [`Experiment`] as files hold it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sections {
    space: BlockSpace,
    agent: Option<AgentConfig>,
    searcher: Option<AgentConfig>,
    reward: RedefinedReward,
    search: SearchConfig,
    recipe: Recipe,
    data: DataConfig,
}

impl TryFrom<Sections> for Experiment {
    type Error = &'static str;

    fn try_from(sections: Sections) -> Result<Self, Self::Error> {
        let Sections { space, agent, searcher, reward, search, recipe, data } = sections;
        let agent = searcher.or(agent).ok_or("missing field `agent`")?;
        Ok(Self { space, agent, reward, search, recipe, data })
    }
}

#[cfg(test)]
mod tests;
