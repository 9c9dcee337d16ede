//! Settings of the block list controller.

use super::{MedianStopping, Rungs};
use crate::evaluation::{Direction, Objective};
use crate::graph::{CostLimits, CostQuantity, NetworkConfig};
use crate::setting::{self, InvalidSetting};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What to do with a proposal whose architecture was evaluated before, perhaps in another notation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Repeats {
    /// Discard it and request another, so that each trial of the run is a different architecture (the
    /// paper's "unique minibatch", Section "Experiment Details").
    #[default]
    Resample,
    /// Take it as a trial with the metrics measured before, without training. Within a minibatch all still differ.
    Reuse,
    /// Discard it as a trial, but enter it in the memory again and have the agent learn it at once, with the metrics
    /// measured before; if it is still being evaluated, the agent learns it afterwards. This is how MetaQNN's program
    /// treats repeats. Since the memory then holds more than the journal, a resumed run uses no checkpoint and learns
    /// everything again.
    Replay,
}

impl Repeats {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Resample => "resample",
            Self::Reuse => "reuse",
            Self::Replay => "replay",
        }
    }
}

/// When architectures are proposed and learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Scheduling {
    /// The paper's barrier: a whole minibatch is proposed from a frozen agent, evaluated, and learned in the order of
    /// proposal. The result does not depend on the number of workers. Workers wait for the slowest of the minibatch.
    #[default]
    Minibatch,
    /// No barrier: a trial is learned as soon as it ends, and the next is proposed as soon as a worker is free. Trials
    /// are learned in the order in which they end, so with several workers no two runs are equal; the journal holds
    /// this order, and a resumed run repeats it exactly. A proposal does not take the trials still running into
    /// account.
    Rolling,
}

impl Scheduling {
    /// Whether this is the default, which is omitted from files.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde requires")]
    fn is_minibatch(&self) -> bool {
        *self == Self::Minibatch
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Minibatch => "minibatch",
            Self::Rolling => "rolling",
        }
    }
}

/// Settings of the block list controller.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchConfig {
    /// What is optimised: what the value of an evaluation is. Omitted from files while it is the accuracy in percent.
    #[serde(default, skip_serializing_if = "setting::is_default")]
    pub objective: Objective,
    /// Seed of all randomness of the search.
    pub seed: u64,
    /// Trials in a minibatch; the paper has 64.
    pub minibatch: u64,
    /// Trials of the whole run; with rungs, promotions are trials as well. If this is not a multiple of `minibatch`,
    /// the last minibatch is shorter.
    pub trials: u64,
    /// When trials are proposed and learned.
    #[serde(default, skip_serializing_if = "Scheduling::is_minibatch")]
    pub scheduling: Scheduling,
    /// What to do with architectures that were evaluated before.
    pub repeats: Repeats,
    /// Number of proposals discarded in a row after which the space is considered exhausted.
    pub max_resamples: u32,
    /// Maximal number of attempts to evaluate a trial whose environment fails or panics.
    pub attempts: u32,
    /// The network that is built around each architecture, for which sizes and FLOPs are counted. Without one, as where
    /// an environment trains something else or looks results up, no cost is computed and nothing is refused for its
    /// size. Omitted from files then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkConfig>,
    /// Limits above which an architecture is recorded as infeasible and not trained. They need architectures whose cost
    /// is known.
    pub limits: CostLimits,
    /// The rule by which trials are stopped early that are behind the others; none by default, and then omitted from
    /// files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub median_stopping: Option<MedianStopping>,
    /// The rungs at which architectures are evaluated: all of them for a few epochs, and the best for more. None by
    /// default, and then omitted from files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rungs: Option<Rungs>,
    /// Limits on measurements, by name: a trial with a measurement above its limit is infeasible. The environment must
    /// report each of them. Omitted from files if there are none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub measurement_limits: BTreeMap<String, f64>,
    /// The measurements of which more is better, such as an F1 score, for Pareto fronts: of all others less is. Omitted
    /// from files if there are none.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub maximised_measurements: BTreeSet<String>,
}

impl SearchConfig {
    /// Returns settings for `trials` trials in minibatches of 16, with seed 0 and without a network.
    #[must_use]
    pub fn new(trials: u64) -> Self {
        Self {
            objective: Objective::default(),
            seed: 0,
            minibatch: 16,
            trials,
            scheduling: Scheduling::Minibatch,
            repeats: Repeats::Resample,
            max_resamples: 10_000,
            attempts: 3,
            network: None,
            limits: CostLimits::default(),
            median_stopping: None,
            rungs: None,
            measurement_limits: BTreeMap::new(),
            maximised_measurements: BTreeSet::new(),
        }
    }

    /// Returns the paper's settings: 178 minibatches of 64 trials, the CIFAR network and seed 0.
    #[must_use]
    pub fn paper() -> Self {
        Self::new(178 * 64).with_minibatch(64).with_network(NetworkConfig::cifar())
    }

    /// Sets the number of trials in a minibatch.
    #[must_use]
    pub fn with_minibatch(mut self, minibatch: u64) -> Self {
        self.minibatch = minibatch;
        self
    }

