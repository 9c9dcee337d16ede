//! Rungs: all architectures are trained for a few epochs, and the best of them for more.

use super::{Record, RecordOf, Repeats, Scheduling, SearchConfig};
use crate::evaluation::Rung;
use crate::graph::Fingerprint;
use crate::reward::calibration::kendall_of;
use crate::setting::InvalidSetting;
use crate::space::SearchSpace;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};

/// Each rung has this many times the epochs of the one below.
const STEP: u32 = 3;
/// The most minibatches whose promotions are counted one by one.
const MOST_COUNTED: u64 = 100_000;

/// Successive halving within a search: a proposed architecture is evaluated at the lowest rung, for a part of its
/// epochs, and the best at each rung are *promoted* to the next. The highest rung has all epochs, each other one a
/// third of those above it, rounded up; equal rungs count as one. Other [epochs](Self::epochs) can be given.
///
/// A trial is an architecture at a rung, so a promotion is a trial, with the same seed as the ones before. It is the
/// same evaluation for longer, and environments may continue it where it ended.
///
/// A minibatch begins with the promotions that are due: as long as fewer than one in [`one_in`](Self::one_in) of those
/// measured at a rung have been promoted, the best of the others is, by reward, and the earlier one of equals. The
/// agent proposes the rest. Everything follows from the trials learned, so any number of workers gives the same search.
/// Agents and results order architectures by the rung that they have reached, then by reward.
///
/// They need [`Scheduling::Minibatch`], [`Repeats::Resample`], no other rule for stopping, and an environment that
/// [can](crate::environment::Environment::full_epochs) evaluate for the first of its epochs alone.
///
/// ```
/// use blockqnn::search::Rungs;
///
/// let epochs = |full| Rungs::new(3).ladder(full).map(|ladder| ladder.iter().map(|rung| rung.epochs).collect::<Vec<_>>());
/// assert_eq!(epochs(12), Ok(vec![2, 4, 12]));
/// assert_eq!(epochs(3), Ok(vec![1, 3]));
/// assert!(epochs(1).is_err());
/// assert_eq!(Rungs::at([4, 12]).ladder(12).map(|ladder| ladder[0].epochs), Ok(4));
/// ```
///
/// # References
/// K. Jamieson, A. Talwalkar, "Non-stochastic Best Arm Identification and Hyperparameter Optimization", AISTATS 2016.
/// Promoting as results arrive, and not once, is from L. Li et al., "A System for Massively Parallel Hyperparameter
/// Tuning", Conference on Machine Learning and Systems 2020. The paper has no rungs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rungs {
    /// The number of rungs, at least 2; fewer are used where two have equal epochs.
    pub count: u32,
    /// One in so many of those measured at a rung is promoted; at least 2.
    pub one_in: u64,
    /// The epochs of each rung, `count` of them, ascending; the last are those of a full evaluation. Empty for thirds,
    /// and then omitted from files.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub epochs: Vec<u32>,
}

impl Default for Rungs {
    /// Returns three rungs, of which a third is promoted.
    fn default() -> Self {
        Self::new(3)
    }
}

impl Rungs {
    /// Creates `count` rungs, of which a third is promoted.
    #[must_use]
    pub fn new(count: u32) -> Self {
        Self { count, one_in: 3, epochs: Vec::new() }
    }

    /// Creates rungs of these epochs, of which a third is promoted.
    #[must_use]
    pub fn at(epochs: impl Into<Vec<u32>>) -> Self {
        let epochs = epochs.into();
        Self { count: u32::try_from(epochs.len()).unwrap_or(u32::MAX), one_in: 3, epochs }
    }

    /// Sets which share of a rung is promoted: one in so many.
    #[must_use]
    pub fn with_one_in(self, one_in: u64) -> Self {
        Self { one_in, ..self }
    }

    /// Returns the rungs, lowest first, of evaluations that have `full` epochs.
    ///
    /// # Errors
    /// [`InvalidSetting`] if that is too few epochs for two rungs, or not what the highest rung has.
    pub fn ladder(&self, full: u32) -> Result<Vec<Rung>, InvalidSetting> {
        if let Some(&last) = self.epochs.last() {
            self.check_epochs()?;
            let expected = format!("so many that the last are the {full} of a whole evaluation");
            InvalidSetting::check("search.rungs.epochs", self.listed(), last == full, expected)?;
            return Ok((0..).zip(&self.epochs).map(|(number, &epochs)| Rung { number, epochs }).collect());
        }
        let mut epochs: Vec<u32> = Vec::new();
        let mut next = full;
        while epochs.len() < self.count as usize && epochs.last() != Some(&next) && next > 0 {
            epochs.push(next);
            next = next.div_ceil(STEP);
        }
        let expected = "left out, or the evaluations at least 2 epochs long";
        InvalidSetting::check("search.rungs.count", self.count, epochs.len() > 1, expected)?;
        Ok((0..).zip(epochs.into_iter().rev()).map(|(number, epochs)| Rung { number, epochs }).collect())
    }

