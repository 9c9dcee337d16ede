//! A whole block search as plain data: the content of a configuration file or a preset.
//!
//! [`Experiment`] contains the settings of space, agent, reward, controller, recipe and data. It starts from a
//! [`Preset`] and is checked as a whole before anything runs.

mod contest;
mod data;
mod verification;

pub use contest::{Contest, ContestEnvironment, ContestReport, ContestRow, ContestTraining, Entrant, EqualCost};
pub use data::{DataConfig, Dataset};
pub use verification::{Verification, VerificationReport, VerificationRow};

use crate::agent::{AgentConfig, EpsilonPhase, EpsilonSchedule, LeastSquaresConfig, QLearningConfig};
use crate::data::cifar::{self, Missing};
use crate::data::{BrokenImages, DataError};
use crate::graph::{CostLimits, ImageShape, NetworkConfig, StemConfig, ToGraph};
use crate::network::Network;
use crate::reward::{Credit, RedefinedReward};
use crate::search::{Rungs, SearchConfig};
use crate::seed;
use crate::setting::{InvalidSetting, named};
use crate::space::block::{BlockSpace, LayerSet};
use crate::space::{SearchSpace, random_trajectory};
use crate::train::{Recipe, Restarts, Schedule};
use serde::{Deserialize, Serialize};

/// Names of ready-made experiments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Preset {
    /// A search of minutes on two CPU cores: short blocks, small networks, few images, a faster learner. Not from the
    /// paper.
    Quick,
    /// The paper's search: 178 minibatches of 64 blocks on CIFAR-100, 12 epochs each.
    Paper,
    /// The paper's search at a size that two CPU cores finish in an evening: space, learner, schedule and reward are the
    /// paper's; the images of CIFAR-10, networks and trainings are small.
    Evening,
    /// The paper's search with a schedule of half the length: 89 minibatches. With ReLU and batch normalisation as
    /// separate layers (`space.convolution=separate`) it is the search of the green line of Figure 3, as far as the
    /// paper describes it.
    Short,
    /// The paper's search with MetaQNN's learner: plain accuracy as the reward, at Terminal alone, and an initial Q of
    /// 50 (half of the highest accuracy, in percent). The schedule is the paper's. Figure 6 changes less: it is `paper`
    /// with `reward.credit=terminal`.
    Metaqnn,
    /// [`Quick`](Self::Quick) in the space [`BlockSpace::modern`]: separable, grouped, dilated and other convolutions.
    Modern,
    /// [`Quick`](Self::Quick) in the space [`BlockSpace::mobile`]: inverted bottlenecks.
    Mobile,
    /// For pictures of one's own: the least-squares learner with priors, and nine epochs in three rungs. Not from the
    /// paper.
    Economical,
}

named!(
    Preset,
    "preset",
    Quick = "quick",
    Paper = "paper",
    Evening = "evening",
    Short = "short",
    Metaqnn = "metaqnn",
    Modern = "modern",
    Mobile = "mobile",
    Economical = "economical"
);

impl Preset {
    /// Returns the experiment of the preset.
    #[must_use]
    pub fn experiment(self) -> Experiment {
        match self {
            Self::Quick => Experiment::quick(),
            Self::Paper => Experiment::paper(),
            Self::Evening => Experiment::evening(),
            Self::Short => Experiment::short(),
            Self::Metaqnn => Experiment::metaqnn(),
            Self::Modern => Experiment::quick_in(LayerSet::Modern),
            Self::Mobile => Experiment::quick_in(LayerSet::Mobile),
            Self::Economical => Experiment::economical(),
        }
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
    /// The space of the blocks.
    pub space: BlockSpace,
    /// The agent that proposes them. Files of earlier versions may hold an agent other than the Q-learner as
    /// `searcher`.
    pub agent: AgentConfig,
    /// The reward that the agent learns from.
    pub reward: RedefinedReward,
    /// The number of trials and minibatches, the network around the blocks, and the limits.
    pub search: SearchConfig,
    /// How each network is trained.
    pub recipe: Recipe,
    /// The images.
    pub data: DataConfig,
}

/// Why an experiment cannot run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExperimentError {
    /// A setting has a value that it cannot have.
    #[error(transparent)]
    Setting(#[from] InvalidSetting),
    /// The data cannot be read or split.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The data set is read from a folder, but none is given.
    #[error(
        "the images of the data set {dataset} are read from files, but no folder is given: name the folder of the \
         images"
    )]
    NoFolder {
        /// Name of the data set.
        dataset: &'static str,
    },
}

impl Experiment {
    /// Returns the paper's search on CIFAR-100 (Section "Experiment Details"), with our reading where the paper is
    /// silent.
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

