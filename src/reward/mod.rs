//! Rewards: how a measurement becomes what an agent learns from.

pub mod calibration;
mod target;

pub use target::{SoftTarget, SoftTargets};

use crate::evaluation::{Evaluation, Metrics, NotFinite, Reward};
use crate::graph::Cost;
use crate::setting::{self, InvalidSetting};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Why an architecture has no reward.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RewardError {
    /// The formula does not give a finite number.
    #[error(transparent)]
    NotFinite(#[from] NotFinite),
    /// The formula depends on the cost of the network, and the search knows none.
    #[error(
        "the reward depends on the cost of the network, which is not known: set `search.network`, and search a space \
         whose `graph` returns the layers, or use a reward without cost"
    )]
    NoCost,
    /// The formula depends on a measurement that the environment did not report.
    #[error(
        "the measurement {name:?} is needed, but the environment measured {found}: have it report {name:?} \
         (`Metrics::with`), or correct the name"
    )]
    NoMeasurement {
        /// Name of the measurement.
        name: String,
        /// The names of what was measured, as a text.
        found: String,
    },
}

impl RewardError {
    /// Creates the error of a reward that needs a measurement which is not among the metrics.
    ///
    /// ```
    /// use blockqnn::evaluation::Metrics;
    /// use blockqnn::reward::RewardError;
    ///
    /// let metrics = Metrics::from_accuracy(61.5).with("latency", 3.2);
    /// let error = RewardError::missing("latency_ms", &metrics).to_string();
    /// assert!(error.starts_with(r#"the measurement "latency_ms" is needed, but the environment measured "latency":"#));
    /// ```
    #[must_use]
    pub fn missing(name: impl Into<String>, metrics: &Metrics) -> Self {
        let names: Vec<String> = metrics.measurements.keys().map(|name| format!("{name:?}")).collect();
        let found = if names.is_empty() { "nothing besides the value".to_owned() } else { names.join(", ") };
        Self::NoMeasurement { name: name.into(), found }
    }
}

/// Turns an evaluation into the reward of an architecture, and spreads that over its layers.
///
/// Both are decided only here: an agent's update uses the rewards of an episode as they are.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a reward",
    label = "not a `RewardShaper`",
    note = "use `blockqnn::reward::RedefinedReward`, or implement `RewardShaper`; see docs/your-own.md, \"A reward\""
)]
pub trait RewardShaper: Send + Sync {
    /// Returns the reward of an architecture.
    ///
    /// `score` is the value of the search's objective in percentage points, of which more is better: the accuracy in
    /// percent, or the [score](crate::evaluation::Objective::score) of another objective. For an infeasible architecture
    /// it is that of the worst value: the chance accuracy of the search's network (100 / classes; 0 in a search without
    /// a network), or 0 for another objective. `evaluation` holds everything that was measured; one that is infeasible
    /// holds no measurements. `cost` is the cost of the network, if the search knows it; sizes that do not fit into 64
    /// bits are `u64::MAX`.
    ///
    /// # Errors
    /// [`RewardError::NotFinite`] if the formula does not give a finite number, and the search stops.
    /// [`RewardError::NoCost`] if it needs a cost and there is none; a search without costs then does not begin.
    /// [`RewardError::NoMeasurement`] if it needs a measurement that the environment did not report
    /// ([`RewardError::missing`]); the search then stops with its first trial, or does not continue a run without it.
    fn reward(&self, score: f64, evaluation: &Evaluation, cost: Option<&Cost>) -> Result<Reward, RewardError>;

    /// Returns the reward for the update of each of the `layers` actions, first layer first; Terminal is one of them.
    fn credit(&self, reward: Reward, layers: usize) -> Vec<Reward>;

    /// Returns what the FLOPs in the `cost` given to [`reward`](Self::reward) are counted for. The default is the whole
    /// network. The rest of the cost, and the cost that a search records, is always the network's.
    fn flops_of(&self) -> FlopsOf {
        FlopsOf::Network
    }

    /// Returns what rewards and credits depend on: the formula and its settings. A run is resumed only with the
    /// identity that it was started with, so that an agent never learns from the rewards of two formulas.
    ///
    /// The default is the name of the type, which is enough for a formula without settings;
    /// [`identity::with_settings`](crate::identity::with_settings) creates an identity with settings.
    fn identity(&self) -> String {
        crate::identity::type_name::<Self>()
    }
}

/// A reward behind a pointer is a reward.
macro_rules! reward_behind {
    ($($pointer:ty),*) => {$(
        impl<R: RewardShaper + ?Sized> RewardShaper for $pointer {
            fn reward(&self, score: f64, evaluation: &Evaluation, cost: Option<&Cost>) -> Result<Reward, RewardError> {
                (**self).reward(score, evaluation, cost)
            }

            fn credit(&self, reward: Reward, layers: usize) -> Vec<Reward> {
                (**self).credit(reward, layers)
            }

            fn flops_of(&self) -> FlopsOf {
                (**self).flops_of()
            }

            fn identity(&self) -> String {
                (**self).identity()
            }
        }
    )*};
}

