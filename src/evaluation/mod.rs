//! The plain data that passes between controller, agent and environments.

mod objective;
mod rung;

#[cfg(feature = "report")]
pub(crate) use objective::significant;
pub use objective::{Direction, Objective};
pub use rung::{Rung, Standing};

use crate::graph::{Cost, Fingerprint, OverLimit, SizeOverflow};
use crate::setting::is_default;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// One architecture to evaluate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    /// The number of the trial in its run, from 0, in the order of proposal.
    pub id: u64,
    /// The seed of everything random in the evaluation. It is a function of the run's seed and the fingerprint, so it
    /// does not depend on when, where or how often the trial runs.
    pub seed: u64,
    /// The fingerprint of the architecture.
    pub fingerprint: Fingerprint,
    /// The cost of the network, as the controller computed it; `None` in a search that knows none.
    #[serde(default)]
    pub cost: Option<Cost>,
}

/// What an environment measured for one architecture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    /// The value of the search's [`Objective`]: unless that says otherwise, the accuracy on the validation images, in
    /// percent (0 to 100). Files of earlier versions hold it as `accuracy`.
    #[serde(alias = "accuracy")]
    pub value: f64,
    /// The mean loss on the training images in the last epoch, if there is one.
    pub training_loss: Option<f64>,
    /// The number of epochs in the attempt that counts.
    pub epochs: u32,
    /// The number of restarts with a lower learning rate before that attempt (Section "Experiment Details").
    pub restarts: u32,
    /// The wall-clock time in seconds, for information only.
    pub seconds: f64,
    /// The learning curve of the attempt that counts: epochs, from 1, and the objective's value after each. Epochs after
    /// which nothing was validated are missing. Omitted from files if it is empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub curve: Vec<(u32, f64)>,
    /// What else was measured, by name: a latency, an energy, an F1 score. Each must be a finite number, or the trial is
    /// infeasible. Omitted from files if there is nothing.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub measurements: BTreeMap<String, f64>,
    /// Whether the evaluation was stopped early, so that the value is the last one measured and not the final one.
    /// Omitted from files if not.
    #[serde(default, skip_serializing_if = "is_false")]
    pub stopped: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde requires")]
fn is_false(value: &bool) -> bool {
    !value
}

impl Metrics {
    /// Creates metrics that contain only an accuracy in percent.
    #[must_use]
    pub fn from_accuracy(accuracy: f64) -> Self {
        Self::new(accuracy)
    }

    /// Creates metrics that contain only the value of the search's [`Objective`].
    #[must_use]
    pub fn new(value: f64) -> Self {
        Self {
            value,
            training_loss: None,
            epochs: 0,
            restarts: 0,
            seconds: 0.0,
            curve: Vec::new(),
            measurements: BTreeMap::new(),
            stopped: false,
        }
    }

    /// Creates the metrics of an evaluation that was stopped early, from its learning curve: the value and the
    /// epochs are the last of the curve. Of an empty curve they are 0.
    #[must_use]
    pub fn stopped_after(curve: Vec<(u32, f64)>) -> Self {
        let (epochs, value) = curve.last().copied().unwrap_or_default();
        Self { epochs, curve, stopped: true, ..Self::new(value) }
    }

    /// Adds a measurement, or replaces the one of that name.
    ///
    /// ```
    /// use blockqnn::evaluation::Metrics;
    ///
    /// let metrics = Metrics::from_accuracy(61.5).with("latency_ms", 3.2).with("energy_mj", 12.0);
    /// assert_eq!(metrics.measurements["latency_ms"], 3.2);
    /// ```
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: f64) -> Self {
        self.measurements.insert(name.into(), value);
        self
    }
}

/// The outcome of evaluating one architecture.
///
/// Serialises as `{"measured": {...}}` or `{"infeasible": {...}}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Evaluation {
    /// The architecture was trained and measured.
    Measured(Metrics),
    /// The architecture has no value; it is rewarded as if it had the worst one: the chance accuracy, or what the
    /// [`Objective`] states.
    Infeasible(Infeasibility),
}

impl Evaluation {
    /// Returns the measured value of the search's [`Objective`], if there is one: the accuracy in percent, unless the
    /// search has another. Of an evaluation that was stopped early, the last.
    #[must_use]
    pub fn value(&self) -> Option<f64> {
        self.metrics().map(|metrics| metrics.value)
    }

    /// Returns a measurement by name, if there is one.
    #[must_use]
    pub fn measurement(&self, name: &str) -> Option<f64> {
        self.metrics()?.measurements.get(name).copied()
    }

