//! The results of a search.

use super::Utilisation;
use crate::evaluation::{Evaluation, Objective, Reward, Rung, Standing};
use crate::graph::{Cost, Fingerprint};
use crate::space::SearchSpace;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::fmt;

/// Everything about one finished trial: enough to rebuild its network and to explain its reward.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Record<Action, Architecture> {
    /// Number of the trial, from 0, in the order of proposal.
    pub id: u64,
    /// Number of its minibatch, from 0.
    pub minibatch: u64,
    /// Seed of its evaluation.
    pub seed: u64,
    /// The actions of the walk that led to it.
    pub actions: Vec<Action>,
    /// What was evaluated.
    pub architecture: Architecture,
    /// Fingerprint of the architecture, the key of caches.
    pub fingerprint: Fingerprint,
    /// Size of its network; sizes that do not fit into 64 bits are `u64::MAX`. `None` in a search that knows no cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Cost>,
    /// Its result.
    pub evaluation: Evaluation,
    /// The reward that the agent learned from.
    pub reward: Reward,
    /// Whether the evaluation was taken from an earlier trial with the same fingerprint.
    pub cached: bool,
    /// The rung at which it was evaluated. `None` in a search without rungs, and then omitted from files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rung: Option<Rung>,
}

impl<Action, Architecture> Record<Action, Architecture> {
    /// Returns what the trial is worth among others: its rung, if it was measured to the end there, and otherwise the
    /// lowest; then its reward.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let rung = self.rung.filter(|_| self.evaluation.final_value().is_some()).map_or(0, |rung| rung.number);
        Standing { rung, reward: self.reward }
    }

    /// Returns whether the architecture was evaluated at a lower rung before.
    #[must_use]
    pub fn is_promotion(&self) -> bool {
        self.rung.is_some_and(|rung| rung.number > 0)
    }
}

/// The [`Record`] of a trial in the space `S`.
pub type RecordOf<S> = Record<<S as SearchSpace>::Action, <S as SearchSpace>::Architecture>;

/// Returns the trials whose architectures were promoted, so that later trials say more of them.
pub(super) fn superseded<A, B>(records: &[Record<A, B>]) -> HashSet<u64> {
    let mut last: HashMap<Fingerprint, u64> = HashMap::new();
    let climbing = records.iter().filter(|record| record.rung.is_some());
    climbing.filter_map(|record| last.insert(record.fingerprint, record.id)).collect()
}

/// Why a search ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum StopReason {
    /// All trials were evaluated.
    Completed,
    /// The agent found nothing new within the limit of resamples: the space, or the part of it that the agent reaches,
    /// is exhausted.
    SpaceExhausted {
        /// Proposals of the whole run that were discarded because their architecture had been proposed before.
        discarded: u64,
        /// Two architectures, as texts of the space, that count as one because they have the same fingerprint, if the
        /// last proposals included such a pair. If they should not, see
        /// [`SearchSpace::fingerprint`](crate::space::SearchSpace::fingerprint).
        pair: Option<[String; 2]>,
    },
    /// A stop was requested.
    Cancelled,
}

impl fmt::Display for StopReason {
    /// Writes a sentence.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Completed => f.write_str("all trials were evaluated"),
            Self::Cancelled => f.write_str("a stop was requested"),
            Self::SpaceExhausted { discarded, pair } => {
                write!(f, "the agent found no new architecture: {discarded} proposals were repeats of earlier ones")?;
                match pair {
                    Some([first, second]) => write!(f, "; for example, {first} and {second} count as the same"),
                    None => Ok(()),
                }
            }
        }
    }
}

/// Result of a search.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SearchReport<S: SearchSpace> {
    /// What was optimised.
    pub objective: Objective,
    /// All finished trials, in the order of proposal.
    pub records: Vec<RecordOf<S>>,
    /// Why the search ended.
    pub stop: StopReason,
    /// Proposals that were discarded because they had been made before.
    pub resampled: u64,
    /// How busy the workers were, since the search was started or resumed.
    pub utilisation: Utilisation,
    /// Whether the evaluations do not contradict the priors of the space; none if the agent uses none. See
    /// [`Agent::priors_hold`](crate::agent::Agent::priors_hold).
    pub priors_hold: Option<bool>,
}

impl<S: SearchSpace> SearchReport<S> {
    /// Returns the finished trials by reward, best first, and the earlier first among equals. Trials that were stopped
    /// early come after all others, since their rewards are not comparable, and infeasible ones last.
    ///
    /// In a search with rungs each architecture is there once, with its last trial, and those that have reached a
    /// higher rung come first.
    #[must_use]
    pub fn best(&self) -> Vec<&RecordOf<S>> {
        let superseded = superseded(&self.records);
        self.ranked().into_iter().filter(|record| !superseded.contains(&record.id)).collect()
    }

    /// Returns the trials whose architectures were evaluated at a lower rung before.
    pub fn promotions(&self) -> impl Iterator<Item = &RecordOf<S>> {
        self.records.iter().filter(|record| record.is_promotion())
    }

    /// Returns all trials, best first.
    pub(super) fn ranked(&self) -> Vec<&RecordOf<S>> {
        let mut records: Vec<_> = self.records.iter().collect();
        records.sort_by(|a, b| {
            let (measured, finished) = (Evaluation::value, Evaluation::final_value);
            let class = |record: &RecordOf<S>| [finished, measured].map(|value| value(&record.evaluation).is_none());
            class(a).cmp(&class(b)).then(b.standing().cmp(&a.standing())).then(a.id.cmp(&b.id))
        });
        records
    }

    /// Returns the number of trials whose evaluation was taken from an earlier one.
    #[must_use]
    pub fn cache_hits(&self) -> usize {
        self.records.iter().filter(|record| record.cached).count()
    }

    /// Returns the number of trials whose outcome another machine, or the same machine at another time, might not
    /// repeat. A run with such a trial may not be repeatable bit for bit.
    #[must_use]
    pub fn machine_dependent(&self) -> usize {
        self.records.iter().filter(|record| record.evaluation.depends_on_machine()).count()
    }

    /// Returns the number of trials that were stopped early.
    #[must_use]
    pub fn stopped(&self) -> usize {
        self.records.iter().filter(|record| record.evaluation.is_stopped()).count()
    }

    /// Returns the mean value of the measured trials among `records`, or `None` if there are none. Trials that were stopped
    /// early count with their last value.
    #[must_use]
    pub fn mean_value<'a>(records: impl IntoIterator<Item = &'a RecordOf<S>>) -> Option<f64>
    where
        S: 'a,
    {
        let values: Vec<f64> = records.into_iter().filter_map(|record| record.evaluation.value()).collect();
        if values.is_empty() { None } else { Some(values.iter().sum::<f64>() / values.len() as f64) }
    }
}
