//! What a training ends with.

#[cfg(doc)]
use super::Watch;
use crate::evaluation::{Infeasibility, Metrics};
use serde::{Deserialize, Serialize};

/// What a training ended with.
#[derive(Debug)]
#[non_exhaustive]
pub enum Outcome<M> {
    /// The network was trained and measured.
    Trained(Trained<M>),
    /// It could not be: [`Infeasibility::Diverged`] or [`Infeasibility::TimedOut`].
    Infeasible(Infeasibility),
    /// Its [`Watch`] stopped it.
    Cancelled,
}

impl<M> Outcome<M> {
    /// The trained network with its figures, if there is one.
    #[must_use]
    pub fn trained(self) -> Option<Trained<M>> {
        match self {
            Self::Trained(trained) => Some(trained),
            _ => None,
        }
    }
}

/// A trained network and how it got there.
#[derive(Debug)]
#[non_exhaustive]
pub struct Trained<M> {
    /// The network after the last epoch, on the plain device and in inference mode.
    pub network: M,
    /// Its accuracy on the validation images after the last epoch, and what it took.
    pub metrics: Metrics,
    /// Every epoch of the attempt that counts.
    pub epochs: Vec<Epoch>,
}

/// The figures of one epoch.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Epoch {
    /// Learning rate of its steps.
    pub learning_rate: f64,
    /// Mean cross-entropy of the training images, in nats, each measured before the step that it took part in.
    pub training_loss: f64,
    /// Accuracy on the validation images after the epoch, in percent, if it was measured.
    pub accuracy: Option<f64>,
    /// Seconds since the training began, without pauses.
    pub seconds: f64,
}
