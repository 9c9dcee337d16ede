//! How the least-squares learner uses the priors of a space: for its first trials, as features, and to choose among
//! candidates.
//!
//! Only the order counts: a prior is replaced by its rank among random walks. Everything here is a function of the
//! space, of the limits of the search, and of the memory.

use super::features::{BUCKETS, Features};
use crate::agent::edit::random_trajectory;
use crate::agent::{AgentError, TrajectoryOf};
use crate::evaluation;
use crate::graph::{CostLimits, NetworkConfig};
use crate::seed;
use crate::space::SearchSpace;

/// Number of random walks within the limits, with whose priors others are compared.
const REFERENCE: usize = 256;

/// Most random walks that are tried to find them, since many may exceed the limits.
const TRIED: u64 = 4_096;

/// Number of random walks of which the one with the highest prior is taken, for every other one of the first trials.
pub(super) const BEGINNING: usize = 40;

/// Share of the candidates, those of highest prior, among which the learner chooses.
const KEPT: f64 = 0.3;

/// Smallest distance from the top rank that a feature distinguishes; anything nearer counts as this near.
const NEAREST: f64 = 0.002;

/// Most priors that become features; further ones do not.
pub(super) const FEATURES: usize = 8;

/// How far below 0 the rank correlation of priors and rewards must be, in standard deviations of a chance result, for
/// the priors to count as wrong. A lower bound would often reject good priors where rewards are noisy.
const DOUBT: f64 = 2.0;

/// The priors of a space in one search.
pub(super) struct Priors {
    network: NetworkConfig,
    limits: CostLimits,
    /// For each prior, its values over the reference, in ascending order.
    reference: Vec<Vec<f64>>,
    agreement: Agreement,
}

/// How the priors of an architecture rank among those of random walks.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Standing {
    /// For each prior, the share of the reference that it exceeds, above 0 and below 1.
    places: Vec<f64>,
}

impl Standing {
    /// The sum of the ranks, by which architectures are ordered.
    pub(super) fn sum(&self) -> f64 {
        self.places.iter().sum()
    }

    /// Appends one feature for each prior, which grows faster the nearer the prior is to the top. Over random walks it
    /// has mean 0 and deviation 1, scaled so that all of them together have the variance of one feature.
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
    /// Draws the reference. Returns `None` if the space has no priors, or no architecture is within the limits.
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

    /// Returns the priors of an architecture, or `None` if it has no graph, or its network cannot be built or exceeds
    /// the limits.
    fn values<S: SearchSpace>(&self, space: &S, architecture: &S::Architecture) -> Option<Vec<f64>> {
        if self.limits != CostLimits::default() {
            self.limits.check(&space.cost(architecture, Some(&self.network)).ok()??).ok()?;
        }
        space.priors(&space.graph(architecture)?, &self.network).ok()
    }

    /// Returns how the priors of an architecture rank, or `None` if it is not to be trained.
    pub(super) fn standing<S: SearchSpace>(&self, space: &S, architecture: &S::Architecture) -> Option<Standing> {
        let values = self.values(space, architecture)?;
        let place = |(known, value): (&Vec<f64>, f64)| {
            let below = known.partition_point(|other| other.total_cmp(&value).is_lt());
            let up_to = known.partition_point(|other| other.total_cmp(&value).is_le());
            // Equal values share the rank in the middle.
            f64::midpoint(below as f64, up_to as f64 + 1.0) / (known.len() as f64 + 1.0)
        };
        Some(Standing { places: self.reference.iter().zip(values).map(place).collect() })
    }

    /// Learns what an evaluated architecture is worth.
    pub(super) fn learn(&mut self, standing: Option<&Standing>, worth: evaluation::Standing) {
        if let Some(standing) = standing {
            self.agreement.push(standing.sum(), worth);
        }
    }

    /// Takes back what was [learned](Self::learn).
    pub(super) fn forget(&mut self, standing: Option<&Standing>, worth: evaluation::Standing) {
        if let Some(standing) = standing {
            self.agreement.remove(standing.sum(), worth);
        }
    }

    /// Returns the share of the candidates to choose among: all of them while the evaluations contradict the priors.
    pub(super) fn share(&self) -> f64 {
        if self.hold() { KEPT } else { 1.0 }
    }

    /// Returns whether the priors still hold: `false` while the evaluations contradict them.
    pub(super) fn hold(&self) -> bool {
        self.agreement.holds()
    }
}

/// Kendall's rank correlation of priors and what the evaluations were worth.
#[derive(Debug, Default)]
struct Agreement {
    pairs: Vec<(f64, evaluation::Standing)>,
    /// The number of pairs of architectures in the same order, minus the number of those in the opposite order.
    sum: i64,
}

impl Agreement {
    fn push(&mut self, prior: f64, worth: evaluation::Standing) {
        self.sum += self.share_of(prior, worth);
        self.pairs.push((prior, worth));
    }

    fn remove(&mut self, prior: f64, worth: evaluation::Standing) {
        let place = self.pairs.iter().position(|known| known.0.total_cmp(&prior).is_eq() && known.1 == worth);
        if let Some(place) = place {
            self.pairs.swap_remove(place);
            self.sum -= self.share_of(prior, worth);
        }
    }

    /// The part of the sum that an architecture has in pairs with the known ones.
    fn share_of(&self, prior: f64, worth: evaluation::Standing) -> i64 {
        self.pairs.iter().map(|(other, known)| prior.total_cmp(other) as i64 * worth.cmp(known) as i64).sum()
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

/// A candidate, with the value that the learner gives it and the rank of its priors.
pub(super) struct Candidate<S: SearchSpace> {
    pub(super) value: f64,
    /// The sum of its ranks; `None` if it is not to be trained, or there are no priors.
    pub(super) prior: Option<f64>,
    pub(super) walk: TrajectoryOf<S>,
}

/// Moves all but the candidates of highest prior to the end, keeping the order within both parts. Candidates that are
/// not to be trained come last.
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
