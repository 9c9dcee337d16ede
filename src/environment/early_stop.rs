//! Stopping an evaluation early: it ends with what it has measured so far, which is a result, unlike that of one that
//! is cancelled.

use super::{Cancellation, Progress};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What may stop an evaluation early: values of the objective that it must reach, and whoever watches the search. Clones
/// share one flag.
#[derive(Debug, Clone, Default)]
pub struct EarlyStop {
    asked: Cancellation,
    thresholds: Arc<Thresholds>,
}

impl EarlyStop {
    /// Creates a flag that is not raised, without thresholds.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the values that the evaluation must reach.
    #[must_use]
    pub fn with_thresholds(self, thresholds: impl Into<Arc<Thresholds>>) -> Self {
        Self { thresholds: thresholds.into(), ..self }
    }

    /// Asks the evaluation to end. When it does depends on when it looks, so a search in which this is used cannot be
    /// repeated; one with thresholds can.
    pub fn ask(&self) {
        self.asked.cancel();
    }

    /// Returns whether [`ask`](Self::ask) was called.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.asked.is_cancelled()
    }

    /// Returns the values that the evaluation must reach.
    #[must_use]
    pub fn thresholds(&self) -> &Thresholds {
        &self.thresholds
    }
}

/// The values of the objective (accuracies in percent, unless the search has another) that an evaluation must reach by
/// an epoch, counted from 1: it is stopped after the first epoch at which its best value so far is below.
///
/// They are plain data and travel with the trial, so that it ends after the same epoch wherever it is evaluated.
///
/// ```
/// use blockqnn::environment::Thresholds;
///
/// let thresholds = Thresholds::new([(4, 31.5), (8, 40.0)]);
/// assert_eq!((thresholds.at(4), thresholds.at(5)), (Some(31.5), None));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Thresholds(Vec<(u32, f64)>);

impl Thresholds {
    /// Creates thresholds from epochs and values. Those that are not finite are left out.
    #[must_use]
    pub fn new(thresholds: impl IntoIterator<Item = (u32, f64)>) -> Self {
        Self(thresholds.into_iter().filter(|(_, value)| value.is_finite()).collect())
    }

    /// Returns the value to reach by `epoch`, if there is one.
    #[must_use]
    pub fn at(&self, epoch: u32) -> Option<f64> {
        self.0.iter().find(|(of, _)| *of == epoch).map(|(_, value)| *value)
    }

    /// Returns whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns epochs and values, in the order in which they were given.
    pub fn iter(&self) -> impl Iterator<Item = (u32, f64)> + '_ {
        self.0.iter().copied()
    }
}

/// How the current attempt of an evaluation has gone so far.
#[derive(Debug, Default)]
pub(super) struct Course {
    restarts: u32,
    pub(super) curve: Vec<(u32, f64)>,
    /// Whether its best value was below a threshold.
    pub(super) is_behind: bool,
}

impl Course {
    /// Takes note of a value that is reported for the first time. A restart begins anew.
    pub(super) fn follow(&mut self, progress: &Progress, thresholds: &Thresholds) {
        let &Progress { epoch, restarts, value, .. } = progress;
        if restarts != self.restarts {
            *self = Self { restarts, ..Self::default() };
        }
        let Some(value) = value.filter(|value| value.is_finite()) else { return };
        if self.curve.last().is_some_and(|(last, _)| *last >= epoch) {
            return;
        }
        self.curve.push((epoch, value));
        let best = self.curve.iter().map(|(_, value)| *value).fold(f64::NEG_INFINITY, f64::max);
        self.is_behind |= thresholds.at(epoch).is_some_and(|threshold| best < threshold);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::TrialContext;
    use crate::evaluation::Trial;
    use crate::graph::Fingerprint;

    fn trial() -> Trial {
        Trial { id: 0, seed: 0, fingerprint: Fingerprint::of_name(b"a"), cost: None }
    }

    /// After which of these reports, if any, an evaluation with the thresholds should stop.
    fn stops(thresholds: &Thresholds, reports: &[(u32, u32, f64)]) -> Option<usize> {
        let trial = trial();
        let early_stop = EarlyStop::new().with_thresholds(thresholds.clone());
        let context = TrialContext::new(&trial).with_early_stop(early_stop);
        reports.iter().position(|&(restarts, epoch, accuracy)| {
            context.report(Progress::new(epoch, 9, restarts, 0.0).with_value(accuracy));
            context.should_stop()
        })
    }

    #[test]
    fn the_best_accuracy_so_far_counts_and_only_at_the_epochs_of_the_thresholds() {
        let thresholds = Thresholds::new([(2, 30.0), (4, 40.0), (5, f64::NAN)]);
        assert_eq!(stops(&thresholds, &[(0, 1, 10.0), (0, 2, 30.0), (0, 3, 0.0), (0, 4, 40.0), (0, 5, 1.0)]), None);
        assert_eq!(stops(&thresholds, &[(0, 1, 30.0), (0, 2, 10.0), (0, 3, 0.0), (0, 4, 10.0)]), Some(3));
        assert_eq!(stops(&thresholds, &[(0, 1, 10.0), (0, 2, 29.9)]), Some(1));
        assert_eq!(stops(&Thresholds::default(), &[(0, 1, 0.0), (0, 2, 0.0)]), None);
    }

    #[test]
    fn a_restart_begins_anew_and_repeated_or_unusable_reports_are_not_points() {
        let thresholds = Thresholds::new([(2, 30.0)]);
        assert_eq!(stops(&thresholds, &[(0, 1, 50.0), (1, 1, 10.0), (1, 2, 20.0)]), Some(2), "50 % was before");
        let trial = trial();
        let context = TrialContext::new(&trial);
        let report = |restarts, epoch, accuracy| {
            context.report(Progress::new(epoch, 9, restarts, 0.0).with_value(accuracy));
            context.report(Progress::new(epoch, 9, restarts, 0.5));
        };
        for (restarts, epoch, accuracy) in [(0, 1, 5.0), (1, 1, 6.0), (1, 1, 7.0), (1, 2, f64::NAN), (1, 3, 8.0)] {
            report(restarts, epoch, accuracy);
        }
        assert_eq!(context.curve(), [(1, 6.0), (3, 8.0)]);
        assert!(!context.should_stop());
    }

    #[test]
    fn whoever_watches_may_ask_at_any_time() {
        let trial = trial();
        let early_stop = EarlyStop::new();
        let context = TrialContext::new(&trial).with_early_stop(early_stop.clone());
        assert!(!context.should_stop());
        early_stop.ask();
        assert!(context.should_stop() && !context.is_cancelled());
    }
}
