//! Local search, a baseline that is strong in spaces with few neighbours, such as cells.

use super::edit::{is_new, random_trajectory};
use super::{Agent, AgentError, Edit, EpisodeOf, Memory, TrajectoryOf, saved};
use crate::seed;
use crate::space::SearchSpace;
use rand::Rng;
use serde::{Deserialize, Serialize};
use std::io::{Read, Write};
use std::num::NonZeroU64;

/// Local search by first improvement: neighbours are tried in random order, and the search moves to the first better
/// one. If a place has no new neighbours left, the search continues from a random architecture, or from the best of
/// [several](Self::with_starts).
///
/// Neighbours are all [`Edit`]s of a walk. Nothing is evaluated twice: neighbours that were proposed before are
/// skipped. It is meant for minibatches of one; in a larger one, all trials are neighbours of the same place.
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalSearch {
    /// Number of random architectures; a climb begins at the best of them.
    starts: NonZeroU64,
    /// Number of those that have been evaluated for this climb.
    seen: u64,
    /// Number of the episode whose architecture is the present place of the search.
    place: Option<u64>,
}

impl Default for LocalSearch {
    fn default() -> Self {
        Self { starts: NonZeroU64::MIN, seen: 0, place: None }
    }
}

/// The saved form; the format has a number so that it can change.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    format: u32,
    seen: u64,
    place: Option<u64>,
}

impl LocalSearch {
    /// Creates a search in which each climb begins at a random architecture.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes each climb begin at the best of `starts` random architectures.
    ///
    /// If an architecture has thousands of neighbours, like a block of many layers, a climb from a useless one may take
    /// hundreds of trials to get away from it.
    #[must_use]
    pub fn with_starts(self, starts: NonZeroU64) -> Self {
        Self { starts, ..self }
    }

    fn current<'m, S: SearchSpace>(&self, memory: &'m Memory<S>) -> Option<&'m EpisodeOf<S>> {
        memory.episodes().get(usize::try_from(self.place?).ok()?)
    }

    /// Returns a uniformly random neighbour of `walk` that was never proposed, if there is one.
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
            Some(current) if self.seen >= self.starts.get() => {
                Self::new_neighbour(space, memory, &current.trajectory, rng)?
            }
            _ => None,
        };
        neighbour.map_or_else(|| random_trajectory(space, rng), Ok)
    }

    fn learn(
        &mut self,
        space: &S,
        minibatch: &[EpisodeOf<S>],
        memory: &Memory<S>,
        rng: &mut dyn Rng,
    ) -> Result<(), AgentError> {
        for (&place, episode) in memory.latest(minibatch.len()).iter().zip(minibatch) {
            if self.current(memory).is_none_or(|current| episode.standing() > current.standing()) {
                self.place = Some(place as u64);
            }
            self.seen = self.seen.saturating_add(1);
        }
        // A place without new neighbours is left: the search continues from the next random episodes.
        if let Some(current) = self.current(memory)
            && self.seen >= self.starts.get()
            && Self::new_neighbour(space, memory, &current.trajectory, rng)?.is_none()
        {
            (self.place, self.seen) = (None, 0);
        }
        Ok(())
    }

    fn identity(&self) -> String {
        crate::identity::with_settings("LocalSearch", &serde_json::json!({ "starts": self.starts }))
    }

    fn save(&self, out: &mut dyn Write) -> Result<(), AgentError> {
        saved::write(out, &Saved { format: 2, seen: self.seen, place: self.place })
    }

    fn load(&mut self, _space: &S, from: &mut dyn Read) -> Result<(), AgentError> {
        let Saved { format, seen, place } = saved::read(from)?;
        saved::check_format(format, 2)?;
        (self.place, self.seen) = (place, seen);
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
    fn a_climb_begins_at_the_best_of_its_starts() {
        let space = CellSpace::new().with_identity(CellIdentity::Code);
        let environment = environment_fn("3x3 convolutions", |cell: &CellCode, _| {
            cell.edges().iter().filter(|operation| **operation == CellOperation::Convolution3x3).count() as f64
        });
        let agent = LocalSearch::new().with_starts(NonZeroU64::new(10).unwrap());
        let config = SearchConfig::paper().with_trials(11, 1);
        let report = Search::new(space, agent, environment, config).run().unwrap();
        let best = report.records[..10].iter().max_by(|a, b| a.reward.cmp(&b.reward).then(b.id.cmp(&a.id)));
        let (begin, next) = (best.unwrap().architecture.edges(), report.records[10].architecture.edges());
        let others = report.records[..10].iter().filter(|record| record.architecture.edges() != begin);
        let apart = |a: &[CellOperation], b: &[CellOperation]| a.iter().zip(b).filter(|(a, b)| a != b).count();
        assert_eq!(apart(begin, next), 1);
        assert!(others.map(|record| apart(record.architecture.edges(), next)).all(|places| places > 0));
    }

    #[test]
    fn a_saved_place_loads_and_other_formats_are_refused() {
        let space = CellSpace::new();
        let agent = LocalSearch { seen: 3, place: Some(7), ..LocalSearch::new() };
        let mut bytes = Vec::new();
        Agent::<CellSpace>::save(&agent, &mut bytes).unwrap();
        let mut loaded = LocalSearch::new();
        loaded.load(&space, &mut bytes.as_slice()).unwrap();
        assert_eq!(loaded, agent);
        assert!(loaded.load(&space, &mut br#"{"format":3,"seen":0,"place":null}"#.as_slice()).is_err());
    }
}
