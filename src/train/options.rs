//! How a training runs: who watches it, where it is kept, and on which devices.

use super::Checkpoints;
#[cfg(doc)]
use super::{fit, fit_resumable, fit_with};
use crate::environment::{Progress, TrialContext};
use burn::tensor::Device;

/// An observer of a training: receives its progress and may stop it.
///
/// `()` does neither; a [`TrialContext`] does both. See [`fit`].
pub trait Watch {
    /// Whether the training should stop now. Asked before every batch.
    fn is_cancelled(&self) -> bool {
        false
    }

    /// Receives the progress of the training, after every batch of training and of validation.
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

    fn report(&self, progress: Progress) {
        self.report(progress);
    }
}

/// How a training runs: what [`fit_with`] takes in addition to the recipe and the images.
///
/// By default nothing watches, there are no checkpoints, and there is one device, that of the images.
#[derive(Clone, Copy)]
pub struct FitOptions<'a> {
    /// Receives the progress, and may stop the training.
    pub watch: &'a dyn Watch,
    /// Where the training is kept, to be continued; see [`fit_resumable`].
    pub checkpoints: Option<&'a Checkpoints>,
    /// Further devices, which take their part of every training batch. Experimental: tested only on CPU devices.
    ///
    /// The batch is distributed as equally as possible over the device of the images and these. Each computes the
    /// gradients of its part with a copy of the network, in its own thread; their sum makes one step on the device of
    /// the images, the same step as that of one device but for rounding and for batch normalisation, which sees the
    /// part alone, and whose running statistics are those of the first part. Images are gathered, and the validation
    /// images evaluated, on the device of the images. A training may be continued on another number of devices.
    pub more_devices: &'a [Device],
}

impl Default for FitOptions<'_> {
    fn default() -> Self {
        Self { watch: &(), checkpoints: None, more_devices: &[] }
    }
}

impl std::fmt::Debug for FitOptions<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { watch: _, checkpoints, more_devices } = self;
        let mut text = formatter.debug_struct("FitOptions");
        text.field("checkpoints", checkpoints).field("more_devices", more_devices).finish_non_exhaustive()
    }
}
