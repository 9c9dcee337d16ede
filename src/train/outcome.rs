//! The outcome of a training.

#[cfg(doc)]
use super::Watch;
use crate::evaluation::{Infeasibility, Metrics};
use serde::{Deserialize, Serialize};

/// The outcome of a training.
#[derive(Debug)]
#[non_exhaustive]
pub enum Outcome<M> {
    /// The network was trained and measured.
    Trained(Trained<M>),
    /// The network could not be trained: [`Infeasibility::Diverged`] or [`Infeasibility::TimedOut`].
    Infeasible(Infeasibility),
    /// The training was stopped by its [`Watch`].
    Cancelled,
}

impl<M> Outcome<M> {
    /// Returns the trained network with its figures, if there is one.
    #[must_use]
    pub fn trained(self) -> Option<Trained<M>> {
        match self {
            Self::Trained(trained) => Some(trained),
            _ => None,
        }
    }
}

/// A trained network and how it was trained.
#[derive(Debug)]
#[non_exhaustive]
pub struct Trained<M> {
    /// The network after the last epoch, on the plain device and in inference mode.
    pub network: M,
    /// Its accuracy on the validation images after the last epoch, and the effort of the training. If the training was
    /// [stopped](Metrics::stopped) early, that is the epoch in which it was.
    pub metrics: Metrics,
    /// Every epoch of the attempt that counts.
    pub epochs: Vec<Epoch>,
}

/// The figures of one epoch.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Epoch {
    /// The learning rate of its steps.
    pub learning_rate: f64,
    /// The mean cross-entropy of the training images, in nats, each measured before the step that the image took part
    /// in.
    pub training_loss: f64,
    /// The accuracy on the validation images after the epoch, in percent, if it was measured.
    pub accuracy: Option<f64>,
    /// The seconds since the training began, without pauses.
    pub seconds: f64,
}
