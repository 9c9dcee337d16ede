//! Why a search failed.

use super::RunFolderError;
use crate::agent::AgentError;
use crate::environment::BoxError;
use crate::evaluator::EvaluatorError;
use crate::reward::RewardError;
use crate::setting::InvalidSetting;
use crate::space::SpaceError;

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
    /// The agent proposed a walk that the space rejects.
    #[error("the agent proposed a walk that the search space rejects: {0}")]
    Space(#[from] SpaceError),
    /// The evaluator broke down.
    #[error(transparent)]
    Evaluator(#[from] EvaluatorError),
    /// A trial has no reward.
    #[error("trial {trial} has no reward: {source}")]
    Reward {
        /// Number of the trial.
        trial: u64,
        /// Why.
        #[source]
        source: RewardError,
    },
    /// A measurement that the search limits is missing.
    #[error("the limits of `search.measurement_limits` cannot be checked for trial {trial}: {source}")]
    Limit {
        /// Number of the trial.
        trial: u64,
        /// What is missing.
        #[source]
        source: RewardError,
    },
    /// The reward cannot be computed for any trial of this search.
    #[error(transparent)]
    NoReward(RewardError),
    /// The reward shaper did not return one reward per layer.
    #[error("the reward shaper returned rewards for {found} layers of trial {trial}, which has {layers}")]
    Credit {
        /// Number of the trial.
        trial: u64,
        /// Layers of the trial.
        layers: usize,
        /// Rewards returned.
        found: usize,
    },
    /// The run folder cannot be used.
    #[error(transparent)]
    RunFolder(#[from] RunFolderError),
    /// One of the architectures to evaluate first cannot be evaluated.
    #[error("number {number} of the architectures to evaluate first: {message}")]
    First {
        /// Its place, from 1.
        number: usize,
        /// What is wrong.
        message: String,
    },
    /// A proposal or a reward differs from the one in the journal.
    #[error(
        "trial {trial} differs from the journal: {message}. The agent, the search space or the reward has changed \
         since the run was started; resume it with the original ones, or start a new run"
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
    /// A session was told the result of a trial that is not waiting for one. Nothing has changed.
    #[error("trial {trial} is not waiting for a result: it was not handed out by `ask`, or its result was told before")]
    NotAsked {
        /// Number of the trial.
        trial: u64,
    },
    /// A session was used after it failed.
    #[error("this search has failed before, and what it knows may be incomplete: open it again from its run folder")]
    Broken,
}