    /// Checks the epochs that were given.
    fn check_epochs(&self) -> Result<(), InvalidSetting> {
        let epochs = &self.epochs;
        let ascend = epochs.first().is_none_or(|least| *least > 0) && epochs.is_sorted_by(|a, b| a < b);
        InvalidSetting::check(
            "search.rungs.epochs",
            self.listed(),
            ascend,
            "in ascending order, each at least 1, once",
        )?;
        let is_counted = epochs.is_empty() || epochs.len() == self.count as usize;
        let expected = format!("{}, the number of search.rungs.epochs", epochs.len());
        InvalidSetting::check("search.rungs.count", self.count, is_counted, expected)
    }

    fn listed(&self) -> String {
        self.epochs.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
    }

    /// Returns how many of `trials` trials in minibatches of this size are at each of `rungs` rungs, lowest first, if
    /// all of them are measured and the agent always finds something new. What follows after 100,000 minibatches is
    /// divided as in the long run: each rung has one in [`one_in`](Self::one_in) of those at the one below.
    #[must_use]
    pub fn trials_at(&self, rungs: usize, trials: u64, minibatch: u64) -> Vec<u64> {
        let (mut at, mut left, one_in) = (vec![0; rungs], trials, self.one_in.max(1));
        for _ in 0..MOST_COUNTED {
            if left == 0 {
                return at;
            }
            let mut size = minibatch.clamp(1, left);
            left -= size;
            let mut below = at.first().copied().unwrap_or(0);
            for number in at.iter_mut().skip(1) {
                let due = (below / one_in).saturating_sub(*number).min(size);
                below = *number;
                *number += due;
                size -= due;
            }
            if let Some(lowest) = at.first_mut() {
                *lowest += size;
            }
        }
        let shares: f64 = std::iter::successors(Some(1.0), |share| Some(share / one_in as f64)).take(rungs).sum();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a part of a count")]
        let mut next = (left as f64 / shares) as u64;
        for number in at.iter_mut().skip(1) {
            next = (next / one_in).min(left);
            *number += next;
            left -= next;
        }
        if let Some(lowest) = at.first_mut() {
            *lowest += left;
        }
        at
    }

    /// Checks the settings together with those of the search.
    pub(super) fn validate(&self, config: &SearchConfig) -> Result<(), InvalidSetting> {
        for (field, value) in [("count", u64::from(self.count)), ("one_in", self.one_in)] {
            InvalidSetting::check(format!("search.rungs.{field}"), value, value > 1, "at least 2")?;
        }
        self.check_epochs()?;
        let SearchConfig { scheduling, repeats, median_stopping, .. } = config;
        let (has_barrier, needs) = (*scheduling == Scheduling::Minibatch, "minibatch, which search.rungs needs");
        InvalidSetting::check("search.scheduling", scheduling.name(), has_barrier, needs)?;
        let needs = "resample, which search.rungs needs";
        InvalidSetting::check("search.repeats", repeats.name(), *repeats == Repeats::Resample, needs)?;
        let expected = "left out: search.rungs stops evaluations too";
        InvalidSetting::check("search.median_stopping", "set", median_stopping.is_none(), expected)
    }

    /// Returns the trials whose architectures are to be promoted now, as positions in `records`, and to which rung.
    pub(super) fn due<S: SearchSpace>(&self, records: &[RecordOf<S>], ladder: &[Rung]) -> Vec<(usize, Rung)> {
        let steps = ladder.windows(2).flat_map(|step| {
            let (waiting, places) = self.waiting::<S>(records, step, 0);
            waiting.into_iter().take(places).map(|position| (position, step[1])).collect::<Vec<_>>()
        });
        steps.collect()
    }

    /// Returns the trials whose architectures cannot be promoted any more if `left` trials follow, as positions in
    /// `records`: even if all of those were measured at the same rung with lower rewards.
    pub(super) fn ruled_out<S: SearchSpace>(&self, records: &[RecordOf<S>], ladder: &[Rung], left: u64) -> Vec<usize> {
        let left = usize::try_from(left).unwrap_or(usize::MAX);
        let steps = ladder.windows(2).flat_map(|step| {
            let (waiting, places) = self.waiting::<S>(records, step, left);
            waiting.into_iter().skip(places.min(left)).collect::<Vec<_>>()
        });
        steps.collect()
    }

