//! Who watches a training.

use crate::environment::{Progress, TrialContext};

/// An observer of a training: receives its progress and may stop it.
///
/// `()` does neither; a [`TrialContext`] does both. See [`Training::with_watch`](super::Training::with_watch).
pub trait Watch {
    /// Whether the training should stop now. Asked before every batch.
    fn is_cancelled(&self) -> bool {
        false
    }

    /// Whether the training should end early, after the epoch that it is in, with the accuracy that it then has. Asked
    /// after every epoch, once the accuracy has been reported if it was measured.
    fn should_stop(&self) -> bool {
        false
    }

    /// Receives the progress of the training, after every batch of training and of validation, and each accuracy that
    /// is measured. A training that continues from a checkpoint reports the earlier accuracies once more.
    ///
    /// The share of the epoch times the number of training images is the number of images done in it. On a GPU they may
    /// still be queued.
    fn report(&self, _progress: Progress) {}
}

impl Watch for () {}

impl Watch for TrialContext<'_> {
    fn is_cancelled(&self) -> bool {
        self.is_cancelled()
    }

    fn should_stop(&self) -> bool {
        self.should_stop()
    }

    fn report(&self, progress: Progress) {
        self.report(progress);
    }
}
