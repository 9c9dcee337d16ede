//! The random agent, which every learner must beat.

use super::edit::random_trajectory;
use super::{Agent, AgentError, Memory, TrajectoryOf};
use crate::space::SearchSpace;
use rand::Rng;

/// Walks at random, with every legal action equally likely, and learns nothing.
///
/// The controller refuses repeated proposals, so this is random search without repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RandomAgent;

impl<S: SearchSpace> Agent<S> for RandomAgent {
    fn propose(&mut self, space: &S, _memory: &Memory<S>, rng: &mut dyn Rng) -> Result<TrajectoryOf<S>, AgentError> {
        random_trajectory(space, rng)
    }

    fn identity(&self) -> String {
        "RandomAgent".to_owned()
    }
}