    /// Returns the trials measured at the lower of two rungs and not promoted, best first, and how many of them there
    /// are places for at the upper one once `more` are measured.
    fn waiting<S: SearchSpace>(&self, records: &[RecordOf<S>], step: &[Rung], more: usize) -> (Vec<usize>, usize) {
        let promoted: HashSet<Fingerprint> = at(records, step[1]).map(|(_, record)| record.fingerprint).collect();
        let measured: Vec<(usize, &RecordOf<S>)> =
            at(records, step[0]).filter(|(_, record)| record.evaluation.final_value().is_some()).collect();
        let share = (measured.len().saturating_add(more) as u64) / self.one_in;
        let places = usize::try_from(share).unwrap_or(usize::MAX).saturating_sub(promoted.len());
        let mut waiting = measured;
        waiting.retain(|(_, record)| !promoted.contains(&record.fingerprint));
        waiting.sort_by(|(_, a), (_, b)| b.reward.cmp(&a.reward).then(a.id.cmp(&b.id)));
        (waiting.into_iter().map(|(position, _)| position).collect(), places)
    }
}

/// The trials at a rung, with their positions.
fn at<A, B>(records: &[Record<A, B>], rung: Rung) -> impl Iterator<Item = (usize, &Record<A, B>)> {
    let is_there = move |record: &Record<A, B>| record.rung.is_some_and(|of| of.number == rung.number);
    records.iter().enumerate().filter(move |(_, record)| is_there(record))
}

/// How similar the rankings of two neighbouring rungs are, over the architectures that were measured at both.
///
/// Only the best of the lower rung are measured at the upper one, and such are harder to tell apart than all would be.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct RungAgreement {
    /// The lower rung.
    pub lower: Rung,
    /// The upper rung.
    pub upper: Rung,
    /// The number of architectures that were measured at both.
    pub count: usize,
    /// Kendall's tau-b of their values: 1 if the lower rung ranks them as the upper one does, 0 if it says nothing.
    pub kendall: f64,
    /// The standard deviation that tau would have if the lower rung said nothing, `sqrt(2 (2n + 5) / (9 n (n - 1)))` of
    /// `n` architectures: the error of `kendall` where that is near 0.
    pub error: f64,
}

impl RungAgreement {
    /// Fewest architectures for which a rung can be called bad.
    const ENOUGH: usize = 10;

    /// Returns the agreements of neighbouring rungs, lowest first, of those with at least two architectures that differ
    /// at both.
    #[must_use]
    pub fn of<A, B>(records: &[Record<A, B>]) -> Vec<Self> {
        let mut ladder: Vec<Rung> = records.iter().filter_map(|record| record.rung).collect();
        ladder.sort_by_key(|rung| rung.number);
        ladder.dedup();
        ladder.windows(2).filter_map(|step| Self::between(records, step[0], step[1])).collect()
    }

    fn between<A, B>(records: &[Record<A, B>], lower: Rung, upper: Rung) -> Option<Self> {
        let values = |rung| {
            at(records, rung).filter_map(|(_, record)| Some((record.fingerprint, record.evaluation.final_value()?)))
        };
        let below: HashMap<Fingerprint, f64> = values(lower).collect();
        let pairs: Vec<(f64, f64)> = values(upper).filter_map(|(of, value)| Some((*below.get(&of)?, value))).collect();
        let kendall = kendall_of(&pairs)?;
        let n = pairs.len() as f64;
        let error = (2.0 * (2.0 * n + 5.0) / (9.0 * n * (n - 1.0))).sqrt();
        Some(Self { lower, upper, count: pairs.len(), kendall, error })
    }

    /// Returns whether the lower rung probably does not rank: of at least ten architectures, tau is below its error.
    /// Such a rung promotes at random, and a search without it finds more for the same epochs.
    #[must_use]
    pub fn is_low(&self) -> bool {
        self.count >= Self::ENOUGH && self.kendall < self.error
    }
}

impl std::fmt::Display for RungAgreement {
    /// Writes a line.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { lower, upper, count, kendall, error } = self;
        let (lower, upper) = (lower.epochs, upper.epochs);
        write!(f, "Kendall's tau of {lower} and {upper} epochs: {kendall:.2} ± {error:.2}, of {count} architectures")
    }
}

#[cfg(test)]
mod tests;