reward_behind!(&R, Box<R>, Arc<R>);

/// What the FLOPs of a reward are counted for.
///
/// The paper speaks of the FLOPs "of the block structures" without saying how they were counted. With the reward at
/// every layer (Equation 2) the choice also affects how strongly longer blocks are preferred: a constant factor between
/// the two counts subtracts a constant from the reward of each layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum FlopsOf {
    /// The whole network, stem and classifier included.
    #[default]
    Network,
    /// Only the first block ([`LayerGraph::block_flops`](crate::graph::LayerGraph::block_flops)).
    Block,
}

/// How the reward of a block is spread over the updates of its layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Credit {
    /// The whole reward at every layer (Equation 2). A block's return is then T times its reward, which favours long
    /// blocks: see `docs/evidence/agent-learns.md`.
    EveryLayer,
    /// The whole reward at Terminal and 0 before it, as in MetaQNN.
    #[default]
    Terminal,
    /// An equal part of the reward, 1 / T, at each of the T layers.
    Shared,
}

impl Credit {
    /// Spreads `reward` over `layers` updates, first layer first.
    ///
    /// ```
    /// use blockqnn::evaluation::Reward;
    /// use blockqnn::reward::Credit;
    ///
    /// let spread = |credit: Credit| credit.spread(Reward::new(60.0).unwrap(), 3).into_iter().map(f64::from).collect();
    /// let every: Vec<f64> = spread(Credit::EveryLayer);
    /// let terminal: Vec<f64> = spread(Credit::Terminal);
    /// let shared: Vec<f64> = spread(Credit::Shared);
    /// assert_eq!((every, terminal, shared), (vec![60.0; 3], vec![0.0, 0.0, 60.0], vec![20.0; 3]));
    /// ```
    #[must_use]
    pub fn spread(self, reward: Reward, layers: usize) -> Vec<Reward> {
        match self {
            Self::EveryLayer => vec![reward; layers],
            Self::Terminal => {
                let mut rewards = vec![Reward::default(); layers];
                if let Some(last) = rewards.last_mut() {
                    *last = reward;
                }
                rewards
            }
            Self::Shared => {
                // A finite number divided by at least 1 is finite.
                let part = Reward::new(reward.value() / layers.max(1) as f64).unwrap_or_default();
                vec![part; layers]
            }
        }
    }
}

/// The redefined reward of the paper (formula 1), with its two coefficients free.
///
/// `reward = accuracy - mu * ln(FLOPs) - rho * ln(density)`. The accuracy is in percent; in a search with another
/// objective, its score takes its place. FLOPs are multiply-adds of the whole network or of one block ([`FlopsOf`]) for
/// one image, at least 1; density is the number of edges of the block divided by its number of nodes. The paper uses
/// mu = rho = 1/2; with 0 the reward is the accuracy alone. Either may be negative. Unless both are 0 and no target is
/// one of cost, the search must know the cost of the network ([`RewardError::NoCost`]).
///
/// ```
/// use blockqnn::evaluation::{Evaluation, Metrics};
/// use blockqnn::graph::{NetworkConfig, ToGraph};
/// use blockqnn::reward::{RedefinedReward, RewardShaper};
/// use blockqnn::space::block::BlockCode;
///
/// let cost = "conv3(0) terminal(1)".parse::<BlockCode>()?.to_graph().cost(&NetworkConfig::cifar())?;
/// let evaluation = Evaluation::Measured(Metrics::from_accuracy(56.0));
/// let reward = RedefinedReward::paper().reward(56.0, &evaluation, Some(&cost))?;
/// let expected = 56.0 - 0.5 * (cost.flops as f64).ln() - 0.5 * (2.0f64 / 3.0).ln();
/// assert!((reward.value() - expected).abs() < 1e-12);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RedefinedReward {
    /// The coefficient of ln(FLOPs), in percentage points.
    pub mu: f64,
    /// The coefficient of ln(density), in percentage points.
    pub rho: f64,
    /// How the reward is spread over the layers.
    pub credit: Credit,
    /// What FLOPs are counted for, both in the formula and in a target for FLOPs.
    #[serde(skip_serializing_if = "setting::is_default")]
    pub flops_of: FlopsOf,
    /// Targets for costs and measurements.
    #[serde(skip_serializing_if = "setting::is_default")]
    pub targets: SoftTargets,
}

impl RedefinedReward {
    /// Returns the paper's reward: mu = rho = 1/2 (formula 1), at every layer (Equation 2).
    #[must_use]
    pub fn paper() -> Self {
        Self { mu: 0.5, rho: 0.5, ..Self::accuracy(Credit::EveryLayer) }
    }

