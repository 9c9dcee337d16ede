//! What a search has spent and found after each of its trials.

use super::{Budget, BudgetResult};
use crate::evaluation::Standing;

/// After each trial of a search, what was spent until then and the worth of the best architecture.
#[derive(Debug, Default)]
pub(super) struct Course {
    points: Vec<Point>,
    best: Option<Standing>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Point {
    epochs: u64,
    seconds: f64,
    /// Before there is an architecture it is 0, as of a network that is always wrong.
    worth: f64,
}

impl Course {
    /// Adds a trial: its epochs, its seconds and, if it was measured to the end, its standing. `worth` is asked for the
    /// worth of its architecture if that is the best so far.
    pub(super) fn push(&mut self, epochs: u64, seconds: f64, standing: Option<Standing>, worth: impl FnOnce() -> f64) {
        let mut point = self.spent();
        point.epochs = point.epochs.saturating_add(epochs);
        point.seconds += seconds;
        if standing.is_some() && self.best.is_none_or(|best| standing > Some(best)) {
            self.best = standing;
            point.worth = worth();
        }
        self.points.push(point);
    }

    fn spent(&self) -> Point {
        self.points.last().copied().unwrap_or_default()
    }

    /// The number of trials.
    pub(super) fn len(&self) -> usize {
        self.points.len()
    }

    /// Whether the last trial ended after this budget was spent.
    pub(super) fn exceeds(&self, budget: Budget) -> bool {
        match budget {
            Budget::Evaluations(count) => self.points.len() as u64 > count,
            Budget::Epochs(epochs) => self.spent().epochs > epochs,
            Budget::Seconds(seconds) => self.spent().seconds > seconds,
        }
    }

    /// The result at a budget, or `None` if no trial ended within it.
    pub(super) fn result(&self, seed: u64, budget: Budget) -> Option<BudgetResult> {
        let ended = match budget {
            Budget::Evaluations(count) => self.points.len().min(usize::try_from(count).unwrap_or(usize::MAX)),
            Budget::Epochs(epochs) => self.points.partition_point(|point| point.epochs <= epochs),
            Budget::Seconds(seconds) => self.points.partition_point(|point| point.seconds <= seconds),
        };
        let Point { epochs, seconds, worth } = *self.points.get(ended.checked_sub(1)?)?;
        Some(BudgetResult { seed, worth, evaluations: ended as u64, epochs, seconds })
    }

    /// The worth after so many trials. A search that ended before keeps its last worth.
    pub(super) fn worth_after_trials(&self, count: usize) -> f64 {
        self.points.get(count.saturating_sub(1)).or(self.points.last()).map_or(0.0, |point| point.worth)
    }

    /// The worth after so many epochs.
    pub(super) fn worth_after_epochs(&self, epochs: u64) -> f64 {
        let ended = self.points.partition_point(|point| point.epochs <= epochs);
        self.points[..ended].last().map_or(0.0, |point| point.worth)
    }
}