    /// Returns the measured value, unless there is none or the evaluation was stopped early. Evaluations are only
    /// comparable by this.
    #[must_use]
    pub fn final_value(&self) -> Option<f64> {
        self.metrics().filter(|metrics| !metrics.stopped).map(|metrics| metrics.value)
    }

    /// Returns whether the evaluation was stopped early.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.metrics().is_some_and(|metrics| metrics.stopped)
    }

    /// Returns whether another machine, or the same one at another time, might give another evaluation.
    #[must_use]
    pub(crate) fn depends_on_machine(&self) -> bool {
        let Self::Infeasible(reason) = self else { return false };
        matches!(
            reason,
            Infeasibility::TimedOut { .. } | Infeasibility::OutOfMemory { .. } | Infeasibility::Failed { .. }
        )
    }

    /// Returns the metrics, if the architecture was measured.
    #[must_use]
    pub fn metrics(&self) -> Option<&Metrics> {
        match self {
            Self::Measured(metrics) => Some(metrics),
            Self::Infeasible(_) => None,
        }
    }
}

/// Why an architecture has no value.
///
/// The last three reasons depend on the machine, and a run reports them; the others are facts about the architecture. The controller gives a trial that timed out or ran out of memory a second
/// attempt, with no other trial running beside it, before it accepts the outcome.
#[derive(Debug, Clone, PartialEq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "reason")]
#[non_exhaustive]
pub enum Infeasibility {
    /// It costs more than the run allows.
    #[error("{over}")]
    OverLimit {
        /// The quantity and the limit that it exceeds.
        over: OverLimit,
    },
    /// A size of it does not fit into 64 bits.
    #[error("the {quantity} of this architecture does not fit into 64 bits")]
    Overflow {
        /// The quantity that overflowed.
        quantity: String,
    },
    /// Its training diverged: the loss was no longer finite.
    #[error("training diverged in epoch {epoch} (the loss was not finite), after {restarts} restarts")]
    Diverged {
        /// The epoch, from 1.
        epoch: u32,
        /// The number of restarts with a lower learning rate before.
        restarts: u32,
    },
    /// The environment rejects it for a reason of its own.
    #[error("{message}")]
    Rejected {
        /// The environment's reason.
        message: String,
    },
    /// A measurement of it exceeds its limit ([`SearchConfig::measurement_limits`]).
    ///
    /// [`SearchConfig::measurement_limits`]: crate::search::SearchConfig::measurement_limits
    #[error("{measurement} of {measured} exceeds the limit of {limit} (its value was {value})")]
    OverMeasurementLimit {
        /// Name of the measurement.
        measurement: String,
        /// What was measured.
        measured: f64,
        /// The limit.
        limit: f64,
        /// The value of the objective, which does not count.
        value: f64,
    },
    /// It took longer than the run allows.
    #[error("evaluation stopped after {limit_seconds} s, the time limit")]
    TimedOut {
        /// The limit in seconds.
        limit_seconds: f64,
    },
    /// It needed more memory than the device or the machine had.
    #[error("evaluation ran out of memory: {message}")]
    OutOfMemory {
        /// The message of the device or of the system.
        message: String,
    },
    /// Every attempt to evaluate it failed.
    #[error("evaluation failed {attempts} times, last with: {message}")]
    Failed {
        /// Number of attempts.
        attempts: u32,
        /// The last error.
        message: String,
    },
}

impl From<SizeOverflow> for Infeasibility {
    fn from(overflow: SizeOverflow) -> Self {
        Self::Overflow { quantity: overflow.quantity.to_owned() }
    }
}

/// A finite reward, in percentage points of which more is better.
#[derive(Clone, Copy, PartialEq, PartialOrd, Default, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Reward(f64);

/// A number that is not finite and therefore no [`Reward`].
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("a reward must be finite, but this one is {0}")]
pub struct NotFinite(pub f64);

impl Reward {
    /// Creates a reward from a number.
    ///
    /// # Errors
    /// [`NotFinite`] for NaN and the infinities.
    ///
    /// ```
    /// use blockqnn::evaluation::Reward;
    ///
    /// assert_eq!(Reward::new(56.0)?.value(), 56.0);
    /// assert!(Reward::new(f64::NAN).is_err());
    /// # Ok::<(), blockqnn::evaluation::NotFinite>(())
    /// ```
    pub fn new(value: f64) -> Result<Self, NotFinite> {
        // Adding 0 turns -0 into 0, so that equal rewards have equal bits.
        if value.is_finite() { Ok(Self(value + 0.0)) } else { Err(NotFinite(value)) }
    }