    /// Returns a reward that is the accuracy alone, or the score of another objective, spread according to `credit`.
    #[must_use]
    pub fn accuracy(credit: Credit) -> Self {
        Self { credit, ..Self::default() }
    }

    /// Sets the targets.
    #[must_use]
    pub fn with_targets(mut self, targets: SoftTargets) -> Self {
        self.targets = targets;
        self
    }

    /// Checks that the coefficients are finite and the targets valid.
    ///
    /// # Errors
    /// [`InvalidSetting`] names the setting that is not.
    pub fn validate(&self) -> Result<(), InvalidSetting> {
        for (field, value) in [("mu", self.mu), ("rho", self.rho)] {
            InvalidSetting::check(format!("reward.{field}"), value, value.is_finite(), "a finite number")?;
        }
        self.targets.validate()
    }
}

impl RewardShaper for RedefinedReward {
    fn reward(&self, score: f64, evaluation: &Evaluation, cost: Option<&Cost>) -> Result<Reward, RewardError> {
        let mut formula = score;
        if self.mu != 0.0 || self.rho != 0.0 {
            let cost = cost.ok_or(RewardError::NoCost)?;
            // With a coefficient of 0, the logarithm of 0 must not give NaN.
            let term = |coefficient: f64, value: f64| if coefficient == 0.0 { 0.0 } else { coefficient * value.ln() };
            // A block of pools and identities has no FLOPs of its own.
            formula = score - term(self.mu, cost.flops.max(1) as f64) - term(self.rho, cost.density());
        }
        Ok(Reward::new(formula - self.targets.penalty(evaluation, cost)?)?)
    }

    fn credit(&self, reward: Reward, layers: usize) -> Vec<Reward> {
        self.credit.spread(reward, layers)
    }

    fn flops_of(&self) -> FlopsOf {
        self.flops_of
    }

    fn identity(&self) -> String {
        crate::identity::with_settings("RedefinedReward", self)
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "exact values are meant")]
mod tests {
    use super::*;
    use crate::evaluation::Metrics;

    #[test]
    fn either_sign_of_the_coefficients_works_and_zero_is_plain_accuracy() {
        let cost = Cost { parameters: 1, flops: 1_000, activation_bytes: 1, depth: 1, nodes: 4, edges: 8 };
        let evaluation = Evaluation::Measured(Metrics::from_accuracy(50.0));
        let reward = |mu, rho| {
            let shaper = RedefinedReward { mu, rho, ..RedefinedReward::accuracy(Credit::Terminal) };
            shaper.reward(50.0, &evaluation, Some(&cost)).unwrap().value()
        };
        assert_eq!(reward(0.0, 0.0), 50.0);
        assert!((reward(0.5, 0.5) - (50.0 - 0.5 * 1_000f64.ln() - 0.5 * 2f64.ln())).abs() < 1e-12);
        assert!((reward(-0.5, -0.5) - (50.0 + 0.5 * 1_000f64.ln() + 0.5 * 2f64.ln())).abs() < 1e-12);
    }

    #[test]
    fn without_a_cost_only_a_reward_of_the_accuracy_alone_is_known() {
        let evaluation = Evaluation::Measured(Metrics::from_accuracy(50.0));
        let of = |reward: RedefinedReward| reward.reward(50.0, &evaluation, None);
        let plain = RedefinedReward::accuracy(Credit::Shared);
        assert_eq!(of(plain.clone()).unwrap().value(), 50.0);
        let aimed = plain.clone().with_targets(SoftTargets::default().with("flops", 1.0, 1.0));
        for needy in [RedefinedReward { mu: 0.5, ..plain.clone() }, RedefinedReward { rho: -0.5, ..plain }, aimed] {
            assert_eq!(of(needy), Err(RewardError::NoCost));
        }
    }

    #[test]
    fn a_reward_behind_a_pointer_is_that_reward() {
        let evaluation = Evaluation::Measured(Metrics::from_accuracy(50.0));
        let paper = RedefinedReward { flops_of: FlopsOf::Block, ..RedefinedReward::paper() };
        let of =
            |reward: &dyn RewardShaper| (reward.identity(), reward.flops_of(), reward.credit(Reward::default(), 3));
        for pointer in [&&paper as &dyn RewardShaper, &Box::new(paper.clone()), &Arc::new(paper.clone())] {
            assert_eq!(of(pointer), of(&paper));
            assert_eq!(pointer.reward(50.0, &evaluation, None), Err(RewardError::NoCost));
        }
    }

    #[test]
    fn coefficients_that_are_not_finite_are_named() {
        let shaper = RedefinedReward { rho: f64::NAN, ..RedefinedReward::paper() };
        assert!(shaper.validate().unwrap_err().to_string().starts_with("reward.rho is NaN"));
    }
}