    /// Returns the paper's search at a size that two CPU cores finish in an evening ([`Preset::Evening`]).
    ///
    /// Space, learner, schedule, replay, reward and restarts are those of [`paper`](Self::paper), so it has 11,392
    /// trainings. A training takes about a second of one core: networks of 2 stages at 8 and 4 pixels with N = 1 and 8
    /// filters, trained for 2 epochs in batches of 32 on 2,000 images of CIFAR-10, with a learning rate of 0.003 that
    /// falls after the first epoch; accuracy is measured on 1,000 other images. Such trainings rank blocks much as longer
    /// ones of larger networks do (`docs/evidence/evening.md`).
    #[must_use]
    pub fn evening() -> Self {
        let (paper, quick) = (Self::paper(), Self::quick());
        let stem = StemConfig { pools: 2, ..StemConfig::default() };
        let network = NetworkConfig { stem, ..quick.network() }.with_data(cifar::SHAPE, 10);
        Self {
            search: paper.search.with_network(network),
            recipe: Recipe { restarts: paper.recipe.restarts, ..quick.recipe },
            data: DataConfig { dataset: Dataset::Cifar10, train_limit: Some(2_000), validation: 1_000, ..paper.data },
            ..paper
        }
    }

    /// Returns the paper's search with a schedule of half the length: 89 minibatches.
    #[must_use]
    pub fn short() -> Self {
        let agent = QLearningConfig { epsilon: EpsilonSchedule::short(), ..QLearningConfig::paper() };
        Self { agent: AgentConfig::QLearning(agent), ..Self::paper() }.with_scheduled_trials()
    }

    /// Returns the paper's search with MetaQNN's learner and reward ([`Preset::Metaqnn`]).
    #[must_use]
    pub fn metaqnn() -> Self {
        let reward = RedefinedReward::accuracy(Credit::Terminal);
        Self { agent: AgentConfig::QLearning(QLearningConfig::metaqnn()), reward, ..Self::paper() }
    }

