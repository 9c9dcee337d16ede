//! Soft targets: the reward decreases where an architecture costs more than it should.

use crate::graph::{Cost, CostQuantity};
use crate::setting::InvalidSetting;
use serde::{Deserialize, Serialize};

/// A target cost, and the penalty for exceeding it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SoftTarget {
    /// The cost up to which there is no penalty, above 0.
    pub target: f64,
    /// The penalty in percentage points of reward for each doubling over the target, 0 or more.
    pub weight: f64,
}

/// Soft targets for parts of a cost; `None` sets no target.
///
/// A cost over its target subtracts `weight * log2(cost / target)` from the reward, one below it nothing. Unlike a hard
/// limit ([`CostLimits`](crate::graph::CostLimits)), it does not rule out an architecture that is slightly too large.
///
/// ```
/// use blockqnn::evaluation::{Evaluation, Metrics};
/// use blockqnn::graph::{NetworkConfig, ToGraph};
/// use blockqnn::reward::{Credit, RedefinedReward, RewardShaper, SoftTarget, SoftTargets};
/// use blockqnn::space::block::BlockCode;
///
/// let cost = "conv3(0) terminal(1)".parse::<BlockCode>()?.to_graph().cost(&NetworkConfig::cifar())?;
/// let aimed = |target: f64| {
///     let flops = Some(SoftTarget { target, weight: 3.0 });
///     let targets = SoftTargets { flops, ..SoftTargets::default() };
///     let shaper = RedefinedReward { targets, ..RedefinedReward::default() };
///     shaper.reward(60.0, &Evaluation::Measured(Metrics::from_accuracy(60.0)), Some(&cost)).map(f64::from)
/// };
/// assert_eq!(aimed(cost.flops as f64)?, 60.0);
/// assert_eq!(aimed(cost.flops as f64 / 4.0)?, 54.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SoftTargets {
    /// Trainable parameters.
    pub parameters: Option<SoftTarget>,
    /// Multiply-adds for one image.
    pub flops: Option<SoftTarget>,
    /// Bytes of activations for one image.
    pub activation_bytes: Option<SoftTarget>,
}

impl SoftTargets {
    fn all(&self) -> [(CostQuantity, &'static str, Option<SoftTarget>); 3] {
        [
            (CostQuantity::Parameters, "parameters", self.parameters),
            (CostQuantity::Flops, "flops", self.flops),
            (CostQuantity::ActivationBytes, "activation_bytes", self.activation_bytes),
        ]
    }

    /// Returns the penalty for `cost`, in percentage points of reward.
    #[must_use]
    pub(super) fn penalty(&self, cost: &Cost) -> f64 {
        let one = |(quantity, _, target): (CostQuantity, _, Option<SoftTarget>)| {
            target.map_or(0.0, |SoftTarget { target, weight }| {
                weight * (cost.quantity(quantity) as f64 / target).log2().max(0.0)
            })
        };
        self.all().into_iter().map(one).sum()
    }

    pub(super) fn validate(&self) -> Result<(), InvalidSetting> {
        for (_, quantity, target) in self.all() {
            let Some(SoftTarget { target, weight }) = target else { continue };
            let check = |field, value: f64, valid, expected| {
                let path = format!("reward.targets.{quantity}.{field}");
                InvalidSetting::check(path, value, valid && value.is_finite(), expected)
            };
            check("target", target, target > 0.0, "a finite number above 0")?;
            check("weight", weight, weight >= 0.0, "a finite number, 0 or more")?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "exact values are meant")]
mod tests {
    use super::*;
    use crate::reward::RedefinedReward;

    const COST: Cost = Cost { parameters: 800, flops: 1_000, activation_bytes: 64, depth: 1, nodes: 4, edges: 4 };

    #[test]
    fn penalties_add_up_over_the_targets_that_are_missed() {
        let target = |target, weight| Some(SoftTarget { target, weight });
        let targets = SoftTargets {
            parameters: target(100.0, 2.0),
            flops: target(5_000.0, 9.0),
            activation_bytes: target(16.0, 1.0),
        };
        assert_eq!(targets.penalty(&COST), 2.0 * 3.0 + 2.0);
        assert_eq!(SoftTargets::default().penalty(&COST), 0.0);
    }

    #[test]
    fn invalid_targets_are_named() {
        for (target, weight, expected) in [
            (0.0, 1.0, "reward.targets.flops.target is 0: it must be a finite number above 0"),
            (1.0, -1.0, "reward.targets.flops.weight is -1: it must be a finite number, 0 or more"),
        ] {
            let flops = Some(SoftTarget { target, weight });
            let targets = SoftTargets { flops, ..SoftTargets::default() };
            let reward = RedefinedReward { targets, ..RedefinedReward::default() };
            assert_eq!(reward.validate().unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn a_reward_without_targets_is_written_as_before_targets_existed() {
        let json = serde_json::to_string(&RedefinedReward::paper()).unwrap();
        assert_eq!(json, r#"{"mu":0.5,"rho":0.5,"credit":"every-layer"}"#);
        assert_eq!(serde_json::from_str::<RedefinedReward>(&json).unwrap(), RedefinedReward::paper());
    }
}
