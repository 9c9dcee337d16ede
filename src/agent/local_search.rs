//! Local search: the hardest baseline on the published tables.

use super::evolution::{is_new, random_walk};
use super::{Agent, AgentError, Edit, EpisodeOf, Memory, TrajectoryOf};
use crate::seed;
use crate::space::SearchSpace;
use rand::Rng;
use serde::{Deserialize, Serialize};
use std::io::{Read, Write};

/// Local search by first improvement: neighbours are tried in random order, and the first better one is moved to. A
/// place without a new neighbour is left for a random one.
///
/// Neighbours are all [`Edit`]s of a walk. Nothing is evaluated twice: a neighbour that was proposed before is passed
/// over. Meant for minibatches of one: within a larger one, all trials are neighbours of the same place.
///
/// ```
/// use blockqnn::agent::LocalSearch;
/// use blockqnn::environment::synthetic::Synthetic;
/// use blockqnn::search::{Search, SearchConfig};
/// use blockqnn::space::block::BlockSpace;
///
/// let config = SearchConfig::paper().with_trials(100, 1);
/// let report = Search::new(BlockSpace::paper(), LocalSearch::new(), Synthetic::new(), config).run()?;
/// assert!(report.best()[0].reward.value() > 60.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # References
/// C. White, S. Nolen, Y. Savani, "Exploring the Loss Landscape in Neural Architecture Search", UAI 2021.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LocalSearch {
    /// Number of the episode that stands where the search stands.
    place: Option<u64>,
}

/// The saved form; the format has a number so that it can change.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    format: u32,
    place: Option<u64>,
}

impl LocalSearch {
    /// A search that begins at random.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn current<'m, S: SearchSpace>(&self, memory: &'m Memory<S>) -> Option<&'m EpisodeOf<S>> {
        memory.episodes().get(usize::try_from(self.place?).ok()?)
    }

    /// A neighbour of `walk` that was never proposed: a uniform one, if there is any.
    fn new_neighbour<S: SearchSpace>(
        space: &S,
        memory: &Memory<S>,
        walk: &TrajectoryOf<S>,
        rng: &mut dyn Rng,
    ) -> Result<Option<TrajectoryOf<S>>, AgentError> {
        let mut edits = Edit::all(space, walk)?;
        while !edits.is_empty() {
            let edit = edits.swap_remove(seed::index(rng, edits.len()));
            if let Some(neighbour) = edit.apply(space, walk, rng)?
                && is_new(space, memory, &neighbour)?
            {
                return Ok(Some(neighbour));
            }
        }
        Ok(None)
    }
}

impl<S: SearchSpace> Agent<S> for LocalSearch {
    fn propose(&mut self, space: &S, memory: &Memory<S>, rng: &mut dyn Rng) -> Result<TrajectoryOf<S>, AgentError> {
        let neighbour = match self.current(memory) {
            Some(current) => Self::new_neighbour(space, memory, &current.trajectory, rng)?,
            None => None,
        };
        neighbour.map_or_else(|| random_walk(space, rng), Ok)
    }

    fn learn(
        &mut self,
        space: &S,
        minibatch: &[EpisodeOf<S>],
        memory: &Memory<S>,
        rng: &mut dyn Rng,
    ) -> Result<(), AgentError> {
        let first = memory.episodes().len() - minibatch.len();
        for (number, episode) in (first as u64..).zip(minibatch) {
            if self.current(memory).is_none_or(|current| episode.reward > current.reward) {
                self.place = Some(number);
            }
        }
        // A place with no new neighbour is left: the next random episode is where the search goes on.
        if let Some(current) = self.current(memory)
            && Self::new_neighbour(space, memory, &current.trajectory, rng)?.is_none()
        {
            self.place = None;
        }
        Ok(())
    }

    fn save(&self, out: &mut dyn Write) -> Result<(), AgentError> {
        serde_json::to_writer(out, &Saved { format: 1, place: self.place }).map_err(std::io::Error::from)?;
        Ok(())
    }

    fn load(&mut self, _space: &S, from: &mut dyn Read) -> Result<(), AgentError> {
        let corrupt = |message: String| AgentError::Corrupt { message };
        let saved: Saved = serde_json::from_reader(from).map_err(|error| corrupt(error.to_string()))?;
        if saved.format != 1 {
            return Err(corrupt(format!("its format is {}, but this version reads 1", saved.format)));
        }
        self.place = saved.place;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::environment_fn;
    use crate::search::{Search, SearchConfig};
    use crate::space::cell::{CellCode, CellIdentity, CellOperation, CellSpace};

    #[test]
    fn it_climbs_to_the_top_of_a_single_hill_and_then_starts_again() {
        let space = CellSpace::new().with_identity(CellIdentity::Code);
        let environment = environment_fn("3x3 convolutions", |cell: &CellCode, _| {
            cell.edges().iter().filter(|operation| **operation == CellOperation::Convolution3x3).count() as f64
        });
        let config = SearchConfig::paper().with_trials(400, 1);
        let report = Search::new(space, LocalSearch::new(), environment, config).run().unwrap();
        assert!((report.best()[0].reward.value() - 6.0).abs() < 1e-12);
        // The top has 24 neighbours, each with 20 of its own: more trials than those were restarts.
        assert!(report.records.last().unwrap().reward.value() < 5.0);
    }

    #[test]
    fn a_saved_place_loads_and_other_formats_are_refused() {
        let space = CellSpace::new();
        let agent = LocalSearch { place: Some(7) };
        let mut bytes = Vec::new();
        Agent::<CellSpace>::save(&agent, &mut bytes).unwrap();
        let mut loaded = LocalSearch::new();
        loaded.load(&space, &mut bytes.as_slice()).unwrap();
        assert_eq!(loaded, agent);
        assert!(loaded.load(&space, &mut br#"{"format":2,"place":null}"#.as_slice()).is_err());
    }
}
