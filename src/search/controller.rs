//! Putting a search together.

use super::run::Run;
use super::{
    Evaluator, EvaluatorError, InlineEvaluator, Observer, RunFolder, RunFolderError, SearchConfig, SearchReport,
};
use crate::agent::{Agent, AgentError};
use crate::environment::{BoxError, Cancellation, Environment};
use crate::evaluation::NotFinite;
use crate::reward::{RedefinedReward, RewardShaper};
use crate::setting::InvalidSetting;
use crate::space::{SearchSpace, SpaceError};
use std::fmt;

/// Why a search failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SearchError {
    /// A setting is invalid.
    #[error(transparent)]
    Config(#[from] InvalidSetting),
    /// The agent cannot continue.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// The agent proposed what the space refuses.
    #[error("the agent proposed a walk that the search space rejects: {0}")]
    Space(#[from] SpaceError),
    /// The evaluator broke down.
    #[error(transparent)]
    Evaluator(#[from] EvaluatorError),
    /// The reward of a trial is not finite.
    #[error("trial {trial} has no reward: {source}")]
    Reward {
        /// Number of the trial.
        trial: u64,
        /// What the formula gave.
        #[source]
        source: NotFinite,
    },
    /// A credit did not give one reward per layer.
    #[error("the reward shaper returned rewards for {found} layers of trial {trial}, which has {layers}")]
    Credit {
        /// Number of the trial.
        trial: u64,
        /// Layers of the trial.
        layers: usize,
        /// Rewards given.
        found: usize,
    },
    /// The run folder cannot be used any more.
    #[error(transparent)]
    RunFolder(#[from] RunFolderError),
    /// What was proposed or rewarded now is not what the journal has.
    #[error(
        "trial {trial} differs from the journal: {message}. The agent, the search space or the reward has changed since the \
         run was started; resume it with the original ones, or start a new run"
    )]
    Diverged {
        /// Number of the trial.
        trial: u64,
        /// What differs.
        message: String,
    },
    /// An observer stopped the search.
    #[error("an observer stopped the search: {0}")]
    Observer(#[source] BoxError),
}

/// A search: space, agent, evaluator, reward and observers, put together and run.
///
/// ```
/// use blockqnn::agent::{QLearning, QLearningConfig};
/// use blockqnn::environment::environment_fn;
/// use blockqnn::reward::RedefinedReward;
/// use blockqnn::search::{Search, SearchConfig};
/// use blockqnn::space::block::{BlockCode, BlockSpace};
///
/// let environment = environment_fn("prefers six layers", |block: &BlockCode, _seed| {
///     90.0 - (block.len() as f64 - 6.0).abs()
/// });
/// let agent = QLearning::new(QLearningConfig::paper().scaled_to(4))?;
/// let config = SearchConfig::paper().with_seed(1).with_trials(32, 8);
/// let search = Search::new(BlockSpace::paper(), agent, environment, config).with_reward(RedefinedReward::paper());
/// let report = search.run()?;
/// assert_eq!(report.records.len(), 32);
/// println!("{}", report.best()[0].architecture);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Search<'o, S: SearchSpace, G, V> {
    pub(super) space: S,
    pub(super) agent: G,
    pub(super) evaluator: V,
    pub(super) config: SearchConfig,
    pub(super) shaper: Box<dyn RewardShaper + 'o>,
    pub(super) observers: Vec<Box<dyn Observer<S> + 'o>>,
    pub(super) cancellation: Cancellation,
    pub(super) folder: Option<RunFolder>,
}

impl<S: SearchSpace, G: fmt::Debug, V> fmt::Debug for Search<'_, S, G, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Search").field("agent", &self.agent).field("config", &self.config).finish_non_exhaustive()
    }
}

impl<S, G, E> Search<'_, S, G, InlineEvaluator<S::Architecture, E>>
where
    S: SearchSpace,
    G: Agent<S>,
    E: Environment<S::Architecture>,
{
    /// A search that evaluates one trial after another in the caller's thread, rewarded by accuracy at Terminal: set
    /// the paper's reward with [`with_reward`](Self::with_reward).
    pub fn new(space: S, agent: G, environment: E, config: SearchConfig) -> Self {
        Self::with_evaluator(space, agent, InlineEvaluator::new(environment), config)
    }
}

impl<'o, S, G, V> Search<'o, S, G, V>
where
    S: SearchSpace,
    G: Agent<S>,
    V: Evaluator<S::Architecture>,
{
    /// A search with an evaluator of its own, rewarded by accuracy at Terminal.
    pub fn with_evaluator(space: S, agent: G, evaluator: V, config: SearchConfig) -> Self {
        Self {
            space,
            agent,
            evaluator,
            config,
            shaper: Box::new(RedefinedReward::default()),
            observers: Vec::new(),
            cancellation: Cancellation::new(),
            folder: None,
        }
    }

    /// The same search with another reward.
    #[must_use]
    pub fn with_reward(mut self, shaper: impl RewardShaper + 'o) -> Self {
        self.shaper = Box::new(shaper);
        self
    }

    /// The same search, watched by one observer more.
    #[must_use]
    pub fn with_observer(mut self, observer: impl Observer<S> + 'o) -> Self {
        self.observers.push(Box::new(observer));
        self
    }

    /// The same search, stopped through `cancellation`.
    #[must_use]
    pub fn with_cancellation(mut self, cancellation: Cancellation) -> Self {
        self.cancellation = cancellation;
        self
    }

    /// The same search, journalled in `folder`: resumed from it if there is something to resume.
    #[must_use]
    pub fn with_run_folder(mut self, folder: RunFolder) -> Self {
        self.folder = Some(folder);
        self
    }

    /// What is wrong with the length of the search, if the agent's schedule is longer: an agent that is still exploring
    /// hardly proposes what it has learnt.
    pub(super) fn schedule_warning(&self) -> Option<String> {
        let SearchConfig { trials, minibatch, .. } = self.config;
        let (scheduled, minibatches) = (self.agent.scheduled_minibatches()?, trials.div_ceil(minibatch));
        (scheduled > minibatches).then(|| {
            format!(
                "the agent's schedule lasts {scheduled} minibatches, but the search has {minibatches} ({trials} trials in \
                 minibatches of {minibatch}), so it ends while the agent still explores: scale the schedule to the search \
                 (QLearningConfig::scaled_to; agent.epsilon in the settings), or ask for more trials"
            )
        })
    }

    /// Runs the search to its end, and returns all records.
    ///
    /// # Errors
    /// [`SearchError`]; a failed evaluation is not an error but part of its record.
    pub fn run(self) -> Result<SearchReport<S>, SearchError> {
        self.run_with_agent().map(|(report, _)| report)
    }

    /// Runs the search to its end, and returns the agent as well, with what it learnt.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn run_with_agent(self) -> Result<(SearchReport<S>, G), SearchError> {
        self.config.validate()?;
        Run::new(self).run()
    }
}
