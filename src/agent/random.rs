//! The random agent: what every learner must beat.

use super::edit::random_trajectory;
use super::{Agent, AgentError, Memory, TrajectoryOf};
use crate::space::SearchSpace;
use rand::Rng;

/// Walks at random: each legal action is equally likely. Learns nothing.
///
/// Random search without repeats, as the controller refuses what was proposed before.
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
