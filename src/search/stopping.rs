//! Stopping trials early that are behind the others.

use crate::environment::Thresholds;
use crate::evaluation::Metrics;
use crate::setting::InvalidSetting;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The median stopping rule: a trial is stopped after an epoch if its best value so far is below the median of the
/// running averages that finished trials had at that epoch. The running average of a trial at an epoch is the mean of
/// its values until then; a trial that was itself stopped counts as far as it came.
///
/// Only trials of earlier minibatches count, so a rule of [`SearchConfig`](super::SearchConfig) gives the same search
/// with any number of workers: its [`Thresholds`] are known before a minibatch is evaluated and travel with each trial.
/// It needs [`Scheduling::Minibatch`](super::Scheduling::Minibatch), and an environment that
/// [reports](crate::environment::Progress::value) the objective's value after its epochs and stops when it
/// [should](crate::environment::TrialContext::should_stop).
///
/// ```
/// use blockqnn::evaluation::Metrics;
/// use blockqnn::search::MedianStopping;
///
/// let rule = MedianStopping { grace_epochs: 1, min_trials: 2 };
/// let finished = [vec![(1, 20.0), (2, 40.0)], vec![(1, 10.0), (2, 20.0)]].map(Metrics::stopped_after);
/// // The running averages after the second epoch are 30 and 15.
/// assert_eq!(rule.thresholds(&finished).at(2), Some(22.5));
/// assert_eq!(rule.thresholds(&finished).at(1), None);
/// ```
///
/// # References
/// D. Golovin, B. Solnik, S. Moitra, G. Kochanski, J. Karro, D. Sculley, "Google Vizier: A Service for Black-Box
/// Optimization", KDD 2017, Section 3.2.2. Grace and the least number of trials are not in their rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MedianStopping {
    /// Epochs at the beginning of a trial after which it is not stopped yet.
    pub grace_epochs: u32,
    /// Number of finished trials that must have come as far as an epoch, or nothing is stopped there; at least 1.
    pub min_trials: u64,
}

impl Default for MedianStopping {
    /// Returns 3 epochs of grace, and at least 10 trials.
    fn default() -> Self {
        Self { grace_epochs: 3, min_trials: 10 }
    }
}

impl MedianStopping {
    /// Returns what a trial must reach by each epoch, from the metrics of the finished trials.
    #[must_use]
    pub fn thresholds<'m>(&self, finished: impl IntoIterator<Item = &'m Metrics>) -> Thresholds {
        let curves: Vec<&[(u32, f64)]> = finished.into_iter().map(|metrics| &metrics.curve[..]).collect();
        let epochs: BTreeSet<u32> = curves.iter().flat_map(|curve| curve.iter().map(|(epoch, _)| *epoch)).collect();
        let threshold = |epoch| {
            let averages: Vec<f64> = curves.iter().filter_map(|curve| running_average(curve, epoch)).collect();
            (averages.len() as u64 >= self.min_trials).then(|| median(averages).map(|median| (epoch, median)))?
        };
        Thresholds::new(epochs.into_iter().filter(|epoch| *epoch > self.grace_epochs).filter_map(threshold))
    }

    /// Checks the settings.
    pub(super) fn validate(&self) -> Result<(), InvalidSetting> {
        InvalidSetting::at_least_one("search.median_stopping.min_trials", self.min_trials)
    }
}

/// The mean of the values up to an epoch, of a curve that goes as far.
fn running_average(curve: &[(u32, f64)], epoch: u32) -> Option<f64> {
    if curve.last()?.0 < epoch {
        return None;
    }
    let values = || curve.iter().filter(|(of, _)| *of <= epoch).map(|(_, value)| value);
    let count = values().count();
    (count > 0).then(|| values().sum::<f64>() / count as f64)
}

/// Of an even number of values, the mean of the middle two.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    Some(if values.len() % 2 == 1 { upper } else { f64::midpoint(values[values.len() / 2 - 1], upper) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics(values: &[f64]) -> Metrics {
        Metrics::stopped_after((1..).zip(values.iter().copied()).collect())
    }

    fn thresholds(rule: MedianStopping, curves: &[&[f64]]) -> Vec<(u32, f64)> {
        let finished: Vec<Metrics> = curves.iter().map(|values| metrics(values)).collect();
        rule.thresholds(&finished).iter().collect()
    }

    #[test]
    fn a_threshold_is_the_median_of_the_running_averages_of_those_that_came_as_far() {
        let rule = MedianStopping { grace_epochs: 0, min_trials: 1 };
        let found = thresholds(rule, &[&[10.0, 30.0, 50.0], &[20.0, 20.0], &[60.0, 0.0, 0.0], &[]]);
        assert_eq!(found, [(1, 20.0), (2, 20.0), (3, 25.0)]);
    }

    #[test]
    fn grace_and_the_least_number_of_trials_hold_it_back() {
        let curves: [&[f64]; 3] = [&[10.0, 30.0], &[20.0, 20.0], &[60.0]];
        let of = |grace_epochs, min_trials| thresholds(MedianStopping { grace_epochs, min_trials }, &curves);
        assert_eq!(of(1, 2), [(2, 20.0)]);
        assert_eq!(of(0, 3), [(1, 20.0)]);
        assert_eq!(of(2, 1), []);
        assert_eq!(of(0, 4), []);
    }

    #[test]
    fn epochs_without_a_value_are_left_out_of_the_average() {
        let rule = MedianStopping { grace_epochs: 0, min_trials: 1 };
        let finished = [Metrics::stopped_after(vec![(2, 10.0), (4, 30.0)])];
        assert_eq!(rule.thresholds(&finished).iter().collect::<Vec<_>>(), [(2, 10.0), (4, 20.0)]);
    }
}
