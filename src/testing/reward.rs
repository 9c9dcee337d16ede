//! The conformance check of a reward shaper.

use super::environment::check_identity;
use super::{Rule, Violation};
use crate::evaluation::{Evaluation, Infeasibility, Metrics, Reward};
use crate::graph::Cost;
use crate::reward::{RewardError, RewardShaper};
use std::collections::BTreeSet;

/// Checks a reward shaper for accuracies from 0 to 100, costs from the smallest to those that overflow, and values
/// from 0 to 10,000 of the measurements that it asks for ([`RewardError::NoMeasurement`]).
///
/// Rewards must be finite, also for infeasible architectures and for sizes saturated at `u64::MAX`: a search stops at a
/// reward that is not. Without a cost a reward must be finite or say that it needs one. The same evaluation must have
/// the same reward. A credit must have one reward for each of 1 to
/// 120 layers.
///
/// # Errors
/// The first [`Violation`] found.
///
/// # Examples
/// The logarithm of the accuracy, which is not finite for a block that gets nothing right:
///
/// ```
/// use blockqnn::evaluation::{Evaluation, Reward};
/// use blockqnn::graph::Cost;
/// use blockqnn::reward::{Credit, RedefinedReward, RewardError, RewardShaper};
/// use blockqnn::testing::{Rule, check_reward};
///
/// struct Logarithm;
///
/// impl RewardShaper for Logarithm {
///     fn reward(&self, accuracy: f64, _: &Evaluation, _: Option<&Cost>) -> Result<Reward, RewardError> {
///         Ok(Reward::new(accuracy.ln())?)
///     }
///     fn credit(&self, reward: Reward, layers: usize) -> Vec<Reward> {
///         Credit::Shared.spread(reward, layers)
///     }
/// }
///
/// assert!(check_reward(&RedefinedReward::paper()).is_ok());
/// assert_eq!(check_reward(&Logarithm).unwrap_err().rule, Rule::RewardsAreFinite);
/// ```
pub fn check_reward(shaper: &(impl RewardShaper + ?Sized)) -> Result<(), Violation> {
    let size = |size: u64| Cost { parameters: size, flops: size, activation_bytes: size, depth: 1, nodes: 3, edges: 2 };
    let costs = [
        None,
        Some(size(1)),
        Some(Cost { depth: 40, nodes: 24, edges: 45, ..size(1_000_000_000) }),
        Some(Cost { depth: u64::MAX, ..size(u64::MAX) }),
    ];
    let names = needed_measurements(shaper, costs[1].as_ref());
    for cost in costs.iter().map(Option::as_ref) {
        for accuracy in (0..=100).map(f64::from) {
            let infeasible = Infeasibility::Rejected { message: "checked".to_owned() };
            // From 0 to 10,000, whatever is measured.
            let metrics = Metrics::from_accuracy(accuracy);
            let metrics = names.iter().fold(metrics, |metrics, name| metrics.with(name, accuracy * accuracy));
            for evaluation in [Evaluation::Measured(metrics), Evaluation::Infeasible(infeasible)] {
                let reward = || {
                    let told = |error| format!("{error}, for {accuracy} % and {cost:?}");
                    match shaper.reward(accuracy, &evaluation, cost) {
                        Err(RewardError::NoCost) if cost.is_none() => Ok(None),
                        reward => reward.map(Some).map_err(|error| Rule::RewardsAreFinite.broken(told(error))),
                    }
                };
                let (first, then) = (reward()?, reward()?);
                Rule::RewardsRepeat
                    .hold(first == then, || format!("{evaluation:?} has reward {first:?} first and {then:?} later"))?;
            }
        }
    }
    check_identity(&shaper.identity(), &[shaper.identity()])?;
    for value in [60.0, -3.5, 0.0] {
        let reward = Reward::new(value).unwrap_or_default();
        for layers in 1..=120 {
            let credit = shaper.credit(reward, layers);
            Rule::CreditHasOneRewardALayer
                .hold(credit.len() == layers, || format!("{} rewards for {layers} layers", credit.len()))?;
            Rule::RewardsRepeat.hold(credit == shaper.credit(reward, layers), || {
                format!("the credit of {reward} over {layers} layers changes between calls")
            })?;
        }
    }
    Ok(())
}

/// Returns the names of the measurements that a reward says it needs.
fn needed_measurements(shaper: &(impl RewardShaper + ?Sized), cost: Option<&Cost>) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    loop {
        let metrics = names.iter().fold(Metrics::from_accuracy(50.0), |metrics, name: &String| metrics.with(name, 1.0));
        match shaper.reward(50.0, &Evaluation::Measured(metrics), cost) {
            Err(RewardError::NoMeasurement { name, .. }) if !names.contains(&name) => drop(names.insert(name)),
            _ => return names,
        }
    }
}
