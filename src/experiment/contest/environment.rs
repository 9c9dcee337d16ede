//! Trains the entrants of a contest.

use super::ContestTraining;
use crate::environment::{Condition, Environment, TrialContext};
use crate::evaluation::Evaluation;
use crate::graph::LayerGraph;
use crate::train::{TrainError, TrainingEnvironment};

/// Trains each entrant of a [`Contest`](super::Contest) in the network of its own width.
#[derive(Debug, Clone)]
pub struct ContestEnvironment {
    inner: TrainingEnvironment,
}

impl ContestEnvironment {
    /// Trains with the images, the recipe and the device of `inner`, and keeps networks as it does. Its network is not
    /// used, but those of all entrants must have its shape of images and its number of classes: an evaluation of
    /// another fails.
    #[must_use]
    pub fn new(inner: TrainingEnvironment) -> Self {
        Self { inner }
    }
}

impl Environment<ContestTraining> for ContestEnvironment {
    type Error = TrainError;

    fn evaluate(&mut self, run: &ContestTraining, context: &TrialContext<'_>) -> Result<Evaluation, TrainError> {
        self.inner.change_network(run.entrant.network.clone())?;
        self.inner.evaluate(&run.entrant.block, context)
    }

    fn identity(&self) -> String {
        format!("contest, {}", Environment::<LayerGraph>::identity(&self.inner))
    }

    fn condition(&self) -> Condition {
        Environment::<LayerGraph>::condition(&self.inner)
    }
}