    /// Sets the network that is built around each architecture.
    #[must_use]
    pub fn with_network(mut self, network: NetworkConfig) -> Self {
        self.network = Some(network);
        self
    }

    /// Sets what is optimised.
    ///
    /// ```
    /// use blockqnn::agent::RandomAgent;
    /// use blockqnn::environment::environment_fn;
    /// use blockqnn::evaluation::Objective;
    /// use blockqnn::search::{Search, SearchConfig};
    /// use blockqnn::space::block::{BlockCode, BlockSpace};
    ///
    /// let loss = environment_fn("long is good", |block: &BlockCode, _| 4.0 / block.len() as f64);
    /// // An infeasible block counts like one with a loss of 4.
    /// let config = SearchConfig::new(32).with_objective(Objective::minimise("loss", 4.0, 0.0));
    /// let report = Search::new(BlockSpace::paper(), RandomAgent, loss, config).run()?;
    /// let losses: Vec<_> = report.best().iter().filter_map(|record| record.evaluation.value()).collect();
    /// assert!(losses.is_sorted());
    /// # Ok::<(), blockqnn::search::SearchError>(())
    /// ```
    #[must_use]
    pub fn with_objective(mut self, objective: Objective) -> Self {
        self.objective = objective;
        self
    }

    /// Sets a limit on a measurement: trials above it are infeasible.
    #[must_use]
    pub fn with_measurement_limit(mut self, measurement: impl Into<String>, limit: f64) -> Self {
        self.measurement_limits.insert(measurement.into(), limit);
        self
    }

    /// Returns the value that an infeasible architecture is rewarded for: what the objective states, or the chance
    /// accuracy in percent, which without a network is 0.
    #[must_use]
    pub fn worst_value(&self) -> f64 {
        let chance = || self.network.as_ref().map_or(0.0, |network| 100.0 / network.classes as f64);
        self.objective.worst.unwrap_or_else(chance)
    }

    /// Returns which values of a measurement are better.
    #[must_use]
    pub fn direction_of(&self, measurement: &str) -> Direction {
        if self.maximised_measurements.contains(measurement) { Direction::Maximise } else { Direction::Minimise }
    }

    /// Sets the seed.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Sets the number of trials, in minibatches of `minibatch`.
    #[must_use]
    pub fn with_trials(mut self, trials: u64, minibatch: u64) -> Self {
        self.trials = trials;
        self.minibatch = minibatch;
        self
    }

    /// Sets the scheduling.
    #[must_use]
    pub fn with_scheduling(mut self, scheduling: Scheduling) -> Self {
        self.scheduling = scheduling;
        self
    }

    /// Sets the rule by which trials are stopped early.
    #[must_use]
    pub fn with_median_stopping(mut self, rule: MedianStopping) -> Self {
        self.median_stopping = Some(rule);
        self
    }

    /// Sets the rungs at which architectures are evaluated.
    ///
    /// ```
    /// use blockqnn::agent::RandomAgent;
    /// use blockqnn::environment::synthetic::Synthetic;
    /// use blockqnn::search::{Rungs, Search, SearchConfig};
    /// use blockqnn::space::block::BlockSpace;
    ///
    /// let config = SearchConfig::new(64).with_rungs(Rungs::new(3));
    /// let report = Search::new(BlockSpace::paper(), RandomAgent, Synthetic::new().with_epochs(9), config).run()?;
    /// assert_eq!(report.best()[0].rung.map(|rung| rung.epochs), Some(9));
    /// # Ok::<(), blockqnn::search::SearchError>(())
    /// ```
    #[must_use]
    pub fn with_rungs(mut self, rungs: Rungs) -> Self {
        self.rungs = Some(rungs);
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
        if let Some(rule) = &self.median_stopping {
            rule.validate()?;
            let direction = self.objective.direction;
            let expected = "maximise, which search.median_stopping needs";
            let is_known = direction == Direction::Maximise;
            InvalidSetting::check("search.objective.direction", direction.name(), is_known, expected)?;
            // Without a barrier there are no earlier minibatches to compare with, and no two runs would be equal.
            let (scheduling, expected) = (self.scheduling, "minibatch, which search.median_stopping needs");
            InvalidSetting::check(
                "search.scheduling",
                scheduling.name(),
                scheduling == Scheduling::Minibatch,
                expected,
            )?;
        }
        if let Some(rungs) = &self.rungs {
            rungs.validate(self)?;
        }
        self.objective.validate()?;
        for (name, limit) in &self.measurement_limits {
            let path = format!("search.measurement_limits.{name}");
            InvalidSetting::check(path.as_str(), limit, limit.is_finite(), "a finite number")?;
            let is_cost = CostQuantity::named(name).is_some();
            let expected = format!("the name of a measurement: limit this cost with search.limits.{name}");
            InvalidSetting::check(path, name, !is_cost, expected)?;
        }
        self.network.as_ref().map_or(Ok(()), |network| network.validate().map_err(|error| error.within("search")))
    }
}