    /// Returns a search of minutes on two CPU cores, on the embedded images.
    ///
    /// It differs from the paper in the following. A training takes seconds: blocks have up to 6 layers, in networks of
    /// 2 stages at 14 and 7 pixels with N = 1 and 8 filters, trained for 2 epochs in batches of 32 on 1,000 images,
    /// with a learning rate of 0.003 that falls after the first epoch, and at most one restart. There are 64 blocks in
    /// minibatches of 8; blocks above 1,000,000 parameters or 20,000,000 FLOPs are not trained. The agent's learning
    /// rate is 0.1, and the first quarter of the blocks is random. The reward is plain accuracy, given at Terminal.
    #[must_use]
    pub fn quick() -> Self {
        let phases = [1.0, 0.5, 0.2, 0.1].map(|epsilon| EpsilonPhase { epsilon, minibatches: 2 });
        // The phases are a valid schedule, and 6 is a valid number of layers; tests check both.
        let epsilon = EpsilonSchedule::new(phases.into()).unwrap_or_else(|_| EpsilonSchedule::short());
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
                network: Some(network),
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
                ..Self::paper().data
            },
        };
        experiment.with_scheduled_trials()
    }

    /// Returns the quick search with another set of layers.
    fn quick_in(layers: LayerSet) -> Self {
        let quick = Self::quick();
        Self { space: quick.space.with_layers(layers), ..quick }
    }

    /// Returns a search for pictures of one's own ([`Preset::Economical`]): space and network of
    /// [`quick`](Self::quick), the least-squares learner with priors, and trainings of 1, 3 or 9 epochs on all images.
    /// The learning rate falls once, after 5 epochs, so the rungs below rank by the same rate.
    #[must_use]
    pub fn economical() -> Self {
        let quick = Self::quick();
        let search = SearchConfig { rungs: Some(Rungs::new(3)), ..quick.search };
        Self {
            agent: AgentConfig::LeastSquares(LeastSquaresConfig::with_priors()),
            search: search.with_trials(96, 8),
            recipe: Recipe { epochs: 9, schedule: Schedule::Step { every: 5, factor: 0.2 }, ..quick.recipe },
            data: DataConfig { train_limit: None, ..quick.data },
            ..quick
        }
    }

    /// Returns how many trials the epsilon schedule lasts, or `None` if the agent has no schedule.
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

    /// Returns the epochs of all trials together, if every one of them is trained and none is restarted or stopped
    /// early. With rungs, a promoted training has only the epochs that it adds.
    #[must_use]
    pub fn epochs(&self) -> u64 {
        self.epochs_of(self.search.trials).try_into().unwrap_or(u64::MAX)
    }

    /// Returns how many images pass through networks in training: [epochs](Self::epochs) x images.
    ///
    /// `images` is the number of training images.
    #[must_use]
    pub fn image_passes(&self, images: u64) -> u64 {
        self.epochs().saturating_mul(images)
    }

    /// Returns the largest number of trials that have at most `epochs` [epochs](Self::epochs) together. With rungs it
    /// is larger than without.
    #[must_use]
    pub fn trials_within(&self, epochs: u64) -> u64 {
        // A trial has at least one epoch.
        let (mut fit, mut too_many) = (0, epochs.saturating_add(1));
        while too_many - fit > 1 {
            let between = fit + (too_many - fit) / 2;
            if self.epochs_of(between) <= epochs.into() {
                fit = between;
            } else {
                too_many = between;
            }
        }
        fit
    }

    fn epochs_of(&self, trials: u64) -> u128 {
        let SearchConfig { minibatch, rungs, .. } = &self.search;
        let Some((rungs, ladder)) =
            rungs.as_ref().and_then(|rungs| Some((rungs, rungs.ladder(self.recipe.epochs).ok()?)))
        else {
            return u128::from(trials) * u128::from(self.recipe.epochs);
        };
        let below = std::iter::once(0).chain(ladder.iter().map(|rung| rung.epochs));
        let added = ladder.iter().zip(below).map(|(rung, below)| rung.epochs - below);
        let trials = rungs.trials_at(ladder.len(), trials, *minibatch);
        trials.into_iter().zip(added).map(|(trials, added)| u128::from(trials) * u128::from(added)).sum()
    }

    /// Returns the share of uniformly random blocks of the space that would be trained, from 0 to 1, counted over
    /// `walks` of them. The others are refused because their size overflows or exceeds [`Network::MAX_PARAMETERS`] or a
    /// limit of the search.
    #[must_use]
    pub fn trained_share(&self, walks: u32) -> f64 {
        let network = self.network();
        let is_trained = |walk: &u32| {
            let mut rng = seed::stream(0, "trained share", u64::from(*walk));
            let block = random_trajectory(&self.space, &mut rng).and_then(|walk| self.space.decode(&walk.actions));
            let cost = block.ok().and_then(|block| block.to_graph().cost(&network).ok());
            cost.is_some_and(|cost| {
                cost.parameters <= Network::MAX_PARAMETERS && self.search.limits.check(&cost).is_ok()
            })
        };
        (0..walks).filter(is_trained).count() as f64 / f64::from(walks.max(1))
    }

    /// Sets the network's input shape and number of classes to those of the data.
    #[must_use]
    pub fn for_data(mut self, image: ImageShape, classes: usize) -> Self {
        self.search.network = Some(self.network().with_data(image, classes));
        self
    }

    /// Returns the network around the blocks: `search.network`, which an experiment must have. Without it, the paper's
    /// for CIFAR.
    #[must_use]
    pub fn network(&self) -> NetworkConfig {
        self.search.network.clone().unwrap_or_else(NetworkConfig::cifar)
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// [`ExperimentError`] names the first invalid setting.
    pub fn validate(&self) -> Result<(), ExperimentError> {
        self.agent.validate()?;
        self.reward.validate()?;
        // Checked before the network, whose settings follow the data.
        self.data.validate()?;
        self.search.validate()?;
        let expected = "given: an experiment trains networks";
        InvalidSetting::check("search.network", "missing", self.search.network.is_some(), expected)?;
        self.recipe.validate()?;
        if let Some(rungs) = &self.search.rungs {
            rungs.ladder(self.recipe.epochs)?;
        }
        Ok(self.validate_stopping()?)
    }

    /// Checks that the rule for stopping trials early has something to compare, and something to stop.
    fn validate_stopping(&self) -> Result<(), InvalidSetting> {
        let (Some(rule), recipe) = (&self.search.median_stopping, &self.recipe) else { return Ok(()) };
        let expected = "given, such as 1: search.median_stopping compares the accuracies after the epochs";
        InvalidSetting::check("recipe.measure_every", "missing", recipe.measure_every.is_some(), expected)?;
        let (grace, epochs) = (rule.grace_epochs, recipe.epochs);
        let stops = grace.saturating_add(1) < epochs;
        let expected = format!("at least 2 below recipe.epochs, which is {epochs}, or nothing is ever stopped");
        InvalidSetting::check("search.median_stopping.grace_epochs", grace, stops, expected)
    }

    /// Returns every section except `search` as JSON: the settings that a [`RunFolder`](crate::search::RunFolder)
    /// compares besides the controller's own.
    #[must_use]
    pub fn details(&self) -> serde_json::Value {
        let Self { space, agent, reward, search: _, recipe, data } = self;
        serde_json::json!({ "space": space, "agent": agent, "reward": reward, "recipe": recipe, "data": data })
    }
}

/// The form of an [`Experiment`] in files.
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
        if search.network.is_none() {
            return Err("missing field `network`");
        }
        Ok(Self { space, agent, reward, search, recipe, data })
    }
}

#[cfg(test)]
mod tests;