    /// Returns the reward as a number.
    #[must_use]
    pub fn value(self) -> f64 {
        self.0
    }
}

impl Eq for Reward {}

// A derived `PartialOrd` agrees with this total order, because a reward is finite.
#[expect(clippy::derive_ord_xor_partial_ord, reason = "both are the order of finite numbers")]
impl Ord for Reward {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl fmt::Debug for Reward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reward({})", self.0)
    }
}

impl fmt::Display for Reward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl TryFrom<f64> for Reward {
    type Error = NotFinite;

    fn try_from(value: f64) -> Result<Self, NotFinite> {
        Self::new(value)
    }
}

impl From<Reward> for f64 {
    fn from(reward: Reward) -> Self {
        reward.0
    }
}

/// A walk through a search space: the actions from the initial state to a terminal one, and the state before each of
/// them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trajectory<State, Action> {
    /// The state before each action; as many as there are actions.
    pub states: Vec<State>,
    /// The actions, of which the last leads to a terminal state.
    pub actions: Vec<Action>,
}

impl<State, Action> Trajectory<State, Action> {
    /// Returns the number of actions: the layers of a block, including Terminal.
    #[must_use]
    pub fn len(&self) -> usize {
        self.actions.len()
    }

    /// Returns whether there are no actions.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.actions.is_empty()
    }
}

/// A finished walk with the reward of each of its actions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Episode<State, Action> {
    /// The walk.
    pub trajectory: Trajectory<State, Action>,
    /// The reward used in the update of each action; as many as there are actions.
    pub rewards: Vec<Reward>,
    /// The reward of the whole architecture.
    pub reward: Reward,
    /// The fingerprint of the architecture that the walk led to.
    pub fingerprint: Fingerprint,
    /// The number of the rung at which the reward was measured; 0 in a search without rungs, and of an architecture
    /// whose evaluation did not finish there. Omitted from files if it is 0.
    #[serde(default, skip_serializing_if = "is_default")]
    pub rung: u32,
}

impl<State, Action> Episode<State, Action> {
    /// Returns what the architecture is worth among others. Agents order episodes by this, not by the reward alone.
    #[must_use]
    pub fn standing(&self) -> Standing {
        Standing { rung: self.rung, reward: self.reward }
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "exact values are meant")]
mod tests {
    use super::*;

    #[test]
    fn equal_rewards_have_equal_bits() {
        assert_eq!(Reward::new(-0.0).unwrap().value().to_bits(), 0.0_f64.to_bits());
    }

    #[test]
    fn a_reward_that_is_not_finite_is_refused_even_from_a_file() {
        assert!(Reward::new(f64::INFINITY).is_err());
        assert!(serde_json::from_str::<Reward>("1e999").is_err());
        assert_eq!(serde_json::from_str::<Reward>("1.5").unwrap().value(), 1.5);
    }

    #[test]
    fn metrics_of_earlier_versions_are_read() {
        let old = r#"{"accuracy":61.5,"training_loss":null,"epochs":3,"restarts":0,"seconds":1.5}"#;
        let metrics = Metrics { epochs: 3, seconds: 1.5, ..Metrics::from_accuracy(61.5) };
        assert_eq!(serde_json::from_str::<Metrics>(old).unwrap(), metrics);
        let twice = old.replace("61.5", r#"61.5,"value":61.5"#);
        assert!(serde_json::from_str::<Metrics>(&twice).is_err());
    }

    #[test]
    fn an_evaluation_round_trips_through_json() {
        for evaluation in [
            Evaluation::Measured(Metrics::from_accuracy(0.1 + 0.2)),
            Evaluation::Measured(Metrics::new(-0.3).with("latency_ms", 0.1 + 0.2)),
            Evaluation::Infeasible(Infeasibility::OverMeasurementLimit {
                measurement: "latency_ms".to_owned(),
                measured: 6.5,
                limit: 5.0,
                value: 61.5,
            }),
            Evaluation::Infeasible(Infeasibility::Diverged { epoch: 2, restarts: 3 }),
            Evaluation::Infeasible(Infeasibility::Overflow { quantity: "number of channels".to_owned() }),
        ] {
            let text = serde_json::to_string(&evaluation).unwrap();
            assert_eq!(serde_json::from_str::<Evaluation>(&text).unwrap(), evaluation, "{text}");
        }
    }
}
