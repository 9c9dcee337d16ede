//! Soft targets: the reward decreases where an architecture costs more than it should.

use super::RewardError;
use crate::evaluation::Evaluation;
use crate::graph::{Cost, CostQuantity};
use crate::setting::InvalidSetting;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;

/// A target, and the penalty for exceeding it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SoftTarget {
    /// The cost or measurement up to which there is no penalty, above 0.
    pub target: f64,
    /// The penalty in percentage points of reward for each doubling over the target, 0 or more.
    pub weight: f64,
}

/// Soft targets by name: for a cost (`parameters`, `flops` or `activation_bytes`), or for a measurement of the
/// environment ([`Metrics::measurements`](crate::evaluation::Metrics::measurements)).
///
/// What is over its target subtracts `weight * log2(value / target)` from the reward, what is below it nothing. Unlike a
/// hard limit ([`SearchConfig::limits`](crate::search::SearchConfig::limits) and
/// [`measurement_limits`](crate::search::SearchConfig::measurement_limits)), a target does not rule out an architecture
/// that is slightly too large. An infeasible architecture has no measurements, and no penalty for them.
///
/// ```
/// use blockqnn::evaluation::{Evaluation, Metrics};
/// use blockqnn::reward::{RedefinedReward, RewardShaper, SoftTargets};
///
/// let evaluation = Evaluation::Measured(Metrics::from_accuracy(60.0).with("latency_ms", 20.0));
/// let aimed = |target: f64| {
///     let targets = SoftTargets::default().with("latency_ms", target, 3.0);
///     RedefinedReward::default().with_targets(targets).reward(60.0, &evaluation, None).map(f64::from)
/// };
/// assert_eq!(aimed(20.0)?, 60.0);
/// assert_eq!(aimed(5.0)?, 54.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(transparent)]
pub struct SoftTargets(BTreeMap<String, SoftTarget>);

impl<'de> Deserialize<'de> for SoftTargets {
    /// Reads targets by name. Earlier versions wrote a `null` for each cost without a target.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let targets = BTreeMap::<String, Option<SoftTarget>>::deserialize(deserializer)?;
        Ok(Self(targets.into_iter().filter_map(|(name, target)| Some((name, target?))).collect()))
    }
}

impl SoftTargets {
    /// Adds a target for a cost or a measurement, or replaces the one of that name. `weight` is in percentage points of
    /// reward for each doubling.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, target: f64, weight: f64) -> Self {
        self.0.insert(name.into(), SoftTarget { target, weight });
        self
    }

    /// Returns the targets with their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, SoftTarget)> {
        self.0.iter().map(|(name, target)| (name.as_str(), *target))
    }

    /// Returns the penalty for what was measured and its cost, in percentage points of reward.
    pub(super) fn penalty(&self, evaluation: &Evaluation, cost: Option<&Cost>) -> Result<f64, RewardError> {
        // Costs first: whether they are known is asked before anything is measured.
        let (costs, measurements): (Vec<_>, Vec<_>) =
            self.iter().partition(|(name, _)| CostQuantity::named(name).is_some());
        let mut penalty = 0.0;
        for (name, target) in costs {
            let cost = cost.ok_or(RewardError::NoCost)?;
            penalty += CostQuantity::named(name).map_or(0.0, |quantity| target.penalty(cost.quantity(quantity) as f64));
        }
        for (name, target) in measurements {
            let Some(metrics) = evaluation.metrics() else { continue };
            let measured = metrics.measurements.get(name).ok_or_else(|| RewardError::missing(name, metrics))?;
            penalty += target.penalty(*measured);
        }
        Ok(penalty)
    }

    pub(super) fn validate(&self) -> Result<(), InvalidSetting> {
        for (name, SoftTarget { target, weight }) in self.iter() {
            let check = |field, value: f64, valid, expected| {
                let path = format!("reward.targets.{name}.{field}");
                InvalidSetting::check(path, value, valid && value.is_finite(), expected)
            };
            check("target", target, target > 0.0, "a finite number above 0")?;
            check("weight", weight, weight >= 0.0, "a finite number, 0 or more")?;
        }
        Ok(())
    }
}

impl SoftTarget {
    fn penalty(self, value: f64) -> f64 {
        // Neither 0 nor a negative value is over a target.
        if value > self.target { self.weight * (value / self.target).log2() } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluation::{Infeasibility, Metrics};
    use crate::reward::RedefinedReward;

    const COST: Cost = Cost { parameters: 800, flops: 1_000, activation_bytes: 64, depth: 1, nodes: 4, edges: 4 };

    #[test]
    fn penalties_add_up_over_the_targets_that_are_missed() {
        let costs = SoftTargets::default().with("parameters", 100.0, 2.0).with("flops", 5_000.0, 9.0);
        let targets = costs.with("activation_bytes", 16.0, 1.0).with("latency_ms", 2.0, 4.0).with("drift", 1.0, 50.0);
        let measured = Metrics::from_accuracy(50.0).with("latency_ms", 4.0).with("drift", -3.0).with("other", 1e9);
        let measured = Evaluation::Measured(measured);
        assert_eq!(targets.penalty(&measured, Some(&COST)), Ok(2.0 * 3.0 + 2.0 + 4.0));
        let infeasible = Evaluation::Infeasible(Infeasibility::Diverged { epoch: 1, restarts: 0 });
        assert_eq!(targets.penalty(&infeasible, Some(&COST)), Ok(2.0 * 3.0 + 2.0));
        assert_eq!(SoftTargets::default().penalty(&measured, None), Ok(0.0));
    }

    #[test]
    fn what_is_not_known_is_named_costs_first() {
        let evaluation = Evaluation::Measured(Metrics::from_accuracy(50.0).with("energy", 1.0).with("power", 1.0));
        let targets = SoftTargets::default().with("latency_ms", 2.0, 4.0);
        let error = targets.penalty(&evaluation, None).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the measurement \"latency_ms\" is needed, but the environment measured \"energy\", \"power\": have it \
             report \"latency_ms\" (`Metrics::with`), or correct the name"
        );
        let targets = targets.with("parameters", 1.0, 1.0);
        assert_eq!(targets.penalty(&evaluation, None), Err(RewardError::NoCost));
    }

    #[test]
    fn invalid_targets_are_named() {
        for (target, weight, expected) in [
            (0.0, 1.0, "reward.targets.flops.target is 0: it must be a finite number above 0"),
            (1.0, -1.0, "reward.targets.flops.weight is -1: it must be a finite number, 0 or more"),
        ] {
            let reward = RedefinedReward::default().with_targets(SoftTargets::default().with("flops", target, weight));
            assert_eq!(reward.validate().unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn a_reward_without_targets_is_written_as_before_targets_existed() {
        let json = serde_json::to_string(&RedefinedReward::paper()).unwrap();
        assert_eq!(json, r#"{"mu":0.5,"rho":0.5,"credit":"every-layer"}"#);
        assert_eq!(serde_json::from_str::<RedefinedReward>(&json).unwrap(), RedefinedReward::paper());
    }

    #[test]
    fn targets_of_earlier_versions_are_read() {
        let old = r#"{"parameters":null,"flops":{"target":5.0,"weight":1.0},"activation_bytes":null}"#;
        let targets = serde_json::from_str::<SoftTargets>(old).unwrap();
        assert_eq!(targets, SoftTargets::default().with("flops", 5.0, 1.0));
        assert_eq!(serde_json::to_string(&targets).unwrap(), r#"{"flops":{"target":5.0,"weight":1.0}}"#);
    }
}
