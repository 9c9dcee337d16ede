//! What the least-squares learner makes of the priors of a space: where it begins, features, and which candidates it
//! chooses among.
//!
//! Only the order counts: a prior is replaced by its place among random walks. Everything here is a function of the space,
//! of what the search allows, and of the memory.

use super::features::{BUCKETS, Features};
use crate::agent::edit::random_trajectory;
use crate::agent::{AgentError, TrajectoryOf};
use crate::evaluation::Reward;
use crate::graph::{CostLimits, NetworkConfig};
use crate::seed;
use crate::space::SearchSpace;

/// Random walks within the limits that priors are compared with.
const REFERENCE: usize = 256;

/// Random walks tried for them, where most exceed the limits.
const TRIED: u64 = 4_096;

/// Random walks of which the first trials by prior each take the one of highest prior.
pub(super) const BEGINNING: usize = 40;

/// The share of the candidates that is chosen among: those of highest prior.
const KEPT: f64 = 0.3;

/// The nearest to the top that a place counts in a feature, as a distance.
const NEAREST: f64 = 0.002;

/// Priors of a space that have a feature each. Of more, the others have none.
pub(super) const FEATURES: usize = 8;

/// Standard deviations of a chance result that the agreement of priors and rewards may be below none before the priors are
/// held to be wrong. Less would often reject good priors where rewards are noisy.
const DOUBT: f64 = 2.0;

/// The priors of a space in one search.
pub(super) struct Priors {
    network: NetworkConfig,
    limits: CostLimits,
    /// For each prior, its values over the reference, in ascending order.
    reference: Vec<Vec<f64>>,
    agreement: Agreement,
}

/// Where the priors of an architecture stand among those of random walks.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Standing {
    /// For each prior, the share of the reference that it exceeds, above 0 and below 1.
    places: Vec<f64>,
}

impl Standing {
    /// What architectures are ordered by: the sum of the places.
    pub(super) fn sum(&self) -> f64 {
        self.places.iter().sum()
    }

    /// One feature for each prior, which grows the faster the nearer it is to the top; with mean 0 and deviation 1 over
    /// random walks, and as much weight as all together may have.
    pub(super) fn append_to(&self, features: &mut Features) {
        let scale = (1.0 / self.places.len() as f64).sqrt();
        let places = (BUCKETS..BUCKETS + FEATURES).filter_map(|place| u16::try_from(place).ok());
        features.extend(places.zip(&self.places).map(|(place, above)| {
            #[expect(clippy::cast_possible_truncation, reason = "from -1 to 5.3")]
            let value = ((-(1.0 - above).max(NEAREST).ln() - 1.0) * scale) as f32;
            (place, value)
        }));
    }
}

impl Priors {
    /// Draws the reference. None if the space has no priors, or nothing of it is within the limits.
    pub(super) fn new<S: SearchSpace>(
        space: &S,
        network: &NetworkConfig,
        limits: CostLimits,
    ) -> Result<Option<Self>, AgentError> {
        let mut priors =
            Self { network: network.clone(), limits, reference: Vec::new(), agreement: Agreement::default() };
        for number in 0..TRIED {
            let walk = random_trajectory(space, &mut seed::stream(0, "priors", number))?;
            let Some(values) = priors.values(space, &space.decode(&walk.actions)?) else { continue };
            priors.reference.resize(values.len(), Vec::new());
            priors.reference.iter_mut().zip(values).for_each(|(known, value)| known.push(value));
            if priors.reference.first().is_none_or(|known| known.len() == REFERENCE) {
                break;
            }
        }
        priors.reference.iter_mut().for_each(|values| values.sort_by(f64::total_cmp));
        Ok((!priors.reference.is_empty()).then_some(priors))
    }

    /// The priors of an architecture. None if it has no graph, its network cannot be built, or that exceeds the limits.
    fn values<S: SearchSpace>(&self, space: &S, architecture: &S::Architecture) -> Option<Vec<f64>> {
        if self.limits != CostLimits::default() {
            self.limits.check(&space.cost(architecture, Some(&self.network)).ok()??).ok()?;
        }
        space.priors(&space.graph(architecture)?, &self.network).ok()
    }

    /// Where an architecture stands. None if it is not to be trained.
    pub(super) fn standing<S: SearchSpace>(&self, space: &S, architecture: &S::Architecture) -> Option<Standing> {
        let values = self.values(space, architecture)?;
        let place = |(known, value): (&Vec<f64>, f64)| {
            let below = known.partition_point(|other| other.total_cmp(&value).is_lt());
            let up_to = known.partition_point(|other| other.total_cmp(&value).is_le());
            // In the middle of its equals.
            f64::midpoint(below as f64, up_to as f64 + 1.0) / (known.len() as f64 + 1.0)
        };
        Some(Standing { places: self.reference.iter().zip(values).map(place).collect() })
    }

    /// Learns what an evaluated architecture is worth.
    pub(super) fn learn(&mut self, standing: Option<&Standing>, reward: Reward) {
        if let Some(standing) = standing {
            self.agreement.push(standing.sum(), reward);
        }
    }

    /// The share of the candidates that is chosen among: all where the evaluations contradict the priors.
    pub(super) fn share(&self) -> f64 {
        if self.hold() { KEPT } else { 1.0 }
    }

    /// Whether the evaluations do not contradict the priors.
    pub(super) fn hold(&self) -> bool {
        self.agreement.holds()
    }
}

/// Kendall's rank correlation of priors and rewards.
#[derive(Debug, Default)]
struct Agreement {
    pairs: Vec<(f64, Reward)>,
    /// Pairs of architectures in the same order, less those in opposite order.
    sum: i64,
}

impl Agreement {
    fn push(&mut self, prior: f64, reward: Reward) {
        for (other, rewarded) in &self.pairs {
            self.sum += prior.total_cmp(other) as i64 * reward.cmp(rewarded) as i64;
        }
        self.pairs.push((prior, reward));
    }

    fn holds(&self) -> bool {
        let count = self.pairs.len() as f64;
        if count < 2.0 {
            return true;
        }
        let tau = self.sum as f64 / (count * (count - 1.0) / 2.0);
        let deviation = (2.0 * (2.0 * count + 5.0) / (9.0 * count * (count - 1.0))).sqrt();
        tau > -DOUBT * deviation
    }
}

/// A candidate: the value that the learner gives it, and where its priors stand.
pub(super) struct Candidate<S: SearchSpace> {
    pub(super) value: f64,
    /// The sum of its places. None if it is not to be trained, or there are no priors.
    pub(super) prior: Option<f64>,
    pub(super) walk: TrajectoryOf<S>,
}

/// Moves all but the candidates of highest prior to the end, each part in the order that it had. What is not to be trained
/// comes last.
pub(super) fn filter<S: SearchSpace>(candidates: &mut [Candidate<S>], share: f64) {
    let mut priors: Vec<f64> = candidates.iter().filter_map(|candidate| candidate.prior).collect();
    priors.sort_by(|a, b| b.total_cmp(a));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a length")]
    let kept = (priors.len() as f64 * share) as usize;
    let least = priors.get(kept.max(1) - 1).copied();
    candidates.sort_by_key(|candidate| match (candidate.prior, least) {
        (Some(prior), Some(least)) if prior >= least => 0,
        (Some(_), _) => 1,
        (None, _) => 2,
    });
}

#[cfg(test)]
mod tests;
