//! An agent that proposes a given list.

use super::{Agent, AgentError, Memory, TrajectoryOf, saved};
use crate::identity::short_hash;
use crate::space::{SearchSpace, SpaceError, walk};
use rand::Rng;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::io::{Read, Write};

/// Proposes given walks one after the other and learns nothing, so that a search evaluates a list.
///
/// The walks should lead to different architectures, and the search should have as many trials: the controller refuses
/// repeated proposals, and after the last walk the list starts again.
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
    /// Creates an agent that proposes these walks, given by their actions.
    ///
    /// # Errors
    /// [`SpaceError`] of the first walk that the space does not allow, or if there are no walks.
    pub fn new(space: &S, walks: impl IntoIterator<Item = Vec<S::Action>>) -> Result<Self, SpaceError> {
        let walks: Vec<_> = walks.into_iter().map(|actions| walk(space, &actions)).collect::<Result<_, _>>()?;
        if walks.is_empty() {
            return Err(SpaceError::Incomplete { actions: 0, message: "there is no walk in the list".to_owned() });
        }
        Ok(Self { walks })
    }
}

/// The saved form of a list.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    format: u32,
    agent: String,
    /// The first 8 bytes of the SHA-256 of each walk's actions as JSON.
    walks: Vec<String>,
}

impl<S: SearchSpace> ListedAgent<S> {
    fn checksums(&self) -> Result<Vec<String>, AgentError> {
        let checksum = |walk: &TrajectoryOf<S>| {
            let actions = serde_json::to_vec(&walk.actions).map_err(std::io::Error::from)?;
            Ok(short_hash(&Sha256::digest(actions)))
        };
        self.walks.iter().map(checksum).collect()
    }
}

impl<S: SearchSpace> Agent<S> for ListedAgent<S> {
    fn propose(&mut self, _space: &S, memory: &Memory<S>, _rng: &mut dyn Rng) -> Result<TrajectoryOf<S>, AgentError> {
        let position = memory.proposals() % self.walks.len() as u64;
        // The position is less than the length of a list in memory.
        Ok(self.walks[usize::try_from(position).unwrap_or_default()].clone())
    }

    /// Returns the kind alone: a list may be extended, and [`load`](Agent::load) compares the walks that both have.
    fn identity(&self) -> String {
        "ListedAgent".to_owned()
    }

    /// Writes a checksum of each walk.
    fn save(&self, out: &mut dyn Write) -> Result<(), AgentError> {
        saved::write(out, &Saved { format: 1, agent: "listed".to_owned(), walks: self.checksums()? })
    }

    /// Compares this list with what [`save`](Agent::save) wrote. Earlier versions wrote nothing.
    fn load(&mut self, _space: &S, from: &mut dyn Read) -> Result<(), AgentError> {
        let mut text = String::new();
        from.read_to_string(&mut text)?;
        if text.is_empty() {
            return Ok(());
        }
        let Saved { format, agent, walks } = saved::read(&mut text.as_bytes())?;
        saved::check_agent(format, &agent, "listed")?;
        match walks.iter().zip(self.checksums()?).position(|(then, now)| *then != now) {
            None => Ok(()),
            Some(place) => {
                let message = format!("walk {place} (counted from 0) of its list has changed");
                Err(AgentError::Changed { message })
            }
        }
    }
}
