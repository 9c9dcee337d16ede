//! An agent that has nothing to decide.

use super::{Agent, AgentError, Memory, TrajectoryOf};
use crate::space::{SearchSpace, SpaceError, walk};
use rand::Rng;

/// Proposes given walks, one after the other, and learns nothing: a search with it evaluates a list.
///
/// The walks should lead to different architectures, and the search should have as many trials: the controller refuses what
/// was proposed before, and after the last walk comes the first again.
///
/// ```
/// use blockqnn::agent::ListedAgent;
/// use blockqnn::environment::synthetic::Synthetic;
/// use blockqnn::search::{Search, SearchConfig};
/// use blockqnn::space::block::{BlockCode, BlockSpace};
///
/// let space = BlockSpace::paper();
/// let blocks = ["conv3(0) terminal(1)", "conv3(0) conv3(1) add(0,2) terminal(3)"];
/// let blocks = blocks.iter().map(|block| block.parse::<BlockCode>()).collect::<Result<Vec<_>, _>>()?;
/// let agent = ListedAgent::new(&space, blocks.iter().map(|block| block.layers().to_vec()))?;
/// let config = SearchConfig::paper().with_trials(2, 2);
/// let report = Search::new(space, agent, Synthetic::new(), config).run()?;
/// assert!(report.records.iter().zip(&blocks).all(|(record, block)| record.architecture == *block));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct ListedAgent<S: SearchSpace> {
    walks: Vec<TrajectoryOf<S>>,
}

impl<S: SearchSpace> ListedAgent<S> {
    /// An agent that proposes these walks, given by their actions.
    ///
    /// # Errors
    /// The first walk that the space does not allow, or [`SpaceError`] if there is none.
    pub fn new(space: &S, walks: impl IntoIterator<Item = Vec<S::Action>>) -> Result<Self, SpaceError> {
        let walks: Vec<_> = walks.into_iter().map(|actions| walk(space, &actions)).collect::<Result<_, _>>()?;
        if walks.is_empty() {
            return Err(SpaceError::Incomplete { actions: 0, message: "there is no walk in the list".to_owned() });
        }
        Ok(Self { walks })
    }
}

impl<S: SearchSpace> Agent<S> for ListedAgent<S> {
    fn propose(&mut self, _space: &S, memory: &Memory<S>, _rng: &mut dyn Rng) -> Result<TrajectoryOf<S>, AgentError> {
        let position = memory.proposed() % self.walks.len() as u64;
        // It is below the length of a list in memory.
        Ok(self.walks[usize::try_from(position).unwrap_or_default()].clone())
    }
}
