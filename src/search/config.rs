//! Settings of the list controller.

use crate::graph::{CostLimits, NetworkConfig};
use crate::setting::InvalidSetting;
use serde::{Deserialize, Serialize};

/// What to do with a proposal whose architecture was evaluated before, perhaps in another notation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Repeats {
    /// Discard it and request another: every trial of the run is a different architecture ("unique minibatch",
    /// Table 2).
    #[default]
    Resample,
    /// Take it as a trial with the metrics measured then, without training. Within a minibatch all are different still.
    Reuse,
    /// Discard it as a trial, but enter it in the memory once more and have the agent learn it at once, with the metrics
    /// measured then; one that is still being evaluated is learned after that. So MetaQNN's program treats repeats. As
    /// the memory then holds more than the journal, a resumed run starts from no checkpoint but learns everything again.
    Replay,
}

/// When the next architecture is proposed, and when one is learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Scheduling {
    /// The paper's barrier: a whole minibatch is proposed from a frozen agent, evaluated, and learned in the order of
    /// proposal. The result is the same with any number of workers. Workers wait for the slowest of the minibatch.
    #[default]
    Minibatch,
    /// No barrier: a trial is learned as soon as it ends, and the next is proposed as soon as a worker is free. The order
    /// is that of arrival, so that with several workers no two runs are equal; the journal holds it, and a resumed run
    /// repeats it exactly. The trials that run when one is proposed are not known to the agent yet.
    Rolling,
}

impl Scheduling {
    /// Whether it is the default, which is omitted from files.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
    fn is_minibatch(&self) -> bool {
        *self == Self::Minibatch
    }
}

/// Settings of the list controller.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchConfig {
    /// Seed of everything random.
    pub seed: u64,
    /// Trials in a minibatch; the paper has 64.
    pub minibatch: u64,
    /// Trials of the whole run. The last minibatch is shorter if this is not a multiple of its size.
    pub trials: u64,
    /// When trials are proposed and learned.
    #[serde(default, skip_serializing_if = "Scheduling::is_minibatch")]
    pub scheduling: Scheduling,
    /// What to do with what was evaluated before.
    pub repeats: Repeats,
    /// Proposals discarded in a row before the space is considered exhausted.
    pub max_resamples: u32,
    /// Attempts to evaluate a trial whose environment fails or panics.
    pub attempts: u32,
    /// The network that is built around each architecture: sizes and FLOPs are counted for it.
    pub network: NetworkConfig,
    /// Architectures above these are recorded as infeasible and never trained.
    pub limits: CostLimits,
}

impl SearchConfig {
    /// The paper's settings: 178 minibatches of 64 around the CIFAR network, seed 0.
    #[must_use]
    pub fn paper() -> Self {
        Self {
            seed: 0,
            minibatch: 64,
            trials: 178 * 64,
            scheduling: Scheduling::Minibatch,
            repeats: Repeats::Resample,
            max_resamples: 10_000,
            attempts: 3,
            network: NetworkConfig::cifar(),
            limits: CostLimits::default(),
        }
    }

    /// The same settings with another seed.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// The same settings with `trials` trials in minibatches of `minibatch`.
    #[must_use]
    pub fn with_trials(mut self, trials: u64, minibatch: u64) -> Self {
        self.trials = trials;
        self.minibatch = minibatch;
        self
    }

    /// The same settings with another scheduling.
    #[must_use]
    pub fn with_scheduling(mut self, scheduling: Scheduling) -> Self {
        self.scheduling = scheduling;
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// [`InvalidSetting`] names the first invalid field.
    pub fn validate(&self) -> Result<(), InvalidSetting> {
        let positive = [
            ("minibatch", self.minibatch),
            ("trials", self.trials),
            ("max_resamples", self.max_resamples.into()),
            ("attempts", self.attempts.into()),
        ];
        for (field, value) in positive {
            InvalidSetting::at_least_one(format!("search.{field}"), value)?;
        }
        self.network.validate().map_err(|error| error.within("search"))
    }
}
